//! The only room that prints. Results go to stdout, everything else to stderr; with `--json` stdout holds one document and nothing else.

mod raw;

pub use raw::Raw;

use crate::cli::{Color, Global};
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::pipeline::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a command ended, where it did not fail as a whole: `None` all done, else the kind of what went wrong, already told.
pub type Outcome = Option<Kind>;

/// Says things, in the way that the options ask for.
pub struct Report {
    json: bool,
    quiet: bool,
    verbose: u8,
    progress: bool,
    color: bool,
    document: Map<String, Value>,
    /// The first failure of stdout: what could not be said.
    unwritten: Mutex<Option<io::Error>>,
    /// ` --config FILE --store DIR`, as they were given: a command in a hint must lead to the same store.
    options: String,
    /// Stdout belongs to somebody else.
    aside: bool,
    /// The exit code, whatever kind the outcome is of.
    code: Option<u8>,
    /// A bar is being drawn; a second one at once would only garble it.
    drawing: Arc<AtomicBool>,
}

/// A colour with a meaning.
#[derive(Debug, Clone, Copy)]
pub enum Paint {
    /// Something is well.
    Good,
    /// Something deserves a look.
    Warning,
    /// Something is wrong.
    Bad,
    /// A heading.
    Strong,
}

impl Report {
    /// As the global options say.
    pub fn new(global: &Global) -> Self {
        let terminal = io::stdout().is_terminal();
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        Report {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            progress: !global.no_progress && !global.quiet && io::stderr().is_terminal(),
            color: color && !global.json,
            document: Map::new(),
            unwritten: Mutex::new(None),
            options: given(global),
            aside: false,
            code: None,
            drawing: Arc::default(),
        }
    }

    /// A result, on stdout; with `--json` it must be in the document instead. `-q` keeps it silent.
    pub fn line(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.answer(text);
        }
    }

    /// A result that was explicitly asked for (a list, a plan), on stdout, with `-q` too.
    pub fn answer(&self, text: impl AsRef<str>) {
        match (self.json, self.aside) {
            (true, _) => {}
            (false, true) => self.stderr(text.as_ref()),
            (false, false) => self.stdout(text.as_ref()),
        }
    }

    fn stdout(&self, text: &str) {
        // A reader that has gone (`| head`) is no failure of ours, and there is nobody left to tell.
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
            _ => {}
        }
    }

    /// Stdout as it is, for bytes that are the result themselves: with `--json` there is no place for them. No bar is drawn any more unless they
    /// go into a file, as the reader may be a pager. The caller makes sure that nothing else is written to stdout.
    pub fn raw(&mut self) -> Result<Raw> {
        if self.json {
            return Err(Error::usage("the result is written to stdout as it is, so `--json` has no place there")
                .hint("leave `--json` out"));
        }
        let raw = Raw::new(&io::stdout())?;
        self.progress &= raw.is_file();
        Ok(raw)
    }

    /// Whether the result is one document.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Stderr, for a program that is run to write its stdout to.
    pub fn error_stream(&self) -> Result<OwnedFd> {
        Ok(io::stderr().as_fd().try_clone_to_owned()?)
    }

    /// From now on results go to stderr, for stdout belongs to a program that is run. The document of `--json` goes where it always does.
    pub fn stand_aside(&mut self) {
        self.aside = true;
    }

    /// The exit code, whatever kind the outcome is of: for a command that stands for another program's. The last call counts.
    pub fn exits_with(&mut self, code: u8) {
        self.code = Some(code);
    }

    /// What is going on, on stderr.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.stderr(text.as_ref());
        }
    }

    /// More of what is going on, on stderr, with `-v`.
    pub fn detail(&self, text: impl AsRef<str>) {
        if self.verbose > 0 {
            self.stderr(text.as_ref());
        }
    }

    /// Something to know although the work goes on; never silenced.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.stderr(&format!("{} {}", self.paint(Paint::Warning, "warning:"), self.with_options(text.as_ref())));
    }

    /// An error, on one line, and its hint on the next; never silenced.
    pub fn error(&self, error: &Error) {
        self.stderr(&format!("{} {}", self.paint(Paint::Bad, "error:"), error.message()));
        if let Some(hint) = error.remedy() {
            self.stderr(&format!("hint: {}", self.with_options(hint)));
        }
    }

    /// The text with the options that led to the store in each command that it shows without.
    pub fn with_options(&self, text: &str) -> String {
        if text.contains(" --store ") || text.contains(" --config ") {
            return text.to_owned();
        }
        text.replace("`dbbackup ", &format!("`dbbackup{} ", self.options))
    }

    fn stderr(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Puts a value into the JSON document.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.document.insert(key.into(), value.into());
    }

    /// The text in a colour, where colours are wanted.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Good => "32",
            Paint::Warning => "33",
            Paint::Bad => "31",
            Paint::Strong => "1",
        };
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Whether somebody can be asked.
    pub fn can_ask(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks on the terminal; only `y` or `yes` is yes, and after a signal nothing is.
    pub fn ask(&self, question: &str) -> Result<bool> {
        let _ = write!(io::stderr().lock(), "{question} [y/N] ");
        let _ = io::stderr().flush();
        let mut answer = String::new();
        let _ = io::stdin().lock().read_line(&mut answer);
        interrupt::check()?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// A bar that follows `progress` up to `total` bytes (0: unknown) until it is dropped; on a terminal only.
    pub fn bar(&self, title: &str, total: u64, progress: &Progress) -> Bar {
        Bar::new(self.progress, &self.drawing, title, total, progress)
    }

    /// Ends the program: tells an error, prints the document, gives the exit code.
    pub fn conclude(mut self, command: &str, outcome: Result<Outcome>) -> u8 {
        let kind = match &outcome {
            Ok(kind) => *kind,
            Err(error) => {
                self.error(error);
                self.set("error", error.message());
                if let Some(hint) = error.remedy() {
                    self.set("hint", self.with_options(hint));
                }
                Some(error.kind())
            }
        };
        if self.json {
            let word = match kind {
                None => "ok",
                Some(Kind::Partial) => "partial",
                Some(_) => "failed",
            };
            let mut document = Map::new();
            document.insert("command".into(), command.into());
            document.insert("outcome".into(), word.into());
            document.append(&mut self.document);
            self.stdout(&serde_json::to_string_pretty(&document).unwrap_or_default());
        }
        let unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(error) = unwritten {
            self.error(&Error::from(error).context("writing to the standard output"));
            return self.code.filter(|code| *code != 0).unwrap_or(kind.unwrap_or(Kind::Failed).exit_code());
        }
        self.code.unwrap_or(kind.map_or(0, Kind::exit_code))
    }
}

/// The options that lead to a store, as a shell takes them.
fn given(global: &Global) -> String {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c));
    let word = |text: String| if plain(&text) { text } else { format!("'{}'", text.replace('\'', r"'\''")) };
    let config = global.config.as_ref().map(|path| format!(" --config {}", word(path.display().to_string())));
    let store = global.store.as_ref().map(|store| format!(" --store {}", word(store.clone())));
    config.into_iter().chain(store).collect()
}

