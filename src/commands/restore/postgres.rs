//! Restoring a PostgreSQL database: everything that would fail is found first; a new database is
//! filled and counted; then it takes the old one's name.

use super::{contents_text, differences};
use crate::cli::RestoreArguments;
use crate::commands::backup;
use crate::config::{KindSettings, PostgresSettings};
use crate::engine::postgres::conninfo::ConnInfo;
use crate::engine::postgres::destination::{PostgresDestination, RestoreTarget};
use crate::engine::postgres::{ConnectionSpec, PgFormat, PostgresSource};
use crate::engine::{Database, Depth, Destination, DumpFormat, Dumped, Keep, Published, Source};
use crate::error::{Error, Result};
use crate::ops::Session;
use crate::ops::engines::pg_dump_major;
use crate::ops::examine::{self, ExaminationOptions};
use crate::ops::find::ResolvedBackup;
use crate::plan;
use crate::report::{Paint, Report};
use crate::store::{self, Access, Store};
use crate::units;
use std::time::Duration;

/// How long the locks are waited for that counting the old content needs.
const COUNTING_PATIENCE: Duration = Duration::from_secs(5);

/// One backup, put back.
pub fn restore(
    found: &ResolvedBackup,
    format: PgFormat,
    wanted: &str,
    arguments: &RestoreArguments,
    roles_to_come: &[String],
    session: &Session,
    report: &Report,
) -> Result<serde_json::Value> {
    if !arguments.tables.is_empty() && arguments.to.is_none() {
        return Err(
            Error::usage("single tables are restored beside the database, not into it")
                .with_hint("name another database: `--to NAME`"),
        );
    }
    let conn = connection(found, wanted, arguments, session)?;
    let place = conn.place();
    let mut destination = PostgresDestination::open(target(
        found,
        format,
        conn,
        arguments,
        roles_to_come,
        session,
    ))?;
    destination.check_obstacles()?;
    let say = |text: String| {
        if arguments.dry_run {
            report.answer(text)
        } else {
            report.note(text)
        }
    };
    let now = old_content(&destination, session, report)?;
    let lost = say_plan(
        found,
        &place,
        destination.old_database(),
        now.as_ref(),
        arguments,
        session,
        &say,
    );
    if let Some(selected) =
        part_of_the_whole(found).filter(|_| destination.old_database().is_some())
    {
        report.warn(format!(
            "the backup holds only a part of the database ({selected}): what it left out is then \
             in {} alone",
            match (arguments.in_place, arguments.no_safety_backup) {
                (false, _) => "the old one",
                (true, false) => "the `pre-restore` backup",
                (true, true) => "nothing, for it is dropped and not saved,",
            }
        ));
    }
    if arguments.dry_run {
        if let Some(owner) = destination.foreign_code_owner()? {
            report.warn(format!(
                "a restore runs what the database brings, its checks and functions, as this \
                 superuser, and `{owner}` is none: if you don't trust that role, restore as it \
                 does (`dbbackup help postgresql`)"
            ));
        }
        report.answer("nothing was done");
        let replaces = destination.old_database().is_some();
        return Ok(
            serde_json::json!({"id": found.name(), "target": place, "replaces": replaces,
                "differences": lost}),
        );
    }
    if destination.old_database().is_some() {
        super::confirm(&place, arguments, report)?;
    }
    destination.sweep()?;
    let safety = Safety::plan(found, &destination, arguments, session)?;
    let _lock = match &safety {
        Some(safety) => {
            backup::lock_and_sweep(&*safety.store, &safety.source, session.lock_wait, report)?
        }
        None => None,
    };
    let settings = session.settings_of(&found.source);
    let proving = session.proving_of(&found.source);
    let means = ExaminationOptions {
        scratch_dir: &settings.scratch_dir,
        threads: settings.thread_count(),
        proving: &proving,
        observer: report,
    };
    let checks = examine::receive(&found.stored(), &mut destination, Depth::Content, &means)?;
    for check in &checks {
        report.detail(format!("{}: {}", check.name, check.detail));
    }
    super::must_be_sound(found, &checks)?;
    let mut kept = None;
    let published = match &safety {
        None => destination.publish(Keep::Nothing)?,
        Some(safety) => destination.publish(Keep::Backup(&mut |old: &mut dyn Source| {
            kept = Some(super::safety_backup(
                old,
                &safety.source,
                DumpFormat::Postgres(PgFormat::Custom),
                &*safety.store,
                session,
                report,
            )?);
            Ok(())
        }))?,
    };
    Ok(say_done(
        found,
        &place,
        &published,
        kept.zip(safety),
        session,
        report,
    ))
}

