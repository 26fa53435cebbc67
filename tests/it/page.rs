//! The page of `report`: what stands in it, also after a run that failed, what it never replaces,
//! that nothing a stranger wrote is more than text, and that a browser shows it.

use crate::support::{Ran, World};
use crate::tools::skip;
use std::path::PathBuf;
use std::process::Command;

/// A source that is there, one that is not, and a page.
fn world(more: &str) -> World {
    let world = World::new();
    world.config(&format!(
        "[store]\npath = 'store'\n[report]\nhtml = 'www/page.html'\n[sources.app]\nkind = \
         'sqlite'\npath = 'app.db'\n{more}"
    ));
    world.shop("app.db");
    std::fs::create_dir(world.path("www")).unwrap();
    world
}

fn page(world: &World) -> String {
    std::fs::read_to_string(world.path("www/page.html")).unwrap()
}

#[test]
fn every_run_writes_the_page_also_one_that_failed() {
    let world = world("");
    world.dbbackup("-q backup").run().exits(0).silent();
    let text = page(&world);
    assert!(
        text.contains("All is well") && text.contains("just now"),
        "{text}"
    );
    assert!(text.contains("1,100 rows"), "{text}");
    assert_eq!(std::fs::read_dir(world.path("www")).unwrap().count(), 1);
    world.dbbackup("backup --dry-run").run().exits(0);
    assert_eq!(page(&world), text);
    std::fs::rename(world.path("app.db"), world.path("away.db")).unwrap();
    world.dbbackup("-q backup").run().exits(1);
    let text = page(&world);
    assert!(text.contains("1 thing needs attention"), "{text}");
    assert!(text.contains("the last attempt failed just now"), "{text}");
    // The store is away: the run says what it knows.
    std::fs::rename(world.path("store"), world.path("elsewhere")).unwrap();
    std::fs::write(world.path("store"), "no directory").unwrap();
    assert_ne!(world.dbbackup("-q backup").run().code(), 0);
    let text = page(&world);
    assert!(text.contains("it can&#39;t be read: "), "{text}");
    assert!(
        text.contains("(the run)") && text.contains("✕ no answer"),
        "{text}"
    );
}

#[test]
fn what_a_hook_did_is_on_the_page() {
    let world = world("[hooks]\nafter = 'exit 7'\n");
    world.dbbackup("-q backup").run().exits(3);
    let text = page(&world);
    assert!(
        text.contains("(the run)") && text.contains("exit"),
        "{text}"
    );
    assert!(text.contains("! warning"), "{text}");
}

#[test]
fn a_page_that_can_not_be_written_is_a_warning() {
    let world = world("");
    std::fs::write(world.path("www/page.html"), "somebody's letter").unwrap();
    world
        .dbbackup("backup")
        .run()
        .exits(0)
        .says("warning: the page was not written: ")
        .says("is there, and is no page of dbbackup's");
    assert_eq!(page(&world), "somebody's letter");
    assert_eq!(world.ids("app").len(), 1);
    world
        .dbbackup("doctor")
        .run()
        .prints("no page would be written: ");
    world
        .dbbackup("report")
        .run()
        .exits(1)
        .says("hint: name another file, or remove it");
    std::fs::remove_file(world.path("www/page.html")).unwrap();
    world.dbbackup("report").run().exits(0).prints("wrote ");
    std::fs::remove_dir_all(world.path("www")).unwrap();
    world
        .dbbackup("backup")
        .run()
        .exits(0)
        .says("warning: the page was not written: the directory of");
    // Another store's is not put in its place.
    std::fs::create_dir(world.path("www")).unwrap();
    world
        .dbbackup("--store usb -v backup")
        .run()
        .exits(0)
        .says("is about the store in [store]");
    assert!(!world.path("www/page.html").exists());
}

#[test]
fn report_needs_a_file_or_json() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    world
        .with_store("report")
        .run()
        .exits(2)
        .says("hint: name the file: `--html FILE`");
    let json = world.with_store("report --json").run().exits(0).json();
    assert_eq!(json["status"], "OK");
    assert_eq!(json["sources"][0]["places"][0]["good"], 1);
    assert_eq!(json["sources"][0]["calendar"].as_array().unwrap().len(), 90);
    let json = world
        .with_store("report --html p.html --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(json["attention"].as_array().unwrap().len(), 0);
    assert!(world.path("p.html").exists());
    // A page of yesterday must not go on saying that all is well.
    std::fs::remove_dir_all(world.path("store")).unwrap();
    world.with_store("report --html p.html").run().exits(10);
    let text = std::fs::read_to_string(world.path("p.html")).unwrap();
    assert!(text.contains("✕ critical"), "{text}");
}

