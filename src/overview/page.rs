//! The overview as one page of HTML, for a browser, a telephone or a printer. It has no script and
//! takes nothing from elsewhere, so it can be looked at as a file. The template is
//! page.html beside this file, which the compiler checks; it escapes whatever it is given, and its
//! Content-Security-Policy lets no script run, should that ever fail.

use super::chart::{SizeChart, draw_sizes};
use super::{
    CalendarDay, DayState, FailureOverview, Overview, PlaceOverview, ProofOverview,
    RetentionOverview, SizePoint, SourceOverview,
};
use crate::error::{Context, Error, Result};
use crate::health::HealthLevel;
use crate::units;
use askama::Template;
use chrono::{DateTime, NaiveDate, Utc};
use std::borrow::Borrow;
use std::fmt::Write as _;

/// What every page has near its beginning, so that it is known for one of ours.
pub const PAGE_MARK: &str = "<meta name=\"generator\" content=\"dbbackup\"/>";

/// Units of the calendar's drawing that a day is wide.
const DAY: usize = 6;

/// The page.
pub fn render_page(overview: &Overview) -> Result<String> {
    let page = OverviewPage {
        overview,
        version: env!("CARGO_PKG_VERSION"),
    };
    page.render()
        .map_err(|error| Error::failed(error.to_string()))
        .context("writing the page")
}

#[derive(Template)]
#[template(
    path = "page.html",
    whitespace = "minimize",
    config = "src/overview/askama.toml"
)]
struct OverviewPage<'a> {
    overview: &'a Overview,
    version: &'static str,
}

/// A piece of a text in which commands stand in backticks.
struct TextPiece<'t> {
    text: &'t str,
    is_code: bool,
}

/// What of the days of a calendar is drawn in one way, as the path of an SVG.
struct DayMarks {
    /// The class, which has the colour.
    class: &'static str,
    path: String,
}

