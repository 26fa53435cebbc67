//! Where backups are: the other stores of the configuration, and whether a place is a disk of this
//! machine or another machine.

use super::{good_count, stored_bytes};
use crate::catalog::Catalog;
use crate::config::KindSettings;
use crate::error::Result;
use crate::health::{self, HealthFinding};
use crate::ops::Session;
use crate::ops::secrets::clean;
use crate::ops::stores::ask_stores;
use crate::overview::{CopyPlace, StoreOverview};
use crate::plan::{self, StorePlan};
use crate::store::{self, Access, Location, RemoteAddress};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long all other stores together may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// File systems whose files are on another machine, by the number that `statfs` tells: NFS, SMB in
/// two versions, Ceph.
const OF_A_NETWORK: [i64; 4] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400];

/// A store that is not the one in use.
pub struct OtherStore {
    /// The store.
    pub plan: StorePlan,
    /// What it holds, with its free bytes where it can tell.
    pub content: Result<(Catalog, Option<u64>)>,
}

impl OtherStore {
    /// What it holds, where it could be read.
    pub fn catalog(&self) -> Option<&Catalog> {
        self.content.as_ref().ok().map(|(catalog, _)| catalog)
    }

    /// What is wrong with it.
    pub fn finding(&self) -> Option<HealthFinding> {
        let error = self.content.as_ref().err()?;
        Some(health::unreachable(&error.message(), error.hint()))
    }

    /// What is shown of it.
    pub fn overview(&self) -> StoreOverview {
        let catalog = self.catalog();
        StoreOverview {
            name: clean(&self.plan.title()),
            location: clean(&self.plan.location().to_string()),
            in_use: false,
            reachable: Some(catalog.is_some()),
            good: catalog.map(good_count),
            stored_bytes: catalog.map(stored_bytes),
            free_bytes: self.content.as_ref().ok().and_then(|(_, free)| *free),
        }
    }
}

/// Reads every store of the configuration but the one in use, all at once.
pub fn read_other_stores(in_use: &StorePlan, session: &Session) -> Result<Vec<OtherStore>> {
    let mut plans = plan::every_store(session.config.as_ref(), None, &session.cwd);
    plans.retain(|plan| plan.location() != in_use.location());
    let answers = ask_stores(&plans, Some(ANSWER_WITHIN), |plan| {
        store::check_mount(&plan.settings)?;
        let store = store::open(&plan.settings, Access::Read)?;
        let catalog = Catalog::read(&*store, None)?;
        Ok((catalog, store.free_space()?))
    })?;
    let read = plans.into_iter().zip(answers);
    Ok(read
        .map(|(plan, content)| OtherStore { plan, content })
        .collect())
}

/// The place of a store.
pub fn place_of(location: &Location) -> CopyPlace {
    match location {
        Location::Directory(path) if is_of_a_network(path) => {
            CopyPlace::Elsewhere(path.display().to_string())
        }
        Location::Directory(path) => CopyPlace::Disk(disk_of(path)),
        Location::Remote { address, .. } => CopyPlace::Elsewhere(match address {
            RemoteAddress::Objects(objects) => {
                format!("{}://{}", objects.service.scheme(), objects.bucket)
            }
            RemoteAddress::Sftp(sftp) => format!("ssh://{}", sftp.host),
            RemoteAddress::Rclone(remote) => {
                let remote = remote
                    .split_once(':')
                    .map_or(remote.as_str(), |(name, _)| name);
                format!("rclone:{remote}")
            }
        }),
    }
}

/// The place of a source's data. That of a server's database is not known, and may be any.
pub fn place_of_data(source: &str, catalog: &Catalog, session: &Session) -> CopyPlace {
    let path: Option<PathBuf> = match session.entry_of(source).map(|entry| &entry.kind) {
        Some(KindSettings::Sqlite(own)) => Some(own.path.clone()),
        Some(KindSettings::Files(own)) => own.paths.first().cloned(),
        Some(KindSettings::Postgres(_)) => None,
        None => catalog.data_path(source),
    };
    CopyPlace::Disk(path.and_then(|path| disk_of(&path)))
}

fn disk_of(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|found| found.dev())
}

// The type of the number differs between platforms.
#[allow(clippy::unnecessary_cast)]
#[cfg(target_os = "linux")]
fn is_of_a_network(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| OF_A_NETWORK.contains(&(found.f_type as i64)))
}

#[cfg(not(target_os = "linux"))]
fn is_of_a_network(_path: &Path) -> bool {
    false
}
