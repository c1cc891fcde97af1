//! `<ashmem.h>`: what libcutils' interface lacks. All functions are for the same descriptors, and work beside libcutils'.

// In the order that they have in the header.

pub mod region;

pub mod pins;

pub mod holds;

pub mod reclaim;
