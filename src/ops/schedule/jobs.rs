//! The jobs of a schedule: what is run, and when. Times that nobody chose come from a hash of the
//! machine's name and the configuration's path: each machine has its own, and keeps it.

use super::calendar::{Calendar, ClockTime};
use super::{Frequency, ScheduleSettings};
use crate::error::{Error, Result};
use crate::ops::Session;
use crate::units::Span;
use chrono::Weekday;
use sha2::{Digest, Sha256};
use std::path::Path;

/// The label of the backups where none is chosen. It does not change with the interval, because
/// retention counts within a label.
const DEFAULT_LABEL: &str = "scheduled";

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Makes backups of every source.
    Backup,
    /// Proves the newest backup of every source.
    Verify,
    /// Looks whether every source is fresh and proven.
    Status,
    /// Writes the page of `[report]`, as after every run: it must not be old when no run begins.
    Report,
}

impl JobKind {
    /// The word in names of units and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Backup => "backup",
            JobKind::Verify => "verify",
            JobKind::Status => "status",
            JobKind::Report => "report",
        }
    }

    /// What it does, for systemd's own lists.
    pub(super) fn description(self) -> &'static str {
        match self {
            JobKind::Backup => "Back up databases and files",
            JobKind::Verify => "Prove that the newest backups restore",
            JobKind::Status => "Look whether backups are fresh and proven",
            JobKind::Report => "Write the page about all backups",
        }
    }
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// What it does.
    pub kind: JobKind,
    /// When it runs.
    pub calendar: Calendar,
    /// Somebody chose the time, so that nothing is added to it.
    pub is_exact: bool,
    /// The arguments, without the configuration.
    pub arguments: Vec<String>,
}

/// The jobs that a session's configuration needs, with these settings.
pub fn plan_jobs(settings: &ScheduleSettings, session: &Session) -> Result<Vec<Job>> {
    let Some(config) = &session.config else {
        return Ok(Vec::new());
    };
    let moments = Moments::new(&session.host, &config.path);
    let mut jobs = Vec::new();
    // A machine that only reads and proves backups has none.
    if !config.sources.is_empty() {
        jobs.push(backup_job(settings, &moments)?);
    }
    jobs.extend(verify_job(settings, &moments, session));
    jobs.extend(status_job(settings, &moments, session));
    if config.report.html.is_some() {
        jobs.extend(report_job(&moments));
    }
    Ok(jobs)
}

fn backup_job(settings: &ScheduleSettings, moments: &Moments) -> Result<Job> {
    let interval = settings.every.as_deref().unwrap_or("1d");
    let interval = Span::parse(interval).map_err(Error::usage)?;
    let chosen = settings.at.as_deref().map(ClockTime::parse).transpose()?;
    let calendar = Calendar::every(interval, chosen.unwrap_or_else(|| moments.backup(interval)))?;
    // A run that waits must have ended when the next one begins.
    let wait = calendar.longest_pause().min(3600) / 60;
    let label = settings.label.as_deref().unwrap_or(DEFAULT_LABEL);
    let wait = if wait == 60 {
        "1h".to_owned()
    } else {
        format!("{wait}m")
    };
    let arguments = ["--quiet", "--lock-wait", &wait, "backup", "--label", label];
    Ok(Job {
        kind: JobKind::Backup,
        calendar,
        is_exact: chosen.is_some(),
        arguments: arguments.map(str::to_owned).to_vec(),
    })
}

fn verify_job(settings: &ScheduleSettings, moments: &Moments, session: &Session) -> Option<Job> {
    let calendar = moments.verify(settings.verify.unwrap_or(Frequency::Weekly))?;
    // Without a key nothing but the stored bytes can be looked at.
    let level = if can_read(session) {
        "restore"
    } else {
        "checksum"
    };
    let arguments = ["--quiet", "verify", "--level", level];
    Some(Job {
        kind: JobKind::Verify,
        calendar,
        is_exact: false,
        arguments: arguments.map(str::to_owned).to_vec(),
    })
}

fn status_job(settings: &ScheduleSettings, moments: &Moments, session: &Session) -> Option<Job> {
    let calendar = moments.status(settings.status.unwrap_or(Frequency::Daily))?;
    let mut arguments = vec!["--quiet", "status"];
    let notifiers = session
        .config
        .as_ref()
        .map(|config| &config.notify.notifiers);
    if notifiers.is_some_and(|notifiers| !notifiers.is_empty()) {
        arguments.push("--notify");
    }
    Some(Job {
        kind: JobKind::Status,
        calendar,
        is_exact: false,
        arguments: arguments.into_iter().map(str::to_owned).collect(),
    })
}

