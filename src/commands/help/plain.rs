//! A page of the manual as plain text. Of Markdown it knows what the pages in man/ use: headings,
//! paragraphs, code in fences, lists of one level, tables, and marks within a line. A test compares
//! the words that are left with those that a whole parser of Markdown finds.

/// How far code and the cells below a table's first one are indented.
const INDENT: usize = 4;
/// The widest that a column before the last one becomes, but for a word that is longer.
const WIDEST: usize = 24;
/// The narrowest that the last column of a table may become before its rows are written as
/// paragraphs.
const NARROWEST: usize = 30;

/// The text for a reader with so many columns.
pub fn render(markdown: &str, width: usize) -> String {
    let mut page = Page {
        width,
        text: String::new(),
    };
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        if line.starts_with("```") {
            let code = lines.by_ref().take_while(|line| !line.starts_with("```"));
            page.code(code);
        } else if let Some(heading) = line.strip_prefix('#') {
            page.heading(heading.trim_start_matches('#').trim());
        } else if line.starts_with('|') {
            let mut rows = vec![cells(line)];
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(cells(row));
            }
            // The second one only separates the head from the rest.
            rows.remove(1);
            page.table(&rows);
        } else {
            let mut paragraph = line.to_owned();
            while let Some(more) = lines.next_if(|line| continues(line)) {
                paragraph.push(' ');
                paragraph.push_str(more.trim_start());
            }
            let followed = lines.peek().is_some_and(|next| marker(next).is_some());
            page.paragraph(&paragraph, followed);
        }
    }
    page.text
}

/// Whether a line belongs to the paragraph or the item above it.
fn continues(line: &str) -> bool {
    let begins_another = line.is_empty() || line.starts_with("```") || line.starts_with(['#', '|']);
    !begins_another && marker(line).is_none()
}

/// The mark that begins an item of a list, with the space behind it: `- ` or `12. `.
fn marker(line: &str) -> Option<&str> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let end = if line.starts_with("- ") {
        2
    } else if digits > 0 && line[digits..].starts_with(". ") {
        digits + 2
    } else {
        return None;
    };
    Some(&line[..end])
}

/// The cells of a table's row. A `|` within code must be written in another way.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim().trim_start_matches('|').trim_end_matches('|');
    row.split('|')
        .map(|cell| without_marks(cell.trim()))
        .collect()
}

/// A line without the marks of bold and slanted text, and of links their texts alone. Code keeps
/// its backquotes, as in every message of the program.
fn without_marks(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 1 {
            plain.push('`');
            plain.push_str(part);
            plain.push('`');
        } else {
            plain.push_str(&part.replace('*', ""));
        }
    }
    without_links(&plain)
}

/// `[text](target)` becomes `text`.
fn without_links(text: &str) -> String {
    let Some((before, rest)) = text.split_once("](") else {
        return text.to_owned();
    };
    match (before.rsplit_once('['), rest.split_once(')')) {
        (Some((start, link)), Some((_, after))) => {
            format!("{start}{link}{}", without_links(after))
        }
        _ => text.to_owned(),
    }
}

/// In capitals, but for code: names of keys are what they are.
fn capitals(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(at, part)| match at % 2 {
            0 => part.to_uppercase(),
            _ => part.to_owned(),
        })
        .collect()
}

/// Breaks a text into lines of at most so many columns; a longer word has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
    }
    lines
}

/// The width of a column before the last one.
fn width_of<'a>(cells: impl Iterator<Item = &'a String> + Clone) -> usize {
    let widest = cells.clone().map(|cell| cell.chars().count()).max();
    let longest = cells
        .flat_map(|cell| cell.split_whitespace())
        .map(|word| word.chars().count())
        .max();
    let (widest, longest) = (widest.unwrap_or_default(), longest.unwrap_or_default());
    widest.min(WIDEST).max(longest)
}

/// The text that has been written so far.
struct Page {
    width: usize,
    text: String,
}

