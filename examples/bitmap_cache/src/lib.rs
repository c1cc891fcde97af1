//! Bitmaps for many processes: a service decodes pictures and hands out read-only shared memory.
//!
//! A [`Client`] asks for a picture by its path and the size that it wants, and gets a [`Bitmap`]: a region that the service has decoded
//! into, and that every other client who asks for the same gets, too. Nobody copies it. What nobody looks at may be *purged*, when the
//! service's limit is reached or the system is short of memory; who looks again has it decoded again, into the same memory.
//!
//! To look is to hold a [`Pixels`]: a lease on the memory, which no purge takes away. So a client sees the right pixels, or hears that they
//! went, and never a part of them.
//!
//! It is what Android does with `Bitmap.asShared()` and caches of pinned and unpinned bitmaps in ashmem; the parts are those of this project:
//! [`ashmem::Purgeable`] in the service, [`ashmem::Region::lease`] through a read-only descriptor in the client, Binder between them.
//!
//! ```
//! use ashmem_binder::ServiceManager;
//! use bitmap_cache::service::{Options, Service};
//! use bitmap_cache::{Client, Size};
//!
//! # let directory = tempfile::tempdir()?;
//! # let services = ServiceManager::at(&format!("unix://{}/services", directory.path().display()))?;
//! # let folder = directory.path().canonicalize()?.join("pictures");
//! # std::fs::create_dir(&folder)?;
//! # image::RgbImage::from_pixel(640, 480, image::Rgb([200, 100, 50])).save(folder.join("red.png"))?;
//! // One process; `ServiceManager::new()` has the user's own services.
//! let service = Service::new(&[&folder], Options::default().limit(16 << 20))?;
//! service.add_to(&services)?;
//!
//! // Any other.
//! let client = Client::connect(&services)?;
//! let bitmap = client.bitmap(folder.join("red.png"), Size::new(128, 128)?)?;
//! let pixels = bitmap.pixels()?;
//! assert_eq!((pixels.width(), pixels.height()), (128, 96));
//! assert_eq!(pixels.to_image()?.get_pixel(0, 0).0, [200, 100, 50, 255]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Trust
//!
//! The service reads pictures below its roots and nothing else, whatever a client asks for. A client's descriptors are read-only, so it can
//! neither write nor purge by mistake. A process of the same user can get around that (`/proc`), and then spoil the pixels of those bitmaps
//! that it was given, as it could spoil any memory of that user's processes. What it cannot do is to stop the service, or to keep more
//! memory than its share.

mod bitmap;
mod client;
mod error;
mod protocol;
pub mod service;

pub use bitmap::{Bitmap, Pixels};
pub use client::Client;
pub use error::{Error, Result};
pub use protocol::{NAME, Refusal, Size, Stats};
