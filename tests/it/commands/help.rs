//! `help`: a command's help, the topics of the manual, and what is meant by a mistyped word.

use crate::support::World;

#[test]
fn without_a_word_it_lists_commands_and_topics() {
    let world = World::new();
    let listed = world.dbbackup("help").run().exits(0);
    for line in [
        "  backup ",
        "  restore ",
        "  help ",
        "Topics",
        "  recovery ",
        "  configuration ",
        "130  interrupted",
    ] {
        assert!(listed.stdout.contains(line), "`{line}` in {listed}");
    }
    // The same as the option has it.
    let option = world.dbbackup("--help").run().exits(0);
    assert_eq!(listed.stdout.trim(), option.stdout.trim());
}

#[test]
fn a_command_has_the_help_that_its_option_has() {
    let world = World::new();
    for command in ["backup", "restore", "guard", "help"] {
        let shown = world.dbbackup(&format!("help {command}")).run().exits(0);
        let option = world.dbbackup(&format!("{command} --help")).run().exits(0);
        assert_eq!(shown.stdout.trim(), option.stdout.trim());
        assert!(shown.stdout.contains(&format!("Usage: dbbackup {command}")));
    }
}

#[test]
fn a_topic_is_shown_without_any_store() {
    let world = World::new();
    // Neither a broken configuration nor a store that is away keeps it from being read.
    world.config("nonsense");
    let topic = world
        .dbbackup("--store /nowhere/at/all help recovery")
        .run()
        .exits(0)
        .prints("DBBACKUP-RECOVERY(7)")
        .prints("\nSQLITE\n")
        .prints("    sqlite3 \"$NEW\" <<'SQL'\n");
    assert!(!topic.stdout.contains("```") && !topic.stdout.contains("**"));
    // By the page's name, and not silenced by -q.
    let page = world.dbbackup("-q help dbbackup-recovery").run().exits(0);
    assert_eq!(page.stdout, topic.stdout);
    let keys = world.dbbackup("help dbbackup.toml").run().exits(0);
    assert!(keys.stdout.contains("\n[STORES.NAME]\n") || keys.stdout.contains("[stores.NAME]"));
    assert!(keys.stdout.contains("`require_mount`"), "{keys}");
}

#[test]
fn a_mistyped_word_is_told_what_it_may_have_meant() {
    let world = World::new();
    for (word, meant) in [
        ("retenton", "retention"),
        ("config", "configuration"),
        ("postgres", "postgresql"),
        ("bakup", "backup"),
    ] {
        world
            .dbbackup(&format!("help {word}"))
            .run()
            .exits(2)
            .says(&format!("no command or topic is called `{word}`"))
            .says(&format!("did you mean `{meant}`?"));
    }
    let none = world.dbbackup("help xyzzy --json").run().exits(2);
    assert_eq!(none.json()["outcome"], "failed");
    world
        .dbbackup("help xyzzy")
        .run()
        .exits(2)
        .says("`dbbackup help` lists the commands and topics");
}

#[test]
fn the_document_has_the_text() {
    let world = World::new();
    let json = world.dbbackup("help hooks --json").run().exits(0).json();
    assert!(json["text"].as_str().unwrap().contains("DBBACKUP_STATUS"));
}

#[test]
fn completions_know_the_topics() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        world
            .dbbackup(&format!("completions {shell}"))
            .run()
            .exits(0)
            .prints("retention")
            .prints("postgresql");
    }
}

/// A hint's commands get the options that lead to the store; a page of the manual needs none.
#[test]
fn a_hint_names_the_topic_as_it_is() {
    let world = World::new();
    world.config("[store]\npath = 'store'\n[sources.gone]\nkind = 'sqlite'\npath = 'gone.db'\n");
    world.dbbackup("backup").run().exits(1);
    world
        .dbbackup("--store ./store restore gone --to there.db")
        .run()
        .exits(10)
        .says("--store ./store list --status all gone`")
        .says("`dbbackup help recovery`");
}
