//! Who owns a file and who may use it, as text for the sidecar and back again.

use crate::error::{Context, Result};
use crate::users;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// `user:group`, numbers where there is no name.
pub fn owner(found: &Metadata) -> String {
    format!("{}:{}", users::user(found.uid()), users::group(found.gid()))
}

/// `0640`.
pub fn mode(found: &Metadata) -> String {
    format!("{:04o}", found.mode() & 0o7777)
}

/// Who a file is to belong to, and with which permissions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership {
    uid_gid: Option<(u32, u32)>,
    mode: Option<u32>,
}

impl Ownership {
    /// That of an existing file.
    pub fn from_metadata(found: &Metadata) -> Self {
        Ownership {
            uid_gid: Some((found.uid(), found.gid())),
            mode: Some(found.mode() & 0o7777),
        }
    }

    /// From the sidecar's texts; what this machine does not know is left as it is.
    pub fn recorded(owner: Option<&str>, mode: Option<&str>) -> Self {
        let uid_gid = owner
            .and_then(|text| text.split_once(':'))
            .and_then(|(user, group)| {
                // A number stands for who has no name.
                let uid = users::user_id(user).or_else(|| user.parse().ok())?;
                Some((uid, users::group_id(group).or_else(|| group.parse().ok())?))
            });
        Ownership {
            uid_gid,
            mode: mode.and_then(|text| u32::from_str_radix(text, 8).ok()),
        }
    }

    /// Gives it to a file: first the owner, which may take permission bits away, then the mode.
    pub fn apply(&self, path: &Path) -> Result<()> {
        // By the descriptor of the file itself: whoever may rename things in its directory must not
        // choose what is given away.
        let mut options = std::fs::File::options();
        options.read(true).custom_flags(libc::O_NOFOLLOW);
        let file = options
            .open(path)
            .with_context(|| format!("opening `{}`", path.display()))?;
        let found = file.metadata()?;
        if let Some((uid, gid)) = self.uid_gid
            && (uid, gid) != (found.uid(), found.gid())
        {
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid)).with_context(|| {
                format!(
                    "giving `{}` to its owner {}:{}",
                    path.display(),
                    users::user(uid),
                    users::group(gid)
                )
            })?;
        }
        if let Some(mode) = self.mode {
            file.set_permissions(std::fs::Permissions::from_mode(mode))
                .with_context(|| format!("setting the permissions of `{}`", path.display()))?;
        }
        Ok(())
    }
}
