//! What can be wrong with files while they are saved, counted for warnings and notes.

use crate::units;
use std::collections::BTreeMap;

/// How many names a warning holds.
pub const NAMED: usize = 20;

/// Something that should be known about files that were saved, or were not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Issue {
    // In the order in which they are listed.
    Changed,
    Partial,
    Unreadable,
    Vanished,
    Damaged,
    Fifo,
    Device,
    Socket,
}

impl Issue {
    /// Such files in words: `2 files gone before being read`.
    pub fn count_text(self, count: u64) -> String {
        let files = |what: &str| format!("{} {what}", units::count(count, "file"));
        let left_out = |what: &str| format!("{} left out", units::count(count, what));
        match self {
            Issue::Changed => files("changed while being read, and saved as last read"),
            Issue::Partial => files("could be read in part only, the rest being zeros"),
            Issue::Vanished => files("gone before being read"),
            Issue::Damaged => {
                files("is a SQLite database that is damaged itself, and saved as it is")
            }
            Issue::Unreadable => files("could not be read, and not saved"),
            Issue::Device => left_out("device"),
            Issue::Fifo => left_out("FIFO"),
            Issue::Socket => left_out("socket"),
        }
    }

    /// Whether nothing is lost with them: a FIFO is there every night.
    fn is_harmless(self) -> bool {
        matches!(self, Issue::Device | Issue::Fifo | Issue::Socket)
    }

    /// What a backup with such files lacks, in a few words.
    fn lack(self) -> Option<&'static str> {
        match self {
            Issue::Unreadable => Some("could not be read"),
            Issue::Partial => Some("could be read in part only"),
            Issue::Damaged => Some("damaged before it was saved"),
            _ => None,
        }
    }
}

/// The issues of one tree: how many files have each, and the first few of them.
#[derive(Debug, Default)]
pub struct Issues(BTreeMap<Issue, (u64, Vec<String>)>);

impl Issues {
    /// Counts an issue of the file that `name` stands for.
    pub fn add(&mut self, issue: Issue, name: String) {
        let (count, named) = self.0.entry(issue).or_default();
        *count += 1;
        if named.len() < NAMED {
            named.push(name);
        }
    }

    /// A line for each issue that people should be warned of.
    pub fn warnings(&self) -> Vec<String> {
        self.lines(|issue| !issue.is_harmless())
    }

    /// A line for each issue that is worth keeping, and no reason for a warning.
    pub fn notes(&self) -> Vec<String> {
        self.lines(Issue::is_harmless)
    }

    fn lines(&self, wanted: impl Fn(Issue) -> bool) -> Vec<String> {
        let wanted = self.0.iter().filter(|(issue, _)| wanted(**issue));
        wanted
            .map(|(issue, (count, named))| {
                let more = match count - named.len() as u64 {
                    0 => String::new(),
                    more => format!(", and {more} more"),
                };
                format!("{}: {}{more}", issue.count_text(*count), named.join(", "))
            })
            .collect()
    }

    /// What the backup lacks because of them, in a few words; `None` where it is whole.
    pub fn lacks(&self) -> Option<String> {
        let lacks: Vec<String> = [Issue::Unreadable, Issue::Partial, Issue::Damaged]
            .into_iter()
            .filter_map(|issue| {
                let (count, _) = self.0.get(&issue)?;
                Some(format!(
                    "{} {}",
                    units::count(*count, "file"),
                    issue.lack()?
                ))
            })
            .collect();
        (!lacks.is_empty()).then(|| lacks.join(", "))
    }
}
