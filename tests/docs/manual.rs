//! The pages of the manual that people write: Markdown in man/, read by a parser of Markdown and
//! written as roff; and that `dbbackup help` shows the same words.

use super::{documents, root, text_of};
use dbbackup::cli::Topic;
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// The names of the Markdown files in man/, sorted.
pub fn sources() -> Vec<String> {
    let directory = std::fs::read_dir(root().join("man")).unwrap();
    let names = directory.flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".md"))
        .collect();
    names.sort();
    names
}

/// The manual page made of one of these files: its name and its text.
pub fn page(source: &str) -> (String, Vec<u8>) {
    let name = source.strip_suffix(".md").unwrap();
    let (page, section) = name.rsplit_once('.').unwrap();
    let markdown = text_of(&format!("man/{source}"));
    let mut lines = markdown.lines();
    let title = lines.next().unwrap();
    assert_eq!(title, format!("# {page}({section})"), "{source}: the title");
    let summary = lines.find(|line| !line.is_empty()).unwrap();
    let body = markdown.split_once(summary).unwrap().1;

    let mut text = format!(
        "'\\\" t\n.\\\" Made of man/{source}.\n.TH {} {section} \"\" \"dbbackup {}\" \"dbbackup \
         manual\"\n.nh\n.ad l\n.SH NAME\n{} \\- {}\n",
        escaped(page),
        env!("CARGO_PKG_VERSION"),
        escaped(page),
        escaped(summary)
    );
    if !body.trim_start().starts_with("## ") {
        text.push_str(".SH DESCRIPTION\n");
    }
    text.push_str(&Roff::render(body));
    text.push_str(".SH \"SEE ALSO\"\n\\fBdbbackup\\fR(1)");
    for other in sources().iter().filter(|other| *other != source) {
        let (page, section) = other.strip_suffix(".md").unwrap().rsplit_once('.').unwrap();
        write!(text, ",\n\\fB{}\\fR({section})", escaped(page)).unwrap();
    }
    text.push('\n');
    (name.to_owned(), text.into_bytes())
}

/// Text in which nothing is a command of roff.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '`' => escaped.push_str("\\(ga"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Escaped code in which a long path or address may go on in the next line, without a hyphen.
fn breakable(code: &str) -> String {
    if code.split(' ').all(|word| word.chars().count() < 32) {
        return code.to_owned();
    }
    code.replace('/', "/\\:").replace('?', "\\:?")
}

/// A whole line of text: a dot at its beginning is no request.
fn guarded(line: &str) -> String {
    match line.starts_with('.') {
        true => format!("\\&{line}"),
        false => line.to_owned(),
    }
}

/// The roff that has been written so far, and where in the Markdown the writer is.
#[derive(Default)]
struct Roff {
    text: String,
    /// The text of the paragraph, heading or cell that is open.
    open: String,
    /// The fonts that are on, the innermost last.
    fonts: Vec<char>,
    /// The numbers of the lists that are open; `None` for bullets.
    lists: Vec<Option<u64>>,
    /// An item has begun, and no paragraph in it.
    item: bool,
    /// The rows of the table that is open.
    rows: Vec<Vec<String>>,
    /// Where a link that is open leads outside.
    address: Option<String>,
    in_code: bool,
    in_heading: bool,
    /// A heading has just been written, which ends a paragraph by itself.
    below_heading: bool,
}

