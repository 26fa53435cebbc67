//! The database that is measured: a shop of some years, the same in every run, made once.
//!
//! What makes up a real application's database, in proportions that `gzip -6` shrinks to somewhat
//! more than a third: prose, JSON documents, timestamps, hexadecimal ids, some blobs that don't
//! compress, and indexes.
//!
//! By default it is as an import or a `VACUUM` leaves a database: one table after the other, then
//! the indexes. With `DBBACKUP_BENCH_GROWN=1` it is as years of use leave it: the pages of all
//! tables mixed, and an index that was filled in random order. What copies pages then has more to
//! compress than what rewrites the tables.

use rusqlite::{Connection, Transaction, params};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Part of the file's name, so that a changed recipe makes a new one.
const RECIPE: u32 = 1;

const SCHEMA: &str = "
    CREATE TABLE customers(id INTEGER PRIMARY KEY, public_id TEXT NOT NULL, name TEXT NOT NULL, \
                      email TEXT NOT NULL, phone TEXT,
        address TEXT, country TEXT, created_at TEXT NOT NULL, profile TEXT NOT NULL);
    CREATE TABLE products(id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, name TEXT NOT NULL, \
                      description TEXT, price_cents INTEGER);
    CREATE TABLE orders(id INTEGER PRIMARY KEY, public_id TEXT NOT NULL, customer_id INTEGER NOT \
                      NULL REFERENCES customers(id),
        status TEXT NOT NULL, total_cents INTEGER NOT NULL, currency TEXT NOT NULL, placed_at TEXT \
                      NOT NULL, shipped_at TEXT,
        ship_to TEXT, note TEXT);
    CREATE TABLE order_items(order_id INTEGER NOT NULL REFERENCES orders(id), line INTEGER NOT NULL,
        product_id INTEGER NOT NULL REFERENCES products(id), quantity INTEGER, price_cents \
                      INTEGER, PRIMARY KEY(order_id, line)) WITHOUT ROWID;
    CREATE TABLE events(id INTEGER PRIMARY KEY, at INTEGER NOT NULL, session TEXT NOT NULL,
        customer_id INTEGER NOT NULL REFERENCES customers(id), kind TEXT NOT NULL, payload TEXT \
                      NOT NULL);
    CREATE TABLE articles(id INTEGER PRIMARY KEY, slug TEXT NOT NULL, title TEXT NOT NULL, body \
                      TEXT NOT NULL, updated_at TEXT NOT NULL);
    CREATE TABLE attachments(id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES \
                      orders(id), name TEXT NOT NULL,
        etag TEXT NOT NULL, content BLOB NOT NULL);";

const LATER_INDEXES: &str = "
    CREATE UNIQUE INDEX IF NOT EXISTS orders_public_id ON orders(public_id);
    CREATE UNIQUE INDEX customers_email ON customers(email);
    CREATE INDEX orders_customer ON orders(customer_id);
    CREATE INDEX orders_placed ON orders(placed_at, status);
    CREATE INDEX events_customer ON events(customer_id, at);
    CREATE INDEX events_session ON events(session);
    CREATE INDEX attachments_order ON attachments(order_id);";

/// How many customers, with all that they do, make a MiB of database.
const CUSTOMERS_PER_MIB: u64 = 110;

/// Whether it is to look grown.
pub fn grown() -> bool {
    super::number("DBBACKUP_BENCH_GROWN", 0) > 0
}

/// The database of so many MiB in `dir`, made if it isn't there: in WAL mode, with nothing in the
/// log.
pub fn shop(dir: &Path, mebibytes: u64) -> PathBuf {
    let kind = if grown() { "grown" } else { "loaded" };
    let path = dir.join(format!("shop-{kind}-{mebibytes}MiB-{RECIPE}.sqlite3"));
    if !path.exists() {
        let unfinished = path.with_extension("new");
        let _ = std::fs::remove_file(&unfinished);
        super::again(
            "make-database",
            &[unfinished.as_os_str(), mebibytes.to_string().as_ref()],
        );
        std::fs::rename(&unfinished, &path).unwrap();
    }
    path
}

/// The making, in a process of its own so that its memory does not count for those that are
/// measured.
pub fn make(path: &Path, mebibytes: u64) {
    let mut conn = Connection::open(path).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = \
                        -400000; PRAGMA threads = 2;",
    )
    .unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    let mut maker = Maker::new();
    let transaction = conn.transaction().unwrap();
    let customers = mebibytes * CUSTOMERS_PER_MIB;
    if grown() {
        transaction
            .execute_batch("CREATE UNIQUE INDEX orders_public_id ON orders(public_id)")
            .unwrap();
        maker.grow(&transaction, customers);
    } else {
        maker.load(&transaction, customers);
    }
    transaction.commit().unwrap();
    conn.execute_batch(LATER_INDEXES).unwrap();
    let mode: String = conn
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

