//! The journal is gone by from every state that a kill can leave, and going by it twice changes
//! nothing. (Real kills are in the end-to-end tests.)

use super::journal::{Child, exchange, exchange_child, inode};
use super::*;
use std::ffi::OsStr;

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// A top path with an old tree (or none), a new one staged beside it, and the journal.
struct Stage {
    dir: tempfile::TempDir,
    journal: Journal,
}

impl Stage {
    fn new(had_one: bool, children: bool) -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("scratch")).unwrap();
        for name in ["both", "only-new"] {
            write(&at("scratch/tree").join(name), "new");
        }
        if had_one {
            for name in ["both", "only-old"] {
                write(&at("top").join(name), "old");
            }
        }
        let children = children.then(|| children_of(&at("top"), &at("scratch/tree")));
        let journal = Journal {
            format: 1,
            top: HexPath::new(at("top").as_os_str()),
            kept: HexPath::new(
                at(if children.is_some() {
                    "top/.dbbackup-before-x"
                } else {
                    "top.before-x"
                })
                .as_os_str(),
            ),
            new: inode(&at("scratch/tree")).unwrap(),
            children,
        };
        std::fs::write(
            at("scratch").join(JOURNAL),
            serde_json::to_vec(&journal).unwrap(),
        )
        .unwrap();
        Stage { dir, journal }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn recover(&self) {
        recover(&self.at("scratch"), &self.at("top")).unwrap();
    }

    fn content(&self, tree: &str) -> [Option<String>; 3] {
        ["both", "only-old", "only-new"].map(|name| read(&self.at(tree).join(name)))
    }
}

