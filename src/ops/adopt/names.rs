//! What the name of another tool's dump tells: of which database it is, when it was made, and how
//! it is packed. No rule of time ever reads the name again: it goes into the sidecar.
//!
//! | tool | name |
//! |---|---|
//! | pg_back | `shop_2026-11-20T02:30:00+01:00.dump`, or `shop_2026-11-20_02-30-00.dump` |
//! | autopostgresqlbackup | `daily/shop/shop_2026-11-20_02h30m.Friday.sql.gz` |
//! | gobackup | `2026.11.20.02.30.00.tar.gz` |
//! | a script of cron | `shop-20261120.sql.gz`, `shop_20261120-023000.dump`, `shop.sqlite` |

use crate::pipeline::Codec;
use crate::plan::plain_name;
use chrono::{DateTime, FixedOffset, Local, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};

/// What a name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignName {
    /// That it is a dump which may be read.
    Dump {
        /// The database; empty where only a time stands there.
        subject: String,
        /// How it is packed.
        codec: Codec,
        /// When it was made.
        time: Option<NameTime>,
    },
    /// That it is a dump, and why it can't be read.
    Unreadable(&'static str),
    /// That it is something beside a dump.
    Other,
}

/// A time in a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameTime {
    date: NaiveDate,
    time: Option<NaiveTime>,
    offset: Option<FixedOffset>,
}

impl NameTime {
    /// The moment. Where the name has no time of the day, the file's own counts if it is of that
    /// day, else midnight; where it has no zone, it is this machine's.
    pub fn moment(&self, written: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let written = written.with_timezone(&Local).naive_local();
        let of_file = (written.date() == self.date).then(|| written.time());
        let time = self.time.or(of_file).unwrap_or(NaiveTime::MIN);
        let naive = self.date.and_time(time);
        match self.offset {
            Some(offset) => moment_in(naive, offset),
            None => moment_in(naive, Local),
        }
    }

    /// Whether the time of the day is there, too.
    pub fn has_time(&self) -> bool {
        self.time.is_some()
    }
}

fn moment_in<Z: TimeZone>(naive: NaiveDateTime, zone: Z) -> Option<DateTime<Utc>> {
    let found = zone.from_local_datetime(&naive).earliest()?;
    Some(found.with_timezone(&Utc))
}

/// Reads a file's name.
pub fn read_name(name: &str) -> ForeignName {
    let lower = name.to_ascii_lowercase();
    let (inner, codec) = if let Some(inner) = lower.strip_suffix(".tgz") {
        (
            format!("{inner}.tar"),
            Codec::from_extension("gz").unwrap_or(Codec::None),
        )
    } else {
        match split_extension(&lower) {
            (inner, "zstd") => (
                inner.to_owned(),
                Codec::from_extension("zst").unwrap_or(Codec::None),
            ),
            (inner, extension) => match Codec::from_extension(extension) {
                Some(codec) => (inner.to_owned(), codec),
                None => (lower.clone(), Codec::None),
            },
        }
    };
    if let Some(why) = unreadable(&lower) {
        return ForeignName::Unreadable(why);
    }
    let (stem, extension) = split_extension(&inner);
    if !DUMPS.contains(&extension) {
        return ForeignName::Other;
    }
    let stem = &name[..stem.len()];
    let found = find_time(stem);
    let subject = match &found {
        None => stem,
        Some((start, end, _)) => match trimmed(&stem[..*start]) {
            "" => trimmed(&stem[*end..]),
            before => before,
        },
    };
    ForeignName::Dump {
        subject: without_week(subject).to_owned(),
        codec,
        time: found.map(|(_, _, time)| time),
    }
}

/// The source's name for a subject.
pub fn source_name(subject: &str) -> String {
    plain_name(subject)
}

/// The extensions of dumps that may be read; the content says which kind it is.
const DUMPS: &[&str] = &[
    "sql", "dump", "pgdump", "dmp", "bak", "backup", "sqlite", "sqlite3", "db", "tar",
];

