//! Lines of a crontab, by the program `crontab`: a block between two lines of its own.

use super::jobs::Job;
use super::marker::{first_line, read_marker, with_marker};
use super::planning::program_in_path;
use super::{
    FileAction, JobScheduler, JobTiming, SchedulePlan, ScheduledFile, ScheduledFileState,
    SchedulerKind,
};
use crate::error::{Error, Hint, Result};
use crate::process::{Pipes, Process};
use crate::units::shell_word;
use chrono::{Local, Utc};
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// How the last line of a block begins; the configuration's path follows.
const END: &str = "# end of dbbackup schedule: ";

/// What cron has for its jobs is too little on many systems.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The crontab of this user.
pub struct Crontab;

/// Whether there is a program `crontab`.
pub fn is_there() -> bool {
    program_in_path("crontab").is_some()
}

/// A crontab as it is, cut where a block is.
struct CrontabParts<'t> {
    before: &'t str,
    block: Option<&'t str>,
    after: &'t str,
}

impl Crontab {
    /// What `crontab -l` shows. Only where it says that there is none there is none.
    fn read(&self) -> Result<String> {
        if !is_there() {
            return Ok(String::new());
        }
        let mut command = Command::new("crontab");
        command.arg("-l").env("LC_ALL", "C");
        match Process::output(command, "crontab -l", None) {
            Ok(text) => Ok(text),
            Err(error) if error.message().contains("no crontab for") => Ok(String::new()),
            Err(error) => Err(error.with_hint(
                "see what `crontab -l` says as this user; /etc/cron.allow and /etc/cron.deny say \
                 who may have one",
            )),
        }
    }

    /// Puts a text in the crontab's place, and looks whether it is there.
    fn replace(&self, text: &str) -> Result<()> {
        if text.is_empty() {
            let mut command = Command::new("crontab");
            command.arg("-r").env("LC_ALL", "C");
            return Process::output(command, "crontab -r", None).map(|_| ());
        }
        let mut command = Command::new("crontab");
        command.arg("-").env("LC_ALL", "C");
        let pipes = Pipes {
            stdin: true,
            stdout: false,
        };
        let hint = "see what `crontab -e` says as this user; nothing was changed";
        let mut child = Process::start(command, "crontab -", None, pipes).map_err(|error| {
            error.with_hint("install cron, or start the backups by other means")
        })?;
        // One that ends early says why itself.
        let _ = child.writer()?.write_all(text.as_bytes());
        child.finish().map_err(|error| error.with_hint(hint))?;
        if self.read()? == text {
            return Ok(());
        }
        Err(Error::failed("the crontab is not what was just written")
            .with_hint("look at `crontab -l` as this user, and mend it by `crontab -e`"))
    }

    fn block_text(&self, plan: &SchedulePlan) -> String {
        let lines = plan.jobs.iter().map(|job| line(plan, job) + "\n");
        with_marker(&plan.config, &plan.settings, &lines.collect::<String>())
    }
}

/// The line of a job. A `%` would be a new line there.
fn line(plan: &SchedulePlan, job: &Job) -> String {
    let words = [plan.program.as_str(), "--config", &plan.config_text];
    let words = words
        .into_iter()
        .chain(job.arguments.iter().map(String::as_str));
    let words: Vec<String> = words.map(shell_word).collect();
    let command = words.join(" ").replace('%', "\\%");
    // `env`, because the shell of a crontab may be any.
    format!(
        "{} /usr/bin/env PATH={PATH} {command}",
        job.calendar.to_cron()
    )
}

/// Finds the block of a configuration.
fn parts<'t>(text: &'t str, config: &Path) -> Result<CrontabParts<'t>> {
    let (first, last) = (first_line(config), format!("{END}{}", config.display()));
    let mut at = 0;
    let (mut start, mut end) = (None, None);
    for whole in text.split_inclusive('\n') {
        let line = whole.trim_end_matches('\n');
        if start.is_none() && line == first {
            start = Some(at);
        } else if start.is_some() && end.is_none() && line == last {
            end = Some((at, at + whole.len()));
        }
        at += whole.len();
    }
    match (start, end) {
        (None, _) => Ok(CrontabParts {
            before: text,
            block: None,
            after: "",
        }),
        (Some(start), Some((end, after))) => Ok(CrontabParts {
            before: &text[..start],
            block: Some(&text[start..end]),
            after: &text[after..],
        }),
        (Some(_), None) => Err(Error::failed(format!(
            "the crontab has the line `{first}`, but not the one that ends its block, `{last}`"
        ))
        .with_hint("mend it with `crontab -e`: remove what is left of the block")),
    }
}

