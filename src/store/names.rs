//! The names of backups and of their objects: `<source>_<label>_<YYYYMMDD>T<HHMMSS>Z`, and behind
//! that what an object is.

use chrono::{DateTime, NaiveDateTime, Utc};

/// The end of the name of a list of contents, where it is not encrypted.
const CONTENTS: &str = ".contents.json.zst";

/// The same of one that is the difference from that of another backup.
const CONTENTS_DELTA: &str = ".contents.json.vcdiff.zst";

/// The end of the name of the sealed part of a sidecar.
const SEALED: &str = ".meta.json.age";

const EVENT: &str = ".event.json";

/// What follows the name of an object in that of its signature.
const SIGNATURE: &str = ".minisig";

/// Whether a source can have this name: `[A-Za-z0-9][A-Za-z0-9._-]*`. Other directories,
/// `lost+found` for one, are not even looked into.
pub fn can_be_a_source(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(inner)
}

/// The sidecar's name.
pub fn sidecar_name(id: &str) -> String {
    format!("{id}.json")
}

/// The name of the list of what is in a tree, without the extension of its encryption.
pub fn contents_name(id: &str, is_delta: bool) -> String {
    let end = if is_delta { CONTENTS_DELTA } else { CONTENTS };
    format!("{id}{end}")
}

/// The name of the sealed part of a sidecar.
pub fn sealed_name(id: &str) -> String {
    format!("{id}{SEALED}")
}

/// Whether an object is a list of contents or the sealed part of a sidecar: it has a dump's
/// extension, and is none.
pub fn is_beside_dump(name: &str) -> bool {
    let plain = name.strip_suffix(".age").unwrap_or(name);
    plain.ends_with(CONTENTS) || plain.ends_with(CONTENTS_DELTA) || name.ends_with(SEALED)
}

/// The name of an event of this moment, to the millisecond; `random` keeps two of one moment apart.
pub fn event_name(id: &str, at: DateTime<Utc>, random: u32) -> String {
    format!(
        "{id}.{}-{random:08x}{EVENT}",
        at.format("%Y%m%dT%H%M%S%.3fZ")
    )
}

/// The id of a backup by its sidecar's name; `None` for another object's.
pub fn sidecar_id(name: &str) -> Option<&str> {
    let before = name.strip_suffix(".json")?;
    (!name.starts_with('.') && id_of(name) == Some(before)).then_some(before)
}

/// The id of a backup by the name of one of its events; `None` for another object's.
pub fn event_id(name: &str) -> Option<&str> {
    if !name.ends_with(EVENT) || name.starts_with('.') {
        return None;
    }
    // What is between the id and the end is the event's own.
    id_of(name).filter(|id| id.len() + EVENT.len() < name.len())
}

/// The name of the signature of a sidecar or event.
pub fn signature_name(name: &str) -> String {
    format!("{name}{SIGNATURE}")
}

/// The name of the sidecar or event that a signature is of; `None` for another object's.
pub fn signed_name(name: &str) -> Option<&str> {
    let signed = name.strip_suffix(SIGNATURE)?;
    (sidecar_id(signed).is_some() || event_id(signed).is_some()).then_some(signed)
}

/// The id of the backup that an object goes with although no sidecar names it: an event, or a
/// signature. `None` for another object's.
pub fn companion_id(name: &str) -> Option<&str> {
    match signed_name(name) {
        Some(signed) => id_of(signed),
        None => event_id(name),
    }
}

/// When an event was written, by its name or by that of its signature.
pub fn event_time(name: &str) -> Option<DateTime<Utc>> {
    let name = signed_name(name).unwrap_or(name);
    let rest = name.strip_prefix(event_id(name)?)?.strip_prefix('.')?;
    let (moment, _) = rest.split_once('-')?;
    let moment = NaiveDateTime::parse_from_str(moment, "%Y%m%dT%H%M%S%.3fZ").ok()?;
    Some(moment.and_utc())
}

/// The id of a new backup. Where there are ids of the same second already, it ends with the number
/// after their highest: `-2`, `-3`…
pub fn new_id<'a>(
    source: &str,
    label: &str,
    at: DateTime<Utc>,
    taken: impl Iterator<Item = &'a str>,
) -> String {
    let plain = format!("{source}_{label}_{}", at.format("%Y%m%dT%H%M%SZ"));
    let of_this_second = taken.filter(|id| {
        id.strip_prefix(&plain)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    });
    match of_this_second.map(number_in_second).max() {
        None => plain,
        Some(highest) => format!("{plain}-{}", highest.saturating_add(1)),
    }
}

/// Which backup of its second an id is: 1, or the number after its time.
pub fn number_in_second(id: &str) -> u32 {
    id.rsplit_once("Z-")
        .and_then(|(_, number)| number.parse().ok())
        .unwrap_or(1)
}

