//! How a backup comes to be in a directory, and how it goes.
//!
//! The objects of a draft and its sidecar are written and synced under dot-names; then all get
//! their names, the sidecar's last. Removing goes backwards: the sidecar gets its dot-name first.
//! So whatever a crash leaves has a dot-name, or is an object of a backup whose dot-sidecar is
//! there and says so.

use super::directory::{DraftObjects, SourceDirectory, dot, unfinished_id};
use crate::error::Result;
use crate::failpoint::fail_point;
use crate::store::names::{self, sidecar_name};
use crate::store::{Draft, Objects, PendingObject, check_name, ignore_missing, lone_companions};
use chrono::Utc;
use std::fs::File;
use std::path::Path;

/// A backup that is being written in a directory.
pub struct LocalDraft {
    id: String,
    objects: DraftObjects,
    is_committed: bool,
}

impl LocalDraft {
    /// A draft of the backup `id`, of which the directory holds nothing yet.
    pub fn new(dir: SourceDirectory, id: String) -> Self {
        LocalDraft {
            id,
            objects: DraftObjects {
                dir,
                names: Vec::new(),
            },
            is_committed: false,
        }
    }

    fn publish(&self, sidecar: &[u8]) -> Result<()> {
        let dir = &self.objects.dir;
        let name = sidecar_name(&self.id);
        dir.write(&dot(&name), sidecar)?;
        dir.sync()?;
        fail_point("store: sidecar drafted")?;
        for object in &self.objects.names {
            dir.rename(&dot(object), object)?;
            fail_point("store: dump named")?;
        }
        dir.rename(&dot(&name), &name)?;
        fail_point("store: backup listed")?;
        dir.sync()
    }
}

impl Draft for LocalDraft {
    fn id(&self) -> &str {
        &self.id
    }

    fn create(&mut self, name: &str) -> Result<Box<dyn PendingObject>> {
        check_name(name, &self.id)?;
        let pending = self.objects.dir.create(&dot(name))?;
        self.objects.names.push(name.to_owned());
        Ok(pending)
    }

    fn link(&mut self, name: &str, path: &Path, file: &File) -> Result<()> {
        check_name(name, &self.id)?;
        self.objects.dir.link(&dot(name), path, file)?;
        self.objects.names.push(name.to_owned());
        Ok(())
    }

    fn objects(&self) -> &dyn Objects {
        &self.objects
    }

    fn commit(mut self: Box<Self>, sidecar: &[u8]) -> Result<()> {
        self.publish(sidecar)?;
        self.is_committed = true;
        Ok(())
    }
}

impl Drop for LocalDraft {
    /// Takes away what there is of it, unless it is listed: then it is whole. A store that can't
    /// tell is left for the next sweep, and so are errors.
    fn drop(&mut self) {
        if self.is_committed {
            return;
        }
        let dir = &self.objects.dir;
        let name = sidecar_name(&self.id);
        if !dir.all_names().is_ok_and(|names| !names.contains(&name)) {
            return;
        }
        for object in &self.objects.names {
            let _ = dir.remove(object);
            let _ = dir.remove(&dot(object));
        }
        let _ = dir.remove(&dot(&name));
    }
}

/// Removes a backup; see [`crate::store::Store::retire`].
pub fn retire(dir: &SourceDirectory, id: &str, objects: &[String]) -> Result<()> {
    let name = sidecar_name(id);
    dir.rename(&name, &dot(&name))?;
    dir.sync()?;
    fail_point("store: backup unlisted")?;
    for object in objects {
        ignore_missing(dir.remove(object))?;
        fail_point("store: dump removed")?;
    }
    // Listed now: whoever adds an event looks for the sidecar after it.
    for companion in companions_of(id, &dir.all_names()?) {
        ignore_missing(dir.remove(companion))?;
    }
    ignore_missing(dir.remove(&dot(&name)))?;
    dir.sync()
}

/// The events of a backup, and the signatures.
fn companions_of<'a>(id: &str, names: &'a [String]) -> impl Iterator<Item = &'a str> {
    names
        .iter()
        .map(String::as_str)
        .filter(move |name| names::companion_id(name) == Some(id))
}

/// Removes what killed runs left; see [`crate::store::Store::sweep`].
///
/// An object without a sidecar goes only if a dot-sidecar of the same id names it.
pub fn sweep(
    dir: &SourceDirectory,
    named_by: &dyn Fn(&[u8]) -> Vec<String>,
) -> Result<Vec<String>> {
    let all = dir.all_names()?;
    let is_there = |name: &str| all.iter().any(|known| known == name);
    let mut swept = Vec::new();
    let debris = all.iter().filter(|name| unfinished_id(name).is_some());
    // Dot-sidecars last: until their objects are gone they are what tells whose those are.
    let (sidecars, others): (Vec<_>, Vec<_>) = debris.partition(|name| is_dot_sidecar(name));
    for name in others {
        ignore_missing(dir.remove(name))?;
        swept.push(name.clone());
    }
    for name in sidecars {
        let Some(id) = unfinished_id(name) else {
            continue;
        };
        if !is_there(&sidecar_name(id)) {
            let bytes = dir.read(name)?;
            let objects = named_by(&bytes)
                .into_iter()
                .filter(|object| names::is_object_of(object, id) && is_there(object));
            for object in objects.chain(companions_of(id, &all).map(str::to_owned)) {
                ignore_missing(dir.remove(&object))?;
                swept.push(object);
            }
        }
        ignore_missing(dir.remove(name))?;
        swept.push(name.clone());
    }
    let (objects, unfinished) = super::sorted_out(all);
    for companion in lone_companions(&objects, &unfinished, Utc::now()) {
        ignore_missing(dir.remove(companion))?;
        swept.push(companion.to_owned());
    }
    if !swept.is_empty() {
        dir.sync()?;
    }
    Ok(swept)
}

fn is_dot_sidecar(name: &str) -> bool {
    unfinished_id(name).is_some_and(|id| name == dot(&sidecar_name(id)))
}
