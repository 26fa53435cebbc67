//! The first lines of what `schedule` writes: for which configuration it is, what was asked for,
//! and the hash of what follows. By them it knows its own again, and sees what somebody changed
//! since.

use super::ScheduleSettings;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::Path;

/// How the first line begins; the configuration's path follows.
const FOR: &str = "# dbbackup schedule: ";
/// How the line begins that has the settings as JSON.
const SETTINGS: &str = "# told: ";
/// How the line begins that has the hash.
const HASH: &str = "# sha256 of what follows: ";

/// What the first lines say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The path of the configuration.
    pub config: String,
    /// What was asked for.
    pub settings: ScheduleSettings,
    /// What follows is not what was written.
    pub is_edited: bool,
}

/// The text with its marker.
pub fn with_marker(config: &Path, settings: &ScheduleSettings, body: &str) -> String {
    let told = serde_json::to_string(settings).unwrap_or_default();
    let (first, hash) = (first_line(config), hash_of(body));
    format!("{first}\n{SETTINGS}{told}\n{HASH}{hash}\n{body}")
}

/// The line by which what belongs to this configuration is known.
pub fn first_line(config: &Path) -> String {
    format!("{FOR}{}", config.display())
}

/// Reads the marker of a text; `None` where it has none.
pub fn read_marker(text: &str) -> Option<Marker> {
    let (first, rest) = text.split_once('\n')?;
    let (second, rest) = rest.split_once('\n')?;
    let (third, body) = rest.split_once('\n')?;
    let settings = second.strip_prefix(SETTINGS).map(serde_json::from_str);
    let hash = third.strip_prefix(HASH);
    Some(Marker {
        config: first.strip_prefix(FOR)?.to_owned(),
        is_edited: !matches!(settings, Some(Ok(_))) || hash != Some(hash_of(body).as_str()),
        settings: settings.and_then(Result::ok).unwrap_or_default(),
    })
}

fn hash_of(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_text_is_known_again_and_an_edit_is_seen() {
        let settings = ScheduleSettings {
            at: Some("02:30".to_owned()),
            ..ScheduleSettings::default()
        };
        let text = with_marker(Path::new("/etc/c.toml"), &settings, "[Unit]\nA=b\n");
        let marker = read_marker(&text).unwrap();
        assert_eq!(marker.config, "/etc/c.toml");
        assert_eq!((marker.settings, marker.is_edited), (settings, false));
        for (from, to) in [("A=b", "A=c"), ("02:30", "02"), ("sha256 of", "sha256")] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            let same_hash = from == "02:30";
            assert_eq!(
                read_marker(&changed).unwrap().is_edited,
                !same_hash,
                "{from}"
            );
        }
        assert!(
            read_marker(&text.replace("# told: {", "# told: ["))
                .unwrap()
                .is_edited
        );
        for foreign in ["", "# dbbackup", "[Unit]\nA=b\nC=d\n"] {
            assert_eq!(read_marker(foreign), None);
        }
    }
}
