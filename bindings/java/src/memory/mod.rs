//! `MemoryFile`, `SharedMemory`, their descriptors and buffers.

mod array;
pub(crate) mod descriptor;
mod failure;
mod file;
mod mapping;
mod ndk;
mod shared;
