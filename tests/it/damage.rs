//! Damage is found, named, and never restored: every byte of a dump, and every way in which the
//! files of a backup can be wrong.

use crate::support::World;
use dbbackup::pipeline::{Codec, Decoding, Encoding, Progress, measure};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::PathBuf;

/// A database of a few pages, whose dump is small enough to break each of its bytes.
const SMALL: &str = "PRAGMA page_size = 512; CREATE TABLE t(x); INSERT INTO t VALUES (1), ('two'), \
                     (hex(randomblob(60)));";

fn small(codec: &str) -> (World, String) {
    let world = World::new();
    world.database("app.db", SMALL);
    world.config(&format!("[backup]\ncompression = \"{codec}\"\n"));
    world.with_store("backup app.db").run().exits(0);
    let id = world.ids("").remove(0);
    (world, id)
}

/// The backup can't be verified, exit 4, and everybody says this of it; a restore refuses and
/// touches nothing.
#[track_caller]
fn is_damaged(world: &World, id: &str, level: &str, says: &str) {
    let ran = world
        .with_store(&format!("verify {id} --level {level} --json"))
        .run()
        .exits(4)
        .says(says);
    let json = ran.json();
    let result = &json["results"][0];
    assert_eq!(
        (&json["outcome"], &result["id"], &result["status"]),
        (&"failed".into(), &id.into(), &"damaged".into()),
        "{json}"
    );
    assert!(json["error"].as_str().unwrap().contains(says), "{json}");
    let damaged = result["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["status"] == "damaged");
    assert!(
        damaged
            .clone()
            .any(|check| check["detail"].as_str().unwrap().contains(says)),
        "{json}"
    );
    refuses_to_restore(world, id, says);
}

#[track_caller]
fn refuses_to_restore(world: &World, id: &str, says: &str) {
    let before = std::fs::read(world.path("app.db")).unwrap();
    let attempts = world.ids("--status all").len();
    for target in ["", "--to new.db"] {
        world
            .with_store(&format!("restore {id} --yes {target}"))
            .run()
            .exits(4)
            .says(says)
            .says("nothing was touched");
    }
    assert!(
        std::fs::read(world.path("app.db")).unwrap() == before && !world.path("new.db").exists()
    );
    assert_eq!(world.leftovers(), [""; 0]);
    assert_eq!(
        world.ids("--status all").len(),
        attempts,
        "not even a safety backup was made"
    );
}

#[test]
fn a_flipped_byte_is_found_wherever_it_is() {
    for codec in ["none", "gzip", "zstd"] {
        let (world, id) = small(codec);
        let dump = world.dump_of(&id);
        let whole = std::fs::read(&dump).unwrap();
        // Every position, by the functions that verify uses.
        let sidecar = world.sidecar(&id);
        let content = |stored: Vec<u8>| {
            let codec = Codec::parse(codec).unwrap();
            let mut decode = Decoding::new(codec)
                .open(std::io::Cursor::new(stored))
                .unwrap();
            let mut content = Vec::new();
            decode
                .read_to_end(&mut content)
                .map_err(dbbackup::error::Error::from)
                .and_then(|_| decode.finish())
                .ok()
        };
        let right = content(whole.clone()).unwrap();
        assert_eq!(sidecar["dump"]["sha256"], right.stored.sha256.as_str());
        assert_eq!(
            sidecar["dump"]["content_sha256"],
            right.content.sha256.as_str()
        );
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 1 << (at % 8);
            assert_ne!(
                measure(&broken[..], &Progress::default()).unwrap().sha256,
                right.stored.sha256,
                "{codec} {at}"
            );
            // What decodes all the same was measured as it is stored.
            assert!(
                content(broken).is_none_or(|found| found.stored != right.stored),
                "{codec} {at}"
            );
        }
        // A sample by the binary: the ends, and some between.
        for at in [0, 3, 11, whole.len() / 2, whole.len() - 5, whole.len() - 1] {
            let mut broken = whole.clone();
            broken[at] ^= 0x10;
            std::fs::write(&dump, broken).unwrap();
            world
                .with_store(&format!("verify {id} --level checksum"))
                .run()
                .exits(4)
                .says("is not what was written");
            let ran = world.with_store(&format!("verify {id}")).run().exits(4);
            // One backup's lines on one stream; the hashes are no sentence for people.
            assert!(ran.stdout.is_empty(), "{ran}");
            ran.says("is damaged: the dump is not what was written (SHA-256 differs)\nhint: ");
            world
                .with_store("list --status failed")
                .run()
                .exits(0)
                .prints("(SHA-256 differs)")
                .never_says(", and was ");
        }
        is_damaged(&world, &id, "content", "is not what was written");
        std::fs::write(&dump, whole).unwrap();
        world
            .with_store(&format!("verify {id} --level restore"))
            .run()
            .exits(0);
    }
}

