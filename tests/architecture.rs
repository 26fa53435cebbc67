//! Holds the code against the rules of ARCHITECTURE.md: which room may use which (the table there),
//! that no two rooms use each other, who may print, and how names and lines are written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What every room may use.
const FOR_ALL: [&str; 3] = ["error", "units", "failpoint"];

/// Words that only some rooms may use.
const WORDS: &[(&str, &[&str])] = &[
    ("clap::", &["cli", "commands", "lib"]),
    ("toml::", &["config"]),
    ("rusqlite::", &["engine", "error"]),
    ("postgres::Client", &["engine"]),
    ("tar::", &["engine", "fuzzing"]),
    ("walkdir::", &["engine", "ops", "scratch", "store"]),
    ("rustls::", &["engine", "notify", "store"]),
    ("ureq::", &["notify"]),
    ("lettre::", &["notify"]),
    ("askama::", &["overview"]),
    ("use age::", &["encryption", "ops"]),
    ("println!", &[]),
    ("print!", &[]),
    ("stdout()", &["report"]),
    ("stderr()", &["report"]),
    ("process::exit", &[]),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // What a compiler made of the fuzz targets is not ours.
            if !path.ends_with("target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each file's room and its text, tests left out.
fn rooms() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut rooms = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap().to_path_buf();
        if relative.ends_with("tests.rs")
            || relative.iter().any(|part| part == "tests")
            || relative.ends_with("memory.rs")
            || relative.ends_with("faulty.rs")
        {
            continue;
        }
        let room = relative
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines: Vec<&str> = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        rooms.push((room, relative, lines.join("\n")));
    }
    rooms
}

/// A row of ARCHITECTURE.md's table of rooms.
struct RoomRow {
    /// The rooms that it is about, in the document's words: `ops/*` is `ops`.
    rooms: Vec<String>,
    /// What they may use: `all`, all but some, or a list.
    may_use: String,
}

impl RoomRow {
    /// The rooms that the last column names.
    fn named(&self) -> Vec<&str> {
        quoted(&self.may_use)
    }

    fn allows(&self, used: &str) -> bool {
        let is_named = self.named().contains(&used);
        match self.may_use.strip_prefix("all") {
            Some("") => true,
            Some(_) => !is_named,
            None => is_named,
        }
    }
}

/// The rows of the table of rooms. What it says of a room inside of another one is left out.
fn room_table() -> Vec<RoomRow> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, table) = document.split_once("| room |").unwrap();
    let lines = table.lines().skip(2).take_while(|line| !line.is_empty());
    lines
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let rooms = quoted(cells.next().unwrap()).into_iter();
            RoomRow {
                rooms: rooms
                    .map(|room| room.trim_end_matches("/*").to_owned())
                    .filter(|room| !room.contains('/'))
                    .collect(),
                may_use: cells.next_back().unwrap().to_owned(),
            }
        })
        .collect()
}

#[test]
fn rooms_use_what_the_document_says() {
    let table = room_table();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (room, file, text) in rooms() {
        let Some(row) = table.iter().find(|row| row.rooms.contains(&room)) else {
            panic!("{} is in no room of ARCHITECTURE.md", file.display())
        };
        for path in used_paths(&module_of(&file), &text) {
            let Some(used) = path.first().filter(|used| **used != room) else {
                continue;
            };
            if !row.allows(used) && !FOR_ALL.contains(&used.as_str()) {
                wrong.push(format!("{} uses `{used}`", file.display()));
            }
            uses.entry(room.clone()).or_default().insert(used.clone());
        }
    }
    for row in table.iter().filter(|row| !row.may_use.starts_with("all")) {
        for room in &row.rooms {
            let used = uses.get(room).cloned().unwrap_or_default();
            let unused = row.named().into_iter().filter(|name| !used.contains(*name));
            wrong.extend(unused.map(|name| format!("`{room}` does not use `{name}`")));
        }
    }
    assert!(table.len() > 40, "{} rows", table.len());
    assert_eq!(wrong, [] as [&str; 0]);
}

