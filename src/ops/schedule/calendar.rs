//! When a job runs: as systemd and cron write it, as people read it, and when that is next. All
//! times are the machine's own, as both of them have it.

use crate::error::{Error, Result};
use crate::units::Span;
use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Weekday};
use std::fmt;

/// The minutes of these hours, on these days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    minutes: Vec<u32>,
    hours: Vec<u32>,
    day: RunDay,
}

/// The days on which a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunDay {
    Every,
    OfWeek(Weekday),
    OfMonth(u32),
}

/// A time of the day, and of the week where that is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockTime {
    pub weekday: Option<Weekday>,
    pub hour: u32,
    pub minute: u32,
}

impl ClockTime {
    /// Reads `02:30` or `Sun 02:30`.
    pub fn parse(text: &str) -> Result<ClockTime> {
        let bad = || {
            Error::usage(format!("`{text}` is not a time of the day"))
                .with_hint("write it as `02:30`, or, with `--every 1w`, as `Sun 02:30`")
        };
        let (day, time) = match text.trim().split_once(char::is_whitespace) {
            Some((day, time)) => (
                Some(day.parse::<Weekday>().map_err(|_| bad())?),
                time.trim(),
            ),
            None => (None, text.trim()),
        };
        let (hour, minute) = time.split_once(':').ok_or_else(bad)?;
        let number = |text: &str, below: u32| {
            let is_number = text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse::<u32>().ok().filter(|number| *number < below);
            number.filter(|_| is_number).ok_or_else(bad)
        };
        Ok(ClockTime {
            weekday: day,
            hour: number(hour, 24)?,
            minute: number(minute, 60)?,
        })
    }
}

/// Seconds of a day and of a week.
const DAY: u64 = 86400;
const WEEK: u64 = 7 * DAY;

impl Calendar {
    /// Every so often, in step with `phase`. Only what divides an hour or a day evenly is possible,
    /// and a day and a week: neither systemd nor cron can count from the last run.
    pub fn every(interval: Span, phase: ClockTime) -> Result<Calendar> {
        let seconds = interval.duration().as_secs();
        let minutes = u32::try_from(seconds / 60).unwrap_or(u32::MAX);
        let (minute, hour) = (phase.minute, phase.hour);
        let from = |start: u32, step: u32, end: u32| (start % step..end).step_by(step as usize);
        let days = |day| Calendar {
            minutes: vec![minute],
            hours: vec![hour],
            day,
        };
        let within_a_day = |minutes, hours| Calendar {
            minutes,
            hours,
            day: RunDay::Every,
        };
        let divides_an_hour = seconds.is_multiple_of(60) && (5..60).contains(&minutes);
        let divides_a_day = seconds.is_multiple_of(3600) && (60..24 * 60).contains(&minutes);
        Ok(match seconds {
            _ if interval.months > 0 => return Err(uneven(interval)),
            WEEK => days(RunDay::OfWeek(phase.weekday.unwrap_or(Weekday::Sun))),
            _ if phase.weekday.is_some() => {
                return Err(Error::usage(format!(
                    "a day of the week goes with `--every 1w`, not with every {interval}"
                ))
                .with_hint("leave the day out of `--at`, or add `--every 1w`"));
            }
            DAY => days(RunDay::Every),
            _ if divides_an_hour && 60 % minutes == 0 => {
                within_a_day(from(minute, minutes, 60).collect(), (0..24).collect())
            }
            _ if divides_a_day && 24 % (minutes / 60) == 0 => {
                within_a_day(vec![minute], from(hour, minutes / 60, 24).collect())
            }
            _ => return Err(uneven(interval)),
        })
    }

    /// Once a month, on a day that every month has.
    pub fn monthly(day: u32, hour: u32, minute: u32) -> Calendar {
        Calendar {
            minutes: vec![minute],
            hours: vec![hour],
            day: RunDay::OfMonth(day.clamp(1, 28)),
        }
    }

    /// The longest time between two runs, in seconds.
    pub fn longest_pause(&self) -> u64 {
        match self.day {
            RunDay::Every => DAY / (self.hours.len() * self.minutes.len()) as u64,
            RunDay::OfWeek(_) => WEEK,
            RunDay::OfMonth(_) => 31 * DAY,
        }
    }

    /// As systemd's `OnCalendar=` has it.
    pub fn to_systemd(&self) -> String {
        let (week, month) = match self.day {
            RunDay::Every => (String::new(), "*".to_owned()),
            RunDay::OfWeek(day) => (format!("{day} "), "*".to_owned()),
            RunDay::OfMonth(day) => (String::new(), format!("{day:02}")),
        };
        let (hours, minutes) = (self.hour_list(2), list(&self.minutes, 2));
        format!("{week}*-*-{month} {hours}:{minutes}:00")
    }

    /// As the first five fields of a crontab's line.
    pub fn to_cron(&self) -> String {
        let (month, week) = match self.day {
            RunDay::Every => ("*".to_owned(), "*".to_owned()),
            RunDay::OfWeek(day) => ("*".to_owned(), day.num_days_from_sunday().to_string()),
            RunDay::OfMonth(day) => (day.to_string(), "*".to_owned()),
        };
        let (hours, minutes) = (self.hour_list(1), list(&self.minutes, 1));
        format!("{minutes} {hours} {month} * {week}")
    }

    fn hour_list(&self, width: usize) -> String {
        if self.hours.len() == 24 {
            "*".to_owned()
        } else {
            list(&self.hours, width)
        }
    }

