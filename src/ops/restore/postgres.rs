//! Restoring a PostgreSQL database: everything that would fail is found first; a new database is
//! filled and counted; then it takes the old one's name.

use super::RestoredBackup;
use super::context::RestoreContext;
use super::differences::row_differences;
use super::driver::{Question, RestorePlan, RestoreSteps};
use super::safety::{KeptContent, Safety, safety_backup_text};
use crate::config::{KindSettings, PostgresSettings};
use crate::engine::postgres::conninfo::ConnInfo;
use crate::engine::postgres::destination::{PostgresDestination, RestoreTarget};
use crate::engine::postgres::{ConnectionSpec, PgFormat, PostgresSource};
use crate::engine::{Database, Destination, DumpFormat, Dumped, Published};
use crate::error::{Error, Hint, Result};
use crate::lock::Lock;
use crate::ops::Session;
use crate::ops::content::describe_contents;
use crate::ops::engines::pg_dump_major;
use crate::ops::find::ResolvedBackup;
use crate::plan;
use crate::store::{self, Access};
use crate::units;
use std::time::Duration;

/// How long the locks are waited for that counting the old content needs.
const COUNTING_PATIENCE: Duration = Duration::from_secs(5);

/// The restore of a PostgreSQL database.
pub struct PostgresRestore<'a> {
    context: RestoreContext<'a>,
    place: String,
    destination: PostgresDestination,
}

impl<'a> PostgresRestore<'a> {
    /// Connects to the server.
    pub fn new(context: RestoreContext<'a>, format: PgFormat) -> Result<Self> {
        let request = context.request;
        if !request.tables.is_empty() && request.to.is_none() {
            return Err(Error::usage(
                "single tables are restored beside the database, not into it",
            )
            .with_hint("name another database: `--to NAME`"));
        }
        let conn = connection(context)?;
        Ok(PostgresRestore {
            context,
            place: conn.place(),
            destination: PostgresDestination::open(target(context, format, conn))?,
        })
    }

    /// Counts what the old database holds: so that it is known, or at least on record, what is
    /// replaced.
    fn old_content(&self) -> Result<Option<Dumped>> {
        if self.destination.old_database().is_none() {
            return Ok(None);
        }
        let settings = self.context.session.backup_settings();
        // A session that hangs with a lock is a reason to restore, and none to wait.
        let patience = settings.lock_timeout.file.min(COUNTING_PATIENCE);
        let plan = self.destination.old_database_plan(patience)?;
        match PostgresSource::open(&plan).and_then(|mut source| source.inspect()) {
            Ok(dumped) => Ok(Some(dumped)),
            Err(error) => {
                let text = format!("what is there now could not be counted: {error}");
                self.context.observer.warn(text);
                Ok(None)
            }
        }
    }

    /// Adds to a plan what becomes of the database that is there.
    fn plan_replacement(&self, plan: &mut RestorePlan, old: &Database, now: Option<&Dumped>) {
        let RestoreContext { found, request, .. } = self.context;
        let place = &self.place;
        let stored = found.stored();
        let counted = now.map_or(String::new(), |now| {
            format!("{}, ", describe_contents(&now.manifest))
        });
        plan.add_line(format!(
            "to {place}, replacing the database there: {counted}{}",
            units::size(old.size_bytes)
        ));
        let lost = now.map_or_else(Vec::new, |now| {
            row_differences(&now.manifest, stored.manifest)
        });
        lost.iter()
            .for_each(|line| plan.add_line(format!("  {line}")));
        if lost.is_empty() && now.is_some() && stored.manifest.is_some() {
            plan.add_line(
                "  the tables and their numbers of rows are equal; contents are not compared",
            );
        }
        if request.in_place {
            let kept = if request.no_safety_backup {
                "is not saved (`--no-safety-backup`)"
            } else {
                "is first saved as a `pre-restore` backup"
            };
            plan.add_line(format!(
                "  in place, in one transaction; what is there {kept}"
            ));
        } else {
            plan.add_line(
                "  a new database is filled and counted first, then it takes the name; the old one \
                 is kept under another",
            );
        }
        plan.differences = Some(lost);
        if let Some(selected) = selection_of(found) {
            plan.add_warning(format!(
                "the backup holds only a part of the database ({selected}): what it left out is \
                 then in {} alone",
                match (request.in_place, request.no_safety_backup) {
                    (false, _) => "the old one",
                    (true, false) => "the `pre-restore` backup",
                    (true, true) => "nothing, for it is dropped and not saved,",
                }
            ));
        }
    }
}

