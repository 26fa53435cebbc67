//! Times, durations and sizes as people write and read them. Pure: `now` is always passed in.

use chrono::{
    DateTime, Datelike, Days, Local, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta,
    TimeZone, Utc,
};
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

/// A length of calendar time: months and years as the calendar has them, the rest exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Calendar months; a year is twelve.
    pub months: u32,
    /// Calendar days in UTC; a week is seven.
    pub days: u32,
    /// Seconds on top of those.
    pub seconds: u64,
}

impl Span {
    /// Reads `48h`, `7d`, `2w`, `6mo`, `1y`, `90s`, `15m`, or several together (`1y6mo`).
    pub fn parse(text: &str) -> Result<Span, String> {
        let bad = || {
            format!(
                "`{text}` is not a duration: write a number and s, m, h, d, w, mo or y, as in \
                 `48h` or `30d`"
            )
        };
        let mut span = Span::default();
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let number: u32 = rest[..digits].parse().map_err(|_| bad())?;
            let tail = rest[digits..].trim_start();
            let letters = tail
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(tail.len());
            let seconds = |unit: u64| u64::from(number) * unit;
            match &tail[..letters] {
                "y" => {
                    span.months = span
                        .months
                        .saturating_add(number.checked_mul(12).ok_or_else(bad)?)
                }
                "mo" => span.months = span.months.saturating_add(number),
                "w" => {
                    span.days = span
                        .days
                        .saturating_add(number.checked_mul(7).ok_or_else(bad)?)
                }
                "d" => span.days = span.days.saturating_add(number),
                "h" => span.seconds += seconds(3600),
                "m" | "min" => span.seconds += seconds(60),
                "s" => span.seconds += seconds(1),
                _ => return Err(bad()),
            }
            rest = tail[letters..].trim_start();
        }
        Ok(span)
    }

    /// The moment this long before `at`; the calendar's earliest moment where there is none.
    pub fn before(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        let seconds = i64::try_from(self.seconds)
            .ok()
            .and_then(TimeDelta::try_seconds);
        at.checked_sub_months(Months::new(self.months))
            .and_then(|at| at.checked_sub_days(Days::new(u64::from(self.days))))
            .and_then(|at| at.checked_sub_signed(seconds?))
            .unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    /// As an exact duration, a month counted as 30 days and a year as 365: for waiting, not for
    /// calendars.
    pub fn duration(&self) -> std::time::Duration {
        let years = u64::from(self.months / 12) * 365;
        let days = years + u64::from(self.months % 12) * 30 + u64::from(self.days);
        std::time::Duration::from_secs(days * 86400 + self.seconds)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (u64::from(self.months / 12), "y"),
            (u64::from(self.months % 12), "mo"),
            (u64::from(self.days), "d"),
            (self.seconds / 3600, "h"),
            (self.seconds / 60 % 60, "m"),
            (self.seconds % 60, "s"),
        ];
        if parts.iter().all(|(number, _)| *number == 0) {
            return f.write_str("0s");
        }
        parts
            .iter()
            .filter(|(number, _)| *number > 0)
            .try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

/// Reads a size in bytes: `4096`, `20 GiB`, `1.5GB`, `500M`. KiB, MiB, GiB, TiB (and K, M, G, T)
/// are powers of 1024; KB, MB, GB, TB are powers of 1000.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bad =
        || format!("`{text}` is not a size: write a number and a unit, as in `20 GiB` or `500 MB`");
    let text_trimmed = text.trim();
    let split = text_trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text_trimmed.len());
    let number: f64 = text_trimmed[..split].parse().map_err(|_| bad())?;
    let factor: f64 = match text_trimmed[split..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return Err(bad()),
    };
    let bytes = number * factor;
    if bytes.is_finite() && bytes < 9e18 {
        Ok(bytes.round() as u64)
    } else {
        Err(bad())
    }
}

/// Splits a command line into words, as a shell does where nothing is expanded: at blanks, which
/// quotes and backslashes keep.
pub fn split_words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == character => quote = None,
            (None | Some('"'), '\\') => match characters.next() {
                Some(next) => {
                    let word = word.get_or_insert_default();
                    // Between quotes it is a backslash before anything that needs none.
                    if quote.is_some() && !matches!(next, '"' | '\\' | '$' | '`') {
                        word.push('\\');
                    }
                    word.push(next);
                }
                None => return Err(format!("`{text}` ends with a backslash")),
            },
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("`{text}` lacks a closing {quote}"));
    }
    words.extend(word);
    Ok(words)
}

