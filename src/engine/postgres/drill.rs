//! A trial restore: into a throw-away server of this machine, or into a scratch database of the
//! server that `drill_url` names.

use super::connect::Session;
use super::conninfo::{ConnInfo, Spec};
use super::fill::{
    Clients, Content, ELSEWHERE, Filling, compare, is_of_the_machine, locale_clauses, remedy,
};
use super::names::quote_ident;
use super::programs::{Search, Version};
use super::roles::without_grantor;
use super::scan::scan;
use super::server::{Place, SCRATCH_PREFIX, Server, Tried};
use super::{Format, explain, facts};
use crate::durable;
use crate::engine::{Check, CheckStatus, Database, Depth, Destination, Keep, Manifest, Published};
use crate::error::{Context, Error, Kind, Result};
use crate::scratch::Scratch;
use postgres::Client;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// The database that is filled in a throw-away server.
const DRILL: &str = "drill";

/// What a trial restore needs to know.
#[derive(Debug, Clone)]
pub struct DrillPlan {
    /// The dump's format.
    pub format: Format,
    /// Facts of the database, for encoding, locale, roles and extensions.
    pub recorded: Database,
    /// The major version of the `pg_dump` that made the dump; 0 where unknown.
    pub made_by: u32,
    /// Where the programs are.
    pub search: Search,
    /// A server to restore to, in place of a throw-away one.
    pub drill_url: Option<String>,
    /// What the dump brings may run with the rights of the user who proves it.
    pub trusted: bool,
    /// Places that it must not even see.
    pub hidden: Vec<PathBuf>,
    /// How many jobs `pg_restore` may use.
    pub jobs: usize,
    /// For the dump and the throw-away cluster.
    pub scratch_dir: PathBuf,
    /// Bytes of the dump's content.
    pub content_size: u64,
}

/// Whether a trial restore can be made here of a server of this version, and where; no server is
/// started.
pub fn possible(
    search: &Search,
    drill_url: Option<&str>,
    major: u32,
    place: &Place<'_>,
) -> Result<Tried<String>> {
    let Some(url) = drill_url else {
        return Ok(match super::server::possible(search, major, place)? {
            Tried::Done(version) => {
                Tried::Done(format!("in a throw-away server, PostgreSQL {version}"))
            }
            Tried::Impossible(why) => Tried::Impossible(why),
        });
    };
    let (_, version) = reach(url)?;
    Ok(match version.major >= major {
        true => Tried::Done(format!(
            "in a scratch database of the server at `drill_url`, PostgreSQL {version}"
        )),
        false => Tried::Impossible(format!(
            "the server at `drill_url` is PostgreSQL {version}, older than {major}"
        )),
    })
}

/// A session on the server of `drill_url`, where the role must not be able to do everything; and
/// the server's version.
fn reach(url: &str) -> Result<(Session, Version)> {
    let spec = Spec {
        url: Some(url.to_owned()),
        ..Spec::default()
    };
    let connected = ConnInfo::resolve(&spec, &|name| std::env::var(name).ok())
        .and_then(|conn| conn.with_application_name("dbbackup").connect());
    let mut session = connected.context("`drill_url`")?;
    let mighty = session.client.query_one(MIGHTY, &[]);
    if mighty
        .map_err(|error| explain(&error, "asking for the role's privileges"))?
        .get(0)
    {
        return Err(Error::usage(
            "`drill_url` connects as a superuser, or as a role that can become one: what a dump \
             brings could do anything there",
        )
        .with_hint("use a role that has CREATEDB and nothing else"));
    }
    let version = facts::version(&mut session.client)?;
    Ok((session, version))
}

/// See the head of this file. Nothing is ever published.
pub struct Drill {
    plan: DrillPlan,
    scratch: Scratch,
}

