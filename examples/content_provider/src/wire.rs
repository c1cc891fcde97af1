//! What travels through Binder: interfaces, codes of transactions, and how requests are written.

use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{
    self, ExceptionCode, Parcel, SIBinder, Status, StatusCode, TransactionCode, TransactionFlags,
};

use crate::query::{ContentValues, MOST_PARTS, Order, Query, Selection};
use crate::value::{Value, ValueRef, ValueType};
use crate::{Error, Refusal, Result};

/// `IContentProvider`.
pub(crate) const PROVIDER: &str = "ashmem.example.IContentProvider";
/// Gives columns and a cursor.
pub(crate) const QUERY: TransactionCode = 1;
/// Gives the row's id.
pub(crate) const INSERT: TransactionCode = 2;
/// Gives the number of rows.
pub(crate) const UPDATE: TransactionCode = 3;
/// Gives the number of rows.
pub(crate) const DELETE: TransactionCode = 4;
/// Takes an observer, gives a binder that is the registration.
pub(crate) const REGISTER: TransactionCode = 5;
/// Gives the names of tables and views.
pub(crate) const TABLES: TransactionCode = 6;

/// `IBulkCursor`.
pub(crate) const CURSOR: &str = "ashmem.example.IBulkCursor";
/// Takes a position; gives the descriptor of a window that has it, or the number of rows where there is none.
pub(crate) const WINDOW: TransactionCode = 1;
/// Gives the number of rows.
pub(crate) const COUNT: TransactionCode = 2;
/// Takes a position and a number of bytes; gives that much of rows from there on, in the parcel.
pub(crate) const ROWS: TransactionCode = 3;

/// `IContentObserver`.
pub(crate) const OBSERVER: &str = "ashmem.example.IContentObserver";
/// One way: a table, and rows or none.
pub(crate) const CHANGED: TransactionCode = 1;

/// What has no transactions: it is held as long as something is wanted.
pub(crate) const REGISTRATION: &str = "ashmem.example.IRegistration";

/// Behind each row of [`ROWS`] comes another one.
pub(crate) const ROW: i32 = 1;
/// That was as much as was asked for.
pub(crate) const PAUSE: i32 = 2;
/// That was the last row.
pub(crate) const END: i32 = 3;

/// A text that is not UTF-8, which parcels have no strings for.
const RAW_TEXT: i32 = 5;

/// Calls a provider, a cursor or an observer in another process.
pub(crate) fn call(
    binder: &SIBinder,
    interface: &str,
    operation: &'static str,
    code: TransactionCode,
    write: impl FnOnce(&mut Parcel) -> rsbinder::Result<()>,
) -> Result<Parcel> {
    let reply = submit(binder, interface, code, 0, write).map_err(Error::binder(operation))?;
    let mut reply = reply.ok_or(Error::Garbage { operation, reason: "no reply" })?;
    let status: Status = reply.read().map_err(Error::binder(operation))?;
    match status.exception_code() {
        ExceptionCode::None => Ok(reply),
        ExceptionCode::ServiceSpecific => {
            let refusal = Refusal::from_code(status.service_specific_error());
            let refusal = refusal.ok_or(Error::Garbage { operation, reason: "an unknown refusal" })?;
            Err(Error::Refused {
                operation,
                refusal,
                message: printable(status.message().unwrap_or_default()),
            })
        }
        _ => Err(Error::Garbage { operation, reason: "an unknown exception" }),
    }
}

/// Sends a request behind the interface's token.
pub(crate) fn submit(
    binder: &SIBinder,
    interface: &str,
    code: TransactionCode,
    flags: TransactionFlags,
    write: impl FnOnce(&mut Parcel) -> rsbinder::Result<()>,
) -> rsbinder::Result<Option<Parcel>> {
    let proxy = binder.as_any().downcast_ref::<RpcProxy>().ok_or(StatusCode::InvalidOperation)?;
    let mut request = proxy.build_request(interface)?;
    write(&mut request)?;
    proxy.transact(code, &request, flags)
}

/// A text of another process on one line, which does nothing to a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(1000).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Writes a value as an AIDL interface would: its type, then what that type is written as.
pub(crate) fn write_value(parcel: &mut Parcel, value: ValueRef<'_>) -> rsbinder::Result<()> {
    let number = value.value_type() as i32;
    match value {
        ValueRef::Null => parcel.write_i32(number),
        ValueRef::Integer(integer) => {
            parcel.write_i32(number)?;
            parcel.write_i64(integer)
        }
        ValueRef::Real(real) => {
            parcel.write_i32(number)?;
            parcel.write_f64(real)
        }
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => {
                parcel.write_i32(number)?;
                parcel.write(text)
            }
            Err(_) => {
                parcel.write_i32(RAW_TEXT)?;
                parcel.write(bytes)
            }
        },
        ValueRef::Blob(bytes) => {
            parcel.write_i32(number)?;
            parcel.write(bytes)
        }
    }
}

/// A value that came in a parcel: the bytes of a text may be none of UTF-8.
#[derive(Debug)]
pub(crate) enum Received {
    Value(Value),
    RawText(Vec<u8>),
}

