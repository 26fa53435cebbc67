//! PostgreSQL: `pg_dump` makes the dump, because it is the trusted way and other people's tools
//! read it; everything around it is done here.
//!
//! What happens where: [`conninfo`] resolves where a database is and [`connect`] connects to it, by
//! the rules of [`tls`]; [`programs`] finds the server's own tools. [`source`] holds one snapshot
//! for the dump, of what [`tables`] lists and locks; [`counting`] counts its rows as it goes by
//! ([`archive`], [`scan`]); [`facts`] says what the dump leaves out; [`globals`] saves roles and
//! tablespaces. [`content`] reads an archive without a server, with [`scan`] counting its rows, and
//! [`rows`] taking them out (`shapes`, [`array`]: what they mean); [`drill`] restores one into a
//! throw-away [`server`], and [`destination`] into a new database, which then takes the old one's
//! name, or into the old one by [`in_place`]; both fill it as [`fill`] does, by scripts as `script`
//! makes them. [`names`] and [`toc`] read and write identifiers and tables of contents.

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
pub mod names;
mod obstacles;
pub mod parts;
pub mod programs;
pub mod roles;
pub mod rows;
pub mod scan;
mod script;
pub mod server;
mod shapes;
pub mod source;
mod swap;
pub mod tables;
pub mod tls;
pub mod toc;
mod watch;

use crate::error::Error;
use postgres::error::SqlState;

pub use super::PgFormat as Format;
pub use conninfo::Spec;
pub use conninfo::dsn::is_url;
pub use programs::Search;
pub use source::PostgresSource;

/// What a role needs where a table's policies would hide rows from it.
pub(crate) const ALL_ROWS: &str =
    "the role must see every row: make it BYPASSRLS, or the owner of the tables";

/// The server's error in words that say what to do; `doing` comes before it.
pub(crate) fn explain(error: &postgres::Error, doing: impl std::fmt::Display) -> Error {
    let Some(said) = error.as_db_error() else {
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
    let detail = said
        .detail()
        .map_or(String::new(), |detail| format!(" ({detail})"));
    let error = Error::failed(format!("{doing}: {}{detail}", said.message()));
    let code = said.code();
    if said.message().contains("row-level security") {
        return error.with_hint(ALL_ROWS);
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return error.with_hint(
            "the role needs to read everything: GRANT pg_read_all_data TO it (`dbbackup help \
             postgresql`)",
        );
    }
    if *code == SqlState::T_R_SERIALIZATION_FAILURE
        || said.message().contains("conflict with recovery")
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
    match said.hint() {
        Some(hint) => error.with_hint(hint.replace('\n', " ")),
        None => error,
    }
}
