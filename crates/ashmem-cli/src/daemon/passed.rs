//! Sockets that whoever started this program has made.
#![allow(unsafe_code, reason = "what the environment promises of descriptors cannot be checked")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::error::Error;

/// The socket that systemd passes (`sd_listen_fds(3)`), if it does. To be called once.
pub fn socket() -> Result<Option<OwnedFd>, Error> {
    let numbers: Vec<RawFd> = sd_notify::listen_fds().map_err(Error::Passed)?.collect();
    match numbers.as_slice() {
        [] => Ok(None),
        // SAFETY: it is open, as it was marked to be closed on exec just now, and the environment, which says so no more, gave it
        // to this process for this alone.
        [number] => Ok(Some(unsafe { OwnedFd::from_raw_fd(*number) })),
        _ => Err(Error::Passed(io::Error::other("there are several, where one is expected"))),
    }
}
