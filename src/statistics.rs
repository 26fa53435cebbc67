//! How sizes went over time, as numbers and as a line of little bars. Pure.

use chrono::{DateTime, Utc};

/// Growth in bytes per day: the slope of the straight line that fits best, so that one odd backup
/// at an end does not decide. None where there is less than a day to look at.
pub fn growth_per_day(points: &[(DateTime<Utc>, u64)]) -> Option<f64> {
    let first = points.iter().map(|(at, _)| *at).min()?;
    let days = |at: DateTime<Utc>| (at - first).num_seconds() as f64 / 86_400.0;
    if points.iter().map(|(at, _)| days(*at)).fold(0.0, f64::max) < 1.0 {
        return None;
    }
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(at, _)| days(*at)).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, size)| *size as f64).sum::<f64>() / count;
    let (above, below) = points
        .iter()
        .fold((0.0, 0.0), |(above, below), (at, size)| {
            let x = days(*at) - mean_x;
            (above + x * (*size as f64 - mean_y), below + x * x)
        });
    Some(above / below)
}

/// `▁▂▅█`: the values from the oldest to the newest, at most `width` bars, each the mean of those
/// that it stands for. From nought, so that a database that grows by a thousandth does not look as
/// if it doubled.
pub fn sparkline(values: &[u64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bars = width.min(values.len());
    let mean = |bar: usize| {
        let (from, to) = (bar * values.len() / bars, (bar + 1) * values.len() / bars);
        values[from..to]
            .iter()
            .map(|value| *value as f64)
            .sum::<f64>()
            / (to - from) as f64
    };
    let means: Vec<f64> = (0..bars).map(mean).collect();
    let most = means.iter().copied().fold(0.0, f64::max);
    let bar = |mean: &f64| {
        if most > 0.0 {
            BARS[((mean / most * 8.0).ceil() as usize).clamp(1, 8) - 1]
        } else {
            BARS[0]
        }
    };
    means.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_140_000, 0).unwrap() + TimeDelta::hours(hours)
    }

    #[test]
    fn growth_is_the_slope() {
        let steady: Vec<(DateTime<Utc>, u64)> = (0..10)
            .map(|day| (at(day * 24), 1000 + 50 * day.unsigned_abs()))
            .collect();
        assert!((growth_per_day(&steady).unwrap() - 50.0).abs() < 1e-6);
        let backwards: Vec<_> = steady.iter().rev().copied().collect();
        assert!((growth_per_day(&backwards).unwrap() - 50.0).abs() < 1e-6);
        assert_eq!(growth_per_day(&[(at(0), 1), (at(48), 1)]), Some(0.0));
        assert!(growth_per_day(&[(at(0), 10), (at(48), 4)]).unwrap() < 0.0);
        for short in [vec![], vec![(at(0), 1)], vec![(at(0), 1), (at(23), 100)]] {
            assert_eq!(growth_per_day(&short), None);
        }
    }

    #[test]
    fn sparklines_fit() {
        assert_eq!(sparkline(&[], 10), "");
        assert_eq!(sparkline(&[0, 0], 10), "▁▁");
        assert_eq!(sparkline(&[1, 2, 3, 4, 5, 6, 7, 8], 10), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[1000, 1001], 10), "██");
        let many: Vec<u64> = (1..=1000).collect();
        assert_eq!(sparkline(&many, 8), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[1, 2, 3], 2).chars().count(), 2);
    }
}