fn children_of(top: &Path, tree: &Path) -> Vec<Child> {
    children(top, tree, Path::new("/nowhere")).unwrap()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn old() -> [Option<String>; 3] {
    [some("old"), some("old"), None]
}

fn new() -> [Option<String>; 3] {
    [some("new"), None, some("new")]
}

#[test]
fn before_the_exchange_nothing_is_done() {
    for children in [false, true] {
        let stage = Stage::new(true, children);
        stage.recover();
        assert_eq!(
            (stage.content("top"), stage.content("scratch/tree")),
            (old(), new())
        );
        assert!(!stage.at("top.before-x").exists());
    }
}

#[test]
fn after_the_exchange_the_old_tree_is_kept() {
    let stage = Stage::new(true, false);
    exchange(
        &stage.at("scratch/tree"),
        &stage.at("top"),
        &stage.at("top.before-x"),
    )
    .unwrap();
    for _ in 0..3 {
        stage.recover();
        assert_eq!(
            (stage.content("top"), stage.content("top.before-x")),
            (new(), old())
        );
        assert!(!stage.at("scratch/tree").exists());
    }
}

#[test]
fn a_system_that_can_not_exchange_is_brought_back_or_finished() {
    // The old one is aside, the new one not yet in its place.
    let stage = Stage::new(true, false);
    std::fs::rename(stage.at("top"), stage.at("top.before-x")).unwrap();
    stage.recover();
    assert_eq!(
        (stage.content("top"), stage.content("scratch/tree")),
        (old(), new())
    );
    // The new one is in its place.
    let stage = Stage::new(true, false);
    std::fs::rename(stage.at("top"), stage.at("top.before-x")).unwrap();
    std::fs::rename(stage.at("scratch/tree"), stage.at("top")).unwrap();
    stage.recover();
    assert_eq!(
        (stage.content("top"), stage.content("top.before-x")),
        (new(), old())
    );
}

#[test]
fn where_there_was_nothing_there_is_the_new_one_or_nothing() {
    let stage = Stage::new(false, false);
    stage.recover();
    assert!(!stage.at("top").exists());
    std::fs::rename(stage.at("scratch/tree"), stage.at("top")).unwrap();
    stage.recover();
    assert_eq!(stage.content("top"), new());
    assert!(!stage.at("top.before-x").exists());
}

#[test]
fn both_ways_from_everywhere_in_a_mount_point() {
    // Killed after so many of its three names.
    for done in 0..=3 {
        for direction in [Direction::Forward, Direction::Back] {
            let stage = Stage::new(true, true);
            let first: Vec<Child> = stage
                .journal
                .children
                .as_ref()
                .unwrap()
                .iter()
                .take(done)
                .map(copy)
                .collect();
            let part = Journal {
                children: Some(first),
                ..copy_journal(&stage.journal)
            };
            if done > 0 {
                // As far as it came, without the last step.
                let (top, tree) = (stage.at("top"), stage.at("scratch/tree"));
                for child in part.children.iter().flatten() {
                    exchange_child(child, &top, &tree, Direction::Forward).unwrap();
                }
            }
            carry_out(&stage.journal, &stage.at("scratch"), direction).unwrap();
            carry_out(&stage.journal, &stage.at("scratch"), direction).unwrap();
            if direction == Direction::Forward {
                assert_eq!(
                    (
                        stage.content("top"),
                        stage.content("top/.dbbackup-before-x")
                    ),
                    (new(), old()),
                    "{done}"
                );
            } else {
                assert_eq!(
                    (stage.content("top"), stage.content("scratch/tree")),
                    (old(), new()),
                    "{done}"
                );
            }
        }
    }
}

fn copy(child: &Child) -> Child {
    Child {
        name: HexPath(child.name.0.clone()),
        old: child.old,
        new: child.new,
    }
}

fn copy_journal(journal: &Journal) -> Journal {
    Journal {
        format: 1,
        top: HexPath(journal.top.0.clone()),
        kept: HexPath(journal.kept.0.clone()),
        new: journal.new,
        children: None,
    }
}

#[test]
fn what_came_meanwhile_is_kept_with_the_old() {
    let stage = Stage::new(true, true);
    // The application has replaced files since the journal was written.
    for name in ["both", "only-old"] {
        write(&stage.at("top/other"), "x");
        std::fs::rename(stage.at("top/other"), stage.at("top").join(name)).unwrap();
    }
    carry_out(&stage.journal, &stage.at("scratch"), Direction::Forward).unwrap();
    assert_eq!(stage.content("top"), new());
    assert_eq!(
        stage.content("top/.dbbackup-before-x"),
        [some("x"), some("x"), None]
    );
}

/// Whatever becomes of the top path after the exchange, the old tree is kept.
#[test]
fn the_old_tree_is_never_taken_for_debris() {
    let stage = Stage::new(true, false);
    exchange(
        &stage.at("scratch/tree"),
        &stage.at("top"),
        &stage.at("top.before-x"),
    )
    .unwrap();
    std::fs::rename(stage.at("top"), stage.at("elsewhere")).unwrap();
    write(&stage.at("top/deployed"), "anew");
    stage.recover();
    assert_eq!(stage.content("top.before-x"), old());
    assert_eq!(read(&stage.at("top/deployed")), some("anew"));
    // Where its name is taken, it stays, and that is an error.
    let stage = Stage::new(true, false);
    exchange(
        &stage.at("scratch/tree"),
        &stage.at("top"),
        &stage.at("top.before-x"),
    )
    .unwrap();
    write(&stage.at("top.before-x/other"), "mine");
    recover(&stage.at("scratch"), &stage.at("top")).unwrap_err();
    assert_eq!(stage.content("scratch/tree"), old());
}

#[test]
fn forth_and_back_again() {
    for children in [false, true] {
        let stage = Stage::new(true, children);
        for _ in 0..2 {
            carry_out(&stage.journal, &stage.at("scratch"), Direction::Forward).unwrap();
            assert_eq!(stage.content("top"), new());
            carry_out(&stage.journal, &stage.at("scratch"), Direction::Back).unwrap();
            assert_eq!(
                (stage.content("top"), stage.content("scratch/tree")),
                (old(), new())
            );
            assert!(
                !stage.at("top.before-x").exists() && !stage.at("top/.dbbackup-before-x").exists()
            );
        }
    }
}

/// One that lay in an archive, for one.
#[test]
fn a_journal_about_something_else_moves_nothing() {
    let lies: [fn(&mut Journal); 3] = [
        |journal| journal.kept = HexPath::new(OsStr::new("/etc/cron.d/evil")),
        |journal| journal.top = HexPath::new(OsStr::new("/etc")),
        |journal| journal.kept = HexPath::new(OsStr::new("../elsewhere")),
    ];
    for lie in lies {
        let mut stage = Stage::new(true, false);
        lie(&mut stage.journal);
        std::fs::write(
            stage.at("scratch").join(JOURNAL),
            serde_json::to_vec(&stage.journal).unwrap(),
        )
        .unwrap();
        let error = recover(&stage.at("scratch"), &stage.at("top")).unwrap_err();
        assert!(
            error.message().contains("is not one of a restore of"),
            "{error:?}"
        );
        assert_eq!(
            (stage.content("top"), stage.content("scratch/tree")),
            (old(), new())
        );
    }
}

#[test]
fn a_damaged_journal_removes_nothing() {
    let stage = Stage::new(true, false);
    std::fs::write(stage.at("scratch").join(JOURNAL), "{").unwrap();
    let error = recover(&stage.at("scratch"), &stage.at("top")).unwrap_err();
    assert!(
        error.message().contains("is damaged")
            && error.hint().unwrap().to_string().contains("scratch"),
        "{error:?}"
    );
}

#[test]
fn mount_points_are_known() {
    assert!(is_mount_point(Path::new("/proc")) && !is_mount_point(Path::new("/proc/self")));
    assert!(!is_mount_point(Path::new("/no/such/place")));
}
