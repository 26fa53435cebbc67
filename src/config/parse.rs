//! From text to [`Config`]: a walk over the tables, each read by a [`Section`].

use super::expand::{env_file, expand};
use super::hooks::{HookKeys, hooks};
use super::kinds::{keys_of_all, kind_of};
use super::log::log;
use super::section::{Entry, Scope, Section};
use super::strict::{Document, fields, suggestion};
use super::{
    BackupKeys, Config, MetricsKeys, RetentionTable, SourceEntry, SourceKeys, StoreConfig,
    Unusable, value,
};
use crate::error::{Context, Error, Result};
use crate::store::Location;
use serde::Deserialize;
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
    "sources",
    "groups",
];

/// The retention tables of one level: its own, those of its labels, and the faults of the
/// environment in them.
type Retention = (
    Option<RetentionTable>,
    BTreeMap<String, RetentionTable>,
    Vec<Unusable>,
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
    top.only(&[TOP], &belongs(""))?;

    let mut config = Config {
        path: path.to_owned(),
        ..Config::default()
    };
    config.store = top
        .take("store")
        .map(|entry| store(entry, "[store]".to_owned(), scope))
        .transpose()?;
    if let Some(entry) = top.take("stores") {
        config.stores = stores(entry, scope)?;
    }
    if let Some(entry) = top.take("backup") {
        let mut section = Section::open(entry, "[backup]".to_owned(), scope)?;
        section.only(&[fields::<BackupKeys>(), fields::<RunKeys>()], &belongs(""))?;
        config.backup = backup_keys(&mut section)?;
        config.jobs = section.read::<RunKeys>()?.jobs;
    }
    if let Some(entry) = top.take("retention") {
        (config.retention, config.retention_labels, _) =
            retention(entry, "retention", scope, &mut config.warnings)?;
    }
    config.hooks = top
        .take("hooks")
        .map(|entry| hooks(entry, "[hooks]".to_owned(), scope))
        .transpose()?;
    config.log = top.take("log").map(|entry| log(entry, scope)).transpose()?;
    if let Some(entry) = top.take("sources") {
        config.sources = sources(entry, scope, &mut config.warnings)?;
    }
    if let Some(entry) = top.take("metrics") {
        let mut section = Section::open(entry, "[metrics]".to_owned(), scope)?;
        section.only(&[fields::<MetricsKeys>()], &belongs(""))?;
        config.metrics = section.read()?;
        config.metrics.textfile = section.place("textfile", config.metrics.textfile)?;
        if config
            .metrics
            .textfile
            .as_ref()
            .is_some_and(|path| path.extension().is_none_or(|end| end != "prom"))
        {
            return Err(section.error(
                "textfile",
                "the name of a file of metrics must end in `.prom`: node_exporter reads no other",
            ));
        }
    }
    if let Some(entry) = top.take("groups") {
        config.groups = groups(entry, &config.sources, scope)?;
    }
    Ok(config)
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
        let table = if fields::<RetentionTable>().contains(&key) {
            "retention"
        } else if fields::<HookKeys>().contains(&key) {
            "hooks"
        } else if fields::<RunKeys>().contains(&key) {
            return Some("it belongs in [backup]: it is the whole run's".to_owned());
        } else if source.is_empty() && fields::<BackupKeys>().contains(&key) {
            "backup"
        } else {
            return None;
        };
        let dot = if source.is_empty() { "" } else { "." };
        Some(format!("it belongs in [{source}{dot}{table}]"))
    }
}

