//! Copies into and out of memory that a peer may write at the same time.
//!
//! The C library's `memcpy` is called through a pointer that the compiler cannot see through. What it does is then
//! outside of the language's memory model, as a peer's writes are; the result of a race is torn bytes, never
//! undefined behaviour of compiled code.
#![allow(unsafe_code, reason = "raw copies between checked ranges")]

use std::hint::black_box;

use libc::{c_int, c_void, size_t};

type CopyFn = unsafe extern "C" fn(*mut c_void, *const c_void, size_t) -> *mut c_void;
type FillFn = unsafe extern "C" fn(*mut c_void, c_int, size_t) -> *mut c_void;

/// Copies `len` bytes between ranges that do not overlap.
///
/// # Safety
/// Both ranges must be mapped, `from` readable and `to` writable.
#[inline]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    let memcpy: CopyFn = black_box(libc::memcpy);
    // SAFETY: the caller vouches for both ranges.
    unsafe { memcpy(to.cast(), from.cast(), len) };
}

/// Copies `len` bytes between ranges that may overlap.
///
/// # Safety
/// Both ranges must be mapped, `from` readable and `to` writable.
#[inline]
pub(crate) unsafe fn copy_within(from: *const u8, to: *mut u8, len: usize) {
    let memmove: CopyFn = black_box(libc::memmove);
    // SAFETY: the caller vouches for both ranges.
    unsafe { memmove(to.cast(), from.cast(), len) };
}

/// Sets `len` bytes to `value`.
///
/// # Safety
/// The range must be mapped and writable.
#[inline]
pub(crate) unsafe fn fill(to: *mut u8, value: u8, len: usize) {
    let memset: FillFn = black_box(libc::memset);
    // SAFETY: the caller vouches for the range.
    unsafe { memset(to.cast(), c_int::from(value), len) };
}
