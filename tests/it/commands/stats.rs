//! `stats`: counts, sizes and growth of each source and of all of them.

use crate::support::World;
use crate::tools::lack;

#[test]
fn counts_sizes_and_growth() {
    let world = World::new();
    world.shop("app.db");
    world.shop("web.db");
    world.with_store("backup app.db web.db").run().exits(0);
    world.history("app", "daily", &[24, 48, 72]);
    let bad = world.history("app", "daily", &[96]).remove(0);
    std::fs::write(world.dump_of(&bad), "x").unwrap();
    std::fs::remove_file(world.path("web.db")).unwrap();
    world.config("[store]\npath = 'store'\n[sources.web]\nkind = 'sqlite'\npath = 'web.db'\n");
    world.dbbackup("backup").run().exits(1);

    let json = world.with_store("stats --json").run().exits(0).json();
    let app = &json["sources"][0];
    assert_eq!(
        (&app["source"], &app["good"], &app["flawed"], &app["failed"]),
        (&"app".into(), &4.into(), &1.into(), &0.into())
    );
    assert_eq!(
        (&app["by_label"]["daily"], &app["by_label"]["manual"]),
        (&3.into(), &1.into())
    );
    assert_eq!(app["growth_bytes_per_day"], 0.0);
    let sidecar = world.sidecar(&world.ids("app").remove(0));
    let (stored, content) = (
        sidecar["dump"]["size_bytes"].as_u64().unwrap(),
        sidecar["dump"]["content_size_bytes"].as_u64().unwrap(),
    );
    assert_eq!(
        (&app["stored_bytes"], &app["content_bytes"]),
        (&(stored * 4 + 1).into(), &(content * 4).into())
    );
    assert!(
        (app["compression_ratio"].as_f64().unwrap() - content as f64 / stored as f64).abs() < 1e-9
    );
    assert!(app["oldest"].as_str() < app["newest"].as_str() && app["last_failure"].is_null());
    let web = &json["sources"][1];
    assert_eq!(
        (&web["good"], &web["failed"], &web["growth_bytes_per_day"]),
        (&1.into(), &1.into(), &serde_json::Value::Null)
    );
    assert!(web["last_failure"].is_string());
    assert_eq!(
        (&json["total"]["good"], &json["total"]["failed"]),
        (&5.into(), &1.into())
    );

    let ran = world
        .with_store("stats")
        .run()
        .exits(0)
        .prints("SOURCE")
        .prints("daily 3, manual 1")
        .prints("in all");
    let ran = ran
        .says("app: 1 damaged or incomplete backup besides")
        .says("web: 1 failed attempt besides");
    // Bars are for people.
    ran.never_says("█");
    world
        .with_store("stats app")
        .run()
        .exits(0)
        .never_says("web")
        .never_says("in all");
    world.with_store("stats nobody").run().exits(10);
}

#[test]
fn a_terminal_gets_a_line_of_bars() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    world.history("app", "daily", &[24, 48, 72]);
    let command = format!("{} --store store stats", crate::support::binary().display());
    let mut script = std::process::Command::new("script");
    let output = script
        .args(["-qec", &command, "/dev/null"])
        .current_dir(world.path(""))
        .output();
    let Ok(output) = output else {
        return lack("script");
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("SIZES") && text.contains("████"), "{text}");
}
