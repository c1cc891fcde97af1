//! The rules: calls, and what their arguments must be for somebody to look at them.

use super::Call;

/// The first number of those that descriptors of the device have: below the usual limit of 1,024, above what most programs use.
pub const HIGH: u32 = 768;

/// Something that a filter can see in an argument. All are compared as the kernel sees them: descriptors, flags and requests have
/// 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The argument of this index is a high descriptor.
    High(u8),
    /// The bits of `mask` in an argument are `value`.
    Masked {
        /// The argument's index.
        argument: u8,
        /// Which bits count.
        mask: u32,
        /// What they are.
        value: u32,
    },
}

/// A call is looked at where all of these hold. Where several rules name one call, each is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which call.
    pub call: Call,
    /// What must hold; nothing for a call that is always looked at.
    pub conditions: Vec<Condition>,
}

/// The second lowest byte of an ioctl's request: the driver's type.
const DRIVER: Condition = Condition::Masked { argument: 1, mask: 0xff00, value: 0x7700 };

/// All rules.
#[must_use]
pub fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut rule =
        |call, conditions: &[Condition]| rules.push(Rule { call, conditions: conditions.to_vec() });
    // The device's path, and what stands for it in `/proc`.
    for call in [
        Call::Open,
        Call::Creat,
        Call::OpenAt,
        Call::OpenAt2,
        Call::Stat,
        Call::Lstat,
        Call::StatAt,
        Call::Statx,
        Call::Access,
        Call::AccessAt,
        Call::AccessAt2,
        Call::ReadLink,
        Call::ReadLinkAt,
        Call::GetAttribute,
        Call::ListAttributes,
        Call::Truncate,
    ] {
        rule(call, &[]);
    }
    // A received descriptor has any number: what programs do first with one is looked at always, and what could change an
    // area's file.
    for call in
        [Call::Fstat, Call::Ftruncate, Call::Fallocate, Call::Fchmod, Call::Fchown, Call::RemapFilePages]
    {
        rule(call, &[]);
    }
    // Descriptors on their way. `sendmmsg`, `recvmmsg` and i386's `socketcall` are not looked at: what comes that way has a low number.
    for call in [Call::SendMessage, Call::ReceiveMessage] {
        rule(call, &[]);
    }
    rule(Call::Ioctl, &[DRIVER]);
    rule(Call::Ioctl, &[Condition::High(0)]);
    let is = |argument, value: i32| Condition::Masked { argument, mask: u32::MAX, value: value as u32 };
    rule(Call::Fcntl, &[is(1, libc::F_ADD_SEALS)]);
    rule(Call::Fcntl, &[is(1, libc::F_GET_SEALS)]);
    rule(Call::Fcntl, &[is(1, libc::F_DUPFD), Condition::High(0)]);
    rule(Call::Fcntl, &[is(1, libc::F_DUPFD_CLOEXEC), Condition::High(0)]);
    rule(Call::Dup, &[Condition::High(0)]);
    let has = |argument, bit: i32| Condition::Masked { argument, mask: bit as u32, value: bit as u32 };
    rule(Call::Mmap, &[Condition::Masked { argument: 3, mask: libc::MAP_ANONYMOUS as u32, value: 0 }]);
    rule(Call::OldMmap, &[]);
    for call in [Call::Mprotect, Call::PkeyMprotect] {
        for bit in [libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC] {
            rule(call, &[has(2, bit)]);
        }
    }
    for call in [
        Call::Read,
        Call::Write,
        Call::Readv,
        Call::Writev,
        Call::Pread,
        Call::Pwrite,
        Call::Preadv,
        Call::Pwritev,
        Call::Preadv2,
        Call::Pwritev2,
        Call::Lseek,
        Call::LongSeek,
        Call::Fsync,
        Call::Fdatasync,
        Call::SyncFileRange,
        Call::CopyFileRange,
        Call::Splice,
    ] {
        rule(call, &[Condition::High(0)]);
    }
    rule(Call::CopyFileRange, &[Condition::High(2)]);
    rule(Call::Splice, &[Condition::High(2)]);
    rule(Call::Sendfile, &[Condition::High(1)]);
    rule(Call::Sendfile, &[Condition::High(0)]);
    rules
}