impl Roff {
    fn render(markdown: &str) -> String {
        let mut roff = Roff {
            below_heading: true,
            ..Roff::default()
        };
        for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
            roff.take(event);
        }
        roff.text
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.in_code => self.open.push_str(&text),
            Event::Text(text) if self.in_heading => {
                self.open.push_str(&escaped(&text.to_uppercase()))
            }
            Event::Text(text) => self.open.push_str(&escaped(&text)),
            Event::Code(code) if self.in_heading => self.open.push_str(&escaped(&code)),
            Event::Code(code) => {
                self.font('B');
                self.open.push_str(&breakable(&escaped(&code)));
                self.font_off();
            }
            Event::SoftBreak => self.open.push('\n'),
            other => panic!("no page has {other:?}"),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { .. } => self.in_heading = true,
            Tag::CodeBlock(_) => self.in_code = true,
            Tag::List(first) => self.lists.push(first),
            Tag::Item => {
                // A list that is not loose has no paragraphs in its items.
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}.", *number - 1)
                    }
                    _ => "\\(bu".to_owned(),
                };
                let width = mark.len().min(2) + 1;
                writeln!(self.text, ".IP {mark} {width}").unwrap();
                self.item = true;
                self.below_heading = false;
            }
            Tag::Strong => self.font('B'),
            Tag::Emphasis => self.font('I'),
            Tag::Link { dest_url, .. } => {
                self.address = Some(dest_url.into_string()).filter(|url| url.contains("://"));
            }
            Tag::TableRow | Tag::TableHead => self.rows.push(Vec::new()),
            Tag::Paragraph | Tag::Table(_) | Tag::TableCell => {}
            other => panic!("no page has {other:?}"),
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                self.in_heading = false;
                let request = match level {
                    HeadingLevel::H2 => "SH",
                    HeadingLevel::H3 => "SS",
                    other => panic!("a heading of level {other}"),
                };
                let title = std::mem::take(&mut self.open).replace('"', "\"\"");
                writeln!(self.text, ".{request} \"{title}\"").unwrap();
                self.below_heading = true;
            }
            TagEnd::Paragraph => {
                match (std::mem::take(&mut self.item), self.lists.is_empty()) {
                    (true, _) => {}
                    (false, true) => self.begin_paragraph(),
                    (false, false) => self.text.push_str(".IP\n"),
                }
                self.flush();
            }
            TagEnd::Item => {
                self.item = false;
                self.flush();
            }
            TagEnd::List(_) => drop(self.lists.pop()),
            TagEnd::CodeBlock => self.end_code(),
            TagEnd::Strong | TagEnd::Emphasis => self.font_off(),
            TagEnd::Link => {
                if let Some(url) = self.address.take() {
                    write!(self.open, " ({})", escaped(&url)).unwrap();
                }
            }
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.open);
                self.rows.last_mut().unwrap().push(cell);
            }
            TagEnd::Table => self.end_table(),
            TagEnd::TableRow | TagEnd::TableHead => {}
            other => panic!("no page has {other:?}"),
        }
    }

    fn font(&mut self, font: char) {
        self.fonts.push(font);
        write!(self.open, "\\f{font}").unwrap();
    }

    /// Back to the font around.
    fn font_off(&mut self) {
        self.fonts.pop();
        write!(self.open, "\\f{}", self.fonts.last().unwrap_or(&'R')).unwrap();
    }

    fn begin_paragraph(&mut self) {
        if !std::mem::take(&mut self.below_heading) {
            self.text.push_str(".PP\n");
        }
    }

    fn flush(&mut self) {
        for line in std::mem::take(&mut self.open).lines() {
            writeln!(self.text, "{}", guarded(line)).unwrap();
        }
    }

    fn end_code(&mut self) {
        self.in_code = false;
        self.begin_paragraph();
        self.text.push_str(".RS 4\n.nf\n");
        for line in std::mem::take(&mut self.open).lines() {
            writeln!(self.text, "{}", guarded(&escaped(line))).unwrap();
        }
        self.text.push_str(".fi\n.RE\n");
    }

    /// A table for tbl(1): long columns share what the short ones leave.
    fn end_table(&mut self) {
        const LONG: usize = 32;
        let rows = std::mem::take(&mut self.rows);
        let columns = rows[0].len();
        let is_long = |column: usize| {
            let mut lengths = rows.iter().map(|row| row[column].chars().count());
            column + 1 == columns || lengths.any(|length| length > LONG)
        };
        let format = |font: &str| {
            let column = |at: usize| format!("l{font}{}", if is_long(at) { "x" } else { "" });
            (0..columns).map(column).collect::<Vec<_>>().join(" ")
        };
        self.begin_paragraph();
        write!(self.text, ".TS\n{}\n{}.\n", format("b"), format("")).unwrap();
        for row in &rows {
            let cells = row
                .iter()
                .map(|cell| format!("T{{\n{}\nT}}", guarded(cell)));
            writeln!(self.text, "{}", cells.collect::<Vec<_>>().join("\t")).unwrap();
        }
        self.text.push_str(".TE\n");
    }
}

