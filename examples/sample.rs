//! Makes the sample database of README's first command, or adds to it: a small shop in WAL mode. It
//! needs no sqlite3 shell, as the SQLite inside dbbackup does the work.
//!
//!     cargo run --release --example sample -- ./demo/shop.db

use rusqlite::{Connection, params};
use std::error::Error;
use std::path::Path;

/// Marks the shop as ours ("SHOP"), so that no other database is ever written to by mistake.
const APPLICATION_ID: i64 = 0x5348_4f50;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS customers (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, address TEXT NOT \
                      NULL CHECK (json_valid(address)));
    CREATE TABLE IF NOT EXISTS products (sku TEXT PRIMARY KEY, name TEXT NOT NULL, cents INTEGER \
                      NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS orders (
        id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers, placed_at TEXT NOT \
                      NULL,
        items TEXT NOT NULL CHECK (json_valid(items)), cents INTEGER NOT NULL);
    CREATE INDEX IF NOT EXISTS orders_of_customer ON orders (customer, placed_at);
    CREATE VIEW IF NOT EXISTS sales_by_day AS
        SELECT date(placed_at) AS day, count(*) AS orders, sum(cents) / 100.0 AS sum FROM orders \
                      GROUP BY day;";

const PRODUCTS: [(&str, &str, i64); 6] = [
    ("BAG-01", "Canvas bag", 2490),
    ("CUP-01", "Blue cup", 990),
    ("LMP-01", "Desk lamp", 5900),
    ("NTB-01", "Notebook, ruled", 450),
    ("PEN-01", "Fountain pen", 3200),
    ("TEA-01", "Green tea, 100 g", 780),
];

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: sample PATH")?;
    if let Some(parent) = Path::new(&path)
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        std::fs::create_dir_all(parent)?;
    }
    let mut shop = Connection::open(&path)?;
    let tables: i64 = shop.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let id: i64 = shop.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if tables > 0 && id != APPLICATION_ID {
        return Err(
            format!("{path} is a database, but not the sample shop: it is left alone").into(),
        );
    }
    shop.pragma_update(None, "journal_mode", "wal")?;
    shop.pragma_update(None, "application_id", APPLICATION_ID)?;
    shop.execute_batch(SCHEMA)?;
    fill(&mut shop)?;
    let orders: i64 = shop.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
    println!("{path}: a shop with {orders} orders");
    Ok(())
}

/// Two hundred customers at first, and two thousand more orders each time.
fn fill(shop: &mut Connection) -> rusqlite::Result<()> {
    let transaction = shop.transaction()?;
    for (sku, name, cents) in PRODUCTS {
        transaction.execute(
            "INSERT OR IGNORE INTO products VALUES (?1, ?2, ?3)",
            params![sku, name, cents],
        )?;
    }
    for number in 1..=200 {
        transaction.execute(
            "INSERT OR IGNORE INTO customers VALUES (?1, ?2, ?3, json_object('street', ?4, 'city', \
             'Utrecht'))",
            params![
                number,
                format!("Customer {number}"),
                format!("c{number}@shop.example"),
                format!("Oudegracht {number}")
            ],
        )?;
    }
    let before: i64 = transaction.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
    for number in before..before + 2000 {
        let (sku, _, cents) = PRODUCTS[usize::try_from(number).unwrap_or(0) % PRODUCTS.len()];
        let pieces = number % 3 + 1;
        transaction.execute(
            "INSERT INTO orders (customer, placed_at, items, cents)
             VALUES (?1, datetime('now', ?2), json_array(json_object('sku', ?3, 'pieces', ?4)), \
             ?5)",
            params![
                number * 7 % 200 + 1,
                format!("-{} minutes", number % 40_000),
                sku,
                pieces,
                cents * pieces
            ],
        )?;
    }
    transaction.commit()
}
