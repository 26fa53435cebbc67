//! `dbbackup export`: tables out of a backup as files, without restoring it.

use crate::cli::ExportArguments;
use crate::config::nearest;
use crate::engine::postgres::content::DumpContentCheck;
use crate::engine::postgres::names::QualifiedName;
use crate::engine::postgres::{restore_list, rows::RowDecoder};
use crate::engine::sqlite::{self, SqliteDestination};
use crate::engine::{Check, CheckStatus, Depth, DumpFormat, Manifest, PgFormat};
use crate::error::{Context, Error, Kind, Result};
use crate::ops::Session;
use crate::ops::examine::{self, ExaminationOptions};
use crate::ops::find::{self, ResolvedBackup};
use crate::plan;
use crate::report::{Outcome, Paint, Report};
use crate::tabular::{self, ExportedTable, FileNames, TableFiles};
use crate::units;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub fn run(arguments: &ExportArguments, session: &Session, report: &mut Report) -> Result<Outcome> {
    let found = find::find(&arguments.backup, session)?;
    for newer in &found.passed_over {
        report.warn(format!("{newer}: it is passed over"));
    }
    let dump = format_of(&found)?;
    let dir = plan::absolute(&session.cwd, &arguments.to);
    let mut choice = Choice {
        backup: found.name(),
        wanted: &arguments.tables,
        dump,
        met: vec![false; arguments.tables.len()],
        seen: Vec::new(),
    };
    if let Some(manifest) = found.stored().manifest {
        // What can be known to fail before the work.
        choice.refuse_unknown(manifest)?;
        refuse_to_replace(&choice, manifest, &dir, arguments)?;
    }
    let made = make(&dir)?;
    let written =
        export(&found, &mut choice, &dir, arguments, session, report).inspect_err(|_| {
            if made {
                let _ = std::fs::remove_dir(&dir);
            }
        })?;
    say(&found, &written, report);
    Ok(None)
}

/// The format of PostgreSQL's dumps; `None` for SQLite's.
fn format_of(found: &ResolvedBackup) -> Result<Option<PgFormat>> {
    let refused = |why: &str| Error::usage(format!("`{}` holds {why}", found.name()));
    match found.format {
        DumpFormat::GLOBALS => Err(refused("roles, and no tables")),
        DumpFormat::Tar => Err(refused("files, and no tables").with_hint(format!(
            "take files out of it with `dbbackup restore {} --path GLOB --to DIR`",
            found.name()
        ))),
        DumpFormat::Postgres(format) => Ok(Some(format)),
        DumpFormat::Sqlite => Ok(None),
    }
}

/// Which tables are to be written, and which there were.
struct Choice<'a> {
    /// The backup's name, for messages.
    backup: String,
    wanted: &'a [String],
    dump: Option<PgFormat>,
    met: Vec<bool>,
    /// As messages call them.
    seen: Vec<String>,
}

