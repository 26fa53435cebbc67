//! `dbbackup pin` and `unpin`: whether cleanup may ever remove a backup.

use crate::catalog::Catalog;
use crate::cli::PinArguments;
use crate::error::Result;
use crate::ops::Session;
use crate::ops::events::add_event;
use crate::report::{Outcome, Report};
use crate::sidecar::Change;
use std::time::Duration;

pub fn run(
    arguments: &PinArguments,
    pinned: bool,
    session: &Session,
    report: &mut Report,
) -> Result<Outcome> {
    let store = session.changing()?;
    let catalog = Catalog::read(&*store, None)?;
    let wanted: Vec<(String, String)> = arguments
        .backups
        .iter()
        .map(|wanted| {
            session.refuse_group(wanted)?;
            catalog
                .resolve(wanted, session.now)
                .map(|backup| (backup.sidecar.source.to_string(), backup.id().to_owned()))
        })
        .collect::<Result<_>>()?;
    let wait = session.lock_wait.max(Duration::from_secs(10));
    for (source, id) in &wanted {
        let change = match pinned {
            true => Change::Pinned,
            false => Change::Unpinned,
        };
        // An event needs no lock. But a cleanup that has looked already must not remove what is
        // said to be pinned.
        let _lock = store.lock(source, wait)?;
        add_event(&*store, source, id, change)?;
        report.line(format!(
            "{} {id}",
            if pinned { "pinned" } else { "unpinned" }
        ));
    }
    report.set(
        "ids",
        wanted.into_iter().map(|(_, id)| id).collect::<Vec<_>>(),
    );
    report.set("pinned", pinned);
    Ok(None)
}
