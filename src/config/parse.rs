//! From text to [`Config`]: a walk over the tables, each read by a [`Section`].

use super::encryption::{check_encryption, give_signer, read_encryption};
use super::expand::{env_file, expand};
use super::hooks::{Hooks, read_hooks};
use super::kinds::{keys_of_all, read_kind};
use super::notify::read_notify;
use super::section::{Scope, Section, TableItem};
use super::strict::{Document, suggestion};
use super::{
    BackupSettings, Config, ConfiguredSource, ConfiguredStore, MAIN_STORE, MetricsSettings,
    ReportSettings, RunSettings, SourceFault, SourceSettings,
};
use crate::error::{Context, Error, Result};
use crate::log::LogSettings;
use crate::retention::RetentionPolicy;
use crate::setting::SettingGroup;
use crate::store::{ConnectionSettings, StoreDirectory, StoreSettings};
use crate::units::Span;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// The tables of the file, beside the code below that reads them.
const TOP: &[&str] = &[
    "store",
    "stores",
    "backup",
    "retention",
    "hooks",
    "log",
    "metrics",
    "report",
    "notify",
    "encryption",
    "sources",
    "groups",
];

/// The retention tables of one level: its own, those of its labels, and the faults of the
/// environment in them.
type RetentionTables = (
    Option<RetentionPolicy>,
    BTreeMap<String, RetentionPolicy>,
    Vec<SourceFault>,
);

