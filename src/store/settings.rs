//! The settings of a store: where it is, how it is reached, and what may be done there.

use crate::setting::{PathResolver, SettingType, WordChoice, WrittenValue, settings};
use crate::signature::{Signer, VerifyingKey};
use crate::store::{Location, RemoteAddress};
use std::path::{Path, PathBuf};
use std::time::Duration;

settings! {
    /// `[store]` or `[stores.NAME]`: where a store is.
    #[derive(Debug, Clone, PartialEq)]
    pub struct StoreSettings {
        /// The directory of the store. One that holds something else never becomes a store by
        /// itself.
        pub path: Option<StoreDirectory> = None,
        /// The address of a store on another machine, in place of `path`: `s3://BUCKET/PREFIX`,
        /// `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, `sftp://USER@HOST:PORT/PATH`, or
        /// `rclone:REMOTE:PATH`.
        pub url: Option<RemoteAddress> = None,
        /// Refuses to use the directory unless a file system of its own is mounted there: for a
        /// disk that may be unplugged.
        pub require_mount: bool = false,
        /// Whether backups are encrypted there. Not set, `[encryption]` says it.
        pub encrypt: Option<bool> = None,
        /// The public keys of minisign, `RW…`, whose signatures count there. With any, a backup or
        /// an event that none of them signed is listed, and nothing else.
        pub trust: Vec<VerifyingKey> = Vec::new(),
    }
    beside {
        /// What `path` or `url` says.
        pub location: Location,
        /// How a store on another machine is reached.
        pub connection: ConnectionSettings,
        /// The key that signs what is written there; none: nothing is signed.
        pub signer: Option<Signer>,
    }
}

impl StoreSettings {
    /// The same, a relative directory being one below `base`.
    #[must_use]
    pub fn resolved(&self, base: &Path) -> StoreSettings {
        StoreSettings {
            location: self.location.resolved(base),
            ..self.clone()
        }
    }
}

/// A store of which only the place is known.
impl From<Location> for StoreSettings {
    fn from(location: Location) -> Self {
        StoreSettings {
            location,
            ..StoreSettings::default()
        }
    }
}

/// A directory for backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDirectory(pub PathBuf);

impl SettingType for StoreDirectory {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        // A directory `s3:` beside the configuration is never what was meant.
        if let WrittenValue::Text(text) = value
            && !matches!(RemoteAddress::parse(text), Ok(None))
        {
            return Err("an address is written as `url`, not as `path`".to_owned());
        }
        PathBuf::read(value, resolve).map(StoreDirectory)
    }

    fn as_written(&self) -> Option<String> {
        self.0.as_written()
    }

    fn type_name() -> String {
        PathBuf::type_name()
    }
}

/// An address of a store on another machine.
impl SettingType for RemoteAddress {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        let text = String::read(value, resolve)?;
        RemoteAddress::parse(&text)?.ok_or_else(|| {
            "expected an address, as `s3://BUCKET/PREFIX`; a directory is written as `path`"
                .to_owned()
        })
    }

    fn as_written(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }

    fn type_name() -> String {
        "address".to_owned()
    }
}