impl Drill {
    /// Looks at the space that it needs.
    pub fn new(plan: DrillPlan) -> Result<Drill> {
        super::server::sweep(&plan.scratch_dir);
        let scratch = Scratch::new(
            &plan.scratch_dir,
            SCRATCH_PREFIX,
            plan.content_size,
            "the decoded dump",
        )?;
        Ok(Drill { plan, scratch })
    }

    fn file(&self) -> PathBuf {
        self.scratch.join("content")
    }

    fn major(&self) -> u32 {
        let recorded = self
            .plan
            .recorded
            .server_version
            .as_deref()
            .and_then(Version::parse);
        recorded.map_or(0, |version| version.major)
    }

    fn in_throw_away_server(&self, expected: Option<&Manifest>) -> Result<Vec<Check>> {
        // Its indexes come on top of the data.
        let needed = self
            .plan
            .recorded
            .size_bytes
            .max(self.plan.content_size)
            .saturating_add(128 << 20);
        let place = Place {
            parent: &self.plan.scratch_dir,
            trusted: self.plan.trusted,
            hidden: &self.plan.hidden,
        };
        let server = match Server::start(&place, needed, self.major(), &self.plan.search)? {
            Tried::Done(server) => server,
            Tried::Impossible(why) => return Ok(vec![Check::unprovable("restore", why)]),
        };
        // A program that runs as another user reads it there.
        let file = server.directory().join("content");
        std::fs::rename(self.file(), &file)
            .with_context(|| format!("moving the decoded dump to `{}`", file.display()))?;
        server.hand_over(&file)?;
        let mut session = server.session("postgres")?;
        let version = facts::version(&mut session.client)?;
        let clients = Clients {
            search: &self.plan.search,
            reached: &session.reached,
            server: Some(&server),
            version,
        };
        if self.plan.format == Format::Globals {
            return self.globals(&clients, &file);
        }
        if let Some(check) = self.prepare(&clients, &mut session.client, &file)? {
            return Ok(vec![check]);
        }
        self.restore(&clients, &mut session.client, DRILL, &file, expected)
    }

    /// The roles that the dump speaks of; and whether its extensions are there.
    fn prepare(
        &self,
        clients: &Clients<'_>,
        client: &mut Client,
        file: &Path,
    ) -> Result<Option<Check>> {
        let mut roles: BTreeSet<String> = self.plan.recorded.roles.iter().cloned().collect();
        if self.plan.format == Format::Custom {
            // The server's own superuser leaves no trace as an owner in the database. An archive
            // that can't be read is told of by its restore.
            roles.extend(clients.owners(file, self.plan.made_by).unwrap_or_default());
        }
        for role in roles.iter().filter(|role| !role.starts_with("pg_")) {
            // Whatever they may be in their own cluster: here nothing is to fail for want of a
            // privilege.
            let made = client.batch_execute(&format!(
                "CREATE ROLE {} SUPERUSER NOLOGIN",
                quote_ident(role)
            ));
            made.map_err(|error| {
                explain(
                    &error,
                    format!("making the role `{role}` in the throw-away server"),
                )
            })?;
        }
        // A script names them; what can't be made is told by the restore. (An archive is read
        // without.)
        for tablespace in self
            .plan
            .recorded
            .tablespaces
            .iter()
            .filter(|_| self.plan.format == Format::Plain)
        {
            let _ = client.batch_execute("SET allow_in_place_tablespaces = on");
            let _ = client.batch_execute(&format!(
                "CREATE TABLESPACE {} LOCATION ''",
                quote_ident(tablespace)
            ));
        }
        let missing = missing_extensions(client, &self.plan.recorded)?;
        Ok((!missing.is_empty()).then(|| {
            Check::unprovable(
                "restore",
                format!(
                    "these extensions are not installed here: {}",
                    missing.join(", ")
                ),
            )
        }))
    }

