//! Fills a database with `pg_restore`, with several jobs where the archive is a file.
//!
//! `pg_restore` runs the privileges of an archive in parallel, too, although one may need another:
//! what a role grants by itself, on a table of somebody else's schema, fails before the role is
//! let into the schema. So privileges, and what `pg_restore` puts after them, have a run of their
//! own with one job, which takes them in the order of the archive.

use super::failed_statements::parse_failed_statements;
use super::{ClientPrograms, DumpInput, FailedStatements, FillRequest, Program};
use crate::engine::postgres::script::copy_stream;
use crate::engine::postgres::toc::{Toc, TocEntry};
use crate::error::{Context, Result};
use crate::process::{Pipes, Process};
use std::path::{Path, PathBuf};

/// What `pg_restore` restores as privileges.
const PRIVILEGES: &[&str] = &["ACL", "ACL LANGUAGE", "DEFAULT ACL"];

/// What it restores after them (`_tocEntryRestorePass` in its `pg_backup_archiver.c`), beside the
/// comments on event triggers.
const AFTER_PRIVILEGES: &[&str] = &["EVENT TRIGGER", "MATERIALIZED VIEW DATA"];

/// One run of `pg_restore` over an archive in a file.
struct RestoreRun {
    jobs: usize,
    /// The file with the entries that it takes; all of them without.
    list: Option<PathBuf>,
}

impl ClientPrograms<'_> {
    pub(super) fn fill_with_pg_restore(
        &self,
        program: &Program,
        filling: &FillRequest<'_>,
        content: DumpInput<'_>,
    ) -> Result<FailedStatements> {
        let archive = match content {
            DumpInput::Stream(stream) => {
                let mut process = self.start_restore(program, filling, &[], true)?;
                let stdin = process.writer()?;
                copy_stream(stream, stdin)?;
                return finish_restore(process, filling.part);
            }
            DumpInput::File(path) => path,
        };
        let mut failed = FailedStatements::default();
        for run in self.plan_runs(program, filling, archive)? {
            let mut arguments = vec![format!("--jobs={}", run.jobs)];
            // It counts in place of one that the request's options name.
            let list = run.list.as_deref().map(Path::display);
            arguments.extend(list.map(|list| format!("--use-list={list}")));
            arguments.push(archive.display().to_string());
            let process = self.start_restore(program, filling, &arguments, false)?;
            failed.extend(finish_restore(process, filling.part)?);
        }
        Ok(failed)
    }

    fn start_restore(
        &self,
        program: &Program,
        filling: &FillRequest<'_>,
        more: &[String],
        stdin: bool,
    ) -> Result<Process> {
        let mut arguments = vec![
            "--no-password".to_owned(),
            self.address(filling.database, "dbbackup"),
        ];
        if !filling.part {
            arguments.push("--exit-on-error".to_owned());
        }
        arguments.extend(filling.options.iter().chain(more).cloned());
        let pipes = Pipes {
            stdin,
            stdout: false,
        };
        self.start(program, &arguments, pipes)
    }

    /// One run, or two where several jobs could take privileges at once.
    fn plan_runs(
        &self,
        program: &Program,
        filling: &FillRequest<'_>,
        archive: &Path,
    ) -> Result<Vec<RestoreRun>> {
        let whole = |jobs| vec![RestoreRun { jobs, list: None }];
        if filling.jobs <= 1 {
            return Ok(whole(1));
        }
        // The entries that these options choose.
        let mut arguments = vec!["--list".to_owned()];
        arguments.extend(filling.options.iter().cloned());
        arguments.push(archive.display().to_string());
        let pipes = Pipes {
            stdin: false,
            stdout: true,
        };
        let listing = self.start(program, &arguments, pipes)?;
        let toc = Toc::parse(&listing.finish_with_output()?)?;
        let is_privilege = |entry: &&TocEntry| PRIVILEGES.contains(&entry.kind.as_str());
        if toc.entries.iter().filter(is_privilege).count() < 2 {
            return Ok(whole(filling.jobs));
        }
        let (first, second) = toc.entries.iter().partition(|entry| !waits(entry));
        Ok(vec![
            RestoreRun {
                jobs: filling.jobs,
                list: Some(self.write_list(archive, "first.list", first)?),
            },
            RestoreRun {
                jobs: 1,
                list: Some(self.write_list(archive, "second.list", second)?),
            },
        ])
    }

    /// Writes a list for `--use-list` beside the archive.
    fn write_list(
        &self,
        archive: &Path,
        extension: &str,
        entries: Vec<&TocEntry>,
    ) -> Result<PathBuf> {
        let path = archive.with_extension(extension);
        let lines = entries.iter().map(|entry| format!("{}\n", entry.line));
        std::fs::write(&path, lines.collect::<String>())
            .with_context(|| format!("writing `{}`", path.display()))?;
        if let Some(server) = self.server {
            server.give_file(&path)?;
        }
        Ok(path)
    }
}

/// Whether an entry is a privilege, or something that `pg_restore` puts after them.
fn waits(entry: &TocEntry) -> bool {
    let kind = entry.kind.as_str();
    PRIVILEGES.contains(&kind)
        || AFTER_PRIVILEGES.contains(&kind)
        || entry.tag.starts_with("EVENT TRIGGER ")
}

fn finish_restore(process: Process, is_part: bool) -> Result<FailedStatements> {
    if !is_part {
        return process.finish().map(|_| FailedStatements::default());
    }
    match process.finish_with_errors()? {
        (true, _) => Ok(FailedStatements::default()),
        (false, stderr) => parse_failed_statements(&stderr),
    }
}

#[cfg(test)]
mod tests {
    use super::waits;
    use crate::engine::postgres::toc::Toc;

    #[test]
    fn privileges_and_what_follows_them_wait() {
        let list = "\
            215; 1259 16386 TABLE public orders alice\n\
            3402; 0 0 COMMENT public TABLE orders alice\n\
            3396; 0 16386 TABLE DATA public orders alice\n\
            3410; 0 0 ACL - SCHEMA public alice\n\
            3411; 0 0 ACL public TABLE orders alice\n\
            2090; 826 16400 DEFAULT ACL public DEFAULT PRIVILEGES FOR TABLES alice\n\
            3397; 0 16390 MATERIALIZED VIEW DATA public sales alice\n\
            3390; 3466 16399 EVENT TRIGGER - watch alice\n\
            3412; 0 0 COMMENT - EVENT TRIGGER watch alice\n";
        let toc = Toc::parse(list).unwrap();
        let waiting = toc.entries.iter().filter(|entry| waits(entry));
        let waiting: Vec<i32> = waiting.map(|entry| entry.id).collect();
        assert_eq!(waiting, [3410, 3411, 2090, 3397, 3390, 3412]);
    }
}