/// Reads a configuration's text; `path` is where it is from. Nothing else is read but the
/// env_files.
pub fn parse(text: &str, path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config> {
    let doc = &Document { path, text };
    let table = DeTable::parse(text)
        .map_err(|error| doc.syntax(&error))?
        .into_inner();
    let absolute = std::path::absolute(path)
        .with_context(|| format!("finding the directory of `{}`", path.display()))?;
    let directory = absolute.parent().unwrap_or(Path::new("/"));
    let scope = &Scope {
        doc,
        directory,
        env,
        file: None,
        of_source: false,
    };
    let mut top = Section::new(table, String::new(), 0, scope)?;
    top.only(&[TOP.to_vec()], &belongs(""))?;

    let mut config = Config {
        path: path.to_owned(),
        ..Config::default()
    };
    config.store = top
        .take("store")
        .map(|item| read_main_store(item, scope))
        .transpose()?;
    if let Some(item) = top.take("stores") {
        config.stores = read_stores(item, scope, &mut config.warnings)?;
    }
    if let Some(item) = top.take("backup") {
        let mut section = Section::open(item, "[backup]".to_owned(), scope)?;
        let keys = [BackupSettings::key_names(), RunSettings::key_names()];
        section.only(&keys, &belongs(""))?;
        section.apply(&mut config.backup)?;
        refuse_no_time(&config.backup, &mut section)?;
        section.apply(&mut config.run)?;
    }
    if let Some(item) = top.take("retention") {
        (config.retention, config.retention_labels, _) =
            read_retention(item, "retention", scope, &mut config.warnings)?;
    }
    config.hooks = top
        .take("hooks")
        .map(|item| read_hooks(item, "[hooks]".to_owned(), scope))
        .transpose()?
        .unwrap_or_default();
    config.log = top
        .take("log")
        .map(|item| read_log(item, scope))
        .transpose()?;
    if let Some(item) = top.take("sources") {
        config.sources = read_sources(item, scope, &config.backup, &mut config.warnings)?;
    }
    check_main_store(&config)?;
    check_copies(&config)?;
    if let Some(item) = top.take("metrics") {
        config.metrics = read_metrics(item, scope)?;
    }
    if let Some(item) = top.take("report") {
        let mut section = Section::open(item, "[report]".to_owned(), scope)?;
        section.only(&[ReportSettings::key_names()], &|_| None)?;
        section.apply(&mut config.report)?;
    }
    if let Some(item) = top.take("notify") {
        config.notify = read_notify(item, scope, &mut config.warnings)?;
    }
    if let Some(item) = top.take("encryption") {
        config.encryption = read_encryption(item, scope)?;
    }
    check_encryption(&config)?;
    give_signer(&mut config);
    if let Some(item) = top.take("groups") {
        config.groups = read_groups(item, &config.sources, scope)?;
    }
    Ok(config)
}

/// An error where two stores would be called the same.
fn check_main_store(config: &Config) -> Result<()> {
    if config.store.is_none() || !config.stores.contains_key(MAIN_STORE) {
        return Ok(());
    }
    let text = format!(
        "{}: the store of [store] is called `{MAIN_STORE}`, so [stores.{MAIN_STORE}] can't be",
        config.path.display()
    );
    Err(Error::usage(text).with_hint("give it another name"))
}

/// An error where `copies` names a store that is not there.
fn check_copies(config: &Config) -> Result<()> {
    let of_sources = config
        .sources
        .iter()
        .map(|(name, source)| (format!("[sources.{}]", part(name)), &source.backup));
    let all = std::iter::once(("[backup]".to_owned(), &config.backup)).chain(of_sources);
    for (table, settings) in all {
        let unknown = settings
            .copies
            .iter()
            .find(|name| !config.stores.contains_key(*name));
        if let Some(unknown) = unknown {
            let text = format!(
                "{}: `copies` in {table} names `{unknown}`, and there is no [stores.{}]",
                config.path.display(),
                part(unknown)
            );
            let known: Vec<&str> = config.stores.keys().map(String::as_str).collect();
            return Err(Error::usage(text).with_hint(suggestion(
                unknown,
                &known,
                "stores with names",
            )));
        }
    }
    Ok(())
}

/// Whether `name` may name a source, a group or a store: `[A-Za-z0-9][A-Za-z0-9._-]*`.
pub fn is_source_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// Whether `name` may be a label: as a source's name, without `_`.
pub fn is_label(name: &str) -> bool {
    is_source_name(name) && !name.contains('_')
}

/// For a key in the wrong table: the one it belongs in, below `[sources.NAME` or at the top.
fn belongs(source: &str) -> impl Fn(&str) -> Option<String> {
    move |key| {
        let table = if RetentionPolicy::key(key).is_some() {
            "retention"
        } else if Hooks::key(key).is_some() {
            "hooks"
        } else if RunSettings::key(key).is_some() {
            return Some("it belongs in [backup]: it is the whole run's".to_owned());
        } else if source.is_empty() && BackupSettings::key(key).is_some() {
            "backup"
        } else {
            return None;
        };
        let dot = if source.is_empty() { "" } else { "." };
        Some(format!("it belongs in [{source}{dot}{table}]"))
    }
}

/// A name as a part of a table's header: quoted where TOML wants it.
pub(super) fn part(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare {
        name.to_owned()
    } else {
        format!("\"{}\"", name.escape_debug())
    }
}

/// Refuses a name that could not be a directory's or an id's part.
pub(super) fn check_name(item: &TableItem<'_>, what: &str, scope: &Scope<'_>) -> Result<()> {
    if is_source_name(&item.name) {
        return Ok(());
    }
    let message = format!(
        "`{}` can't be the name of a {what}",
        item.name.escape_debug()
    );
    Err(scope
        .doc
        .error(item.offset, message)
        .with_hint("use letters, digits, `.`, `_` and `-`, a letter or digit first"))
}

/// Reads `[store]` or `[stores.NAME]`, without its retention.
fn read_store(section: &mut Section<'_>) -> Result<StoreSettings> {
    let mut settings = StoreSettings::default();
    section.apply(&mut settings)?;
    section.apply(&mut settings.connection)?;
    settings.location = match (settings.path.take(), settings.url.take()) {
        (Some(StoreDirectory(path)), None) => path.into(),
        (None, Some(address)) => address.into(),
        (Some(_), Some(_)) => {
            return Err(section.error("url", "a store has a `path` or a `url`, not both"));
        }
        (None, None) => {
            let text = format!("{} has no `path` and no `url`", section.header);
            return Err(section.error_here(text));
        }
    };
    let of_remote = ConnectionSettings::key_names();
    match section.given().find(|key| of_remote.contains(key)) {
        Some(key) if settings.location.local_path().is_some() => Err(section
            .error(key, format!("`{key}` is for a store on another machine"))
            .with_hint("write `url` in place of `path`, or leave it out")),
        _ => Ok(settings),
    }
}

fn read_main_store(item: TableItem<'_>, scope: &Scope<'_>) -> Result<StoreSettings> {
    let mut section = Section::open(item, "[store]".to_owned(), scope)?;
    section.only(&store_keys(), &|_| None)?;
    read_store(&mut section)
}

fn store_keys() -> Vec<Vec<&'static str>> {
    vec![StoreSettings::key_names(), ConnectionSettings::key_names()]
}

