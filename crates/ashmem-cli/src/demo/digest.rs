//! What the viewer works out over the bytes.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes that are looked at in one go, in both processes and for both ways of transport. Small enough to stay in a
/// processor's cache, so that no copy of a file ever exists; a multiple of every page size but the very large.
pub const WINDOW: usize = 64 * 1024;

/// How to condense bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestKind {
    /// SHA-256: proves that the bytes are the same, and takes longer than any transport.
    Sha256,
    /// The sum of all 64-bit little-endian words: touches every byte at next to no cost, so that the time is the
    /// transport's.
    WordSum,
}

/// Condenses bytes that come window by window.
pub enum Digester {
    /// For [`DigestKind::Sha256`].
    Sha256(Sha256),
    /// For [`DigestKind::WordSum`].
    WordSum(u64),
}

impl Digester {
    /// Nothing seen yet.
    pub fn new(kind: DigestKind) -> Digester {
        match kind {
            DigestKind::Sha256 => Digester::Sha256(Sha256::new()),
            DigestKind::WordSum => Digester::WordSum(0),
        }
    }

    /// The next window. All but the last must have a multiple of eight bytes.
    pub fn update(&mut self, window: &[u8]) {
        match self {
            Digester::Sha256(state) => state.update(window),
            Digester::WordSum(sum) => {
                let mut words = window.chunks_exact(8);
                for word in &mut words {
                    *sum = sum.wrapping_add(word_of(word));
                }
                *sum = sum.wrapping_add(word_of(words.remainder()));
            }
        }
    }

    /// The result in hexadecimal.
    pub fn finish(self) -> String {
        match self {
            Digester::Sha256(state) => {
                state.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "{byte:02x}");
                    text
                })
            }
            Digester::WordSum(sum) => format!("{sum:016x}"),
        }
    }
}

/// Up to eight bytes as a little-endian word.
fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(kind: DigestKind, windows: &[&[u8]]) -> String {
        let mut digester = Digester::new(kind);
        windows.iter().for_each(|window| digester.update(window));
        digester.finish()
    }

    #[test]
    fn sha256_is_sha256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(DigestKind::Sha256, &[b"abc"]), expected);
        assert_eq!(digest(DigestKind::Sha256, &[b"a", b"bc"]), expected);
    }

    #[test]
    fn the_word_sum_sees_every_byte() {
        let bytes: Vec<u8> = (0..29).collect();
        let whole = digest(DigestKind::WordSum, &[&bytes]);
        assert_eq!(whole, digest(DigestKind::WordSum, &[&bytes[..16], &bytes[16..]]));
        for changed in 0..bytes.len() {
            let mut other = bytes.clone();
            other[changed] ^= 0x80;
            assert_ne!(whole, digest(DigestKind::WordSum, &[&other]), "byte {changed}");
        }
    }
}