/// Numbers that look random and are the same each time (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, all alike.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Below `n`, small ones far more often, as words in a language.
    fn mostly_small(&mut self, n: u64) -> u64 {
        let unit = self.below(1 << 20) as f64 / (1 << 20) as f64;
        ((unit * unit * unit) * n as f64) as u64
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits + 16);
        while text.len() < digits {
            write!(text, "{:016x}", self.next()).unwrap();
        }
        text.truncate(digits);
        text
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

struct Maker {
    dice: Dice,
    words: Vec<String>,
    customers: u64,
    orders: u64,
    /// The shop's clock, in milliseconds.
    clock: u64,
}

const PRODUCTS: u64 = 2000;

/// When the shop opened.
const OPENING: u64 = 1_600_000_000_000;

type Step = fn(&mut Maker, &Transaction);

/// What happens with each new customer, and how often in percent; mostly done by older ones.
const STEPS: [(Step, u64); 5] = [
    (Maker::customer, 100),
    (Maker::order, 300),
    (Maker::event, 1200),
    (Maker::article, 40),
    (Maker::attachment, 5),
];

impl Maker {
    fn new() -> Maker {
        let mut dice = Dice::new(1);
        let syllables = [
            "an", "ber", "co", "da", "er", "fi", "ga", "hol", "in", "jo", "ka", "len", "mi", "no",
            "or", "pe", "qua",
        ];
        let more = [
            "ra", "ses", "ti", "un", "ver", "wa", "xi", "yo", "zen", "st", "ing", "ed", "ly", "al",
            "ou", "th", "ch",
        ];
        let all: Vec<&str> = syllables.iter().chain(&more).copied().collect();
        let words = (0..6000)
            .map(|_| (0..1 + dice.below(4)).map(|_| dice.one_of(&all)).collect())
            .collect();
        Maker {
            dice,
            words,
            customers: 0,
            orders: 0,
            clock: OPENING,
        }
    }

    fn word(&mut self) -> &str {
        let at = self.dice.mostly_small(self.words.len() as u64) as usize;
        &self.words[at]
    }

    fn prose(&mut self, bytes: u64) -> String {
        let mut text = String::with_capacity(bytes as usize + 16);
        while (text.len() as u64) < bytes {
            if !text.is_empty() {
                text.push_str(if self.dice.below(12) == 0 { ". " } else { " " });
            }
            let word = self.word();
            text.push_str(word);
        }
        text
    }

    fn moment(&mut self) -> String {
        let seconds = i64::try_from(self.clock / 1000).unwrap();
        chrono::DateTime::from_timestamp(seconds, 0)
            .unwrap()
            .format("%Y-%m-%dT%H:%M:%SZ")
            .to_string()
    }

    fn address(&mut self) -> String {
        let (street, town) = (self.word().to_owned(), self.word().to_owned());
        format!(
            "{} {street} street, {:05} {town}",
            1 + self.dice.below(200),
            self.dice.below(99_999)
        )
    }

    fn products(&mut self, conn: &Transaction) {
        let mut insert = conn
            .prepare("INSERT INTO products VALUES (?1, ?2, ?3, ?4, ?5)")
            .unwrap();
        for id in 1..=PRODUCTS {
            let (sku, name, description) = (
                format!("{}-{id:05}", self.dice.hex(4)),
                self.prose(20),
                self.prose(300),
            );
            insert
                .execute(params![
                    id as i64,
                    sku,
                    name,
                    description,
                    99 + 100 * self.dice.below(300) as i64
                ])
                .unwrap();
        }
    }

    /// Everything in the order in which it happens.
    fn grow(&mut self, conn: &Transaction, customers: u64) {
        self.products(conn);
        for _ in 0..customers {
            for (step, count) in STEPS {
                for _ in 0..self.some(count) {
                    step(self, conn);
                }
            }
        }
    }

    /// The same, one table after the other.
    fn load(&mut self, conn: &Transaction, customers: u64) {
        self.products(conn);
        for (step, count) in STEPS {
            self.clock = OPENING;
            for _ in 0..customers {
                for _ in 0..self.some(count) {
                    step(self, conn);
                }
            }
        }
    }

    /// A number of times from its mean in percent.
    fn some(&mut self, percent: u64) -> u64 {
        percent / 100 + u64::from(self.dice.below(100) < percent % 100)
    }

