//! Keys of a cache, and the hash that says where one lives.

use std::iter;

use crate::{Error, Result};

/// Words that a record has for the key.
pub(crate) const KEY_WORDS: usize = 28;

/// Longest key in bytes.
pub(crate) const KEY_MAX: usize = KEY_WORDS * size_of::<u64>();

/// A key of 1 to [`KEY_MAX`] bytes, and its hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    bytes: &'a [u8],
    hash: u64,
}

impl<'a> Key<'a> {
    /// # Errors
    /// [`Error::InvalidKey`] when it is empty or too long.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Key<'a>> {
        if bytes.is_empty() || bytes.len() > KEY_MAX {
            return Err(Error::InvalidKey { len: bytes.len(), max: KEY_MAX });
        }
        Ok(Key { bytes, hash: hash(bytes) })
    }

    /// A key with a hash of the test's choice.
    #[cfg(test)]
    pub(super) fn with_hash(bytes: &'a [u8], hash: u64) -> Key<'a> {
        assert!(hash != 0 && !bytes.is_empty() && bytes.len() <= KEY_MAX);
        Key { bytes, hash }
    }

    /// The same in all processes and builds that share this layout; never 0, which is the hash of a record never used.
    #[inline]
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Length in bytes.
    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The bytes in words, the last one filled up with zeros.
    #[inline]
    pub(super) fn words(&self) -> impl Iterator<Item = u64> + use<'a> {
        words(self.bytes)
    }
}

#[inline]
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let mut rest = bytes;
    iter::from_fn(move || {
        if let Some((word, behind)) = rest.split_first_chunk() {
            rest = behind;
            return Some(u64::from_le_bytes(*word));
        }
        let mut word = [0; size_of::<u64>()];
        word[..rest.len()].copy_from_slice(rest);
        let any = !rest.is_empty();
        rest = &[];
        any.then_some(u64::from_le_bytes(word))
    })
}

/// FNV-1a, but a word at a time: so the upper half of each product is folded down, where the multiplication alone would never
/// take it. Behind it the finaliser of MurmurHash3, because the set is selected by the highest bits.
#[inline]
fn hash(bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64;
    let mut hash = words(bytes).fold(start, |hash, word| {
        let product = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product ^ product >> 32
    });
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash ^ hash >> 33).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::layout::Geometry;
    use super::*;
    use crate::page_size;

    #[test]
    fn lengths_that_no_key_has() {
        assert!(matches!(Key::new(b""), Err(Error::InvalidKey { len: 0, .. })));
        assert!(Key::new(&[0; KEY_MAX]).is_ok());
        let too_long = Key::new(&[0; KEY_MAX + 1]).unwrap_err();
        assert_eq!(too_long.raw_os_error(), libc::EINVAL);
    }

    #[test]
    fn words_are_the_bytes() {
        for len in 1..=KEY_MAX {
            let bytes: Vec<u8> = (1..=len).map(|byte| byte as u8).collect();
            let mut back: Vec<u8> = words(&bytes).flat_map(u64::to_le_bytes).collect();
            assert_eq!(back.len(), len.next_multiple_of(8));
            assert!(back.split_off(len).iter().all(|byte| *byte == 0));
            assert_eq!(back, bytes);
        }
    }

    /// The hash crosses processes: it belongs to the layout.
    #[test]
    fn the_hash_never_changes() {
        let known = [
            (&b"a"[..], 0x3b6e_3aba_47b3_d474),
            (b"thumbnail/12345678/large", 0xb902_f46f_91ea_8e49),
            (&[0xff; KEY_MAX], 0x372c_259c_6653_e3dc),
        ];
        for (bytes, hash) in known {
            assert_eq!(Key::new(bytes).unwrap().hash(), hash);
        }
    }

    #[test]
    fn zeros_behind_a_key_make_another_key() {
        let zeros = [0; KEY_MAX];
        let hashes: HashSet<u64> = (1..=KEY_MAX).map(|len| hash(&zeros[..len])).collect();
        assert_eq!(hashes.len(), KEY_MAX);
    }

    /// A hundred keys for each set: chi-square over the sets, divided by its degrees of freedom, is near 1 for a random
    /// function, with a deviation of sqrt(2 / sets).
    #[test]
    fn keys_spread_evenly_over_the_sets() {
        type Make = fn(u64) -> Vec<u8>;
        let families: [(&str, Make); 8] = [
            ("decimal", |i| i.to_string().into_bytes()),
            ("little endian", |i| i.to_le_bytes().to_vec()),
            ("big endian", |i| i.to_be_bytes().to_vec()),
            ("highest bits of two words", |i| {
                [i.reverse_bits().to_le_bytes(), i.reverse_bits().rotate_left(7).to_le_bytes()].concat()
            }),
            ("path", |i| format!("/usr/share/icons/hicolor/{i}x{i}/apps/icon-{i:08}.png").into_bytes()),
            ("two numbers", |i| format!("tile:{}:{}", i % 317, i / 317).into_bytes()),
            ("long, differing first", |i| format!("{i:010}{}", "x".repeat(KEY_MAX - 10)).into_bytes()),
            ("long, differing last", |i| format!("{}{i:010}", "x".repeat(KEY_MAX - 10)).into_bytes()),
        ];
        for entries in [8 * 61, 8 * 64, 8 * 1000] {
            let geometry = Geometry::new(entries * page_size(), entries).unwrap();
            let sets = entries / 8;
            for (name, make) in families {
                let mut counts = vec![0_u64; sets as usize];
                for i in 0..100 * sets {
                    let set = geometry.set(Key::new(&make(i)).unwrap().hash());
                    counts[set.start / set.len()] += 1;
                }
                let chi_square: f64 =
                    counts.iter().map(|count| (*count as f64 - 100.0).powi(2) / 100.0).sum();
                let reduced = chi_square / (sets - 1) as f64;
                let allowed = 1.0 + 4.0 * (2.0 / sets as f64).sqrt();
                assert!(reduced < allowed, "{name} over {sets} sets: {reduced:.2} > {allowed:.2}");
            }
        }
    }

    /// Each bit of a key turns each bit of the hash in about half of all keys.
    #[test]
    fn every_bit_of_a_key_counts() {
        const KEYS: u64 = 400;
        for len in [8, 40] {
            for bit in 0..8 * len {
                let mut turned = [0_u64; 64];
                for i in 0..KEYS {
                    let mut bytes = vec![0; len];
                    bytes[..8].copy_from_slice(&i.wrapping_mul(0xd134_2543_de82_ef95).to_le_bytes());
                    let before = hash(&bytes);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    let difference = before ^ hash(&bytes);
                    (0..64).for_each(|out| turned[out] += difference >> out & 1);
                }
                // Six deviations around the half.
                assert!(
                    turned.iter().all(|count| (140..=260).contains(count)),
                    "bit {bit} of {len} bytes: {turned:?}"
                );
            }
        }
    }
}
