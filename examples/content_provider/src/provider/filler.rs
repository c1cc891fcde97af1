//! Fills windows with the rows of a source.
//!
//! There are two windows, in turn. A client that asks for the rows behind a window has done with the window before that, and so that one is
//! written again: while the client reads one, the next is [prepared](Filler::prepare) already. The first window is small, so that the
//! first row comes soon; those that follow grow.

use std::ops::Range;
use std::os::fd::OwnedFd;

use ashmem::{Mapping, Protection, Region};

use super::failure::{Failure, Result};
use crate::window::{LARGEST, LARGEST_RECORD, RecordBuilder, WindowWriter, size_for};
use crate::{Refusal, ValueRef};

/// Bytes of the first window.
const FIRST: u32 = 64 << 10;
/// Each window may have so many times the bytes of the one before it.
const GROWTH: u32 = 4;

/// Rows, one after the other.
pub(super) trait RowSource {
    /// To the next row; `false` behind the last one.
    fn advance(&mut self) -> Result<bool>;
    /// A value of that row.
    fn value(&self, column: usize) -> Result<ValueRef<'_>>;
}

/// What came of a request for the window with a row.
#[derive(Debug)]
pub(super) enum Answer {
    /// Its descriptor.
    Window(OwnedFd),
    /// There is no such row, but so many.
    End(u64),
    /// The source must be begun again first, and [`Filler::rewind`] be called.
    Rewind,
}

/// The windows of one cursor.
#[derive(Debug)]
pub(super) struct Filler {
    columns: usize,
    /// Bytes of a window.
    size: u32,
    builder: RecordBuilder,
    buffers: [Option<Buffer>; 2],
    /// The buffer that is written next.
    turn: usize,
    /// Of the next row: the source is at it if `has_row`, else just before it.
    at: u64,
    has_row: bool,
    ended: bool,
    /// The rows of the window that went out last.
    given: Option<Range<u64>>,
    /// Rows of a window that is full, in the buffer that is not written next.
    prepared: Option<Range<u64>>,
    /// Bytes that the next window may have.
    budget: u32,
}

/// A window's memory.
#[derive(Debug)]
struct Buffer {
    mapping: Mapping,
    /// Nobody can write through it, or open it for writing again.
    read_only: OwnedFd,
}

impl Buffer {
    fn new(size: u64) -> Result<Buffer> {
        let region = Region::create("cursor window", size)?;
        let mapping = region.map()?;
        // This mapping stays the only one that can write, in any process.
        region.set_protection(Protection::READ)?;
        Ok(Buffer { mapping, read_only: region.share_read_only()? })
    }
}

impl Filler {
    pub(super) fn new(columns: usize, size: u32) -> Filler {
        Filler {
            columns,
            size,
            builder: RecordBuilder::new(columns),
            buffers: [None, None],
            turn: 0,
            at: 0,
            has_row: false,
            ended: false,
            given: None,
            prepared: None,
            budget: FIRST.min(size),
        }
    }

    /// The source begins again, with its first row.
    pub(super) fn rewind(&mut self) {
        (self.at, self.has_row, self.ended, self.prepared) = (0, false, false, None);
    }

    /// A window that has the row at `position`.
    pub(super) fn window(&mut self, position: u64, source: &mut impl RowSource) -> Result<Answer> {
        if let Some(rows) = self.prepared.take().filter(|rows| rows.contains(&position)) {
            return self.give(rows);
        }
        if position < self.at {
            return Ok(Answer::Rewind);
        }
        let start = self.start_for(position);
        if !self.skip_to(start, source)? {
            return Ok(Answer::End(self.at));
        }
        // More than one where rows are larger than those of the last window.
        while let Some(rows) = self.fill(source)? {
            if rows.contains(&position) {
                return self.give(rows);
            }
        }
        Ok(Answer::End(self.at))
    }

    /// Fills the next window before it is asked for, if the client reads one after the other.
    pub(super) fn prepare(&mut self, source: &mut impl RowSource) -> Result<()> {
        let follows = self.given.as_ref().is_some_and(|rows| rows.end == self.at && rows.start > 0);
        if follows && self.prepared.is_none() && !self.ended {
            self.budget = self.grown();
            self.prepared = self.fill(source)?;
        }
        Ok(())
    }