/// Where a text may show a command of the program as it stands: help texts, and what is written
/// into files. Anywhere else it is a part of a `Hint`, which the report gives the options that lead
/// to the same store.
const SHOWS_COMMANDS: &[&str] = &[
    "commands/documents.rs",
    "commands/init/text.rs",
    "error/hint.rs",
    // The reason in a plan is no remedy.
    "ops/prune/plan.rs",
    "ops/status/gauges.rs",
];

#[test]
fn hints_hold_commands_and_not_their_text() {
    let mut wrong = Vec::new();
    for (room, file, text) in rooms() {
        let name = file.display().to_string();
        if room == "cli" || SHOWS_COMMANDS.contains(&name.as_str()) {
            continue;
        }
        let shown = text.lines().filter(|line| line.contains("`dbbackup "));
        wrong.extend(shown.map(|line| format!("{name}: {line}")));
    }
    assert_eq!(wrong, [] as [&str; 0]);
}

/// Paths below `crate` that a text uses, resolved for a file of this module: `super::` and groups
/// in braces are written out. At most three segments are kept.
fn used_paths(module: &[String], text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        collect(&text[at + "crate::".len()..], &[], &mut paths);
    }
    let mut rest = text;
    while let Some(at) = rest.find("super::") {
        let mut after = &rest[at..];
        let mut parent = module.to_vec();
        while let Some(next) = after.strip_prefix("super::") {
            // In a room's own file it leads out of a module that stands in that file.
            parent.truncate((parent.len() - 1).max(1));
            after = next;
        }
        collect(after, &parent, &mut paths);
        rest = after;
    }
    paths
}

/// Reads one path, or a group of them, behind `before`.
fn collect(text: &str, before: &[String], paths: &mut Vec<Vec<String>>) {
    if let Some(group) = text.strip_prefix('{') {
        let mut depth = 0;
        let mut start = 0;
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    let item = group[start..at].trim();
                    if !item.is_empty() && item != "self" {
                        collect(item, before, paths);
                    } else if item == "self" {
                        paths.push(before.to_vec());
                    }
                    start = at + 1;
                    if character == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let name: String = text
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    let mut path = before.to_vec();
    if !name.is_empty() {
        path.push(name.clone());
    }
    match text[name.len()..].strip_prefix("::") {
        Some(rest) if !name.is_empty() && path.len() < 3 => collect(rest, &path, paths),
        _ => paths.push(path),
    }
}

/// The module that a file is: `ops/backup/source.rs` is `ops`, `backup`, `source`.
fn module_of(file: &Path) -> Vec<String> {
    file.with_extension("")
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect()
}

/// What a room's own file gives out of its sub-rooms: name → sub-room.
fn reexports(text: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for piece in text.split("pub use ").skip(1) {
        let mut paths = Vec::new();
        let path = piece.trim_start_matches("self::");
        collect(path, &[], &mut paths);
        for path in paths {
            if let [room, .., name] = &path[..] {
                names.insert(name.clone(), room.clone());
            }
        }
    }
    names
}

/// One circle in a graph, where there is one.
fn circle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        node: &str,
        edges: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(at) = way.iter().position(|known| known == node) {
            let mut found = way[at..].to_vec();
            found.push(node.to_owned());
            return Some(found);
        }
        if !done.insert(node.to_owned()) {
            return None;
        }
        way.push(node.to_owned());
        for next in edges.get(node).into_iter().flatten() {
            if let Some(found) = visit(next, edges, way, done) {
                return Some(found);
            }
        }
        way.pop();
        None
    }
    let mut done = BTreeSet::new();
    edges
        .keys()
        .find_map(|node| visit(node, edges, &mut Vec::new(), &mut done))
}

#[test]
fn no_two_rooms_use_each_other() {
    let files = rooms();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (room, file, text) in &files {
        for path in used_paths(&module_of(file), text) {
            match path.first() {
                Some(used) if used != room => {
                    edges.entry(room.clone()).or_default().insert(used.clone());
                }
                _ => {}
            }
        }
    }
    assert!(edges.len() > 15, "{edges:?}");
    assert_eq!(circle(&edges), None);
}

