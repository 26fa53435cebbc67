//! Timers of systemd: the units as files, and `systemctl`.

use super::jobs::Job;
use super::marker::{first_line, read_marker, with_marker};
use super::units::UnitWriter;
use super::{
    FileAction, JobScheduler, JobTiming, SchedulePlan, ScheduledFile, ScheduledFileState,
    SchedulerKind,
};
use crate::durable;
use crate::error::{Context, Error, Hint, Result};
use crate::process::Process;
use crate::units::shell_word;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whose manager runs the units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagerScope {
    /// Root's: that of the machine.
    System,
    /// That of a user.
    User,
}

/// The manager of the machine or of a user.
pub struct Systemd {
    scope: ManagerScope,
    /// Where its units are.
    directory: PathBuf,
}

impl ManagerScope {
    /// The command that speaks to this manager, with arguments, as people type it.
    pub fn systemctl(self, arguments: &[&str]) -> String {
        let command = match self {
            ManagerScope::System => "systemctl",
            ManagerScope::User => "systemctl --user",
        };
        format!("{command} {}", arguments.join(" "))
    }
}

/// Whether systemd is what started this machine.
pub fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

impl Systemd {
    /// The manager of this user.
    pub fn of_this_user() -> Result<Systemd> {
        if rustix::process::geteuid().is_root() {
            return Ok(Systemd {
                scope: ManagerScope::System,
                directory: PathBuf::from("/etc/systemd/system"),
            });
        }
        let absolute = |name| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let config = absolute("XDG_CONFIG_HOME").or_else(|| {
            absolute("HOME")
                .or_else(crate::users::home)
                .map(|home| home.join(".config"))
        });
        let config = config.ok_or_else(|| {
            Error::failed("this user has no home directory, so there is no place for units")
                .with_hint("set $HOME, or run it as root")
        })?;
        Ok(Systemd {
            scope: ManagerScope::User,
            directory: config.join("systemd/user"),
        })
    }

    /// Whose manager it is.
    pub fn scope(&self) -> ManagerScope {
        self.scope
    }

