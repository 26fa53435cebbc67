//! Restoring a cluster's roles: those that the server lacks are shown and made; those that it has
//! are left as they are.

use crate::cli::RestoreArguments;
use crate::config::KindSettings;
use crate::engine::Depth;
use crate::engine::Destination;
use crate::engine::Keep;
use crate::engine::postgres::ConnectionSpec;
use crate::engine::postgres::conninfo::ConnInfo;
use crate::engine::postgres::roles::RolesDestination;
use crate::error::{Error, Result};
use crate::ops::Session;
use crate::ops::examine::{self, ExaminationOptions};
use crate::ops::find::ResolvedBackup;
use crate::plan;
use crate::report::{Paint, Report};

/// The roles of one backup, made where they are missing.
pub fn restore(
    found: &ResolvedBackup,
    arguments: &RestoreArguments,
    session: &Session,
    report: &Report,
) -> Result<serde_json::Value> {
    let conn = connection(found, arguments, session)?;
    let place = conn.place();
    let settings = session.settings_of(&found.source);
    let proving = session.proving_of(&found.source);
    let means = ExaminationOptions {
        scratch_dir: &settings.scratch_dir,
        threads: settings.thread_count(),
        proving: &proving,
        observer: report,
    };
    let mut destination = RolesDestination::open(&conn, &proving.search)?;
    let checks = examine::receive(&found.stored(), &mut destination, Depth::Content, &means)?;
    super::must_be_sound(found, &checks)?;
    let say = |text: String| {
        if arguments.dry_run {
            report.answer(text)
        } else {
            report.note(text)
        }
    };
    say(format!(
        "restoring the roles of {} to the server of {place}",
        found.name()
    ));
    for line in destination.describe_plan() {
        say(format!("  {line}"));
    }
    let target = serde_json::json!({"id": found.name(), "target": place, "undo": null});
    if arguments.dry_run {
        report.answer("nothing was done");
        return Ok(serde_json::json!({"id": found.name(), "target": place,
                "roles": destination.missing_roles()}));
    }
    if !destination.missing_roles().is_empty() && !arguments.yes {
        if !report.can_ask() {
            return Err(
                Error::usage("roles would be made, and that needs a yes").with_hint("add `--yes`")
            );
        }
        if !report.ask("make them?")? {
            return Err(Error::usage("no role was made"));
        }
    }
    let published = destination.publish(Keep::Nothing)?;
    for warning in &published.warnings {
        report.warn(warning);
    }
    report.line(format!(
        "{} {} restored to {place}: {}",
        report.paint(Paint::Good, "ok"),
        found.name(),
        published.how
    ));
    Ok(target)
}

fn connection(
    found: &ResolvedBackup,
    arguments: &RestoreArguments,
    session: &Session,
) -> Result<ConnInfo> {
    let spec = match (
        &arguments.to,
        session.entry_of(&found.source).map(|entry| &entry.kind),
    ) {
        (Some(to), _) if plan::postgres::is_connection_string(to) => ConnectionSpec {
            url: Some(to.clone()),
            ..ConnectionSpec::default()
        },
        (Some(_), _) => {
            return Err(Error::usage("roles belong to a server, not to a database")
                .with_hint("`--to` takes a `postgresql://` address here"));
        }
        (None, Some(KindSettings::Postgres(own))) => plan::postgres::spec(own),
        (None, _) => {
            let recorded = found
                .backup
                .as_ref()
                .filter(|backup| backup.sidecar.producer.get("host") == Some(&session.host));
            let Some(database) = recorded.and_then(|backup| backup.sidecar.database.as_ref())
            else {
                return Err(Error::usage(format!(
                    "nobody here knows where `{}` belongs",
                    found.name()
                ))
                .with_hint("say where: `--to postgresql://HOST/postgres`"));
            };
            ConnectionSpec {
                host: database.host.clone(),
                port: database.port.map(|port| port.to_string()),
                dbname: database.name.clone(),
                ..ConnectionSpec::default()
            }
        }
    };
    Ok(ConnInfo::resolve(&spec, &|name| std::env::var(name).ok())?
        .with_application_name("dbbackup"))
}