#[test]
fn a_codec_never_gives_other_content_without_an_error() {
    // Without a sidecar to compare with, the formats' own checksums must find what is wrong with
    // the content.
    let content: Vec<u8> = (0..9000_u32)
        .map(|number| ((number * number) >> 3) as u8)
        .collect();
    for codec in ["gzip", "zstd"] {
        let codec = Codec::parse(codec).unwrap();
        let mut encode = Encoding::new(codec)
            .with_threads(2)
            .start(Vec::new())
            .unwrap();
        encode.write_all(&content).unwrap();
        let (stored, _) = encode.finish().unwrap();
        let decoded = |stored: Vec<u8>| {
            let mut found = Vec::new();
            Decoding::new(codec)
                .with_threads(2)
                .open(std::io::Cursor::new(stored))
                .unwrap()
                .read_to_end(&mut found)
                .map(|_| found)
                .ok()
        };
        assert_eq!(decoded(stored.clone()).unwrap(), content);
        for at in 0..stored.len() {
            let mut broken = stored.clone();
            broken[at] ^= 0x20;
            assert!(
                decoded(broken).is_none_or(|found| found == content),
                "{codec:?} {at}"
            );
            assert!(
                decoded(stored[..at].to_vec()).is_none() || at == 0,
                "{codec:?} cut to {at}"
            );
        }
    }
}

#[test]
fn a_cut_an_empty_and_a_lengthened_dump_are_told_apart() {
    for codec in ["none", "gzip", "zstd"] {
        let (world, id) = small(codec);
        let dump = world.dump_of(&id);
        let whole = std::fs::read(&dump).unwrap();
        let cases: [(Vec<u8>, String); 4] = [
            (
                whole[..whole.len() - 1].to_vec(),
                format!(
                    "is cut off: {} bytes, {} were written",
                    whole.len() - 1,
                    whole.len()
                ),
            ),
            (whole[..whole.len() / 2].to_vec(), "is cut off".into()),
            (Vec::new(), "is cut off: 0 bytes".into()),
            (
                [&whole[..], b"more"].concat(),
                format!("is too long: {} bytes", whole.len() + 4),
            ),
        ];
        for (bytes, says) in cases {
            std::fs::write(&dump, bytes).unwrap();
            // Its length alone tells: it is no good one any more, before anybody verifies it.
            world
                .with_store("list --status failed")
                .run()
                .exits(0)
                .prints("damaged")
                .prints("the dump has ");
            world
                .with_store("restore app --to new.db")
                .run()
                .exits(10)
                .says("no good backup");
            for level in ["checksum", "content", "restore"] {
                is_damaged(&world, &id, level, &says);
            }
        }
        std::fs::remove_file(&dump).unwrap();
        for level in ["checksum", "content"] {
            is_damaged(&world, &id, level, "is missing");
        }
        world
            .with_store("list --status all")
            .run()
            .exits(0)
            .prints("missing");
        world
            .with_store("list")
            .run()
            .exits(0)
            .says("1 damaged backup");
    }
}

