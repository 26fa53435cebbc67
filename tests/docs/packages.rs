//! What is packed: the lists of files in Cargo.toml name what there is and leave nothing out, the
//! configuration that they install does nothing, and the scripts around it run.
//!
//! That the packages themselves install, work and go again is tried by `tests/release`.

use super::examples::{configuration, texts_of_yaml, with_disabled_keys};
use super::{have, root, silently, text_of};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The metadata of Cargo.toml that is one tool's.
fn metadata(tool: &str) -> toml::Value {
    let text = text_of("Cargo.toml");
    let manifest: toml::Value = toml::from_str(&text).unwrap();
    manifest["package"]["metadata"][tool].clone()
}

/// A file of a package: where it comes from, where it goes, and its mode.
struct PackedFile {
    source: String,
    place: String,
    mode: String,
}

fn debian_files() -> Vec<PackedFile> {
    let rows = metadata("deb")["assets"].as_array().unwrap().clone();
    let text = |row: &toml::Value, at: usize| row[at].as_str().unwrap().to_owned();
    rows.iter()
        .map(|row| PackedFile {
            source: text(row, 0),
            place: format!("/{}", text(row, 1)),
            mode: text(row, 2),
        })
        .collect()
}

fn rpm_files() -> Vec<PackedFile> {
    let rows = metadata("generate-rpm")["assets"]
        .as_array()
        .unwrap()
        .clone();
    let text = |row: &toml::Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.iter()
        .map(|row| PackedFile {
            source: text(row, "source"),
            place: text(row, "dest"),
            mode: text(row, "mode"),
        })
        .collect()
}

/// The repository's files that a pattern with one `*` in its name means.
fn matches(pattern: &str) -> BTreeSet<PathBuf> {
    let pattern = Path::new(pattern);
    let directory = pattern.parent().unwrap();
    let name = pattern.file_name().unwrap().to_str().unwrap();
    let (begin, end) = name.split_once('*').unwrap_or((name, ""));
    std::fs::read_dir(root().join(directory))
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|found| match name.contains('*') {
            true => {
                found.len() >= begin.len() + end.len()
                    && found.starts_with(begin)
                    && found.ends_with(end)
            }
            false => found == name,
        })
        .map(|found| directory.join(found))
        .collect()
}

/// Every file of the repository that a package has, and its place there.
fn packed(files: &[PackedFile]) -> BTreeMap<PathBuf, PathBuf> {
    let mut all = BTreeMap::new();
    for file in files
        .iter()
        .filter(|file| !file.source.starts_with("target/"))
    {
        let found = matches(&file.source);
        assert!(!found.is_empty(), "there is no {}", file.source);
        for source in found {
            let place = match file.place.ends_with('/') {
                true => Path::new(&file.place).join(source.file_name().unwrap()),
                false => PathBuf::from(&file.place),
            };
            assert_eq!(
                all.insert(source.clone(), place),
                None,
                "{source:?} stands twice"
            );
        }
    }
    all
}

#[test]
fn both_packages_have_the_pages_completions_units_and_examples() {
    for files in [debian_files(), rpm_files()] {
        let packed = packed(&files);
        let modes: BTreeSet<&str> = files.iter().map(|file| file.mode.as_str()).collect();
        assert_eq!(modes, BTreeSet::from(["644", "755"]));
        let program = files.iter().filter(|file| file.mode == "755");
        let program: Vec<(&str, &str)> = program
            .map(|file| (file.source.as_str(), file.place.as_str()))
            .collect();
        assert_eq!(program, [("target/release/dbbackup", "/usr/bin/")]);
        let mut expected = BTreeSet::new();
        for pattern in [
            "man/*.1",
            "man/*.5",
            "man/*.7",
            "examples/*.toml",
            "examples/*.json",
            "examples/*.timer",
            "examples/*.service",
            "completions/dbbackup.bash",
            "completions/_dbbackup",
            "completions/dbbackup.fish",
        ] {
            expected.extend(matches(pattern));
        }
        let missing: Vec<_> = expected
            .iter()
            .filter(|file| !packed.contains_key(*file))
            .collect();
        assert!(missing.is_empty(), "not packed: {missing:?}");
        // A page lies in the directory of its section, and a unit where systemd looks.
        for (source, place) in &packed {
            let name = source.file_name().unwrap().to_str().unwrap();
            if source.starts_with("man") {
                let section = name.rsplit('.').next().unwrap();
                assert!(
                    place.starts_with(format!("/usr/share/man/man{section}")),
                    "{place:?}"
                );
            }
            if name.ends_with(".service") || name.ends_with(".timer") {
                assert!(place.starts_with("/usr/lib/systemd/system"), "{place:?}");
            }
        }
    }
}

