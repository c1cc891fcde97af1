//! One record of the table: a version, a run of pages, a length, a key.

use std::iter::once;
use std::ops::Range;
use std::sync::atomic::fence;

use super::key::{KEY_MAX, Key};
use super::layout::RECORD_WORDS;
use crate::page::page_size;
use crate::sync::{AtomicU64, Ordering};

/// Indices of a record's words.
const VERSION: usize = 0;
const RUN: usize = 1;
const LEN: usize = 2;
const KEY_LEN: usize = 3;
pub(super) const KEY: usize = 4;

/// A record, wherever it is. See [the rules](super).
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) hash: &'a AtomicU64,
    pub(super) words: &'a [AtomicU64; RECORD_WORDS],
}

/// What a live record says, apart from its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) version: u64,
    pub(super) pages: Range<u64>,
    /// In bytes.
    pub(super) len: u64,
}

/// One store into shared memory.
pub(super) struct Store<'a> {
    word: &'a AtomicU64,
    value: u64,
}

impl Store<'_> {
    /// `Release`: who sees this one sees those before.
    pub(super) fn carry_out(self) {
        self.word.store(self.value, Ordering::Release);
    }
}

impl<'a> Record<'a> {
    #[inline]
    pub(super) fn version(&self) -> u64 {
        // What the caller read before must not have been read after this.
        fence(Ordering::Acquire);
        self.words[VERSION].load(Ordering::Acquire)
    }

    /// Reads a live record whose run is inside `data`; `look` is given the length of the key, and says what it made of it, or
    /// that this is not the one. `None` also when the record changed meanwhile.
    #[inline]
    pub(super) fn read<T>(
        &self,
        data: &Range<u64>,
        look: impl FnOnce(u64) -> Option<T>,
    ) -> Option<(Entry, T)> {
        let version = self.words[VERSION].load(Ordering::Acquire);
        if !is_live(version) {
            return None;
        }
        let [run, len, key_len] = [RUN, LEN, KEY_LEN].map(|word| self.words[word].load(Ordering::Relaxed));
        if !(1..=KEY_MAX as u64).contains(&key_len) {
            return None;
        }
        let pages = unpack(run, data)?;
        if len > (pages.end - pages.start) * page_size() {
            return None;
        }
        let looked = look(key_len)?;
        (self.version() == version).then_some((Entry { version, pages, len }, looked))
    }

    #[inline]
    pub(super) fn has_key(&self, key: &Key<'_>, key_len: u64) -> bool {
        let mut words = key.words().zip(&self.words[KEY..]);
        key_len == key.len() && words.all(|(ours, word)| word.load(Ordering::Relaxed) == ours)
    }

    /// The bytes of the key, which has `key_len` of them.
    pub(super) fn key(&self, key_len: u64) -> Vec<u8> {
        let words = self.words[KEY..].iter().take(key_len.div_ceil(8) as usize);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        bytes.truncate(key_len as usize);
        bytes
    }

    /// The stores that make an empty record a live one, in their order, and the version that it has then. After any number
    /// of them but all, it is empty.
    pub(super) fn stores(
        &self,
        key: &Key<'a>,
        pages: &Range<u64>,
        len: u64,
    ) -> (impl Iterator<Item = Store<'a>> + use<'a>, u64) {
        let version = self.version();
        // Nothing new, unless the record is live against the rules.
        let empty = version.wrapping_add(version & 1);
        let live = empty.wrapping_add(1);
        let Record { hash, words } = *self;
        let key_words = words[KEY..].iter().zip(key.words());
        let stores = once((&words[VERSION], empty))
            .chain([
                (hash, key.hash()),
                (&words[RUN], pack(pages)),
                (&words[LEN], len),
                (&words[KEY_LEN], key.len()),
            ])
            .chain(key_words)
            .chain(once((&words[VERSION], live)));
        (stores.map(|(word, value)| Store { word, value }), live)
    }

    /// Makes the record empty, if it is live with this version.
    pub(super) fn clear(&self, version: u64) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        is_live(version)
            && self.words[VERSION]
                .compare_exchange(version, version.wrapping_add(1), success, failure)
                .is_ok()
    }
}

#[inline]
fn is_live(version: u64) -> bool {
    version & 1 != 0
}

fn pack(pages: &Range<u64>) -> u64 {
    pages.start << 32 | (pages.end - pages.start)
}

/// The run that a word stands for, if it has pages and is inside `data`.
#[inline]
fn unpack(run: u64, data: &Range<u64>) -> Option<Range<u64>> {
    let (first, count) = (run >> 32, run & u64::from(u32::MAX));
    let end = first + count;
    (count > 0 && first >= data.start && end <= data.end).then_some(first..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_inside_or_nothing() {
        let data = 3..1 << 32;
        for pages in [3..4, 3..1 << 32, 17..1000, (1 << 32) - 1..1 << 32] {
            assert_eq!(unpack(pack(&pages), &data), Some(pages));
        }
        for pages in [2..4, 0..1, 3..3, 0..0] {
            assert_eq!(unpack(pack(&pages), &data), None, "{pages:?}");
        }
        assert_eq!(unpack(pack(&(5..12)), &(3..11)), None);
        assert_eq!(unpack(u64::MAX, &data), None);
    }
}
