//! Rows on their way out of a dump, whatever its kind: who reads them pushes them table by table
//! into a [`TakeRows`].

use crate::error::Result;

/// Takes the rows of tables, one table after another.
pub trait TakeRows: Send {
    /// A table begins; `schema` is empty where there is none. False: its rows are not wanted, and
    /// neither [`TakeRows::row`] nor [`TakeRows::end`] is called for it.
    fn table(&mut self, schema: &str, name: &str, columns: &[String]) -> Result<bool>;

    /// A row of the table, a cell for each column.
    fn row(&mut self, cells: &[Cell<'_>]) -> Result<()>;

    /// The table has no more rows.
    fn end(&mut self) -> Result<()>;

    /// Whether text in another encoding than UTF-8 can't be taken.
    fn needs_utf8(&self) -> bool;
}

/// One value.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// As the database writes it; `None`: NULL.
    pub text: Option<&'a [u8]>,
    /// What it means.
    pub shape: &'a Shape,
}

/// What a value's text means, as far as formats tell it apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Itself.
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