    fn restore(
        &self,
        clients: &Clients<'_>,
        client: &mut Client,
        name: &str,
        file: &Path,
        expected: Option<&Manifest>,
    ) -> Result<Vec<Check>> {
        let encoding = self.plan.recorded.encoding.as_deref().unwrap_or("UTF8");
        let locale = self
            .plan
            .recorded
            .locale
            .clone()
            .unwrap_or_else(|| crate::engine::Locale {
                provider: "c".into(),
                collate: "C".into(),
                ctype: "C".into(),
                ..Default::default()
            });
        let clauses = locale_clauses(encoding, &locale, &clients.version);
        let create = format!(
            "CREATE DATABASE {} TEMPLATE template0{clauses}",
            quote_ident(name)
        );
        if let Err(error) = client.batch_execute(&create) {
            let error = explain(&error, "making a database like the one that was dumped");
            return Ok(vec![Check::unprovable("restore", error.message())]);
        }
        let filling = Filling {
            database: name,
            format: self.plan.format,
            made_by: self.plan.made_by,
            jobs: self.plan.jobs,
            options: vec!["--no-tablespaces".to_owned()],
            part: self.is_a_part(),
        };
        let place = format!("restored into PostgreSQL {}", clients.version);
        let restored = match self.fill(clients, &filling, file, place, Rights::All)? {
            Ok(restored) => restored,
            Err(check) => return Ok(vec![check]),
        };
        let counted = clients.count(name)?;
        let rows = match expected.filter(|manifest| !manifest.tables.is_empty()) {
            Some(manifest) => compare(manifest, &counted),
            None => Check::ok(
                "rows",
                format!(
                    "{}, nothing to compare them with",
                    crate::units::count(Manifest::of(counted).rows_total, "row")
                ),
            ),
        };
        Ok(vec![restored, rows])
    }

    fn is_a_part(&self) -> bool {
        !self.plan.recorded.selected_by.is_empty()
    }

    /// Fills the database: the check of what went well, or the one that is all that there is to
    /// tell.
    fn fill(
        &self,
        clients: &Clients<'_>,
        filling: &Filling<'_>,
        file: &Path,
        place: String,
        rights: Rights,
    ) -> Result<Result<Check, Check>> {
        let made = clients.make_extensions(filling.database, &self.plan.recorded);
        let unmade = match made.and_then(|()| clients.fill(filling, Content::File(file))) {
            Ok(unmade) => unmade,
            Err(error) => {
                let check = failed(error, rights)?;
                // What was left out on purpose is missing: that is no damage.
                let for_want = self.is_a_part()
                    && check.status == CheckStatus::Damaged
                    && check.detail.contains(" does not exist");
                return Ok(Err(if for_want {
                    Check::incomplete("restore", check.detail)
                } else {
                    check
                }));
            }
        };
        if let Some(first) = unmade.lacking.first() {
            return Ok(Err(Check::incomplete("restore", first)));
        }
        Ok(Ok(Check::ok(
            "restore",
            unmade
                .text()
                .map_or(place.clone(), |text| format!("{place}; {text}")),
        )))
    }

    /// The script is run as it is, but for tablespaces: their directories are the other machine's.
    fn globals(&self, clients: &Clients<'_>, file: &Path) -> Result<Vec<Check>> {
        let script = without_tablespaces(file)?;
        // Whatever else is in it, it is the lines of the dump that count.
        if let Some(stray) = scan(
            &mut std::fs::File::open(file)
                .with_context(|| format!("reading `{}`", file.display()))?,
        )?
        .stray
        {
            return Ok(vec![Check::damaged("restore", stray.to_string())]);
        }
        let filling = Filling {
            database: "postgres",
            format: Format::Globals,
            made_by: 0,
            jobs: 1,
            options: Vec::new(),
            part: false,
        };
        match clients.fill(&filling, Content::Stream(&mut script.as_slice())) {
            Ok(_) => Ok(vec![Check::ok(
                "restore",
                "the roles were made in a throw-away server",
            )]),
            Err(error) => failed(error, Rights::All).map(|check| vec![check]),
        }
    }

