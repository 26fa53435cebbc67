//! Whose every page is: each belongs to one table or index, or is free, or is one of the file's
//! own.
//!
//! `PRAGMA integrity_check` asks that, too, but not always: where the first schema entry that it
//! comes by has no root page (a view, a virtual table), it takes the list of roots, which then
//! begins with 0, for that of a check of one table (3.40.1 and 3.54.1: `btree.c`, "aRoot\[0\]==0
//! means this is a partial check"), and leaves out the list of free pages, pages that nobody uses,
//! and the roots in the pointer map. So it is asked here, by reading alone: a live database can be
//! looked at as well as a copy.

use super::{Db, pages};
use crate::error::Result;
use crate::interrupt;

/// The byte that locks lie on; its page holds nothing.
const PENDING_BYTE: u64 = 0x4000_0000;
/// What a pointer map says of the root of a table or index, and of a free page.
const OF_ROOT: u8 = 1;
const OF_FREE_PAGE: u8 = 2;
/// More is not told of one database.
const TOLD: usize = 20;

/// Whether `integrity_check` may take itself for a partial one.
pub fn is_needed(db: &Db) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type IN ('table', 'view') AND \
               coalesce(rootpage, 0) = 0)";
    db.query_row(sql, [], |row| row.get(0))
}

/// What is wrong with the pages, in SQLite's own manner; nothing where all is well. It reads every
/// page that is in use: 0.5 s for 1.2 GB in the cache.
pub fn problems(db: &Db) -> Result<Vec<String>> {
    let mut accounts = PageAccounts::read(db)?;
    if accounts.count == 0 {
        return Ok(Vec::new());
    }
    accounts.pages_in_use(db)?;
    // Without the table of pages neither can be read; then the sum must do.
    if pages::available(db) {
        accounts.free_pages(db)?;
        accounts.pointer_maps(db)?;
        accounts.pages_of_nobody();
    } else {
        let free: i64 = db.pragma("freelist_count")?;
        accounts.sum(free.unsigned_abs());
    }
    Ok(accounts.told)
}

/// The pages of a database, each marked when it is come by.
struct PageAccounts {
    count: u64,
    usable: usize,
    page_size: u64,
    auto_vacuum: bool,
    /// What the table of pages is called.
    page_table: String,
    used: Vec<u64>,
    free: Vec<u64>,
    told: Vec<String>,
}

