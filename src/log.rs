//! The log file: one line an event, in UTC, whatever the options say of what is printed. Only
//! `report` writes to it.
//!
//! Several runs may write at once: each line is one append. The file is rotated by size under its
//! own flock, and whoever finds another file under the name takes that one; so an outside logrotate
//! may do it, too. A log that can't be written is the caller's to tell, and never fails a run.

use crate::error::{Context, Error, Result};
use crate::setting::{WordChoice, settings};
use crate::units::printable;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a run looks whether it, or another one, has rotated the log, and how long it waits
/// between looks.
const TURNS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// How bad an event is; the worst comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something to know, although the work goes on.
    Warning,
    /// What was done.
    Info,
    /// And how.
    Debug,
}

impl LogLevel {
    fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warning => "warning",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }

    /// The number that syslog and the journal know it by.
    pub fn priority(self) -> u8 {
        match self {
            LogLevel::Error => 3,
            LogLevel::Warning => 4,
            LogLevel::Info => 6,
            LogLevel::Debug => 7,
        }
    }
}

impl WordChoice for LogLevel {
    const ALL: &'static [(&'static str, Self)] = &[
        ("error", LogLevel::Error),
        ("warning", LogLevel::Warning),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
    ];
}

settings! {
    /// The settings of `[log]`: what is logged, and where.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LogSettings {
        /// The file with the story of every run. Its directory must be there.
        pub file: PathBuf = PathBuf::new(),
        /// The least that is worth a line.
        pub level: LogLevel = LogLevel::Info,
        /// Before the file grows beyond this it becomes `FILE.1`, that one `FILE.2`, and so on.
        pub max_size: u64 = 10 << 20,
        /// How many of those are kept.
        pub keep: u32 = 5,
    }
}

/// An open log.
#[derive(Debug)]
pub struct Log {
    settings: LogSettings,
    file: File,
    /// It could not be rotated, and is not by this run any more.
    too_long: bool,
}

impl Log {
    /// Opens the file, or makes it, readable by its owner alone; its directory must be there.
    pub fn open(settings: LogSettings) -> Result<Log> {
        let file = open(&settings.file)?;
        Ok(Log {
            settings,
            file,
            too_long: false,
        })
    }

    /// Writes an event on one line, if it is bad enough.
    pub fn write(&mut self, level: LogLevel, text: &str) -> Result<()> {
        if level > self.settings.level {
            return Ok(());
        }
        let line = line(
            &chrono::Utc::now()
                .format("%Y-%m-%dT%H:%M:%S%.3fZ")
                .to_string(),
            std::process::id(),
            level,
            text,
        );
        self.make_room(line.len() as u64)?;
        // One write, so that the lines of two runs never mix.
        let written = self
            .file
            .write(line.as_bytes())
            .with_context(|| self.doing())?;
        if written == line.len() {
            Ok(())
        } else {
            Err(Error::failed("no space is left").context(self.doing()))
        }
    }

    fn doing(&self) -> String {
        format!("writing the log `{}`", self.settings.file.display())
    }

