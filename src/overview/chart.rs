//! How a size went, as points and as the path of a small chart. From nought, so that a database
//! that grows by a thousandth does not look as if it doubled.

use chrono::{DateTime, Utc};
use serde::Serialize;
use std::fmt::Write as _;

/// The chart's room, in units of its own.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 28.0;

/// What is left free above, so that a line is not cut in two.
const MARGIN: f64 = 2.0;

/// The size of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct SizePoint {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Bytes.
    pub bytes: u64,
}

/// At most so many points, each the mean of those that it stands for; the last one is kept as it
/// is.
pub fn thin_out(points: &[SizePoint], most: usize) -> Vec<SizePoint> {
    let Some((last, before)) = points.split_last() else {
        return Vec::new();
    };
    let groups = before.len().min(most.saturating_sub(1));
    let group = |at: usize| {
        let (from, to) = (at * before.len() / groups, (at + 1) * before.len() / groups);
        let of_it = &before[from..to];
        let sum: u128 = of_it.iter().map(|point| u128::from(point.bytes)).sum();
        SizePoint {
            at: of_it[of_it.len() / 2].at,
            // The mean of some numbers is no larger than the largest of them.
            bytes: u64::try_from(sum / of_it.len() as u128).unwrap_or(u64::MAX),
        }
    };
    (0..groups).map(group).chain([*last]).collect()
}

/// A chart as the paths of an SVG.
#[derive(Debug, PartialEq, Eq)]
pub struct SizeChart {
    /// The line.
    pub line: String,
    /// What is below it.
    pub area: String,
}

/// Draws the points; none where there are fewer than two, or all at one moment.
pub fn draw_sizes(points: &[SizePoint]) -> Option<SizeChart> {
    let (first, last) = (points.first()?, points.last()?);
    let length = (last.at - first.at).num_seconds() as f64;
    if length < 1.0 {
        return None;
    }
    let most = points.iter().map(|point| point.bytes).max()?.max(1) as f64;
    let mut line = String::new();
    for point in points {
        let x = (point.at - first.at).num_seconds() as f64 / length * WIDTH;
        let y = HEIGHT - point.bytes as f64 / most * (HEIGHT - MARGIN);
        let sign = if line.is_empty() { 'M' } else { 'L' };
        // A String takes whatever is written to it.
        let _ = write!(line, "{sign}{x:.1} {y:.1}");
    }
    let area = format!("{line}V{HEIGHT}H0Z");
    Some(SizeChart { line, area })
}
