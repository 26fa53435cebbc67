//! The operations: what the program does, without how it is asked for it or how it tells.
//!
//! A typed request goes in, a plain result comes out, and an [`Observer`] hears of what happens
//! meanwhile. Nothing here knows the command line, prints, or ends the program. What two commands
//! need lives here.

pub mod adopt;
pub mod backup;
pub mod chain;
pub mod condition;
pub mod content;
pub mod copy;
mod copy_proof;
pub mod delete;
pub mod discovery;
pub mod doctor;
mod encrypting;
pub mod engines;
pub mod events;
pub mod examine;
pub mod export;
pub mod find;
pub mod guard;
pub mod hooks;
mod host_key;
pub mod key_files;
pub mod key_proof;
mod keys;
pub mod notify;
mod observer;
pub mod overview;
pub mod pin;
pub mod programs;
pub mod prune;
pub mod rescue;
pub mod restore;
pub mod run;
pub mod schedule;
mod seal;
pub mod secrets;
mod session;
pub mod status;
pub mod stores;
pub mod sweep;
#[cfg(test)]
mod tests;
pub mod verify;
mod way;

pub use keys::{BackupEncryption, KeyRing, refuse_plain};
pub use observer::{Event, Observer};
pub use session::{Session, catalog_for, catalog_of, is_missed, names_in, time_of};
