//! PostgreSQL. `pg_dump` makes the dump, because it is the trusted way and other tools read its
//! output; everything around it is done here.
//!
//! A backup: [`conninfo`] resolves an address, [`connect`] connects under the rules of [`tls`], and
//! [`programs`] finds the server's own programs. [`source`] holds one snapshot for the dump, of the
//! tables that [`tables`] lists and locks. [`counting`] counts the dump's rows while it is written
//! ([`archive`], [`scan`]), and [`facts`] reads what the dump leaves out.
//!
//! A verification: [`content`] reads a dump without a server; [`scan`] counts its rows and [`rows`]
//! decodes them (`shapes` and [`array`] give their meaning). [`drill`] restores a dump into a
//! throw-away [`server`].
//!
//! A restore: [`destination`] fills a new database that then takes the old one's name, and
//! [`in_place`] fills the old one. Both use [`fill`] and the filters of `script`. [`roles`]
//! restores roles and tablespaces. [`names`] and [`toc`] read and write identifiers and tables of
//! contents.

pub mod archive;
pub mod array;
pub mod connect;
pub mod conninfo;
pub mod content;
pub mod counting;
pub mod destination;
pub mod discover;
pub mod drill;
pub mod facts;
pub mod fill;
pub mod in_place;
pub mod leftovers;
mod locale;
mod lock_watcher;
pub mod names;
mod obstacles;
pub mod prerequisite;
pub mod programs;
pub mod restore_list;
pub mod roles;
pub mod rows;
pub mod scan;
mod script;
pub mod sections;
pub mod server;
mod shapes;
pub mod source;
mod swap;
pub mod tables;
pub mod tls;
pub mod toc;

use crate::error::{Error, Hint};
use postgres::error::SqlState;

pub use super::PgFormat;
pub use conninfo::ConnectionSpec;
pub use conninfo::dsn::is_url;
pub use programs::ProgramSearch;
pub use source::PostgresSource;

/// The remedy where row-level security would hide rows from the role.
pub(crate) const ROW_SECURITY_HINT: &str =
    "the role must see every row: make it BYPASSRLS, or the owner of the tables";

/// The remedy where the role may not read all that is to be saved.
pub(crate) fn reading_hint() -> Hint {
    Hint::new()
        .text("the role needs to read everything: GRANT pg_read_all_data TO it (")
        .command(["help", "postgresql"])
        .text(")")
}

/// Turns the server's error into one with a remedy. `doing` comes before the server's message.
pub(crate) fn explain_error(error: &postgres::Error, doing: impl std::fmt::Display) -> Error {
    let Some(db_error) = error.as_db_error() else {
        let gone = error.is_closed()
            || std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>());
        let text = std::error::Error::source(error)
            .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        let error = Error::failed(format!("{doing}: {text}"));
        return if gone {
            error.with_hint("the server has ended the connection: look into its log")
        } else {
            error
        };
    };
    let detail = db_error
        .detail()
        .map_or(String::new(), |detail| format!(" ({detail})"));
    let error = Error::failed(format!("{doing}: {}{detail}", db_error.message()));
    let code = db_error.code();
    if db_error.message().contains("row-level security") {
        return error.with_hint(ROW_SECURITY_HINT);
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return error.with_hint(reading_hint());
    }
    if *code == SqlState::T_R_SERIALIZATION_FAILURE
        || db_error.message().contains("conflict with recovery")
    {
        return error.with_hint(
            "the standby had to choose between replay and this query: set \
                           hot_standby_feedback = on, or a longer max_standby_streaming_delay \
                           there",
        );
    }
    if [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
    ]
    .contains(code)
    {
        return error.with_hint("the server is going down or starting: try again when it is up");
    }
    match db_error.hint() {
        Some(hint) => error.with_hint(hint.replace('\n', " ")),
        None => error,
    }
}