/// Why a dump with such a name can't be read; `None` where it may be, or is none.
fn unreadable(lower: &str) -> Option<&'static str> {
    let (inner, extension) = split_extension(lower);
    let inner = split_extension(inner).1;
    let is_dump = DUMPS.contains(&inner);
    let is_packed = ["gz", "tgz", "zst", "bz2", "xz"].contains(&inner);
    match extension {
        "bz2" if is_dump => Some("it is packed with bzip2, which dbbackup does not read"),
        "tbz" | "tbz2" => Some("it is packed with bzip2, which dbbackup does not read"),
        "xz" if is_dump => Some("it is packed with xz, which dbbackup does not read"),
        "txz" => Some("it is packed with xz, which dbbackup does not read"),
        "lz4" | "zip" | "7z" | "z" | "lzma" if is_dump => {
            Some("it is packed in a way that dbbackup does not read")
        }
        "age" | "gpg" | "pgp" | "enc" | "asc" if is_dump || is_packed => Some("it is encrypted"),
        _ => None,
    }
}

fn split_extension(name: &str) -> (&str, &str) {
    match name.rsplit_once('.') {
        Some((before, extension)) if !before.is_empty() => (before, extension),
        _ => (name, ""),
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| "_-. +@".contains(c))
}

/// autopostgresqlbackup's weekly dumps have the week's number before the date.
fn without_week(subject: &str) -> &str {
    let (before, number) = match subject.rsplit_once('.') {
        Some((before, number)) => (before, number),
        None => return subject,
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match before.strip_suffix("week") {
        Some(rest) if is_number => trimmed(rest),
        _ => subject,
    }
}

/// The last time in a text, with where it begins and ends.
fn find_time(text: &str) -> Option<(usize, usize, NameTime)> {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let starts = (0..bytes.len()).filter(|at| is_digit(*at) && (*at == 0 || !is_digit(at - 1)));
    let mut found = starts.filter_map(|start| {
        let mut reader = TimeReader { bytes, at: start };
        let time = reader.read()?;
        Some((start, reader.at, time))
    });
    found.next_back()
}

/// Reads a time from a place on.
struct TimeReader<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl TimeReader<'_> {
    fn read(&mut self) -> Option<NameTime> {
        let year = self.number(4)?;
        let separator = self.one_of(b"-_.");
        let month = self.number(2)?;
        if self.one_of(b"-_.") != separator {
            return None;
        }
        let day = self.number(2)?;
        let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
        if !(1990..2200).contains(&year) {
            return None;
        }
        let after_date = self.at;
        let time = self.time_of_day();
        if time.is_none() {
            self.at = after_date;
            // The digits must end there: it is another number else.
            if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                return None;
            }
        }
        let offset = time.and_then(|_| self.offset());
        Some(NameTime { date, time, offset })
    }

    fn time_of_day(&mut self) -> Option<NaiveTime> {
        self.one_of(b"Tt_-. ");
        let hour = self.number(2)?;
        let separator = self.one_of(b":-_.hH");
        let minute = self.number(2)?;
        let after_minute = self.at;
        let seconds = match separator {
            Some(b'h' | b'H') => {
                self.one_of(b"mM");
                return self.end_of_time(hour, minute, 0);
            }
            Some(separator) => self.one_of(&[separator]).and_then(|_| self.number(2)),
            None => self.number(2),
        };
        match seconds.filter(|seconds| *seconds < 60) {
            Some(seconds) => self.end_of_time(hour, minute, seconds),
            None => {
                self.at = after_minute;
                self.end_of_time(hour, minute, 0)
            }
        }
    }

    fn end_of_time(&self, hour: u32, minute: u32, second: u32) -> Option<NaiveTime> {
        let goes_on = self.peek().is_some_and(|byte| byte.is_ascii_digit());
        NaiveTime::from_hms_opt(hour, minute, second).filter(|_| !goes_on)
    }

    /// `Z`, or hours and minutes with a colon: `-02-30` belongs to something else.
    fn offset(&mut self) -> Option<FixedOffset> {
        let start = self.at;
        if self.one_of(b"Zz").is_some() {
            return FixedOffset::east_opt(0);
        }
        let found = self.signed_offset();
        if found.is_none() {
            self.at = start;
        }
        found
    }

    fn signed_offset(&mut self) -> Option<FixedOffset> {
        let sign = if self.one_of(b"+-")? == b'+' { 1 } else { -1 };
        let hours = self.number(2)?;
        self.one_of(b":")?;
        let minutes = self.number(2)?;
        FixedOffset::east_opt(sign * i32::try_from(hours * 3600 + minutes * 60).ok()?)
    }

    fn number(&mut self, digits: usize) -> Option<u32> {
        let text = self.bytes.get(self.at..self.at + digits)?;
        if !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.at += digits;
        std::str::from_utf8(text).ok()?.parse().ok()
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn one_of(&mut self, choices: &[u8]) -> Option<u8> {
        let found = self.peek().filter(|byte| choices.contains(byte))?;
        self.at += 1;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str) -> String {
        match read_name(name) {
            ForeignName::Dump {
                subject,
                codec,
                time,
            } => {
                let time = time.map_or("-".to_owned(), |time| {
                    let clock = time.time.map_or("-".to_owned(), |time| time.to_string());
                    let zone = time
                        .offset
                        .map_or(String::new(), |offset| offset.to_string());
                    format!("{} {clock}{zone}", time.date)
                });
                format!("{subject}|{}|{time}", codec.name())
            }
            ForeignName::Unreadable(why) => format!("unreadable: {why}"),
            ForeignName::Other => "other".to_owned(),
        }
    }

    #[test]
    fn names_of_other_tools_are_read() {
        for (name, expected) in [
            // pg_back
            (
                "shop_2026-11-20T02:30:00+01:00.dump",
                "shop|none|2026-11-20 02:30:00+01:00",
            ),
            (
                "shop_2026-11-20T02:30:00Z.sql",
                "shop|none|2026-11-20 02:30:00+00:00",
            ),
            (
                "my_shop_2026-11-20_02-30-05.dump",
                "my_shop|none|2026-11-20 02:30:05",
            ),
            (
                "pg_globals_2026-11-20T02:30:00-05:00.sql.gz",
                "pg_globals|gzip|2026-11-20 02:30:00-05:00",
            ),
            ("shop_2026-11-20T02:30:00+01:00.dump.sha256", "other"),
            ("hba_file_2026-11-20T02:30:00+01:00.out", "other"),
            (
                "shop_2026-11-20T02:30:00+01:00.dump.age",
                "unreadable: it is encrypted",
            ),
            // autopostgresqlbackup
            (
                "shop_2026-11-20_02h30m.Friday.sql.gz",
                "shop|gzip|2026-11-20 02:30:00",
            ),
            (
                "shop_week.47_2026-11-20_02h30m.sql.gz",
                "shop|gzip|2026-11-20 02:30:00",
            ),
            (
                "shop_2026-11-01_02h30m.November.sql.zst",
                "shop|zstd|2026-11-01 02:30:00",
            ),
            // gobackup
            ("2026.11.20.02.30.00.tar.gz", "|gzip|2026-11-20 02:30:00"),
            (
                "2026.11.20.02.30.00.tar.xz",
                "unreadable: it is packed with xz, which dbbackup does not read",
            ),
            // Scripts of cron.
            ("shop-20261120.sql.gz", "shop|gzip|2026-11-20 -"),
            ("shop_20261120_0230.dump", "shop|none|2026-11-20 02:30:00"),
            ("shop-20261120023005.sql", "shop|none|2026-11-20 02:30:05"),
            ("20261120-shop.sqlite.gz", "shop|gzip|2026-11-20 -"),
            (
                "Shop.20261120T023005Z.sqlite3",
                "Shop|none|2026-11-20 02:30:05+00:00",
            ),
            ("shop.db", "shop|none|-"),
            ("uploads-2026_11_20.tgz", "uploads|gzip|2026-11-20 -"),
            ("shop20.sql", "shop20|none|-"),
            ("shop-20261399.sql", "shop-20261399|none|-"),
            (
                "shop_2020-01-01_copy_2026-11-20.sql",
                "shop_2020-01-01_copy|none|2026-11-20 -",
            ),
            (
                "shop.sql.bz2",
                "unreadable: it is packed with bzip2, which dbbackup does not read",
            ),
            ("readme.txt", "other"),
            ("shop.sql.md5", "other"),
            (".sql", "other"),
        ] {
            assert_eq!(told(name), expected, "{name}");
        }
    }

    #[test]
    fn a_day_alone_gets_the_files_time_if_that_is_of_it() {
        let ForeignName::Dump {
            time: Some(time), ..
        } = read_name("a-20261120.sql")
        else {
            panic!("no time");
        };
        let local = |text: &str| {
            let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
            moment_in(naive, Local).unwrap()
        };
        assert_eq!(
            time.moment(local("2026-11-20 02:31")),
            Some(local("2026-11-20 02:31"))
        );
        assert_eq!(
            time.moment(local("2026-11-27 09:00")),
            Some(local("2026-11-20 00:00"))
        );
    }
}