/// The text of a page as a parser of Markdown sees it, without the heads of its tables.
fn text_in(markdown: &str) -> String {
    let mut text = String::new();
    let mut in_head = false;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::TableHead) => in_head = true,
            Event::End(TagEnd::TableHead) => in_head = false,
            Event::Text(part) | Event::Code(part) if !in_head => text.push_str(&part),
            Event::SoftBreak => text.push(' '),
            Event::End(
                TagEnd::Paragraph
                | TagEnd::Heading(_)
                | TagEnd::Item
                | TagEnd::TableCell
                | TagEnd::CodeBlock,
            ) => text.push('\n'),
            _ => {}
        }
    }
    text
}

/// How often each word is in a text, whatever the layout and the marks between the words.
fn words_in(text: &str) -> BTreeMap<String, usize> {
    let mut words = BTreeMap::new();
    for word in text.split(|character: char| !character.is_alphanumeric()) {
        if !word.is_empty() {
            *words.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    words
}

#[test]
fn every_page_is_a_topic_and_readme_leads_to_it() {
    let readme = text_of("README.md");
    for source in sources() {
        let topic = Topic::ALL
            .iter()
            .find(|topic| source.starts_with(topic.page))
            .unwrap_or_else(|| panic!("`dbbackup help` has no topic for man/{source}"));
        assert!(
            readme.contains(&format!("| `{}` |", topic.name)),
            "{source}"
        );
        assert!(readme.contains(&format!("(man/{source})")), "{source}");
        // It must fit into a line of `dbbackup help`.
        assert!(topic.summary().len() <= 63, "{source}: {}", topic.summary());
    }
    assert_eq!(sources().len(), Topic::ALL.len());
}

#[test]
fn help_shows_every_word_of_a_topic() {
    for topic in Topic::ALL {
        let output = Command::new(env!("CARGO_BIN_EXE_dbbackup"))
            .args(["help", topic.name])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", topic.name);
        let shown = String::from_utf8(output.stdout).unwrap();
        let there = words_in(&shown);
        let missing: Vec<String> = words_in(&text_in(topic.text))
            .into_iter()
            .filter(|(word, count)| there.get(word).is_none_or(|shown| shown < count))
            .map(|(word, _)| word)
            .collect();
        assert!(missing.is_empty(), "{} lacks {missing:?}", topic.name);
        // Code is longer than a line at times, and so is one with an address; prose is not.
        let long = |line: &&str| {
            line.chars().count() > 80
                && !line.starts_with("    ")
                && line.split(' ').all(|word| word.chars().count() < 40)
        };
        let long: Vec<&str> = shown.lines().filter(long).collect();
        assert!(long.is_empty(), "{}: {long:?}", topic.name);
    }
}

#[test]
fn pages_have_no_html() {
    for (name, text) in documents() {
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            let html = matches!(
                event,
                Event::Html(_) | Event::InlineHtml(_) | Event::Start(Tag::HtmlBlock)
            );
            assert!(!html, "{name}: {event:?}: a `<` belongs into code");
        }
    }
}

/// The anchor that Git hosts make of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading
        .to_lowercase()
        .replace(|c: char| !(c.is_alphanumeric() || c == ' ' || c == '-'), "");
    kept.replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    for (name, text) in documents() {
        let headings: BTreeSet<String> = text
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| anchor(line.trim_start_matches('#').trim()))
            .collect();
        let directory = root().join(&name);
        let directory = directory.parent().unwrap();
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            let Event::Start(Tag::Link { dest_url, .. }) = event else {
                continue;
            };
            let there = match dest_url.strip_prefix('#') {
                Some(anchor) => headings.contains(anchor),
                None => dest_url.contains("://") || directory.join(&*dest_url).exists(),
            };
            assert!(there, "{name}: {dest_url}");
        }
    }
}

#[test]
fn readme_is_short() {
    let size = text_of("README.md").len();
    assert!(
        size <= 26_000,
        "README.md has {size} bytes, and 26,000 are enough"
    );
}

/// Whoever builds a packaged crate has the pages, too.
#[test]
fn the_package_holds_the_pages() {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = cargo
        .args(["package", "--list", "--allow-dirty", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&output.stdout);
    let listed: BTreeSet<&Path> = listed.lines().map(Path::new).collect();
    for source in sources() {
        let path = Path::new("man").join(&source);
        assert!(
            listed.contains(path.as_path()),
            "{source}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
