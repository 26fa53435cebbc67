//! The only room that prints. Results go to stdout, everything else to stderr; with `--json` stdout
//! holds one document and nothing else. What it says goes into the log, too, whatever the options
//! silence; and where stderr is the journal each line has its priority.
//!
//! Names, messages and queries are often a stranger's. So whatever is printed is one line, and what
//! drives a terminal is written out in it ([`printable`]); only colours that [`Report::paint`] has
//! put there become escape sequences. Nobody else has to think of it.

mod asking;
mod bar;
mod columns;
mod document;
mod events;
mod journal;
mod paint;
mod raw;
mod usage;
mod verification;

pub use asking::ask_secret;
pub use bar::Bar;
pub use columns::columns;
pub use raw::Raw;
pub use usage::usage;

use self::document::JsonDocument;
pub use self::document::JsonText;
use self::journal::{is_journal, with_priority};
use crate::cli::{Color, GlobalArguments};
use crate::error::{CommandOptions, Error, Hint, Kind, Result};
use crate::log::{Log, LogLevel};
use crate::pipeline::Progress;
use crate::units;
use crate::units::{drives_terminals, printable};
use serde_json::Value;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// How a command ended, where it did not fail as a whole: `None` all done, else the kind of what
/// went wrong, already told.
pub type CommandOutcome = Option<Kind>;

/// Says things, in the way that the options ask for.
pub struct Report {
    json: bool,
    quiet: bool,
    verbose: u8,
    progress: bool,
    color: bool,
    document: JsonDocument,
    /// Stdout is a terminal.
    terminal: bool,
    /// The first failure of stdout: what could not be said.
    unwritten: Mutex<Option<io::Error>>,
    /// As they were given: a command in a hint must lead to the same store.
    options: CommandOptions,
    /// Stdout belongs to somebody else.
    aside: bool,
    /// The exit code, whatever kind the outcome is of.
    code: Option<u8>,
    /// The outcome's word in the document, where nothing failed as a whole.
    word: Option<&'static str>,
    /// A bar is being drawn; a second one at once would only garble it.
    drawing: Arc<AtomicBool>,
    /// Stderr is read by the journal.
    journal: bool,
    log: Mutex<Option<Log>>,
    started: Instant,
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
    pub fn new(global: &GlobalArguments) -> Self {
        let terminal = io::stdout().is_terminal();
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        Report {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            progress: !global.no_progress && !global.quiet && io::stderr().is_terminal(),
            color: color && !global.json,
            document: JsonDocument::default(),
            word: None,
            terminal,
            unwritten: Mutex::new(None),
            options: options_of(global),
            aside: false,
            code: None,
            drawing: Arc::default(),
            journal: is_journal(),
            log: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// Writes whatever is said from now on into the log as well.
    pub fn keep_log(&self, log: Log) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(log);
    }

    /// An event that is nobody's business now.
    pub fn log_only(&self, text: impl AsRef<str>) {
        self.log(LogLevel::Info, text.as_ref());
    }

    /// A log that can't be written is told once, and no reason to stop.
    fn log(&self, level: LogLevel, text: &str) {
        let text = &paint::removed(text);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = log.as_mut().map(|log| log.write(level, text)) {
            *log = None;
            drop(log);
            self.warn(format!("{error}; nothing more is logged"));
        }
    }

    /// A result, on stdout; with `--json` it must be in the document instead. `-q` keeps it silent.
    /// Commands in it lead to the same store.
    pub fn line(&self, text: impl Into<Hint>) {
        let text = self.rendered(&text.into());
        self.log(LogLevel::Info, &text);
        self.row(text);
    }

    /// A row of a table: a result like any other, but for the log, which tells what was done and
    /// not what there is.
    pub fn row(&self, text: impl AsRef<str>) {
        if !self.json && !self.quiet {
            self.result(text.as_ref());
        }
    }

    /// A result that was explicitly asked for (a list, a plan), on stdout, with `-q` too.
    pub fn answer(&self, text: impl AsRef<str>) {
        if !self.json {
            self.result(text.as_ref());
        }
    }

    /// As [`Report::row`], for many at once.
    pub fn lines(&self, lines: impl IntoIterator<Item = String>) {
        if !self.quiet {
            self.answers(lines);
        }
    }

    /// As [`Report::answer`], for many lines at once.
    pub fn answers(&self, lines: impl IntoIterator<Item = String>) {
        if self.json {
            return;
        }
        if self.aside {
            return lines
                .into_iter()
                .for_each(|line| self.stderr(LogLevel::Info, &line));
        }
        let mut text = String::new();
        for line in lines {
            text.push_str(&paint::shown(&line));
            text.push('\n');
            if text.len() > 64 << 10 {
                self.stdout(&text);
                text.clear();
            }
        }
        if !text.is_empty() {
            self.stdout(&text);
        }
    }

    /// Where results go.
    fn result(&self, text: &str) {
        if self.aside {
            self.stderr(LogLevel::Info, text)
        } else {
            self.stdout(&format!("{}\n", paint::shown(text)))
        }
    }

    fn stdout(&self, text: &str) {
        // A reader that has gone (`| head`) is no failure of ours, and there is nobody left to
        // tell.
        let mut out = io::stdout().lock();
        self.note_unwritten(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }

    fn note_unwritten(&self, written: io::Result<()>) {
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.unwritten
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(error);
            }
            _ => {}
        }
    }

