//! Exporting: tables out of a backup as files, without restoring it.

use super::examine::{self, ExaminationOptions};
use super::find::{self, ResolvedBackup};
use super::{Observer, Session};
use crate::config::nearest;
use crate::engine::postgres::content::DumpContentCheck;
use crate::engine::postgres::names::QualifiedName;
use crate::engine::postgres::{restore_list, rows::RowDecoder};
use crate::engine::sqlite::{self, SqliteDestination};
use crate::engine::{Check, CheckStatus, CheckSubject, Depth, DumpFormat, Manifest, PgFormat};
use crate::error::{Context, Error, Hint, Kind, Result};
use crate::tabular::{self, ExportedTable, FileNames, TableFiles, TableFormat};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Which tables are exported, from where and to where.
#[derive(Debug)]
pub struct ExportRequest {
    /// The name of the backup, or the path of a dump.
    pub backup: String,
    /// The tables; all of them where there is none.
    pub tables: Vec<String>,
    /// The directory of the files, absolute; made where it is missing.
    pub to: PathBuf,
    /// What the files are.
    pub format: TableFormat,
    /// Replace files that are there.
    pub overwrite: bool,
}

/// The result of an export.
pub struct ExportSummary {
    /// The backup, or the dump's file.
    pub id: String,
    /// The tables that were written.
    pub tables: Vec<TableExport>,
}

/// A table that was written to a file.
pub struct TableExport {
    /// Its name, as the database would print it.
    pub name: String,
    /// Its file.
    pub written: ExportedTable,
}

/// Exports tables; the files appear when all of the dump was found sound.
pub fn export_tables(
    request: &ExportRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<ExportSummary> {
    let found = find::find_backup(&request.backup, session)?;
    found.settle_on_this(session, observer)?;
    let mut choice = TableChoice {
        backup: found.name(),
        wanted: &request.tables,
        dump: dump_format(&found)?,
        met: vec![false; request.tables.len()],
        seen: Vec::new(),
    };
    if let Some(manifest) = found.stored().manifest {
        // What can be known to fail before the work.
        choice.refuse_unknown(manifest)?;
        refuse_to_replace(&choice, manifest, request)?;
    }
    let is_new = create_directory(&request.to)?;
    let written =
        write_tables(&found, &mut choice, request, session, observer).inspect_err(|_| {
            if is_new {
                let _ = std::fs::remove_dir(&request.to);
            }
        })?;
    let named = |written: ExportedTable| TableExport {
        name: choice.display(&written.schema, &written.table),
        written,
    };
    Ok(ExportSummary {
        id: found.name(),
        tables: written.into_iter().map(named).collect(),
    })
}

/// Finds the format of a dump of PostgreSQL's; `None` for SQLite's.
fn dump_format(found: &ResolvedBackup) -> Result<Option<PgFormat>> {
    let refused = |why: &str| Error::usage(format!("`{}` holds {why}", found.name()));
    match found.format {
        DumpFormat::GLOBALS => Err(refused("roles, and no tables")),
        DumpFormat::Tar => Err(refused("files, and no tables").with_hint(
            Hint::new().text("take files out of it with ").command([
                "restore",
                &found.name(),
                "--path",
                "GLOB",
                "--to",
                "DIR",
            ]),
        )),
        DumpFormat::Postgres(format) => Ok(Some(format)),
        DumpFormat::Sqlite => Ok(None),
    }
}

/// The tables that are to be written, and those that were met.
struct TableChoice<'a> {
    /// The backup's name, for messages.
    backup: String,
    wanted: &'a [String],
    dump: Option<PgFormat>,
    met: Vec<bool>,
    /// As messages call them.
    seen: Vec<String>,
}

impl TableChoice<'_> {
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
            None => sqlite::facts::quote_if_needed(name),
        }
    }

    /// The parts of a name as a manifest has it.
    fn parts_of(&self, name: &str) -> (String, String) {
        match self.dump {
            Some(_) => QualifiedName::parse(name)
                .map_or_else(Default::default, |name| (name.schema, name.name)),
            None => (String::new(), sqlite::facts::unquote(name)),
        }
    }

    fn refuse_unknown(&self, manifest: &Manifest) -> Result<()> {
        let mut known = TableChoice {
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
            None => error.with_hint(
                Hint::new()
                    .command(["show", &self.backup, "--contents"])
                    .text(" lists its tables"),
            ),
        })
    }
}

