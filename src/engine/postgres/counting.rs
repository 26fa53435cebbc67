//! Counts the rows of a dump while it is written, on a thread of its own, and turns the counts into
//! a manifest.
//!
//! The rows are counted in the output of `pg_dump`, never by a query on the server. `SELECT
//! count(*)` is planned, and planning evaluates functions of the database's owner that stand in
//! indexes and statistics, with the rights of the role that counts. Counting the output also costs
//! the server nothing, and describes exactly what the dump holds.

use super::archive::{self, CountFailure};
use super::names::QualifiedName;
use super::tables::ListedTable;
use super::{PgFormat, scan};
use crate::engine::{Manifest, Table};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// What a manifest calls a table whose rows are not in the dump.
pub const WITHOUT_ROWS: &str = "table without its data";

/// How many blocks may wait to be counted; more would only cost memory.
const WAITING_BLOCKS: usize = 8;

/// The rows of each table in a dump.
pub type RowCounts = Vec<(QualifiedName, u64)>;

/// Counts the rows of a dump that is pushed in blocks.
pub struct RowCounter {
    blocks: SyncSender<Vec<u8>>,
    spent: Receiver<Vec<u8>>,
    thread: JoinHandle<Result<RowCounts, CountFailure>>,
}

impl RowCounter {
    /// Starts the counting thread for a dump of this format.
    pub fn start(format: PgFormat) -> Result<RowCounter> {
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

    /// Counts the next bytes of the dump.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut block = self.spent.try_recv().unwrap_or_default();
        block.clear();
        block.extend_from_slice(bytes);
        // A counter that gave up reports why at the end; the dump goes on without it.
        let _ = self.blocks.send(block);
    }

    /// Ends the dump and returns the counts.
    pub fn finish(self) -> Result<RowCounts, CountFailure> {
        drop(self.blocks);
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn count_rows(format: PgFormat, stream: &mut dyn Read) -> Result<RowCounts, CountFailure> {
    if format == PgFormat::Custom {
        return archive::count_rows(stream);
    }
    let scanned = scan::scan(stream).map_err(CountFailure::Unreadable)?;
    match scanned.complete {
        true => Ok(scanned.tables),
        false => Err(CountFailure::NotUnderstood(
            "the script that pg_dump wrote is not understood".to_owned(),
        )),
    }
}

/// Reads the pushed blocks as one stream.
struct BlockReader {
    incoming: Receiver<Vec<u8>>,
    outgoing: Sender<Vec<u8>>,
    block: Vec<u8>,
    given: usize,
}

impl Read for BlockReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.given == self.block.len() {
            // Nobody receives the block any more once the dump is over.
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

/// The content of a dump, and what is missing from it.
#[derive(Debug, Default)]
pub struct DumpInventory {
    /// The tables with their rows, and the materialized views without.
    pub manifest: Manifest,
    /// Warnings about the content.
    pub warnings: Vec<String>,
    /// The first table whose rows are missing from the dump though they should be there.
    pub lacks: Option<String>,
}

/// Combines the database's tables with the counts of the dump.
///
/// A materialized view is listed without rows, as nothing that a restore does not compare is
/// counted. A table of an extension that is not in the dump is not listed: the extension creates
/// it, with its own rows. A warning says if it has others.
pub fn build_inventory(
    tables: &[ListedTable],
    counts: RowCounts,
    on_standby: bool,
) -> DumpInventory {
    let mut rows_of: HashMap<String, u64> = HashMap::new();
    let mut order = Vec::new();
    for (name, rows) in counts {
        let name = name.to_string();
        if !rows_of.contains_key(&name) {
            order.push(name.clone());
        }
        *rows_of.entry(name).or_default() += rows;
    }
    let mut contents = DumpInventory::default();
    let mut listed = Vec::new();
    for table in tables.iter().filter(|table| !table.is_partitioned()) {
        // In a comment of a script a name is on one line, where it may coincide with another one.
        let rows = rows_of
            .remove(&normalize_name(&table.name))
            .or_else(|| rows_of.remove(&normalize_name_on_one_line(&table.name)));
        match rows {
            // Only some rows of a configuration table are dumped, and others come with the
            // extension.
            Some(rows) if table.of_extension => listed.push(list_table(
                &table.name,
                "table of an extension",
                Some(rows),
                false,
            )),
            Some(rows) => listed.push(list_table(&table.name, "table", Some(rows), true)),
            None if table.is_materialized_view() => {
                listed.push(list_table(&table.name, "materialized view", None, false))
            }
            None if table.of_extension && table.has_storage => contents.warnings.push(format!(
                "{} belongs to an extension, and pg_dump leaves its rows out: what was put into it \
                 by hand is not in the backup",
                table.name
            )),
            None if table.of_extension => {}
            None if table.data_is_left_out(on_standby) => {
                listed.push(list_table(&table.name, WITHOUT_ROWS, Some(0), false))
            }
            None => {
                let lacking = format!("pg_dump left out the rows of {}", table.name);
                contents.lacks.get_or_insert_with(|| lacking.clone());
                contents.warnings.push(lacking);
                listed.push(list_table(&table.name, WITHOUT_ROWS, Some(0), false));
            }
        }
    }
    // What the dump holds is listed whatever the catalog said.
    for name in order {
        if let Some(rows) = rows_of.remove(&name) {
            listed.push(list_table(&name, "table", Some(rows), true));
        }
    }
    contents.manifest = Manifest::new(listed);
    contents
}

fn list_table(name: &str, kind: &str, rows: Option<u64>, compare: bool) -> Table {
    Table {
        name: name.to_owned(),
        kind: kind.to_owned(),
        rows,
        compare,
    }
}

/// The name, quoted by our own rules.
pub fn normalize_name(name: &str) -> String {
    QualifiedName::parse(name).map_or_else(|| name.to_owned(), |parsed| parsed.to_string())
}

/// The name in the one form that both sides write: on one line, quoted by our own rules.
pub fn normalize_name_on_one_line(name: &str) -> String {
    QualifiedName::parse(name).map_or_else(
        || name.to_owned(),
        |parsed| parsed.on_one_line().to_string(),
    )
}