#[test]
fn another_backups_dump_is_not_this_ones() {
    let (world, first) = small("gzip");
    world.sql("app.db", "INSERT INTO t VALUES ('more')");
    world
        .with_store("backup app.db --label second")
        .run()
        .exits(0);
    let second = world.ids("").into_iter().find(|id| *id != first).unwrap();
    let (one, two) = (world.dump_of(&first), world.dump_of(&second));
    let bytes = (std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    std::fs::write(&one, &bytes.1).unwrap();
    std::fs::write(&two, &bytes.0).unwrap();
    let json = world
        .with_store("verify --all --json")
        .run()
        .exits(4)
        .json();
    let statuses: Vec<&Value> = json["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["status"])
        .collect();
    assert_eq!(statuses, ["damaged", "damaged"]);
    for id in [first, second] {
        is_damaged(&world, &id, "content", "written");
    }
}

/// What a broken sidecar does to all commands: the message, the exit code of `verify --all`, and of
/// using its id.
#[track_caller]
fn broken_sidecar(change: impl FnOnce(&World, &str), says: &str, verify: i32) {
    let (world, id) = small("gzip");
    world.history("app", "daily", &[30]);
    let bytes = std::fs::read(world.sidecar_path(&id)).unwrap();
    change(&world, &id);
    let broken = std::fs::read(world.sidecar_path(&id)).unwrap();
    world
        .with_store("list")
        .run()
        .exits(0)
        .says(says)
        .says(&id)
        .never_says("no sidecar knows");
    let json = world.with_store("list --json").run().exits(0).json();
    assert_eq!(
        (
            &json["unreadable"][0]["id"],
            json["backups"].as_array().unwrap().len()
        ),
        (&id.as_str().into(), 1)
    );
    world
        .with_store("verify --all")
        .run()
        .exits(verify)
        .says(says);
    world.with_store("verify").run().exits(verify).says(says);
    // What a newer version wrote is not damaged.
    refuses(&world, &id, says, if verify == 4 { 4 } else { 1 });
    // The good one before it is used, by its source's name, unless the newer one may be good.
    let restored = world.with_store("restore app --to other.db").run();
    match verify {
        4 => drop(restored.exits(0).prints("app_daily_")),
        _ => drop(restored.exits(1).says("may be good")),
    }
    world
        .with_store("backup app.db --label weekly")
        .run()
        .exits(0);
    world
        .with_store("cleanup --keep-last 1 --max-age 1h")
        .run()
        .exits(0)
        .says(&id);
    assert!(
        std::fs::read(world.sidecar_path(&id)).unwrap() == broken && world.dump_of(&id).is_file(),
        "never changed, never removed"
    );
    // Its dump restores without it.
    let dump = world.dump_of(&id);
    world
        .dbbackup(&format!("restore {} --to by-hand.db", dump.display()))
        .run()
        .exits(0);
    assert_eq!(
        crate::support::contents(&world.path("by-hand.db")),
        crate::support::contents(&world.path("app.db"))
    );
    // Mended, it is a backup again.
    std::fs::write(world.sidecar_path(&id), bytes).unwrap();
    world.with_store(&format!("verify {id}")).run().exits(0);
    // Only by its id, and with force, is it removed; never what a newer version may know.
    std::fs::write(world.sidecar_path(&id), broken).unwrap();
    let damaged = verify == 4;
    world
        .with_store(&format!("delete {id} --yes"))
        .run()
        .exits(if damaged { 2 } else { 1 })
        .says(says);
    world
        .with_store(&format!("delete {id} --yes --force"))
        .run()
        .exits(if damaged { 0 } else { 1 });
    assert_eq!(
        world.dump_of(&id).is_file() || world.sidecar_path(&id).is_file(),
        !damaged
    );
}

#[track_caller]
fn refuses(world: &World, id: &str, says: &str, code: i32) {
    for command in ["show", "verify", "restore --to new.db", "pin"] {
        world
            .with_store(&format!("{command} {id}"))
            .run()
            .exits(code)
            .says(says)
            .says("hint: ");
    }
    // Named by its path a sidecar may be anybody's, and have any name, but must be one.
    if !says.starts_with("the sidecar is of") {
        let sidecar = world.sidecar_path(id);
        world
            .dbbackup(&format!("verify {}", sidecar.display()))
            .run()
            .exits(code)
            .says(says)
            .says("hint: ");
    }
    assert!(!world.path("new.db").exists());
}

#[test]
fn a_sidecar_that_is_not_json() {
    broken_sidecar(
        |world, id| std::fs::write(world.sidecar_path(id), "not json").unwrap(),
        "the sidecar is damaged",
        4,
    );
}

#[test]
fn a_sidecar_that_is_empty() {
    broken_sidecar(
        |world, id| std::fs::write(world.sidecar_path(id), "").unwrap(),
        "the sidecar is damaged",
        4,
    );
}

#[test]
fn a_sidecar_that_is_cut_off() {
    let cut = |world: &World, id: &str| {
        let path = world.sidecar_path(id);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() - 20]).unwrap();
    };
    broken_sidecar(cut, "the sidecar is damaged", 4);
}