/// As SQLite compares names: without regard to ASCII case, with quotes or without.
fn is_called(wanted: &str, name: &str) -> bool {
    let wanted = wanted.strip_prefix("main.").unwrap_or(wanted);
    wanted.eq_ignore_ascii_case(name) || sqlite::facts::unquote(wanted).eq_ignore_ascii_case(name)
}

/// A file that is there is found before the work, as far as the manifest tells which there will be.
fn refuse_to_replace(
    choice: &TableChoice<'_>,
    manifest: &Manifest,
    request: &ExportRequest,
) -> Result<()> {
    if request.overwrite {
        return Ok(());
    }
    let mut names = FileNames::new(request.format.extension());
    let mut looking = TableChoice {
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
        .map(|(schema, name)| request.to.join(names.next(&schema, &name)))
        .collect();
    tabular::refuse_to_replace(paths.iter().map(PathBuf::as_path))
}

/// Makes the directory where it is missing, its parents never; tells whether it did.
fn create_directory(dir: &Path) -> Result<bool> {
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

fn write_tables(
    found: &ResolvedBackup,
    choice: &mut TableChoice<'_>,
    request: &ExportRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<Vec<ExportedTable>> {
    let settings = session.settings_of(&found.source);
    let options = ExaminationOptions {
        scratch_dir: &settings.scratch_dir,
        threads: settings.thread_count(),
        drill_settings: &session.drill_settings_of(&found.source),
        observer,
    };
    let dump = choice.dump;
    let mut files = TableFiles::new(&request.to, request.format, |schema, name| {
        choice.takes(schema, name)
    })?;
    match dump {
        None => from_sqlite(found, &mut files, !request.tables.is_empty(), &options)?,
        Some(dump) => from_postgres(found, dump, &mut files, &options)?,
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
    complete.publish(request.overwrite)
}

fn from_postgres(
    found: &ResolvedBackup,
    dump: PgFormat,
    files: &mut TableFiles<'_>,
    options: &ExaminationOptions<'_>,
) -> Result<()> {
    let mut rows = RowDecoder::new(files);
    let mut content =
        DumpContentCheck::new(dump, &options.drill_settings.search).watched_by(&mut rows);
    let checks = examine::receive(&found.stored(), &mut content, Depth::Content, options)?;
    must_be_sound(found, &checks)?;
    if let Some(encoding) = rows.foreign_encoding() {
        options.observer.warn(format!(
            "the text in the files is in {encoding}, as it is in the database"
        ));
    }
    Ok(())
}

fn from_sqlite(
    found: &ResolvedBackup,
    files: &mut TableFiles<'_>,
    by_name: bool,
    options: &ExaminationOptions<'_>,
) -> Result<()> {
    let stored = found.stored();
    let mut copy =
        SqliteDestination::drill(options.scratch_dir, stored.content_size(), stored.database)?;
    let checks = examine::receive(&stored, &mut copy, Depth::Content, options)?;
    must_be_sound(found, &checks)?;
    let db = copy.received()?;
    for table in sqlite::rows::list_tables(&db)?
        .iter()
        .filter(|table| by_name || !table.internal)
    {
        if !sqlite::rows::read_rows(&db, table, files)? {
            let name = sqlite::facts::quote_if_needed(&table.name);
            options.observer.warn(format!(
                "the virtual table {name} is left out: what reads it is not built in here"
            ));
        }
    }
    Ok(())
}

/// What is damaged, or can't be read to its end here, is not given out.
fn must_be_sound(found: &ResolvedBackup, checks: &[Check]) -> Result<()> {
    if let Some(damaged) = examine::damage_error(&found.name(), checks) {
        return Err(damaged.with_hint(
            Hint::new()
                .text("no file was written; ")
                .command(["list"])
                .text(" shows other backups"),
        ));
    }
    match checks
        .iter()
        .find(|check| check.status != CheckStatus::Ok && check.subject != CheckSubject::Integrity)
    {
        Some(check) => Err(Error::new(
            Kind::Failed,
            format!("`{}` can't be read here: {}", found.name(), check.detail()),
        )),
        None => Ok(()),
    }
}
