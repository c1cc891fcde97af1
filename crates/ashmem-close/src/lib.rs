//! `libashmem_close.so`: a C library that stands in front of the functions of the C library that close descriptors, and tells
//! who wants to know.
//!
//! `libashmem_cutils.so` remembers regions that were unpinned, and finds them again by the numbers of their descriptors. Programs
//! close descriptors with `close(2)`, and the number then names something else. Without this library each call asks the kernel
//! what the number names. Linked with the program (`-lashmem_close`), or loaded before it (`LD_PRELOAD`), this library says
//! when that can have changed:
//!
//! ```c
//! int ashmem_close_watch(void (*listener)(unsigned int first, unsigned int last));
//! ```
//!
//! It works where it comes before the C library in the program's own list of libraries: `-Wl,--no-as-needed -lashmem_close` when
//! the program is linked. That another library of the program needs it is not enough. The answer of `ashmem_close_watch` is
//! found by trying, so it can be relied on.
//!
//! Every call is announced twice. Before it, as the number may be used again the moment it is free. After it, as another thread
//! that used the number during the call may have noted what is gone now. Announced are the descriptors that the call can close,
//! whether they are open or not, and whether it then fails or not; but not where it is certain to close nothing: negative ones,
//! `dup2(fd, fd)`, an empty range, `CLOSE_RANGE_CLOEXEC`, and streams without a descriptor.
//!
//! Then the next library's function is called, and its answer and errno are the caller's. Nothing here allocates, locks or
//! panics, so that what may be called in signal handlers and in children of `vfork(2)` still may, as far as the listeners
//! go along (that of `libashmem_cutils.so` frees memory, if a region is closed that was unpinned); `close(2)` is still a
//! cancellation point. (A thread that is cancelled there makes the first announcement only.)
//!
//! Not seen are system calls that pass the C library by (`syscall(2)`, `io_uring`, programs that do without it), and those that
//! it makes itself, for `closedir(3)`, `pclose(3)` or `daemon(3)`. (`fcloseall(3)` of the GNU C library closes no descriptors.)

mod errno;
mod exports;
mod listeners;
mod next;
mod probe;

pub use exports::*;
pub use listeners::Listener;