    fn customer(&mut self, conn: &Transaction) {
        self.customers += 1;
        self.clock += self.dice.below(100_000);
        let id = self.customers as i64;
        let name = format!("{} {}", self.word().to_owned(), self.word());
        let email = format!(
            "{}.{id}@{}.example",
            name.replace(' ', "."),
            self.dice.one_of(&["mail", "post", "inbox", "web"])
        );
        let phone = format!("+{}", 10_000_000_000 + self.dice.below(89_999_999_999));
        let interests = [
            self.word().to_owned(),
            self.word().to_owned(),
            self.word().to_owned(),
        ];
        let profile = serde_json::json!({
            "newsletter": self.dice.below(3) == 0, "language": self.dice.one_of(&["en", "de", "fr",
            "es", "pl"]), "interests": interests,
            "loyalty": {"points": self.dice.below(5000), "tier": self.dice.one_of(&["none",
            "silver", "gold"])},
            "last_login_ip": format!("10.{}.{}.{}", self.dice.below(256), self.dice.below(256),
            self.dice.below(256)),
        });
        let values = params![
            id,
            self.dice.hex(32),
            name,
            email,
            phone,
            self.address(),
            self.dice.one_of(&["DE", "FR", "GB", "PL", "ES", "US"]),
            self.moment(),
            profile.to_string()
        ];
        conn.prepare_cached("INSERT INTO customers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")
            .unwrap()
            .execute(values)
            .unwrap();
    }

    fn some_customer(&mut self) -> i64 {
        1 + self.dice.below(self.customers) as i64
    }

    fn order(&mut self, conn: &Transaction) {
        self.orders += 1;
        self.clock += self.dice.below(30_000);
        let id = self.orders as i64;
        let note = if self.dice.below(3) == 0 {
            Some(self.prose(80))
        } else {
            None
        };
        let values = params![
            id,
            self.dice.hex(32),
            self.some_customer(),
            self.dice.one_of(&[
                "placed",
                "paid",
                "shipped",
                "shipped",
                "delivered",
                "delivered",
                "delivered",
                "returned"
            ]),
            self.dice.below(90_000) as i64,
            self.dice.one_of(&["EUR", "EUR", "USD", "PLN"]),
            self.moment(),
            self.moment(),
            self.address(),
            note
        ];
        let sql = "INSERT INTO orders VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        conn.prepare_cached(sql).unwrap().execute(values).unwrap();
        let mut item = conn
            .prepare_cached("INSERT INTO order_items VALUES (?1, ?2, ?3, ?4, ?5)")
            .unwrap();
        for line in 0..1 + self.dice.below(5) as i64 {
            let product = 1 + self.dice.mostly_small(PRODUCTS) as i64;
            item.execute(params![
                id,
                line,
                product,
                1 + self.dice.below(3) as i64,
                99 + self.dice.below(30_000) as i64
            ])
            .unwrap();
        }
    }

    fn event(&mut self, conn: &Transaction) {
        self.clock += self.dice.below(9000);
        let kind = self.dice.one_of(&[
            "page_view",
            "page_view",
            "page_view",
            "search",
            "add_to_cart",
            "checkout",
            "login",
            "mail_opened",
        ]);
        let (query, referrer) = (self.prose(24), self.word().to_owned());
        let mut payload = serde_json::json!({
            "request_id": self.dice.hex(32), "path": format!("/{}/{}", self.word().to_owned(),
            self.dice.below(PRODUCTS)), "query": query,
            "referrer": format!("https://{referrer}.example/"),
            "duration_ms": self.dice.below(2000), "status": 200,
            "user_agent": self.dice.one_of(&[
                "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/126.0 Safari/537.36",
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 \
                 Mobile/15E148",
            ]),
            "geo": {"lat": self.dice.below(180_000_000) as f64 / 1e6 - 90.0,
            "lon": self.dice.below(360_000_000) as f64 / 1e6 - 180.0},
        });
        if kind == "checkout" {
            let items: Vec<_> = (0..1 + self.dice.below(4))
                .map(|_| {
                    serde_json::json!({"product": self.dice.below(PRODUCTS),
                    "price_cents": self.dice.below(30_000)})
                })
                .collect();
            payload["cart"] = items.into();
        }
        let values = params![
            self.clock as i64,
            self.dice.hex(20),
            self.some_customer(),
            kind,
            payload.to_string()
        ];
        let sql = "INSERT INTO events(at, session, customer_id, kind, payload) VALUES (?1, ?2, ?3, \
                   ?4, ?5)";
        conn.prepare_cached(sql).unwrap().execute(values).unwrap();
    }

    fn article(&mut self, conn: &Transaction) {
        self.clock += self.dice.below(300_000);
        let title = self.prose(40);
        let length = 500 + self.dice.mostly_small(12_000);
        let values = params![
            title.replace(' ', "-"),
            title,
            self.prose(length),
            self.moment()
        ];
        let sql = "INSERT INTO articles(slug, title, body, updated_at) VALUES (?1, ?2, ?3, ?4)";
        conn.prepare_cached(sql).unwrap().execute(values).unwrap();
    }

    fn attachment(&mut self, conn: &Transaction) {
        let order = 1 + self.dice.below(self.orders) as i64;
        let name = format!("{}.jpg", self.word());
        let length = 2000 + self.dice.mostly_small(60_000) as usize;
        let values = params![order, name, self.dice.hex(40), self.dice.bytes(length)];
        let sql = "INSERT INTO attachments(order_id, name, etag, content) VALUES (?1, ?2, ?3, ?4)";
        conn.prepare_cached(sql).unwrap().execute(values).unwrap();
    }
}
