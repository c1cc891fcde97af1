//! A bitmap as its clients have it: read-only shared memory, and the leases that keep it while they look.

use std::os::fd::OwnedFd;

use ashmem::{Contents, Lease, Mapping, Region};
use image::RgbaImage;

use crate::protocol::Reply;
use crate::{Client, Error, Result, Size};

/// How often pixels are asked for again that went before they could be leased.
const TRIES: u32 = 8;

/// A bitmap that the service decoded, in memory that all its clients share. It can only be read.
///
/// Having one does not keep its pixels: they may be purged whenever nobody holds [`Pixels`] of it.
pub struct Bitmap {
    client: Client,
    path: Vec<u8>,
    asked: Size,
    number: i64,
    size: Size,
    is_decoded: bool,
    region: Region,
    mapping: Mapping,
}

/// Pixels that stay as long as this does: red, green, blue and alpha, a byte each, row by row from the top, without gaps.
#[must_use = "the pixels may go when it is dropped"]
pub struct Pixels<'a> {
    bitmap: &'a Bitmap,
    _lease: Lease<'a>,
}

impl Bitmap {
    /// Takes what the service sent, none of which is trusted.
    pub(crate) fn receive(client: &Client, path: &[u8], asked: Size, reply: Reply) -> Result<Bitmap> {
        const OPERATION: &str = "receive a bitmap";
        let received = (|| {
            let garbage = |reason| Error::Garbage { operation: OPERATION, reason };
            let side =
                |side: i32, most: u32| u32::try_from(side).ok().filter(|side| (1..=most).contains(side));
            let (width, height) = side(reply.width, asked.width())
                .zip(side(reply.height, asked.height()))
                .ok_or_else(|| garbage("it does not fit into the size that was asked for"))?;
            let size = Size::new(width, height)?;
            let descriptor = reply.descriptor.ok_or_else(|| garbage("there is no descriptor"))?;
            let region = Region::from_fd(OwnedFd::from(descriptor)).map_err(Error::memory(OPERATION))?;
            if region.size() < size.bytes() {
                return Err(garbage("its memory is too small for its pixels"));
            }
            let mapping = region.map_read_only().map_err(Error::memory("map a bitmap"))?;
            // Whether its pin state makes sense.
            drop(region.lease(..).map_err(Error::memory(OPERATION))?);
            Ok((size, region, mapping))
        })();
        match received {
            Ok((size, region, mapping)) => Ok(Bitmap {
                client: client.clone(),
                path: path.to_vec(),
                asked,
                number: reply.number,
                size,
                is_decoded: reply.is_decoded,
                region,
                mapping,
            }),
            Err(error) => {
                client.release(reply.number);
                Err(error)
            }
        }
    }

    /// In pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.size.width()
    }

    /// In pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.size.height()
    }

    /// Whether the picture was decoded for this request; if not, the service had the bitmap already.
    #[must_use]
    pub fn is_decoded(&self) -> bool {
        self.is_decoded
    }

    /// The shared memory. The same for all clients that asked for the same.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The pixels, decoded again by the service if they were purged. Asks nobody when they are there: that takes a microsecond.
    ///
    /// # Errors
    /// [`Error::Changed`] when the file is another one by now; [`Error::Purged`]; those of [`Client::bitmap`].
    pub fn pixels(&self) -> Result<Pixels<'_>> {
        let (mut lease, mut contents) = self.lease()?;
        for _ in 0..TRIES {
            if contents == Contents::Intact {
                return Ok(Pixels { bitmap: self, _lease: lease });
            }
            let reply = self.client.ask(&self.path, self.asked, self.number)?;
            if reply.number != self.number {
                self.client.release(reply.number);
                return Err(Error::Changed);
            }
            // The old one ends after the new one begins, so what was decoded meanwhile has not gone in between.
            (lease, contents) = self.lease()?;
        }
        Err(Error::Purged)
    }

    /// The pixels if they are there; `None` when they were purged. Never asks the service.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn pixels_at_once(&self) -> Result<Option<Pixels<'_>>> {
        let (lease, contents) = self.lease()?;
        Ok((contents == Contents::Intact).then_some(Pixels { bitmap: self, _lease: lease }))
    }

    fn lease(&self) -> Result<(Lease<'_>, Contents)> {
        let lease = self.region.lease(..).map_err(Error::memory("lease the pixels of a bitmap"))?;
        let contents = lease.contents();
        Ok((lease, contents))
    }
}

impl Drop for Bitmap {
    fn drop(&mut self) {
        // After its last lease: those borrow it.
        self.client.release(self.number);
    }
}

impl std::fmt::Debug for Bitmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bitmap")
            .field("number", &self.number)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Pixels<'_> {
    /// In pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.bitmap.width()
    }

    /// In pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.bitmap.height()
    }

    /// Copies pixels out, from pixel `first` on, counted row by row: as many as there are groups of four bytes in `into`.
    ///
    /// # Errors
    /// [`Error::Memory`] for pixels that are not in the bitmap.
    pub fn read(&self, first: u64, into: &mut [u8]) -> Result<()> {
        let read = self.bitmap.mapping.read_at(first.saturating_mul(4), into);
        read.map_err(Error::memory("read the pixels of a bitmap"))
    }

    /// A copy of them all.
    ///
    /// # Errors
    /// None that can be met: the size was looked at.
    pub fn to_image(&self) -> Result<RgbaImage> {
        const OPERATION: &str = "copy the pixels of a bitmap";
        let bytes = self.bitmap.mapping.read_vec(0, self.bitmap.size.bytes());
        let image =
            RgbaImage::from_raw(self.width(), self.height(), bytes.map_err(Error::memory(OPERATION))?);
        image.ok_or(Error::Garbage { operation: OPERATION, reason: "its size is another one" })
    }
}

impl std::fmt::Debug for Pixels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pixels").field("bitmap", self.bitmap).finish_non_exhaustive()
    }
}