#[test]
fn both_packages_have_the_same_places() {
    let places = |files: &[PackedFile]| -> BTreeSet<PathBuf> {
        let of_one_family = [
            "lintian",
            "licenses",
            "zsh",
            "copyright",
            "changelog",
            "CHANGELOG.md",
        ];
        packed(files)
            .into_values()
            .filter(|place| {
                !of_one_family
                    .iter()
                    .any(|word| place.iter().any(|part| part.to_str() == Some(word)))
            })
            .collect()
    };
    assert_eq!(places(&debian_files()), places(&rpm_files()));
}

/// The oldest C library is the one that `tests/release` builds with, whoever packs the program.
#[test]
fn the_package_needs_the_c_library_that_the_program_needs() {
    let script = text_of("tests/release");
    let version = script.lines().find_map(|line| line.strip_prefix("glibc="));
    let needed = format!("libc6 (>= {}), libgcc-s1", version.unwrap());
    assert_eq!(metadata("deb")["depends"].as_str(), Some(needed.as_str()));
}

/// A Debian package of another version than the program would not be an upgrade.
#[test]
fn the_packages_changelog_is_of_this_version() {
    let first = format!("dbbackup ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(text_of("examples/package/changelog").starts_with(&first));
    let readme = text_of("README.md");
    assert!(readme.contains(&format!(
        "./dbbackup_{}-1_amd64.deb",
        env!("CARGO_PKG_VERSION")
    )));
}

#[test]
fn the_packages_configuration_sets_nothing_and_shows_what_works() {
    let path = root().join("examples/package/config.toml");
    assert!(dbbackup::config::sets_nothing(&path));
    let text = text_of("examples/package/config.toml");
    let nothing = configuration(&text, "examples/package/config.toml");
    assert!(nothing.sources.is_empty() && nothing.stores.is_empty());
    let shown = configuration(&with_disabled_keys(&text), "with its disabled keys");
    let names: Vec<&str> = shown
        .sources
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["app", "shop", "uploads"]);
    // What is shown there is README's configuration that is enough.
    let readme = text_of("README.md");
    for line in with_disabled_keys(&text).lines() {
        let is_key = !line.starts_with('#') && !line.is_empty();
        assert!(!is_key || readme.contains(line), "README has no `{line}`");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_dbbackup"))
        .args(["backup", "--config"])
        .arg(&path)
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// The scripts know every timer, and no others.
#[test]
fn scripts_are_those_of_a_shell_and_know_the_timers() {
    let timers: BTreeSet<String> = matches("examples/*.timer")
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .map(|stem| stem.strip_prefix("dbbackup@").unwrap().to_owned())
        .collect();
    for name in ["postinst", "prerm", "postrm", "rpm-preun", "install.sh"] {
        let text = text_of(&format!("examples/package/{name}"));
        let words = text.split_once("for timer in ").unwrap().1;
        let words = words.split(';').next().unwrap();
        let known: BTreeSet<String> = words.split(' ').map(str::to_owned).collect();
        assert_eq!(known, timers, "{name}");
    }
    let mut scripts = vec![root().join("tests/release")];
    for entry in std::fs::read_dir(root().join("examples/package")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if text.starts_with("#!/bin/sh") {
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o111, 0o111, "{path:?}");
        }
        if text.starts_with("#!/bin/sh") || path.to_str().unwrap().contains("/rpm-") {
            scripts.push(path);
        }
    }
    assert_eq!(scripts.len(), 8);
    for script in scripts {
        silently(Command::new("bash").arg("-n").arg(&script));
    }
}

#[test]
fn the_release_workflow_calls_what_there_is() {
    let Some(texts) = texts_of_yaml("examples/release.yml") else {
        return;
    };
    let script = text_of("tests/release");
    let mut steps = BTreeSet::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        if let Some(words) = line.trim().strip_prefix("tests/release dist ") {
            steps.extend(words.split(' ').map(str::to_owned));
        }
    }
    for step in &steps {
        assert!(script.contains(&format!("\nstep_{step}() {{")), "{step}");
    }
    assert_eq!(
        steps.iter().map(String::as_str).collect::<Vec<_>>(),
        ["build-here", "check", "package", "try"]
    );
}

