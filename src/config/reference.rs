//! What the settings mean, for the manual: every table with its keys, from the definitions that the
//! parser itself reads by.

use super::kinds::KINDS;
use super::notify::TYPES;
use super::{
    BackupSettings, FilesSettings, Hooks, MetricsSettings, PostgresSettings, ReportSettings,
    RunSettings, SourceSettings, SqliteSettings,
};
use crate::encryption::EncryptionSettings;
use crate::log::LogSettings;
use crate::notify::{
    CommandSettings, MailSettings, NotifierTopics, NotifySettings, PingSettings, WebhookSettings,
};
use crate::retention::RetentionPolicy;
use crate::setting::SettingGroup;
use crate::store::{ConnectionSettings, StoreSettings};

/// A table of the file.
#[derive(Debug)]
pub struct TableReference {
    /// Its name in the manual.
    pub name: &'static str,
    /// Lines that open it, to which its keys can be added; `kind` is not set twice.
    pub header: &'static str,
    /// Its keys.
    pub keys: Vec<KeyReference>,
}

/// A key of a table.
#[derive(Debug)]
pub struct KeyReference {
    /// Its name.
    pub name: &'static str,
    /// Its type in words, in Markdown.
    pub type_name: String,
    /// The value that it has where it is not written, as it would be written; `None` where there is
    /// none, or where the meaning says it.
    pub default: Option<String>,
    /// Whether it must be written.
    pub required: bool,
    /// What it means, in Markdown, on one line.
    pub meaning: String,
}

/// Every table that has keys, in the order in which people read of them.
pub fn tables() -> Vec<TableReference> {
    let mut backup = keys_of::<BackupSettings>(&[]);
    backup.extend(keys_of::<RunSettings>(&[]));
    let kinds: Vec<String> = KINDS
        .iter()
        .map(|row| format!("`\"{}\"`", row.kind))
        .collect();
    let mut source = vec![KeyReference {
        name: "kind",
        type_name: kinds.join(", "),
        default: None,
        required: true,
        meaning: "What the source is. Each kind has keys of its own; see below.".to_owned(),
    }];
    source.extend(keys_of::<SourceSettings>(&[]));
    let types: Vec<String> = TYPES
        .iter()
        .map(|(name, _)| format!("`\"{name}\"`"))
        .collect();
    let mut notifier = vec![KeyReference {
        name: "type",
        type_name: types.join(", "),
        default: None,
        required: true,
        meaning: "How messages get there. Each type has keys of its own; see below.".to_owned(),
    }];
    notifier.extend(keys_of::<NotifierTopics>(&[]));
    let table = |name, header, keys| TableReference { name, header, keys };
    vec![
        table(
            "`[store]` and `[stores.NAME]`",
            "[store]",
            keys_of::<StoreSettings>(&[]),
        ),
        table(
            "`[store]` and `[stores.NAME]` with a `url`",
            "[store]",
            keys_of::<ConnectionSettings>(&[]),
        ),
        table("`[backup]`, and any source", "[backup]", backup),
        table("`[sources.NAME]`", "[sources.x]", source),
        table(
            "`kind = \"sqlite\"`",
            "[sources.x]\nkind = \"sqlite\"",
            keys_of::<SqliteSettings>(&["path"]),
        ),
        table(
            "`kind = \"postgres\"`",
            "[sources.x]\nkind = \"postgres\"",
            keys_of::<PostgresSettings>(&[]),
        ),
        table(
            "`kind = \"files\"`",
            "[sources.x]\nkind = \"files\"",
            keys_of::<FilesSettings>(&["paths"]),
        ),
        table(
            "`[retention]`",
            "[retention]",
            keys_of::<RetentionPolicy>(&[]),
        ),
        table("`[hooks]`", "[hooks]", keys_of::<Hooks>(&[])),
        table("`[log]`", "[log]", keys_of::<LogSettings>(&["file"])),
        table("`[metrics]`", "[metrics]", keys_of::<MetricsSettings>(&[])),
        table("`[report]`", "[report]", keys_of::<ReportSettings>(&[])),
        table("`[notify]`", "[notify]", keys_of::<NotifySettings>(&[])),
        table("`[notify.NAME]`", "[notify.x]", notifier),
        table(
            "`type = \"mail\"`",
            "[notify.x]\ntype = \"mail\"",
            keys_of::<MailSettings>(&["to"]),
        ),
        table(
            "`type = \"webhook\"`",
            "[notify.x]\ntype = \"webhook\"",
            keys_of::<WebhookSettings>(&[]),
        ),
        table(
            "`type = \"ping\"`",
            "[notify.x]\ntype = \"ping\"",
            keys_of::<PingSettings>(&[]),
        ),
        table(
            "`type = \"command\"`",
            "[notify.x]\ntype = \"command\"",
            keys_of::<CommandSettings>(&["command"]),
        ),
        table(
            "`[encryption]`",
            "[encryption]",
            keys_of::<EncryptionSettings>(&[]),
        ),
    ]
}

/// The keys of these settings, of which the file must have those that are `required`.
fn keys_of<S: SettingGroup>(required: &[&str]) -> Vec<KeyReference> {
    let mut defaults = S::default();
    let keys = S::KEYS.iter().map(|key| {
        let slot = (key.slot)(&mut defaults);
        KeyReference {
            name: key.name,
            type_name: slot.type_in_words(),
            default: slot.current(),
            required: required.contains(&key.name),
            meaning: key.meaning.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    });
    keys.collect()
}
