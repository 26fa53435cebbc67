//! The operations: what the program does, without how it is asked for it or how it tells.
//!
//! A typed request goes in, a plain result comes out, and an [`Observer`] hears of what happens
//! meanwhile. Nothing here knows the command line, prints, or ends the program. What two commands
//! need lives here.

pub mod content;
pub mod engines;
pub mod events;
pub mod examine;
pub mod find;
mod observer;
mod session;

pub use observer::{Event, Observer};
pub use session::{Session, catalog_for, catalog_of, is_missed, names_in, time_of};
