//! Encryption by age: to whom backups are encrypted, with what they are read again, and the two
//! streams between content and stored bytes.
//!
//! The machine that makes backups needs public keys alone, [`Recipients`]. Private keys,
//! [`Identities`], are only where backups are read. Both come from the settings that this room
//! owns; how a passphrase is asked for is the caller's, as this room knows no terminal.

mod host_identity;
mod identities;
mod new_identity;
mod program;
mod recipients;
mod settings;
mod stream;

pub use host_identity::HostIdentity;
pub use identities::{AskPassphrase, Identities, IdentitySource};
pub use new_identity::NewIdentity;
pub use recipients::Recipients;
pub use settings::{EncryptionSettings, MetadataDisclosure};
pub use stream::{DecryptionKey, Sealer, Unsealer};

/// The name of the encryption in sidecars, and the extension of what is encrypted.
pub const AGE: &str = "age";

/// What stands for recipients where a passphrase encrypts.
const PASSPHRASE: &str = "passphrase";

/// What every file of age begins with.
pub const FIRST_LINE: &[u8] = b"age-encryption.org/v1\n";