/// The rooms in `ops` and in `engine`, too.
#[test]
fn no_two_sub_rooms_use_each_other() {
    let files = rooms();
    for house in ["ops", "engine"] {
        let of_house = || files.iter().filter(|(room, ..)| room == house);
        let root = of_house().find(|(_, file, _)| *file == Path::new(house).with_extension("rs"));
        let given_out = reexports(&root.unwrap().2);
        let sub_rooms: BTreeSet<String> = of_house()
            .filter_map(|(_, file, _)| module_of(file).get(1).cloned())
            .collect();
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (_, file, text) in of_house() {
            let module = module_of(file);
            let Some(room) = module.get(1) else { continue };
            for path in used_paths(&module, text) {
                // An event may carry any operation's result.
                if room == "observer" {
                    continue;
                }
                let [first, name, ..] = &path[..] else {
                    continue;
                };
                let used = match given_out.get(name) {
                    _ if first != house => continue,
                    _ if sub_rooms.contains(name) => name,
                    Some(used) => used,
                    None => continue,
                };
                if used != room {
                    edges.entry(room.clone()).or_default().insert(used.clone());
                }
            }
        }
        assert!(edges.len() > 2, "{house}: {edges:?}");
        assert_eq!(circle(&edges), None, "in `{house}`");
    }
}

/// What commands share; no verb.
const SHARED_BY_COMMANDS: &[&str] = &["rendering"];

/// What two verbs need lives in `ops`.
#[test]
fn no_verb_uses_a_verb() {
    let files = rooms();
    let of_commands = || files.iter().filter(|(room, ..)| room == "commands");
    let verbs: BTreeSet<String> = of_commands()
        .filter_map(|(_, file, _)| module_of(file).get(1).cloned())
        .filter(|name| !SHARED_BY_COMMANDS.contains(&name.as_str()))
        .collect();
    let mut wrong = Vec::new();
    for (_, file, text) in of_commands() {
        let module = module_of(file);
        let Some(verb) = module.get(1) else { continue };
        for path in used_paths(&module, text) {
            if let [first, used, ..] = &path[..]
                && first == "commands"
                && used != verb
                && verbs.contains(used)
            {
                wrong.push(format!("{} uses `{used}`", file.display()));
            }
        }
    }
    assert_eq!(wrong, [] as [&str; 0]);
}

#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let module = ["ops", "backup", "source"].map(str::to_owned);
    let text = "use crate::{error::Error, units};\nuse super::{SourceResult, attempt::{self, \
                Run}};\n\
                super::super::hooks::run(crate::ops::Event);";
    let paths: Vec<String> = used_paths(&module, text)
        .iter()
        .map(|path| path.join("::"))
        .collect();
    assert_eq!(
        paths,
        [
            "error::Error",
            "units",
            "ops::Event",
            "ops::backup::SourceResult",
            "ops::backup::attempt",
            "ops::hooks::run",
        ]
    );
    let edges = |pairs: &[(&str, &str)]| {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            let uses = edges.entry((*from).to_owned()).or_default();
            uses.insert((*to).to_owned());
        }
        edges
    };
    assert_eq!(circle(&edges(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    assert!(circle(&edges(&[("x", "a"), ("a", "b"), ("b", "a")])).is_some());
}

/// A name says by itself what it means.
#[test]
fn names_of_types_are_defined_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines() {
            if let Some(name) = defined_type(line) {
                let shown = file.strip_prefix(&root).unwrap().display().to_string();
                places.entry(name).or_default().push(shown);
            }
        }
    }
    places.retain(|_, files| files.len() > 1);
    assert_eq!(places, BTreeMap::new());
}

/// The name of the type that a line begins to define; associated types have none of their own.
fn defined_type(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let mut word = words.next()?;
    if word == "pub" || word.starts_with("pub(") {
        word = words.by_ref().find(|word| !word.ends_with(')'))?;
    }
    let name = words.next()?;
    let is_definition = matches!(word, "struct" | "enum" | "trait" | "type");
    let name: String = name
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    let is_associated = word == "type" && line.starts_with(' ');
    (is_definition && !is_associated && name.starts_with(|c: char| c.is_ascii_uppercase()))
        .then_some(name)
}

