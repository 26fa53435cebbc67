//! What somebody who has taken over this machine could destroy in a store, found by trying it on an
//! object that is made for it alone: to write over it, to remove it, to shorten its lock, to find
//! and to remove its older versions.

use super::{FIRST, SECOND, StoreProbe, TRIAL, impatient};
use crate::error::{Error, Kind};
use crate::store::remote::medium::{Creation, Medium, connect};
use crate::store::remote::{LONGEST_SMALL_OBJECT, is_surely_missing};
use crate::store::{Location, StoreSettings};
use std::sync::Arc;

/// What can be destroyed with what this machine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destruction {
    /// Nothing: no backup can be changed or removed.
    Nothing,
    /// Backups can be written over or removed, but the versions before stay, out of reach.
    Hides,
    /// Everything.
    Everything,
    /// It can't be told; the steps say why.
    Unknown,
}

/// What was tried, and what it comes to.
#[derive(Debug)]
pub struct DestructionProbe {
    /// What was tried, in order.
    pub probe: StoreProbe,
    /// The verdict.
    pub destruction: Destruction,
}

/// Tries what could be destroyed in a store. A directory is not tried: who is root can remove it.
pub fn probe_destruction(settings: &StoreSettings) -> DestructionProbe {
    let mut probe = StoreProbe::default();
    if settings.location.local_path().is_some() {
        probe.pass(
            "place",
            format!(
                "{} is a directory of this machine: its files are whoever is root's",
                settings.location
            ),
        );
        return DestructionProbe {
            probe,
            destruction: Destruction::Everything,
        };
    }
    let destruction = match connect(&settings.location, &impatient(&settings.connection)) {
        Ok(medium) => try_destruction(&settings.location, &medium, &mut probe),
        Err(error) => {
            probe.fail("connection", error);
            Destruction::Unknown
        }
    };
    DestructionProbe { probe, destruction }
}

fn try_destruction(
    location: &Location,
    medium: &Arc<dyn Medium>,
    probe: &mut StoreProbe,
) -> Destruction {
    let directory = format!("{TRIAL}{}/", uuid::Uuid::new_v4().simple());
    let key = format!("{directory}destroyed");
    let own = medium.own_probe();
    if !own.try_way(probe) {
        return Destruction::Unknown;
    }
    let found = own.try_destruction(&key, probe);
    let found = found.unwrap_or_else(|| try_plainly(location, &**medium, &key, probe));
    own.remove_directory(directory.trim_end_matches('/'));
    found
}

/// Tries it where nothing is known of versions.
fn try_plainly(
    location: &Location,
    medium: &dyn Medium,
    key: &str,
    probe: &mut StoreProbe,
) -> Destruction {
    let shown = format!("{location}/{key}");
    match medium.create(key, FIRST) {
        Ok(Creation::Created) => probe.pass("put", format!("`{shown}` was written for it")),
        Ok(Creation::AlreadyThere) => {
            probe.fail("put", Error::failed(format!("`{shown}` is there already")));
            return Destruction::Unknown;
        }
        Err(error) => {
            probe.fail("put", error);
            return Destruction::Unknown;
        }
    }
    let overwritten = match (
        medium.replace(key, SECOND),
        medium.read(key, LONGEST_SMALL_OBJECT),
    ) {
        (_, Ok(stored)) if stored == SECOND => Some(true),
        (Err(error), Ok(stored)) if stored == FIRST => {
            probe.pass("overwrite", format!("refused: {error}"));
            Some(false)
        }
        (Ok(()), Ok(_)) => {
            probe.pass("overwrite", "it was accepted, and has changed nothing");
            Some(false)
        }
        (Err(error), _) | (_, Err(error)) => {
            probe.fail("overwrite", error);
            None
        }
    };
    if overwritten == Some(true) {
        probe.doubt(
            "overwrite",
            "this machine can write over what is stored",
            "let the store keep snapshots or versions that this machine can't reach",
        );
    }
    let removed = match (medium.remove(key), is_surely_missing(medium, key)) {
        (_, Ok(true)) => Some(true),
        (Err(error), Ok(false)) => {
            probe.pass(
                "delete",
                format!("refused, so `{shown}` is left there: {error}"),
            );
            Some(false)
        }
        (Ok(()), Ok(false)) => {
            probe.pass("delete", "it was accepted, and has removed nothing");
            Some(false)
        }
        (Err(error), _) | (_, Err(error)) if error.kind() != Kind::NotFound => {
            probe.fail("delete", error);
            None
        }
        (_, Err(_)) => None,
    };
    if removed == Some(true) {
        probe.doubt(
            "delete",
            "this machine can remove what is stored",
            "take the right away from this machine, let another one clean up, and set `delete = \
             \"never\"` here",
        );
    }
    match (overwritten, removed) {
        (Some(false), Some(false)) => Destruction::Nothing,
        (None, _) | (_, None) => Destruction::Unknown,
        (Some(true), _) | (_, Some(true)) => {
            probe.pass(
                "versions",
                "not known: whether the other side keeps what is written over or removed can't be \
                 asked by this protocol; if it makes snapshots, they may bring it back",
            );
            Destruction::Everything
        }
    }
}

impl Destruction {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Destruction::Nothing => "nothing",
            Destruction::Hides => "hides",
            Destruction::Everything => "everything",
            Destruction::Unknown => "unknown",
        }
    }
}
