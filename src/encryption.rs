//! Encryption by age: who can read a backup, and who reads it here.

mod settings;

pub use settings::{EncryptionSettings, MetadataDisclosure};
