//! What is tried of a server of files besides what all media have: the way to it, and what it
//! offers.

use super::files;
use super::link::Link;
use crate::error::Result;
use crate::store::remote::probe::{MediumProbe, StoreProbe};
use crate::units;
use chrono::{DateTime, TimeDelta, Utc};

/// How far apart the clocks may be.
const SKEW: TimeDelta = TimeDelta::minutes(5);

/// The trial of a server of files.
pub struct SftpProbe<'a> {
    link: &'a Link,
}

impl<'a> SftpProbe<'a> {
    /// The trial of the server at the end of this link.
    pub fn new(link: &'a Link) -> Self {
        SftpProbe { link }
    }
}

impl MediumProbe for SftpProbe<'_> {
    fn try_way(&self, probe: &mut StoreProbe) -> bool {
        let link = self.link;
        if let Err(failure) = link.with_retries(|_| Ok(())) {
            probe.fail("connection", link.error(failure, "connecting to", ""));
            return false;
        }
        probe.pass("connection", "the server answers");
        match link.with_retries(|connection| link.is_there(connection)) {
            Ok(true) => probe.pass("directory", "it is there"),
            Ok(false) => probe.pass(
                "directory",
                "it is not there yet: the first backup makes it",
            ),
            Err(failure) => {
                probe.fail("directory", link.error(failure, "looking at", ""));
                return false;
            }
        }
        true
    }

    fn exclusion_gap(&self, _key: &str) -> Result<Option<String>> {
        let link = self.link;
        let has_links = link
            .with_retries(|connection| Ok(connection.sftp().support_hardlink()))
            .map_err(|failure| link.error(failure, "asking", ""))?;
        Ok((link.is_rclone() || !has_links).then(|| {
            "the server can't give a file its name only if that is free: it is asked before, and \
             two machines that ask at once both write"
                .to_owned()
        }))
    }

    fn inspect(&self, directory: &str, probe: &mut StoreProbe) {
        let link = self.link;
        let offered = link.with_retries(|connection| {
            let sftp = connection.sftp();
            Ok((sftp.support_fsync(), sftp.support_posix_rename()))
        });
        match offered {
            Err(failure) => probe.fail("server", link.error(failure, "asking", "")),
            Ok(_) if link.is_rclone() => {
                probe.pass(
                    "server",
                    "rclone; when a file is durable is the cloud's affair",
                );
            }
            Ok((true, true)) => probe.pass("server", "it syncs files, and renames over others"),
            Ok((false, _)) => probe.doubt(
                "server",
                "it does not offer `fsync@openssh.com`: a backup may be lost if the machine there \
                 loses its power within seconds",
                "use OpenSSH's server there, or a machine that does not lose its power",
            ),
            Ok((true, false)) => probe.doubt(
                "server",
                "it does not offer `posix-rename@openssh.com`: for a moment there is neither the \
                 old nor the new file where one replaces another",
                "use OpenSSH's server there",
            ),
        }
        // What was made a moment ago has the time of the server's clock.
        let state = link.with_retries(|connection| {
            files::state(connection, link.patience(), &link.path(directory))
        });
        let modified = state.ok().and_then(|state| state.modified);
        let date = modified.and_then(|time| DateTime::<Utc>::from_timestamp(time.into(), 0));
        if let Some(date) = date {
            let apart = (Utc::now() - date).abs();
            if apart > SKEW {
                let shown = units::elapsed(apart.num_seconds() as f64);
                probe.doubt(
                    "clock",
                    format!("the server's clock and this machine's are {shown} apart"),
                    "set both by NTP",
                );
            } else {
                probe.pass("clock", "the server's and this machine's agree");
            }
        }
    }

    fn remove_directory(&self, directory: &str) {
        let path = self.link.path(directory);
        // An empty directory is in nobody's way.
        let _ = self
            .link
            .clean_up(|connection, patience| files::remove_directory(connection, patience, &path));
    }
}
