//! A thread that leaves the program's signals alone and gets the processor soon when it wakes.
#![allow(unsafe_code, reason = "pthread_sigmask and sched_setattr")]

use std::cell::Cell;
use std::ptr;

/// Runs `spawn` with all signals blocked, so that a thread it starts never takes one meant for the program.
pub(crate) fn without_signals<T>(spawn: impl FnOnce() -> T) -> T {
    // SAFETY: `sigset_t` is a C structure of integers, for which all zeros is a value.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut old: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `all` is a valid place for a signal set.
    unsafe { libc::sigfillset(&mut all) };
    // SAFETY: both sets are valid; only the calling thread's mask changes.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old) };
    let result = spawn();
    // SAFETY: `old` is the mask that was in force.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut()) };
    result
}

/// The shortest slice that the kernel grants, in nanoseconds.
const SLICE: u64 = 100_000;

/// `struct sched_attr` in its first version (`sched_setattr(2)`).
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const _: () = assert!(size_of::<SchedAttr>() == 48);

impl SchedAttr {
    /// That of an ordinary thread, which the threads that it starts are as well.
    fn new() -> SchedAttr {
        const RESET_ON_FORK: u64 = 1;
        SchedAttr { size: size_of::<SchedAttr>() as u32, flags: RESET_ON_FORK, ..SchedAttr::default() }
    }

    /// Makes it the calling thread's; false when that is not allowed.
    fn set(&self) -> bool {
        // SAFETY: a valid `struct sched_attr` of the size that it names; 0 is the calling thread.
        let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, ptr::from_ref(self), 0) };
        answer == 0
    }
}

/// Lets the calling thread run soon after it wakes, also on a busy machine, as far as it is allowed: memory does not wait. A short
/// slice needs no privilege (Linux 6.12 and later); a real-time policy does, or else a high priority. Threads that it starts are ordinary
/// ones. Says whether anything changed: what somebody has set for the thread stays.
pub(crate) fn be_prompt() -> bool {
    const HIGHEST: i32 = -20;
    let real_time = SchedAttr { policy: libc::SCHED_RR as u32, priority: 1, ..SchedAttr::new() };
    let high = SchedAttr { nice: HIGHEST, runtime: SLICE, ..SchedAttr::new() };
    let slice_alone = SchedAttr { runtime: SLICE, ..SchedAttr::new() };
    // SAFETY: asks about the calling thread only.
    let policy = unsafe { libc::sched_getscheduler(0) } & !libc::SCHED_RESET_ON_FORK;
    // SAFETY: as above.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if policy != libc::SCHED_OTHER || nice > 0 {
        // Somebody has decided otherwise.
        return false;
    }
    // The first that is allowed.
    [real_time, high, slice_alone].iter().any(SchedAttr::set)
}

/// Runs something of the program's as an ordinary thread would, whichever thread this is.
pub(crate) fn at_leisure<T>(action: impl FnOnce() -> T) -> T {
    // A thread that is torn down has no thread-local storage any more.
    if !IS_OURS.try_with(Cell::get).unwrap_or(false) {
        return action();
    }
    // Allowed, as it asks for less.
    SchedAttr::new().set();
    let result = action();
    be_prompt();
    result
}

thread_local! {
    /// A thread of the library's that was made prompt.
    static IS_OURS: Cell<bool> = const { Cell::new(false) };
}

/// [`be_prompt`], for a thread that runs something of the program's now and then, [at leisure](at_leisure).
pub(crate) fn be_prompt_but_in_callbacks() {
    IS_OURS.set(be_prompt());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> i32 {
        // SAFETY: asks about the calling thread only.
        unsafe { libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK }
    }

    #[test]
    fn asking_for_the_processor_does_no_harm() {
        let run = || {
            be_prompt_but_in_callbacks();
            let prompt = policy();
            assert_eq!(at_leisure(policy), libc::SCHED_OTHER);
            assert_eq!(policy(), prompt, "whatever is allowed");
            let child = std::thread::spawn(policy).join().expect("no panic");
            assert_eq!(child, libc::SCHED_OTHER);
        };
        std::thread::spawn(run).join().expect("no panic");
        assert_eq!(at_leisure(policy), policy(), "this one was none");
    }
}