impl PageAccounts {
    fn read(db: &Db) -> Result<PageAccounts> {
        let (count, page_size): (i64, i64) = (db.pragma("page_count")?, db.pragma("page_size")?);
        let (count, page_size) = (count.unsigned_abs(), page_size.unsigned_abs());
        let words = (count / 64 + 1) as usize;
        let auto_vacuum: i64 = db.pragma("auto_vacuum")?;
        // Corrected where the header is read.
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
            told: Vec::new(),
        })
    }

    fn tell(&mut self, text: impl FnOnce() -> String) {
        if self.told.len() < TOLD {
            self.told.push(text());
        }
    }

    fn is_full(&self) -> bool {
        self.told.len() >= TOLD
    }

    /// Pages of tables and indexes, overflow pages among them.
    fn pages_in_use(&mut self, db: &Db) -> Result<()> {
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
                self.tell(|| format!("Tree {}: invalid page number {page}", name()));
            } else if mark(&mut self.used, page) {
                self.tell(|| format!("Tree {}: 2nd reference to page {page}", name()));
            }
            // Pages that refer to each other could be walked for ever.
            if self.is_full() || seen > self.count + TOLD as u64 {
                break;
            }
        }
        Ok(())
    }

    /// The list of free pages: trunks, each with its leaves.
    fn free_pages(&mut self, db: &Db) -> Result<()> {
        let header = self.page(db, 1)?;
        self.usable = self
            .page_size
            .saturating_sub(u64::from(header.get(20).copied().unwrap_or(0)))
            as usize;
        let (mut trunk, expected) = (number(&header, 32), number(&header, 36));
        let mut found = 0;
        while trunk != 0 && !self.is_full() {
            interrupt::check()?;
            if !self.free_page(trunk) {
                break;
            }
            found += 1;
            let page = self.page(db, trunk)?;
            let leaves = number(&page, 4);
            if leaves > (self.usable / 4).saturating_sub(2) as u64 {
                self.tell(|| format!("Freelist: leaf count of {leaves} too big on page {trunk}"));
                break;
            }
            for leaf in 0..leaves as usize {
                self.free_page(number(&page, 8 + 4 * leaf));
                found += 1;
            }
            trunk = number(&page, 0);
        }
        if found != expected {
            self.tell(|| format!("Freelist: size is {found} but should be {expected}"));
        }
        Ok(())
    }

    /// False: the list can't be followed there.
    fn free_page(&mut self, page: u64) -> bool {
        if page == 0 || page > self.count {
            self.tell(|| format!("Freelist: invalid page number {page}"));
            return false;
        }
        if is_marked(&self.used, page) {
            self.tell(|| format!("Freelist: 2nd reference to page {page}, which is in use"));
        }
        if mark(&mut self.free, page) {
            self.tell(|| format!("Freelist: 2nd reference to page {page}"));
            return false;
        }
        true
    }

    /// What the pointer maps say of roots and free pages; the rest of them `integrity_check` looks
    /// at whenever it goes by.
    fn pointer_maps(&mut self, db: &Db) -> Result<()> {
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
        let header = number(&self.page(db, 1)?, 52);
        if largest != header {
            self.tell(|| format!("max rootpage ({largest}) disagrees with header ({header})"));
        }
        let roots = roots.into_iter().map(|root| (root.unsigned_abs(), OF_ROOT));
        let free: Vec<(u64, u8)> = (1..=self.count)
            .filter(|page| is_marked(&self.free, *page))
            .map(|page| (page, OF_FREE_PAGE))
            .collect();
        let mut wanted: Vec<(u64, u8)> = roots
            .chain(free)
            .filter(|(page, _)| (3..=self.count).contains(page))
            .collect();
        // A map covers the pages behind it: so each is read once.
        wanted.sort_unstable();
        let (mut at, mut map) = (0, Vec::new());
        for (page, expected) in wanted {
            let its = self.map_of(page);
            if its != at {
                interrupt::check()?;
                (at, map) = (its, self.page(db, its)?);
            }
            // A page of the map itself, which is told where pages are looked at one by one.
            let Some(behind) = page.checked_sub(at + 1) else {
                continue;
            };
            let entry = map.get(5 * behind as usize).copied().unwrap_or(0);
            if entry != expected {
                self.tell(|| {
                    format!("Bad ptr map entry key={page} expected={expected} got={entry}")
                });
            }
        }
        Ok(())
    }

    /// The page of the pointer map that speaks of this one; see
    /// <https://sqlite.org/fileformat2.html#pointer_map_or_ptrmap_pages>.
    fn map_of(&self, page: u64) -> u64 {
        if page < 2 {
            return 0;
        }
        let each = (self.usable / 5) as u64 + 1;
        let map = (page - 2) / each * each + 2;
        if map == PENDING_BYTE / self.page_size + 1 {
            map + 1
        } else {
            map
        }
    }

    fn pages_of_nobody(&mut self) {
        let pending = PENDING_BYTE / self.page_size + 1;
        for page in 1..=self.count {
            let (used, is_map) = (
                is_marked(&self.used, page),
                self.auto_vacuum && self.map_of(page) == page,
            );
            if is_map && (used || is_marked(&self.free, page)) {
                self.tell(|| format!("Page {page}: pointer map referenced"));
            }
            if !used && !is_marked(&self.free, page) && !is_map && page != pending {
                self.tell(|| format!("Page {page}: never used"));
            }
            if self.is_full() {
                break;
            }
        }
    }

    fn sum(&mut self, free: u64) {
        let pending = PENDING_BYTE / self.page_size + 1;
        let used: u64 = self
            .used
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum();
        let maps = if self.auto_vacuum {
            (1..=self.count)
                .filter(|page| self.map_of(*page) == *page)
                .count() as u64
        } else {
            0
        };
        let found = used + free + maps + u64::from(pending <= self.count);
        if found != self.count {
            let count = self.count;
            self.tell(|| format!("{found} of {count} pages are used or free"));
        }
    }

    fn page(&self, db: &Db, page: u64) -> Result<Vec<u8>> {
        let sql = format!(
            "SELECT data FROM {} WHERE schema = 'main' AND pgno = ?1",
            self.page_table
        );
        let read = db.query_row(&sql, [page.cast_signed()], |row| row.get(0));
        read.map_err(|error| db.explain(error))
    }
}

/// Marks a page; true where it was marked before.
fn mark(set: &mut [u64], page: u64) -> bool {
    let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
    let before = set[word] & bit != 0;
    set[word] |= bit;
    before
}

fn is_marked(set: &[u64], page: u64) -> bool {
    set[(page / 64) as usize] & (1 << (page % 64)) != 0
}

/// The 4 bytes there, as SQLite writes numbers; 0 where the page ends before.
fn number(page: &[u8], at: usize) -> u64 {
    page.get(at..at + 4).map_or(0, |bytes| {
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    })
}
