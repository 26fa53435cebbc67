//! The owner of every page: each belongs to one table or index, or is free, or is one of the file's
//! own.
//!
//! `PRAGMA integrity_check` looks for that, too, but not always. If the first entry of the schema
//! has no root page (a view, a virtual table), the list of roots begins with 0. The pragma takes
//! that for a check of one table (3.40.1 and 3.54.1: `btree.c`, "aRoot\[0\]==0 means this is a
//! partial check"). Then it leaves out the list of free pages, pages that nobody uses, and the
//! roots in the pointer map. So they are checked here, by reading alone: a live database can be
//! examined as well as a copy.

use super::{Db, pages};
use crate::error::Result;
use crate::interrupt;

/// The first byte that locks lie on; its page holds nothing.
const PENDING_BYTE: u64 = 0x4000_0000;
/// The pointer map's entry for the root of a table or index.
const ROOT_ENTRY: u8 = 1;
/// The pointer map's entry for a free page.
const FREE_PAGE_ENTRY: u8 = 2;
/// The largest number of problems that are reported of one database.
const MAX_PROBLEMS: usize = 20;

/// Whether `integrity_check` may take itself for a partial one.
pub fn is_needed(db: &Db) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type IN ('table', 'view') AND \
               coalesce(rootpage, 0) = 0)";
    db.query_row(sql, [], |row| row.get(0))
}

/// Finds the problems with the pages, in SQLite's own words. Every page that is in use is read:
/// 0.5 s for 1.2 GB in the cache.
pub fn find_problems(db: &Db) -> Result<Vec<String>> {
    let mut accounts = PageAccounts::read(db)?;
    if accounts.count == 0 {
        return Ok(Vec::new());
    }
    accounts.mark_pages_in_use(db)?;
    // Without the table of pages the lists can't be read, and only the sum can be compared.
    if pages::available(db) {
        accounts.mark_free_pages(db)?;
        accounts.check_pointer_maps(db)?;
        accounts.find_unused_pages();
    } else {
        let free: i64 = db.pragma("freelist_count")?;
        accounts.check_sum(free.unsigned_abs());
    }
    Ok(accounts.problems)
}

/// The pages of a database, each marked when it is found.
struct PageAccounts {
    count: u64,
    /// The bytes of a page that SQLite uses.
    usable: usize,
    page_size: u64,
    auto_vacuum: bool,
    /// The name of the table of pages.
    page_table: String,
    /// A bit for each page that is in use.
    used: Vec<u64>,
    /// A bit for each page that is free.
    free: Vec<u64>,
    problems: Vec<String>,
}

impl PageAccounts {
    fn read(db: &Db) -> Result<PageAccounts> {
        let (count, page_size): (i64, i64) = (db.pragma("page_count")?, db.pragma("page_size")?);
        let (count, page_size) = (count.unsigned_abs(), page_size.unsigned_abs());
        let words = (count / 64 + 1) as usize;
        let auto_vacuum: i64 = db.pragma("auto_vacuum")?;
        // This is corrected when the header is read.
        let usable = page_size as usize;
        let (used, free) = (vec![0; words], vec![0; words]);
        let page_table = db
            .of_module("sqlite_dbpage")
            .map_err(|error| db.explain(error))?;
        Ok(PageAccounts {
            count,
            usable,
            page_size,
            auto_vacuum: auto_vacuum != 0,
            page_table,
            used,
            free,
            problems: Vec::new(),
        })
    }

