//! The numbers of system calls, and the calling conventions that differ.

use crate::filter::Call::*;

/// A system call that somebody may have to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the system call of that name")]
pub enum Call {
    Open,
    Creat,
    OpenAt,
    OpenAt2,
    Stat,
    Lstat,
    StatAt,
    Statx,
    Access,
    AccessAt,
    AccessAt2,
    ReadLink,
    ReadLinkAt,
    /// `getxattr`, `lgetxattr`, `listxattr`, `llistxattr`: what `ls -l` asks.
    GetAttribute,
    ListAttributes,
    Fstat,
    Ftruncate,
    Truncate,
    Fchmod,
    Fchown,
    Fallocate,
    RemapFilePages,
    Ioctl,
    Fcntl,
    Dup,
    Mmap,
    /// `mmap` with a structure (i386, number 90).
    OldMmap,
    Mprotect,
    PkeyMprotect,
    Read,
    Write,
    Readv,
    Writev,
    Pread,
    Pwrite,
    Preadv,
    Pwritev,
    Preadv2,
    Pwritev2,
    Lseek,
    /// `_llseek`, of 32-bit systems.
    LongSeek,
    Fsync,
    Fdatasync,
    SyncFileRange,
    CopyFileRange,
    Splice,
    Sendfile,
    SendMessage,
    ReceiveMessage,
}

/// A binary interface of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abi {
    /// 64-bit programs on x86-64.
    X86_64,
    /// 32-bit programs on x86-64.
    I386,
    /// 64-bit programs on aarch64.
    Aarch64,
    /// 32-bit programs on aarch64.
    Arm,
}

/// Calls that 32-bit programs have twice, with the older number's narrower structures or offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// As everywhere.
    Natural,
    /// With 64-bit offsets in two registers, or structures that have them: `stat64`, `ftruncate64`, `fcntl64`.
    Long,
    /// `mmap2`, whose offset counts 4,096 bytes.
    Pages,
}

/// A row of a table.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// The call's number.
    pub number: i32,
    /// What it is.
    pub call: Call,
    /// Which of the two it is.
    pub width: Width,
    /// Its name, as libseccomp has it.
    pub name: &'static str,
}

impl Abi {
    /// Those of this machine, its own first.
    #[must_use]
    pub fn native() -> &'static [Abi] {
        if cfg!(target_arch = "aarch64") { &[Abi::Aarch64, Abi::Arm] } else { &[Abi::X86_64, Abi::I386] }
    }

    /// `AUDIT_ARCH_…` (`linux/audit.h`).
    #[must_use]
    pub fn audit(self) -> u32 {
        const LITTLE_ENDIAN: u32 = 0x4000_0000;
        const BITS_64: u32 = 0x8000_0000;
        match self {
            Abi::X86_64 => 62 | BITS_64 | LITTLE_ENDIAN,
            Abi::I386 => 3 | LITTLE_ENDIAN,
            Abi::Aarch64 => 183 | BITS_64 | LITTLE_ENDIAN,
            Abi::Arm => 40 | LITTLE_ENDIAN,
        }
    }

    /// The interface of that `AUDIT_ARCH_…`.
    #[must_use]
    pub fn from_audit(audit: u32) -> Option<Abi> {
        [Abi::X86_64, Abi::I386, Abi::Aarch64, Abi::Arm].into_iter().find(|abi| abi.audit() == audit)
    }

    /// Whether addresses and sizes have 32 bits.
    #[must_use]
    pub fn is_32_bit(self) -> bool {
        matches!(self, Abi::I386 | Abi::Arm)
    }

    /// The calls that it has.
    #[must_use]
    pub fn numbers(self) -> &'static [Number] {
        match self {
            Abi::X86_64 => X86_64,
            Abi::I386 => I386,
            Abi::Aarch64 => AARCH64,
            Abi::Arm => ARM,
        }
    }

    /// What a number stands for.
    #[must_use]
    pub fn call(self, number: i32) -> Option<Number> {
        self.numbers().iter().copied().find(|row| row.number == number)
    }
}

const fn row(number: i32, name: &'static str, call: Call) -> Number {
    Number { number, call, width: Width::Natural, name }
}

