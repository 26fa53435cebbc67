//! A value as somebody wrote it, before it is known which type it should have.

/// A value that was written.
#[derive(Debug, Clone, PartialEq)]
pub enum WrittenValue<'a> {
    /// A boolean.
    Flag(bool),
    /// A whole number.
    Whole(i128),
    /// Another number.
    Real(f64),
    /// A text.
    Text(&'a str),
    /// A moment, as it was written.
    Moment(String),
    /// A list.
    List(Vec<WrittenValue<'a>>),
    /// What no setting can be: a table.
    Table,
}

impl WrittenValue<'_> {
    /// The type alone: for keys whose value may be a secret.
    pub fn type_name(&self) -> &'static str {
        match self {
            WrittenValue::Flag(_) => "a boolean",
            WrittenValue::Whole(_) | WrittenValue::Real(_) => "a number",
            WrittenValue::Text(_) => "a string",
            WrittenValue::Moment(_) => "a time",
            WrittenValue::List(_) => "an array",
            WrittenValue::Table => "a table",
        }
    }

    /// `expected WANTED, found VALUE`.
    pub fn instead_of(&self, wanted: &str) -> String {
        let found = match self {
            WrittenValue::Flag(flag) => flag.to_string(),
            WrittenValue::Whole(number) => number.to_string(),
            WrittenValue::Real(number) => number.to_string(),
            WrittenValue::Text("") => "an empty string".to_owned(),
            WrittenValue::Text(text) => format!("`{}`", text.escape_debug()),
            WrittenValue::Moment(_) | WrittenValue::List(_) | WrittenValue::Table => {
                self.type_name().to_owned()
            }
        };
        format!("expected {wanted}, found {found}")
    }

    /// A whole number up to `most`.
    pub fn whole(&self, most: u64) -> Result<u64, String> {
        let wanted = "a whole number";
        let number = match self {
            WrittenValue::Whole(number) => *number,
            WrittenValue::Text(text) => text.trim().parse().map_err(|_| self.instead_of(wanted))?,
            _ => return Err(self.instead_of(wanted)),
        };
        match u64::try_from(number) {
            Ok(number) if number <= most => Ok(number),
            Ok(number) => Err(format!("expected at most {most}, found {number}")),
            Err(_) => Err(format!("expected {wanted} of 0 or more, found {number}")),
        }
    }
}