impl Choice<'_> {
    /// Whether it is one of those that are wanted, all where none is named.
    fn takes(&mut self, schema: &str, name: &str) -> bool {
        self.seen.push(self.display(schema, name));
        let mut taken = self.wanted.is_empty();
        for (wanted, met) in self.wanted.iter().zip(&mut self.met) {
            let meant = match self.dump {
                Some(_) => restore_list::names_table(wanted, schema, name),
                None => is_called(wanted, name),
            };
            *met |= meant;
            taken |= meant;
        }
        taken
    }

    fn display(&self, schema: &str, name: &str) -> String {
        match self.dump {
            Some(_) => QualifiedName::new(schema, name).to_string(),
            None => sqlite::facts::quoted(name),
        }
    }

    /// The parts of a name as a manifest has it.
    fn parts_of(&self, name: &str) -> (String, String) {
        match self.dump {
            Some(_) => QualifiedName::parse(name)
                .map_or_else(Default::default, |name| (name.schema, name.name)),
            None => (String::new(), sqlite::facts::unquoted(name)),
        }
    }

    fn refuse_unknown(&self, manifest: &Manifest) -> Result<()> {
        let mut known = Choice {
            backup: self.backup.clone(),
            wanted: self.wanted,
            dump: self.dump,
            met: self.met.clone(),
            seen: Vec::new(),
        };
        for table in &manifest.tables {
            let (schema, name) = self.parts_of(&table.name);
            known.takes(&schema, &name);
        }
        if manifest.tables.is_empty() {
            Ok(())
        } else {
            known.all_met()
        }
    }

    /// Every table that was named must have been there.
    fn all_met(&self) -> Result<()> {
        let Some((wanted, _)) = self.wanted.iter().zip(&self.met).find(|(_, met)| !**met) else {
            return Ok(());
        };
        let error = Error::not_found(format!("the backup has no rows of a table `{wanted}`"));
        // Most people leave the schema out.
        let alone = self.seen.iter().map(|seen| {
            (
                seen.as_str(),
                seen.split_once('.').map_or(seen.as_str(), |(_, name)| name),
            )
        });
        let near = nearest(wanted, self.seen.iter().map(String::as_str)).or_else(|| {
            nearest(wanted, alone.clone().map(|(_, name)| name))
                .and_then(|name| alone.clone().find(|(_, one)| *one == name))
                .map(|(seen, _)| seen)
        });
        Err(match near {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!(
                "`dbbackup show {} --contents` lists its tables",
                self.backup
            )),
        })
    }
}

/// As SQLite compares names: without regard to ASCII case, with quotes or without.
fn is_called(wanted: &str, name: &str) -> bool {
    let wanted = wanted.strip_prefix("main.").unwrap_or(wanted);
    wanted.eq_ignore_ascii_case(name) || sqlite::facts::unquoted(wanted).eq_ignore_ascii_case(name)
}

/// A file that is there is found before the work, as far as the manifest tells which there will be.
fn refuse_to_replace(
    choice: &Choice<'_>,
    manifest: &Manifest,
    dir: &Path,
    arguments: &ExportArguments,
) -> Result<()> {
    if arguments.overwrite {
        return Ok(());
    }
    let mut names = FileNames::new(arguments.format.extension());
    let mut looking = Choice {
        backup: choice.backup.clone(),
        wanted: choice.wanted,
        dump: choice.dump,
        met: choice.met.clone(),
        seen: Vec::new(),
    };
    let tables = manifest
        .tables
        .iter()
        .filter(|table| table.compare && !table.kind.starts_with("shadow"));
    let named = tables
        .map(|table| choice.parts_of(&table.name))
        .filter(|(schema, name)| looking.takes(schema, name));
    let paths: Vec<PathBuf> = named
        .map(|(schema, name)| dir.join(names.next(&schema, &name)))
        .collect();
    tabular::refuse_to_replace(paths.iter().map(PathBuf::as_path))
}

/// Makes the directory where it is missing, its parents never; whether it did.
fn make(dir: &Path) -> Result<bool> {
    if dir.is_dir() {
        return Ok(false);
    }
    if dir.symlink_metadata().is_ok() {
        return Err(
            Error::usage(format!("`{}` is not a directory", dir.display()))
                .with_hint("name a directory for the files"),
        );
    }
    let made = std::fs::DirBuilder::new().mode(0o700).create(dir);
    made.map(|()| true)
        .with_context(|| format!("making the directory `{}`", dir.display()))
        .map_err(|error| {
            let parent = dir.parent().is_some_and(Path::is_dir);
            if parent {
                error
            } else {
                error
                    .with_hint("only the last directory of the path is made: make its parent first")
            }
        })
}

