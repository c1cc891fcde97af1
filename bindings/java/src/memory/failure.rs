//! Errors of the memory crate as exceptions.

use ashmem::Error;
use jni::jni_str;
use rustix::io::Errno;

use crate::throw::Failure;

/// What `android.system.Os` would throw.
pub(super) fn errno(function: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| Failure::Errno { function, errno: error.raw_os_error() }
}

/// What an operation of `android.os.MemoryFile` throws that may make descriptors. Java tries again when there is none left.
pub(super) fn of_descriptor(function: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| match Errno::from_raw_os_error(error.raw_os_error()) {
        Errno::MFILE | Errno::NFILE => errno(function)(error),
        _ => of_memory_file(error),
    }
}

/// What `android.os.MemoryFile` throws.
pub(super) fn of_memory_file(error: Error) -> Failure {
    match error {
        Error::AccessOutOfBounds { .. } => {
            Failure::new(jni_str!("java/lang/IndexOutOfBoundsException"), error.to_string())
        }
        Error::NotARegion { .. } | Error::InvalidSize { .. } => Failure::illegal_argument(error.to_string()),
        Error::Deactivated { .. } => io("MemoryFile has been deactivated"),
        Error::Closed { .. } => io("MemoryFile has been closed"),
        Error::Purged { .. } => io("MemoryFile has been purged"),
        other => io(other.to_string()),
    }
}

fn io(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::new(jni_str!("java/io/IOException"), message)
}
