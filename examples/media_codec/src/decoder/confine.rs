//! What a decoder may still do: compute, have memory, and wait for its client.
#![allow(unsafe_code, reason = "closing all descriptors, whoever opened them")]

use std::collections::BTreeMap;
use std::io;

use libc::{MAP_ANONYMOUS, PROT_EXEC, SIGABRT};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Sets limits that need no filter: a stream that unpacks to more memory than that ends its decoder, and nobody else. Where the process
/// had a lower limit already, that one stays.
pub(super) fn limit(memory: u64) -> io::Result<()> {
    for (resource, value) in
        [(Resource::As, memory), (Resource::Core, 0), (Resource::Fsize, 0), (Resource::Nofile, 0)]
    {
        let value = getrlimit(resource).maximum.map_or(value, |maximum| maximum.min(value));
        setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?;
    }
    Ok(())
}

/// Closes all descriptors, also those that the service had inherited itself.
pub(super) fn close_descriptors() -> io::Result<()> {
    // SAFETY: the process's only thread goes on to `work`, which uses no descriptor; those that values still own are closed a second
    // time at most, when the filter allows no such call any more.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// From here on, the kernel ends the process at any call that the filter does not allow.
pub(super) fn apply(filter: &BpfProgram) -> Result<(), seccompiler::Error> {
    // Sets `no_new_privs`, too.
    seccompiler::apply_filter(filter)
}

/// The list of what is allowed. A call that is not on it ends the process (SIGSYS).
pub(super) fn filter() -> Result<BpfProgram, BackendError> {
    let anonymous_without_code =
        SeccompRule::new(vec![without(2, PROT_EXEC)?, with(3, MAP_ANONYMOUS, MAP_ANONYMOUS)?])?;
    let itself = rustix::process::getpid().as_raw_pid();
    let rules: BTreeMap<i64, Vec<SeccompRule>> = [
        // Memory.
        (libc::SYS_brk, vec![]),
        (libc::SYS_mmap, vec![anonymous_without_code]),
        (libc::SYS_mprotect, vec![SeccompRule::new(vec![without(2, PROT_EXEC)?])?]),
        (libc::SYS_mremap, vec![]),
        (libc::SYS_munmap, vec![]),
        (libc::SYS_madvise, vec![]),
        // Waiting and waking, and locks that nobody else wants.
        (libc::SYS_futex, futex()?),
        (libc::SYS_sched_yield, vec![]),
        (libc::SYS_restart_syscall, vec![]),
        // The clock, where it is not read without a call, and seeds of hash tables.
        (libc::SYS_clock_gettime, vec![]),
        (libc::SYS_getrandom, vec![]),
        // The end, also by its own signals: a report of a crash then tells which.
        (libc::SYS_exit, vec![]),
        (libc::SYS_exit_group, vec![]),
        (libc::SYS_rt_sigaction, vec![]),
        (libc::SYS_rt_sigprocmask, vec![]),
        (libc::SYS_rt_sigreturn, vec![]),
        (libc::SYS_sigaltstack, vec![]),
        (libc::SYS_getpid, vec![]),
        (libc::SYS_gettid, vec![]),
        (libc::SYS_tgkill, vec![SeccompRule::new(vec![equal(0, itself)?, equal(2, SIGABRT)?])?]),
        // So musl's `abort` does it. The only thread has the process's number.
        (libc::SYS_tkill, vec![SeccompRule::new(vec![equal(0, itself)?, equal(1, SIGABRT)?])?]),
        // Last words to a standard error that is closed: EBADF.
        (libc::SYS_write, vec![SeccompRule::new(vec![equal(0, 2)?])?]),
    ]
    .into();
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?.try_into()
}

/// Plain waiting and waking, with or without the flags for private words and for the clock.
fn futex() -> Result<Vec<SeccompRule>, BackendError> {
    let flags = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;
    let operations = [libc::FUTEX_WAIT, libc::FUTEX_WAKE, libc::FUTEX_WAIT_BITSET, libc::FUTEX_WAKE_BITSET];
    operations.map(|operation| SeccompRule::new(vec![with(1, !flags, operation)?])).into_iter().collect()
}

fn equal(argument: u8, value: i32) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::Eq, value)
}

/// Of the argument's bits in `mask`, those of `bits` are set, and the others are not.
fn with(argument: u8, mask: i32, bits: i32) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::MaskedEq(u64::from(mask as u32)), bits)
}

fn without(argument: u8, bits: i32) -> Result<SeccompCondition, BackendError> {
    with(argument, bits, 0)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: i32) -> Result<SeccompCondition, BackendError> {
    let value = u64::from(value as u32);
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}