impl Page {
    fn line(&mut self, indent: usize, text: &str) {
        if !text.is_empty() {
            self.text.extend(std::iter::repeat_n(' ', indent));
            self.text.push_str(text);
        }
        self.text.push('\n');
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn heading(&mut self, text: &str) {
        let text = capitals(text);
        self.line(0, &text);
        self.blank();
    }

    fn code<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        for line in lines {
            self.line(INDENT, line);
        }
        self.blank();
    }

    /// A paragraph, or an item of a list; between items of one list there is no blank line.
    fn paragraph(&mut self, text: &str, followed_by_item: bool) {
        let mark = marker(text).unwrap_or_default();
        let indent = mark.len();
        let plain = without_marks(&text[indent..]);
        for (at, line) in wrap(&plain, self.width - indent).iter().enumerate() {
            match at {
                0 => self.line(0, &format!("{mark}{line}")),
                _ => self.line(indent, line),
            }
        }
        if !(followed_by_item && indent > 0) {
            self.blank();
        }
    }

    /// Columns side by side, their cells wrapped; or, where little would be left for the last one,
    /// a paragraph for each row.
    fn table(&mut self, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        let mut widths: Vec<usize> = (0..columns.saturating_sub(1))
            .map(|column| width_of(rows.iter().filter_map(|row| row.get(column))))
            .collect();
        let before: usize = widths.iter().map(|width| width + 2).sum();
        if before + NARROWEST <= self.width {
            widths.push(self.width - before);
            for row in rows {
                self.row(row, &widths);
            }
        } else {
            let (head, body) = rows.split_at(1);
            for row in body {
                self.row_as_paragraph(row, &head[0]);
            }
        }
        self.blank();
    }

    fn row(&mut self, row: &[String], widths: &[usize]) {
        let cells: Vec<Vec<String>> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| wrap(cell, *width))
            .collect();
        for at in 0..cells.iter().map(Vec::len).max().unwrap_or_default() {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(widths) {
                let part = cell.get(at).map_or("", String::as_str);
                line.push_str(part);
                let pad = (width + 2).saturating_sub(part.chars().count());
                line.extend(std::iter::repeat_n(' ', pad));
            }
            self.line(0, line.trim_end());
        }
    }

    fn row_as_paragraph(&mut self, row: &[String], head: &[String]) {
        for (at, (cell, title)) in row.iter().zip(head).enumerate() {
            let text = match at {
                0 => cell.clone(),
                _ if cell.is_empty() => continue,
                _ if title.is_empty() || row.len() == 2 => cell.clone(),
                _ => format!("{title}: {cell}"),
            };
            let indent = if at == 0 { 0 } else { INDENT };
            for line in wrap(&text, self.width - indent) {
                self.line(indent, &line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn marks_go_and_the_text_is_wrapped() {
        let page = "# Title\n\n**Bold** and `code *kept*`, see [a link](there.md), and\nmore.\n\n\
                    ## The `[key]` table\n\n- one\n  more\n- two\n\n1. first\n2. second\n\n\
                    ```sh\nls   -l\n```\n";
        let expected = "TITLE\n\nBold and `code *kept*`, see a link, and\nmore.\n\nTHE [key] \
                        TABLE\n\n- one more\n- two\n\n1. first\n2. second\n\n    ls   -l\n\n";
        assert_eq!(render(page, 40), expected);
    }

    #[test]
    fn tables_are_columns_as_long_as_the_last_one_has_room() {
        let page = "| key | default | meaning |\n|---|---|---|\n| `a` | `1` | what the key is for, \
                    at some length |\n";
        assert_eq!(
            render(page, 48),
            "key  default  meaning\n`a`  `1`      what the key is for, at some\n              \
             length\n\n"
        );
        assert_eq!(
            render(page, 40),
            "`a`\n    default: `1`\n    meaning: what the key is for, at\n    some length\n\n"
        );
    }
}
