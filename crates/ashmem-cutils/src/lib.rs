//! The C interface of ashmem for Linux.
//!
//! Three headers, each of which is one module here, and generated from it (`ci/headers`):
//!
//! | header | module | what it is |
//! |---|---|---|
//! | `<cutils/ashmem.h>` | [`cutils`] | libcutils' six functions |
//! | `<android/sharedmem.h>` | [`sharedmem`] | the NDK's `ASharedMemory` |
//! | `<ashmem.h>` | [`extended`] | what these lack |
//!
//! Regions are plain descriptors. No function changes `errno` when it succeeds; none aborts or prints, but for want of memory for
//! the library's own few objects, where Rust gives up.
//!
//! Rust programs need none of this: they use the crate `ashmem-linux`.

#[cfg(not(loom))]
pub mod cutils;
#[cfg(not(loom))]
pub mod extended;
#[cfg(not(loom))]
pub mod sharedmem;

#[cfg(not(loom))]
mod callback;
#[cfg_attr(loom, allow(dead_code, reason = "loom runs the cells alone"))]
mod descriptor;
#[cfg_attr(loom, allow(dead_code, reason = "loom runs the cells alone"))]
mod errno;
#[cfg(not(loom))]
mod failure;
#[cfg(not(loom))]
mod region;
mod sync;
#[cfg(not(loom))]
mod sys;
