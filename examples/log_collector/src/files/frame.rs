//! A frame: what one write appends to a segment.
//!
//! ```text
//!   0x184D2A5C | length of the header | header | sum of the header | zstd frame with the records
//! ```
//!
//! All numbers are little endian. The header has the mark, the lengths of the records as they are and compressed, their number and levels, their first and last
//! time, and for each lane that they are from, how far that is in the log with them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use zstd::bulk::{Compressor, Decompressor};

use super::batch::{self, Batch};
use crate::record::Record;
use crate::shared::{LANES_MAX, RegionId};

/// A skippable frame, for `zstd`.
const MAGIC: u32 = 0x184D_2A5C;
const MARK: u32 = u32::from_le_bytes(*b"log\x01");

/// Bytes of the records in a frame at which it is written, and at most.
pub(crate) const RAW_TARGET: usize = 1 << 20;
const RAW_MAX: usize = RAW_TARGET + (64 << 10);

const PREFIX: usize = 8;
const FIXED: usize = 40;
const ENTRY: usize = 40;
/// Lanes of a frame at most: all those of so many apps, and what stands for threads without one.
pub(crate) const ENTRIES_MAX: usize = 256 * (LANES_MAX + 1);
const SUM: usize = 4;
const HEADER_MAX: usize = FIXED + ENTRIES_MAX * ENTRY + SUM;

/// The lane whose number stands for a region's threads without a lane.
pub(crate) const HOMELESS: u32 = u32::MAX;

/// How far a lane is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) region: RegionId,
    pub(crate) lane: u32,
    /// The position behind its last record.
    pub(crate) position: u64,
    /// How many of its records are known to be lost.
    pub(crate) lost: u64,
}

/// What a frame says before its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    raw: usize,
    packed: usize,
    count: u32,
    pub(super) levels: u32,
    pub(super) last: u64,
    pub(super) progress: Vec<Progress>,
    /// Bytes of the whole frame.
    pub(super) len: u64,
    /// Bytes before the compressed records.
    before: u64,
}

/// What is at a place of a segment.
#[derive(Debug)]
pub(super) enum Found {
    /// A frame with a header that is right.
    Frame(Header),
    /// Nothing: the end.
    End,
    /// The beginning of a frame, and then the end.
    Torn,
    /// Something else: what is wrong.
    Damaged(&'static str),
}

/// The next number of four or eight bytes, as many as `T` takes, and what is behind it. Callers have enough bytes; others get 0.
pub(super) fn number<const N: usize>(bytes: &[u8]) -> (u64, &[u8]) {
    match bytes.split_first_chunk::<N>() {
        Some((number, rest)) => {
            (number.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)), rest)
        }
        None => (0, &[]),
    }
}

/// Makes frames.
pub(super) struct Encoder {
    compressor: Compressor<'static>,
    frame: Vec<u8>,
}

impl Encoder {
    /// `level` is zstd's.
    pub(super) fn new(level: i32) -> io::Result<Encoder> {
        let mut compressor = Compressor::new(level)?;
        compressor.include_checksum(true)?;
        Ok(Encoder { compressor, frame: Vec::new() })
    }

    /// The batch as a frame.
    pub(super) fn encode(&mut self, batch: &Batch) -> io::Result<&[u8]> {
        let packed = self.compressor.compress(&batch.raw)?;
        let header_len = FIXED + batch.progress.len() * ENTRY + SUM;
        let (first, last) = batch.times.unwrap_or_default();
        let frame = &mut self.frame;
        frame.clear();
        let small = |number: usize| u32::try_from(number).map_err(|_| io::ErrorKind::InvalidInput);
        for number in [MAGIC, small(header_len)?, MARK, small(batch.raw.len())?, small(packed.len())?] {
            frame.extend_from_slice(&number.to_le_bytes());
        }
        for number in [batch.count, batch.levels, small(batch.progress.len())?] {
            frame.extend_from_slice(&number.to_le_bytes());
        }
        for number in [first, last] {
            frame.extend_from_slice(&number.to_le_bytes());
        }
        for entry in &batch.progress {
            let Progress { region, lane, position, lost } = *entry;
            for number in [region.inode, region.nonce, lane.into(), position, lost] {
                frame.extend_from_slice(&number.to_le_bytes());
            }
        }
        let sum = crc32fast::hash(&frame[PREFIX..]);
        frame.extend_from_slice(&sum.to_le_bytes());
        frame.extend_from_slice(&packed);
        Ok(frame)
    }
}

/// Reads what is at `offset` of a segment, but for the records.
pub(super) fn find(segment: &File, offset: u64) -> io::Result<Found> {
    let prefix = read(segment, offset, PREFIX)?;
    if prefix.len() < PREFIX {
        return Ok(if prefix.is_empty() { Found::End } else { Found::Torn });
    }
    let (magic, rest) = number::<4>(&prefix);
    let (header_len, _) = number::<4>(rest);
    let header_len = header_len as usize;
    if magic != u64::from(MAGIC) || !(FIXED + SUM..=HEADER_MAX).contains(&header_len) {
        return Ok(Found::Damaged("there is no frame"));
    }
    let header = read(segment, offset + PREFIX as u64, header_len)?;
    let Some((fields, sum)) = header.split_last_chunk::<SUM>().filter(|_| header.len() == header_len) else {
        return Ok(Found::Torn);
    };
    if crc32fast::hash(fields) != u32::from_le_bytes(*sum) {
        return Ok(Found::Damaged("the header's sum is wrong"));
    }
    let before = (PREFIX + header_len) as u64;
    let Some(header) = parse(fields, before) else { return Ok(Found::Damaged("the header makes no sense")) };
    if offset + header.len > segment.metadata()?.len() {
        return Ok(Found::Torn);
    }
    Ok(Found::Frame(header))
}

