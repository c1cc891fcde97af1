//! What `stat` says of the device.

use std::fs;

use crate::filter::{Abi, Width};

/// The driver's major number: that of the miscellaneous devices.
const MAJOR: u32 = 10;

/// The device's file, as it would be in `/dev`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    device: u64,
    inode: u64,
    minor: u32,
    /// Seconds and nanoseconds since 1970.
    time: (i64, u32),
    block: u32,
}

/// Character device, readable and writable for all.
const MODE: u32 = libc::S_IFCHR | 0o666;

impl Node {
    pub(crate) fn new() -> Node {
        // Where `/dev` is.
        let null = rustix::fs::stat("/dev/null").ok();
        Node {
            device: null.map_or(5, |stat| stat.st_dev),
            // Nothing there has a number as large.
            inode: 0x6173_686d,
            minor: free_minor(),
            time: null.map_or((0, 0), |stat| (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0))),
            block: 4096,
        }
    }

    /// `struct stat` of an interface, in the form that the call has.
    pub(crate) fn stat(&self, abi: Abi, width: Width) -> Vec<u8> {
        let mut out = Bytes::default();
        let rdev = rustix::fs::makedev(MAJOR, self.minor);
        let (seconds, nanoseconds) = self.time;
        match (abi, width) {
            (Abi::X86_64, _) => {
                out.u64(self.device).u64(self.inode).u64(1).u32(MODE).u32(0).u32(0).u32(0).u64(rdev);
                out.u64(0).u64(u64::from(self.block)).u64(0);
                for _ in 0..3 {
                    out.u64(seconds as u64).u64(u64::from(nanoseconds));
                }
                out.zeros(24);
            }
            (Abi::Aarch64, _) => {
                out.u64(self.device).u64(self.inode).u32(MODE).u32(1).u32(0).u32(0).u64(rdev).u64(0);
                out.u64(0).u32(self.block).u32(0).u64(0);
                for _ in 0..3 {
                    out.u64(seconds as u64).u64(u64::from(nanoseconds));
                }
                out.zeros(8);
            }
            // struct stat64 of i386, packed.
            (Abi::I386, Width::Long) => {
                out.u64(self.device).zeros(4).u32(self.inode as u32).u32(MODE).u32(1).u32(0).u32(0);
                out.u64(rdev).zeros(4).u64(0).u32(self.block).u64(0);
                for _ in 0..3 {
                    out.u32(seconds as u32).u32(nanoseconds);
                }
                out.u64(self.inode);
            }
            // struct stat64 of arm, with 8-byte members aligned.
            (Abi::Arm, Width::Long) => {
                out.u64(self.device).zeros(4).u32(self.inode as u32).u32(MODE).u32(1).u32(0).u32(0);
                out.u64(rdev).zeros(8).u64(0).u32(self.block).zeros(4).u64(0);
                for _ in 0..3 {
                    out.u32(seconds as u32).u32(nanoseconds);
                }
                out.u64(self.inode);
            }
            // The old structures of both, alike.
            (Abi::I386 | Abi::Arm, _) => {
                out.u32(self.device as u32).u32(self.inode as u32).u16(MODE as u16).u16(1).u16(0).u16(0);
                out.u32(rdev as u32).u32(0).u32(self.block).u32(0);
                for _ in 0..3 {
                    out.u32(seconds as u32).u32(nanoseconds);
                }
                out.zeros(8);
            }
        }
        out.0
    }

    /// `struct statx`, the same everywhere.
    pub(crate) fn statx(&self) -> Vec<u8> {
        const BASIC: u32 = 0x7ff;
        let mut out = Bytes::default();
        let (seconds, nanoseconds) = self.time;
        out.u32(BASIC).u32(self.block).u64(0).u32(1).u32(0).u32(0).u16(MODE as u16).u16(0);
        out.u64(self.inode).u64(0).u64(0).u64(0);
        // Access, birth, change, modification.
        for is_known in [true, false, true, true] {
            if is_known {
                out.u64(seconds as u64).u32(nanoseconds).u32(0);
            } else {
                out.zeros(16);
            }
        }
        out.u32(MAJOR).u32(self.minor);
        out.u32(rustix::fs::major(self.device)).u32(rustix::fs::minor(self.device));
        out.zeros(256 - out.0.len());
        out.0
    }
}

/// A number that no device of this system has.
fn free_minor() -> u32 {
    let taken = fs::read_to_string("/proc/misc").unwrap_or_default();
    let taken: Vec<u32> =
        taken.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    // Where the kernel gives numbers to those that do not mind, downwards.
    (0..=63).rev().find(|minor| !taken.contains(minor)).unwrap_or(63)
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, value: u16) -> &mut Bytes {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Bytes {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Bytes {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn zeros(&mut self, count: usize) -> &mut Bytes {
        self.0.resize(self.0.len() + count, 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernel_s_sizes() {
        let node = Node::new();
        assert_eq!(node.stat(Abi::native()[0], Width::Natural).len(), size_of::<libc::stat>());
        assert_eq!(node.stat(Abi::X86_64, Width::Natural).len(), 144);
        assert_eq!(node.stat(Abi::Aarch64, Width::Natural).len(), 128);
        assert_eq!(node.stat(Abi::I386, Width::Long).len(), 96);
        assert_eq!(node.stat(Abi::Arm, Width::Long).len(), 104);
        assert_eq!(node.stat(Abi::I386, Width::Natural).len(), 64);
        assert_eq!(node.statx().len(), size_of::<libc::statx>());
    }
}