/// Splits an id, from its end, into source, label and time; `None` where it is no id.
pub fn split_id(id: &str) -> Option<(&str, &str, &str)> {
    let (head, time) = id.rsplit_once('_')?;
    let (source, label) = head.rsplit_once('_')?;
    let stamp = time.split('-').next()?;
    let shaped = stamp.len() == 16 && stamp.as_bytes()[8] == b'T' && stamp.ends_with('Z');
    (shaped && !source.is_empty() && !label.is_empty()).then_some((source, label, time))
}

/// The id that an object's name begins with, a leading dot aside; `None` where it does not look
/// like one of ours.
pub fn id_of(name: &str) -> Option<&str> {
    let name = name.strip_prefix('.').unwrap_or(name);
    // A source's name may hold dots, so the id ends at the first dot after the time.
    let time = name.rfind("Z").and_then(|_| name.rfind('_'))?;
    let end = name[time..].find('.').map_or(name.len(), |dot| time + dot);
    let id = &name[..end];
    split_id(id).map(|_| id)
}

/// Whether a sidecar of the backup `id` may name this object: it is in the same place, and its name
/// is the id and extensions.
pub fn is_object_of(name: &str, id: &str) -> bool {
    id_of(name) == Some(id)
        && name.starts_with(id)
        && !name.contains('/')
        && !name.ends_with(".json")
        && !name.ends_with(SIGNATURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_split_from_their_end() {
        assert_eq!(
            split_id("my_app_daily_20261120T020000Z"),
            Some(("my_app", "daily", "20261120T020000Z"))
        );
        assert_eq!(
            id_of(".a.b_daily_20261120T020000Z-2.sqlite3.gz"),
            Some("a.b_daily_20261120T020000Z-2")
        );
        assert_eq!(id_of("notes.txt"), None);
        assert_eq!(id_of(".lock"), None);
    }

    #[test]
    fn sidecars_and_events_are_told_apart() {
        let (id, at) = ("a.b_daily_20261120T020000Z-2", DateTime::UNIX_EPOCH);
        let (sidecar, event) = (sidecar_name(id), event_name(id, at, 0xab));
        assert_eq!(
            event,
            format!("{id}.19700101T000000.000Z-000000ab.event.json")
        );
        assert_eq!((sidecar_id(&sidecar), event_id(&sidecar)), (Some(id), None));
        assert_eq!((sidecar_id(&event), event_id(&event)), (None, Some(id)));
        // A source may be called so.
        let other = sidecar_name("x.event_daily_20261120T020000Z");
        assert_eq!(event_id(&other), None);
        for name in [
            format!(".{event}"),
            format!("{id}.event.json"),
            contents_name(id, false),
            contents_name(id, true),
        ] {
            assert_eq!((sidecar_id(&name), event_id(&name)), (None, None), "{name}");
        }
        assert!(is_object_of(&contents_name(id, true), id) && !is_object_of(&event, id));
    }

    #[test]
    fn signatures_go_with_what_they_sign() {
        let at = DateTime::from_timestamp_millis(1_795_140_000_123).unwrap();
        let id = "a.b_daily_20261120T020000Z-2";
        let (sidecar, event) = (sidecar_name(id), event_name(id, at, 0xab));
        for signed in [&sidecar, &event] {
            let name = signature_name(signed);
            assert_eq!(signed_name(&name), Some(signed.as_str()));
            assert_eq!(companion_id(&name), Some(id));
            assert_eq!((sidecar_id(&name), event_id(&name)), (None, None));
            assert!(!is_object_of(&name, id));
        }
        assert_eq!(
            (companion_id(&event), companion_id(&sidecar)),
            (Some(id), None)
        );
        assert_eq!(event_time(&event), Some(at));
        assert_eq!(event_time(&signature_name(&event)), Some(at));
        assert_eq!(event_time(&signature_name(&sidecar)), None);
        for name in [format!("{id}.sqlite3.minisig"), "notes.minisig".to_owned()] {
            assert_eq!(
                (signed_name(&name), companion_id(&name)),
                (None, None),
                "{name}"
            );
        }
    }

    #[test]
    fn a_number_that_retention_freed_is_not_given_again() {
        let at = DateTime::from_timestamp(1_795_140_000, 0).unwrap();
        let first = new_id("app", "daily", at, std::iter::empty());
        let taken = [first.as_str(), "app_other_20261120T020000Z"];
        let second = new_id("app", "daily", at, taken.into_iter());
        assert_eq!(second, format!("{first}-2"));
        // The newest must be the last of its second.
        assert_eq!(
            new_id("app", "daily", at, [second.as_str()].into_iter()),
            format!("{first}-3")
        );
    }
}