/// Prints what clap has to say: a help text, or why the arguments were refused.
pub fn usage(refused: &clap::Error, arguments: &[OsString]) -> u8 {
    let _ = refused.print();
    if !refused.use_stderr() {
        return 0;
    }
    if arguments.iter().any(|argument| argument == "--json") {
        let text = refused.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let document = serde_json::json!({"command": null, "outcome": "failed", "error": first});
        let _ = writeln!(io::stdout().lock(), "{document:#}");
    }
    Kind::Usage.exit_code()
}

/// See [`Report::bar`].
pub struct Bar {
    stop: Arc<AtomicBool>,
    drawing: Option<Arc<AtomicBool>>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    fn new(wanted: bool, drawing: &Arc<AtomicBool>, title: &str, total: u64, progress: &Progress) -> Bar {
        let stop = Arc::new(AtomicBool::new(false));
        if !wanted || drawing.swap(true, Ordering::Relaxed) {
            return Bar { stop, drawing: None, thread: None };
        }
        let template = if total > 0 {
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}"
        } else {
            "{msg} {spinner} {bytes} {bytes_per_sec}"
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
            .with_style(style)
            .with_message(title.to_owned());
        let (flag, progress) = (Arc::clone(&stop), Arc::clone(progress));
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                let done = progress.load(Ordering::Relaxed);
                bar.set_length(total.max(done));
                bar.set_position(done);
                std::thread::park_timeout(Duration::from_millis(100));
            }
            bar.finish_and_clear();
        });
        Bar { stop, drawing: Some(Arc::clone(drawing)), thread: Some(thread) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
        if let Some(drawing) = &self.drawing {
            drawing.store(false, Ordering::Relaxed);
        }
    }
}

/// Columns side by side, the widths fitted; `right` names the columns that are flush right.
pub fn columns(rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| visible(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let mut text = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - visible(cell));
            let (before, after) = if right.contains(&column) { (pad.as_str(), "") } else { ("", pad.as_str()) };
            text.push_str(before);
            text.push_str(cell);
            text.push_str(after);
            text.push_str("  ");
        }
        text.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Characters that take room, colours left out.
fn visible(cell: &str) -> usize {
    let mut count = 0;
    let mut hidden = false;
    for character in cell.chars() {
        match character {
            '\x1b' => hidden = true,
            'm' if hidden => hidden = false,
            _ if !hidden => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colours() {
        let rows = vec![vec!["a".into(), "10".into(), "x".into()], vec!["\x1b[31mlong\x1b[0m".into(), "5".into(), "y".into()]];
        assert_eq!(columns(&rows, &[1]), ["a     10  x", "\x1b[31mlong\x1b[0m   5  y"]);
    }
}