/// By what something was left out of the backup.
fn part_of_the_whole(found: &ResolvedBackup) -> Option<String> {
    let selected = &found
        .backup
        .as_ref()?
        .sidecar
        .database
        .as_ref()?
        .selected_by;
    (!selected.is_empty()).then(|| selected.join(" "))
}

/// The database to restore to, resolved; nothing is connected yet.
fn connection(
    found: &ResolvedBackup,
    wanted: &str,
    arguments: &RestoreArguments,
    session: &Session,
) -> Result<ConnInfo> {
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
    match &arguments.to {
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
            origin(found, wanted, recorded, session).and_then(|spec| resolve(&spec, None))
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

/// The database that the backup came from, if this machine made it.
fn origin(
    found: &ResolvedBackup,
    wanted: &str,
    recorded: Option<&Database>,
    session: &Session,
) -> Result<ConnectionSpec> {
    let command = |to: &str| super::say_where(found, wanted, to, session);
    let Some(backup) = &found.backup else {
        return Err(Error::usage(format!(
            "`{}` has no sidecar, so nobody knows where it belongs",
            found.file
        ))
        .with_hint(command("DATABASE")));
    };
    let Some(name) = recorded.and_then(|database| database.name.clone()) else {
        return Err(Error::usage(format!(
            "the sidecar of `{}` does not say where it belongs",
            backup.id()
        ))
        .with_hint(command("DATABASE")));
    };
    let host = backup.sidecar.producer.get("host");
    if host != Some(&session.host) {
        let made = host.map_or("another machine".to_owned(), |host| format!("`{host}`"));
        let text = format!(
            "`{}` was made on {made}, and no configuration here defines `{}`",
            backup.id(),
            backup.sidecar.source
        );
        return Err(Error::usage(text).with_hint(command(&units::shell_word(&name))));
    }
    Ok(ConnectionSpec {
        dbname: Some(name),
        ..server_of(recorded, found, session)
    })
}

fn target(
    found: &ResolvedBackup,
    format: PgFormat,
    conn: ConnInfo,
    arguments: &RestoreArguments,
    roles_to_come: &[String],
    session: &Session,
) -> RestoreTarget {
    let stored = found.stored();
    let settings = session.settings_of(&found.source);
    let proving = session.proving_of(&found.source);
    // What is restored here is read and sent from here.
    let search = crate::engine::postgres::ProgramSearch {
        prefix: Vec::new(),
        ..proving.search
    };
    RestoreTarget {
        conn,
        recorded: stored.database.cloned().unwrap_or_default(),
        format,
        pg_dump_major: pg_dump_major(stored.producer),
        search,
        jobs: arguments.jobs.unwrap_or(proving.jobs).max(1),
        no_owner: arguments.no_owner,
        no_tablespaces: arguments.no_tablespaces,
        roles_to_come: roles_to_come.to_vec(),
        in_place: arguments.in_place,
        tables: arguments.tables.clone(),
        stamp: session.now.format("%Y%m%dT%H%M%SZ").to_string(),
        scratch_dir: settings.scratch_dir,
        content_size: stored.content_size(),
    }
}

/// What the old database holds, counted: so that it is known, or at least on record, what is
/// replaced.
fn old_content(
    destination: &PostgresDestination,
    session: &Session,
    report: &Report,
) -> Result<Option<Dumped>> {
    if destination.old_database().is_none() {
        return Ok(None);
    }
    let settings = session.backup_settings();
    // A session that hangs with a lock is a reason to restore, and none to wait.
    let plan = destination.old_database_plan(settings.lock_timeout.file.min(COUNTING_PATIENCE))?;
    match PostgresSource::open(&plan).and_then(|mut source| source.inspect()) {
        Ok(dumped) => Ok(Some(dumped)),
        Err(error) => {
            report.warn(format!("what is there now could not be counted: {error}"));
            Ok(None)
        }
    }
}

/// Says what would be done; gives back which tables will differ.
fn say_plan(
    found: &ResolvedBackup,
    place: &str,
    old: Option<&Database>,
    now: Option<&Dumped>,
    arguments: &RestoreArguments,
    session: &Session,
    say: &dyn Fn(String),
) -> Vec<String> {
    let stored = found.stored();
    let what = super::described(found, session);
    let part = if arguments.tables.is_empty() {
        String::new()
    } else {
        format!("{} of ", arguments.tables.join(", "))
    };
    say(format!("restoring {part}{what}"));
    let Some(old) = old else {
        say(format!("to {place}, where there is no such database now"));
        return Vec::new();
    };
    let counted = now.map_or(String::new(), |now| {
        format!("{}, ", contents_text(Some(&now.manifest)))
    });
    say(format!(
        "to {place}, replacing the database there: {counted}{}",
        units::size(old.size_bytes)
    ));
    let lost = now.map_or_else(Vec::new, |now| differences(&now.manifest, stored.manifest));
    lost.iter().for_each(|line| say(format!("  {line}")));
    if lost.is_empty() && now.is_some() && stored.manifest.is_some() {
        say(
            "  the tables and their numbers of rows are equal; contents are not compared"
                .to_owned(),
        );
    }
    if arguments.in_place {
        let kept = if arguments.no_safety_backup {
            "is not saved (`--no-safety-backup`)"
        } else {
            "is first saved as a `pre-restore` backup"
        };
        say(format!(
            "  in place, in one transaction; what is there {kept}"
        ));
    } else {
        say(
            "  a new database is filled and counted first, then it takes the name; the old one is \
             kept under another"
                .to_owned(),
        );
    }
    lost
}

/// Where the old content is saved, for a restore that leaves no old database.
struct Safety {
    store: Box<dyn Store>,
    source: String,
}

impl Safety {
    fn plan(
        found: &ResolvedBackup,
        destination: &PostgresDestination,
        arguments: &RestoreArguments,
        session: &Session,
    ) -> Result<Option<Safety>> {
        if !arguments.in_place || arguments.no_safety_backup || destination.old_database().is_none()
        {
            return Ok(None);
        }
        let location = session
            .store_plan()
            .map_or_else(|_| found.store.location().clone(), |plan| plan.location);
        let store = store::open(
            &location,
            Access::Write {
                require_mount: false,
            },
        )
        .map_err(|error| error.context("the store for the safety backup of what is there"))?;
        let known = found
            .backup
            .as_ref()
            .map(|backup| backup.sidecar.source.clone());
        let name = destination
            .old_database()
            .and_then(|old| old.name.clone())
            .unwrap_or_default();
        Ok(Some(Safety {
            store,
            source: known.unwrap_or_else(|| plan::plain_name(&name)),
        }))
    }
}

fn say_done(
    found: &ResolvedBackup,
    place: &str,
    published: &Published,
    kept: Option<(String, Safety)>,
    session: &Session,
    report: &Report,
) -> serde_json::Value {
    for warning in &published.warnings {
        report.warn(warning);
    }
    let ok = report.paint(Paint::Good, "ok");
    report.line(format!(
        "{ok} {} restored to {place}: {}",
        found.name(),
        published.how
    ));
    let mut undo = None;
    if let Some(database) = &published.database {
        report.line(format!("   to undo: {}", database.undo));
        report.line(format!(
            "   to remove the old one for good: {}",
            database.remove
        ));
        undo = Some(database.undo.clone());
    }
    if let Some((id, safety)) = kept {
        let program = super::program(safety.store.location().as_os_str().to_str(), session);
        report.line(super::kept_as(&id, &program));
        let command = format!("{program} restore {id} --in-place --yes");
        report.line(format!("   to undo: {command}"));
        undo = Some(command);
    }
    serde_json::json!({"id": found.name(), "target": place, "undo": undo, "how": published.how})
}
