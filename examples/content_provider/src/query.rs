//! What is asked of a provider.

use crate::value::Value;

/// Most columns, orders or arguments in one request.
pub(crate) const MOST_PARTS: usize = 999;

/// Which rows are meant: an expression over columns, with a `?` for each value.
///
/// Stands for the pair `selection` and `selectionArgs` of `android.content.ContentResolver`. Values are bound, never part of the text:
/// a provider refuses numbers and quoted texts in the expression. Names of columns can be quoted (`"first name"`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    pub(crate) expression: Option<String>,
    pub(crate) arguments: Vec<Value>,
}

impl Selection {
    /// All rows.
    #[must_use]
    pub fn all() -> Selection {
        Selection::default()
    }

    /// Those for which the expression is true, with these arguments in the places of its `?`.
    #[must_use]
    pub fn new<V: Into<Value>>(expression: &str, arguments: impl IntoIterator<Item = V>) -> Selection {
        Selection {
            expression: Some(expression.to_owned()),
            arguments: arguments.into_iter().map(Into::into).collect(),
        }
    }
}

/// A query for rows of one table or view.
///
/// Stands for the arguments of `ContentResolver.query`: projection, selection, sort order and limit.
///
/// ```
/// use content_provider::{Query, Selection};
///
/// let query = Query::table("people")
///     .columns(["id", "name"])
///     .selection(Selection::new("age >= ? AND name LIKE ?", [18.into(), content_provider::Value::from("A%")]))
///     .descending("age")
///     .ascending("name")
///     .limit(100);
/// # drop(query);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a query does nothing until it is asked"]
pub struct Query {
    pub(crate) table: String,
    pub(crate) columns: Vec<String>,
    pub(crate) selection: Selection,
    pub(crate) order: Vec<Order>,
    pub(crate) limit: Option<u64>,
}

/// One column that rows are sorted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) column: String,
    pub(crate) descending: bool,
}

impl Query {
    /// All columns of all rows of a table or view, in no order.
    pub fn table(table: &str) -> Query {
        Query {
            table: table.to_owned(),
            columns: Vec::new(),
            selection: Selection::all(),
            order: Vec::new(),
            limit: None,
        }
    }

    /// Only these columns, in this order. None are all.
    pub fn columns<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Query {
        self.columns = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Only these rows.
    pub fn selection(mut self, selection: Selection) -> Query {
        self.selection = selection;
        self
    }

    /// Sorts by this column, behind those that were named before.
    pub fn ascending(mut self, column: &str) -> Query {
        self.order.push(Order { column: column.to_owned(), descending: false });
        self
    }

    /// As [`ascending`](Query::ascending), the largest first.
    pub fn descending(mut self, column: &str) -> Query {
        self.order.push(Order { column: column.to_owned(), descending: true });
        self
    }

    /// No more rows than this.
    pub fn limit(mut self, rows: u64) -> Query {
        self.limit = Some(rows);
        self
    }
}

/// Values by column, for rows that are inserted or updated.
///
/// Stands for `android.content.ContentValues`.
///
/// ```
/// use content_provider::ContentValues;
///
/// let values = ContentValues::new().put("name", "Ada").put("age", 36).put("photo", None::<Vec<u8>>);
/// # drop(values);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "values do nothing until they are inserted"]
pub struct ContentValues(pub(crate) Vec<(String, Value)>);

impl ContentValues {
    /// No values: a row of defaults.
    pub fn new() -> ContentValues {
        ContentValues::default()
    }

    /// A value for a column.
    pub fn put(mut self, column: &str, value: impl Into<Value>) -> ContentValues {
        self.0.push((column.to_owned(), value.into()));
        self
    }
}