fn read_log(item: TableItem<'_>, scope: &Scope<'_>) -> Result<LogSettings> {
    let mut section = Section::open(item, "[log]".to_owned(), scope)?;
    section.only(&[LogSettings::key_names()], &|_| None)?;
    let mut settings = LogSettings::default();
    section.apply(&mut settings)?;
    section.demand_path("file", &mut settings.file)?;
    Ok(settings)
}

fn read_metrics(item: TableItem<'_>, scope: &Scope<'_>) -> Result<MetricsSettings> {
    let mut section = Section::open(item, "[metrics]".to_owned(), scope)?;
    section.only(&[MetricsSettings::key_names()], &|_| None)?;
    let mut settings = MetricsSettings::default();
    section.apply(&mut settings)?;
    let is_misnamed = |path: &PathBuf| path.extension().is_none_or(|end| end != "prom");
    if settings.textfile.as_ref().is_some_and(is_misnamed) {
        return Err(section.error(
            "textfile",
            "the name of a file of metrics must end in `.prom`: node_exporter reads no other",
        ));
    }
    Ok(settings)
}

fn read_stores(
    item: TableItem<'_>,
    scope: &Scope<'_>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, ConfiguredStore>> {
    let mut section = Section::open(item, "[stores]".to_owned(), scope)?;
    let mut stores = BTreeMap::new();
    for item in section.take_all() {
        check_name(&item, "store", scope)?;
        let name = item.name.clone();
        let at = format!("stores.{}", part(&name));
        let mut section = Section::open(item, format!("[{at}]"), scope)?;
        let mut keys = store_keys();
        keys.push(vec!["retention"]);
        section.only(&keys, &|_| None)?;
        let (retention, retention_labels, _) = match section.take("retention") {
            Some(item) => read_retention(item, &format!("{at}.retention"), scope, warnings)?,
            None => RetentionTables::default(),
        };
        stores.insert(
            name,
            ConfiguredStore {
                settings: read_store(&mut section)?,
                retention,
                retention_labels,
            },
        );
    }
    Ok(stores)
}

/// A retention table and those of its labels; `at` is its header without the brackets.
fn read_retention(
    item: TableItem<'_>,
    at: &str,
    scope: &Scope<'_>,
    warnings: &mut Vec<String>,
) -> Result<RetentionTables> {
    let mut section = Section::open(item, format!("[{at}]"), scope)?;
    section.only(&[RetentionPolicy::key_names(), vec!["label"]], &|_| None)?;
    let labels_entry = section.take("label");
    // TOML makes `[retention]` where only `[retention.label.daily]` is written; that one sets
    // nothing.
    let own = labels_entry.is_none() || !section.names().is_empty() || !section.faults.is_empty();
    let table = read_policy(&mut section)?;
    let mut faults = section.faults;
    let mut labels = BTreeMap::new();
    if let Some(item) = labels_entry {
        let mut section = Section::open(item, format!("[{at}.label]"), scope)?;
        for item in section.take_all() {
            let name = item.name.clone();
            let (table, more) = read_label(item, at, scope, warnings)?;
            labels.insert(name, table);
            faults.extend(more);
        }
    }
    Ok((own.then_some(table), labels, faults))
}