const fn long(number: i32, name: &'static str, call: Call) -> Number {
    Number { number, call, width: Width::Long, name }
}

const fn pages(number: i32, name: &'static str, call: Call) -> Number {
    Number { number, call, width: Width::Pages, name }
}

const X86_64: &[Number] = &[
    row(0, "read", Read),
    row(1, "write", Write),
    row(2, "open", Open),
    row(4, "stat", Stat),
    row(5, "fstat", Fstat),
    row(6, "lstat", Lstat),
    row(8, "lseek", Lseek),
    row(9, "mmap", Mmap),
    row(10, "mprotect", Mprotect),
    row(16, "ioctl", Ioctl),
    row(17, "pread64", Pread),
    row(18, "pwrite64", Pwrite),
    row(19, "readv", Readv),
    row(20, "writev", Writev),
    row(21, "access", Access),
    row(32, "dup", Dup),
    row(40, "sendfile", Sendfile),
    row(46, "sendmsg", SendMessage),
    row(47, "recvmsg", ReceiveMessage),
    row(72, "fcntl", Fcntl),
    row(74, "fsync", Fsync),
    row(75, "fdatasync", Fdatasync),
    row(76, "truncate", Truncate),
    row(77, "ftruncate", Ftruncate),
    row(85, "creat", Creat),
    row(89, "readlink", ReadLink),
    row(91, "fchmod", Fchmod),
    row(93, "fchown", Fchown),
    row(191, "getxattr", GetAttribute),
    row(192, "lgetxattr", GetAttribute),
    row(194, "listxattr", ListAttributes),
    row(195, "llistxattr", ListAttributes),
    row(216, "remap_file_pages", RemapFilePages),
    row(257, "openat", OpenAt),
    row(262, "newfstatat", StatAt),
    row(267, "readlinkat", ReadLinkAt),
    row(269, "faccessat", AccessAt),
    row(275, "splice", Splice),
    row(277, "sync_file_range", SyncFileRange),
    row(285, "fallocate", Fallocate),
    row(295, "preadv", Preadv),
    row(296, "pwritev", Pwritev),
    row(326, "copy_file_range", CopyFileRange),
    row(327, "preadv2", Preadv2),
    row(328, "pwritev2", Pwritev2),
    row(329, "pkey_mprotect", PkeyMprotect),
    row(332, "statx", Statx),
    row(437, "openat2", OpenAt2),
    row(439, "faccessat2", AccessAt2),
];

const AARCH64: &[Number] = &[
    row(8, "getxattr", GetAttribute),
    row(9, "lgetxattr", GetAttribute),
    row(11, "listxattr", ListAttributes),
    row(12, "llistxattr", ListAttributes),
    row(23, "dup", Dup),
    row(25, "fcntl", Fcntl),
    row(29, "ioctl", Ioctl),
    row(45, "truncate", Truncate),
    row(46, "ftruncate", Ftruncate),
    row(47, "fallocate", Fallocate),
    row(48, "faccessat", AccessAt),
    row(52, "fchmod", Fchmod),
    row(55, "fchown", Fchown),
    row(56, "openat", OpenAt),
    row(62, "lseek", Lseek),
    row(63, "read", Read),
    row(64, "write", Write),
    row(65, "readv", Readv),
    row(66, "writev", Writev),
    row(67, "pread64", Pread),
    row(68, "pwrite64", Pwrite),
    row(69, "preadv", Preadv),
    row(70, "pwritev", Pwritev),
    row(71, "sendfile", Sendfile),
    row(76, "splice", Splice),
    row(78, "readlinkat", ReadLinkAt),
    row(79, "newfstatat", StatAt),
    row(80, "fstat", Fstat),
    row(82, "fsync", Fsync),
    row(83, "fdatasync", Fdatasync),
    row(84, "sync_file_range", SyncFileRange),
    row(211, "sendmsg", SendMessage),
    row(212, "recvmsg", ReceiveMessage),
    row(222, "mmap", Mmap),
    row(226, "mprotect", Mprotect),
    row(234, "remap_file_pages", RemapFilePages),
    row(285, "copy_file_range", CopyFileRange),
    row(286, "preadv2", Preadv2),
    row(287, "pwritev2", Pwritev2),
    row(288, "pkey_mprotect", PkeyMprotect),
    row(291, "statx", Statx),
    row(437, "openat2", OpenAt2),
    row(439, "faccessat2", AccessAt2),
];

