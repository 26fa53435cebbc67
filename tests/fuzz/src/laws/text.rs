//! The sidecar, what came later to a backup, and what people write as a size, a duration or a time.

use chrono::{TimeDelta, TimeZone, Utc};
use dbbackup::fuzzing::{
    BackupEvent, BackupState, Brief, Change, Sidecar, Span, Words, parse_size, parse_when, size,
};

/// A sidecar in brief is that of the whole, or is refused for the same reason; a whole one is the
/// same after it was written.
pub fn sidecar(data: &[u8]) {
    let whole = Sidecar::parse(data);
    assert_eq!(
        Brief::parse(data, &mut Words::default()),
        whole
            .clone()
            .map(|whole| Brief::of(&whole, &mut Words::default())),
        "in brief"
    );
    if let Ok(whole) = whole {
        let bytes = whole.to_bytes();
        // A number that is no double's shortest text is another one after it was read.
        let again = Sidecar::parse(&bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes, "written again");
        let brief = Brief::parse(&bytes, &mut Words::default()).unwrap();
        assert_eq!(
            brief,
            Brief::of(&again, &mut Words::default()),
            "as we write it"
        );
    }
}

/// An event is the same after it was written, and a state is made of whatever it says.
pub fn event(data: &[u8]) {
    let Some(event) = BackupEvent::parse(data) else {
        return;
    };
    let bytes = event.to_bytes();
    // A number that is no double's shortest text is another one after it was read.
    let again = BackupEvent::parse(&bytes).unwrap();
    assert_eq!(again.to_bytes(), bytes, "written again");
    let (at, change) = (event.at, event.change.clone());
    let state = BackupState::from_events(vec![("b".to_owned(), again), ("a".to_owned(), event)]);
    assert_eq!(state.newest, Some(at));
    assert!(state.superseded.len() <= 1, "one of two stays");
    assert!(state.pinned || !matches!(change, Change::Pinned));
}

/// What is shown of a value is read as that value; a moment is never after the time that a duration
/// goes back from.
pub fn units(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(bytes) = parse_size(&text) {
        let shown = size(bytes);
        let read = parse_size(&shown.replace("PiB", "TiB")).unwrap();
        let read = if shown.ends_with("PiB") {
            read.saturating_mul(1024)
        } else {
            read
        };
        assert!(
            bytes.abs_diff(read) as f64 <= bytes as f64 * 0.06,
            "{bytes} is shown as {shown}"
        );
    }
    let now = Utc.with_ymd_and_hms(2026, 11, 20, 2, 0, 41).unwrap();
    if let Ok(span) = Span::parse(&text) {
        assert!(span.before(now) <= now);
        let _ = span.duration();
        // One number of a text has 32 bits.
        if span.seconds / 3600 <= u64::from(u32::MAX) {
            assert_eq!(Span::parse(&span.to_string()), Ok(span));
        }
        assert_eq!(parse_when(&text, now), Ok(span.before(now)));
    } else if let Ok(at) = parse_when(&text, now) {
        assert!(at - now < TimeDelta::MAX);
    }
}
