//! The native half of `ashmem.jar`: what `android.os` needs of [`ashmem`] and [`ashmem_binder`], as JNI methods.
//!
//! ```text
//! java/android/os, util, system    the classes: checks, state, exceptions
//!     |
//! memory/, binder/                 native methods, one file for each class that has some
//!     |
//! handles.rs                       what Java holds, by number: no pointer leaves this library
//! throw.rs                         errors as Java exceptions
//! vm.rs                            threads of Binder, known to the JVM as daemons
//! ```
//!
//! Java holds native objects by handles that are never used again, so a method of a closed object finds nothing, whichever
//! thread closed it. A call that has found its object keeps it until it ends.

mod binder;
mod handles;
mod library;
mod log;
mod memory;
mod throw;
mod vm;