    fn by_url(&self, url: &str, expected: Option<&Manifest>) -> Result<Vec<Check>> {
        let (mut session, version) = reach(url)?;
        if version.major < self.major() {
            return Ok(vec![Check::unprovable(
                "restore",
                format!(
                    "the server of `drill_url` is PostgreSQL {version}, older than the dump's ({})",
                    self.major()
                ),
            )]);
        }
        let missing = missing_extensions(&mut session.client, &self.plan.recorded)?;
        if !missing.is_empty() {
            let text = format!(
                "these extensions are not installed on the server of `drill_url`: {}",
                missing.join(", ")
            );
            return Ok(vec![Check::unprovable("restore", text)]);
        }
        super::leftovers::sweep(&mut session)?;
        let scratch = super::leftovers::ScratchDatabase::new(&session, "dbbackup_drill")?;
        let reached = session.reached.clone();
        let clients = Clients {
            search: &self.plan.search,
            reached: &reached,
            server: None,
            version,
        };
        let plan = DrillPlan {
            format: self.plan.format,
            ..self.plan.clone()
        };
        let mut filling_options = vec![
            "--no-tablespaces".to_owned(),
            "--no-owner".to_owned(),
            "--no-privileges".to_owned(),
            "--no-subscriptions".to_owned(),
        ];
        filling_options.retain(|_| plan.format == Format::Custom);
        self.restore_into(&clients, &mut session, scratch, filling_options, expected)
    }

    fn restore_into(
        &self,
        clients: &Clients<'_>,
        session: &mut Session,
        mut scratch: super::leftovers::ScratchDatabase,
        options: Vec<String>,
        expected: Option<&Manifest>,
    ) -> Result<Vec<Check>> {
        let encoding = self.plan.recorded.encoding.as_deref().unwrap_or("UTF8");
        let clauses = self
            .plan
            .recorded
            .locale
            .as_ref()
            .map_or(String::new(), |locale| {
                locale_clauses(encoding, locale, &clients.version)
            });
        if let Err(error) = scratch.create(&mut session.client, &clauses) {
            return Ok(vec![Check::unprovable("restore", error.message())]);
        }
        let filling = Filling {
            database: scratch.name(),
            format: self.plan.format,
            made_by: self.plan.made_by,
            jobs: self.plan.jobs,
            options,
            part: self.is_a_part(),
        };
        let place = format!(
            "restored into a scratch database of PostgreSQL {}",
            clients.version
        );
        let restored = match self.fill(clients, &filling, &self.file(), place, Rights::Few)? {
            Ok(restored) => restored,
            Err(check) => return Ok(vec![check]),
        };
        let counted = clients.count(scratch.name())?;
        let rows = match expected.filter(|manifest| !manifest.tables.is_empty()) {
            Some(manifest) => compare(manifest, &counted),
            None => Check::ok("rows", "nothing to compare them with"),
        };
        Ok(vec![restored, rows])
    }
}

impl Destination for Drill {
    fn receive(&mut self, content: &mut dyn Read) -> Result<()> {
        receive(content, &self.file())
    }

    fn check(&mut self, expected: Option<&Manifest>, _depth: Depth) -> Result<Vec<Check>> {
        match &self.plan.drill_url {
            Some(_) if self.plan.format == Format::Globals => Ok(vec![Check::unprovable(
                "restore",
                "roles are tried in a throw-away server only, not at `drill_url`",
            )]),
            Some(url) => self.by_url(url, expected),
            None => self.in_throw_away_server(expected),
        }
    }

    fn publish(&mut self, _keep: Keep<'_>) -> Result<Published> {
        Err(Error::failed("a trial restore has no place to go to"))
    }
}

/// Writes the content to a file of its own, which is removed again and so need not be durable.
pub fn receive(content: &mut dyn Read, path: &Path) -> Result<()> {
    let mut file = durable::create_new(path)?;
    let mut block = vec![0; 1 << 20];
    loop {
        let count = content.read(&mut block)?;
        if count == 0 {
            return Ok(());
        }
        file.write_all(&block[..count])
            .with_context(|| format!("writing `{}`", path.display()))?;
    }
}

