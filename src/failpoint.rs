//! Named moments at which a test has a run killed, failed or held.
//!
//! `DBBACKUP_FAIL_POINT` is `NAME=ACTION`, or `NAME:COUNT=ACTION` for the COUNTth time that the run
//! comes to that point. The actions are `kill` (as by SIGKILL), `error` (the step fails), and
//! `wait:FILE` (the file is made, and the run goes on when somebody has removed it or a signal has
//! come). Only builds with debug assertions have fail points; in a release nothing of them is left.
//! The same holds for limits that a test lowers: `DBBACKUP_TEST_SILENCE`, `DBBACKUP_TEST_CONNECT`
//! (milliseconds) and `DBBACKUP_TEST_PART_SIZE` (bytes). `DBBACKUP_TEST_NOW` sets the clock.

use crate::error::Result;
use chrono::{DateTime, Utc};

/// Does here what the environment asks for.
#[cfg(debug_assertions)]
pub fn fail_point(name: &str) -> Result<()> {
    match active::action_at(name) {
        None => Ok(()),
        Some(action) => action.carry_out(name),
    }
}

/// Nothing: this is a release.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn fail_point(_name: &str) -> Result<()> {
    Ok(())
}

/// The limit `usual`, or the lower one that the environment's `variable` names: a test must not
/// wait as long as a user, nor send as much.
#[cfg(debug_assertions)]
pub fn lowered(variable: &str, usual: u64) -> u64 {
    let named = std::env::var(variable).ok();
    let named = named.and_then(|text| text.parse().ok());
    named.map_or(usual, |limit: u64| limit.min(usual))
}

/// The limit itself: this is a release.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn lowered(_variable: &str, usual: u64) -> u64 {
    usual
}

/// The present, or the moment that the environment names: in a test weeks pass within minutes.
#[cfg(debug_assertions)]
pub fn present() -> DateTime<Utc> {
    let named = std::env::var("DBBACKUP_TEST_NOW").ok();
    let named = named.and_then(|text| text.parse().ok());
    named.unwrap_or_else(Utc::now)
}

/// The present: this is a release.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn present() -> DateTime<Utc> {
    Utc::now()
}

#[cfg(debug_assertions)]
mod active {
    use crate::error::{Error, Result};
    use std::path::PathBuf;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// The variable that names the point and its action.
    const VARIABLE: &str = "DBBACKUP_FAIL_POINT";

    /// The one fail point of this run.
    static CHOSEN: LazyLock<Option<FailPoint>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).ok()?;
        Some(FailPoint::parse(&text).unwrap_or_else(|| panic!("{VARIABLE} is `{text}`")))
    });

    /// What happens when a run comes to a fail point.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FailAction {
        Kill,
        Error,
        Wait(PathBuf),
    }

    /// A point, the action there, and how many times the run passes it before that.
    #[derive(Debug)]
    pub struct FailPoint {
        name: String,
        action: FailAction,
        left: AtomicU32,
    }

    impl FailPoint {
        /// `NAME=ACTION` or `NAME:COUNT=ACTION`; names hold colons, too.
        pub fn parse(text: &str) -> Option<FailPoint> {
            let (name, action) = text.split_once('=')?;
            let counted = name
                .rsplit_once(':')
                .and_then(|(name, count)| Some((name, count.parse().ok()?)));
            let (name, count) = counted.unwrap_or((name, 1));
            let action = match action {
                "kill" => FailAction::Kill,
                "error" => FailAction::Error,
                _ => FailAction::Wait(action.strip_prefix("wait:")?.into()),
            };
            Some(FailPoint {
                name: name.to_owned(),
                action,
                left: AtomicU32::new(count),
            })
        }

        /// The action, the last time that `name` is to be counted.
        pub fn comes_by(&self, name: &str) -> Option<FailAction> {
            if self.name != name {
                return None;
            }
            let left = self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                });
            (left == Ok(1)).then(|| self.action.clone())
        }
    }

    pub fn action_at(name: &str) -> Option<FailAction> {
        CHOSEN.as_ref()?.comes_by(name)
    }

    impl FailAction {
        pub fn carry_out(&self, name: &str) -> Result<()> {
            match self {
                FailAction::Error => Err(Error::failed(format!("the fail point `{name}`"))),
                FailAction::Kill => {
                    let _ = rustix::process::kill_process(
                        rustix::process::getpid(),
                        rustix::process::Signal::KILL,
                    );
                    // Nothing comes after that signal.
                    std::process::abort()
                }
                FailAction::Wait(file) => {
                    std::fs::write(file, name)?;
                    while file.exists() && !crate::interrupt::requested() {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Ok(())
                }
            }
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::active::{FailAction, FailPoint};

    #[test]
    fn a_point_acts_the_time_that_was_named_and_never_again() {
        let third = FailPoint::parse("store: dump named:3=kill").unwrap();
        assert_eq!(third.comes_by("store: dump"), None);
        let came: Vec<_> = (0..5)
            .map(|_| third.comes_by("store: dump named"))
            .collect();
        assert_eq!(came, [None, None, Some(FailAction::Kill), None, None]);
        let first = FailPoint::parse("store: dump named=wait:/a=b").unwrap();
        assert_eq!(
            first.comes_by("store: dump named"),
            Some(FailAction::Wait("/a=b".into()))
        );
        for nonsense in ["", "kill", "point=maybe", "point"] {
            assert!(FailPoint::parse(nonsense).is_none(), "{nonsense}");
        }
    }

    #[test]
    fn an_error_names_the_point() {
        let error = FailAction::Error.carry_out("restore: placed").unwrap_err();
        assert!(error.to_string().contains("`restore: placed`"));
        assert!(super::fail_point("nobody asked").is_ok());
    }
}
