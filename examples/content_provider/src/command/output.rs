//! Rows on standard output.

use std::io::{self, Write};

use content_provider::ValueRef;
use serde_json::Value as Json;

use super::Result;

/// A text of one line that does nothing to a terminal, whatever the other process says.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A row of values, with a tab between each two.
pub fn write_row(output: &mut impl Write, row: &[ValueRef<'_>]) -> io::Result<()> {
    for (index, value) in row.iter().enumerate() {
        if index > 0 {
            output.write_all(b"\t")?;
        }
        match value {
            ValueRef::Null => {}
            ValueRef::Integer(integer) => write!(output, "{integer}")?,
            ValueRef::Real(real) => write!(output, "{real:?}")?,
            ValueRef::Text(bytes) => {
                output.write_all(printable(&String::from_utf8_lossy(bytes)).as_bytes())?
            }
            ValueRef::Blob(bytes) => {
                for byte in *bytes {
                    write!(output, "{byte:02x}")?;
                }
            }
        }
    }
    output.write_all(b"\n")
}

/// A row as a JSON array: blobs are arrays of bytes, and what JSON has no numbers for is null.
pub fn write_json(output: &mut impl Write, row: &[ValueRef<'_>]) -> Result<()> {
    let values: Vec<Json> = row
        .iter()
        .map(|value| match value {
            ValueRef::Null => Json::Null,
            ValueRef::Integer(integer) => (*integer).into(),
            ValueRef::Real(real) => (*real).into(),
            ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into(),
            ValueRef::Blob(bytes) => bytes.to_vec().into(),
        })
        .collect();
    serde_json::to_writer(&mut *output, &values)?;
    Ok(output.write_all(b"\n")?)
}
