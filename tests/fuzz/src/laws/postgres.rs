//! What PostgreSQL's programs write, and what people write for them.

use super::{Dice, Pieces};
use dbbackup::fuzzing::{
    DumpSections, PassFile, PgFormat, QualifiedName, Result, RowObserver, ScanResult, Toc,
    count_rows, dsn, scan, scan_with_observer,
};
use std::io::{Cursor, Write};

/// Counts what it is shown.
#[derive(Default)]
struct Counted {
    tables: Vec<QualifiedName>,
    rows: u64,
    is_open: bool,
}

impl RowObserver for Counted {
    fn on_create(&mut self, _: &str) {}

    fn on_set(&mut self, _: &str) {}

    fn begin_table(
        &mut self,
        table: &QualifiedName,
        _: &QualifiedName,
        _: &[String],
    ) -> Result<bool> {
        assert!(!std::mem::replace(&mut self.is_open, true));
        self.tables.push(table.clone());
        Ok(true)
    }

    fn push_data(&mut self, bytes: &[u8]) -> Result<()> {
        assert!(self.is_open);
        self.rows += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(())
    }

    fn end_table(&mut self) -> Result<()> {
        assert!(std::mem::replace(&mut self.is_open, false));
        Ok(())
    }
}

/// Pieces do not matter, nor does a watcher, who is shown as many rows as are counted.
pub fn scan_script(data: &[u8]) {
    let found: ScanResult = scan(&mut Cursor::new(data)).unwrap();
    assert_eq!(scan(&mut Pieces::of(data)).unwrap(), found, "in pieces");
    let mut counted = Counted::default();
    let watched = scan_with_observer(&mut Pieces::of(data), &mut counted).unwrap();
    assert_eq!(watched, found, "watched");
    assert_eq!(found.bytes, data.len() as u64);
    let rows: u64 = found.tables.iter().map(|(_, rows)| rows).sum();
    assert!(rows <= found.bytes);
    if found.complete {
        assert_eq!((counted.rows, counted.is_open), (rows, false));
    }
    for (table, _) in &found.tables {
        assert!(counted.tables.contains(table), "{table:?} was not shown");
    }
    sections(PgFormat::Plain, data);
}

/// Sections follow one another in the dump, and pieces do not matter.
fn sections(format: PgFormat, data: &[u8]) {
    let find = |piece: usize| -> Vec<(u64, String)> {
        let mut sections = DumpSections::new(format).expect("a dump of tables");
        let found = data.chunks(piece).flat_map(|piece| sections.find(piece));
        found.map(|found| (found.offset, found.name)).collect()
    };
    let whole = find(data.len().max(1));
    let offsets = whole.iter().map(|(offset, _)| *offset);
    assert!(offsets.clone().is_sorted() && offsets.max() <= Some(data.len() as u64));
    assert_eq!(find(3), whole, "in pieces");
}

/// Pieces do not matter; no more rows than bytes.
pub fn custom_archive(data: &[u8]) {
    // Nobody guesses the first bytes.
    let bytes = [b"PGDMP", data].concat();
    for bytes in [data, &bytes] {
        let told = |counted: std::result::Result<_, _>| format!("{counted:?}");
        let whole = count_rows(&mut Cursor::new(bytes));
        if let Ok(tables) = &whole {
            let rows: u64 = tables.iter().map(|(_, rows)| rows).sum();
            assert!(rows <= bytes.len() as u64);
        }
        assert_eq!(told(count_rows(&mut Pieces::of(bytes))), told(whole));
        sections(PgFormat::Custom, bytes);
    }
}

/// The lines of its entries are the same table of contents.
pub fn table_of_contents(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(toc) = Toc::parse(&text) else { return };
    let lines: Vec<&str> = toc
        .entries
        .iter()
        .map(|entry| entry.line.as_str())
        .collect();
    for line in &lines {
        assert!(text.contains(line), "{line:?} is made up");
    }
    assert_eq!(Toc::parse(&lines.join("\n")).unwrap().entries, toc.entries);
}

/// What was read can be written as pairs and read again, and no error repeats a password.
pub fn connection_string(data: &[u8]) {
    const SECRET: &str = "qZ7x!Kw";
    let text = String::from_utf8_lossy(data);
    let _ = dsn::is_url(&text);
    // A key in a URL may hold what no key outside of one can.
    let is_plain =
        |(key, _): &(String, String)| !key.contains(|c: char| c == '=' || c.is_whitespace());
    if let Ok(pairs) = dsn::parse(&text)
        && pairs.iter().all(is_plain)
    {
        let written: Vec<String> = pairs
            .iter()
            .map(|(key, value)| dsn::format_pair(key, value))
            .collect();
        assert_eq!(dsn::parse(&written.join(" ")).unwrap(), pairs);
    }
    let mut dice = Dice(data);
    let (before, after) = (dice.text(20), dice.text(200));
    for text in [
        format!("postgresql://user:{before}{SECRET}{after}"),
        format!("host=h password={before}{SECRET}{after}"),
    ] {
        if let Err(error) = dsn::parse(&text) {
            assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
        }
    }
}

/// The password of a line that was written for this server is found, whatever stands in the lines
/// before; a file of any bytes is read.
pub fn password_file(data: &[u8]) {
    let mut dice = Dice(data);
    let port = dice.number() as u16;
    let [host, database, user, password] = [0; 4].map(|_| {
        let text = dice.text(20);
        text.replace(['\n', '\r', '\0'], "")
    });
    let escaped = |text: &str| text.replace('\\', r"\\").replace(':', r"\:");
    let line = format!(
        "{}:{port}:{}:{}:{}",
        escaped(&host),
        escaped(&database),
        escaped(&user),
        escaped(&password)
    );
    let found = |bytes: &[u8]| {
        // Nobody else may read it.
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let file = PassFile::read(file.path(), &mut Vec::new());
        let secret = file.find(std::slice::from_ref(&host), port, &database, &user);
        secret.map(|secret| secret.expose().to_owned())
    };
    found(dice.0);
    if !line.starts_with('#') && !password.is_empty() {
        assert_eq!(found(line.as_bytes()).as_ref(), Some(&password), "{line}");
        let after_others = [
            b"# comment\nelsewhere:1:x:y:z\n",
            line.as_bytes(),
            b"\r\n*:*:*:*:no",
        ];
        assert_eq!(found(&after_others.concat()), Some(password), "{line}");
    }
}