/// The texts and drawings that the template asks for.
impl OverviewPage<'_> {
    fn age(&self, at: &DateTime<Utc>) -> String {
        units::age(*at, self.overview.at)
    }

    /// To the minute: nobody reads seconds.
    fn stamp(&self, at: &DateTime<Utc>) -> String {
        at.format("%Y-%m-%d %H:%M").to_string()
    }

    fn size(&self, bytes: &u64) -> String {
        units::size(*bytes)
    }

    fn count(&self, number: impl Borrow<u64>, one: &str) -> String {
        units::count(*number.borrow(), one)
    }

    fn seconds(&self, seconds: &f64) -> String {
        units::elapsed(*seconds)
    }

    fn level_class(&self, level: &HealthLevel) -> &'static str {
        match level {
            HealthLevel::Ok => "ok",
            HealthLevel::Warning => "warning",
            HealthLevel::Unknown => "unknown",
            HealthLevel::Critical => "critical",
        }
    }

    /// A sign and a word: the colour alone says nothing.
    fn level_word(&self, level: &HealthLevel) -> &'static str {
        match level {
            HealthLevel::Ok => "✓ ok",
            HealthLevel::Warning => "! warning",
            HealthLevel::Unknown => "? unknown",
            HealthLevel::Critical => "✕ critical",
        }
    }

    /// The colour of the icon in the browser's tab.
    fn icon_color(&self) -> &'static str {
        match self.overview.status {
            HealthLevel::Ok => "%232da44e",
            HealthLevel::Warning => "%23d4a72c",
            HealthLevel::Unknown => "%238250df",
            HealthLevel::Critical => "%23cf222e",
        }
    }

    /// The whole in a few words.
    fn verdict(&self) -> String {
        let overview = self.overview;
        match overview.attention.len() as u64 {
            0 if overview.sources.is_empty() => "The store holds no backups".to_owned(),
            0 => "All is well".to_owned(),
            1 => "1 thing needs attention".to_owned(),
            more => format!("{more} things need attention"),
        }
    }

    /// Pieces of a text, with the commands in it.
    fn pieces<'t>(&self, text: &'t str) -> Vec<TextPiece<'t>> {
        let pieces = text.split('`').enumerate();
        pieces
            .map(|(at, text)| TextPiece {
                text,
                is_code: at % 2 == 1,
            })
            .filter(|piece| !piece.text.is_empty())
            .collect()
    }

    /// The sources of which backups are expected.
    fn expected(&self) -> impl Iterator<Item = &SourceOverview> {
        let sources = self.overview.sources.iter();
        sources.filter(|source| source.not_expected.is_none())
    }

    fn expected_count(&self) -> usize {
        self.expected().count()
    }

    fn ok_count(&self) -> usize {
        let is_ok = |source: &&SourceOverview| source.status == HealthLevel::Ok;
        self.expected().filter(is_ok).count()
    }

    fn proven_count(&self) -> usize {
        self.expected().filter(|source| source.rule.proven).count()
    }

    fn kept_count(&self) -> usize {
        self.expected().filter(|source| source.rule.kept).count()
    }

    /// The age of the newest good backup of the source whose newest is the oldest.
    fn longest_ago(&self) -> Option<String> {
        let newest = self
            .expected()
            .filter_map(|source| main_place(source)?.newest_at);
        newest.min().map(|at| self.age(&at))
    }

    fn has_several_stores(&self) -> bool {
        self.overview.stores.len() > 1
    }

    /// `+1.2 MiB a day`; nothing where it stays as it is.
    fn growth(&self, source: &SourceOverview) -> Option<String> {
        let bytes = source.growth_bytes_per_day?;
        let sign = if bytes < 0.0 { '−' } else { '+' };
        let size = bytes.abs().round() as u64;
        (size > 0).then(|| format!("{sign}{} a day", units::size(size)))
    }

    fn chart(&self, source: &SourceOverview) -> Option<SizeChart> {
        draw_sizes(&source.sizes)
    }

    /// The chart in words.
    fn chart_text(&self, sizes: &[SizePoint]) -> String {
        match sizes {
            [first, .., last] => format!(
                "size of the content: {} on {}, {} on {}",
                units::size(first.bytes),
                first.at.format("%Y-%m-%d"),
                units::size(last.bytes),
                last.at.format("%Y-%m-%d")
            ),
            _ => String::new(),
        }
    }

    /// What is inside the newest backup.
    fn inside(&self, source: &SourceOverview) -> Option<String> {
        let rows = || Some(units::count(source.rows_total?, "row"));
        let files = || Some(units::count(source.files_total?, "file"));
        rows().or_else(files)
    }

    /// ` by vault1`, where it was another host than this one.
    fn by_host(&self, proof: &ProofOverview) -> String {
        match &proof.host {
            Some(host) if *host != self.overview.host => format!(" by {host}"),
            _ => String::new(),
        }
    }

    fn calendar_width(&self, source: &SourceOverview) -> usize {
        source.calendar.len() * DAY
    }

    fn calendar_ends(&self) -> Option<(NaiveDate, NaiveDate)> {
        let days = &self.overview.sources.first()?.calendar;
        Some((days.first()?.date, days.last()?.date))
    }

    /// The days of a source, drawn; each state has a form of its own.
    fn day_marks(&self, source: &SourceOverview) -> Vec<DayMarks> {
        let marks = |class, form: &str, is_meant: &dyn Fn(&CalendarDay) -> bool| {
            let mut path = String::new();
            for (at, day) in source.calendar.iter().enumerate() {
                if is_meant(day) {
                    // A String takes whatever is written to it.
                    let _ = write!(path, "M{} {form}", at * DAY);
                }
            }
            DayMarks { class, path }
        };
        let is = |state| move |day: &CalendarDay| day.state == state;
        let all = [
            marks("n", "26h5v2h-5z", &is(DayState::Nothing)),
            marks("g", "8h5v20h-5z", &is(DayState::Good)),
            marks("p", "18h5v10h-5z", &is(DayState::Partial)),
            marks("f", "14l5 6m0-6l-5 6m0 4h5", &is(DayState::Failed)),
            marks("v", "3l2.5-3 2.5 3-2.5 3z", &|day: &CalendarDay| day.proven),
        ];
        all.into_iter()
            .filter(|marks| !marks.path.is_empty())
            .collect()
    }

    /// The days that somebody will point at to know which they are.
    fn odd_days<'s>(&self, source: &'s SourceOverview) -> Vec<(usize, &'s CalendarDay)> {
        let is_odd = |day: &CalendarDay| {
            matches!(day.state, DayState::Failed | DayState::Partial) || day.proven
        };
        let days = source.calendar.iter().enumerate();
        days.filter(|(_, day)| is_odd(day))
            .map(|(at, day)| (at * DAY, day))
            .collect()
    }

    /// The calendar in words.
    fn calendar_text(&self, source: &SourceOverview) -> String {
        let count = |state| {
            let days = source.calendar.iter();
            days.filter(|day| day.state == state).count()
        };
        let states = [DayState::Good, DayState::Partial, DayState::Failed];
        let mut parts: Vec<String> = states
            .into_iter()
            .map(|state| (count(state), state.as_str()))
            .filter(|(days, _)| *days > 0)
            .map(|(days, word)| format!("{days} {word}"))
            .collect();
        let proven = source.calendar.iter().filter(|day| day.proven).count();
        if proven > 0 {
            parts.push(format!("proven on {proven}"));
        }
        match parts.is_empty() {
            true => "nothing".to_owned(),
            false => parts.join(", "),
        }
    }

    /// How much goes, and when.
    fn removals_text(&self, retention: &RetentionOverview) -> String {
        let count = units::count(retention.removals.len() as u64, "backup");
        let bytes = retention.removals.iter().map(|removal| removal.size_bytes);
        let size = units::size(units::total(bytes));
        match retention.after_next {
            true => format!("after the next backup: {count}, {size}"),
            false => format!("with the next cleanup: {count}, {size}"),
        }
    }

    /// Bytes in a second.
    fn speed(&self, proof: &ProofOverview) -> Option<String> {
        let speed = proof.content_size_bytes as f64 / proof.duration_seconds;
        (speed.is_finite() && speed >= 1.0).then(|| format!("{}/s", units::size(speed as u64)))
    }

    /// How long it would take to restore everything, one after another.
    fn restore_of_all(&self) -> Option<String> {
        let last = |source: &&SourceOverview| source.drills.last.is_some();
        let measured: Vec<&SourceOverview> = self.expected().filter(last).collect();
        let all = self.expected().count();
        let seconds: f64 = measured
            .iter()
            .filter_map(|source| Some(source.drills.last.as_ref()?.duration_seconds))
            .sum();
        let which = match measured.len() {
            0 => return None,
            count if count == all => "All".to_owned(),
            count => format!("The {count} of {all} that were measured"),
        };
        let took = units::elapsed(seconds);
        Some(format!("{which}, one after another: about {took}."))
    }

    fn repeated(&self, failure: &FailureOverview) -> Option<String> {
        let times = units::thousands(failure.count);
        (failure.count > 1).then(|| {
            format!(
                "{times} times in a row, since {}",
                self.stamp(&failure.since)
            )
        })
    }

    /// `yes` or `no` with a sign, and whether it is well.
    fn yes_no(&self, is_so: &bool) -> &'static str {
        match is_so {
            true => "✓ yes",
            false => "✕ no",
        }
    }

    fn good_or_bad(&self, is_good: impl Borrow<bool>) -> &'static str {
        if *is_good.borrow() { "ok" } else { "critical" }
    }
}

/// What the store in use has of a source.
fn main_place(source: &SourceOverview) -> Option<&PlaceOverview> {
    source.places.first()
}
