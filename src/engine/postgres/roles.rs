//! Roles and tablespaces of a cluster, as `pg_dumpall --globals-only` writes them: what the server
//! lacks is made; what it has is left as it is, for a role's password of last month is not what
//! anybody wants back.

use super::connect::Session;
use super::conninfo::ConnInfo;
use super::fill::{Clients, remedy};
use super::leftovers::maintenance;
use super::names::QualifiedName;
use super::programs::Search;
use super::scan::{Stray, scan};
use super::{explain, facts};
use crate::engine::{Check, Depth, Destination, Keep, Manifest, Published};
use crate::error::{Error, Result};
use std::io::Read;

/// A script of roles is small; one of more than this is none.
const LARGEST: u64 = 64 << 20;

/// See the head of this file.
pub struct RolesDestination {
    session: Session,
    search: Search,
    statements: Vec<Statement>,
    complete: bool,
    stray: Option<Stray>,
    roles: Vec<String>,
    tablespaces: Vec<String>,
}

/// One statement of the script, with the role or tablespace that it is about.
struct Statement {
    text: String,
    makes_role: bool,
    role: Option<String>,
    /// The role that it makes another one a member of.
    granted: Option<String>,
    tablespace: Option<String>,
}

impl RolesDestination {
    /// Connects; `conn` is any database of the server.
    pub fn open(conn: &ConnInfo, search: &Search) -> Result<RolesDestination> {
        let session = conn.connect()?;
        let mut client = maintenance(&session.reached, "")?;
        let mut names = |query: &str| -> Result<Vec<String>> {
            let rows = client
                .query(query, &[])
                .map_err(|error| explain(&error, "listing the roles"))?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        };
        let roles = names("SELECT rolname::text FROM pg_catalog.pg_roles")?;
        let tablespaces = names("SELECT spcname::text FROM pg_catalog.pg_tablespace")?;
        let search = Search {
            prefix: Vec::new(),
            ..search.clone()
        };
        Ok(RolesDestination {
            session,
            search,
            statements: Vec::new(),
            complete: false,
            stray: None,
            roles,
            tablespaces,
        })
    }

    /// The roles that will be made.
    pub fn missing(&self) -> Vec<&str> {
        let made = self
            .statements
            .iter()
            .filter(|statement| statement.makes_role);
        made.filter_map(|statement| statement.role.as_deref())
            .filter(|role| !self.has_role(role))
            .collect()
    }

    /// What will be done, in words; a password is in none of them.
    pub fn plan(&self) -> Vec<String> {
        let missing = self.missing();
        let there = self
            .statements
            .iter()
            .filter(|one| one.makes_role)
            .filter_map(|one| one.role.as_deref());
        let there: Vec<&str> = there.filter(|role| self.has_role(role)).collect();
        let mut lines: Vec<String> = missing
            .iter()
            .map(|role| format!("make the role {role}"))
            .collect();
        if !there.is_empty() {
            lines.push(format!(
                "leave as they are, being there: {}",
                there.join(", ")
            ));
        }
        let tablespaces = self
            .statements
            .iter()
            .filter_map(|one| one.tablespace.as_deref());
        let mut tablespaces: Vec<&str> = tablespaces
            .filter(|name| !self.tablespaces.iter().any(|known| known == name))
            .collect();
        tablespaces.dedup();
        lines.extend(tablespaces.iter().map(|name| {
            format!("not made, for its directory must be made first: the tablespace {name}")
        }));
        lines
    }

    fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|known| known == role)
    }

    /// The statements about roles that are to be made, memberships where one of the two is, and
    /// those that name no role: settings of the session.
    fn script(&self) -> String {
        let made = |role: Option<&str>| role.is_some_and(|role| !self.has_role(role));
        let wanted = |one: &&Statement| {
            one.tablespace.is_none()
                && (one.role.is_none() || made(one.role.as_deref()) || made(one.granted.as_deref()))
        };
        self.statements
            .iter()
            .filter(wanted)
            .map(|one| format!("{}\n", one.text))
            .collect()
    }
}

impl Destination for RolesDestination {
    fn receive(&mut self, content: &mut dyn Read) -> Result<()> {
        let mut bytes = Vec::new();
        content.take(LARGEST).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        self.complete = text.contains("-- PostgreSQL database cluster dump complete");
        self.stray = scan(&mut bytes.as_slice())?.stray;
        self.statements = statements(&text).into_iter().map(statement).collect();
        Ok(())
    }

