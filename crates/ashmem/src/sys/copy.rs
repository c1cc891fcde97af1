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
pub unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    let (from, to, len) = if is_slow(from, to, len) {
        let blocks = len - len % BLOCK;
        // SAFETY: the caller vouches for both ranges.
        unsafe { copy_blocks(from, to, blocks) };
        (from.wrapping_add(blocks), to.wrapping_add(blocks), len % BLOCK)
    } else {
        (from, to, len)
    };
    let memcpy: CopyFn = black_box(libc::memcpy);
    // SAFETY: the caller vouches for both ranges.
    unsafe { memcpy(to.cast(), from.cast(), len) };
}

/// Bytes that [`copy_blocks`] copies at a time.
#[cfg(target_arch = "x86_64")]
const BLOCK: usize = 128;

/// Whether the C library would use `rep movsb` (it does so from 2 KiB on), and AMD's processors take a byte at a time for that: they
/// do where the destination is just behind the source, counted within a page. Large buffers often are, as they begin behind a header
/// of 16 bytes, and mappings at a page.
#[cfg(target_arch = "x86_64")]
#[inline]
fn is_slow(from: *const u8, to: *const u8, len: usize) -> bool {
    len > 2048 && matches!(to.addr().wrapping_sub(from.addr()) % 4096, 1..64)
}

/// Copies `len` bytes, a multiple of [`BLOCK`].
///
/// # Safety
/// As [`copy`].
#[cfg(target_arch = "x86_64")]
unsafe fn copy_blocks(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: reads and writes the ranges that the caller vouches for, and uses registers that all these processors have.
    unsafe {
        std::arch::asm!(
            "2:",
            "movups xmm0, [{from} + {at}]",
            "movups xmm1, [{from} + {at} + 16]",
            "movups xmm2, [{from} + {at} + 32]",
            "movups xmm3, [{from} + {at} + 48]",
            "movups xmm4, [{from} + {at} + 64]",
            "movups xmm5, [{from} + {at} + 80]",
            "movups xmm6, [{from} + {at} + 96]",
            "movups xmm7, [{from} + {at} + 112]",
            "movups [{to} + {at}], xmm0",
            "movups [{to} + {at} + 16], xmm1",
            "movups [{to} + {at} + 32], xmm2",
            "movups [{to} + {at} + 48], xmm3",
            "movups [{to} + {at} + 64], xmm4",
            "movups [{to} + {at} + 80], xmm5",
            "movups [{to} + {at} + 96], xmm6",
            "movups [{to} + {at} + 112], xmm7",
            "sub {at}, -128",
            "cmp {at}, {len}",
            "jb 2b",
            from = in(reg) from,
            to = in(reg) to,
            len = in(reg) len,
            at = inout(reg) 0usize => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            options(nostack),
        );
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_copied_whatever_the_distance() {
        let from: Vec<u8> = (0..9000).map(|i| (i % 251) as u8).collect();
        for distance in [0, 1, 16, 63, 64, 4080] {
            for len in [0, 1, 2048, 2049, 4096, 8191] {
                let mut to = vec![0xEE; 9000 + 2 * 4096];
                let aligned = (from.as_ptr().addr().wrapping_sub(to.as_ptr().addr())) % 4096;
                let start = aligned + distance;
                // SAFETY: both vectors are longer than that.
                unsafe { copy(from.as_ptr(), to[start..].as_mut_ptr(), len) };
                assert_eq!(to[start..start + len], from[..len]);
                assert!(to[..start].iter().chain(&to[start + len..]).all(|byte| *byte == 0xEE));
            }
        }
    }
}