    fn systemctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("systemctl");
        if self.scope == ManagerScope::User {
            command.arg("--user");
            let id = rustix::process::geteuid().as_raw();
            let runtime = PathBuf::from(format!("/run/user/{id}"));
            // `su` and `sudo -u` leave it away.
            if std::env::var_os("XDG_RUNTIME_DIR").is_none() && runtime.is_dir() {
                command.env("XDG_RUNTIME_DIR", runtime);
            }
        }
        command.args(arguments).env("LC_ALL", "C");
        let verb = arguments.first().copied();
        let name = self.scope.systemctl(verb.as_slice());
        Process::output(command, &name, None).map_err(|error| error.with_hint(self.remedy()))
    }

    /// What to do where systemd does not obey.
    fn remedy(&self) -> Hint {
        let hint = match self.scope {
            ManagerScope::System => {
                "see whether systemd runs: `systemctl is-system-running`".to_owned()
            }
            ManagerScope::User => {
                let user = crate::users::me().unwrap_or_else(|| "USER".to_owned());
                format!(
                    "systemd may not run for this user: `loginctl enable-linger {}` as root, then \
                     again",
                    shell_word(&user)
                )
            }
        };
        Hint::from(hint)
            .text("; or use cron: ")
            .command(["schedule", "install", "--cron"])
    }

    /// The files of a plan, with their texts.
    fn planned(&self, plan: &SchedulePlan) -> Vec<(String, String)> {
        let writer = UnitWriter {
            scope: self.scope,
            stem: &plan.stem,
            program: &plan.program,
            config: &plan.config_text,
            sandbox: &plan.sandbox,
            mail_to: plan.mail_to.as_deref(),
        };
        let mut files = Vec::new();
        for job in &plan.jobs {
            files.push((writer.name(job.kind, "service"), writer.service(job)));
            files.push((writer.name(job.kind, "timer"), writer.timer(job)));
        }
        if let Some(to) = &plan.mail_to {
            files.push((writer.mail_name(), writer.mail_service(to)));
        }
        let marked = |(name, body): (String, String)| {
            (name, with_marker(&plan.config, &plan.settings, &body))
        };
        files.into_iter().map(marked).collect()
    }

    /// The files in the directory that belong to a configuration, with what they say.
    fn own_files(&self, config: &Path) -> Result<Vec<(String, String)>> {
        let what = || format!("reading the directory `{}`", self.directory.display());
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(what),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.with_context(what)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let is_unit = name.ends_with(".service") || name.ends_with(".timer");
            if !name.starts_with("dbbackup") || !is_file || !is_unit {
                continue;
            }
            let text = std::fs::read(entry.path())
                .with_context(|| format!("reading `{}`", entry.path().display()))?;
            let text = String::from_utf8_lossy(&text).into_owned();
            if text.lines().next() == Some(first_line(config).as_str()) {
                found.push((name, text));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The states of these units, by their names and the names of what was asked for.
    fn properties(
        &self,
        units: &[String],
        names: &str,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        if units.is_empty() {
            return Ok(BTreeMap::new());
        }
        let property = format!("--property=Id,{names}");
        let mut arguments = vec!["show", &property];
        arguments.extend(units.iter().map(String::as_str));
        let output = self.systemctl(&arguments)?;
        let blocks = output.split("\n\n").map(|block| {
            let pairs = block.lines().filter_map(|line| line.split_once('='));
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect::<BTreeMap<_, _>>()
        });
        let named = blocks.filter_map(|block| Some((block.get("Id")?.clone(), block)));
        Ok(named.collect())
    }

    /// Starts what does not run and starts anew what was changed.
    fn start(&self, timers: &[String], changed: &[&str]) -> Result<Vec<String>> {
        let states = self.properties(timers, "UnitFileState,ActiveState")?;
        let is = |timer: &String, name: &str, wanted: &str| {
            let state = states.get(timer).and_then(|state| state.get(name));
            state.is_some_and(|state| state == wanted)
        };
        let (running, idle): (Vec<&String>, Vec<&String>) = timers.iter().partition(|timer| {
            is(timer, "UnitFileState", "enabled") && is(timer, "ActiveState", "active")
        });
        let mut done = Vec::new();
        let mut run = |verb: &[&str], timers: Vec<&str>| -> Result<()> {
            if !timers.is_empty() {
                let arguments = [verb, &timers].concat();
                self.systemctl(&arguments)?;
                done.push(self.scope.systemctl(&arguments));
            }
            Ok(())
        };
        run(
            &["enable", "--now"],
            idle.into_iter().map(String::as_str).collect(),
        )?;
        let again = running.into_iter().map(String::as_str);
        run(
            &["restart"],
            again.filter(|timer| changed.contains(timer)).collect(),
        )?;
        Ok(done)
    }
}

/// A timer as `systemctl list-timers --output=json` shows it; microseconds since 1970.
#[derive(Deserialize)]
struct ListedTimer {
    unit: Option<String>,
    next: Option<i64>,
    last: Option<i64>,
}

/// The moment of a number of microseconds; none where it is 0, or "never".
fn moment(microseconds: Option<i64>) -> Option<DateTime<Utc>> {
    let set = microseconds.filter(|number| *number > 0 && *number < i64::MAX / 2)?;
    DateTime::from_timestamp_micros(set)
}

impl JobScheduler for Systemd {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::Systemd
    }

    fn compare(&self, config: &Path, plan: Option<&SchedulePlan>) -> Result<Vec<ScheduledFile>> {
        let there = self.own_files(config)?;
        let mut files = Vec::new();
        for (name, text) in plan.map(|plan| self.planned(plan)).unwrap_or_default() {
            let path = self.directory.join(&name);
            let own = there.iter().find(|(known, _)| *known == name);
            let state = match own {
                Some((_, found)) if *found == text => ScheduledFileState::Current,
                Some((_, found)) if read_marker(found).is_none_or(|it| it.is_edited) => {
                    ScheduledFileState::Edited
                }
                Some(_) => ScheduledFileState::Outdated,
                None if path.symlink_metadata().is_ok() => ScheduledFileState::Foreign,
                None => ScheduledFileState::Missing,
            };
            files.push(ScheduledFile {
                place: path.display().to_string(),
                name,
                state,
                text: Some(text),
            });
        }
        for (name, text) in there {
            if files.iter().any(|file| file.name == name) {
                continue;
            }
            let is_edited = read_marker(&text).is_none_or(|marker| marker.is_edited);
            files.push(ScheduledFile {
                place: self.directory.join(&name).display().to_string(),
                name,
                state: if is_edited {
                    ScheduledFileState::EditedRemnant
                } else {
                    ScheduledFileState::Remnant
                },
                text: None,
            });
        }
        Ok(files)
    }

    fn settings(&self, config: &Path) -> Result<Option<super::ScheduleSettings>> {
        let files = self.own_files(config)?;
        let markers = files.iter().filter_map(|(_, text)| read_marker(text));
        Ok(markers.map(|marker| marker.settings).next())
    }

    fn write(&self, files: &[ScheduledFile], actions: &[FileAction]) -> Result<Vec<String>> {
        let of = |wanted: FileAction| {
            let both = files.iter().zip(actions);
            both.filter(move |(_, action)| **action == wanted)
                .map(|(file, _)| file)
        };
        std::fs::create_dir_all(&self.directory)
            .with_context(|| format!("making `{}`", self.directory.display()))?;
        let mut changed = Vec::new();
        for file in of(FileAction::Written) {
            let text = file.text.as_deref().unwrap_or_default();
            durable::replace_with_mode(Path::new(&file.place), text.as_bytes(), 0o644)?;
            changed.push(file.name.as_str());
        }
        let gone: Vec<&ScheduledFile> = of(FileAction::Removed).collect();
        let mut done = self.stop_and_remove(&gone)?;
        if !changed.is_empty() || !gone.is_empty() {
            let explain = |error: Error| {
                error.context("the units are written, but systemd does not know of them yet")
            };
            self.systemctl(&["daemon-reload"]).map_err(explain)?;
            done.push(self.scope.systemctl(&["daemon-reload"]));
        }
        let wanted = |file: &&ScheduledFile| {
            file.name.ends_with(".timer")
                && !matches!(
                    file.state,
                    ScheduledFileState::Remnant | ScheduledFileState::EditedRemnant
                )
        };
        let timers: Vec<String> = files
            .iter()
            .filter(wanted)
            .map(|file| file.name.clone())
            .collect();
        let explain = |error: Error| error.context("the units are written, but do not run");
        done.extend(self.start(&timers, &changed).map_err(explain)?);
        Ok(done)
    }

    fn remove(&self, files: &[&ScheduledFile]) -> Result<Vec<String>> {
        let mut done = self.stop_and_remove(files)?;
        if !files.is_empty() {
            self.systemctl(&["daemon-reload"])?;
            done.push(self.scope.systemctl(&["daemon-reload"]));
        }
        Ok(done)
    }

    fn timing(&self, plan: &SchedulePlan, job: &Job) -> Result<JobTiming> {
        let name = |suffix: &str| format!("{}-{}.{suffix}", plan.stem, job.kind.as_str());
        let (timer, service) = (name("timer"), name("service"));
        let listed = self.systemctl(&[
            "list-timers",
            "--all",
            "--output=json",
            "--no-pager",
            &timer,
        ])?;
        // Before version 248 it knows no such form.
        let listed: Vec<ListedTimer> = serde_json::from_str(&listed).unwrap_or_default();
        let found = listed
            .into_iter()
            .find(|one| one.unit.as_deref() == Some(&timer));
        let states = self.properties(
            &[timer, service.clone()],
            "ActiveState,Result,ExecMainStatus",
        )?;
        let is_active = states.values().any(|state| {
            state.get("Id").is_some_and(|id| id.ends_with(".timer"))
                && state
                    .get("ActiveState")
                    .is_some_and(|state| state == "active")
        });
        let last = found.as_ref().and_then(|timer| moment(timer.last));
        let state = states.get(&service);
        let value = |name: &str| state.and_then(|state| state.get(name)).map(String::as_str);
        let result = match (
            last,
            value("ActiveState"),
            value("Result"),
            value("ExecMainStatus"),
        ) {
            (_, Some("activating" | "active"), _, _) => Some("running".to_owned()),
            (None, ..) | (_, _, None, _) => None,
            (_, _, Some("success"), _) => Some("ok".to_owned()),
            (_, _, Some("exit-code"), Some(code)) => Some(format!("exit code {code}")),
            (_, _, Some(other), _) => Some(other.to_owned()),
        };
        Ok(JobTiming {
            next: found.and_then(|timer| moment(timer.next)),
            last,
            result,
            is_active,
        })
    }
}

