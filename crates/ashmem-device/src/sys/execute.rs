//! Executing a program in this process's place, with the signal mask that this process was started with.

#![allow(unsafe_code, reason = "execvp(3): the standard library's would empty the signal mask")]

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::{io, ptr};

/// A program and its arguments, ready to be executed without asking the kernel for anything else.
pub(crate) struct Program {
    arguments: Vec<CString>,
}

impl Program {
    /// # Errors
    /// Names and arguments with a NUL.
    pub(crate) fn new(program: &OsStr, arguments: &[OsString]) -> io::Result<Program> {
        let all = std::iter::once(program).chain(arguments.iter().map(OsString::as_os_str));
        let arguments: Result<_, _> = all.map(|argument| CString::new(argument.as_bytes())).collect();
        Ok(Program { arguments: arguments? })
    }

    /// Executes it, found as the shell does. Returns only when that failed.
    pub(crate) fn execute(&self) -> io::Error {
        let mut pointers: Vec<*const libc::c_char> =
            self.arguments.iter().map(|argument| argument.as_ptr()).collect();
        pointers.push(ptr::null());
        // Rust programs ignore it, and what they execute would, too.
        // SAFETY: the default disposition runs no code of this process.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        // SAFETY: strings that end with a NUL, in an array that ends with a null pointer, alive for the call.
        unsafe { libc::execvp(pointers[0], pointers.as_ptr()) };
        let error = io::Error::last_os_error();
        // SAFETY: ignoring a signal runs no code of this process.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        error
    }
}
