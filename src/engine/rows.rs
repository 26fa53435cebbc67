//! Rows on their way out of a dump of any kind: its reader pushes them, table by table, into a
//! [`RowSink`].

use crate::error::Result;

/// Takes the rows of tables, one table after another.
pub trait RowSink: Send {
    /// Begins a table; `schema` is empty where there is none. `false` means that its rows are not
    /// wanted: neither [`RowSink::write_row`] nor [`RowSink::end_table`] is called for it.
    fn begin_table(&mut self, schema: &str, name: &str, columns: &[String]) -> Result<bool>;

    /// Takes a row of the table, with a cell for each column.
    fn write_row(&mut self, cells: &[Cell<'_>]) -> Result<()>;

    /// Ends the table, which has no more rows.
    fn end_table(&mut self) -> Result<()>;

    /// Whether all text must be UTF-8.
    fn needs_utf8(&self) -> bool;
}

/// One value.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// The value as the database writes it; `None` for NULL.
    pub text: Option<&'a [u8]>,
    /// The meaning of that text.
    pub shape: &'a Shape,
}

/// The meaning of a value's text, as far as formats tell it apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// The text itself.
    Text,
    /// A number, or `NaN` and the like.
    Number,
    /// `t` or `f`.
    Boolean,
    /// A JSON document.
    Json,
    /// An array as PostgreSQL writes it, of such elements.
    Array(Box<Shape>),
}
