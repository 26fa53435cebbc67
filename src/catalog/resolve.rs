//! From a user's word for a backup to the one that is meant, or to an error that helps to find it.

use super::{Catalog, ListedBackup, Presence};
use crate::error::{Error, Hint, Kind, Result};
use crate::retention::PRE_RESTORE;
use crate::units;
use chrono::{DateTime, Utc};

impl Catalog {
    /// Finds the backup that a user means: an id, a unique beginning of one, `SOURCE`,
    /// `SOURCE@latest`, `SOURCE@latest:LABEL` or `SOURCE@WHEN`. None is an error of kind `NotFound`
    /// that names what there is.
    pub fn resolve(&self, wanted: &str, now: DateTime<Utc>) -> Result<&ListedBackup> {
        if wanted.is_empty() {
            // Every id begins so: an unset variable in a script must not choose one.
            return Err(Error::usage("the name of a backup is empty")
                .with_hint(Hint::new().command(["list"]).text(" shows the ids")));
        }
        if let Some(backup) = self.backups().find(|backup| backup.id() == wanted) {
            return Ok(backup);
        }
        if let Some(entry) = self.unreadable.iter().find(|entry| entry.id == wanted) {
            let kind = if entry.may_be_good {
                Kind::Failed
            } else {
                Kind::Damaged
            };
            return Err(Error::new(
                kind,
                format!("`{}` can't be used: {}", entry.id, entry.reason),
            )
            .with_hint(
                "its dump restores without the sidecar: name the dump's file, with `--to`",
            ));
        }
        if let Some((source, which)) = wanted.split_once('@') {
            return self.resolve_at(source, which, now);
        }
        if self.newest_good(wanted).is_none() && self.has_members(wanted) {
            return Err(self.server(wanted));
        }
        if self.has_source(wanted) {
            return self.newest_good(wanted).ok_or_else(|| self.no_good(wanted));
        }
        let matching: Vec<&ListedBackup> = self
            .backups()
            .filter(|backup| backup.id().starts_with(wanted))
            .collect();
        match matching[..] {
            [backup] => Ok(backup),
            [] => Err(self.nothing(wanted)),
            [newest, .., oldest] => Err(Error::usage(format!(
                "`{wanted}` is the beginning of {} ids, from `{}` to `{}`",
                matching.len(),
                oldest.id(),
                newest.id()
            ))
            .with_hint(
                Hint::new()
                    .text("write more of the id; ")
                    .command(["list"])
                    .text(" shows them"),
            )),
        }
    }

    fn resolve_at(&self, source: &str, which: &str, now: DateTime<Utc>) -> Result<&ListedBackup> {
        if self.newest_good(source).is_none() && self.has_members(source) {
            return Err(self.server(source));
        }
        if !self.has_source(source) {
            return Err(self.nothing(source));
        }
        if let Some(label) = which.strip_prefix("latest:") {
            let found = self.newest_of(source, |backup| {
                backup.good() && backup.sidecar.label == label
            });
            return found.ok_or_else(|| {
                Error::not_found(format!(
                    "no good backup of `{source}` has the label `{label}`"
                ))
            });
        }
        if which == "latest" {
            return self.newest_good(source).ok_or_else(|| self.no_good(source));
        }
        let when = units::parse_when(which, now).map_err(Error::usage)?;
        let mut eligible = self
            .of(source)
            .filter(|backup| backup.good() && backup.sidecar.label != PRE_RESTORE);
        eligible
            .find(|backup| backup.sidecar.started_at <= when)
            .ok_or_else(|| {
                Error::not_found(format!(
                    "no good backup of `{source}` was made at or before {}",
                    units::stamp(when)
                ))
                .with_hint(
                    Hint::new()
                        .command(["list", source])
                        .text(" shows what there is"),
                )
            })
    }

    /// A cluster has no backup of its own, its databases have.
    fn server(&self, wanted: &str) -> Error {
        let members: Vec<String> = self
            .sources()
            .into_iter()
            .filter(|name| self.cluster_of(name) == Some(wanted))
            .collect();
        Error::usage(format!(
            "`{wanted}` is a server, and its databases have the backups"
        ))
        .with_hint(format!("name one of {}", quoted_list(&members)))
    }

    fn no_good(&self, source: &str) -> Error {
        // One that can't be looked at is not none.
        let unreachable = self.of(source).find_map(|backup| match &backup.presence {
            Presence::Unknown(why) if backup.may_be_good() => Some((backup.id(), why)),
            _ => None,
        });
        if let Some((id, why)) = unreachable {
            return Error::failed(format!(
                "`{source}` has no good backup that can be looked at; `{id}`: {why}"
            ))
            .with_hint("look at the store's disk, or mount what the dump is on");
        }
        let untrusted = self
            .of(source)
            .filter(|backup| backup.is_whole() && !backup.signature.is_accepted());
        if let count @ 1.. = untrusted.count() as u64 {
            return Error::not_found(format!(
                "`{source}` has no backup that counts: {} there that no trusted key has signed",
                units::count(count, "backup")
            ))
            .with_hint(
                Hint::new()
                    .command(["list", "--status", "all", source])
                    .text(
                        " shows them; look who made one, and use it by its id with `--untrusted`",
                    ),
            );
        }
        Error::not_found(format!("`{source}` has no good backup")).with_hint(
            Hint::new()
                .command(["list", "--status", "all", source])
                .text(" shows the attempts; ")
                .command(["help", "recovery"])
                .text(" says how to save what is left of a damaged one"),
        )
    }

    fn nothing(&self, wanted: &str) -> Error {
        let error = Error::not_found(format!("no backup or source is called `{wanted}`"));
        let sources = self.sources();
        if let Some(orphan) = self.orphans.first().filter(|_| sources.is_empty()) {
            let dumps = units::count(self.orphans.len() as u64, "dump");
            let path = format!("…/{}/{}", orphan.source, orphan.name);
            return error.with_hint(
                Hint::new()
                    .text(format!(
                        "the store holds {dumps} without their sidecars; each restores by its \
                         path: "
                    ))
                    .command(["restore", &path, "--to", "PATH"]),
            );
        }
        if sources.is_empty() {
            return error.with_hint(
                Hint::new()
                    .text("the store holds no backups yet: ")
                    .command(["backup"])
                    .text(" makes one"),
            );
        }
        if let Some(near) = units::nearest(wanted, sources.iter().map(String::as_str)) {
            return error.with_hint(
                Hint::new()
                    .text(format!("did you mean `{near}`? "))
                    .command(["list"])
                    .text(" shows what there is"),
            );
        }
        error.with_hint(
            Hint::new()
                .text(format!("the store holds {}; ", quoted_list(&sources)))
                .command(["list"])
                .text(" shows the ids"),
        )
    }
}

/// Names as a sentence lists them, in quotes; of many the first.
pub fn quoted_list(names: &[impl AsRef<str>]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(8)
        .map(|name| format!("`{}`", name.as_ref()))
        .collect();
    let more = if names.len() > 8 {
        format!(" and {} more", names.len() - 8)
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(", "))
}
