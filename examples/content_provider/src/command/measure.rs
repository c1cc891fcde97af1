//! Reads a table in each way, and takes the time.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use content_provider::{ContentResolver, Query, ValueRef};
use rusqlite::types::ValueRef as SqlRef;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use super::{Result, go_on};

/// What travels how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Cursor windows in shared memory.
    Windows,
    /// Each value in Binder's parcels.
    Parcels,
}

/// Where rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// A query that runs meanwhile.
    Sqlite,
    /// Memory of the provider, where they are already.
    Memory,
}

/// One way, for one number of rows.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub way: Way,
    pub from: From,
    pub rows: u64,
    /// Median.
    pub nanoseconds: u64,
    /// Bytes of Binder's replies for rows.
    pub bytes_through_binder: u64,
    /// Whether each value was that of the table.
    pub is_right: bool,
}

impl Figure {
    pub fn rows_per_second(&self) -> f64 {
        self.rows as f64 * 1e9 / self.nanoseconds.max(1) as f64
    }
}

/// Reads the rows of a table in both ways, in turn, so that both meet the same neighbours.
pub fn run(
    resolver: &ContentResolver,
    table: &str,
    from: From,
    expected: &Read,
    rounds: u32,
    batch: u32,
    stop: &AtomicBool,
) -> Result<[Figure; 2]> {
    let query = Query::table(table).limit(expected.rows);
    let mut runs = [Vec::new(), Vec::new()];
    // The first one is not counted: it fills caches.
    for round in 0..=rounds {
        for (runs, way) in runs.iter_mut().zip([Way::Windows, Way::Parcels]) {
            go_on(stop)?;
            let run = match way {
                Way::Windows => through_windows(resolver, &query, from)?,
                Way::Parcels => through_parcels(resolver, &query, from, batch)?,
            };
            if round > 0 {
                runs.push(run);
            }
        }
    }
    let [windows, parcels] = runs;
    Ok([figure(Way::Windows, from, expected, &windows), figure(Way::Parcels, from, expected, &parcels)])
}

/// One reading of all rows.
struct Run {
    read: Read,
    time: Duration,
    bytes: u64,
}

fn through_windows(resolver: &ContentResolver, query: &Query, from: From) -> Result<Run> {
    let start = Instant::now();
    let mut cursor = resolver.query(query)?;
    let columns = cursor.columns().len();
    let start = begin(from, start);
    let mut read = Read::default();
    while cursor.move_to_next()? {
        read.rows += 1;
        for column in 0..columns {
            read.add(cursor.value(column)?);
        }
    }
    Ok(Run { read, time: start.elapsed(), bytes: cursor.bytes_received() })
}

fn through_parcels(resolver: &ContentResolver, query: &Query, from: From, batch: u32) -> Result<Run> {
    let start = Instant::now();
    let mut cursor = resolver.query_through_parcels(query, batch)?;
    let columns = cursor.columns();
    let start = begin(from, start);
    let mut read = Read::default();
    while cursor.move_to_next()? {
        read.rows += 1;
        for column in 0..columns {
            read.add(cursor.value(column)?);
        }
    }
    Ok(Run { read, time: start.elapsed(), bytes: cursor.bytes_received() })
}

fn figure(way: Way, from: From, expected: &Read, runs: &[Run]) -> Figure {
    let time = median(runs.iter().map(|run| run.time).collect());
    Figure {
        way,
        from,
        rows: expected.rows,
        nanoseconds: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
        bytes_through_binder: runs.last().map_or(0, |run| run.bytes),
        is_right: runs.iter().all(|run| run.read == *expected),
    }
}

/// With rows in memory the query is what reads them there, and not counted.
fn begin(from: From, start: Instant) -> Instant {
    match from {
        From::Sqlite => start,
        From::Memory => Instant::now(),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// What was read: the number of rows, and a sum over each byte of their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    pub rows: u64,
    sum: u64,
}

impl Read {
    #[inline]
    fn add(&mut self, value: ValueRef<'_>) {
        let number = match value {
            ValueRef::Null => 1,
            ValueRef::Integer(integer) => integer as u64,
            ValueRef::Real(real) => real.to_bits(),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => sum(bytes),
        };
        // Which value it is counts, too.
        self.sum = (self.sum.rotate_left(7) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let rest = words.remainder().iter().fold(bytes.len() as u64, |sum, byte| sum << 8 ^ u64::from(*byte));
    words.fold(rest, |sum, word| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        sum.rotate_left(5) ^ u64::from_le_bytes(bytes)
    })
}

/// The same rows, read by SQLite in this process, and how long that takes.
pub fn read_directly(path: &Path, table: &str, rows: u64) -> Result<(Read, Duration)> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let sql = format!("SELECT * FROM \"{}\" LIMIT ?", table.replace('"', "\"\""));
    let mut statement = connection.prepare(&sql)?;
    let mut times = Vec::new();
    let mut last = Read::default();
    for _ in 0..3 {
        let (start, mut read) = (Instant::now(), Read::default());
        let columns = statement.column_count();
        let mut found = statement.query([i64::try_from(rows).unwrap_or(i64::MAX)])?;
        while let Some(row) = found.next()? {
            read.rows += 1;
            for column in 0..columns {
                read.add(match row.get_ref(column)? {
                    SqlRef::Null => ValueRef::Null,
                    SqlRef::Integer(integer) => ValueRef::Integer(integer),
                    SqlRef::Real(real) => ValueRef::Real(real),
                    SqlRef::Text(bytes) => ValueRef::Text(bytes),
                    SqlRef::Blob(bytes) => ValueRef::Blob(bytes),
                });
            }
        }
        times.push(start.elapsed());
        last = read;
    }
    Ok((last, median(times)))
}