/// `1.2 GiB`, `512 B`: three figures at most.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 999.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else if value < 99.95 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// Whether a character does something to a terminal other than to appear: a control character, one
/// that turns the direction of what follows, one that cannot be seen.
pub fn drives_terminals(character: char) -> bool {
    let hidden = matches!(character,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e007f}');
    character.is_control() || hidden
}

/// The text on one line, with whatever drives a terminal written out: names, messages and queries
/// may be a stranger's.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) || !text.contains(drives_terminals) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\t' => out.push(' '),
            _ if drives_terminals(character) => out.extend(character.escape_default()),
            _ => out.push(character),
        }
    }
    out.into()
}

/// The word as a POSIX shell takes it: quoted where it has to be.
pub fn shell_word(word: &str) -> String {
    // `…` stands for what the reader fills in, and means nothing to a shell.
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:=@%…".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The first of `name`, `name-2`, `name-3`… that is free.
pub fn free_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let mut free = name.to_owned();
    let mut number = 2;
    while is_taken(&free) {
        free = format!("{name}-{number}");
        number += 1;
    }
    free
}

/// The first of `path`, `path-2`, `path-3`… that is free.
pub fn free_path(path: &Path, is_taken: impl Fn(&Path) -> bool) -> PathBuf {
    let mut free = path.to_path_buf();
    let mut number = 2;
    while is_taken(&free) {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("-{number}"));
        free = name.into();
        number += 1;
    }
    free
}

/// The sum, or the largest number there is: what others wrote may be any.
pub fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// `1 table`, `2 tables`.
pub fn count(number: u64, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{} {one}s", thousands(number))
    }
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Whether a pattern is the whole of a text: `*` stands for any text, `?` for any one byte.
pub fn wildcard(pattern: &str, text: &str) -> bool {
    fn matches(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some(b'*'), _) => {
                matches(&pattern[1..], text) || !text.is_empty() && matches(pattern, &text[1..])
            }
            (Some(b'?'), Some(_)) => matches(&pattern[1..], &text[1..]),
            (Some(a), Some(b)) if a == b => matches(&pattern[1..], &text[1..]),
            _ => false,
        }
    }
    matches(pattern.as_bytes(), text.as_bytes())
}

/// A running time: `0.4 s`, `41 s`, `3 min 5 s`, `2 h 10 min`.
pub fn elapsed(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    if seconds < 9.95 {
        format!("{seconds:.1} s")
    } else if whole < 60 {
        format!("{whole} s")
    } else if whole < 3600 {
        format!("{} min {} s", whole / 60, whole % 60)
    } else {
        format!("{} h {} min", whole / 3600, whole / 60 % 60)
    }
}

/// How long ago, in the largest unit that says enough: `just now`, `5 min ago`, `3 h ago`, `2 d
/// ago`; `in 5 min` for the future.
pub fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - at).num_seconds();
    let text = match seconds.unsigned_abs() {
        0..60 => {
            return if seconds < 0 {
                "in a moment".into()
            } else {
                "just now".into()
            };
        }
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..172_800 => format!("{} h", s / 3600),
        s @ 172_800..5_184_000 => format!("{} d", s / 86_400),
        s @ 5_184_000..63_072_000 => format!("{} mo", s / 2_592_000),
        s => format!("{} y", s / 31_536_000),
    };
    if seconds < 0 {
        format!("in {text}")
    } else {
        format!("{text} ago")
    }
}

/// `2026-11-20 02:00:41 UTC`.
pub fn stamp(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Reads a moment: a duration before now (`2h`, `7d`), an RFC 3339 time, or a local date with or
/// without a time (`2026-11-20`, `2026-11-20 02:30`, `2026-11-20T02:30:00`).
pub fn parse_when(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let text = text.trim();
    if let Ok(span) = Span::parse(text) {
        return Ok(span.before(now));
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.with_timezone(&Utc));
    }
    let spaced = text.replace('T', " ");
    let local = NaiveDateTime::parse_from_str(&spaced, "%Y-%m-%d %H:%M:%S")
        .or_else(|_| NaiveDateTime::parse_from_str(&spaced, "%Y-%m-%d %H:%M"))
        .or_else(|_| {
            NaiveDate::parse_from_str(&spaced, "%Y-%m-%d").map(|day| day.and_time(NaiveTime::MIN))
        });
    local
        .ok()
        .filter(|at| at.year() < 10_000)
        .and_then(|at| Local.from_local_datetime(&at).latest())
        .map(|at| at.with_timezone(&Utc))
        .ok_or_else(|| {
            format!(
                "`{text}` is not a time: write a duration (`2h`, `7d`) or a date \
                     (`2026-11-20`, `2026-11-20 02:30`, `2026-11-20T02:30:00Z`)"
            )
        })
}