fn export(
    found: &ResolvedBackup,
    choice: &mut Choice<'_>,
    dir: &Path,
    arguments: &ExportArguments,
    session: &Session,
    report: &Report,
) -> Result<Vec<ExportedTable>> {
    let settings = session.settings_of(&found.source);
    let means = ExaminationOptions {
        scratch_dir: &settings.scratch_dir,
        threads: settings.thread_count(),
        proving: &session.proving_of(&found.source),
        observer: report,
    };
    let dump = choice.dump;
    let mut files = TableFiles::new(dir, arguments.format, |schema, name| {
        choice.takes(schema, name)
    })?;
    match dump {
        None => from_sqlite(found, &mut files, !arguments.tables.is_empty(), &means)?,
        Some(dump) => from_postgres(found, dump, &mut files, &means)?,
    }
    let complete = files.finish();
    choice.all_met()?;
    if complete.is_empty() {
        return Err(
            Error::failed(format!("`{}` holds no rows of tables", found.name())).with_hint(
                "a dump that was made with `--inserts` has them as statements: restore it, and \
                   take them from there",
            ),
        );
    }
    complete.publish(arguments.overwrite)
}

fn from_postgres(
    found: &ResolvedBackup,
    dump: PgFormat,
    files: &mut TableFiles<'_>,
    means: &ExaminationOptions<'_>,
) -> Result<()> {
    let mut rows = RowDecoder::new(files);
    let mut content = DumpContentCheck::new(dump, &means.proving.search).watched_by(&mut rows);
    let checks = examine::receive(&found.stored(), &mut content, Depth::Content, means)?;
    must_be_sound(found, &checks)?;
    if let Some(encoding) = rows.foreign_encoding() {
        means.observer.warn(format!(
            "the text in the files is in {encoding}, as it is in the database"
        ));
    }
    Ok(())
}

fn from_sqlite(
    found: &ResolvedBackup,
    files: &mut TableFiles<'_>,
    by_name: bool,
    means: &ExaminationOptions<'_>,
) -> Result<()> {
    let stored = found.stored();
    let mut copy =
        SqliteDestination::drill(means.scratch_dir, stored.content_size(), stored.database)?;
    let checks = examine::receive(&stored, &mut copy, Depth::Content, means)?;
    must_be_sound(found, &checks)?;
    let db = copy.received()?;
    for table in sqlite::rows::list_tables(&db)?
        .iter()
        .filter(|table| by_name || !table.internal)
    {
        if !sqlite::rows::read_rows(&db, table, files)? {
            let name = sqlite::facts::quoted(&table.name);
            means.observer.warn(format!(
                "the virtual table {name} is left out: what reads it is not built in here"
            ));
        }
    }
    Ok(())
}

/// What is damaged, or can't be read to its end here, is not given out.
fn must_be_sound(found: &ResolvedBackup, checks: &[Check]) -> Result<()> {
    if let Some(damaged) = examine::damage_in(&found.name(), checks) {
        return Err(damaged.with_hint("no file was written; `dbbackup list` shows other backups"));
    }
    match checks
        .iter()
        .find(|check| check.status != CheckStatus::Ok && check.name != "integrity")
    {
        Some(check) => Err(Error::new(
            Kind::Failed,
            format!("`{}` can't be read here: {}", found.name(), check.detail),
        )),
        None => Ok(()),
    }
}

fn say(found: &ResolvedBackup, written: &[ExportedTable], report: &mut Report) {
    let table = |file: &ExportedTable| match found.format {
        DumpFormat::Sqlite => sqlite::facts::quoted(&file.table),
        _ => QualifiedName::new(&file.schema, &file.table).to_string(),
    };
    for file in written {
        let replaced = if file.replaced {
            ", replacing what was there"
        } else {
            ""
        };
        report.line(format!(
            "{} {}: {} in {} ({}){replaced}",
            report.paint(Paint::Good, "ok"),
            table(file),
            units::count(file.rows, "row"),
            file.path.display(),
            units::size(file.size)
        ));
        if file.mended > 0 {
            report.warn(format!(
                "{}: {} no UTF-8, which JSON must be; what is none became U+FFFD",
                table(file),
                if file.mended == 1 {
                    "1 value is".to_owned()
                } else {
                    format!("{} values are", units::thousands(file.mended))
                }
            ));
        }
    }
    let exported: Vec<serde_json::Value> = written
        .iter()
        .map(|file| {
            serde_json::json!({"table": table(file), "file": file.path, "rows": file.rows,
            "size_bytes": file.size})
        })
        .collect();
    report.set("id", found.name());
    report.set("exported", exported);
}
