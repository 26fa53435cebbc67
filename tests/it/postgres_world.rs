//! What the tests of verifying and restoring PostgreSQL backups share: a directory with a
//! configuration for one database, backed up and looked at.

use crate::cluster::{Cluster, Database, identifier};
use crate::support::{Call, World, set_mode};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A database that the configuration calls `shop`, and the directory that its store is in.
pub struct Shop<'a> {
    pub world: World,
    pub db: Database<'a>,
}

/// A few tables, for tests that only need something to save.
pub const SMALL: &str = "
    CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL);
    CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customers, note text);
    INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, 100) i;
    INSERT INTO orders SELECT i, 1 + i % 100, md5(i::text) FROM generate_series(1, 1000) i;";

impl<'a> Shop<'a> {
    /// An empty database and an empty store.
    pub fn empty(cluster: &'a Cluster) -> Shop<'a> {
        Shop::of(cluster.database("shop"))
    }

    /// With the small tables.
    pub fn small(cluster: &'a Cluster) -> Shop<'a> {
        let shop = Shop::empty(cluster);
        shop.db.sql(SMALL);
        shop
    }

    pub fn of(db: Database<'a>) -> Shop<'a> {
        let world = World::new();
        // The drill's server is another user's, who goes through it.
        set_mode(&world.path(""), 0o711);
        std::fs::create_dir(world.path("scratch")).unwrap();
        set_mode(&world.path("scratch"), 0o711);
        let shop = Shop { world, db };
        shop.configure("");
        shop
    }

    pub fn name(&self) -> &str {
        &self.db.name
    }

    pub fn cluster(&self) -> &'a Cluster {
        self.db.cluster
    }

    /// The configuration, with these lines more in the source.
    pub fn configure(&self, more: &str) {
        self.configure_as(&self.db.url(), more);
    }

    pub fn configure_as(&self, url: &str, more: &str) {
        let bin = if more.contains("bin_dir") {
            String::new()
        } else {
            format!("bin_dir = {:?}\n", self.cluster().bin())
        };
        let source = format!("[sources.shop]\nkind = \"postgres\"\nurl = {url:?}\n{bin}{more}\n");
        self.world.config(&format!("{}{source}", self.head()));
    }

    /// What every configuration begins with.
    pub fn head(&self) -> String {
        let (store, scratch) = (self.world.path("store"), self.world.path("scratch"));
        format!(
            "[store]\npath = {store:?}\n[backup]\nscratch_dir = {scratch:?}\nlock_timeout = \
             \"10s\"\n"
        )
    }

    pub fn run(&self, arguments: &str) -> Call {
        self.world.dbbackup(arguments)
    }

    /// Saves it; gives back the id.
    #[track_caller]
    pub fn backup(&self) -> String {
        let json = self.run("backup shop --json").run().exits(0).json();
        json["backups"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Where a backup's dump is.
    pub fn dump_of(&self, id: &str) -> PathBuf {
        let sidecar = self.world.sidecar(id);
        self.world
            .sidecar_path(id)
            .with_file_name(sidecar["dump"]["file"].as_str().unwrap())
    }

    pub fn edit(&self, id: &str, change: impl FnOnce(&mut Value)) {
        self.world.edit_sidecar(id, change);
    }

    /// The databases of the server whose names begin with this one's.
    pub fn family(&self) -> Vec<String> {
        let text = self.cluster().value(
            "postgres",
            &format!(
                "SELECT coalesce(string_agg(datname, '/' ORDER BY datname), '') FROM pg_database
                 WHERE starts_with(datname, '{0}_') OR datname = '{0}'",
                self.name().replace('\'', "''")
            ),
        );
        text.split('/')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Drops what restores have set aside.
    pub fn drop_relatives(&self) {
        for name in self.family().iter().filter(|name| *name != self.name()) {
            self.cluster().sql(
                "postgres",
                &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name)),
            );
        }
    }

    /// What is in the scratch directory.
    pub fn scratch(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.world.path("scratch")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// A directory of programs: those of the cluster by links, less `without`, and with these
    /// scripts in place of some.
    pub fn programs(&self, name: &str, without: &[&str], scripts: &[(&str, &str)]) -> PathBuf {
        let dir = self.world.path(name);
        std::fs::create_dir(&dir).unwrap();
        for entry in std::fs::read_dir(self.cluster().bin()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if !without.contains(&name.as_str())
                && !scripts.iter().any(|(script, _)| *script == name)
            {
                std::os::unix::fs::symlink(entry.path(), dir.join(&name)).unwrap();
            }
        }
        for (script, text) in scripts {
            let made = self.world.script(&format!("{name}-{script}"), text);
            std::fs::rename(made, dir.join(script)).unwrap();
        }
        dir
    }
}

impl Drop for Shop<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.drop_relatives();
        }
    }
}

/// What belongs to a database itself, as text.
pub fn database_facts(cluster: &Cluster, name: &str) -> String {
    let locale = match cluster.major_version() {
        ..15 => "",
        15 => "|| '/' || datlocprovider::text || '/' || coalesce(daticulocale, '')",
        16 => {
            "|| '/' || datlocprovider::text || '/' || coalesce(daticulocale, '') || \
             coalesce(daticurules, '')"
        }
        _ => {
            "|| '/' || datlocprovider::text || '/' || coalesce(datlocale, '') || \
             coalesce(daticurules, '')"
        }
    };
    cluster.value(
        name,
        &format!(
            "SELECT concat_ws(E'\\n', 'owner ' || pg_get_userbyid(datdba), 'limit ' || datconnlimit,
                'tablespace ' || (SELECT spcname FROM pg_tablespace t WHERE t.oid = dattablespace),
                'locale ' || pg_encoding_to_char(encoding) || '/' || datcollate || '/' || datctype \
             {locale},
                'comment ' || coalesce(shobj_description(d.oid, 'pg_database'), ''), 'template ' \
             || datistemplate,
                (SELECT string_agg(format('acl %s by %s: %s %s', CASE grantee WHEN 0 THEN '-' ELSE \
             pg_get_userbyid(grantee) END,
                                          pg_get_userbyid(grantor), privilege_type, is_grantable), \
             E'\\n' ORDER BY grantee, grantor, privilege_type, is_grantable)
                 FROM aclexplode(coalesce(datacl, acldefault('d', datdba)))),
                (SELECT string_agg(format('set %s %s', CASE setrole WHEN 0 THEN '-' ELSE \
             pg_get_userbyid(setrole) END, setconfig), E'\\n' ORDER BY setrole)
                 FROM pg_db_role_setting WHERE setdatabase = d.oid))
             FROM pg_database d WHERE datname = current_database()"
        ),
    )
}

/// A database's file among the tests' own.
pub fn everything() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/postgres/everything.sql"
    ))
}