#[test]
fn a_sidecar_that_lacks_a_field() {
    let lacking = |world: &World, id: &str| {
        world.edit_sidecar(id, |sidecar| {
            sidecar["dump"].as_object_mut().unwrap().remove("sha256");
        });
    };
    broken_sidecar(lacking, "missing field `sha256`", 4);
}

#[test]
fn a_sidecar_of_a_newer_schema() {
    let newer =
        |world: &World, id: &str| world.edit_sidecar(id, |sidecar| sidecar["schema"] = 2.into());
    broken_sidecar(newer, "written by a newer dbbackup (schema 2", 3);
}

#[test]
fn a_sidecar_that_requires_more() {
    let requires = |world: &World, id: &str| {
        world.edit_sidecar(id, |sidecar| sidecar["requires"] = serde_json::json!(["x"]))
    };
    broken_sidecar(requires, "it needs a newer dbbackup (for x)", 3);
}

#[test]
fn a_sidecar_of_another_backup() {
    let other = |world: &World, id: &str| {
        world.edit_sidecar(id, |sidecar| {
            sidecar["id"] = "app_manual_20200101T000000Z".into()
        })
    };
    broken_sidecar(other, "the sidecar is of `app_manual_20200101T000000Z`", 4);
}

#[test]
fn a_sidecar_of_another_source() {
    let other = |world: &World, id: &str| {
        world.edit_sidecar(id, |sidecar| sidecar["source"] = "web".into())
    };
    broken_sidecar(other, "the sidecar is of the source `web`", 4);
}

#[test]
fn unknown_fields_of_a_sidecar_are_ignored() {
    let (world, id) = small("gzip");
    world.edit_sidecar(&id, |sidecar| {
        sidecar["invented"] = serde_json::json!({"later": [1, 2]});
        sidecar["dump"]["parts"] = 1.into();
        sidecar["database"]["collation"] = "C".into();
    });
    world.with_store("verify").run().exits(0);
    world.with_store("restore app --to new.db").run().exits(0);
}

#[test]
fn a_wrong_count_in_the_manifest_names_its_table() {
    let (world, id) = small("gzip");
    world.edit_sidecar(&id, |sidecar| {
        sidecar["manifest"]["tables"][0]["rows"] = 4.into()
    });
    world
        .with_store(&format!("verify {id} --level checksum"))
        .run()
        .exits(0);
    is_damaged(&world, &id, "content", "t has 3 rows, 4 expected");
    is_damaged(&world, &id, "restore", "t has 3 rows, 4 expected");
    world.edit_sidecar(&id, |sidecar| {
        sidecar["manifest"]["tables"] =
            serde_json::json!([{"name": "gone", "kind": "table", "rows": 7}]);
    });
    is_damaged(&world, &id, "content", "gone is missing (7 rows expected)");
}

