//! What the database has, and what statements may do with it.

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, OptionalExtension};

use super::failure::{Failure, Result};
use crate::Refusal;

/// Functions that a selection can call: their results are not larger than their arguments, and they take a time in proportion to them.
/// (Not so `instr` and `trim`, and SQLite cannot be interrupted within a function.)
const FUNCTIONS: [&str; 21] = [
    "abs",
    "coalesce",
    "count",
    "date",
    "datetime",
    "glob",
    "ifnull",
    "iif",
    "julianday",
    "length",
    "like",
    "lower",
    "max",
    "min",
    "nullif",
    "round",
    "strftime",
    "substr",
    "time",
    "typeof",
    "upper",
];

/// A table or view that clients can name.
#[derive(Debug)]
pub(super) struct Table {
    /// As the schema has it.
    name: String,
    /// Whether rows have ids.
    has_ids: bool,
    columns: Vec<String>,
}

impl Table {
    /// Looks for it. Names of tables and columns are compared as SQLite does, without regard to case.
    pub(super) fn find(connection: &Connection, name: &str) -> Result<Table> {
        let found = connection
            .query_row(
                "SELECT name, type = 'table' AND wr = 0 FROM pragma_table_list
                 WHERE schema = 'main' AND type IN ('table', 'view') AND name = ?1 COLLATE NOCASE
                     AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
                [name],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let (name, has_ids): (String, bool) = found.ok_or_else(|| {
            Failure::new(Refusal::NoSuchTable, format!("there is no table or view {name:?}"))
        })?;
        let mut statement =
            connection.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden <> 1")?;
        let columns = statement.query_map([&name], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(Table { name, has_ids, columns })
    }

    /// The names of all tables and views.
    pub(super) fn names(connection: &Connection) -> Result<Vec<String>> {
        let mut statement = connection.prepare(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'view')
                 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
        )?;
        let names = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(names)
    }

    /// As the schema has it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// All columns, as a result has them that names none.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// A column's name as the schema has it; `rowid` where rows have ids.
    pub(super) fn column<'a>(&'a self, name: &'a str) -> Result<&'a str> {
        let known = self.columns.iter().find(|column| column.eq_ignore_ascii_case(name));
        match known {
            Some(column) => Ok(column),
            None if self.has_ids && name.eq_ignore_ascii_case("rowid") => Ok(name),
            None => {
                let message = format!("{:?} has no column {name:?}", self.name);
                Err(Failure::new(Refusal::NoSuchColumn, message))
            }
        }
    }
}

/// What a client's statement may do. It is composed here, so this is a second line, behind what is taken for an expression: reading
/// any table that can be queried, writing to what it names and what triggers and foreign keys lead to. Not the
/// schema, no settings, no other files. What views and triggers do is the database's own affair.
pub(super) fn authorize(context: AuthContext<'_>) -> Authorization {
    let is_internal = |table: &str| table.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"));
    let allowed = match context.action {
        AuthAction::Select => true,
        AuthAction::Read { table_name, .. }
        | AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name } => !is_internal(table_name),
        AuthAction::Function { function_name } => {
            context.accessor.is_some()
                || FUNCTIONS.iter().any(|known| known.eq_ignore_ascii_case(function_name))
        }
        AuthAction::Recursive => context.accessor.is_some(),
        _ => false,
    };
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

/// Allows everything again.
pub(super) fn lift_authorizer(connection: &Connection) -> Result<()> {
    Ok(connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?)
}