settings! {
    /// The settings of `[store]` and `[stores.NAME]` for a store on another machine.
    #[derive(Debug, Clone, PartialEq)]
    pub struct ConnectionSettings {
        /// The URL of an S3 service that is not Amazon's, or of any other service in its place.
        pub endpoint: Option<String> = None,
        /// The region of the bucket. Not set, it is the environment's, that of the profile, or what
        /// the endpoint's name tells.
        pub region: Option<String> = None,
        /// Whether the bucket's name is in the path (`true`) or in the host's name (`false`). Not
        /// set, the endpoint's name tells.
        pub path_style: Option<bool> = None,
        /// The name of the key: an access key of S3, an account of Azure.
        pub access_key: Option<String> = None,
        /// A file with the name of the key.
        pub access_key_file: Option<PathBuf> = None,
        /// A command that prints the name of the key.
        pub access_key_command: Option<String> = None,
        /// The key itself: a secret key of S3, an account key of Azure, the JSON of a service
        /// account of Google.
        pub secret_key: Option<String> = None,
        /// A file with the key itself.
        pub secret_key_file: Option<PathBuf> = None,
        /// A command that prints the key itself.
        pub secret_key_command: Option<String> = None,
        /// A profile of AWS's own configuration files.
        pub profile: Option<String> = None,
        /// Certificates, as PEM, that are trusted beside the system's.
        pub ca_file: Option<PathBuf> = None,
        /// Allows plain HTTP to another machine. Without it plain HTTP is for this machine alone.
        pub allow_http: bool = false,
        /// The storage class of dumps, as the service calls it. Small objects have the bucket's.
        pub storage_class: Option<String> = None,
        /// The program that `sftp://` runs, with options, in place of `ssh`.
        pub ssh_command: Option<String> = None,
        /// The most bytes that are sent in a second.
        pub upload_limit: Option<Rate> = None,
        /// The most bytes that are received in a second.
        pub download_limit: Option<Rate> = None,
        /// How long a request that fails is tried again, with growing pauses.
        pub retry_for: Duration = Duration::from_secs(15 * 60),
        /// The longest time that all copies of a run to this store may take. Not set, there is no
        /// limit.
        pub deadline: Option<Duration> = None,
        /// How an upload is verified. `"head"` asks the store for size and checksum, and reads back
        /// where it tells none; `"read"` reads everything back.
        pub verify_upload: UploadVerification = UploadVerification::Head,
        /// Whether this machine removes backups there. With `"never"` it only writes, and another
        /// machine cleans up.
        pub delete: DeletePermission = DeletePermission::Allowed,
        /// How many of a source's backups go in one run there: a share, as in `"25%"`, which is at
        /// least three, or a number. `cleanup --force` removes more.
        pub max_removals: RemovalLimit = RemovalLimit::default(),
    }
}

/// How an upload is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadVerification {
    /// Size and checksum are asked for.
    Head,
    /// Everything is read back.
    Read,
}

impl WordChoice for UploadVerification {
    const ALL: &'static [(&'static str, Self)] = &[
        ("head", UploadVerification::Head),
        ("read", UploadVerification::Read),
    ];
}

/// How many of a source's backups are removed in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalLimit {
    /// So many of a hundred, and three in any case.
    Percent(u32),
    /// So many.
    Number(u32),
}

impl Default for RemovalLimit {
    fn default() -> Self {
        RemovalLimit::Percent(25)
    }
}

impl RemovalLimit {
    /// The most removals of a source that has so many backups.
    pub fn most(self, backups: usize) -> usize {
        match self {
            RemovalLimit::Percent(percent) => {
                (backups.saturating_mul(percent as usize) / 100).max(3)
            }
            RemovalLimit::Number(number) => number as usize,
        }
    }
}

impl SettingType for RemovalLimit {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        let wrong = || value.instead_of("a share such as \"25%\" or a number");
        if let WrittenValue::Text(text) = value
            && let Some(share) = text.trim().strip_suffix('%')
        {
            return match share.trim().parse() {
                Ok(percent @ 1..=100) => Ok(RemovalLimit::Percent(percent)),
                _ => Err(wrong()),
            };
        }
        u32::read(value, resolve)
            .map(RemovalLimit::Number)
            .map_err(|_| wrong())
    }

    fn as_written(&self) -> Option<String> {
        Some(match self {
            RemovalLimit::Percent(percent) => format!("\"{percent}%\""),
            RemovalLimit::Number(number) => number.to_string(),
        })
    }

    fn type_name() -> String {
        "share or number".to_owned()
    }
}

/// Whether this machine removes anything in a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeletePermission {
    /// It does what retention says.
    #[default]
    Allowed,
    /// It only writes.
    Never,
}

impl WordChoice for DeletePermission {
    const ALL: &'static [(&'static str, Self)] = &[
        ("allowed", DeletePermission::Allowed),
        ("never", DeletePermission::Never),
    ];
}

/// Bytes in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub u64);

impl SettingType for Rate {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        let text = match value {
            WrittenValue::Text(text) => text.trim(),
            _ => return Err(value.instead_of("a rate such as \"20 MiB/s\"")),
        };
        let size = text.strip_suffix("/s").unwrap_or(text).trim();
        match u64::read(&WrittenValue::Text(size), resolve)? {
            0 => Err("a rate of 0 would never end".to_owned()),
            bytes => Ok(Rate(bytes)),
        }
    }

    fn as_written(&self) -> Option<String> {
        let size = self.0.as_written()?;
        Some(format!("\"{}/s\"", size.trim_matches('"')))
    }

    fn type_name() -> String {
        "rate".to_owned()
    }
}