const I386: &[Number] = &[
    row(3, "read", Read),
    row(4, "write", Write),
    row(5, "open", Open),
    row(8, "creat", Creat),
    row(19, "lseek", Lseek),
    row(33, "access", Access),
    row(41, "dup", Dup),
    row(54, "ioctl", Ioctl),
    row(55, "fcntl", Fcntl),
    row(85, "readlink", ReadLink),
    row(90, "mmap", OldMmap),
    row(92, "truncate", Truncate),
    row(93, "ftruncate", Ftruncate),
    row(94, "fchmod", Fchmod),
    row(95, "fchown", Fchown),
    row(106, "stat", Stat),
    row(107, "lstat", Lstat),
    row(108, "fstat", Fstat),
    row(118, "fsync", Fsync),
    row(125, "mprotect", Mprotect),
    row(140, "_llseek", LongSeek),
    row(145, "readv", Readv),
    row(146, "writev", Writev),
    row(148, "fdatasync", Fdatasync),
    row(180, "pread64", Pread),
    row(181, "pwrite64", Pwrite),
    row(187, "sendfile", Sendfile),
    pages(192, "mmap2", Mmap),
    long(193, "truncate64", Truncate),
    long(194, "ftruncate64", Ftruncate),
    long(195, "stat64", Stat),
    long(196, "lstat64", Lstat),
    long(197, "fstat64", Fstat),
    row(207, "fchown32", Fchown),
    long(221, "fcntl64", Fcntl),
    row(229, "getxattr", GetAttribute),
    row(230, "lgetxattr", GetAttribute),
    row(232, "listxattr", ListAttributes),
    row(233, "llistxattr", ListAttributes),
    long(239, "sendfile64", Sendfile),
    row(257, "remap_file_pages", RemapFilePages),
    row(295, "openat", OpenAt),
    long(300, "fstatat64", StatAt),
    row(305, "readlinkat", ReadLinkAt),
    row(307, "faccessat", AccessAt),
    row(313, "splice", Splice),
    row(314, "sync_file_range", SyncFileRange),
    row(324, "fallocate", Fallocate),
    row(333, "preadv", Preadv),
    row(334, "pwritev", Pwritev),
    row(370, "sendmsg", SendMessage),
    row(372, "recvmsg", ReceiveMessage),
    row(377, "copy_file_range", CopyFileRange),
    row(378, "preadv2", Preadv2),
    row(379, "pwritev2", Pwritev2),
    row(380, "pkey_mprotect", PkeyMprotect),
    row(383, "statx", Statx),
    row(437, "openat2", OpenAt2),
    row(439, "faccessat2", AccessAt2),
];

