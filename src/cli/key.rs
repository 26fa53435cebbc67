//! `dbbackup key` as it is typed.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Make keys, and write down what a restore needs
#[derive(Debug, Args)]
#[command(
    disable_help_subcommand = true,
    long_about = "Make the keys that encrypt and sign backups, show that they open them, and print \
                  the page that belongs into a safe.\n\n\
        More: `dbbackup help keys`.",
    after_help = help!(
        "dbbackup key init /root/backup-keys",
        "dbbackup key init --identity /root/backup.key --sign-key /etc/dbbackup/sign.key",
        "dbbackup key prove --identity /media/safe/backup.key",
        "dbbackup key sheet | lpr",
        "dbbackup key sheet --with-secret | lpr",
    )
)]
pub struct KeyArguments {
    /// What is to be done.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What `dbbackup key` does.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    Init(KeyInitArguments),
    Prove(KeyProveArguments),
    Sheet(KeySheetArguments),
}

/// Make an identity that reads backups, and a key that signs them
#[derive(Debug, Args)]
#[command(
    long_about = "Make an identity of age, which reads what is encrypted to it, and a key of \
                  minisign, which signs backups; in a directory, or each in a file: --identity and \
                  --sign-key. No file is ever replaced. What they print belongs into the \
                  configuration.",
    after_help = help!(
    "dbbackup key init /root/backup-keys",
    "dbbackup key init --identity /root/backup.key --sign-key /etc/dbbackup/sign.key",
    ),
)]
pub struct KeyInitArguments {
    /// The directory for both: `backup.key`, `sign.key`, and `sign.pub`; made where it is missing
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The file for the secret key of minisign; its public key gets the name with `.pub`
    #[arg(long, value_name = "FILE")]
    pub sign_key: Option<PathBuf>,
}

/// Show that a private key opens the newest encrypted backup of each source
#[derive(Debug, Args)]
#[command(
    long_about = "Open the newest encrypted backup of each source with the private key that is \
                  given, and note that beside it. Until a key was proven, cleanup keeps the newest \
                  backup that needs none; `prove_key_every` in [encryption] makes `status` ask for \
                  it again.",
    after_help = help!(
        "dbbackup key prove --identity /media/safe/backup.key",
        "dbbackup key prove offsite --identity /media/safe/backup.key",
    )
)]
pub struct KeyProveArguments {
    /// A store of the configuration, an address, or a directory [default: the one in use]
    #[arg(value_name = "STORE")]
    pub store: Option<String>,
}

/// Print a page to keep in a safe: stores, keys, and how to restore without dbbackup
#[derive(Debug, Args)]
#[command(after_help = help!(
    "dbbackup key sheet",
    "dbbackup key sheet --with-secret | lpr",
))]
pub struct KeySheetArguments {
    /// Print the identity itself, too: who has the page can read every backup
    #[arg(long)]
    pub with_secret: bool,
}