    /// Adds a problem, unless there are enough.
    fn report(&mut self, text: impl FnOnce() -> String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(text());
        }
    }

    fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    /// Marks the pages of tables and indexes, overflow pages among them.
    fn mark_pages_in_use(&mut self, db: &Db) -> Result<()> {
        let table = db.of_module("dbstat").map_err(|error| db.explain(error))?;
        let sql = format!("SELECT name, pageno FROM {table} WHERE schema = 'main'");
        let mut statement = db.prepare(&sql).map_err(|error| db.explain(error))?;
        let mut rows = statement.query([]).map_err(|error| db.explain(error))?;
        let mut seen = 0;
        while let Some(row) = rows.next().map_err(|error| db.explain(error))? {
            let page: i64 = row.get(1)?;
            let page = page.unsigned_abs();
            seen += 1;
            if seen % 4096 == 0 {
                interrupt::check()?;
            }
            let name = || row.get::<_, String>(0).unwrap_or_default();
            if page == 0 || page > self.count {
                self.report(|| format!("Tree {}: invalid page number {page}", name()));
            } else if mark(&mut self.used, page) {
                self.report(|| format!("Tree {}: 2nd reference to page {page}", name()));
            }
            // Pages that refer to each other could be walked for ever.
            if self.is_full() || seen > self.count + MAX_PROBLEMS as u64 {
                break;
            }
        }
        Ok(())
    }

    /// Marks the pages in the list of free pages: trunks, each with its leaves.
    fn mark_free_pages(&mut self, db: &Db) -> Result<()> {
        let header = self.read_page(db, 1)?;
        self.usable = self
            .page_size
            .saturating_sub(u64::from(header.get(20).copied().unwrap_or(0)))
            as usize;
        let (mut trunk, expected) = (read_number(&header, 32), read_number(&header, 36));
        let mut found = 0;
        while trunk != 0 && !self.is_full() {
            interrupt::check()?;
            if !self.mark_free_page(trunk) {
                break;
            }
            found += 1;
            let page = self.read_page(db, trunk)?;
            let leaves = read_number(&page, 4);
            if leaves > (self.usable / 4).saturating_sub(2) as u64 {
                self.report(|| format!("Freelist: leaf count of {leaves} too big on page {trunk}"));
                break;
            }
            for leaf in 0..leaves as usize {
                self.mark_free_page(read_number(&page, 8 + 4 * leaf));
                found += 1;
            }
            trunk = read_number(&page, 0);
        }
        if found != expected {
            self.report(|| format!("Freelist: size is {found} but should be {expected}"));
        }
        Ok(())
    }

    /// Marks a free page. Returns false if the list can't be followed there.
    fn mark_free_page(&mut self, page: u64) -> bool {
        if page == 0 || page > self.count {
            self.report(|| format!("Freelist: invalid page number {page}"));
            return false;
        }
        if is_marked(&self.used, page) {
            self.report(|| format!("Freelist: 2nd reference to page {page}, which is in use"));
        }
        if mark(&mut self.free, page) {
            self.report(|| format!("Freelist: 2nd reference to page {page}"));
            return false;
        }
        true
    }

    /// Checks the pointer maps' entries for roots and free pages. The other entries are always
    /// checked by `integrity_check`.
    fn check_pointer_maps(&mut self, db: &Db) -> Result<()> {
        if !self.auto_vacuum {
            return Ok(());
        }
        let sql = "SELECT rootpage FROM main.sqlite_schema WHERE rootpage > 1 AND type IN \
                   ('table', 'index')";
        let mut statement = db.prepare(sql).map_err(|error| db.explain(error))?;
        let roots = statement.query_map([], |row| row.get::<_, i64>(0));
        let roots: Vec<i64> = roots
            .and_then(Iterator::collect)
            .map_err(|error| db.explain(error))?;
        let largest = roots
            .iter()
            .max()
            .copied()
            .unwrap_or(1)
            .unsigned_abs()
            .max(1);
        let header = read_number(&self.read_page(db, 1)?, 52);
        if largest != header {
            self.report(|| format!("max rootpage ({largest}) disagrees with header ({header})"));
        }
        let roots = roots
            .into_iter()
            .map(|root| (root.unsigned_abs(), ROOT_ENTRY));
        let free: Vec<(u64, u8)> = (1..=self.count)
            .filter(|page| is_marked(&self.free, *page))
            .map(|page| (page, FREE_PAGE_ENTRY))
            .collect();
        let mut wanted: Vec<(u64, u8)> = roots
            .chain(free)
            .filter(|(page, _)| (3..=self.count).contains(page))
            .collect();
        // A map covers the pages behind it, so each map is read once.
        wanted.sort_unstable();
        let (mut at, mut map) = (0, Vec::new());
        for (page, expected) in wanted {
            let map_page = self.map_page_of(page);
            if map_page != at {
                interrupt::check()?;
                (at, map) = (map_page, self.read_page(db, map_page)?);
            }
            // A page of the map itself is reported by `find_unused_pages`.
            let Some(behind) = page.checked_sub(at + 1) else {
                continue;
            };
            let entry = map.get(5 * behind as usize).copied().unwrap_or(0);
            if entry != expected {
                self.report(|| {
                    format!("Bad ptr map entry key={page} expected={expected} got={entry}")
                });
            }
        }
        Ok(())
    }

    /// The page of the pointer map that has the entry of this one; see
    /// <https://sqlite.org/fileformat2.html#pointer_map_or_ptrmap_pages>.
    fn map_page_of(&self, page: u64) -> u64 {
        if page < 2 {
            return 0;
        }
        let each = (self.usable / 5) as u64 + 1;
        let map = (page - 2) / each * each + 2;
        if map == self.pending_page() {
            map + 1
        } else {
            map
        }
    }

    /// The page that locks lie on, whether or not the file is so large.
    fn pending_page(&self) -> u64 {
        PENDING_BYTE / self.page_size + 1
    }

    /// Reports the pages that are neither used nor free, and pages of the pointer map that are.
    fn find_unused_pages(&mut self) {
        let pending = self.pending_page();
        for page in 1..=self.count {
            let (used, is_map) = (
                is_marked(&self.used, page),
                self.auto_vacuum && self.map_page_of(page) == page,
            );
            if is_map && (used || is_marked(&self.free, page)) {
                self.report(|| format!("Page {page}: pointer map referenced"));
            }
            if !used && !is_marked(&self.free, page) && !is_map && page != pending {
                self.report(|| format!("Page {page}: never used"));
            }
            if self.is_full() {
                break;
            }
        }
    }

    /// Reports a difference between the number of pages and those that are used or `free`.
    fn check_sum(&mut self, free: u64) {
        let pending = self.pending_page();
        let used: u64 = self
            .used
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum();
        let maps = if self.auto_vacuum {
            (1..=self.count)
                .filter(|page| self.map_page_of(*page) == *page)
                .count() as u64
        } else {
            0
        };
        let found = used + free + maps + u64::from(pending <= self.count);
        if found != self.count {
            let count = self.count;
            self.report(|| format!("{found} of {count} pages are used or free"));
        }
    }

    /// Reads the content of a page.
    fn read_page(&self, db: &Db, page: u64) -> Result<Vec<u8>> {
        let sql = format!(
            "SELECT data FROM {} WHERE schema = 'main' AND pgno = ?1",
            self.page_table
        );
        let read = db.query_row(&sql, [page.cast_signed()], |row| row.get(0));
        read.map_err(|error| db.explain(error))
    }
}

/// Marks a page. Returns true if it was marked before.
fn mark(set: &mut [u64], page: u64) -> bool {
    let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
    let before = set[word] & bit != 0;
    set[word] |= bit;
    before
}

fn is_marked(set: &[u64], page: u64) -> bool {
    set[(page / 64) as usize] & (1 << (page % 64)) != 0
}

/// Reads the 4 bytes of a number at this offset, as SQLite writes it; 0 if the page ends before.
fn read_number(page: &[u8], at: usize) -> u64 {
    page.get(at..at + 4).map_or(0, |bytes| {
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    })
}