const ARM: &[Number] = &[
    row(3, "read", Read),
    row(4, "write", Write),
    row(5, "open", Open),
    row(8, "creat", Creat),
    row(19, "lseek", Lseek),
    row(33, "access", Access),
    row(41, "dup", Dup),
    row(54, "ioctl", Ioctl),
    row(55, "fcntl", Fcntl),
    row(85, "readlink", ReadLink),
    row(92, "truncate", Truncate),
    row(93, "ftruncate", Ftruncate),
    row(94, "fchmod", Fchmod),
    row(95, "fchown", Fchown),
    row(106, "stat", Stat),
    row(107, "lstat", Lstat),
    row(108, "fstat", Fstat),
    row(118, "fsync", Fsync),
    row(125, "mprotect", Mprotect),
    row(140, "_llseek", LongSeek),
    row(145, "readv", Readv),
    row(146, "writev", Writev),
    row(148, "fdatasync", Fdatasync),
    row(180, "pread64", Pread),
    row(181, "pwrite64", Pwrite),
    row(187, "sendfile", Sendfile),
    pages(192, "mmap2", Mmap),
    long(193, "truncate64", Truncate),
    long(194, "ftruncate64", Ftruncate),
    long(195, "stat64", Stat),
    long(196, "lstat64", Lstat),
    long(197, "fstat64", Fstat),
    row(207, "fchown32", Fchown),
    long(221, "fcntl64", Fcntl),
    row(229, "getxattr", GetAttribute),
    row(230, "lgetxattr", GetAttribute),
    row(232, "listxattr", ListAttributes),
    row(233, "llistxattr", ListAttributes),
    long(239, "sendfile64", Sendfile),
    row(253, "remap_file_pages", RemapFilePages),
    row(296, "sendmsg", SendMessage),
    row(297, "recvmsg", ReceiveMessage),
    row(322, "openat", OpenAt),
    long(327, "fstatat64", StatAt),
    row(332, "readlinkat", ReadLinkAt),
    row(334, "faccessat", AccessAt),
    row(340, "splice", Splice),
    row(341, "sync_file_range", SyncFileRange),
    row(352, "fallocate", Fallocate),
    row(361, "preadv", Preadv),
    row(362, "pwritev", Pwritev),
    row(391, "copy_file_range", CopyFileRange),
    row(392, "preadv2", Preadv2),
    row(393, "pwritev2", Pwritev2),
    row(394, "pkey_mprotect", PkeyMprotect),
    row(397, "statx", Statx),
    row(437, "openat2", OpenAt2),
    row(439, "faccessat2", AccessAt2),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_native_numbers_are_the_kernel_s() {
        let native = Abi::native()[0];
        let number =
            |call| native.numbers().iter().find(|row| row.call == call).map(|row| i64::from(row.number));
        for (call, expected) in [
            (OpenAt, libc::SYS_openat),
            (OpenAt2, libc::SYS_openat2),
            (StatAt, libc::SYS_newfstatat),
            (Statx, libc::SYS_statx),
            (AccessAt, libc::SYS_faccessat),
            (AccessAt2, libc::SYS_faccessat2),
            (ReadLinkAt, libc::SYS_readlinkat),
            (Fstat, libc::SYS_fstat),
            (Ftruncate, libc::SYS_ftruncate),
            (Fallocate, libc::SYS_fallocate),
            (RemapFilePages, libc::SYS_remap_file_pages),
            (Ioctl, libc::SYS_ioctl),
            (Fcntl, libc::SYS_fcntl),
            (Dup, libc::SYS_dup),
            (Mmap, libc::SYS_mmap),
            (Mprotect, libc::SYS_mprotect),
            (PkeyMprotect, libc::SYS_pkey_mprotect),
            (Read, libc::SYS_read),
            (Write, libc::SYS_write),
            (Readv, libc::SYS_readv),
            (Writev, libc::SYS_writev),
            (Pread, libc::SYS_pread64),
            (Pwrite, libc::SYS_pwrite64),
            (Preadv, libc::SYS_preadv),
            (Pwritev, libc::SYS_pwritev),
            (Preadv2, libc::SYS_preadv2),
            (Pwritev2, libc::SYS_pwritev2),
            (Lseek, libc::SYS_lseek),
            (Fsync, libc::SYS_fsync),
            (Fdatasync, libc::SYS_fdatasync),
            (SyncFileRange, libc::SYS_sync_file_range),
            (CopyFileRange, libc::SYS_copy_file_range),
            (Splice, libc::SYS_splice),
            (Sendfile, libc::SYS_sendfile),
            (SendMessage, libc::SYS_sendmsg),
            (ReceiveMessage, libc::SYS_recvmsg),
        ] {
            assert_eq!(number(call), Some(expected), "{call:?}");
        }
    }

    #[test]
    fn tables_are_sorted_and_name_each_number_once() {
        for abi in [Abi::X86_64, Abi::I386, Abi::Aarch64, Abi::Arm] {
            let numbers = abi.numbers();
            assert!(numbers.windows(2).all(|pair| pair[0].number < pair[1].number), "{abi:?}");
            assert!(numbers.iter().all(|row| abi.call(row.number).map(|found| found.name) == Some(row.name)));
            assert_eq!(Abi::from_audit(abi.audit()), Some(abi));
        }
    }
}