/// A name as a part of a table's header: quoted where TOML wants it.
fn part(name: &str) -> String {
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
fn check_name(entry: &Entry<'_>, what: &str, scope: &Scope<'_>) -> Result<()> {
    if is_source_name(&entry.name) {
        return Ok(());
    }
    let message = format!(
        "`{}` can't be the name of a {what}",
        entry.name.escape_debug()
    );
    Err(scope
        .doc
        .error(entry.offset, message)
        .with_hint("use letters, digits, `.`, `_` and `-`, a letter or digit first"))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StoreKeys {
    #[serde(deserialize_with = "value::path")]
    path: Option<PathBuf>,
    #[serde(deserialize_with = "value::flag")]
    require_mount: Option<bool>,
}

fn store(entry: Entry<'_>, header: String, scope: &Scope<'_>) -> Result<StoreConfig> {
    let mut section = Section::open(entry, header, scope)?;
    section.only(&[fields::<StoreKeys>()], &|_| None)?;
    let keys: StoreKeys = section.read()?;
    if let Some(path) = &keys.path {
        Location::parse(&path.to_string_lossy(), Path::new("/"))
            .map_err(|why| section.error("path", why))?;
    }
    let path = section.required_path("path", keys.path)?;
    Ok(StoreConfig {
        location: Location::from(path),
        require_mount: keys.require_mount.unwrap_or(false),
    })
}

fn stores(entry: Entry<'_>, scope: &Scope<'_>) -> Result<BTreeMap<String, StoreConfig>> {
    let mut section = Section::open(entry, "[stores]".to_owned(), scope)?;
    let mut stores = BTreeMap::new();
    for entry in section.take_all() {
        check_name(&entry, "store", scope)?;
        let name = entry.name.clone();
        let header = format!("[stores.{}]", part(&name));
        stores.insert(name, store(entry, header, scope)?);
    }
    Ok(stores)
}

/// The keys of `[backup]` that are the whole run's.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RunKeys {
    #[serde(deserialize_with = "value::threads")]
    jobs: Option<usize>,
}

fn backup_keys(section: &mut Section<'_>) -> Result<BackupKeys> {
    let mut keys: BackupKeys = section.read()?;
    keys.compression_line = keys
        .compression
        .as_ref()
        .map(|_| section.line("compression"));
    keys.scratch_dir = section.place("scratch_dir", keys.scratch_dir)?;
    Ok(keys)
}

/// A retention table and those of its labels; `at` is its header without the brackets.
fn retention(
    entry: Entry<'_>,
    at: &str,
    scope: &Scope<'_>,
    warnings: &mut Vec<String>,
) -> Result<Retention> {
    let mut section = Section::open(entry, format!("[{at}]"), scope)?;
    section.only(&[fields::<RetentionTable>(), &["label"]], &|_| None)?;
    let labels_entry = section.take("label");
    // TOML makes `[retention]` where only `[retention.label.daily]` is written; that one sets
    // nothing.
    let own = labels_entry.is_none() || !section.names().is_empty() || !section.faults.is_empty();
    let table = retention_table(&mut section)?;
    let mut faults = section.faults;
    let mut labels = BTreeMap::new();
    if let Some(entry) = labels_entry {
        let mut section = Section::open(entry, format!("[{at}.label]"), scope)?;
        for entry in section.take_all() {
            let name = entry.name.clone();
            let (table, more) = label(entry, at, scope, warnings)?;
            labels.insert(name, table);
            faults.extend(more);
        }
    }
    Ok((own.then_some(table), labels, faults))
}

fn label(
    entry: Entry<'_>,
    at: &str,
    scope: &Scope<'_>,
    warnings: &mut Vec<String>,
) -> Result<(RetentionTable, Vec<Unusable>)> {
    let (name, offset) = (entry.name.clone(), entry.offset);
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
    let mut section = Section::open(entry, header, scope)?;
    section.only(&[fields::<RetentionTable>()], &|_| None)?;
    let table = retention_table(&mut section)?;
    Ok((table, section.faults))
}

/// The rules of one table. A rule that the environment failed voids them all: half a policy could
/// remove what the whole one keeps.
fn retention_table(section: &mut Section<'_>) -> Result<RetentionTable> {
    let table = section.read()?;
    Ok(if section.faults.is_empty() {
        table
    } else {
        RetentionTable::default()
    })
}

fn sources(
    entry: Entry<'_>,
    scope: &Scope<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, SourceEntry)>> {
    let mut section = Section::open(entry, "[sources]".to_owned(), scope)?;
    let mut sources = Vec::new();
    for entry in section.take_all() {
        check_name(&entry, "source", scope)?;
        sources.push((entry.name.clone(), source(entry, scope, warnings)?));
    }
    Ok(sources)
}

fn source(entry: Entry<'_>, outer: &Scope<'_>, warnings: &mut Vec<String>) -> Result<SourceEntry> {
    let at = format!("sources.{}", part(&entry.name));
    let (scope, unreadable) = scope_of_source(&entry, &at, outer);
    let mut section = Section::open(entry, format!("[{at}]"), &scope)?;
    let only = |section: &Section<'_>, keys: &[&str]| {
        let shared: &[&str] = &["kind", "retention", "hooks"];
        section.only(
            &[shared, fields::<SourceKeys>(), keys, fields::<BackupKeys>()],
            &belongs(&at),
        )
    };
    if !section.has("kind") {
        // It may be there misspelt.
        only(&section, &keys_of_all())?;
    }
    let kind = kind_of(&mut section)?;
    only(&section, (kind.keys)())?;

    let (table, labels, more) = match section.take("retention") {
        Some(entry) => retention(entry, &format!("{at}.retention"), &scope, warnings)?,
        None => Retention::default(),
    };
    let hooks = section
        .take("hooks")
        .map(|entry| hooks(entry, format!("[{at}.hooks]"), &scope))
        .transpose()?;
    let mut common: SourceKeys = section.read()?;
    common.env_file = scope.file.as_ref().map(|(path, _)| path.clone());
    if let (Some(start), Some(end)) = (common.start, common.end)
        && end <= start
    {
        section.wrong("end", "expected a time after `start`")?;
    }
    let backup = backup_keys(&mut section)?;
    let keys = (kind.read)(&mut section)?;
    let unusable = unreadable
        .into_iter()
        .chain(section.faults)
        .chain(more)
        .next();
    Ok(SourceEntry {
        common,
        backup,
        hooks,
        retention: table,
        retention_labels: labels,
        kind: keys,
        unusable,
    })
}

