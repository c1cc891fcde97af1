//! A thread that leaves the program's signals alone and gets the processor soon when it wakes.
#![allow(unsafe_code, reason = "pthread_sigmask and sched_setattr")]

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

/// Lets the calling thread run soon after it wakes, also on a busy machine, as far as it is allowed: memory does not wait. A short
/// slice needs no privilege (Linux 6.12 and later); a high priority does.
pub(crate) fn be_prompt() {
    const SLICE_ALONE: i32 = 0;
    const HIGHEST: i32 = -20;
    // SAFETY: asks about the calling thread only.
    let policy = unsafe { libc::sched_getscheduler(0) };
    // SAFETY: as above.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if policy != libc::SCHED_OTHER || nice > 0 {
        // Somebody has decided otherwise.
        return;
    }
    for nice in [HIGHEST, SLICE_ALONE] {
        let attr =
            SchedAttr { size: size_of::<SchedAttr>() as u32, nice, runtime: SLICE, ..SchedAttr::default() };
        // SAFETY: `attr` is a valid `struct sched_attr` of the size it names; 0 is the calling thread.
        let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
        if answer == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_for_the_processor_does_no_harm() {
        std::thread::spawn(be_prompt).join().expect("no panic");
    }
}