impl RestoreSteps for PostgresRestore<'_> {
    fn find_obstacles(&mut self) -> Result<()> {
        self.destination.check_obstacles()
    }

    fn plan(&mut self) -> Result<RestorePlan> {
        let now = self.old_content()?;
        let old = self.destination.old_database();
        let mut plan = RestorePlan {
            target: self.place.clone(),
            question: old.map(|_| Question::Replace(self.place.clone())),
            replaces: Some(old.is_some()),
            differences: Some(Vec::new()),
            ..RestorePlan::default()
        };
        let tables = &self.context.request.tables;
        let part = if tables.is_empty() {
            String::new()
        } else {
            format!("{} of ", tables.join(", "))
        };
        plan.add_line(format!("restoring {part}{}", self.context.description()));
        match old {
            Some(old) => self.plan_replacement(&mut plan, old, now.as_ref()),
            None => plan.add_line(format!(
                "to {}, where there is no such database now",
                self.place
            )),
        }
        Ok(plan)
    }

    fn rehearse(&mut self) -> Result<Option<Hint>> {
        let owner = self.destination.foreign_code_owner()?;
        Ok(owner.map(|owner| {
            Hint::new()
                .text(format!(
                    "a restore runs what the database brings, its checks and functions, as this \
                     superuser, and `{owner}` is none: if you don't trust that role, restore as \
                     it does ("
                ))
                .command(["help", "postgresql"])
                .text(")")
        }))
    }

    /// The old content is saved where the restore leaves no old database.
    fn prepare(&mut self) -> Result<Safety> {
        let RestoreContext {
            found,
            request,
            session,
            ..
        } = self.context;
        self.destination.sweep()?;
        let old = self.destination.old_database();
        let Some(old) = old.filter(|_| request.in_place && !request.no_safety_backup) else {
            return Ok(Safety::None);
        };
        let settings = session.store_plan().map_or_else(
            |_| found.store.location().clone().into(),
            |plan| plan.settings,
        );
        let store = store::open(&settings, Access::Write)
            .map_err(|error| error.context("the store for the safety backup of what is there"))?;
        let source = match &found.backup {
            Some(backup) => backup.sidecar.source.clone(),
            None => plan::plain_name(old.name.as_deref().unwrap_or_default()),
        };
        Ok(Safety::Store {
            store,
            source,
            format: DumpFormat::Postgres(PgFormat::Custom),
        })
    }

    fn lock(&mut self, safety: &Safety) -> Result<Option<Lock>> {
        safety.lock(self.context)
    }

    fn destination(&mut self) -> Result<&mut dyn Destination> {
        Ok(&mut self.destination)
    }

    fn conclude(
        &mut self,
        published: &Published,
        kept: Option<KeptContent>,
    ) -> Result<RestoredBackup> {
        let observer = self.context.observer;
        let mut undo = None;
        if let Some(database) = &published.database {
            observer.line(format!("   to undo: {}", database.undo));
            observer.line(format!(
                "   to remove the old one for good: {}",
                database.remove
            ));
            undo = Some(database.undo.clone());
        }
        if let Some(KeptContent::Backup { id, store }) = kept {
            let program = self.context.program(store.as_os_str().to_str());
            observer.line(safety_backup_text(&id, &program));
            let command = format!("{program} restore {id} --in-place --yes");
            observer.line(format!("   to undo: {command}"));
            undo = Some(command);
        }
        Ok(RestoredBackup {
            id: self.context.found.name(),
            target: self.place.clone(),
            undo,
            kept: None,
            how: Some(published.how.clone()),
        })
    }
}

/// Finds by what something was left out of the backup.
fn selection_of(found: &ResolvedBackup) -> Option<String> {
    let selected = &found
        .backup
        .as_ref()?
        .sidecar
        .database
        .as_ref()?
        .selected_by;
    (!selected.is_empty()).then(|| selected.join(" "))
}

