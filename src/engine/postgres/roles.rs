//! Restores the roles of a cluster from the script of `pg_dumpall --globals-only`. Roles that the
//! server lacks are created. Existing ones stay as they are, since nobody wants a role's old
//! password back.

use super::connect::PostgresSession;
use super::conninfo::ConnInfo;
use super::fill::{ClientPrograms, find_remedy};
use super::leftovers::connect_to_maintenance;
use super::names::QualifiedName;
use super::programs::ProgramSearch;
use super::scan::{ForbiddenInput, scan};
use super::{explain_error, facts};
use crate::engine::{
    Check, CheckFinding, CheckSubject, Depth, Destination, Keep, Manifest, Published,
};
use crate::error::{Error, Result};
use postgres::Client;
use std::io::Read;

/// The largest script that is read; a script of roles is small.
const LARGEST: u64 = 64 << 20;

/// A server as the destination of roles.
pub struct RolesDestination {
    session: PostgresSession,
    search: ProgramSearch,
    statements: Vec<RoleStatement>,
    complete: bool,
    forbidden: Option<ForbiddenInput>,
    roles: Vec<String>,
    tablespaces: Vec<String>,
}

/// A statement of the script, with the role or tablespace that it concerns.
struct RoleStatement {
    text: String,
    makes_role: bool,
    role: Option<String>,
    /// The role that another one becomes a member of.
    granted: Option<String>,
    tablespace: Option<String>,
}

impl RolesDestination {
    /// Connects to a server; `conn` may name any of its databases.
    pub fn open(conn: &ConnInfo, search: &ProgramSearch) -> Result<RolesDestination> {
        let session = conn.connect()?;
        let mut client = connect_to_maintenance(&session.reached, "")?;
        let roles = list_names(&mut client, "SELECT rolname::text FROM pg_catalog.pg_roles")?;
        let tablespaces = list_names(
            &mut client,
            "SELECT spcname::text FROM pg_catalog.pg_tablespace",
        )?;
        let search = ProgramSearch {
            prefix: Vec::new(),
            ..search.clone()
        };
        Ok(RolesDestination {
            session,
            search,
            statements: Vec::new(),
            complete: false,
            forbidden: None,
            roles,
            tablespaces,
        })
    }

    /// The roles that will be created.
    pub fn missing_roles(&self) -> Vec<&str> {
        let made = self
            .statements
            .iter()
            .filter(|statement| statement.makes_role);
        made.filter_map(|statement| statement.role.as_deref())
            .filter(|role| !self.has_role(role))
            .collect()
    }

    /// Describes what will be done, without any password.
    pub fn describe_plan(&self) -> Vec<String> {
        let missing = self.missing_roles();
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

    /// The statements about roles that will be created, memberships of which either role is, and
    /// statements that name no role: settings of the session.
    fn script(&self) -> String {
        self.statements
            .iter()
            .filter(|one| self.is_wanted(one))
            .map(|one| format!("{}\n", one.text))
            .collect()
    }

    fn is_wanted(&self, statement: &RoleStatement) -> bool {
        let is_created = |role: &String| !self.has_role(role);
        statement.tablespace.is_none()
            && (statement.role.as_ref().is_none_or(is_created)
                || statement.granted.as_ref().is_some_and(is_created))
    }
}

fn list_names(client: &mut Client, query: &str) -> Result<Vec<String>> {
    let rows = client
        .query(query, &[])
        .map_err(|error| explain_error(&error, "listing the roles"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

impl Destination for RolesDestination {
    fn receive(&mut self, content: &mut dyn Read) -> Result<()> {
        let mut bytes = Vec::new();
        content.take(LARGEST).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        self.complete = text.contains("-- PostgreSQL database cluster dump complete");
        self.forbidden = scan(&mut bytes.as_slice())?.forbidden;
        self.statements = split_statements(&text).into_iter().map(statement).collect();
        Ok(())
    }

    fn check(&mut self, _expected: Option<&Manifest>, _depth: Depth) -> Result<Vec<Check>> {
        Ok(vec![if let Some(forbidden) = &self.forbidden {
            Check::damaged(
                CheckSubject::Script,
                CheckFinding::Message(forbidden.to_string()),
            )
        } else if self.complete {
            let read = CheckFinding::StatementsRead(self.statements.len() as u64);
            Check::ok(CheckSubject::Script, read)
        } else {
            Check::damaged(CheckSubject::Script, CheckFinding::NoEnd)
        }])
    }

    fn publish(&mut self, _keep: Keep<'_>) -> Result<Published> {
        let missing = self.missing_roles().len() as u64;
        if missing > 0 {
            let mut client = connect_to_maintenance(&self.session.reached, "")?;
            let version = facts::read_server_version(&mut client)?;
            let clients = ClientPrograms {
                search: &self.search,
                reached: &self.session.reached,
                server: None,
                version,
            };
            let made = clients.run_script(self.session.reached.dbname(), &self.script());
            made.map_err(|error: Error| {
                let hint = find_remedy(&error)
                    .unwrap_or("no role was made: the transaction was rolled back");
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

/// Splits the script into statements. A literal may contain line breaks, so a statement ends at a
/// `;` outside of quotes.
fn split_statements(text: &str) -> Vec<String> {
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

/// Parses a statement for the role that it creates, changes or describes, or that becomes a member.
fn statement(text: String) -> RoleStatement {
    let name =
        |rest: &str| super::names::split_name(rest).map(|(QualifiedName { name, .. }, _)| name);
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
    // In `GRANT a TO b …` b becomes a member.
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
    RoleStatement {
        makes_role,
        tablespace: tablespace.or(on_tablespace),
        role: role.or(labelled).or(member),
        text: if granted.is_some() {
            strip_grantor(&text)
        } else {
            text
        },
        granted,
    }
}

/// Strips the grantor of `GRANT a TO b GRANTED BY c;`, who may not exist here, or may lack the
/// right to grant it.
pub fn strip_grantor(statement: &str) -> String {
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
        let found: Vec<RoleStatement> = split_statements(text).into_iter().map(statement).collect();
        let roles: Vec<Option<&str>> = found.iter().map(|one| one.role.as_deref()).collect();
        assert_eq!(roles, [None, Some("a;b"), Some("x"), Some("b")]);
        assert_eq!(
            (found[3].granted.as_deref(), found[3].text.as_str()),
            (Some("a"), "GRANT a TO b;")
        );
        assert!(found[1].makes_role && found[2].text.ends_with("it''s';"));
    }
}