/// An unpacked tarball with a program that only says its version.
fn unpacked(there: &Path) -> PathBuf {
    let tree = there.join("dbbackup-0.1.0");
    let write = |name: &str, text: &str, mode: u32| {
        let path = tree.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("bin/dbbackup", "#!/bin/sh\necho dbbackup 0.1.0\n", 0o755);
    write("share/man/man1/dbbackup.1.gz", "page", 0o644);
    write("share/doc/dbbackup/README.md", "read me", 0o644);
    write("lib/systemd/system/dbbackup@.service", "unit", 0o644);
    write("install.sh", &text_of("examples/package/install.sh"), 0o755);
    sum_up(&tree);
    tree
}

/// Writes the checksums of a tree anew, as `tests/release` does.
fn sum_up(tree: &Path) {
    let line = "rm -f SHA256SUMS; find . -type f -printf '%P\\n' | sort | xargs -d '\\n' sha256sum \
                >../sums; mv ../sums SHA256SUMS";
    silently(Command::new("sh").args(["-c", line]).current_dir(tree));
}

fn install(tree: &Path, prefix: &Path, arguments: &[&str]) -> Output {
    Command::new(tree.join("install.sh"))
        .arg("--prefix")
        .arg(prefix)
        .args(arguments)
        .output()
        .unwrap()
}

fn files_below(directory: &Path) -> BTreeSet<String> {
    let output = Command::new("find")
        .arg(directory)
        .args(["-type", "f", "-printf", "%P\n"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_tarball_installs_and_removes_what_it_has_installed() {
    if !have("sha256sum") {
        return;
    }
    let there = tempfile::tempdir().unwrap();
    let tree = unpacked(there.path());
    let prefix = there.path().join("a user's place");
    let installed = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned());
        names.collect::<BTreeSet<String>>()
    };
    let ran = install(&tree, &prefix, &[]);
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(said.contains("dbbackup 0.1.0 is installed in"), "{said}");
    // systemd looks for units in no such place.
    assert!(
        said.contains("without units") && said.contains("to your PATH"),
        "{said}"
    );
    assert_eq!(
        files_below(&prefix),
        installed(&[
            "bin/dbbackup",
            "share/dbbackup/installed",
            "share/doc/dbbackup/README.md",
            "share/man/man1/dbbackup.1.gz"
        ])
    );
    let mode = prefix
        .join("bin/dbbackup")
        .metadata()
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o755);

    // A newer one takes away what it no longer has, and what somebody has changed stays.
    std::fs::rename(
        tree.join("share/doc/dbbackup/README.md"),
        tree.join("share/doc/dbbackup/READ"),
    )
    .unwrap();
    sum_up(&tree);
    assert!(install(&tree, &prefix, &[]).status.success());
    assert!(!prefix.join("share/doc/dbbackup/README.md").exists());
    std::fs::write(prefix.join("share/man/man1/dbbackup.1.gz"), "mine").unwrap();
    std::fs::write(prefix.join("share/dbbackup/notes"), "mine").unwrap();
    let ran = install(&tree, &prefix, &["--uninstall"]);
    assert!(ran.status.success());
    assert!(String::from_utf8_lossy(&ran.stdout).contains("kept, as it was changed: "));
    assert_eq!(
        files_below(&prefix),
        installed(&["share/dbbackup/notes", "share/man/man1/dbbackup.1.gz"])
    );
    let ran = install(&tree, &prefix, &["--uninstall"]);
    assert_eq!(ran.status.code(), Some(1));
}

#[test]
fn a_damaged_tarball_is_not_installed() {
    if !have("sha256sum") {
        return;
    }
    let there = tempfile::tempdir().unwrap();
    let tree = unpacked(there.path());
    let prefix = there.path().join("place");
    std::fs::write(tree.join("share/doc/dbbackup/README.md"), "other").unwrap();
    let ran = install(&tree, &prefix, &[]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("unpack the archive again"));
    // A program that this machine can't run is found before anything is written, too.
    std::fs::write(tree.join("bin/dbbackup"), "#!/nonexistent\n").unwrap();
    sum_up(&tree);
    let ran = install(&tree, &prefix, &[]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("glibc 2.31"));
    assert!(!prefix.exists());
    for wrong in [
        vec!["--prefix"],
        vec!["--prefix", "relative"],
        vec!["--now"],
    ] {
        let ran = Command::new(tree.join("install.sh")).args(&wrong).output();
        assert!(!ran.unwrap().status.success(), "{wrong:?}");
    }
}