/// Resolves the database to restore to; nothing is connected yet.
fn connection(context: RestoreContext<'_>) -> Result<ConnInfo> {
    let (found, session) = (context.found, context.session);
    let environment = |name: &str| std::env::var(name).ok();
    let resolve = |spec: &ConnectionSpec, database: Option<&str>| -> Result<ConnInfo> {
        let conn = ConnInfo::resolve(spec, &environment)?.with_application_name("dbbackup");
        Ok(database.map_or(conn.clone(), |name| conn.with_database(name)))
    };
    let recorded = found
        .backup
        .as_ref()
        .and_then(|backup| backup.sidecar.database.as_ref());
    let configured =
        session
            .entry_of(&found.source)
            .map(|entry| match (&entry.kind, &entry.fault) {
                (_, Some(why)) => Err(Error::from(why.clone())),
                (KindSettings::Postgres(own), None) => Ok(Some(own)),
                _ => Ok(None),
            });
    let configured = configured.transpose()?.flatten();
    match &context.request.to {
        Some(to) if plan::postgres::is_connection_string(to) => {
            if plan::postgres::database_of_address(to)?.is_none() {
                return Err(Error::usage("`--to` names no database")
                    .with_hint("write it at the address's end, as in `postgresql://host/shop`"));
            }
            resolve(
                &ConnectionSpec {
                    url: Some(to.clone()),
                    ..ConnectionSpec::default()
                },
                None,
            )
        }
        Some(to) if to.contains('/') => Err(Error::usage(format!(
            "a PostgreSQL backup can't be restored to the path `{to}`"
        ))
        .with_hint("`--to` takes a database's name or a `postgresql://` address here")),
        Some(name) => match configured {
            Some(own) => resolve(&plan::postgres::spec(own), Some(name)),
            None => resolve(&server_of(recorded, found, session), Some(name)),
        },
        None => {
            if let Some(own) = configured {
                return resolve(&plan::postgres::spec(own), name_there(own, recorded));
            }
            origin(context, recorded).and_then(|spec| resolve(&spec, None))
        }
    }
}

/// One database of a cluster goes back under its own name; else the configuration's address says
/// which it is.
fn name_there<'a>(own: &PostgresSettings, recorded: Option<&'a Database>) -> Option<&'a str> {
    if own.is_cluster() {
        recorded.and_then(|database| database.name.as_deref())
    } else {
        None
    }
}

/// The server that the backup came from, where this machine made it; else the environment's.
fn server_of(
    recorded: Option<&Database>,
    found: &ResolvedBackup,
    session: &Session,
) -> ConnectionSpec {
    let made_here = found
        .backup
        .as_ref()
        .is_some_and(|backup| backup.sidecar.producer.get("host") == Some(&session.host));
    match recorded.filter(|_| made_here) {
        Some(database) => ConnectionSpec {
            host: database.host.clone(),
            port: database.port.map(|port| port.to_string()),
            user: database.user.clone(),
            ..ConnectionSpec::default()
        },
        None => ConnectionSpec::default(),
    }
}

/// Finds the database that the backup came from, if this machine made it.
fn origin(context: RestoreContext<'_>, recorded: Option<&Database>) -> Result<ConnectionSpec> {
    let backup = context.backup("DATABASE")?;
    let Some(name) = recorded.and_then(|database| database.name.clone()) else {
        return Err(context.unknown_place(backup, "DATABASE"));
    };
    context.refuse_other_host(backup, &units::shell_word(&name))?;
    Ok(ConnectionSpec {
        dbname: Some(name),
        ..server_of(recorded, context.found, context.session)
    })
}

fn target(context: RestoreContext<'_>, format: PgFormat, conn: ConnInfo) -> RestoreTarget {
    let (found, request, session) = (context.found, context.request, context.session);
    let stored = found.stored();
    let settings = context.settings();
    let drill_settings = session.drill_settings_of(&found.source);
    // What is restored here is read and sent from here.
    let search = crate::engine::postgres::ProgramSearch {
        prefix: Vec::new(),
        ..drill_settings.search
    };
    RestoreTarget {
        conn,
        recorded: stored.database.cloned().unwrap_or_default(),
        format,
        pg_dump_major: pg_dump_major(stored.producer),
        search,
        jobs: request.jobs.unwrap_or(drill_settings.jobs).max(1),
        no_owner: request.no_owner,
        no_tablespaces: request.no_tablespaces,
        roles_to_come: context.roles_to_come.to_vec(),
        in_place: request.in_place,
        tables: request.tables.clone(),
        stamp: context.stamp(),
        scratch_dir: settings.scratch_dir.clone(),
        content_size: stored.content_size(),
    }
}
