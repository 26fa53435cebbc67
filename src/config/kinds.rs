//! The kinds of source: which keys each has, and how they are read. A new kind is one more row
//! here.

use super::section::Section;
use super::strict::suggestion;
use super::{FilesSettings, KindSettings, PostgresSettings, SqliteSettings};
use crate::engine::EngineKind;
use crate::error::Result;
use crate::setting::SettingGroup;
use toml::de::DeValue;

/// Reads one kind of source.
pub(super) struct KindReader {
    /// The kind.
    pub kind: EngineKind,
    /// Lists the keys that only this kind has.
    pub keys: fn() -> Vec<&'static str>,
    /// Reads them.
    pub read: fn(&mut Section<'_>) -> Result<KindSettings>,
}

/// Every kind.
pub(super) const KINDS: &[KindReader] = &[
    KindReader {
        kind: EngineKind::Sqlite,
        keys: SqliteSettings::key_names,
        read: read_sqlite,
    },
    KindReader {
        kind: EngineKind::Postgres,
        keys: PostgresSettings::key_names,
        read: read_postgres,
    },
    KindReader {
        kind: EngineKind::Files,
        keys: FilesSettings::key_names,
        read: read_files,
    },
];

/// The keys of every kind, for a table that names none.
pub(super) fn keys_of_all() -> Vec<&'static str> {
    KINDS.iter().flat_map(|kind| (kind.keys)()).collect()
}

/// The kind that a source's table names.
pub(super) fn read_kind(section: &mut Section<'_>) -> Result<&'static KindReader> {
    let names: Vec<&str> = KINDS.iter().map(|row| row.kind.as_str()).collect();
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let listed = match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => quoted.concat(),
    };
    let Some(item) = section.take("kind") else {
        // Which keys are valid hangs on the kind, so it can't be left to the environment.
        let error = if section.has("kind") {
            section.error("kind", "depends on a variable that is not set")
        } else {
            section.error_here(format!("{} has no `kind`", section.header))
        };
        return Err(error.with_hint(format!("write kind = {listed}")));
    };
    let DeValue::String(name) = item.value.get_ref() else {
        return Err(section.error("kind", format!("expected {listed}")));
    };
    KINDS
        .iter()
        .find(|row| row.kind.as_str() == name)
        .ok_or_else(|| {
            let message = format!(
                "this version knows only {listed}, not `{}`",
                name.escape_debug()
            );
            section
                .error("kind", message)
                .with_hint(suggestion(name, &names, "valid kinds"))
        })
}

fn read_sqlite(section: &mut Section<'_>) -> Result<KindSettings> {
    let mut settings = SqliteSettings::default();
    section.apply(&mut settings)?;
    section.demand_path("path", &mut settings.path)?;
    Ok(KindSettings::Sqlite(settings))
}

fn read_postgres(section: &mut Section<'_>) -> Result<KindSettings> {
    let mut settings = PostgresSettings::default();
    section.apply(&mut settings)?;
    let ways = [
        settings.password.is_some(),
        settings.password_file.is_some(),
        settings.password_command.is_some(),
    ];
    if ways.iter().filter(|is_set| **is_set).count() > 1 {
        return Err(section.error_here(format!(
            "{} gives the password in more than one way",
            section.header
        )));
    }
    let of_clusters = [
        ("exclude_databases", !settings.exclude_databases.is_empty()),
        ("globals", settings.globals),
    ];
    if let Some((key, _)) = of_clusters
        .iter()
        .find(|(_, is_set)| *is_set && !settings.is_cluster())
    {
        return Err(section
            .error(key, "it needs `databases`")
            .with_hint("add databases = [\"*\"]"));
    }
    if settings.prefix_url.is_some() && settings.command_prefix.is_empty() {
        return Err(section.error("prefix_url", "it needs `command_prefix`"));
    }
    Ok(KindSettings::Postgres(Box::new(settings)))
}

fn read_files(section: &mut Section<'_>) -> Result<KindSettings> {
    let mut settings = FilesSettings::default();
    section.apply(&mut settings)?;
    if settings.paths.is_empty() && !section.has("paths") {
        return Err(section
            .error_here(format!("{} has no `paths`", section.header))
            .with_hint("write paths = [\"/srv/app/uploads\"]"));
    }
    Ok(KindSettings::Files(settings))
}
