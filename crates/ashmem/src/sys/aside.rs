//! Descriptors that the library keeps for itself.

use std::os::fd::OwnedFd;

/// Lower numbers are for the program.
const FIRST: i32 = 256;

/// The same under a high number, if there may be one: programs count on the lowest free number, and on a number that they have closed being free.
pub(crate) fn aside(fd: OwnedFd) -> OwnedFd {
    rustix::io::fcntl_dupfd_cloexec(&fd, FIRST).unwrap_or(fd)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn goes_up_and_is_closed_on_exec() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let reader = aside(reader.into());
        assert!(reader.as_raw_fd() >= FIRST);
        assert!(rustix::io::fcntl_getfd(&reader).expect("open").contains(rustix::io::FdFlags::CLOEXEC));
        drop(writer);
        assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Ok(0), "it is the same pipe");
    }
}
