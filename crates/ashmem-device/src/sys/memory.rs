//! Another process's memory, by `process_vm_readv(2)` and `process_vm_writev(2)`: with its own protection, as if it had been the
//! process that read and wrote.

#![allow(unsafe_code, reason = "system calls on addresses of another process")]

use std::io;

use rustix::io::Errno;

/// The kernel refuses to copy more at once than fits in a signed size, and there is no need to.
const STEP: usize = 1 << 20;

/// Reads from `address` of the thread's process until `buffer` is full or something cannot be read, and says how many bytes that are.
///
/// # Errors
/// EPERM where the process may not be looked at, ESRCH when it is gone. What cannot be read is none.
pub(crate) fn read(thread: i32, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buffer.len() {
        let end = buffer.len().min(done + STEP);
        let part = &mut buffer[done..end];
        let local = libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() };
        let Some(start) = address.checked_add(done as u64) else { break };
        let remote = libc::iovec { iov_base: start as *mut libc::c_void, iov_len: part.len() };
        // SAFETY: the kernel writes to `part` alone; the remote address is another process's and checked by the kernel.
        let copied = unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) };
        match count(copied)? {
            Some(copied) => {
                let wanted = end - done;
                done += copied;
                if copied < wanted {
                    break;
                }
            }
            None => break,
        }
    }
    Ok(done)
}

/// Writes to `address` of the thread's process as far as that is possible, and says how many bytes that are.
///
/// # Errors
/// As [`read`].
pub(crate) fn write(thread: i32, address: u64, bytes: &[u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while done < bytes.len() {
        let end = bytes.len().min(done + STEP);
        let part = &bytes[done..end];
        let local = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
        let Some(start) = address.checked_add(done as u64) else { break };
        let remote = libc::iovec { iov_base: start as *mut libc::c_void, iov_len: part.len() };
        // SAFETY: the kernel only reads `part`; the remote address is another process's and checked by the kernel.
        let copied = unsafe { libc::process_vm_writev(thread, &raw const local, 1, &raw const remote, 1, 0) };
        match count(copied)? {
            Some(copied) => {
                done += copied;
                if copied < part.len() {
                    break;
                }
            }
            None => break,
        }
    }
    Ok(done)
}

/// How much was copied; `None` where nothing could be.
fn count(result: isize) -> Result<Option<usize>, Errno> {
    if let Ok(copied) = usize::try_from(result) {
        return Ok((copied > 0).then_some(copied));
    }
    match Errno::from_io_error(&io::Error::last_os_error()) {
        Some(Errno::FAULT) => Ok(None),
        // Where everything that was asked for lies above what addresses can be.
        Some(Errno::INVAL) => Ok(None),
        Some(errno) => Err(errno),
        None => Err(Errno::IO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> i32 {
        rustix::process::getpid().as_raw_nonzero().get()
    }

    #[test]
    fn copies_both_ways() {
        let source = vec![7_u8; 3 << 20];
        let mut copy = vec![0; source.len()];
        assert_eq!(read(own(), source.as_ptr() as u64, &mut copy), Ok(source.len()));
        assert_eq!(copy, source);
        let target = std::hint::black_box(vec![0_u8; 3 << 20]);
        assert_eq!(write(own(), target.as_ptr() as u64, &source), Ok(source.len()));
        assert_eq!(std::hint::black_box(target), source);
    }

    #[test]
    fn bad_addresses_give_nothing() {
        for address in [0, 1, u64::MAX, u64::MAX - 4095, 1 << 63] {
            assert_eq!(read(own(), address, &mut [0; 16]), Ok(0), "{address:x}");
            assert_eq!(write(own(), address, &[0; 16]), Ok(0), "{address:x}");
        }
    }

    #[test]
    fn nobody_s_memory() {
        assert_eq!(read(i32::MAX, 0x1000, &mut [0; 16]), Err(Errno::SRCH));
    }
}