/// The extensions of a database that a server does not have.
pub fn missing_extensions(client: &mut Client, recorded: &Database) -> Result<Vec<String>> {
    let there = client.query(
        "SELECT name::text FROM pg_catalog.pg_available_extensions",
        &[],
    );
    let there: Vec<String> = there
        .map_err(|error| explain(&error, "listing the extensions"))?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let missing = recorded
        .extensions
        .iter()
        .map(|extension| extension.name.clone())
        .filter(|name| !there.contains(name));
    Ok(missing.collect())
}

/// Whether a role can do anything to its server, by itself or by what it is a member of.
const MIGHTY: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE \
                      pg_catalog.pg_has_role(r.oid, 'MEMBER')
    AND (r.rolsuper OR r.rolname IN ('pg_execute_server_program', 'pg_write_server_files', \
                      'pg_read_server_files')))";

/// What the role that restores may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rights {
    /// It is the throw-away server's superuser.
    All,
    /// It is any role of a server that is somebody's.
    Few,
}

/// A restore that failed: what this machine or this role lacks says nothing against the backup, and
/// neither does a full disk; the rest does.
fn failed(error: Error, rights: Rights) -> Result<Check> {
    let text = error.message();
    if error.kind() == Kind::Damaged {
        return Ok(Check::damaged("restore", text));
    }
    if is_of_the_machine(&error) {
        return Err(error);
    }
    let lacking = [
        "could not access file",
        "could not load library",
        "shared_preload_libraries",
        "could not open extension control file",
        "ICU is not supported",
        "could not create locale",
        "could not open collator",
        "unsupported version",
        "there is no `",
        "is new enough for",
        "invalid command \\restrict",
        "can't be kept from obeying commands",
        ELSEWHERE,
        "permission denied to create extension",
        "has no installation script",
        "unrecognized configuration parameter",
    ];
    let not_allowed = [
        "permission denied",
        "must be superuser",
        "must be owner",
        "must be member",
        "must be able to SET ROLE",
    ];
    let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
    let a_role_is_missing = text.contains("role \"") && text.contains("\" does not exist");
    let a_tablespace_is_missing = text.contains("default_tablespace");
    let says_nothing = has(&lacking)
        || a_tablespace_is_missing
        || a_role_is_missing
        || rights == Rights::Few && has(&not_allowed);
    let status = if says_nothing {
        CheckStatus::Unprovable
    } else {
        CheckStatus::Damaged
    };
    let hint = remedy(&error).map_or(String::new(), |hint| format!(" ({hint})"));
    Ok(Check {
        name: "restore".into(),
        status,
        detail: format!("{text}{hint}"),
    })
}

/// The lines of a script of roles that are not of tablespaces; `pg_dumpall` writes each statement
/// on a line.
fn without_tablespaces(file: &Path) -> Result<Vec<u8>> {
    let context = || format!("reading `{}`", file.display());
    let lines = BufReader::new(std::fs::File::open(file).with_context(context)?).split(b'\n');
    let mut kept = Vec::new();
    for line in lines {
        let line = line.with_context(context)?;
        let text = String::from_utf8_lossy(&line);
        let of_tablespace = [
            "CREATE TABLESPACE ",
            "ALTER TABLESPACE ",
            "COMMENT ON TABLESPACE ",
        ]
        .iter()
        .any(|head| text.starts_with(head))
            || ["GRANT ", "REVOKE "]
                .iter()
                .any(|head| text.starts_with(head))
                && text.contains(" ON TABLESPACE ");
        if !of_tablespace {
            // Who granted a membership is this server's own superuser, not the other's.
            let line = if text.starts_with("GRANT ") {
                without_grantor(&text).into_bytes()
            } else {
                line
            };
            kept.extend_from_slice(&line);
            kept.push(b'\n');
        }
    }
    Ok(kept)
}