fn read_label(
    item: TableItem<'_>,
    at: &str,
    scope: &Scope<'_>,
    warnings: &mut Vec<String>,
) -> Result<(RetentionPolicy, Vec<SourceFault>)> {
    let (name, offset) = (item.name.clone(), item.offset);
    let header = format!("[{at}.label.{}]", part(&name));
    if !is_label(&name) {
        let message = format!("`{}` can't be a label", name.escape_debug());
        return Err(scope
            .doc
            .error(offset, message)
            .with_hint("use letters, digits, `.` and `-`, a letter or digit first"));
    }
    if name == "pre-restore" {
        let message = format!(
            "{header} has no effect: backups made before a restore stay until they are deleted by \
             hand"
        );
        warnings.push(scope.doc.message(offset, message));
    }
    let mut section = Section::open(item, header, scope)?;
    section.only(&[RetentionPolicy::key_names()], &|_| None)?;
    let table = read_policy(&mut section)?;
    Ok((table, section.faults))
}

/// The rules of one table. A rule that the environment failed voids them all: half a policy could
/// remove what the whole one keeps.
fn read_policy(section: &mut Section<'_>) -> Result<RetentionPolicy> {
    let mut policy = RetentionPolicy::default();
    section.apply(&mut policy)?;
    if section.faults.is_empty() {
        Ok(policy)
    } else {
        Ok(RetentionPolicy::default())
    }
}

fn read_sources(
    item: TableItem<'_>,
    scope: &Scope<'_>,
    defaults: &BackupSettings,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, ConfiguredSource)>> {
    let mut section = Section::open(item, "[sources]".to_owned(), scope)?;
    let mut sources = Vec::new();
    for item in section.take_all() {
        check_name(&item, "source", scope)?;
        let name = item.name.clone();
        sources.push((name, read_source(item, scope, defaults, warnings)?));
    }
    Ok(sources)
}

/// Reads a source; `defaults` are the settings of `[backup]`, over which its own are put.
fn read_source(
    item: TableItem<'_>,
    outer: &Scope<'_>,
    defaults: &BackupSettings,
    warnings: &mut Vec<String>,
) -> Result<ConfiguredSource> {
    let at = format!("sources.{}", part(&item.name));
    let (scope, unreadable) = scope_of_source(&item, &at, outer);
    let mut section = Section::open(item, format!("[{at}]"), &scope)?;
    if !section.has("kind") {
        // It may be there misspelt.
        section.only(&keys_of_source(keys_of_all()), &belongs(&at))?;
    }
    let kind = read_kind(&mut section)?;
    section.only(&keys_of_source((kind.keys)()), &belongs(&at))?;

    let (retention, retention_labels, more) = match section.take("retention") {
        Some(item) => read_retention(item, &format!("{at}.retention"), &scope, warnings)?,
        None => RetentionTables::default(),
    };
    let hooks = section
        .take("hooks")
        .map(|item| read_hooks(item, format!("[{at}.hooks]"), &scope))
        .transpose()?
        .unwrap_or_default();
    let mut common = SourceSettings::default();
    section.apply(&mut common)?;
    common.env_file = scope.file.as_ref().map(|(path, _)| path.clone());
    if let (Some(start), Some(end)) = (common.start, common.end)
        && end <= start
    {
        section.wrong("end", "expected a time after `start`")?;
    }
    let mut backup = defaults.clone();
    section.apply(&mut backup)?;
    refuse_no_time(&backup, &mut section)?;
    let kind = (kind.read)(&mut section)?;
    let fault = unreadable
        .into_iter()
        .chain(section.faults)
        .chain(more)
        .next();
    Ok(ConfiguredSource {
        common,
        backup,
        hooks,
        retention,
        retention_labels,
        kind,
        fault,
    })
}

/// An error where every backup would be a full although deltas are asked for: that is written
/// otherwise.
fn refuse_no_time(backup: &BackupSettings, section: &mut Section<'_>) -> Result<()> {
    if section.has("full_every") && backup.full_every == Some(Span::default()) {
        section.wrong(
            "full_every",
            "no time at all would make every backup a full\nleave it out, or write `incremental = \
             false`",
        )?;
    }
    Ok(())
}