/// Lines over 100 columns that rustfmt can't break, in raw strings and macros: how many of a file.
const LONG_LINES: &[(&str, usize)] = &[
    ("benches/catalog.rs", 2),
    ("benches/postgres.rs", 1),
    ("benches/sqlite.rs", 1),
    ("src/cli/init.rs", 1),
    ("src/cli/status.rs", 1),
    ("src/commands/init.rs", 1),
    ("src/commands/init/text.rs", 1),
    ("src/engine/files/tar/acl.rs", 1),
    ("src/engine/files/tar/pax.rs", 1),
    ("src/engine/postgres/archive/tests.rs", 1),
    ("src/engine/postgres/conninfo/passfile.rs", 1),
    ("src/engine/postgres/conninfo/tests.rs", 1),
    ("src/engine/postgres/names.rs", 1),
    ("src/engine/postgres/rows.rs", 1),
    ("src/retention/tests.rs", 1),
    ("src/tabular/json.rs", 1),
    ("src/units.rs", 3),
    ("tests/it/export.rs", 1),
    ("tests/it/foreign.rs", 1),
    ("tests/it/hooks.rs", 2),
    ("tests/it/postgres_export.rs", 2),
    ("tests/it/postgres_failures.rs", 1),
    ("tests/it/postgres_hostile.rs", 2),
    ("tests/it/postgres_restore.rs", 1),
    ("tests/it/postgres_tls.rs", 9),
    ("tests/it/screens.rs", 1),
];

#[test]
fn lines_are_at_most_100_columns_long() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let allowed: BTreeMap<&str, usize> = LONG_LINES.iter().copied().collect();
    let mut wrong = Vec::new();
    for dir in ["src", "tests", "benches", "examples"] {
        let mut files = Vec::new();
        if root.join(dir).is_dir() {
            sources(&root.join(dir), &mut files);
        }
        for file in files {
            let name = file.strip_prefix(root).unwrap().display().to_string();
            let text = std::fs::read_to_string(&file).unwrap();
            let long = text.lines().filter(|line| line.chars().count() > 100);
            let count = long.count();
            let allowed = allowed.get(name.as_str()).copied().unwrap_or(0);
            if count != allowed {
                wrong.push(format!("{name}: {count}, and the list says {allowed}"));
            }
        }
    }
    assert_eq!(wrong, [] as [&str; 0]);
}

#[test]
fn words_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for (room, file, text) in rooms() {
        for (word, allowed) in WORDS {
            if text.contains(word) && !allowed.contains(&room.as_str()) {
                wrong.push(format!("{} has `{word}`", file.display()));
            }
        }
    }
    assert_eq!(wrong, [] as [&str; 0]);
}

/// What a query of ours calls is the server's own, whatever a session's search path says. (An
/// operator can't be written so and still be read; the search path is empty before a session's
/// first query, which `postgres_hostile` tries with a hostile copy of each.)
#[test]
fn functions_of_the_catalog_are_named_with_their_schema() {
    let texts: Vec<(PathBuf, String)> = (rooms().into_iter())
        .filter(|(_, file, _)| file.starts_with("engine/postgres"))
        .map(|(_, file, text)| (file, text))
        .collect();
    let mut known = BTreeSet::new();
    for (_, text) in &texts {
        for after in text.split("pg_catalog.").skip(1) {
            let name: String = after
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            if after[name.len()..].starts_with('(') {
                known.insert(name);
            }
        }
    }
    assert!(known.len() > 20, "{known:?}");
    let mut wrong = Vec::new();
    for (file, text) in &texts {
        let is_query = |line: &&str| {
            ["SELECT ", " FROM ", "WHERE ", "JOIN "]
                .iter()
                .any(|word| line.contains(word))
        };
        for line in text.lines().filter(is_query) {
            for name in &known {
                let unqualified = line.match_indices(&format!("{name}(")).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    // A line without quotes is inside a text of several lines.
                    let in_text = !line.contains('"') || line[..at].matches('"').count() % 2 == 1;
                    in_text
                        && !before
                            .is_some_and(|c| c == '.' || c == '_' || c.is_ascii_alphanumeric())
                });
                if unqualified {
                    wrong.push(format!("{}: {name} in {}", file.display(), line.trim()));
                }
            }
        }
    }
    assert_eq!(wrong, [] as [&str; 0]);
}

