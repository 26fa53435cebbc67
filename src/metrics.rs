//! The text format of Prometheus, as node_exporter's textfile collector reads it. It knows nothing
//! of backups.

use std::fmt::Write as _;

/// A metric with its samples; all are gauges: a program that leaves after its work has nothing to
/// count up.
#[derive(Debug, Clone)]
pub struct Metric {
    /// Its whole name.
    pub name: &'static str,
    /// What it is, in one line.
    pub help: &'static str,
    samples: Vec<(Vec<(&'static str, String)>, f64)>,
}

impl Metric {
    /// Without samples as yet.
    pub fn new(name: &'static str, help: &'static str) -> Self {
        Metric {
            name,
            help,
            samples: Vec::new(),
        }
    }

    /// One more; a `value` that is not there is no sample, which is not the same as 0.
    pub fn add(&mut self, labels: &[(&'static str, &str)], value: Option<f64>) {
        let labels = labels
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        self.samples.extend(value.map(|value| (labels, value)));
    }
}

/// The file's text; a metric without samples is left out.
pub fn render(metrics: &[Metric]) -> String {
    let mut text = String::new();
    for metric in metrics.iter().filter(|metric| !metric.samples.is_empty()) {
        let (name, help) = (
            metric.name,
            metric.help.replace('\\', "\\\\").replace('\n', "\\n"),
        );
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in &metric.samples {
            let labels: Vec<String> = labels
                .iter()
                .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
                .collect();
            let braces = if labels.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", labels.join(","))
            };
            let _ = writeln!(text, "{name}{braces} {value}");
        }
    }
    text
}

fn escaped(value: &str) -> String {
    let value = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    crate::units::printable(&value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_the_format_says() {
        let mut size = Metric::new("dbbackup_size_bytes", "Bytes \\ of\nit.");
        size.add(
            &[("store", r"C:\x"), ("source", "a\"b\nc")],
            Some(12_345_678_901.0),
        );
        size.add(&[("source", "b")], None);
        let mut one = Metric::new("dbbackup_up", "Whether.");
        one.add(&[], Some(0.5));
        let none = Metric::new("dbbackup_none", "Nothing.");
        assert_eq!(
            render(&[size, none, one]),
            "# HELP dbbackup_size_bytes Bytes \\\\ of\\nit.\n# TYPE dbbackup_size_bytes gauge\n\
             dbbackup_size_bytes{store=\"C:\\\\x\",source=\"a\\\"b\\nc\"} 12345678901\n\
             # HELP dbbackup_up Whether.\n# TYPE dbbackup_up gauge\ndbbackup_up 0.5\n"
        );
    }
}