    /// All rows in a row, from a position on, as long as `each` wants more. Gives what [`window`](Filler::window) does, and no
    /// window.
    pub(super) fn each_row<S: RowSource>(
        &mut self,
        position: u64,
        source: &mut S,
        mut each: impl FnMut(&S) -> Result<bool>,
    ) -> Result<Answer> {
        self.prepared = None;
        if position < self.at {
            return Ok(Answer::Rewind);
        }
        self.skip_to(position, source)?;
        while self.load(source)? {
            if !each(source)? {
                break;
            }
            (self.has_row, self.at) = (false, self.at + 1);
        }
        Ok(Answer::End(self.at))
    }

    /// Where a window starts that has this row, and how much it may have: more than the one before for who reads on, forwards or
    /// backwards; for who jumps little, and some rows before that one.
    fn start_for(&mut self, position: u64) -> u64 {
        let before = self.budget;
        let follows = |rows: &Range<u64>| rows.end == position || rows.start == position + 1;
        self.budget =
            if self.given.as_ref().is_some_and(follows) { self.grown() } else { FIRST.min(self.size) };
        let start = match &self.given {
            Some(given) if position < given.start => {
                let rows = (given.end - given.start) * u64::from(self.budget) / u64::from(before);
                let ahead = if position + 1 == given.start { rows } else { rows / 3 };
                (position + 1).saturating_sub(ahead.max(1))
            }
            _ => position,
        };
        start.max(self.at.min(position))
    }

    fn grown(&self) -> u32 {
        self.budget.saturating_mul(GROWTH).min(self.size)
    }

    fn give(&mut self, rows: Range<u64>) -> Result<Answer> {
        self.given = Some(rows);
        let Some(buffer) = &self.buffers[1 - self.turn] else {
            return Err(Failure::new(Refusal::Resources, "the window is gone"));
        };
        let descriptor = buffer.read_only.try_clone();
        descriptor.map(Answer::Window).map_err(|error| {
            Failure::new(Refusal::Resources, format!("duplicate a window's descriptor: {error}"))
        })
    }

    /// Moves the source to the row at `self.at`, if there is one.
    fn load(&mut self, source: &mut impl RowSource) -> Result<bool> {
        if !self.has_row && !self.ended {
            self.has_row = source.advance()?;
            self.ended = !self.has_row;
        }
        Ok(self.has_row)
    }

    fn skip_to(&mut self, position: u64, source: &mut impl RowSource) -> Result<bool> {
        while self.at < position {
            if !self.load(source)? {
                return Ok(false);
            }
            (self.has_row, self.at) = (false, self.at + 1);
        }
        Ok(true)
    }

    /// Writes a window whose first row is the next one; `None` when there is none.
    fn fill(&mut self, source: &mut impl RowSource) -> Result<Option<Range<u64>>> {
        if !self.load(source)? {
            return Ok(None);
        }
        self.encode(source)?;
        let length = self.builder.bytes().len();
        if length > LARGEST_RECORD as usize {
            let message = format!("row {} has {length} bytes", self.at);
            return Err(Failure::new(Refusal::RowTooLarge, message));
        }
        // A row that is larger than windows are gets a window of its own size.
        let needed = size_for(length).max(self.size as usize).min(LARGEST as usize) as u64;
        let buffer = match self.buffers[self.turn].take() {
            Some(buffer) if buffer.mapping.len() == needed => buffer,
            other => {
                drop(other);
                Buffer::new(needed)?
            }
        };
        let buffer = self.buffers[self.turn].insert(buffer);
        let first = self.at;
        let mut writer = WindowWriter::start(&buffer.mapping, self.columns, first)?;
        while writer.push(&self.builder)? {
            self.at += 1;
            if writer.used() >= self.budget {
                self.has_row = false;
                break;
            }
            self.has_row = source.advance()?;
            if !self.has_row {
                self.ended = true;
                break;
            }
            encode(&mut self.builder, self.columns, source)?;
        }
        if writer.rows() == 0 {
            return Err(Failure::new(Refusal::RowTooLarge, format!("row {first} has {length} bytes")));
        }
        writer.finish(self.ended)?;
        self.turn = 1 - self.turn;
        Ok(Some(first..self.at))
    }

    fn encode(&mut self, source: &impl RowSource) -> Result<()> {
        encode(&mut self.builder, self.columns, source)
    }
}