fn parse(fields: &[u8], before: u64) -> Option<Header> {
    let (mark, rest) = number::<4>(fields);
    let (raw, rest) = number::<4>(rest);
    let (packed, rest) = number::<4>(rest);
    let (count, rest) = number::<4>(rest);
    let (levels, rest) = number::<4>(rest);
    let (entries, rest) = number::<4>(rest);
    let (_first, rest) = number::<8>(rest);
    let (last, rest) = number::<8>(rest);
    let (raw, packed) = (raw as usize, packed as usize);
    let fits =
        raw <= RAW_MAX && packed <= 2 * RAW_MAX && rest.len() == (entries as usize).checked_mul(ENTRY)?;
    if mark != u64::from(MARK) || !fits {
        return None;
    }
    let progress = rest.chunks_exact(ENTRY).map(|entry| {
        let (inode, entry) = number::<8>(entry);
        let (nonce, entry) = number::<8>(entry);
        let (lane, entry) = number::<8>(entry);
        let (position, entry) = number::<8>(entry);
        let (lost, _) = number::<8>(entry);
        Progress { region: RegionId { inode, nonce }, lane: lane as u32, position, lost }
    });
    let progress = progress.collect();
    let len = before + packed as u64;
    Some(Header { raw, packed, count: count as u32, levels: levels as u32, last, progress, len, before })
}

impl Header {
    /// The records of the frame, which is at `offset`. The inner error says what is wrong with them.
    pub(super) fn records(
        &self,
        segment: &File,
        offset: u64,
    ) -> io::Result<Result<Vec<Record>, &'static str>> {
        let packed = read(segment, offset + self.before, self.packed)?;
        // Of data that is damaged, it may say anything.
        let raw = Decompressor::new()?.decompress(&packed, self.raw);
        Ok(match raw {
            Ok(raw) if raw.len() == self.raw => batch::decode(&raw, self.count),
            Ok(_) | Err(_) => Err("the records cannot be decompressed"),
        })
    }
}

/// Reads at most `len` bytes at `offset`: fewer where the file ends.
fn read(segment: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match segment.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::super::Origin;
    use super::*;
    use crate::Level;

    fn batch() -> Batch {
        let mut batch = Batch::default();
        for number in 0..50_u64 {
            let text = format!("tagmessage {number}");
            let of = Origin { time: 1000 + number, process: 3, thread: 4 };
            let level = Level::ALL[number as usize % 6];
            batch.push(of, level, (3, text.len() - 3), |raw| raw.extend_from_slice(text.as_bytes()));
        }
        let region = RegionId { inode: 5, nonce: u64::MAX };
        batch.progress.push(Progress { region, lane: 2, position: 1 << 40, lost: 9 });
        batch
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn frame() -> Vec<u8> {
        Encoder::new(3).unwrap().encode(&batch()).unwrap().to_vec()
    }

    #[test]
    fn frames_come_back_and_zstd_reads_them() {
        let frame = frame();
        let file = file(&frame);
        let Found::Frame(header) = find(&file, 0).unwrap() else { panic!("no frame") };
        assert_eq!((header.len, header.last, header.levels), (frame.len() as u64, 1049, 0b1111_1100));
        assert_eq!(header.progress, batch().progress);
        let records = header.records(&file, 0).unwrap().unwrap();
        assert_eq!(records.len(), 50);
        assert_eq!(
            (records[7].time, &records[7].tag[..], &records[7].message[..]),
            (1007, &b"tag"[..], &b"message 7"[..])
        );
        assert!(matches!(find(&file, header.len).unwrap(), Found::End));
        assert_eq!(zstd::stream::decode_all(&frame[..]).unwrap(), batch().raw);
    }

    #[test]
    fn a_cut_frame_is_torn() {
        let frame = frame();
        for len in 1..frame.len() {
            assert!(matches!(find(&file(&frame[..len]), 0).unwrap(), Found::Torn), "{len}");
        }
    }

    proptest! {
        #[test]
        fn broken_frames_are_noticed(at: prop::sample::Index, flip in 1..=u8::MAX) {
            let mut frame = frame();
            let at = at.index(frame.len());
            frame[at] ^= flip;
            let file = file(&frame);
            // A bit that nothing depends on may have any value.
            if let Found::Frame(header) = find(&file, 0).unwrap() {
                if let Ok(records) = header.records(&file, 0).unwrap() {
                    prop_assert_eq!(Ok(records), batch::decode(&batch().raw, batch().count()));
                }
            }
        }

        #[test]
        fn rubbish_is_no_frame(mut bytes in prop::collection::vec(any::<u8>(), 0..200), looks_right: bool) {
            if looks_right && bytes.len() >= 8 {
                bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
                bytes[4..8].copy_from_slice(&44_u32.to_le_bytes());
            }
            prop_assert!(!matches!(find(&file(&bytes), 0).unwrap(), Found::Frame(_)));
        }

        #[test]
        fn rubbish_is_no_record(raw in prop::collection::vec(any::<u8>(), 0..100), count in 0..6_u32) {
            let _ = batch::decode(&raw, count);
        }
    }
}