impl JobScheduler for Crontab {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::Cron
    }

    fn compare(&self, config: &Path, plan: Option<&SchedulePlan>) -> Result<Vec<ScheduledFile>> {
        let text = self.read()?;
        let found = parts(&text, config)?.block;
        let planned = plan.map(|plan| self.block_text(plan));
        let is_edited =
            found.is_some_and(|block| read_marker(block).is_none_or(|marker| marker.is_edited));
        let state = match (found, &planned) {
            (None, None) => return Ok(Vec::new()),
            (None, Some(_)) => ScheduledFileState::Missing,
            (Some(found), Some(planned)) if found == planned => ScheduledFileState::Current,
            (Some(_), Some(_)) if is_edited => ScheduledFileState::Edited,
            (Some(_), Some(_)) => ScheduledFileState::Outdated,
            (Some(_), None) if is_edited => ScheduledFileState::EditedRemnant,
            (Some(_), None) => ScheduledFileState::Remnant,
        };
        let user = crate::users::user(rustix::process::geteuid().as_raw());
        Ok(vec![ScheduledFile {
            name: config.display().to_string(),
            place: format!("crontab of {user}"),
            state,
            text: planned.map(|block| format!("{block}{END}{}\n", config.display())),
        }])
    }

    fn settings(&self, config: &Path) -> Result<Option<super::ScheduleSettings>> {
        let text = self.read()?;
        let marker = parts(&text, config)?.block.and_then(read_marker);
        Ok(marker.map(|marker| marker.settings))
    }

    fn write(&self, files: &[ScheduledFile], actions: &[FileAction]) -> Result<Vec<String>> {
        for (file, action) in files.iter().zip(actions) {
            let (FileAction::Written, Some(block)) = (action, &file.text) else {
                continue;
            };
            let text = self.read()?;
            let CrontabParts { before, after, .. } = parts(&text, Path::new(&file.name))?;
            // Whoever wrote the last line may have left its end away.
            let gap = if before.is_empty() || before.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            self.replace(&format!("{before}{gap}{block}{after}"))?;
        }
        Ok(Vec::new())
    }

    fn remove(&self, files: &[&ScheduledFile]) -> Result<Vec<String>> {
        for file in files {
            let text = self.read()?;
            let CrontabParts { before, after, .. } = parts(&text, Path::new(&file.name))?;
            self.replace(&format!("{before}{after}"))?;
        }
        Ok(Vec::new())
    }

    fn timing(&self, _: &SchedulePlan, job: &Job) -> Result<JobTiming> {
        let next = job.calendar.next_after(Local::now().naive_local());
        let next = next.and_then(|next| next.and_local_timezone(Local).earliest());
        Ok(JobTiming {
            next: next.map(|next| next.with_timezone(&Utc)),
            last: None,
            result: None,
            is_active: true,
        })
    }
}

/// What to do where neither systemd nor cron is there.
pub fn no_scheduler() -> Error {
    Error::failed("systemd does not run here, and there is no program `crontab`").with_hint(
        Hint::from("install cron, or have something else start this regularly: ")
            .command(["--quiet", "backup"]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_found_among_the_lines_of_others() {
        let config = Path::new("/c.toml");
        let text = "MAILTO=me\n# dbbackup schedule: /c.toml.old\n# dbbackup schedule: /c.toml\n1 2 \
                    * * * x\n# end of dbbackup schedule: /c.toml\n0 0 * * * y";
        let found = parts(text, config).unwrap();
        assert_eq!(
            found.before,
            "MAILTO=me\n# dbbackup schedule: /c.toml.old\n"
        );
        assert_eq!(
            found.block,
            Some("# dbbackup schedule: /c.toml\n1 2 * * * x\n")
        );
        assert_eq!(found.after, "0 0 * * * y");
        assert!(parts("", config).unwrap().block.is_none());
        let error = parts(text, Path::new("/c.toml.old"))
            .map(|_| ())
            .unwrap_err();
        assert!(
            error.message().contains("not the one that ends its block"),
            "{error}"
        );
    }
}
