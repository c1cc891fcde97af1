//! The driver as a pure state machine.
//!
//! Everything that the ashmem driver of Linux 5.10 decides, without a system call: what an ioctl answers, which pages a
//! pin request names, which unpinned ranges there are and in which order the shrinker takes them. Its owner performs
//! what the answers say (maps, reads, punches holes) and tells it what came of that. Deterministic: the same calls in
//! the same order give the same answers, and no input makes it panic, overflow or loop for long.
//!
//! ```text
//! Device ── Area (one per open)     name, size, protection mask, two file positions
//!    │        └─ Ranges             the unpinned ranges of the area, ordered by page
//!    ├─ Lru                         the ranges that are unpinned and not yet purged, over all areas, oldest first
//!    └─ Shrinker                    what the shrinker core carries from one call to the next
//! ```
//!
//! A range is in one of two states: *waiting* (in the LRU) or *purged* (not in it). UNPIN makes a waiting one, the
//! shrinker turns it into a purged one, PIN removes, trims or splits it. Everything outside the ranges is pinned.
//!
//! ```
//! use ashmem_device::model::{Access, Device, Flavour, MapCall, MapKind, Pin};
//!
//! let mut device = Device::new(4096, Flavour::Mainline);
//! let id = device.open(Access::ReadWrite);
//! let area = device.area_mut(id).unwrap();
//! area.set_size(8192)?;
//! let call = MapCall { length: 8192, offset: 0, protection: 3, shared: true };
//! assert_eq!(area.check_map(&call)?, MapKind::Contents);
//! area.mapped();
//!
//! device.unpin(id, Pin { offset: 4096, len: 0 })?;
//! assert_eq!(device.purge_all(&mut |_, pages| assert_eq!(pages, 1..2)), 1);
//! assert!(device.pin(id, Pin { offset: 0, len: 0 })?.purged);
//! # Ok::<(), rustix::io::Errno>(())
//! ```

mod area;
mod device;
mod lru;
mod map;
mod pin;
mod position;
mod ranges;
mod shrinker;

pub use area::{Area, DEFAULT_NAME, NAME_LENGTH, PROTECTION_ALL};
pub use device::Device;
pub use map::{ADDRESS_SPACE, MapCall, MapKind};
pub use pin::{Pin, Pinned};
pub use position::Whence;

/// Whose driver answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Linux's own, up to 5.17: GET_FILE_ID is unknown (ENOTTY), fdinfo shows no size.
    Mainline,
    /// That of the Android common kernels: GET_FILE_ID answers, fdinfo shows the size.
    Android,
}

/// How a descriptor of the device was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `O_RDONLY`.
    Read,
    /// `O_WRONLY`.
    Write,
    /// `O_RDWR`.
    ReadWrite,
}

impl Access {
    /// Whether `read(2)` and mappings are allowed at all.
    #[must_use]
    pub fn reads(self) -> bool {
        self != Access::Write
    }

    /// Whether a shared mapping may be writable.
    #[must_use]
    pub fn writes(self) -> bool {
        self != Access::Read
    }
}

/// Names an area of a [`Device`]; never used again once the area is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AreaId(u64);

impl AreaId {
    /// The number behind it, for messages.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// What a program sees in the result register for an ioctl that answers `value`: the kernel passes it through an `int`.
///
/// 2 GiB becomes -2147483648, 4 GiB becomes 0. Values that end up in -4095..0 look like errors, as they do there.
#[must_use]
pub fn register(value: u64) -> i64 {
    i64::from(value as u32 as i32)
}
