//! The records of a pax header: `LENGTH KEY=VALUE\n`, the length counting itself; a value may hold
//! any bytes.

use crate::engine::files::member::FileTime;
use crate::error::{Error, Result};

/// Adds a record.
pub fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // A space, the equals sign and the line break.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// The records of a header, in order.
pub fn parse(mut bytes: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let broken = || Error::damaged("the archive has a broken pax header");
    let mut records = Vec::new();
    // Some writers fill the last block with zeros.
    while bytes.first().is_some_and(|byte| *byte != 0) {
        let space = bytes
            .iter()
            .take(20)
            .position(|byte| *byte == b' ')
            .ok_or_else(broken)?;
        let length: usize = std::str::from_utf8(&bytes[..space])
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(broken)?;
        let record = bytes
            .get(space + 1..length)
            .and_then(|record| record.strip_suffix(b"\n"))
            .ok_or_else(broken)?;
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(broken)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Ok(records)
}

/// A name as a part of a key, which ends at the first equals sign; as GNU tar has it.
pub fn quoted(name: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'%' => text.extend_from_slice(b"%25"),
            b'=' => text.extend_from_slice(b"%3D"),
            other => text.push(*other),
        }
    }
    text
}

/// The name that was quoted so.
pub fn unquoted(text: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let (byte, skip) = match rest.get(..3) {
            Some(b"%25") => (b'%', 3),
            Some(b"%3D") => (b'=', 3),
            _ => (*first, 1),
        };
        name.push(byte);
        rest = if skip == 3 { &rest[3..] } else { after };
    }
    name
}

/// A moment as a record has it: a decimal fraction of seconds.
pub fn time_text(time: FileTime) -> String {
    let (seconds, nanoseconds) = match time.seconds {
        // -1.5 is two seconds before 1970 and half a second on.
        seconds if seconds < 0 && time.nanoseconds > 0 => {
            (seconds + 1, 1_000_000_000 - time.nanoseconds)
        }
        seconds => (seconds, time.nanoseconds),
    };
    let sign = if time.seconds < 0 && seconds == 0 {
        "-"
    } else {
        ""
    };
    if nanoseconds == 0 {
        return format!("{sign}{seconds}");
    }
    let fraction = format!("{nanoseconds:09}");
    format!("{sign}{seconds}.{}", fraction.trim_end_matches('0'))
}

/// The moment of a record.
pub fn parse_time(text: &[u8]) -> Option<FileTime> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    let seconds: i64 = whole.parse().ok()?;
    Some(match whole.starts_with('-') && nanoseconds > 0 {
        true => FileTime {
            seconds: seconds.checked_sub(1)?,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
        false => FileTime {
            seconds,
            nanoseconds,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "0"),
            (1, 500_000_000, "1.5"),
            (-1, 500_000_000, "-0.5"),
            (-2, 500_000_000, "-1.5"),
            (-1, 0, "-1"),
            (5, 1, "5.000000001"),
        ] {
            let time = FileTime {
                seconds,
                nanoseconds,
            };
            assert_eq!(time_text(time), text);
            assert_eq!(parse_time(text.as_bytes()), Some(time));
        }
        assert_eq!(parse_time(b"nonsense"), None);
    }

    proptest! {
        #[test]
        fn records_come_back(records in proptest::collection::vec((proptest::collection::vec(b'a'..=b'z', 1..9), proptest::collection::vec(any::<u8>(), 0..1200)), 0..5)) {
            let mut bytes = Vec::new();
            records.iter().for_each(|(key, value)| push(&mut bytes, key, value));
            prop_assert_eq!(parse(&bytes).unwrap(), records);
        }

        #[test]
        fn every_moment_comes_back(seconds in -10_000_000_000_i64..10_000_000_000,
            nanoseconds in 0..1_000_000_000_u32) {
            let time = FileTime { seconds, nanoseconds };
            prop_assert_eq!(parse_time(time_text(time).as_bytes()), Some(time));
        }

        #[test]
        fn names_in_keys_come_back(name in proptest::collection::vec(prop_oneof![Just(b'%'),
            Just(b'='), Just(b'3'), Just(b'D'), any::<u8>()], 0..30)) {
            let text = quoted(&name);
            prop_assert!(!text.contains(&b'='));
            prop_assert_eq!(unquoted(&text), name);
        }

        #[test]
        fn nonsense_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