impl Systemd {
    /// Stops the timers among the files, then removes them all. A run that is going on is left to
    /// its end.
    fn stop_and_remove(&self, files: &[&ScheduledFile]) -> Result<Vec<String>> {
        let timers = files.iter().map(|file| file.name.as_str());
        let timers: Vec<&str> = timers.filter(|name| name.ends_with(".timer")).collect();
        let mut done = Vec::new();
        if !timers.is_empty() {
            let arguments = [&["disable", "--now"], &timers[..]].concat();
            self.systemctl(&arguments)?;
            done.push(self.scope.systemctl(&arguments));
        }
        for file in files {
            match std::fs::remove_file(&file.place) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing `{}`", file.place));
                }
                _ => {}
            }
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_the_manager_that_they_speak_to() {
        let command = |scope: ManagerScope| scope.systemctl(&["disable", "--now", "a.timer"]);
        let of_machine = command(ManagerScope::System);
        assert_eq!(of_machine, "systemctl disable --now a.timer");
        let of_user = command(ManagerScope::User);
        assert_eq!(of_user, "systemctl --user disable --now a.timer");
    }

    #[test]
    fn never_is_no_moment() {
        assert_eq!(moment(Some(0)), None);
        assert_eq!(moment(Some(i64::MAX)), None);
        assert_eq!(moment(None), None);
        let found = moment(Some(1_795_760_984_000_000)).unwrap();
        assert_eq!(found.to_rfc3339(), "2026-11-27T06:29:44+00:00");
    }
}