/// A database that is saved and copied to a second store, with drills and failures; what strangers
/// wrote is in its sidecars.
fn hostile() -> World {
    let world = world(
        "copies = ['usb']\nprove_every = '8d'\n[stores.usb]\npath = 'usb'\n[retention]\nkeep_last \
         = 2\n[sources.uploads]\nkind = 'files'\npaths = ['tree']\n[sources.crm]\nkind = \
         'postgres'\nurl = 'postgresql://me:S3cret-of-ours@127.0.0.1:1/crm'\n",
    );
    world.file("tree/a", "x");
    world.dbbackup("-q backup").run().exits(3);
    world
        .dbbackup("-q verify app --level restore")
        .run()
        .exits(0);
    world.history("app", "daily", &[24, 48, 72]);
    let failed = world.attempts("crm").remove(0)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    world.edit_sidecar(&failed, |sidecar| {
        sidecar["error"]["message"] =
            "login of S3cret-of-ours: <script>document.title='owned'</script><img src=x \
             onerror=\"document.title='owned'\">"
                .into();
        sidecar["error"]["hint"] = "type `dbbackup <b>list</b>`".into();
    });
    world
}

#[test]
fn every_store_is_on_the_page_and_no_secret() {
    let world = hostile();
    let written = world.dbbackup("report --html all.html --all-stores").run();
    written.exits(0);
    let text = std::fs::read_to_string(world.path("all.html")).unwrap();
    for part in [
        "Store main",
        "Store usb",
        "in usb",
        "took ",
        "keep_last = 2",
        "1 drill",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("S3cret-of-ours"), "{text}");
    assert!(
        text.contains("&#60;script&#62;") && !text.contains("<script"),
        "{text}"
    );
    let json: Ran = world.dbbackup("report --json --all-stores").run().exits(0);
    assert!(!json.stdout.contains("S3cret-of-ours"), "{json}");
    let json = json.json();
    let sources = json["sources"].as_array().unwrap();
    let app = sources
        .iter()
        .find(|source| source["source"] == "app")
        .unwrap();
    let places: Vec<&str> = app["places"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| place["store"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["main", "usb"]);
    assert_eq!(app["rule"]["copies"], 3);
    assert_eq!(app["rule"]["proven"], true);
    assert_eq!(app["retention"]["removals"].as_array().unwrap().len(), 1);
    assert_eq!(json["stores"].as_array().unwrap().len(), 2);
    // A store that does not answer is told, and the page is written.
    std::fs::remove_dir_all(world.path("usb")).unwrap();
    let json = world
        .dbbackup("report --json --all-stores")
        .run()
        .exits(0)
        .json();
    assert_eq!(json["stores"][1]["reachable"], false);
}

/// The browser that is there.
fn browser() -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let names = ["chromium", "chromium-headless-shell", "google-chrome"];
    let found = names.into_iter().find(is_there);
    if found.is_none() {
        skip("Chromium is not installed");
    }
    found
}

/// What a browser makes of a page: its document, as it is after every script has run.
fn shown_by(browser: &str, world: &World, page: &str) -> String {
    let mut command = Command::new(browser);
    let profile: PathBuf = world.path("profile");
    command
        .args(["--headless", "--disable-gpu", "--no-sandbox", "--dump-dom"])
        .args(["--disable-dev-shm-usage", "--virtual-time-budget=1000"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", world.path(page).display()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_browser_shows_the_page_and_runs_nothing() {
    let Some(browser) = browser() else { return };
    let world = hostile();
    world
        .dbbackup("report --html all.html --all-stores")
        .run()
        .exits(0);
    let text = std::fs::read_to_string(world.path("all.html")).unwrap();
    let shown = shown_by(browser, &world, "all.html");
    assert!(!shown.contains("<title>owned"), "{shown}");
    let title = |text: &str| {
        let (_, rest) = text.split_once("<title>").unwrap();
        rest.split_once("</title>").unwrap().0.to_owned()
    };
    assert_eq!(title(&shown), title(&text));
    // It has found every element where it was written, and no other: nothing was mended.
    for element in [
        "section", "article", "tr", "td", "tbody", "svg", "path", "code", "script",
    ] {
        let count = |text: &str| {
            let tag = format!("<{element}");
            let begins = text.match_indices(&tag);
            begins
                .filter(|(at, name)| {
                    let after = text[at + name.len()..].chars().next();
                    after.is_none_or(|next| !next.is_ascii_alphanumeric())
                })
                .count()
        };
        assert_eq!(count(&shown), count(&text), "{element}");
    }
    assert!(
        shown.contains("What needs attention") && shown.contains("&lt;script&gt;"),
        "{shown}"
    );
}
