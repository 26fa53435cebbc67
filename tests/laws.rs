//! The laws of the fuzz targets, on their seeds and on random changes of them: `tests/fuzz`.
//! `DBBACKUP_CASES` makes it more changes of each.

#[allow(dead_code)]
#[path = "fuzz/src/lib.rs"]
mod fuzz;
#[allow(dead_code)]
#[path = "it/seeds.rs"]
mod seeds;

use seeds::Random;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

fn cases() -> u64 {
    std::env::var("DBBACKUP_CASES").map_or(40, |text| text.parse().unwrap())
}

/// The inputs of a law, sorted.
fn seeds_of(name: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/seeds")
        .join(name);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{dir:?}: {error}"));
    let mut seeds: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{name} has no seeds");
    seeds
}

/// A few bytes changed, left out, doubled or moved.
fn changed(random: &mut Random, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(3) {
        let length = bytes.len() as u64 + 1;
        let (one, other) = (random.below(length) as usize, random.below(length) as usize);
        let (start, end) = (one.min(other), one.max(other));
        match random.below(5) {
            0 if start < end => bytes[start] = random.number() as u8,
            1 if start < end => bytes[start] ^= 1 << random.below(8),
            2 => drop(bytes.drain(start..end.min(start + 64))),
            3 => {
                let piece = bytes[start..end.min(start + 600)].to_vec();
                let at = random.below(length) as usize;
                bytes.splice(at..at, piece);
            }
            _ => bytes.truncate(end),
        }
    }
    bytes
}

#[test]
fn the_laws_hold() {
    let mut random = Random::seeded();
    for law in fuzz::LAWS {
        (law.check)(b"");
        for path in seeds_of(law.name) {
            let seed = std::fs::read(&path).unwrap();
            (law.check)(&seed);
            for _ in 0..cases() {
                let bytes = changed(&mut random, &seed);
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (law.check)(&bytes))) {
                    let file = std::env::temp_dir().join(format!("dbbackup-law-{}", law.name));
                    std::fs::write(&file, &bytes).unwrap();
                    eprintln!("{} does not hold for {}", law.name, file.display());
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
}

#[test]
fn each_law_is_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for law in fuzz::LAWS {
        let target = root.join(format!("fuzz_targets/{}.rs", law.name));
        let text = std::fs::read_to_string(&target).unwrap();
        assert!(text.contains(&format!("check(\"{}\", data)", law.name)));
        assert!(manifest.contains(&format!("name = \"{}\"\n", law.name)));
    }
    let targets = std::fs::read_dir(root.join("fuzz_targets"))
        .unwrap()
        .count();
    assert_eq!(targets, fuzz::LAWS.len());
}
