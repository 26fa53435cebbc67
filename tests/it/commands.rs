//! What users script against: names, flags, outputs and exit codes, one promise of the contract a
//! test.

mod absence;
mod backup;
mod cat;
mod cleanup;
mod config;
mod find;
mod help;
mod list;
mod locks;
mod output;
mod remove;
mod restore;
mod stats;
mod status;
mod store;
mod stores;