    /// The next time after `now`.
    pub fn next_after(&self, now: NaiveDateTime) -> Option<NaiveDateTime> {
        let days = (0..63).filter_map(|days| now.date().checked_add_days(Days::new(days)));
        let times = days.filter(|date| self.has(*date)).flat_map(|date| {
            let clock = self.hours.iter().flat_map(|hour| {
                let minutes = self.minutes.iter();
                minutes.filter_map(|minute| NaiveTime::from_hms_opt(*hour, *minute, 0))
            });
            clock.map(move |time| date.and_time(time))
        });
        times.into_iter().find(|time| *time > now)
    }

    fn has(&self, date: NaiveDate) -> bool {
        match self.day {
            RunDay::Every => true,
            RunDay::OfWeek(day) => date.weekday() == day,
            RunDay::OfMonth(day) => date.day() == day,
        }
    }
}

fn uneven(interval: Span) -> Error {
    Error::usage(format!(
        "every {interval} is nothing that systemd and cron can do: it divides neither an hour nor \
         a day evenly"
    ))
    .with_hint("choose one of 5m, 10m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h, 12h, 1d and 1w")
}

fn list(numbers: &[u32], width: usize) -> String {
    let words: Vec<String> = numbers.iter().map(|n| format!("{n:0width$}")).collect();
    words.join(",")
}

/// For people: `daily at 03:17`.
impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first_hour, first_minute) = (
            self.hours.first().copied().unwrap_or_default(),
            self.minutes.first().copied().unwrap_or_default(),
        );
        let time = format!("{first_hour:02}:{first_minute:02}");
        match self.day {
            RunDay::OfWeek(day) => write!(f, "every {day} at {time}"),
            RunDay::OfMonth(day) => write!(f, "on day {day} of the month at {time}"),
            RunDay::Every if self.minutes.len() > 1 => {
                write!(f, "every {}m from {time}", 60 / self.minutes.len())
            }
            RunDay::Every if self.hours.len() > 1 => {
                write!(f, "every {}h from {time}", 24 / self.hours.len())
            }
            RunDay::Every => write!(f, "daily at {time}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(interval: &str, at: &str) -> Result<Calendar> {
        Calendar::every(
            Span::parse(interval).unwrap(),
            ClockTime::parse(at).unwrap(),
        )
    }

    #[test]
    fn both_write_the_same_times() {
        for (interval, at, systemd, cron, people) in [
            (
                "1d",
                "02:30",
                "*-*-* 02:30:00",
                "30 2 * * *",
                "daily at 02:30",
            ),
            (
                "24h",
                "2:05",
                "*-*-* 02:05:00",
                "5 2 * * *",
                "daily at 02:05",
            ),
            (
                "1w",
                "Sun 03:15",
                "Sun *-*-* 03:15:00",
                "15 3 * * 0",
                "every Sun at 03:15",
            ),
            (
                "7d",
                "sat 03:15",
                "Sat *-*-* 03:15:00",
                "15 3 * * 6",
                "every Sat at 03:15",
            ),
            (
                "6h",
                "09:17",
                "*-*-* 03,09,15,21:17:00",
                "17 3,9,15,21 * * *",
                "every 6h from 03:17",
            ),
            (
                "1h",
                "02:30",
                "*-*-* *:30:00",
                "30 * * * *",
                "every 1h from 00:30",
            ),
            (
                "20m",
                "02:45",
                "*-*-* *:05,25,45:00",
                "5,25,45 * * * *",
                "every 20m from 00:05",
            ),
        ] {
            let calendar = every(interval, at).unwrap();
            assert_eq!(calendar.to_systemd(), systemd);
            assert_eq!(calendar.to_cron(), cron);
            assert_eq!(calendar.to_string(), people);
        }
        let monthly = Calendar::monthly(31, 5, 0);
        assert_eq!(monthly.to_systemd(), "*-*-28 05:00:00");
        assert_eq!(monthly.to_cron(), "0 5 28 * *");
    }

    #[test]
    fn what_neither_can_do_is_refused() {
        for interval in ["5h", "7m", "90m", "2d", "1mo", "90s", "1m", "8d", "0s"] {
            let error = every(interval, "02:30").unwrap_err();
            assert!(
                error.message().contains("divides neither"),
                "{interval}: {error}"
            );
            assert_eq!(error.kind().exit_code(), 2);
        }
        let error = every("1d", "Sun 02:30").unwrap_err();
        assert!(
            error.message().contains("goes with `--every 1w`"),
            "{error}"
        );
        for time in [
            "",
            "2",
            "24:00",
            "02:60",
            "+2:10",
            "02:30 Sun",
            "Foo 02:30",
            "002:30",
        ] {
            assert!(ClockTime::parse(time).is_err(), "{time}");
        }
    }

    #[test]
    fn the_next_time_is_after_now() {
        let now = NaiveDate::from_ymd_opt(2026, 11, 27).unwrap(); // A Friday.
        let now = now.and_hms_opt(9, 17, 0).unwrap();
        for (interval, at, next) in [
            ("6h", "03:17", "2026-11-27 15:17:00"),
            ("1d", "09:17", "2026-11-28 09:17:00"),
            ("1d", "09:18", "2026-11-27 09:18:00"),
            ("1w", "Thu 09:18", "2026-12-03 09:18:00"),
            ("30m", "00:10", "2026-11-27 09:40:00"),
        ] {
            let found = every(interval, at).unwrap().next_after(now).unwrap();
            assert_eq!(found.to_string(), next);
        }
        let monthly = Calendar::monthly(27, 9, 17).next_after(now).unwrap();
        assert_eq!(monthly.to_string(), "2026-12-27 09:17:00");
    }
}
