//! `<ashmem.h>`: what libcutils' interface lacks. All functions are for the same descriptors, and work beside libcutils'.

pub mod holds;
pub mod pins;
pub mod reclaim;
pub mod region;