#[test]
fn a_wrong_hash_of_the_content_is_damage() {
    let (world, id) = small("gzip");
    world.edit_sidecar(&id, |sidecar| {
        sidecar["dump"]["content_sha256"] = "0".repeat(64).into()
    });
    world
        .with_store(&format!("verify {id} --level checksum"))
        .run()
        .exits(0);
    is_damaged(&world, &id, "content", "does not decode to what was read");
    let (world, id) = small("zstd");
    world.edit_sidecar(&id, |sidecar| {
        sidecar["dump"]["content_size_bytes"] = 1.into()
    });
    is_damaged(&world, &id, "content", "does not decode to what was read");
}

#[test]
fn a_coding_that_nobody_knows_is_no_damage() {
    let (world, id) = small("gzip");
    world.edit_sidecar(&id, |sidecar| {
        sidecar["dump"]["compression"] = "lzma".into()
    });
    for command in ["verify", "restore --to new.db"] {
        world
            .with_store(&format!("{command} {id}"))
            .run()
            .exits(1)
            .says("compressed with `lzma`");
    }
    world.edit_sidecar(&id, |sidecar| {
        sidecar["dump"]["compression"] = "gzip".into();
        sidecar["dump"]["encryption"] = "gpg".into();
    });
    world
        .with_store(&format!("verify {id}"))
        .run()
        .exits(1)
        .says("is encrypted with gpg");
    let json = world
        .with_store("verify --all --json")
        .run()
        .exits(1)
        .json();
    assert_eq!(json["results"][0]["status"], "unprovable");
    assert_eq!(world.ids("").len(), 1, "still a good one");
}

#[test]
fn a_damaged_event_loses_no_backup_and_is_said() {
    let (world, id) = small("gzip");
    let old = world.history("app", "manual", &[100, 200]);
    let event = world.damaged_event(&old[1]);
    world
        .with_store("list")
        .run()
        .exits(0)
        .says(&format!("{}: an event of it", old[1]));
    world
        .with_store(&format!("restore {} --to new.db", old[1]))
        .run()
        .exits(0);
    // What comes later is kept beside it.
    world
        .with_store(&format!("verify {}", old[1]))
        .run()
        .exits(0)
        .never_says("the result was not kept");
    assert_eq!(world.events(&old[1]).len(), 2);
    // Nobody is told that a pin is gone that may be in it.
    world
        .with_store(&format!("unpin {}", old[1]))
        .run()
        .exits(1)
        .says("is damaged")
        .says("hint: remove `");
    world
        .with_store("cleanup --keep-last 1")
        .run()
        .exits(0)
        .says("it may have been pinned");
    assert_eq!(
        world.ids(""),
        [id, old[1].clone()],
        "kept as if it were pinned"
    );
    // The remedy of the hint.
    std::fs::remove_file(event).unwrap();
    for verb in ["pin", "unpin"] {
        let call = format!("{verb} {}", old[1]);
        world.with_store(&call).run().exits(0);
    }
}

#[test]
fn the_newest_good_one_is_used_where_the_newest_is_damaged() {
    let (world, id) = small("gzip");
    let old = world.history("app", "manual", &[30]).remove(0);
    let dump = world.dump_of(&id);
    let whole = std::fs::read(&dump).unwrap();
    let mut broken = whole.clone();
    broken[whole.len() / 2] ^= 1;
    std::fs::write(&dump, &broken).unwrap();
    // Nobody has looked yet; restore does, refuses, and says what else there is.
    world
        .with_store("restore app --to new.db")
        .run()
        .exits(4)
        .says(&id)
        .says(" list app`");
    // `verify` finds it, and from then on it is not the newest good one.
    world.with_store("verify").run().exits(4).says(&id);
    assert_eq!(world.ids(""), std::slice::from_ref(&old));
    world
        .with_store("list")
        .run()
        .exits(0)
        .says("app: 1 damaged backup since its newest good backup");
    world
        .with_store("list --status failed")
        .run()
        .exits(0)
        .prints(&id)
        .prints("damaged")
        .prints("is not what was written");
    world
        .with_store("restore app --to new.db")
        .run()
        .exits(0)
        .prints(&old);
    world
        .with_store("restore app@latest --to new.db --yes")
        .run()
        .exits(0)
        .prints(&old);
    world.with_store("show app").run().exits(0).prints(&old);
    // With no name it is looked at again: a damaged newest one is not passed over.
    world.with_store("verify").run().exits(4);

    // The file is mended. A shallower look than the one that found the damage does not clear it;
    // one as deep does.
    std::fs::write(&dump, &whole).unwrap();
    world
        .with_store(&format!("verify {id} --level checksum"))
        .run()
        .exits(0);
    assert_eq!(world.ids("app"), std::slice::from_ref(&old));
    world.with_store(&format!("verify {id}")).run().exits(0);
    assert_eq!(world.ids("app"), [id.clone(), old]);
    world
        .with_store("restore app --to new.db --yes")
        .run()
        .exits(0)
        .prints(&id);
}