/// The keys that a source's table may have; `of_kind` are those that only its kind has.
fn keys_of_source(of_kind: Vec<&'static str>) -> [Vec<&'static str>; 4] {
    [
        vec!["kind", "retention", "hooks"],
        SourceSettings::key_names(),
        of_kind,
        BackupSettings::key_names(),
    ]
}

/// The scope of a source's tables, with the variables of its env_file; and why that file could not
/// be read.
fn scope_of_source<'a>(
    item: &TableItem<'_>,
    at: &str,
    outer: &Scope<'a>,
) -> (Scope<'a>, Option<SourceFault>) {
    let mut scope = Scope {
        file: None,
        of_source: true,
        ..*outer
    };
    let setting = item
        .value
        .get_ref()
        .as_table()
        .and_then(|table| table.get_key_value("env_file"));
    // What is wrong with the setting itself, the section finds and says.
    let Some((key, Some(text))) = setting.map(|(key, value)| (key, value.get_ref().as_str()))
    else {
        return (scope, None);
    };
    let Ok(expanded) = expand(text, &|name| outer.lookup(name)) else {
        return (scope, None);
    };
    let path = PathBuf::from(expanded.unwrap_or_else(|| text.to_owned()));
    let fault = |why: String| SourceFault {
        message: outer
            .doc
            .message(key.span().start, format!("`env_file` in [{at}]: {why}")),
        hint: Some("check the path, and that this user may read it".to_owned()),
    };
    let path = match scope.absolute(&path) {
        Ok(path) => path,
        Err(why) => return (scope, Some(fault(why))),
    };
    let (variables, unreadable) = match std::fs::read_to_string(&path) {
        Ok(text) => (env_file(&text), None),
        Err(error) => {
            let why = Error::from(error)
                .context(format!("reading `{}`", path.display()))
                .message();
            (BTreeMap::new(), Some(fault(why)))
        }
    };
    scope.file = Some((path, variables));
    (scope, unreadable)
}

fn read_groups(
    item: TableItem<'_>,
    sources: &[(String, ConfiguredSource)],
    scope: &Scope<'_>,
) -> Result<Vec<(String, Vec<String>)>> {
    let mut section = Section::open(item, "[groups]".to_owned(), scope)?;
    let names = section.names();
    let known: Vec<&str> = sources.iter().map(|(name, _)| name.as_str()).collect();
    let mut groups = Vec::new();
    for item in section.take_all() {
        check_name(&item, "group", scope)?;
        if known.contains(&item.name.as_str()) {
            let message = format!("`{}` in [groups] is also the name of a source", item.name);
            return Err(scope
                .doc
                .error(item.offset, message)
                .with_hint("rename one of them: commands take either by name"));
        }
        groups.push((item.name.clone(), members(&item, &section, &known, &names)?));
    }
    Ok(groups)
}

/// The sources that a group lists.
fn members(
    item: &TableItem<'_>,
    section: &Section<'_>,
    known: &[&str],
    groups: &[String],
) -> Result<Vec<String>> {
    let wanted = || {
        section.error(
            &item.name,
            "expected a list of sources, as in [\"app\", \"shop\"]",
        )
    };
    let DeValue::Array(items) = item.value.get_ref() else {
        return Err(wanted());
    };
    let mut members: Vec<String> = Vec::new();
    for value in items.iter() {
        let name = value.get_ref().as_str().ok_or_else(wanted)?;
        let error = |message: String| {
            section.scope.doc.error(
                value.span().start,
                format!("`{}` in [groups]: {message}", item.name),
            )
        };
        if groups.iter().any(|group| group == name) {
            return Err(error(format!("`{name}` is a group"))
                .with_hint("list its sources: a group holds sources only"));
        }
        if !known.contains(&name) {
            let unknown = error(format!("there is no source `{}`", name.escape_debug()));
            return Err(unknown.with_hint(suggestion(name, known, "sources")));
        }
        if members.iter().any(|member| member == name) {
            return Err(error(format!("`{name}` is listed twice")));
        }
        members.push(name.to_owned());
    }
    if members.is_empty() {
        return Err(section.error(&item.name, "the list is empty"));
    }
    Ok(members)
}
