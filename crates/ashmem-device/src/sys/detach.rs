//! Being nobody's server but everybody's: without what a program was started with that had this process started.

#![allow(unsafe_code, reason = "close_range(2) and signal(2)")]

/// Ignores signals that a client could bring about: of a lease that is broken, and of limits, which are errors then as well.
pub(crate) fn ignore_signals() {
    for signal in [libc::SIGIO, libc::SIGXFSZ, libc::SIGXCPU] {
        // SAFETY: ignoring a signal runs no code of this process.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Closes all descriptors but the first three. For a process that has just begun, and has opened nothing.
pub(crate) fn close_inherited() {
    // SAFETY: nobody in this process has any of them yet. Fails before Linux 5.9, which has no notifications either.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}