fn report_job(moments: &Moments) -> Option<Job> {
    Some(Job {
        kind: JobKind::Report,
        calendar: moments.report()?,
        is_exact: false,
        arguments: ["--quiet", "report"].map(str::to_owned).to_vec(),
    })
}

/// Whether the backups of the store in use can be read on this machine.
fn can_read(session: &Session) -> bool {
    let Some(config) = &session.config else {
        return true;
    };
    let keys = &config.encryption;
    let has_key =
        keys.identity_file.is_some() || keys.identity_command.is_some() || keys.has_passphrase();
    let place = session.store_plan().map(|plan| plan.settings.location);
    has_key || !place.is_ok_and(|place| session.encrypts_at(&place))
}

/// Times that nobody chose: after the hour in which most clocks are set back and forth, proofs
/// after backups, and a look when people come to work.
struct Moments {
    hash: [u8; 32],
}

impl Moments {
    fn new(host: &str, config: &Path) -> Moments {
        let name = format!("{host}\0{}", config.display());
        Moments {
            hash: Sha256::digest(name.as_bytes()).into(),
        }
    }

    /// A number below `below`, another one for each `place`.
    fn number(&self, place: usize, below: u32) -> u32 {
        let bytes = [0, 1, 2, 3].map(|at| self.hash[place * 4 + at]);
        u32::from_be_bytes(bytes) % below
    }

    fn weekday(&self, place: usize) -> Weekday {
        let number = u8::try_from(self.number(place, 7)).unwrap_or(0);
        Weekday::try_from(number).unwrap_or(Weekday::Sun)
    }

    fn backup(&self, interval: Span) -> ClockTime {
        let minute = self.number(0, 120);
        let is_weekly = interval.duration().as_secs() == 7 * 86400;
        ClockTime {
            weekday: is_weekly.then(|| self.weekday(1)),
            hour: 3 + minute / 60,
            minute: minute % 60,
        }
    }

    fn verify(&self, frequency: Frequency) -> Option<Calendar> {
        let minute = self.number(2, 120);
        let time = (5 + minute / 60, minute % 60, self.weekday(3));
        self.calendar(frequency, time)
    }

    fn status(&self, frequency: Frequency) -> Option<Calendar> {
        let time = (8, self.number(5, 60), self.weekday(6));
        self.calendar(frequency, time)
    }

    fn report(&self) -> Option<Calendar> {
        let time = (7, self.number(7, 60), self.weekday(6));
        self.calendar(Frequency::Daily, time)
    }

    fn calendar(
        &self,
        frequency: Frequency,
        (hour, minute, weekday): (u32, u32, Weekday),
    ) -> Option<Calendar> {
        let (interval, weekday) = match frequency {
            Frequency::Never => return None,
            Frequency::Monthly => {
                return Some(Calendar::monthly(1 + self.number(4, 28), hour, minute));
            }
            Frequency::Hourly => ("1h", None),
            Frequency::Daily => ("1d", None),
            Frequency::Weekly => ("1w", Some(weekday)),
        };
        let interval = Span::parse(interval).ok()?;
        let phase = ClockTime {
            weekday,
            hour,
            minute,
        };
        Calendar::every(interval, phase).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_times_of_their_own_and_keep_them() {
        let config = Path::new("/etc/dbbackup/config.toml");
        let day = Span::parse("1d").unwrap();
        let times: std::collections::BTreeSet<String> = (0..200)
            .map(|number| {
                let moments = Moments::new(&format!("web{number}"), config);
                let time = moments.backup(day);
                assert!((3..5).contains(&time.hour) && time.minute < 60 && time.weekday.is_none());
                assert_eq!(
                    time,
                    Moments::new(&format!("web{number}"), config).backup(day)
                );
                let proof = moments.verify(Frequency::Weekly).unwrap().to_systemd();
                assert!(proof.contains(" 05:") || proof.contains(" 06:"), "{proof}");
                format!("{}:{}", time.hour, time.minute)
            })
            .collect();
        assert!(times.len() > 80, "{times:?}");
        let other = Moments::new("web1", Path::new("/srv/app/dbbackup.toml"));
        assert_ne!(other.hash, Moments::new("web1", config).hash);
    }
}
