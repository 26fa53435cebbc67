//! The preflight of a backup: what it would do, and what it would lack.

use super::PostgresSource;
use crate::engine::postgres::tables::{self, ListedTable, TableSelection};
use crate::engine::postgres::{PgFormat, ROW_SECURITY_HINT};
use crate::error::{Error, Hint, Result};
use crate::units;

/// A warning of the preflight: the backup would be made in spite of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreflightWarning {
    /// The warning.
    pub text: String,
    /// The remedy.
    pub remedy: Hint,
}

impl PreflightWarning {
    fn new(text: impl ToString, remedy: impl Into<Hint>) -> Self {
        PreflightWarning {
            text: text.to_string(),
            remedy: remedy.into(),
        }
    }
}

impl PostgresSource {
    /// Does what a backup begins with: it locks all tables for a moment, which needs the right to
    /// read them. Returns a description of the backup that would be made, and its warnings.
    pub fn rehearse(&mut self) -> Result<(String, Vec<PreflightWarning>)> {
        let version = self.database.server_version.clone().unwrap_or_default();
        let by = format!("{} {}", self.dump.name, self.dump.version);
        let by_connection =
            |text: &String| PreflightWarning::new(text, "look at the source's address");
        let mut concerns: Vec<PreflightWarning> = self.warnings.iter().map(by_connection).collect();
        if self.plan.format == PgFormat::Globals {
            return Ok((
                format!("PostgreSQL {version}: roles and tablespaces, by {by}"),
                concerns,
            ));
        }
        self.execute("BEGIN READ ONLY")?;
        self.execute("SET LOCAL lock_timeout = '2s'")?;
        let found = tables::list_tables(&mut self.session.client, &self.plan.selection)?;
        let hidden = tables::list_hidden_tables(&mut self.session.client, &found)?;
        let unmatched =
            tables::find_unmatched_patterns(&mut self.session.client, &self.plan.selection)?;
        let missing_schemas = || unmatched.iter().filter(|pattern| pattern.leaves_out());
        if let Some(first) = missing_schemas()
            .next()
            .filter(|_| missing_schemas().count() == self.plan.selection.schemas.len())
        {
            return Err(
                Error::failed(format!("{first}, and there is no other")).with_hint(first.hint())
            );
        }
        concerns.extend(
            unmatched
                .iter()
                .map(|pattern| PreflightWarning::new(pattern, pattern.hint())),
        );
        match tables::lock_tables(&mut self.session.client, &found) {
            Ok(_) => {
                let role = Hint::new()
                    .text("the backup would be made, but see ")
                    .command(["help", "postgresql"]);
                concerns.extend(
                    self.describe_missing_objects()?
                        .iter()
                        .map(|lacking| PreflightWarning::new(lacking, &role)),
                );
                let keys = self.describe_broken_keys(&found)?;
                concerns.extend(keys.map(|keys| {
                    PreflightWarning::new(keys, "save the tables that they point to, too")
                }));
            }
            Err(error) => {
                self.check_retriable(&error)?;
                let text = "a table is locked right now: a backup would wait for it";
                concerns.push(PreflightWarning::new(
                    text,
                    "wait, or end the session that holds it",
                ));
            }
        }
        self.execute("ROLLBACK")?;
        if let Some(first) = hidden.first() {
            let more = if hidden.len() > 1 {
                format!(" and {} more", hidden.len() - 1)
            } else {
                String::new()
            };
            return Err(
                Error::failed(format!("row-level security hides rows of {first}{more}"))
                    .with_hint(ROW_SECURITY_HINT),
            );
        }
        Ok((
            format!(
                "PostgreSQL {version}, {}, by {by}",
                units::count(found.len() as u64, "table")
            ),
            concerns,
        ))
    }

    /// Describes the foreign keys that a restore of the selected part will leave out.
    pub(super) fn describe_broken_keys(
        &mut self,
        tables: &[ListedTable],
    ) -> Result<Option<String>> {
        if self.plan.selection == TableSelection::default() {
            return Ok(None);
        }
        let keys = tables::list_broken_keys(&mut self.session.client, tables)?;
        let more = if keys.len() > 5 {
            format!("; and {} more", keys.len() - 5)
        } else {
            String::new()
        };
        let first: Vec<&str> = keys.iter().take(5).map(String::as_str).collect();
        Ok((!keys.is_empty()).then(|| {
            format!(
                "a restore of this part will leave out foreign keys to rows that are not in \
                     it: {}{more}",
                first.join("; ")
            )
        }))
    }

    /// Describes the objects that the dump must leave out because the role may not read them.
    pub(super) fn describe_missing_objects(&mut self) -> Result<Vec<String>> {
        if !self.plan.selection.schemas.is_empty() {
            // pg_dump takes no large objects then, readable or not.
            return Ok(Vec::new());
        }
        let count = tables::count_unreadable_large_objects(&mut self.session.client)?;
        Ok(if count > 0 {
            let objects = units::count(count, "large object");
            vec![format!(
                "all large objects are left out, for the role may not read {objects}: GRANT SELECT \
                 ON LARGE OBJECT … TO it"
            )]
        } else {
            Vec::new()
        })
    }

    /// Describes the selected schemas that do not exist; `pg_dump` is content if one of them does.
    pub(super) fn describe_missing_schemas(&mut self) -> Result<Vec<String>> {
        let schemas = tables::TableSelection {
            schemas: self.plan.selection.schemas.clone(),
            ..tables::TableSelection::default()
        };
        let unmatched = tables::find_unmatched_patterns(&mut self.session.client, &schemas)?;
        let missing = unmatched
            .into_iter()
            .filter(tables::UnmatchedPattern::leaves_out);
        Ok(missing
            .map(|pattern| format!("{pattern}: {}", pattern.hint()))
            .collect())
    }
}
