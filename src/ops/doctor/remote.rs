//! Stores on other machines, and the further ones of the configuration: are they there, and may
//! this machine do there what its commands need?

use super::place::check_contents;
use super::{Diagnosis, StoreDestruction, StorePolicy, read_catalog};
use crate::catalog::Catalog;
use crate::config::MAIN_STORE;
use crate::error::{Error, Kind, Result};
use crate::ops::Session;
use crate::ops::copy::{count_known_copies, lost_store_error};
use crate::plan::StorePlan;
use crate::store::{self, ProbeDepth, ProbeOutcome, ProbeStep, StoreSettings};
use std::path::Path;

/// Checks the store that backups go to, on another machine; returns its catalog. Everything is
/// tried where it was named for that.
pub fn check_store(plan: &StorePlan, session: &Session, diagnosis: &mut Diagnosis) -> Catalog {
    let depth = match session.store_flag {
        Some(_) => ProbeDepth::Thorough,
        None => ProbeDepth::Brief,
    };
    let is_sound = probe("store", &plan.settings, depth, diagnosis);
    if !is_sound {
        return Catalog::default();
    }
    diagnosis.ok(
        "store",
        "lock",
        "it has none: two runs of one source may go on at once, and neither harms the other",
    );
    match read_catalog(plan) {
        Ok(catalog) => {
            check_contents(&catalog, session, diagnosis);
            catalog
        }
        // The first backup makes it.
        Err(error) if error.kind() == Kind::NotFound => Catalog::default(),
        Err(error) => {
            diagnosis.problem("store", "contents", &error);
            Catalog::default()
        }
    }
}

/// Checks briefly the stores of the configuration that backups do not go to by themselves.
pub fn check_further_stores(
    used: &StorePlan,
    catalog: &Catalog,
    session: &Session,
    diagnosis: &mut Diagnosis,
) {
    let configured = session.config.iter().flat_map(|config| config.all_stores());
    for (name, settings) in configured {
        let settings = settings.resolved(&session.cwd);
        if settings.location == used.settings.location {
            continue;
        }
        let about = name.map_or_else(|| "store".to_owned(), |name| format!("store {name}"));
        match settings.location.local_path() {
            Some(_) if store::is_same_place(&settings.location, &used.settings.location) => {
                let text = format!("{} is the store itself, by another name", settings.location);
                let error = Error::usage(text).with_hint("a copy is in another place");
                diagnosis.problem(&about, "place", &error);
            }
            Some(_) => {
                let name = name.unwrap_or(MAIN_STORE);
                let copies = count_known_copies(catalog, name, &settings.location);
                check_directory(&about, &settings, copies, diagnosis);
            }
            None => {
                probe(&about, &settings, ProbeDepth::Brief, diagnosis);
            }
        }
    }
}

/// A disk that is away is no fault: it may be one that is changed every day. So many `copies` are
/// known to have been made there.
fn check_directory(about: &str, settings: &StoreSettings, copies: u64, diagnosis: &mut Diagnosis) {
    let location = &settings.location;
    let root = location.local_path().unwrap_or(Path::new("/"));
    let parent = root.parent().unwrap_or(Path::new("/"));
    let trouble = match store::check_mount(settings) {
        Err(error) => error,
        Ok(()) if root.is_dir() && !store::may_be_written_at(location) => {
            Error::failed(format!("this user can't write to {location}"))
        }
        Ok(()) if store::is_marked_at(location) => {
            return diagnosis.ok(about, "place", format!("{location} is a store"));
        }
        Ok(()) if copies > 0 && !settings.require_mount => lost_store_error(location, copies),
        Ok(()) if !root.is_dir() && !parent.is_dir() => Error::failed(format!(
            "`{}` is not there, in which the store {location} would be made",
            parent.display()
        )),
        Ok(()) if store::may_be_written_at(location) => {
            return diagnosis.ok(
                about,
                "place",
                format!("{location} is no store yet: the first backup makes it one"),
            );
        }
        Ok(()) => Error::failed(format!("{location} is not there")),
    };
    let remedy = trouble.hint().cloned();
    let remedy = remedy.unwrap_or_else(|| "is the disk mounted, and this user's?".into());
    diagnosis.warning(about, "place", trouble.message(), remedy);
}

/// Tries a store, and says whether everything that a backup needs is there.
fn probe(
    about: &str,
    settings: &StoreSettings,
    depth: ProbeDepth,
    diagnosis: &mut Diagnosis,
) -> bool {
    let probe = store::probe(settings, depth);
    let is_sound = tell(about, probe.steps, diagnosis);
    if let Some(policy) = probe.policy {
        diagnosis.policies.push(StorePolicy {
            about: about.to_owned(),
            policy,
            is_missing: probe.lacks_rights,
        });
    }
    is_sound
}

/// Takes over what was tried, and says whether nothing of it failed.
fn tell(about: &str, steps: Vec<ProbeStep>, diagnosis: &mut Diagnosis) -> bool {
    let mut is_sound = true;
    for step in steps {
        match step.outcome {
            ProbeOutcome::Passed(detail) => diagnosis.ok(about, step.name, detail),
            ProbeOutcome::Doubtful { detail, remedy } => {
                diagnosis.warning(about, step.name, detail, remedy);
            }
            ProbeOutcome::Failed(error) => {
                is_sound = false;
                diagnosis.problem(about, step.name, &error);
            }
        }
    }
    is_sound
}

/// Tries what somebody who has taken over this machine could destroy: in the store that was named
/// for it, or in all of the configuration.
pub fn try_destruction(session: &Session) -> Result<Diagnosis> {
    let used = session.store_plan()?;
    let mut diagnosis = Diagnosis::default();
    let mut settings = vec![("store".to_owned(), used.settings.clone())];
    if session.store_flag.is_none() {
        for (name, further) in session.config.iter().flat_map(|config| config.all_stores()) {
            let further = further.resolved(&session.cwd);
            if further.location != used.settings.location {
                let about = name.map_or_else(|| "store".to_owned(), |name| format!("store {name}"));
                settings.push((about, further));
            }
        }
    }
    for (about, settings) in settings {
        let found = store::probe_destruction(&settings);
        tell(&about, found.probe.steps, &mut diagnosis);
        diagnosis.destructions.push(StoreDestruction {
            about,
            location: settings.location.to_string(),
            destruction: found.destruction,
        });
    }
    Ok(diagnosis)
}
