//! Counts the rows of a dump while it goes by, on a thread of its own, and turns the counts into a
//! manifest.
//!
//! The rows are counted in what `pg_dump` wrote, and no query counts them on the server: `SELECT
//! count(*)` is planned, and planning evaluates functions of the database's owner that stand in
//! indexes and statistics, with the rights of the role that counts. It also costs the server
//! nothing, and is what the dump holds by its very nature.

use super::archive::{self, Uncountable};
use super::names::QualifiedName;
use super::tables::Candidate;
use super::{Format, scan};
use crate::engine::{Manifest, Table};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// How many blocks may wait to be counted; more would only be memory.
const WAITING_BLOCKS: usize = 8;

/// The rows of each table in a dump.
pub type RowCounts = Vec<(QualifiedName, u64)>;

/// Counts the rows of a dump that goes by in blocks.
pub struct RowCounter {
    blocks: SyncSender<Vec<u8>>,
    spent: Receiver<Vec<u8>>,
    thread: JoinHandle<Result<RowCounts, Uncountable>>,
}

impl RowCounter {
    /// Starts the thread. A format that is neither an archive nor a script of tables has none.
    pub fn start(format: Format) -> Result<RowCounter> {
        let (blocks, incoming) = sync_channel(WAITING_BLOCKS);
        let (outgoing, spent) = channel();
        let count = move || {
            let mut stream = BlockReader {
                incoming,
                outgoing,
                block: Vec::new(),
                given: 0,
            };
            count_rows(format, &mut stream)
        };
        let builder = std::thread::Builder::new().name("rows".into());
        let thread = builder
            .spawn(count)
            .map_err(|error| Error::failed(format!("starting a thread: {error}")))?;
        Ok(RowCounter {
            blocks,
            spent,
            thread,
        })
    }

    /// Takes the next bytes of the dump.
    pub fn take(&mut self, bytes: &[u8]) {
        let mut block = self.spent.try_recv().unwrap_or_default();
        block.clear();
        block.extend_from_slice(bytes);
        // A counter that gave up says why at the end; the dump goes on without it.
        let _ = self.blocks.send(block);
    }

    /// The dump is over.
    pub fn finish(self) -> Result<RowCounts, Uncountable> {
        drop(self.blocks);
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn count_rows(format: Format, stream: &mut dyn Read) -> Result<RowCounts, Uncountable> {
    if format == Format::Custom {
        return archive::count_rows(stream);
    }
    let scanned = scan::scan(stream).map_err(Uncountable::Unreadable)?;
    match scanned.complete {
        true => Ok(scanned.tables),
        false => Err(Uncountable::NotUnderstood(
            "the script that pg_dump wrote is not understood".to_owned(),
        )),
    }
}

/// The blocks as one stream.
struct BlockReader {
    incoming: Receiver<Vec<u8>>,
    outgoing: Sender<Vec<u8>>,
    block: Vec<u8>,
    given: usize,
}

impl Read for BlockReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.given == self.block.len() {
            // Nobody takes it back any more when the dump is over.
            let _ = self.outgoing.send(std::mem::take(&mut self.block));
            self.given = 0;
            match self.incoming.recv() {
                Ok(block) => self.block = block,
                Err(_) => return Ok(0),
            }
        }
        let count = bytes.len().min(self.block.len() - self.given);
        bytes[..count].copy_from_slice(&self.block[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

/// What a dump holds, and what it lacks.
#[derive(Debug, Default)]
pub struct Contents {
    /// The tables with their rows, and the materialized views without.
    pub manifest: Manifest,
    /// What should be known of it.
    pub warnings: Vec<String>,
    /// A table of which the dump should have the rows and has not, in a few words.
    pub lacks: Option<String>,
}

/// Brings together what the database has and what the dump holds of it.
///
/// What is not compared after a restore is not counted: a materialized view is listed without rows.
/// A table that belongs to an extension and is not in the dump is not listed at all: it comes with
/// the extension, and with the rows that the extension gives it. If it has others, that is a
/// warning.
pub fn describe_contents(tables: &[Candidate], counts: RowCounts, on_standby: bool) -> Contents {
    let mut rows_of: HashMap<String, u64> = HashMap::new();
    let mut order = Vec::new();
    for (name, rows) in counts {
        let name = name.to_string();
        if !rows_of.contains_key(&name) {
            order.push(name.clone());
        }
        *rows_of.entry(name).or_default() += rows;
    }
    let mut contents = Contents::default();
    let mut listed = Vec::new();
    for table in tables.iter().filter(|table| !table.is_partitioned()) {
        // A comment of a script has a name on one line, where it may be another one's.
        let rows = rows_of
            .remove(&parsed_name(&table.name))
            .or_else(|| rows_of.remove(&canonical_name(&table.name)));
        let listing = |kind: &str, rows: Option<u64>, compare: bool| Table {
            name: table.name.clone(),
            kind: kind.to_owned(),
            rows,
            compare,
        };
        match rows {
            // Of a configuration table only some rows are dumped, and others come with the
            // extension.
            Some(rows) if table.of_extension => {
                listed.push(listing("table of an extension", Some(rows), false))
            }
            Some(rows) => listed.push(listing("table", Some(rows), true)),
            None if table.is_materialized_view() => {
                listed.push(listing("materialized view", None, false))
            }
            None if table.of_extension && table.has_storage => contents.warnings.push(format!(
                "{} belongs to an extension, and pg_dump leaves its rows out: what was put into it \
                 by hand is not in the backup",
                table.name
            )),
            None if table.of_extension => {}
            None if table.data_is_left_out(on_standby) => listed.push(listing(
                "table without its \
                data",
                Some(0),
                false,
            )),
            None => {
                let lacking = format!("pg_dump left out the rows of {}", table.name);
                contents.lacks.get_or_insert_with(|| lacking.clone());
                contents.warnings.push(lacking);
                listed.push(listing("table without its data", Some(0), false));
            }
        }
    }
    // What the dump holds is in it, whatever the catalog said.
    for name in order {
        if let Some(rows) = rows_of.remove(&name) {
            listed.push(Table {
                name,
                kind: "table".to_owned(),
                rows: Some(rows),
                compare: true,
            });
        }
    }
    contents.manifest = Manifest::new(listed);
    contents
}

/// A name quoted by our own rules.
pub fn parsed_name(name: &str) -> String {
    QualifiedName::parse(name).map_or_else(|| name.to_owned(), |parsed| parsed.to_string())
}

/// A name in the one way in which both sides write it: on one line, quoted by our own rules.
pub fn canonical_name(name: &str) -> String {
    QualifiedName::parse(name).map_or_else(
        || name.to_owned(),
        |parsed| parsed.on_one_line().to_string(),
    )
}
