//! Two neighbouring atomic words replaced in one step, where the processor can (`cmpxchg16b`): half as many locked operations for
//! large ranges of pages.
#![allow(unsafe_code, reason = "an instruction that std offers only for unshared types")]

use std::sync::atomic::AtomicU64;

/// Whether [`swap_pair`] works here.
#[inline]
pub(crate) fn swaps_pairs() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("cmpxchg16b");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Replaces two words that hold `old` by `new`, sequentially consistent; false when one of them holds something else, or the
/// processor cannot, or the pair is not aligned to its size.
#[inline]
pub(crate) fn swap_pair(pair: &[AtomicU64], old: [u64; 2], new: [u64; 2]) -> bool {
    let place = pair.as_ptr();
    if pair.len() != 2 || place.addr() % 16 != 0 {
        return false;
    }
    #[cfg(target_arch = "x86_64")]
    if swaps_pairs() {
        let swapped: u8;
        // SAFETY: both words are valid, aligned to 16 bytes together, and writable through a shared reference, being atomic; the
        // processor has the instruction, which is one locked access to all 16 bytes, atomic with those to 8 of them. The
        // register rbx cannot be named but may be chosen for an operand, and is put back: so the address has a register by name.
        unsafe {
            std::arch::asm!(
                "xchg {low}, rbx",
                "lock cmpxchg16b xmmword ptr [rdi]",
                "mov rbx, {low}",
                "sete {swapped}",
                low = inout(reg) new[0] => _,
                in("rdi") place,
                swapped = out(reg_byte) swapped,
                inout("rax") old[0] => _,
                inout("rdx") old[1] => _,
                in("rcx") new[1],
                options(nostack),
            );
        }
        return swapped != 0;
    }
    let _ = (old, new);
    false
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[repr(align(16))]
    struct Aligned([AtomicU64; 3]);

    #[test]
    fn both_or_neither() {
        if !swaps_pairs() {
            return;
        }
        let words = Aligned([AtomicU64::new(1), AtomicU64::new(2), AtomicU64::new(3)]);
        let values = || words.0.each_ref().map(|word| word.load(Ordering::SeqCst));
        assert!(!swap_pair(&words.0[..2], [1, 3], [7, 8]));
        assert!(!swap_pair(&words.0[..2], [0, 2], [7, 8]));
        assert!(!swap_pair(&words.0[1..], [2, 3], [7, 8]), "not aligned");
        assert_eq!(values(), [1, 2, 3]);
        assert!(swap_pair(&words.0[..2], [1, 2], [u64::MAX, 1 << 63]));
        assert_eq!(values(), [u64::MAX, 1 << 63, 3]);
    }

    #[test]
    fn atomic_with_single_words() {
        if !swaps_pairs() {
            return;
        }
        let words = Aligned(Default::default());
        std::thread::scope(|scope| {
            for index in 0..2 {
                let word = &words.0[index];
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        word.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..20_000 {
                    loop {
                        let old = [words.0[0].load(Ordering::SeqCst), words.0[1].load(Ordering::SeqCst)];
                        if swap_pair(&words.0[..2], old, old.map(|value| value + 1)) {
                            break;
                        }
                    }
                }
            });
        });
        assert_eq!(words.0[0].load(Ordering::SeqCst), 40_000);
        assert_eq!(words.0[1].load(Ordering::SeqCst), 40_000);
    }
}