    fn check(&mut self, _expected: Option<&Manifest>, _depth: Depth) -> Result<Vec<Check>> {
        Ok(vec![if let Some(stray) = &self.stray {
            Check::damaged("script", stray.to_string())
        } else if self.complete {
            Check::ok(
                "script",
                format!(
                    "read to its end: {}",
                    crate::units::count(self.statements.len() as u64, "statement")
                ),
            )
        } else {
            Check::damaged(
                "script",
                "the script has no end: its last line is not that of a complete dump",
            )
        }])
    }

    fn publish(&mut self, _keep: Keep<'_>) -> Result<Published> {
        let missing = self.missing().len() as u64;
        if missing > 0 {
            let mut client = maintenance(&self.session.reached, "")?;
            let version = facts::version(&mut client)?;
            let clients = Clients {
                search: &self.search,
                reached: &self.session.reached,
                server: None,
                version,
            };
            let made =
                clients.script_in_one_transaction(self.session.reached.dbname(), &self.script());
            made.map_err(|error: Error| {
                let hint =
                    remedy(&error).unwrap_or("no role was made: the transaction was rolled back");
                error.context("making the roles").with_hint(hint)
            })?;
        }
        let how = format!("{} made", crate::units::count(missing, "role"));
        Ok(Published {
            how,
            ..Published::default()
        })
    }
}

/// The statements of the script. A literal may have line breaks in it, so a statement ends at a `;`
/// outside of quotes.
fn statements(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut now = String::new();
    let mut quote: Option<char> = None;
    for line in text.split_inclusive('\n') {
        let outside = now.trim().is_empty() && quote.is_none();
        if outside && (line.starts_with("--") || line.starts_with('\\') || line.trim().is_empty()) {
            continue;
        }
        for letter in line.chars() {
            now.push(letter);
            match quote {
                Some(open) if letter == open => quote = None,
                None if letter == '\'' || letter == '"' => quote = Some(letter),
                None if letter == ';' => found.push(std::mem::take(&mut now).trim().to_owned()),
                _ => {}
            }
        }
    }
    found
}

/// What it is about: the role that it makes, changes or describes, or that is made a member.
fn statement(text: String) -> Statement {
    let name =
        |rest: &str| super::names::take_name(rest).map(|(QualifiedName { name, .. }, _)| name);
    let after = |head: &str| text.strip_prefix(head).and_then(name);
    let tablespace = [
        "CREATE TABLESPACE ",
        "ALTER TABLESPACE ",
        "COMMENT ON TABLESPACE ",
    ]
    .iter()
    .find_map(|head| after(head));
    let granted = text
        .strip_prefix("GRANT ")
        .or_else(|| text.strip_prefix("REVOKE "));
    let on_tablespace = granted
        .and_then(|rest| rest.split_once(" ON TABLESPACE "))
        .and_then(|(_, rest)| name(rest));
    // `GRANT a TO b …`: b becomes a member.
    let member = granted
        .and_then(|rest| rest.split_once(" TO "))
        .and_then(|(_, rest)| name(rest));
    let role = ["CREATE ROLE ", "ALTER ROLE ", "COMMENT ON ROLE "]
        .iter()
        .find_map(|head| after(head));
    let labelled = text
        .strip_prefix("SECURITY LABEL FOR ")
        .and_then(|rest| rest.split_once(" ON ROLE "))
        .and_then(|(_, rest)| name(rest));
    let membership = granted.filter(|_| on_tablespace.is_none() && member.is_some());
    let granted = membership.and_then(name);
    let makes_role = text.starts_with("CREATE ROLE ");
    Statement {
        makes_role,
        tablespace: tablespace.or(on_tablespace),
        role: role.or(labelled).or(member),
        text: if granted.is_some() {
            without_grantor(&text)
        } else {
            text
        },
        granted,
    }
}

/// `GRANT a TO b GRANTED BY c;` without its grantor, who may be nobody here, or have no right to
/// it.
pub fn without_grantor(statement: &str) -> String {
    match statement.rsplit_once(" GRANTED BY ") {
        Some((before, _)) => format!("{before};"),
        None => statement.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart() {
        let text = "--\n-- x;\n--\n\nSET a = 'b';\nCREATE ROLE \"a;b\";\nCOMMENT ON ROLE x IS \
                    'two\nlines; it''s';\nGRANT a TO b GRANTED BY c;\n";
        let found: Vec<Statement> = statements(text).into_iter().map(statement).collect();
        let roles: Vec<Option<&str>> = found.iter().map(|one| one.role.as_deref()).collect();
        assert_eq!(roles, [None, Some("a;b"), Some("x"), Some("b")]);
        assert_eq!(
            (found[3].granted.as_deref(), found[3].text.as_str()),
            (Some("a"), "GRANT a TO b;")
        );
        assert!(found[1].makes_role && found[2].text.ends_with("it''s';"));
    }
}
