//! Cursor windows: rows in shared memory, which the provider writes and the client reads.
//!
//! # Layout, version 1
//!
//! All numbers are little-endian and may be at any place; offsets are in bytes.
//!
//! ```text
//! 0    u32 magic, "cwin"
//! 4    u32 version
//! 8    u32 columns
//! 12   u32 rows
//! 16   u64 position of the first row in the result
//! 24   u32 flags: 1 is set in the window that has the last row
//! 28   zeros
//! 64   records, one for each row, without gaps
//! ...
//!      u32 directory, from the end of the window downwards: where each record starts, and where the last one ends
//! ```
//!
//! A record has its types first (`ValueType`, a byte for each column), zeros up to a multiple of eight, then eight bytes for each
//! column: the integer, the bits of the floating-point number, or offset (from the start of the record) and length of a text or blob,
//! four bytes each. Texts and blobs follow.
//!
//! A record is all that there is of a row. So a reader copies one record out, checks the copy, and reads that: whatever the
//! other process writes meanwhile, no value is looked at twice.

mod reader;
mod record;
mod writer;

pub use self::reader::WindowReader;
pub use self::record::{Record, RecordBuilder};
pub use self::writer::WindowWriter;

/// "cwin".
const MAGIC: u32 = u32::from_le_bytes(*b"cwin");
/// Of the layout.
const VERSION: u32 = 1;
/// Bytes before the first record.
const HEADER: u32 = 64;
/// Of an entry in the directory, in bytes.
const ENTRY: u32 = 4;
/// The flag of the window that has the last row.
const LAST: u32 = 1;

/// Most columns of a row: as many as SQLite has.
pub const MOST_COLUMNS: usize = 2000;
/// Largest size of a window in bytes.
pub const LARGEST: u32 = 128 << 20;
/// Largest record in bytes.
pub const LARGEST_RECORD: u32 = LARGEST / 2;

/// The size of a window that has room for one record of `length` bytes.
pub(crate) fn size_for(length: usize) -> usize {
    HEADER as usize + length + 2 * ENTRY as usize
}

#[cfg(test)]
mod tests {
    use ashmem::{Mapping, Region};
    use proptest::prelude::*;

    use super::*;
    use crate::value::Value;
    use crate::{Error, ValueRef};

