//! Statements for what clients ask: names out of the schema, checked expressions, and parameters for everything else.

use rusqlite::Statement;
use rusqlite::types::{ToSqlOutput, ValueRef as SqlRef};

use super::expression::{self, quoted};
use super::failure::{Failure, Result};
use super::schema::Table;
use crate::query::{ContentValues, Query, Selection};
use crate::{Refusal, Value};

/// A statement, with the values of its parameters in their order.
pub(super) struct Composed<'a> {
    pub(super) sql: String,
    pub(super) parameters: Vec<Parameter<'a>>,
}

/// What is bound.
pub(super) enum Parameter<'a> {
    Given(&'a Value),
    Number(i64),
}

impl rusqlite::ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Parameter::Given(Value::Null) => SqlRef::Null,
            Parameter::Given(Value::Integer(integer)) => SqlRef::Integer(*integer),
            Parameter::Given(Value::Real(real)) => SqlRef::Real(*real),
            Parameter::Given(Value::Text(text)) => SqlRef::Text(text.as_bytes()),
            Parameter::Given(Value::Blob(blob)) => SqlRef::Blob(blob),
            Parameter::Number(number) => SqlRef::Integer(*number),
        }))
    }
}

impl Composed<'_> {
    /// Binds all parameters, which stay bound.
    pub(super) fn bind(&self, statement: &mut Statement<'_>) -> Result<()> {
        if statement.parameter_count() != self.parameters.len() {
            return Err(Failure::new(Refusal::Arguments, "the statement has other parameters"));
        }
        for (index, parameter) in self.parameters.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, parameter)?;
        }
        Ok(())
    }
}

/// The columns of a result, and the query for it.
pub(super) fn select<'a>(table: &'a Table, query: &'a Query) -> Result<(Vec<&'a str>, Composed<'a>)> {
    let columns: Vec<&str> = if query.columns.is_empty() {
        table.columns().iter().map(String::as_str).collect()
    } else {
        query.columns.iter().map(|column| table.column(column)).collect::<Result<_>>()?
    };
    let mut composed = Composed { sql: String::from("SELECT "), parameters: Vec::new() };
    list(&mut composed.sql, &columns, |column| quoted(column));
    composed.sql.push_str(" FROM ");
    composed.sql.push_str(&quoted(table.name()));
    restrict(&mut composed, &query.selection)?;
    if !query.order.is_empty() {
        let order = query.order.iter().map(|order| {
            let direction = if order.descending { " DESC" } else { " ASC" };
            Ok(quoted(table.column(&order.column)?) + direction)
        });
        let order: Vec<String> = order.collect::<Result<_>>()?;
        composed.sql.push_str(" ORDER BY ");
        list(&mut composed.sql, &order, String::clone);
    }
    if let Some(limit) = query.limit {
        composed.sql.push_str(" LIMIT ?");
        composed.parameters.push(Parameter::Number(i64::try_from(limit).unwrap_or(i64::MAX)));
    }
    Ok((columns, composed))
}

pub(super) fn insert<'a>(table: &Table, values: &'a ContentValues) -> Result<Composed<'a>> {
    let mut sql = format!("INSERT INTO {}", quoted(table.name()));
    if values.0.is_empty() {
        sql.push_str(" DEFAULT VALUES");
        return Ok(Composed { sql, parameters: Vec::new() });
    }
    let columns = names(table, values)?;
    sql.push_str(" (");
    list(&mut sql, &columns, |column| quoted(column));
    sql.push_str(") VALUES (");
    list(&mut sql, &columns, |_| "?".to_owned());
    sql.push(')');
    Ok(Composed { sql, parameters: given(values) })
}

pub(super) fn update<'a>(
    table: &Table,
    values: &'a ContentValues,
    selection: &'a Selection,
) -> Result<Composed<'a>> {
    if values.0.is_empty() {
        return Err(Failure::new(Refusal::Arguments, "an update without values"));
    }
    let mut sql = format!("UPDATE {} SET ", quoted(table.name()));
    list(&mut sql, &names(table, values)?, |column| quoted(column) + " = ?");
    let mut composed = Composed { sql, parameters: given(values) };
    restrict(&mut composed, selection)?;
    Ok(composed)
}

pub(super) fn delete<'a>(table: &Table, selection: &'a Selection) -> Result<Composed<'a>> {
    let mut composed =
        Composed { sql: format!("DELETE FROM {}", quoted(table.name())), parameters: Vec::new() };
    restrict(&mut composed, selection)?;
    Ok(composed)
}

fn restrict<'a>(composed: &mut Composed<'a>, selection: &'a Selection) -> Result<()> {
    let expected = match &selection.expression {
        Some(expression) => {
            let expected = expression::check(expression)?;
            composed.sql.push_str(" WHERE (");
            composed.sql.push_str(expression);
            composed.sql.push(')');
            expected
        }
        None => 0,
    };
    let count = selection.arguments.len();
    if count != expected {
        let message = format!("the selection takes {expected} and gets {count}");
        return Err(Failure::new(Refusal::Arguments, message));
    }
    composed.parameters.extend(selection.arguments.iter().map(Parameter::Given));
    Ok(())
}

fn names<'a>(table: &'a Table, values: &'a ContentValues) -> Result<Vec<&'a str>> {
    values.0.iter().map(|(column, _)| table.column(column)).collect()
}

fn given(values: &ContentValues) -> Vec<Parameter<'_>> {
    values.0.iter().map(|(_, value)| Parameter::Given(value)).collect()
}

fn list<T>(sql: &mut String, parts: &[T], write: impl Fn(&T) -> String) {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            sql.push_str(", ");
        }
        sql.push_str(&write(part));
    }
}