/// Below this likeness a suggestion confuses more than it helps.
const LIKE_ENOUGH: f64 = 0.82;

/// The candidate that was probably meant by `word`.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(&word, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness >= LIKE_ENOUGH)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text)
            .unwrap()
            .with_timezone(&Utc)
    }

    #[test]
    fn command_lines_are_split_as_a_shell_does() {
        for (text, words) in [
            ("ssh -p 22", vec!["ssh", "-p", "22"]),
            ("  a   b\t", vec!["a", "b"]),
            ("a 'b c' \"d 'e'\"", vec!["a", "b c", "d 'e'"]),
            (r#"a\ b "c\"d\n""#, vec!["a b", r#"c"d\n"#]),
            (r"'a\b' ''", vec![r"a\b", ""]),
            ("", vec![]),
        ] {
            assert_eq!(split_words(text).unwrap(), words, "{text}");
        }
        for text in ["'a", "a\\", "\"a'"] {
            assert!(split_words(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_read_and_print() {
        for (text, printed) in [
            ("48h", "48h"),
            ("7d", "7d"),
            ("2w", "14d"),
            ("1y6mo", "1y6mo"),
            ("18mo", "1y6mo"),
            ("90s", "1m30s"),
        ] {
            assert_eq!(Span::parse(text).unwrap().to_string(), printed);
        }
        for text in ["", "7", "d", "7x", "-3d", "1.5d", "99999999999d"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn months_are_the_calendars() {
        assert_eq!(
            Span::parse("1mo")
                .unwrap()
                .before(at("2026-03-31T10:00:00Z")),
            at("2026-02-28T10:00:00Z")
        );
        assert_eq!(
            Span::parse("1y")
                .unwrap()
                .before(at("2024-02-29T10:00:00Z")),
            at("2023-02-28T10:00:00Z")
        );
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("20 GiB").unwrap(), 20 << 30);
        assert_eq!(parse_size("1.5GB").unwrap(), 1_500_000_000);
        assert_eq!(parse_size("4096").unwrap(), 4096);
        assert!(
            parse_size("many").is_err()
                && parse_size("5 parsecs").is_err()
                && parse_size("").is_err()
        );
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(1000), "1.0 KiB");
        assert_eq!(size(524_288_000), "500 MiB");
    }

    #[test]
    fn moments() {
        let now = at("2026-11-20T12:00:00Z");
        assert_eq!(parse_when("2h", now).unwrap(), at("2026-11-20T10:00:00Z"));
        assert_eq!(
            parse_when("2026-11-20T02:30:00Z", now).unwrap(),
            at("2026-11-20T02:30:00Z")
        );
        assert!(
            parse_when("2026-11-20 02:30", now).is_ok() && parse_when("2026-11-20", now).is_ok()
        );
        assert!(parse_when("yesterday-ish", now).is_err());
        assert_eq!(age(at("2026-11-20T11:55:00Z"), now), "5 min ago");
        assert_eq!(age(at("2026-11-18T11:55:00Z"), now), "2 d ago");
    }

    #[test]
    fn wildcards_are_whole_names() {
        assert!(
            wildcard("*", "shop")
                && wildcard("scratch_*", "scratch_1")
                && wildcard("sh?p", "shop")
                && wildcard("*o*", "shop")
        );
        assert!(!wildcard("app*", "myapp") && !wildcard("app", "app2") && !wildcard("sh?p", "shp"));
    }

    #[test]
    fn what_drives_a_terminal_is_written_out() {
        for plain in ["", "app.db", "Zoë’s 写真 e\u{301} 😀 \u{a0}"] {
            assert_eq!(printable(plain), plain);
        }
        let driving = "\x1b]52;c;eA==\x07 \u{9b}31m a\tb\r\n\u{202e}gpj.exe\u{2066} \u{feff}\u{7f}";
        let written =
            r"\u{1b}]52;c;eA==\u{7} \u{9b}31m a b\r\n\u{202e}gpj.exe\u{2066} \u{feff}\u{7f}";
        assert_eq!(printable(driving), written);
    }

    #[test]
    fn numbers() {
        assert_eq!(
            (thousands(0), thousands(999), thousands(1_234_567)),
            ("0".into(), "999".into(), "1,234,567".into())
        );
        assert_eq!(
            (count(1, "table"), count(2, "table")),
            ("1 table".into(), "2 tables".into())
        );
    }
}
