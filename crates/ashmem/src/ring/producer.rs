//! The end that writes.

use std::io;
use std::time::Duration;

use super::end::End;
use super::positions::Side;
use super::{PREFIX, Ring, Window, framed};
use crate::{Error, Result};

/// The end of a [`Ring`] that writes; made by [`Ring::producer`].
///
/// What is committed is the consumer's, also when this process is killed. As a [`std::io::Write`] it waits for room.
///
/// ```
/// # fn main() -> ashmem::Result<()> {
/// let ring = ashmem::Ring::create("samples", 4096)?;
/// let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
/// assert_eq!(producer.try_write(&[1; 5000])?, 4096);
/// assert_eq!(producer.try_write(&[2; 5000])?, 0);
///
/// let mut samples = [0; 1000];
/// assert_eq!(consumer.try_read(&mut samples)?, 1000);
/// assert_eq!(producer.try_write(&[2; 5000])?, 1000);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Producer {
    end: End,
}

impl Producer {
    pub(super) fn claim(ring: &Ring) -> Result<Producer> {
        Ok(Producer { end: End::claim(ring, Side::Producer)? })
    }

    /// Bytes that fit into the ring.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.end.capacity()
    }

    /// Bytes committed since the ring was made, by all its producers; a message counts with its length and padding. It
    /// wraps.
    ///
    /// A producer that takes over from one that was killed learns from it what that had committed.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.end.position()
    }

    /// Bytes that could be written now.
    ///
    /// # Errors
    /// [`Error::RingCorrupt`].
    pub fn room(&mut self) -> Result<u64> {
        self.end.available(u64::MAX)
    }

    /// Waits until `len` bytes could be written; false when that took longer than `timeout`. Without one, it waits for as long
    /// as there is a consumer, or there was none yet.
    ///
    /// # Errors
    /// [`Error::RingPeerGone`], [`Error::RingCorrupt`]; [`Error::MessageTooLong`] for more than the capacity.
    pub fn wait_for_room(&mut self, len: u64, timeout: Option<Duration>) -> Result<bool> {
        let max = self.capacity();
        if len > max {
            return Err(Error::MessageTooLong { len, max });
        }
        self.end.wait(len, timeout, "write to ring")
    }

    /// Writes as many of `bytes` as there is room for, and says how many that were.
    ///
    /// # Errors
    /// [`Error::RingCorrupt`].
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<usize> {
        let room = self.end.available(bytes.len() as u64)?;
        // No truncation: at most the length of `bytes`.
        let len = room.min(bytes.len() as u64) as usize;
        if len > 0 {
            self.end.window(0, len as u64).write_at(0, &bytes[..len])?;
            self.end.commit(len as u64)?;
        }
        Ok(len)
    }

    /// Waits until there is any room, then writes as many of `bytes` as fit: 0 only when `timeout` is over, or
    /// there are none.
    ///
    /// # Errors
    /// As [`Producer::wait_for_room`].
    pub fn write_within(&mut self, bytes: &[u8], timeout: Option<Duration>) -> Result<usize> {
        if bytes.is_empty() || !self.wait_for_room(1, timeout)? {
            return Ok(0);
        }
        match self.try_write(bytes)? {
            0 => Err(Error::RingCorrupt { reason: "room was taken back" }),
            len => Ok(len),
        }
    }

    /// Sends a message if there is room for it; false if not.
    ///
    /// # Errors
    /// [`Error::MessageTooLong`] when it does not fit into an empty ring; [`Error::RingCorrupt`].
    #[inline]
    pub fn try_send(&mut self, message: &[u8]) -> Result<bool> {
        let taken = self.frame(message.len() as u64)?;
        if self.end.available(taken)? < taken {
            return Ok(false);
        }
        self.put(message)?;
        Ok(true)
    }

    /// Sends a message; waits until there is room for it.
    ///
    /// # Errors
    /// Those of [`Producer::try_send`]; [`Error::RingPeerGone`].
    #[inline]
    pub fn send(&mut self, message: &[u8]) -> Result<()> {
        self.send_within(message, None).map(drop)
    }

    /// Sends a message; false when there was no room for it within `timeout`.
    ///
    /// # Errors
    /// As [`Producer::send`].
    #[inline]
    pub fn send_within(&mut self, message: &[u8], timeout: Option<Duration>) -> Result<bool> {
        let taken = self.frame(message.len() as u64)?;
        if !self.end.wait(taken, timeout, "send to ring")? {
            return Ok(false);
        }
        self.put(message)?;
        Ok(true)
    }

    /// Room for a message of `len` bytes, to be written in place; `None` when there is not enough now
    /// ([`Producer::wait_for_room`] with eight bytes more, rounded up to eight, waits for it).
    ///
    /// ```
    /// # fn main() -> ashmem::Result<()> {
    /// let ring = ashmem::Ring::create("frames", 4096)?;
    /// let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
    /// if let Some(frame) = producer.reserve(100)? {
    ///     for view in frame.window().views() {
    ///         view.fill(0, view.len(), 7)?;
    ///     }
    ///     frame.commit()?;
    /// }
    /// assert_eq!(consumer.receive_with(|frame| frame.len())?, 100);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Producer::try_send`].
    pub fn reserve(&mut self, len: u64) -> Result<Option<Reservation<'_>>> {
        let taken = self.frame(len)?;
        if self.end.available(taken)? < taken {
            return Ok(None);
        }
        Ok(Some(Reservation { end: &mut self.end, prefix: PREFIX, len, taken }))
    }

    /// Room for up to `most` bytes, to be written in place: as much as there is now, `None` when there is none.
    ///
    /// # Errors
    /// [`Error::RingCorrupt`].
    pub fn reserve_bytes(&mut self, most: u64) -> Result<Option<Reservation<'_>>> {
        let len = self.end.available(most)?.min(most);
        Ok((len > 0).then_some(Reservation { end: &mut self.end, prefix: 0, len, taken: len }))
    }

    /// Bytes that a message of `len` bytes takes.
    #[inline]
    fn frame(&self, len: u64) -> Result<u64> {
        let max = self.end.capacity();
        framed(len).filter(|taken| *taken <= max).ok_or(Error::MessageTooLong { len, max: max - PREFIX })
    }

    #[inline]
    fn put(&mut self, message: &[u8]) -> Result<()> {
        let len = message.len() as u64;
        let taken = self.frame(len)?;
        let window = self.end.window(0, taken);
        window.write_at(0, &len.to_ne_bytes())?;
        window.write_at(PREFIX, message)?;
        self.end.commit(taken)
    }
}

