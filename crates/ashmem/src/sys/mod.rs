//! The system calls, and the only files of the crate that contain `unsafe` besides the views of a mapping.

pub(crate) mod aside;
pub(crate) mod copy;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod lock;
pub(crate) mod lock_file;
pub(crate) mod map;
pub(crate) mod memfd;
pub(crate) mod mode;
pub(crate) mod pair;
pub(crate) mod thread;