/// The scope of a source's tables, with the variables of its env_file; and why that file could not
/// be read.
fn scope_of_source<'a>(
    entry: &Entry<'_>,
    at: &str,
    outer: &Scope<'a>,
) -> (Scope<'a>, Option<Unusable>) {
    let mut scope = Scope {
        file: None,
        of_source: true,
        ..*outer
    };
    let setting = entry
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
    let fault = |why: String| Unusable {
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

fn groups(
    entry: Entry<'_>,
    sources: &[(String, SourceEntry)],
    scope: &Scope<'_>,
) -> Result<Vec<(String, Vec<String>)>> {
    let mut section = Section::open(entry, "[groups]".to_owned(), scope)?;
    let names = section.names();
    let known: Vec<&str> = sources.iter().map(|(name, _)| name.as_str()).collect();
    let mut groups = Vec::new();
    for entry in section.take_all() {
        check_name(&entry, "group", scope)?;
        if known.contains(&entry.name.as_str()) {
            let message = format!("`{}` in [groups] is also the name of a source", entry.name);
            return Err(scope
                .doc
                .error(entry.offset, message)
                .with_hint("rename one of them: commands take either by name"));
        }
        groups.push((
            entry.name.clone(),
            members(&entry, &section, &known, &names)?,
        ));
    }
    Ok(groups)
}

/// The sources that a group lists.
fn members(
    entry: &Entry<'_>,
    section: &Section<'_>,
    known: &[&str],
    groups: &[String],
) -> Result<Vec<String>> {
    let wanted = || {
        section.error(
            &entry.name,
            "expected a list of sources, as in [\"app\", \"shop\"]",
        )
    };
    let DeValue::Array(items) = entry.value.get_ref() else {
        return Err(wanted());
    };
    let mut members: Vec<String> = Vec::new();
    for item in items.iter() {
        let name = item.get_ref().as_str().ok_or_else(wanted)?;
        let error = |message: String| {
            section.scope.doc.error(
                item.span().start,
                format!("`{}` in [groups]: {message}", entry.name),
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
        return Err(section.error(&entry.name, "the list is empty"));
    }
    Ok(members)
}