#[test]
fn every_file_says_what_lives_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for dir in ["src", "tests", "benches", "examples"] {
        let mut files = Vec::new();
        if root.join(dir).is_dir() {
            sources(&root.join(dir), &mut files);
        }
        for file in files {
            assert!(
                std::fs::read_to_string(&file).unwrap().starts_with("//! "),
                "{} does not open by saying what it is",
                file.display()
            );
        }
    }
}

/// Words in backquotes of ARCHITECTURE.md that are others' and stand nowhere in the code.
const WORDS_OF_OTHERS: &[&str] = &["writable_schema"];

/// The code in backquotes of a Markdown text, what stands in fences left out.
fn quoted(markdown: &str) -> Vec<&str> {
    let prose = markdown.split("\n```").step_by(2);
    prose
        .flat_map(|part| {
            part.lines()
                .flat_map(|line| line.split('`').skip(1).step_by(2))
        })
        .collect()
}

/// The words of a text that can be names.
fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

/// The document names rooms, files, types and functions by their names: each must be there.
#[test]
fn what_the_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let mut files = Vec::new();
    for dir in ["src", "tests", "benches"] {
        sources(&root.join(dir), &mut files);
    }
    // Each file, and each directory above one: `src/store/remote.rs` is `/src/store/remote`.
    let mut places = BTreeSet::new();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for file in &files {
        let relative = file.strip_prefix(root).unwrap();
        for place in relative.ancestors() {
            places.insert(format!("/{}", place.with_extension("").display()));
        }
        known.insert(file.file_stem().unwrap().to_string_lossy().into_owned());
        if relative.starts_with("src") {
            let text = std::fs::read_to_string(file).unwrap();
            known.extend(identifiers(&text).map(str::to_owned));
        }
    }
    let is_path = |name: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_/.*-".contains(c);
        name.contains('/') && !name.starts_with(['/', '.']) && name.chars().all(fits)
    };
    let is_name = |name: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.replace("::", "").chars().all(fits) && !WORDS_OF_OTHERS.contains(&name)
    };
    let (mut paths, mut names) = (0, 0);
    let mut wrong = Vec::new();
    for name in quoted(&document) {
        if is_path(name) {
            let path = name.trim_end_matches(['*', '/']).trim_end_matches(".rs");
            let end = format!("/{path}");
            paths += 1;
            if !root.join(name).exists() && !places.iter().any(|place| place.ends_with(&end)) {
                wrong.push(name);
            }
        } else if is_name(name) {
            names += 1;
            let mut parts = name.split("::").filter(|part| !part.is_empty());
            if !parts.all(|part| known.contains(part)) {
                wrong.push(name);
            }
        }
    }
    assert!(paths > 40 && names > 150, "{paths} paths, {names} names");
    assert_eq!(wrong, [] as [&str; 0]);
}

/// Whatever a dump needs to be read, as an earlier dump or a key, is resolved in one place.
#[test]
fn stored_dumps_are_decoded_in_one_place() {
    let words = [
        "DecodeReader",
        "pipeline::measure(",
        "decoding.open(",
        "(LIST_CODEC).open(",
    ];
    let is_reader = |text: &str| words.iter().any(|word| text.contains(word));
    let readers: Vec<PathBuf> = (rooms().into_iter())
        .filter(|(room, _, text)| room != "pipeline" && is_reader(text))
        .map(|(_, file, _)| file)
        .collect();
    let one_place = [
        "ops/content.rs",
        "ops/content/way.rs",
        "ops/content/cache.rs",
    ];
    assert_eq!(readers, one_place.map(PathBuf::from));
}