#[inline]
fn encode(builder: &mut RecordBuilder, columns: usize, source: &impl RowSource) -> Result<()> {
    builder.start();
    for column in 0..columns {
        builder.push(source.value(column)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ashmem::MapOptions;
    use proptest::prelude::*;

    use super::*;
    use crate::window::{Record, WindowReader};

    /// Rows that have their number and so many bytes.
    struct Rows<'a> {
        lengths: &'a [usize],
        next: usize,
        bytes: Vec<u8>,
    }

    impl RowSource for Rows<'_> {
        fn advance(&mut self) -> Result<bool> {
            let length = self.lengths.get(self.next);
            self.bytes = vec![self.next as u8; length.copied().unwrap_or(0)];
            self.next += usize::from(length.is_some());
            Ok(length.is_some())
        }

        fn value(&self, column: usize) -> Result<ValueRef<'_>> {
            Ok(match column {
                0 => ValueRef::Integer(self.next as i64 - 1),
                _ => ValueRef::Blob(&self.bytes),
            })
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Window(u64),
        /// The row behind the last window, and what is prepared then.
        Forwards,
        Backwards,
        Rows(u64, usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            2 => (0u64..90).prop_map(Step::Window),
            4 => Just(Step::Forwards),
            2 => Just(Step::Backwards),
            1 => (0u64..90, 0usize..30).prop_map(|(position, count)| Step::Rows(position, count)),
        ];
        prop::collection::vec(step, 1..25)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against the rows themselves: whatever is asked for in whatever order, the window has it.
        #[test]
        fn windows_have_the_rows_that_are_asked_for(
            lengths in prop::collection::vec(prop_oneof![9 => 0usize..600, 1 => 3000usize..9000], 0..80),
            steps in steps(),
        ) {
            let count = lengths.len() as u64;
            let mut filler = Filler::new(2, 4096);
            let start = || Rows { lengths: &lengths, next: 0, bytes: Vec::new() };
            let mut source = start();
            let mut window = 0..0;
            for step in steps {
                let position = match step {
                    Step::Window(position) | Step::Rows(position, _) => position,
                    Step::Forwards => window.end,
                    Step::Backwards => window.start.saturating_sub(1),
                };
                if let Step::Rows(_, most) = step {
                    let mut rows = Vec::new();
                    let mut each = |source: &Rows<'_>| {
                        if rows.len() < most { rows.push(source.next as u64 - 1) }
                        Ok(rows.len() < most)
                    };
                    if matches!(filler.each_row(position, &mut source, &mut each).unwrap(), Answer::Rewind) {
                        source = start();
                        filler.rewind();
                        filler.each_row(position, &mut source, &mut each).unwrap();
                    }
                    let end = count.min(position + most as u64);
                    prop_assert_eq!(rows, (position..end).collect::<Vec<_>>());
                    continue;
                }
                let mut answer = filler.window(position, &mut source).unwrap();
                if matches!(answer, Answer::Rewind) {
                    source = start();
                    filler.rewind();
                    answer = filler.window(position, &mut source).unwrap();
                }
                match answer {
                    Answer::Window(fd) => {
                        let region = Region::from_fd(fd).unwrap();
                        prop_assert!(region.map().is_err(), "it can only be read");
                        let mapping = MapOptions::new().read_only().map(&region).unwrap();
                        // What is prepared is written to the other one.
                        filler.prepare(&mut source).unwrap();
                        let reader = WindowReader::open(&mapping, 2).unwrap();
                        window = reader.rows();
                        prop_assert!(window.contains(&position) && window.end <= count);
                        prop_assert!(!reader.has_last_row() || window.end == count);
                        let mut record = Record::new(2);
                        for row in window.clone() {
                            reader.read(&mapping, row, &mut record).unwrap();
                            prop_assert_eq!(record.get(0).unwrap(), ValueRef::Integer(row as i64));
                            let bytes = vec![row as u8; lengths[row as usize]];
                            prop_assert_eq!(record.get(1).unwrap(), ValueRef::Blob(&bytes));
                        }
                    }
                    Answer::End(end) => {
                        prop_assert_eq!(end, count);
                        prop_assert!(position >= count);
                    }
                    Answer::Rewind => prop_assert!(false, "it has just begun"),
                }
            }
        }
    }
}