    fn mapping(size: u64) -> Mapping {
        Region::create("window", size).unwrap().map().unwrap()
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_filter("compared", |real| !real.is_nan()).prop_map(Value::Real),
            "\\PC{0,20}".prop_map(Value::Text),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Blob),
        ]
    }

    fn build(row: &[Value]) -> RecordBuilder {
        let mut builder = RecordBuilder::new(row.len());
        builder.start();
        for value in row {
            builder.push(value.as_ref()).unwrap();
        }
        builder
    }

    fn reads(record: &Record, row: &[Value]) {
        for (column, value) in row.iter().enumerate() {
            assert_eq!(record.get(column).unwrap(), value.as_ref());
        }
        assert!(matches!(record.get(row.len()), Err(Error::NoColumn { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// A window against a vector of rows.
        #[test]
        fn rows_come_back(
            rows in (1usize..6).prop_flat_map(|columns| prop::collection::vec(prop::collection::vec(any_value(), columns), 1..60)),
            first in 0u64..1 << 40,
            size in 256u64..4096,
        ) {
            let mapping = mapping(size);
            let columns = rows[0].len();
            let mut writer = WindowWriter::start(&mapping, columns, first).unwrap();
            let fits = rows.iter().take_while(|row| writer.push(&build(row)).unwrap()).count();
            let last = fits == rows.len();
            writer.finish(last).unwrap();
            let reader = WindowReader::open(&mapping, columns).unwrap();
            prop_assert_eq!(reader.rows(), first..first + fits as u64);
            prop_assert_eq!(reader.has_last_row(), last);
            let mut record = Record::new(columns);
            for (index, row) in rows.iter().enumerate() {
                let found = reader.read(&mapping, first + index as u64, &mut record);
                if index < fits {
                    found.unwrap();
                    reads(&record, row);
                } else {
                    prop_assert!(matches!(found, Err(Error::NoRow)));
                }
            }
        }

        /// Whatever is in the memory: an answer or an error, and no text outside of the record.
        #[test]
        fn hostile_memory_is_an_error_or_an_answer(
            bytes in prop::collection::vec(any::<u8>(), 512),
            columns in 1usize..4,
            header in prop::option::of((0u32..40, 0u32..3)),
            changes in prop::collection::vec((0u64..128, prop_oneof![Just(0u32), Just(u32::MAX), 0u32..600, any::<u32>()]), 0..20),
        ) {
            let mapping = mapping(512);
            mapping.write_at(0, &bytes).unwrap();
            if let Some((rows, flags)) = header {
                for (index, word) in [MAGIC, VERSION, columns as u32, rows, 7, 0, flags].into_iter().enumerate() {
                    mapping.write_at(4 * index as u64, &word.to_le_bytes()).unwrap();
                }
            }
            let reader = WindowReader::open(&mapping, columns);
            prop_assert!(header.is_some() || reader.is_err());
            let Ok(reader) = reader else { return Ok(()) };
            let mut record = Record::new(columns);
            for (word, value) in changes.into_iter().chain([(0, 0)]) {
                for row in reader.rows() {
                    if reader.read(&mapping, row, &mut record).is_ok() {
                        for column in 0..columns {
                            if let Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) = record.get(column) {
                                prop_assert!(bytes.len() <= 512);
                            }
                        }
                    }
                }
                mapping.write_at(4 * word, &value.to_le_bytes()).unwrap();
            }
        }
    }

    #[test]
    fn each_lie_in_a_header_is_named() {
        let good = mapping(4096);
        let mut writer = WindowWriter::start(&good, 2, 5).unwrap();
        assert!(writer.push(&build(&[Value::Integer(1), Value::Text("two".to_owned())])).unwrap());
        writer.finish(true).unwrap();
        let reader = WindowReader::open(&good, 2).unwrap();
        reader.read(&good, 5, &mut Record::new(2)).unwrap();
        let header = good.read_vec(0, 64).unwrap();
        let lies: [(u64, u32); 8] =
            [(0, 0), (4, 2), (8, 1), (8, 3), (12, 0), (12, 4096), (12, u32::MAX), (20, u32::MAX)];
        for (offset, lie) in lies {
            good.write_at(offset, &lie.to_le_bytes()).unwrap();
            let refused = WindowReader::open(&good, 2);
            assert!(matches!(refused, Err(Error::DamagedWindow { .. })), "{offset} {lie}: {refused:?}");
            good.write_at(0, &header).unwrap();
        }
        // The directory: starts in the header, ends before it starts, ends in the directory.
        for (start, end) in [(0, 90), (64, 60), (64, 4096), (u32::MAX, 90), (64, u32::MAX), (64, 70)] {
            good.write_at(4092, &u32::to_le_bytes(start)).unwrap();
            good.write_at(4088, &u32::to_le_bytes(end)).unwrap();
            let reader = WindowReader::open(&good, 2).unwrap();
            let refused = reader.read(&good, 5, &mut Record::new(2));
            assert!(matches!(refused, Err(Error::DamagedWindow { .. })), "{start} {end}: {refused:?}");
        }
        // Too small for a header, or for a directory.
        for size in [1, 63, 64, 71] {
            assert!(matches!(WindowReader::open(&mapping(size), 1), Err(Error::DamagedWindow { .. })));
        }
    }

    #[test]
    fn a_window_that_is_being_written_is_none() {
        let mapping = mapping(4096);
        let mut writer = WindowWriter::start(&mapping, 1, 0).unwrap();
        writer.push(&build(&[Value::Integer(1)])).unwrap();
        writer.finish(false).unwrap();
        assert!(WindowReader::open(&mapping, 1).is_ok());
        let _writer = WindowWriter::start(&mapping, 1, 1).unwrap();
        assert!(WindowReader::open(&mapping, 1).is_err());
    }

    #[test]
    fn windows_are_of_a_size_for_one_record() {
        let builder = build(&[Value::Blob(vec![7; 5000])]);
        let size = size_for(builder.bytes().len()) as u64;
        assert!(WindowWriter::start(&mapping(size), 1, 0).unwrap().push(&builder).unwrap());
        assert!(!WindowWriter::start(&mapping(size - 1), 1, 0).unwrap().push(&builder).unwrap());
    }
}