/// Waits for room. Fails with [`io::ErrorKind::BrokenPipe`] when there is no consumer any more.
impl io::Write for Producer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.write_within(bytes, None)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Room in a ring for what is written in place; nobody sees it before [`Reservation::commit`], and dropping it leaves the
/// ring as it was. Made by [`Producer::reserve`].
#[derive(Debug)]
#[must_use = "nothing is sent before `commit`"]
pub struct Reservation<'a> {
    end: &'a mut End,
    /// Bytes of the length in front.
    prefix: u64,
    len: u64,
    /// Bytes with the length and padding.
    taken: u64,
}

impl Reservation<'_> {
    /// The bytes to write. What they hold before is anything.
    #[must_use]
    pub fn window(&self) -> Window<'_> {
        self.end.window(self.prefix, self.len)
    }

    /// Copies `bytes` into the ring, from `offset` of the reserved bytes on.
    ///
    /// # Errors
    /// [`Error::AccessOutOfBounds`].
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.window().write_at(offset, bytes)
    }

    /// Where the producer will be when this is committed: see [`Producer::position`].
    #[must_use]
    pub fn end_position(&self) -> u64 {
        self.end.position().wrapping_add(self.taken)
    }

    /// Leaves the bytes to the consumer.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn commit(self) -> Result<()> {
        if self.prefix > 0 {
            self.end.window(0, self.prefix).write_at(0, &self.len.to_ne_bytes())?;
        }
        self.end.commit(self.taken)
    }
}
