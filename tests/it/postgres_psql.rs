//! `psql` reads plain dumps, and runs programs where a script tells it to. No dump makes it do
//! that.

use crate::cluster::Cluster;
use crate::postgres_world::Shop;
use crate::seeds::Random;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::Cell;
use std::path::PathBuf;

const END: &str = "--\n-- PostgreSQL database dump complete\n--\n\n";

struct Script<'a> {
    shop: Shop<'a>,
    /// What a program would make.
    mark: PathBuf,
}

impl<'a> Script<'a> {
    fn new(cluster: &'a Cluster) -> Script<'a> {
        let shop = Shop::empty(cluster);
        let mark = shop.world.path("mark");
        Script { shop, mark }
    }

    /// A dump that nothing but its content tells of; `MARK` stands for the file.
    fn write(&self, script: &str) {
        let text = script.replace("MARK", self.mark.to_str().unwrap());
        std::fs::write(
            self.shop.world.path("x.sql"),
            format!("--\n-- PostgreSQL database dump\n--\n\n{text}\n{END}"),
        )
        .unwrap();
    }

    fn target(&self) -> String {
        format!("{}_new", self.shop.name())
    }

    fn restore(&self) -> crate::support::Ran {
        let to = self.shop.cluster().url(&self.target());
        let ran = self
            .shop
            .world
            .dbbackup_with(&["restore", "./x.sql", "--to", &to, "--yes"])
            .run();
        self.shop.cluster().sql(
            "postgres",
            &format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.target()),
        );
        ran
    }
}

#[test]
fn commands_that_pg_dump_does_not_write_are_damage() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let script = Script::new(cluster);
    for (attack, line) in [
        ("CREATE TABLE public.a ();\n\\! touch MARK", 6),
        ("SELECT 1 \\! touch MARK\n;", 5),
        ("\\copy (SELECT 1) TO PROGRAM 'touch MARK'", 5),
        ("\\restrict a\n\\unrestrict `touch MARK`", 6),
        ("\\o |touch MARK", 5),
        ("SELECT 1\n\\g |touch MARK", 6),
        ("SELECT 1;\n\\set x `touch MARK`", 6),
        (
            "CREATE TABLE public.a (a text);\nCOPY public.a FROM stdin; \\! touch MARK\n1\n\\.\n",
            6,
        ),
        (
            "CREATE TABLE public.a (a text);\nCOPY public.a FROM stdin;\n1\n\\.\r\n\\! touch \
             MARK\n\\.\n",
            8,
        ),
    ] {
        script.write(attack);
        let said = format!("line {line}: ");
        script
            .shop
            .run("verify ./x.sql")
            .run()
            .exits(4)
            .says("is damaged")
            .says(&said);
        script.restore().exits(4).says(&said);
        script
            .shop
            .run("verify ./x.sql --level restore")
            .run()
            .exits(4)
            .says(&said);
        assert!(!script.mark.exists(), "{attack}");
    }
    // Nothing of it was run.
    script.write("CREATE ROLE evil_of_psql;\n\\! touch MARK");
    script.restore().exits(4);
    assert_eq!(
        cluster.value(
            "postgres",
            "SELECT count(*) FROM pg_roles WHERE rolname = 'evil_of_psql'"
        ),
        "0"
    );
    // One that says where it goes is restored by nobody but its reader.
    script.write("\\connect postgres\nCREATE ROLE evil_of_psql;");
    script.shop.run("verify ./x.sql").run().exits(0);
    script
        .restore()
        .exits(1)
        .says("goes on in a database that it names itself")
        .says("line 5")
        .says("hint: ");
    assert_eq!(
        cluster.value(
            "postgres",
            "SELECT count(*) FROM pg_roles WHERE rolname = 'evil_of_psql'"
        ),
        "0"
    );
}

/// Where a string ends is another thing to `psql` when what runs in the server changes a setting.
/// No look at a script finds that.
#[test]
fn settings_that_change_on_the_way_give_no_command_a_chance() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let script = Script::new(cluster);
    let set = |name: &str, value: &str| {
        format!(
            "CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $$ SELECT \
             set_config('{name}', '{value}', false) $$;\nSELECT public.f();\n"
        )
    };
    for command in [
        "\\! touch MARK",
        "\\unrestrict `touch MARK`",
        "\\restrict `touch MARK`",
        "\\o MARK\nSELECT 1;",
    ] {
        // The last byte of this letter and the quote are one letter of the other encoding.
        let encoding = format!(
            "{}COMMENT ON FUNCTION public.f() IS 'ă';\nCOMMENT ON FUNCTION public.f() IS \
             '\n{command}\n';\n",
            set("client_encoding", "SJIS")
        );
        let strings = format!(
            "{}COMMENT ON FUNCTION public.f() IS 'a\\'';\n{command}\n';\n",
            set("standard_conforming_strings", "off")
        );
        for attack in [encoding, strings] {
            script.write(&attack);
            script.shop.run("verify ./x.sql").run().exits(0);
            script.restore();
            assert!(!script.mark.exists(), "{attack}");
        }
    }
}

/// Pieces that mean different things in different places.
const PIECES: [&str; 25] = [
    "'",
    "''",
    "\\'",
    "E'",
    "\"",
    "$$",
    "$a$",
    "$",
    "\n",
    "\r\n",
    ";",
    " ",
    "\\\\",
    "\\.\n",
    "\\.\r\n",
    "--",
    "/*",
    "*/",
    "(",
    ")",
    "SELECT 1",
    "1e5",
    "COPY a FROM stdin;\n",
    "\\! touch MARK\n",
    "\u{feff}",
];

#[test]
fn no_script_that_passes_starts_a_program() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let script = Script::new(cluster);
    script.shop.db.sql("CREATE TABLE a (a text)");
    let psql = cluster.bin().join("psql");
    let seed = Random::seeded().bytes(32);
    let config = Config {
        cases: 1000,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let pieces = prop::collection::vec(prop::sample::select(PIECES.to_vec()), 1..16);
    let passed = Cell::new(0);
    let result = runner.run(&pieces, |pieces| {
        // What an earlier case made would be held against every smaller one.
        let _ = std::fs::remove_file(&script.mark);
        let text = pieces
            .concat()
            .replace("MARK", script.mark.to_str().unwrap());
        let found = dbbackup::engine::postgres::scan::scan(&mut text.as_bytes()).unwrap();
        if found.forbidden.is_some() {
            return Ok(());
        }
        passed.set(passed.get() + 1);
        // By itself, without any of the walls that stand behind: what looks at it must be right
        // alone.
        let file = script.shop.world.path("random.sql");
        std::fs::write(&file, &text).unwrap();
        let mut command = std::process::Command::new(&psql);
        command
            .args([
                "-Xqw",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                &script.shop.db.url(),
                "-f",
            ])
            .arg(&file);
        command.output().unwrap();
        prop_assert!(!script.mark.exists(), "{text:?}");
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(
        passed.get() > 20,
        "only {} passed: this shows little",
        passed.get()
    );
    eprintln!("{} of 1000 passed", passed.get());
}
