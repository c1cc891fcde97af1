//! A table of people, who do not exist: rows for a demonstration.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use rusqlite::{Connection, params};

use super::{Result, go_on};

/// The table.
pub const TABLE: &str = "people";

/// Makes a database with so many people, each the same in every run.
pub fn create(path: &Path, rows: u64, stop: &AtomicBool) -> Result<()> {
    let connection = Connection::open(path)?;
    // Nobody needs it after a crash.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
         CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INTEGER, height REAL, photo BLOB);
         BEGIN",
    )?;
    let mut insert = connection.prepare("INSERT INTO people VALUES (?, ?, ?, ?, ?)")?;
    let first = ["Ada", "Blaise", "Carl", "Donald", "Emmy", "Fanny", "Grace", "Hedy"];
    let last = ["Noether", "Hopper", "Knuth", "Gauß", "Pascal", "Lovelace", "Hensel", "Lamarr"];
    for id in 0..rows {
        go_on(stop)?;
        let number = (id + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (a, b) = ((number >> 10) as usize % 8, (number >> 20) as usize % 8);
        let name = format!("{} {}", first[a], last[b]);
        // Some are null.
        let age = (number >> 30 & 15 != 0).then_some((number >> 40) as u8 % 100);
        let height = 1.4 + (number >> 32 & 0xffff) as f64 / 131_072.0;
        insert.execute(params![i64::try_from(id)?, name, age, height, number.to_le_bytes()])?;
    }
    drop(insert);
    connection.execute_batch("COMMIT")?;
    Ok(())
}