pub(crate) fn read_received(parcel: &mut Parcel) -> rsbinder::Result<Received> {
    let number = parcel.read_i32()?;
    if number == RAW_TEXT {
        return Ok(Received::RawText(parcel.read()?));
    }
    let value_type = ValueType::from_number(number);
    Ok(Received::Value(match value_type.ok_or(StatusCode::BadValue)? {
        ValueType::Null => Value::Null,
        ValueType::Integer => Value::Integer(parcel.read_i64()?),
        ValueType::Real => Value::Real(parcel.read_f64()?),
        ValueType::Text => Value::Text(parcel.read()?),
        ValueType::Blob => Value::Blob(parcel.read()?),
    }))
}

fn read_value(parcel: &mut Parcel) -> rsbinder::Result<Value> {
    match read_received(parcel)? {
        Received::Value(value) => Ok(value),
        Received::RawText(_) => Err(StatusCode::BadValue),
    }
}

fn write_parts<T>(
    parcel: &mut Parcel,
    parts: &[T],
    write: impl Fn(&mut Parcel, &T) -> rsbinder::Result<()>,
) -> rsbinder::Result<()> {
    parcel.write_u32(u32::try_from(parts.len()).map_err(|_| StatusCode::BadValue)?)?;
    parts.iter().try_for_each(|part| write(parcel, part))
}

/// As many as are there, and no memory for those that are only said to be.
pub(crate) fn read_parts<T>(
    parcel: &mut Parcel,
    most: usize,
    read: impl Fn(&mut Parcel) -> rsbinder::Result<T>,
) -> rsbinder::Result<Vec<T>> {
    let count = parcel.read_u32()? as usize;
    if count > most {
        return Err(StatusCode::BadValue);
    }
    (0..count).map(|_| read(parcel)).collect()
}

/// The names of columns, or of tables.
pub(crate) fn write_names<S: AsRef<str>>(parcel: &mut Parcel, names: &[S]) -> rsbinder::Result<()> {
    write_parts(parcel, names, |parcel, name| parcel.write(name.as_ref()))
}

pub(crate) fn read_names(parcel: &mut Parcel, most: usize) -> rsbinder::Result<Vec<String>> {
    read_parts(parcel, most, |parcel| parcel.read())
}

pub(crate) fn write_selection(parcel: &mut Parcel, selection: &Selection) -> rsbinder::Result<()> {
    parcel.write(&selection.expression)?;
    write_parts(parcel, &selection.arguments, |parcel, value| write_value(parcel, value.as_ref()))
}

pub(crate) fn read_selection(parcel: &mut Parcel) -> rsbinder::Result<Selection> {
    Ok(Selection { expression: parcel.read()?, arguments: read_parts(parcel, MOST_PARTS, read_value)? })
}

pub(crate) fn write_values(parcel: &mut Parcel, values: &ContentValues) -> rsbinder::Result<()> {
    write_parts(parcel, &values.0, |parcel, (column, value)| {
        parcel.write(column)?;
        write_value(parcel, value.as_ref())
    })
}

pub(crate) fn read_values(parcel: &mut Parcel) -> rsbinder::Result<ContentValues> {
    Ok(ContentValues(read_parts(parcel, MOST_PARTS, |parcel| Ok((parcel.read()?, read_value(parcel)?)))?))
}

pub(crate) fn write_query(parcel: &mut Parcel, query: &Query) -> rsbinder::Result<()> {
    parcel.write(&query.table)?;
    write_names(parcel, &query.columns)?;
    write_selection(parcel, &query.selection)?;
    write_parts(parcel, &query.order, |parcel, order| {
        parcel.write(&order.column)?;
        parcel.write_bool(order.descending)
    })?;
    // Negative for none; more than there can be is all.
    parcel.write_i64(query.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX)))
}

pub(crate) fn read_query(parcel: &mut Parcel) -> rsbinder::Result<Query> {
    Ok(Query {
        table: parcel.read()?,
        columns: read_names(parcel, MOST_PARTS)?,
        selection: read_selection(parcel)?,
        order: read_parts(parcel, MOST_PARTS, |parcel| {
            Ok(Order { column: parcel.read()?, descending: parcel.read_bool()? })
        })?,
        limit: u64::try_from(parcel.read_i64()?).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_back() {
        let arguments =
            [Value::Null, Value::Integer(-1), Value::Real(0.5), Value::from("a\0ü"), Value::Blob(vec![0; 3])];
        let query = Query::table("people")
            .columns(["id", "name"])
            .selection(Selection::new("a = ? OR b IN (?, ?, ?, ?)", arguments.clone()))
            .descending("name")
            .limit(7);
        let mut values = ContentValues::new();
        for (index, value) in arguments.into_iter().enumerate() {
            values = values.put(&format!("column {index}"), value);
        }
        let mut parcel = Parcel::new();
        write_query(&mut parcel, &query).unwrap();
        write_values(&mut parcel, &values).unwrap();
        write_value(&mut parcel, ValueRef::Text(b"\xff")).unwrap();
        parcel.set_data_position(0);
        assert_eq!(read_query(&mut parcel).unwrap(), query);
        assert_eq!(read_values(&mut parcel).unwrap(), values);
        assert!(matches!(read_received(&mut parcel).unwrap(), Received::RawText(bytes) if bytes == b"\xff"));
    }

    #[test]
    fn numbers_of_parts_are_not_believed() {
        let mut parcel = Parcel::new();
        parcel.write_u32(u32::MAX).unwrap();
        parcel.set_data_position(0);
        assert_eq!(read_values(&mut parcel).unwrap_err(), StatusCode::BadValue);
        let mut parcel = Parcel::new();
        parcel.write_u32(900).unwrap();
        parcel.set_data_position(0);
        assert!(read_values(&mut parcel).is_err());
    }
}
