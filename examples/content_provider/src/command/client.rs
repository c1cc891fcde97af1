//! The commands of clients.

use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use ashmem_binder::ServiceManager;
use clap::Args;
use content_provider::{Change, ChangedRows, ContentResolver, ContentValues, Query, Selection, ValueRef};

use super::Result;
use super::argument::{Argument, Assignment, Direction};
use super::output::{printable, write_json, write_row};

/// How often a watcher looks whether its provider lives.
const LOOK: Duration = Duration::from_millis(500);

fn resolver(authority: &str) -> Result<ContentResolver> {
    Ok(ContentResolver::open(&ServiceManager::new()?, authority)?)
}

/// Which rows are meant.
#[derive(Debug, Args)]
struct Rows {
    /// Only rows for which this is true: an expression over columns, with ? for each value
    #[arg(long = "where", value_name = "EXPRESSION")]
    expression: Option<String>,

    /// The value of the next ?
    #[arg(long = "bind", value_name = "VALUE", allow_hyphen_values = true)]
    arguments: Vec<Argument>,
}

impl Rows {
    fn selection(&self) -> Selection {
        match &self.expression {
            Some(expression) => {
                Selection::new(expression, self.arguments.iter().map(|argument| argument.0.clone()))
            }
            None => Selection::all(),
        }
    }
}

/// Print rows of a table or view
#[derive(Debug, Args)]
pub struct QueryCommand {
    /// The table or view
    table: String,

    /// Only these columns
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    columns: Vec<String>,

    #[command(flatten)]
    rows: Rows,

    /// Sort by these columns
    #[arg(long, value_name = "COLUMN[:desc],...", value_delimiter = ',')]
    order: Vec<Direction>,

    /// Print no more rows than this
    #[arg(long, value_name = "N")]
    limit: Option<u64>,

    /// Print the number of rows alone
    #[arg(long)]
    count: bool,

    /// Print each row as a JSON array
    #[arg(long)]
    json: bool,
}

impl QueryCommand {
    pub fn run(&self, authority: &str) -> Result<()> {
        let mut query =
            Query::table(&self.table).columns(self.columns.clone()).selection(self.rows.selection());
        for order in &self.order {
            query = if order.descending {
                query.descending(&order.column)
            } else {
                query.ascending(&order.column)
            };
        }
        if let Some(limit) = self.limit {
            query = query.limit(limit);
        }
        let mut cursor = resolver(authority)?.query(&query)?;
        let mut output = BufWriter::new(io::stdout().lock());
        if self.count {
            writeln!(output, "{}", cursor.count()?)?;
            return Ok(output.flush()?);
        }
        let names: Vec<ValueRef<'_>> =
            cursor.columns().iter().map(|name| ValueRef::Text(name.as_bytes())).collect();
        if self.json {
            write_json(&mut output, &names)?;
        } else {
            write_row(&mut output, &names)?;
        }
        let columns = names.len();
        while cursor.move_to_next()? {
            let row: Vec<ValueRef<'_>> =
                (0..columns).map(|column| cursor.value(column)).collect::<content_provider::Result<_>>()?;
            if self.json {
                write_json(&mut output, &row)?;
            } else {
                write_row(&mut output, &row)?;
            }
        }
        Ok(output.flush()?)
    }
}

fn content_values(assignments: &[Assignment]) -> ContentValues {
    assignments
        .iter()
        .fold(ContentValues::new(), |values, assignment| values.put(&assignment.0, assignment.1.clone()))
}

/// Insert a row, and print its id
#[derive(Debug, Args)]
pub struct Insert {
    /// The table
    table: String,

    /// The new row's values
    #[arg(value_name = "COLUMN=VALUE")]
    values: Vec<Assignment>,
}

impl Insert {
    pub fn run(&self, authority: &str) -> Result<()> {
        let row = resolver(authority)?.insert(&self.table, &content_values(&self.values))?;
        say(&row.to_string())
    }
}

/// Change rows, and print their number
#[derive(Debug, Args)]
pub struct Update {
    /// The table
    table: String,

    /// The new values
    #[arg(value_name = "COLUMN=VALUE", required = true)]
    values: Vec<Assignment>,

    #[command(flatten)]
    rows: Rows,

    /// Change all rows
    #[arg(long, conflicts_with = "expression", required_unless_present = "expression")]
    all: bool,
}

impl Update {
    pub fn run(&self, authority: &str) -> Result<()> {
        let (values, selection) = (content_values(&self.values), self.rows.selection());
        say(&resolver(authority)?.update(&self.table, &values, &selection)?.to_string())
    }
}

/// Delete rows, and print their number
#[derive(Debug, Args)]
pub struct Delete {
    /// The table
    table: String,

    #[command(flatten)]
    rows: Rows,

    /// Delete all rows
    #[arg(long, conflicts_with = "expression", required_unless_present = "expression")]
    all: bool,
}

impl Delete {
    pub fn run(&self, authority: &str) -> Result<()> {
        say(&resolver(authority)?.delete(&self.table, &self.rows.selection())?.to_string())
    }
}

/// Print what changes, until the provider ends
#[derive(Debug, Args)]
pub struct Watch {
    /// Only changes to this table
    table: Option<String>,

    /// Only changes to the row with this id
    #[arg(allow_negative_numbers = true)]
    row: Option<i64>,

    /// End after so many changes
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    changes: u64,
}

impl Watch {
    pub fn run(&self, authority: &str) -> Result<()> {
        let resolver = resolver(authority)?;
        let (sender, changes) = channel();
        let _registration = resolver.register_observer(self.table.as_deref(), self.row, move |change| {
            // Nobody listens when this ends.
            let _ = sender.send(change);
        })?;
        say("watching")?;
        for _ in 0..self.changes {
            match next(&changes, &resolver)? {
                Some(change) => say(&describe(&change))?,
                None => return Err("the provider has died".into()),
            }
        }
        Ok(())
    }
}

/// The next change, or that the provider has ended.
fn next(changes: &Receiver<Change>, resolver: &ContentResolver) -> Result<Option<Change>> {
    loop {
        match changes.recv_timeout(LOOK) {
            Ok(change) => return Ok(Some(change)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => match resolver.binder().ping_binder() {
                Ok(()) => {}
                Err(_) => return Ok(None),
            },
        }
    }
}

fn describe(change: &Change) -> String {
    match &change.rows {
        ChangedRows::These(rows) => {
            let rows: Vec<String> = rows.iter().map(i64::to_string).collect();
            format!("{}\t{}", change.table, rows.join(" "))
        }
        ChangedRows::Any => format!("{}\tany", change.table),
    }
}

/// List the tables of a provider.
pub fn tables(authority: &str) -> Result<()> {
    resolver(authority)?.tables()?.iter().try_for_each(|table| say(table))
}

fn say(line: &str) -> Result<()> {
    let mut output = io::stdout().lock();
    let line: Vec<String> = line.split('\t').map(printable).collect();
    writeln!(output, "{}", line.join("\t"))?;
    Ok(output.flush()?)
}