    /// Stdout as it is, for bytes that are the result themselves: with `--json` there is no place
    /// for them. No bar is drawn any more unless they go into a file, as the reader may be a pager.
    /// The caller makes sure that nothing else is written to stdout.
    pub fn raw(&mut self) -> Result<Raw> {
        if self.json {
            return Err(Error::usage(
                "the result is written to stdout as it is, so `--json` has no place there",
            )
            .with_hint("leave `--json` out"));
        }
        let raw = Raw::new(&io::stdout())?;
        self.progress &= raw.is_file();
        Ok(raw)
    }

    /// Whether the results go into one JSON document.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Stderr, for a program that is run to write its stdout to.
    pub fn error_stream(&self) -> Result<OwnedFd> {
        Ok(io::stderr().as_fd().try_clone_to_owned()?)
    }

    /// From now on results go to stderr, for stdout belongs to a program that is run. The document
    /// of `--json` goes where it always does.
    pub fn stand_aside(&mut self) {
        self.aside = true;
    }

    /// The exit code, whatever kind the outcome is of: for a command that stands for another
    /// program's. The last call counts.
    pub fn exits_with(&mut self, code: u8) {
        self.code = Some(code);
    }

    /// What is going on, on stderr.
    pub fn note(&self, text: impl Into<Hint>) {
        let text = self.rendered(&text.into());
        self.log(LogLevel::Info, &text);
        if !self.quiet {
            self.stderr(LogLevel::Info, &text);
        }
    }

    /// More of what is going on, on stderr, with `-v`.
    pub fn detail(&self, text: impl AsRef<str>) {
        self.log(LogLevel::Debug, text.as_ref());
        if self.verbose > 0 {
            self.stderr(LogLevel::Debug, text.as_ref());
        }
    }

    /// A part of the run's story that people want only with `-v`, or afterwards.
    pub fn story(&self, text: impl AsRef<str>) {
        self.log(LogLevel::Info, text.as_ref());
        if self.verbose > 0 {
            self.stderr(LogLevel::Info, text.as_ref());
        }
    }

    /// Something to know although the work goes on; never silenced.
    pub fn warn(&self, text: impl Into<Hint>) {
        let text = self.rendered(&text.into());
        self.log(LogLevel::Warning, &text);
        self.stderr(
            LogLevel::Warning,
            &format!("{} {text}", self.paint(Paint::Warning, "warning:")),
        );
    }

    /// An error, on one line, and its hint on the next; never silenced.
    pub fn error(&self, error: &Error) {
        let (message, hint) = (
            error.message(),
            error.hint().map(|hint| self.rendered(hint)),
        );
        let logged = hint
            .as_ref()
            .map_or(message.clone(), |hint| format!("{message} (hint: {hint})"));
        self.log(LogLevel::Error, &logged);
        self.stderr(
            LogLevel::Error,
            &format!("{} {message}", self.paint(Paint::Bad, "error:")),
        );
        if let Some(hint) = hint {
            self.stderr(LogLevel::Error, &format!("hint: {hint}"));
        }
    }