#[test]
fn verify_all_goes_on_after_damage() {
    let (world, id) = small("gzip");
    let old = world.history("app", "manual", &[30, 60]);
    world.database("web.db", SMALL);
    world.with_store("backup web.db").run().exits(0);
    std::fs::write(world.dump_of(&old[0]), "x").unwrap();
    let json = world
        .with_store("verify --all --json --level checksum")
        .run()
        .exits(4)
        .json();
    let results = json["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    let status =
        |id: &str| results.iter().find(|result| result["id"] == id).unwrap()["status"].clone();
    assert_eq!(
        (status(&id), status(&old[0]), status(&old[1])),
        ("ok".into(), "damaged".into(), "ok".into())
    );
    world
        .with_store("verify --all web")
        .run()
        .exits(0)
        .never_says("app_");
    world.with_store("verify --all app").run().exits(4);
    world.with_store("verify --all nobody").run().exits(10);
    // Several by name: one that does not exist, or is damaged, keeps no other from being looked at.
    world
        .with_store("verify web nobody app")
        .run()
        .exits(3)
        .says("nobody")
        .prints("ok web_")
        .prints(&format!("ok {id}"));
    world
        .with_store(&format!("verify nobody {} web", old[0]))
        .run()
        .exits(4)
        .prints("ok web_");
}

#[test]
fn a_hash_that_holds_is_not_yet_a_database() {
    // The sidecar describes exactly what is stored; what is stored is no sound database.
    let (world, id) = small("none");
    let dump = world.dump_of(&id);
    let mut content = std::fs::read(&dump).unwrap();
    let page = content.len() - 512;
    content[page..page + 100].fill(0xA5);
    let sha256 = measure(&content[..], &Progress::default()).unwrap().sha256;
    std::fs::write(&dump, &content).unwrap();
    world.edit_sidecar(&id, |sidecar| {
        for key in ["sha256", "content_sha256"] {
            sidecar["dump"][key] = sha256.as_str().into();
        }
    });
    world
        .with_store(&format!("verify {id} --level checksum"))
        .run()
        .exits(0);
    is_damaged(&world, &id, "content", "");
    let result = world
        .with_store(&format!("verify {id} --json"))
        .run()
        .exits(4)
        .json();
    let damaged: Vec<&Value> = result["results"][0]["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["status"] == "damaged")
        .collect();
    assert!(
        damaged.iter().any(|check| check["name"] == "integrity"),
        "{result}"
    );
}

#[test]
fn a_corrupt_database_is_not_backed_up_as_good() {
    let world = World::new();
    let path: PathBuf = world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 200].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    world.config("[backup]\nverify_after = 'content'\n");
    let ran = world.with_store("backup app.db").run();
    // Told of the database, not of the copy that was looked at and is gone.
    assert!(
        ran.stderr.contains(path.to_str().unwrap()) && !ran.stderr.contains("copy.sqlite3"),
        "{ran}"
    );
    assert_eq!(world.ids("").len(), 1, "{ran}");
    assert_eq!(world.stored("app", ".gz").len(), 1);
    world
        .with_store("list")
        .run()
        .exits(0)
        .says("1 failed attempt since");
}
