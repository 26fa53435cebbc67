//! The settings of `[encryption]`: who can read backups, who signs them, and who reads them here.

use crate::setting::{WordChoice, settings};
use crate::units::Span;
use std::path::PathBuf;

settings! {
    /// The settings of `[encryption]`.
    #[derive(Debug, Clone, PartialEq)]
    pub struct EncryptionSettings {
        /// Who can read what is encrypted: public keys of age (`age1…`) or of SSH (`ssh-ed25519 …`,
        /// `ssh-rsa …`). Any one of the private keys opens a backup.
        pub recipients: Vec<String> = Vec::new(),
        /// A file of recipients, one a line; lines that begin with `#` are comments. They come on
        /// top of `recipients`.
        pub recipients_file: Option<PathBuf> = None,
        /// A file with a passphrase that encrypts and decrypts, in place of recipients. Who makes
        /// backups can then read them, too.
        pub passphrase_file: Option<PathBuf> = None,
        /// A command that prints that passphrase.
        pub passphrase_command: Option<String> = None,
        /// The stores whose backups are encrypted, by their names; that of `[store]` is called
        /// `main`. Not set, they are all. What a store says as `encrypt` goes before it.
        pub stores: Option<Vec<String>> = None,
        /// What an encrypted backup's sidecar tells without a key. `"sealed"`: names of source and
        /// label, times, sizes and totals. `"open"`: everything that a plain one tells.
        pub metadata: MetadataDisclosure = MetadataDisclosure::Sealed,
        /// Encrypts to a key of this machine, too, so that it can make deltas: without that it
        /// can't read what a delta is built on, and every backup is a full. Who takes over the
        /// machine can then read the backups that it made. The first run makes the key, in
        /// `/var/lib/dbbackup` for root and in `~/.local/state/dbbackup` for others.
        pub host_key: bool = false,
        /// A file with private keys, for commands that read backups: an identity file of age, which
        /// may itself be encrypted with a passphrase, or a private key of SSH. `--identity` and
        /// `$DBBACKUP_IDENTITY_FILE` go before it. The machine that makes backups needs none.
        pub identity_file: Option<PathBuf> = None,
        /// A command that prints private keys as such a file has them.
        pub identity_command: Option<String> = None,
        /// A file with the secret key of minisign that signs every sidecar and event.
        pub sign_key_file: Option<PathBuf> = None,
        /// A command that prints such a key.
        pub sign_key_command: Option<String> = None,
        /// For `dbbackup status`: how long ago the last `dbbackup key prove` of each source may be.
        /// Not set, none is asked for.
        pub prove_key_every: Option<Span> = None,
    }
}

impl EncryptionSettings {
    /// Whether anybody or anything to encrypt to is named.
    pub fn names_recipients(&self) -> bool {
        !self.recipients.is_empty() || self.recipients_file.is_some() || self.has_passphrase()
    }

    /// Whether a passphrase stands in place of recipients.
    pub fn has_passphrase(&self) -> bool {
        self.passphrase_file.is_some() || self.passphrase_command.is_some()
    }
}

/// What the sidecar of an encrypted backup tells without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataDisclosure {
    /// What runs and retention need.
    Sealed,
    /// Everything.
    Open,
}

impl WordChoice for MetadataDisclosure {
    const ALL: &'static [(&'static str, Self)] = &[
        ("sealed", MetadataDisclosure::Sealed),
        ("open", MetadataDisclosure::Open),
    ];
}