    /// The hint with the options that led to the store in each of its commands.
    pub fn rendered(&self, hint: &Hint) -> String {
        hint.render(&self.options)
    }

    fn stderr(&self, level: LogLevel, text: &str) {
        let text = if self.journal {
            with_priority(level, &paint::removed(text))
        } else {
            format!("{}\n", paint::shown(text))
        };
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Puts a value into the JSON document.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.document.set(key, value.into());
    }

    /// How often `-v` was given.
    pub fn verbosity(&self) -> u8 {
        self.verbose
    }

    /// Whether results go to a person's eyes.
    pub fn is_terminal(&self) -> bool {
        self.terminal && !self.json
    }

    /// How many columns a text for people may have: those of the terminal within reason, or 80.
    pub fn width(&self) -> usize {
        let columns = self
            .terminal
            .then(|| rustix::termios::tcgetwinsize(io::stdout()).ok())
            .flatten()
            .map_or(80, |size| usize::from(size.ws_col));
        columns.clamp(40, 100)
    }

    /// The outcome's word in the document, for a command whose answer may be bad news though
    /// nothing failed.
    pub fn outcome_is(&mut self, word: &'static str) {
        self.word = Some(word);
    }

    /// Puts an error's remedy into the document.
    pub fn set_hint(&mut self, error: &Error) {
        if let Some(hint) = error.hint() {
            self.set("hint", self.rendered(hint));
        }
    }

    /// Puts a list into the JSON document, one value at a time: it may be longer than memory. Where
    /// there is no document no value is asked for.
    pub fn set_list(
        &mut self,
        key: &str,
        values: impl Iterator<Item = Result<JsonText>>,
    ) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        self.document.set_list(key, values)
    }

    /// The text in a colour, where colours are wanted.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Good => "32",
            Paint::Warning => "33",
            Paint::Bad => "31",
            Paint::Strong => "1",
        };
        if self.color {
            paint::marked(code, text)
        } else {
            text.to_owned()
        }
    }

    /// A bar that follows `progress` up to `total` bytes (0: unknown) until it is dropped; on a
    /// terminal only.
    pub fn bar(&self, title: &str, total: u64, progress: &Progress) -> Bar {
        Bar::new(
            self.progress,
            &self.drawing,
            &printable(title),
            total,
            progress,
        )
    }

    /// Ends the program: tells an error, prints the document, gives the exit code.
    pub fn conclude(mut self, command: &str, outcome: Result<CommandOutcome>) -> u8 {
        let kind = match &outcome {
            Ok(kind) => *kind,
            Err(error) => {
                self.error(error);
                self.set("error", error.message());
                self.set_hint(error);
                Some(error.kind())
            }
        };
        let word = match kind {
            None => self.word.unwrap_or("ok"),
            Some(Kind::Partial) => "partial",
            Some(_) => "failed",
        };
        let took = crate::units::elapsed(self.started.elapsed().as_secs_f64());
        let code = self.code.unwrap_or(kind.map_or(0, Kind::exit_code));
        self.log(
            LogLevel::Info,
            &format!("ended: {command} {word}, exit code {code}, {took}"),
        );
        if self.json {
            let head = [("command", command), ("outcome", word)];
            let mut out = io::BufWriter::new(io::stdout().lock());
            let printed = self.document.write(&head, &mut out);
            drop(out);
            self.note_unwritten(printed);
        }
        let unwritten = self
            .unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(error) = unwritten {
            self.error(&Error::from(error).context("writing to the standard output"));
            return if code == 0 {
                Kind::Failed.exit_code()
            } else {
                code
            };
        }
        code
    }
}

/// The JSON text with what drives a terminal, and JSON lets stand, as an escape: it means the same.
fn tame(json: String) -> String {
    let stands = |character: char| character == '\n' || !drives_terminals(character);
    if json.chars().all(stands) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if stands(character) {
            out.push(character);
        } else {
            // All that does not stand is in a string: between them JSON has spaces and line breaks
            // only.
            character
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

/// The options that lead to a store.
fn options_of(global: &GlobalArguments) -> CommandOptions {
    let config = global.config.as_ref();
    CommandOptions {
        config: config.map(|path| units::shell_word(&path.to_string_lossy())),
        store: global.store.as_ref().map(|store| units::shell_word(store)),
    }
}