    /// Goes on in the file that has the name now, rotated where the line would make it too long.
    fn make_room(&mut self, length: u64) -> Result<()> {
        if self.too_long {
            return Ok(());
        }
        for _ in 0..TURNS {
            if !self.is_current() {
                self.file = open(&self.settings.file)?;
                continue;
            }
            let size = self.file.metadata().with_context(|| self.doing())?.len();
            if size == 0 || size.saturating_add(length) <= self.settings.max_size {
                return Ok(());
            }
            match self.file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(|| self.doing()),
            }
            // Another run may have done it just before.
            let rotated = if self.is_current() {
                self.rotate()
            } else {
                Ok(())
            };
            let unlocked = self.file.unlock();
            rotated?;
            unlocked.with_context(|| self.doing())?;
        }
        // Somebody holds the lock and does not rotate (`flock LOGFILE dbbackup …`): a log that is
        // too long does no harm, waiting for every line does.
        self.too_long = true;
        Ok(())
    }

    /// Whether the open file is the one under the name.
    fn is_current(&self) -> bool {
        let number = |found: std::fs::Metadata| (found.dev(), found.ino());
        let (named, open) = (
            std::fs::metadata(&self.settings.file).map(number),
            self.file.metadata().map(number),
        );
        matches!((named, open), (Ok(named), Ok(open)) if named == open)
    }

    /// Each old file takes the next number, the last one goes. The current file comes last: as long
    /// as it has its name, nobody else rotates.
    fn rotate(&self) -> Result<()> {
        let doing = || format!("rotating the log `{}`", self.settings.file.display());
        let missing_is_fine = |result: std::io::Result<()>| match result {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        if self.settings.keep == 0 {
            return missing_is_fine(std::fs::remove_file(&self.settings.file)).with_context(doing);
        }
        for number in (1..self.settings.keep).rev() {
            missing_is_fine(std::fs::rename(self.old(number), self.old(number + 1)))
                .with_context(doing)?;
        }
        missing_is_fine(std::fs::rename(&self.settings.file, self.old(1))).with_context(doing)
    }

    fn old(&self, number: u32) -> PathBuf {
        let mut name = self.settings.file.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn open(path: &Path) -> Result<File> {
    let doing = || format!("opening the log `{}`", path.display());
    // What is no file must not block us: a FIFO would, until somebody reads it.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nonblocking)
        .open(path)
        .with_context(doing)?;
    let is_file = file.metadata().with_context(doing)?.is_file();
    if is_file {
        Ok(file)
    } else {
        Err(Error::failed("it is not a regular file").context(doing()))
    }
}

fn line(time: &str, pid: u32, level: LogLevel, text: &str) -> String {
    format!("{time} {:<7} [{pid}] {}\n", level.as_str(), printable(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn settings(dir: &Path, max_size: u64, keep: u32) -> LogSettings {
        LogSettings {
            file: dir.join("log"),
            level: LogLevel::Info,
            max_size,
            keep,
        }
    }

    #[test]
    fn an_event_is_one_plain_line() {
        assert_eq!(
            line("T", 7, LogLevel::Warning, "x\ny"),
            "T warning [7] x\\ny\n"
        );
    }

    #[test]
    fn what_is_too_small_a_matter_is_left_out_and_the_file_is_the_owners() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(settings(dir.path(), 1 << 20, 1)).unwrap();
        log.write(LogLevel::Debug, "no").unwrap();
        log.write(LogLevel::Info, "yes").unwrap();
        log.write(LogLevel::Error, "worse").unwrap();
        let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(
            text.lines().count() == 2 && text.contains(" info    [") && text.ends_with("worse\n"),
            "{text}"
        );
        assert_eq!(
            std::fs::metadata(dir.path().join("log")).unwrap().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn it_follows_a_file_that_was_moved_or_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Log::open(settings(dir.path(), 1 << 20, 1)).unwrap();
        log.write(LogLevel::Info, "one").unwrap();
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        log.write(LogLevel::Info, "two").unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("two\n"));
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(0)
            .unwrap();
        log.write(LogLevel::Info, "three").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn rotation_by_many_at_once_loses_and_mixes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let text = "x".repeat(60);
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let text = &text;
                let mut log = Log::open(settings(dir.path(), 2000, 1000)).unwrap();
                scope.spawn(move || {
                    (0..200).for_each(|number| {
                        log.write(LogLevel::Info, &format!("{writer}/{number} {text}"))
                            .unwrap()
                    })
                });
            }
        });
        let mut seen = BTreeSet::new();
        let mut files = 0;
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            files += 1;
            assert!(
                std::fs::metadata(&path).unwrap().len() < 2500,
                "{}",
                path.display()
            );
            for line in std::fs::read_to_string(path).unwrap().lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                assert_eq!((words.len(), words[4]), (5, text.as_str()), "{line}");
                assert!(seen.insert(words[3].to_owned()), "{line}");
            }
        }
        assert!(
            seen.len() == 800 && files > 30,
            "{} lines in {files} files",
            seen.len()
        );
    }

    #[test]
    fn so_many_old_ones_are_kept() {
        for keep in [0, 1, 3] {
            let dir = tempfile::tempdir().unwrap();
            let mut log = Log::open(settings(dir.path(), 100, keep)).unwrap();
            (0..20).for_each(|number| {
                log.write(LogLevel::Info, &format!("event {number} of twenty"))
                    .unwrap()
            });
            assert_eq!(
                std::fs::read_dir(dir.path()).unwrap().count(),
                1 + keep as usize
            );
            assert!(
                std::fs::read_to_string(dir.path().join("log"))
                    .unwrap()
                    .contains("event 19")
            );
        }
    }

    #[test]
    fn a_lock_that_somebody_holds_delays_nothing_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(settings(dir.path(), 100, 1)).unwrap();
        let held = File::open(dir.path().join("log")).unwrap();
        held.lock().unwrap();
        let began = std::time::Instant::now();
        (0..50).for_each(|number| {
            log.write(LogLevel::Info, &format!("event {number}"))
                .unwrap()
        });
        assert!(began.elapsed() < Duration::from_secs(30));
        assert_eq!(
            std::fs::read_to_string(dir.path().join("log"))
                .unwrap()
                .lines()
                .count(),
            50
        );
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("log");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(Log::open(settings(dir.path(), 100, 1)).is_err());
        std::fs::remove_file(&fifo).unwrap();
        std::os::unix::fs::symlink("/dev/null", &fifo).unwrap();
        assert!(
            Log::open(settings(dir.path(), 100, 1))
                .unwrap_err()
                .message()
                .ends_with("it is not a regular file")
        );
    }
}
