//! The statements of a part of a database that could not be restored, parsed from the messages of
//! `pg_restore`.

use crate::error::{Error, Result};
use crate::process::{STDERR_KEPT, summarize_stderr};

/// The statements that failed while a part of a database was restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedStatements {
    /// Constraints, views and the like, without which the rest is whole.
    pub left_out: Vec<String>,
    /// Statements that create what holds data, or what data needs.
    pub lacking: Vec<String>,
}

impl FailedStatements {
    /// Adds those of a later run.
    pub(super) fn extend(&mut self, later: FailedStatements) {
        self.left_out.extend(later.left_out);
        self.lacking.extend(later.lacking);
    }

    /// The statements that were left out, in one line; `None` where there are none.
    pub fn text(&self) -> Option<String> {
        let first: Vec<&str> = self.left_out.iter().take(5).map(String::as_str).collect();
        let more = if self.left_out.len() > 5 {
            format!("; and {} more", self.left_out.len() - 5)
        } else {
            String::new()
        };
        (!first.is_empty()).then(|| {
            format!(
                "left out, for they need what the backup does not hold: {}{more}",
                first.join("; ")
            )
        })
    }
}

/// Parses the messages of `pg_restore` about the statements that failed. A failure for another
/// reason than that something is missing is an error.
pub(super) fn parse_failed_statements(stderr: &str) -> Result<FailedStatements> {
    let mut found = FailedStatements::default();
    let mut errors = 0;
    for block in stderr.split("pg_restore: error: ").skip(1) {
        let block = block.split("\npg_restore: ").next().unwrap_or_default();
        let (error, command) = block.split_once("\nCommand was: ").unwrap_or((block, ""));
        let error = error.lines().next().unwrap_or_default();
        let command = command.split_whitespace().collect::<Vec<_>>().join(" ");
        errors += 1;
        // The dump of the schema `public` alone contains this statement, and a new database has the
        // schema.
        if error.ends_with("schema \"public\" already exists") && command == "CREATE SCHEMA public;"
        {
            continue;
        }
        let for_want = error.starts_with("could not execute query: ERROR: ")
            && (error.ends_with(" does not exist")
                || error.contains(" violates foreign key constraint "));
        if !for_want {
            return Err(Error::failed(format!("`pg_restore` failed: {error}")));
        }
        let command: String = command.trim_end_matches(';').chars().take(200).collect();
        // Statements that only follow from another one that is reported.
        let follows = [" OWNER TO ", "COMMENT ON ", "GRANT ", "REVOKE ", "REFRESH "];
        if follows.iter().any(|word| {
            command.starts_with(word) || word.starts_with(' ') && command.contains(word)
        }) {
            continue;
        }
        let holds_data = [
            "CREATE TABLE ",
            "CREATE TYPE ",
            "CREATE DOMAIN ",
            "CREATE SEQUENCE ",
            "CREATE FOREIGN TABLE ",
        ];
        let list = if holds_data.iter().any(|word| command.starts_with(word)) {
            &mut found.lacking
        } else {
            &mut found.left_out
        };
        list.push(format!(
            "{command} ({})",
            error
                .trim_start_matches("could not execute query: ERROR: ")
                .trim_start()
        ));
    }
    // With several jobs its own count differs from that of its errors. But without that line it did
    // not go on to the end.
    if errors == 0 || !stderr.contains("errors ignored on restore: ") || stderr.len() >= STDERR_KEPT
    {
        return Err(Error::failed(format!(
            "`pg_restore` failed: {}",
            summarize_stderr(stderr)
        )));
    }
    Ok(found)
}
