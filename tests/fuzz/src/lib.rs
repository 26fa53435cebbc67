//! The laws that hold for whatever bytes a reader is given, one for each fuzz target.
//!
//! The targets beside this file only call them. `tests/laws.rs` of the crate runs the same laws on
//! the inputs in `seeds` and on random changes of them, so that they are compiled and hold wherever
//! the tests run, without a nightly compiler.

#[path = "laws/archive.rs"]
mod archive;
#[path = "laws/compressed.rs"]
mod compressed;
#[path = "laws/delta.rs"]
mod delta;
#[path = "laws/postgres.rs"]
mod postgres;
#[path = "laws/text.rs"]
mod text;

use std::io::{self, Read};

/// A law, by its target's name.
pub struct Law {
    /// The target, and the directory of its seeds.
    pub name: &'static str,
    /// Panics where the law does not hold.
    pub check: fn(&[u8]),
}

/// Every law.
pub const LAWS: &[Law] = &[
    law("tar", archive::tar),
    law("pax", archive::pax),
    law("tar_member", archive::tar_member),
    law("contents", archive::contents),
    law("gzip", compressed::gzip),
    law("zstd", compressed::zstd),
    law("packed", compressed::packed),
    law("delta", delta::hostile),
    law("delta_round_trip", delta::round_trip),
    law("scan", postgres::scan_script),
    law("custom_archive", postgres::custom_archive),
    law("toc", postgres::table_of_contents),
    law("dsn", postgres::connection_string),
    law("pgpass", postgres::password_file),
    law("sidecar", text::sidecar),
    law("event", text::event),
    law("units", text::units),
];

const fn law(name: &'static str, check: fn(&[u8])) -> Law {
    Law { name, check }
}

/// Checks one law; for the targets.
pub fn check(name: &str, data: &[u8]) {
    let law = LAWS.iter().find(|law| law.name == name);
    (law.unwrap_or_else(|| panic!("no law is called {name}"))
        .check)(data);
}

/// Gives bytes in pieces of these lengths, over and over: what is read must not depend on them.
struct Pieces {
    rest: io::Cursor<Vec<u8>>,
    lengths: &'static [usize],
    turn: usize,
}

impl Pieces {
    fn of(bytes: &[u8]) -> Pieces {
        Pieces {
            rest: io::Cursor::new(bytes.to_vec()),
            lengths: &[1, 7, 2, 511, 1, 4096, 3],
            turn: 0,
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        let length = self.lengths[self.turn % self.lengths.len()].min(buffer.len());
        self.rest.read(&mut buffer[..length])
    }
}

/// Takes values off the front of a target's bytes.
struct Dice<'a>(&'a [u8]);

impl<'a> Dice<'a> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            None => 0,
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
        }
    }

    fn number(&mut self) -> u64 {
        let width = self.byte() % 9;
        (0..width).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// Up to `most` bytes.
    fn bytes(&mut self, most: u8) -> &'a [u8] {
        let length = usize::from(self.byte() % (most + 1)).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    /// Text of up to `most` bytes; what is no UTF-8 is replaced.
    fn text(&mut self, most: u8) -> String {
        String::from_utf8_lossy(self.bytes(most)).into_owned()
    }
}
