//! Encryption by age: who can read a backup, and who reads it here.

mod new_identity;
mod settings;

pub use new_identity::NewIdentity;
pub use settings::{EncryptionSettings, MetadataDisclosure};
