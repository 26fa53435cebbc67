//! Where a store is: what the configuration, `--store` and `$DBBACKUP_STORE` name. What kind of
//! store that is, only this room knows.

mod address;

#[cfg(feature = "object-stores")]
pub use address::ObjectService;
pub use address::{ObjectAddress, RemoteAddress, SftpAddress};

use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

/// The place of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A place on another machine, with its address as it is written: that is what `--store` takes.
    Remote {
        /// As a user writes it, without what a user may leave out.
        text: String,
        /// The same, taken apart.
        address: RemoteAddress,
    },
}

impl Location {
    /// Reads what a user wrote; a relative directory is one below `base`. The error is a sentence
    /// without its end.
    pub fn parse(text: &str, base: &Path) -> Result<Location, String> {
        if let Some(address) = RemoteAddress::parse(text)? {
            return Ok(Location::from(address));
        }
        Ok(Location::from(Path::new(text)).resolved(base))
    }

    /// SHA-256 of what it is called, in hex: tells two places apart, and says of none where it is.
    pub fn sha256(&self) -> String {
        let digest = Sha256::digest(self.to_string());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The same, a relative directory being one below `base`, without the `./` that people type.
    #[must_use]
    pub fn resolved(&self, base: &Path) -> Location {
        match self {
            Location::Directory(path) => {
                Location::Directory(base.join(path).components().collect())
            }
            Location::Remote { .. } => self.clone(),
        }
    }

    /// What `--store` and `$DBBACKUP_STORE` take for it.
    pub fn as_os_str(&self) -> &OsStr {
        match self {
            Location::Directory(path) => path.as_os_str(),
            Location::Remote { text, .. } => OsStr::new(text),
        }
    }

    /// As messages name an object of a source.
    pub fn object(&self, source: &str, name: &str) -> String {
        match self {
            Location::Directory(path) => path.join(source).join(name).display().to_string(),
            Location::Remote { text, .. } => {
                format!("{}/{source}/{name}", text.trim_end_matches('/'))
            }
        }
    }

    /// The directory, where the store is one of this machine.
    pub fn local_path(&self) -> Option<&Path> {
        match self {
            Location::Directory(path) => Some(path),
            Location::Remote { .. } => None,
        }
    }
}

/// No place: of settings that are still to be read.
impl Default for Location {
    fn default() -> Self {
        Location::Directory(PathBuf::new())
    }
}

impl From<RemoteAddress> for Location {
    fn from(address: RemoteAddress) -> Self {
        Location::Remote {
            text: address.to_string(),
            address,
        }
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Location::Directory(path)
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Location::Directory(path.to_path_buf())
    }
}

/// As messages name it, and as `--store` takes it.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Directory(path) => path.display().fmt(f),
            Location::Remote { text, .. } => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_directory_below_the_base_or_an_address() {
        let base = Path::new("/work");
        let parsed = |text: &str| Location::parse(text, base).map(|found| found.to_string());
        assert_eq!(parsed("./b"), Ok("/work/b".to_owned()));
        assert_eq!(parsed("/var//backups/"), Ok("/var/backups".to_owned()));
        assert_eq!(parsed("s3://bucket"), Ok("s3://bucket".to_owned()));
        assert_eq!(
            Location::parse("s3://b/web1/", base)
                .unwrap()
                .object("app", "x.json"),
            "s3://b/web1/app/x.json"
        );
        assert!(parsed("ftp://bucket").is_err());
    }
}
