//! Trials of a medium in memory that obeys, and of such that do not.

use super::*;
use crate::store::remote::memory::MemoryMedium;
use std::path::Path;

fn location() -> Location {
    Location::parse("s3://bucket/web1", Path::new("/")).unwrap()
}

fn tried(memory: &MemoryMedium, delete: DeletePermission, depth: ProbeDepth) -> StoreProbe {
    let medium: Arc<dyn Medium> = Arc::new(memory.clone());
    probe_medium(&location(), &medium, delete, depth)
}

fn keys(memory: &MemoryMedium) -> Vec<String> {
    let found = memory.list("").unwrap().into_iter();
    found.map(|object| object.key).collect()
}

#[test]
fn a_sound_medium_passes_and_nothing_is_left() {
    let memory = MemoryMedium::default();
    for depth in [ProbeDepth::Brief, ProbeDepth::Thorough] {
        let probe = tried(&memory, DeletePermission::Allowed, depth);
        assert_eq!(probe.troubles(), [] as [&str; 0], "{probe:?}");
        assert_eq!(keys(&memory), [] as [&str; 0]);
        assert!(memory.open_uploads().is_empty());
    }
    let probe = tried(&memory, DeletePermission::Allowed, ProbeDepth::Thorough);
    let names: Vec<&str> = probe.steps.iter().map(|step| step.name).collect();
    let expected = [
        "place",
        "put",
        "head",
        "ranged get",
        "only-if-absent",
        "list",
        "delete",
        "upload",
    ];
    assert_eq!(names, expected);
}

#[test]
fn somebody_elses_place_is_no_store() {
    let memory = MemoryMedium::default();
    memory.replace("photos/cat.jpg", b"x").unwrap();
    let probe = tried(&memory, DeletePermission::Allowed, ProbeDepth::Brief);
    let (outcome, text) = probe.find("place").unwrap();
    assert_eq!(outcome, "failed");
    assert!(text.contains("photos/cat.jpg"), "{text}");
    assert_eq!(keys(&memory), ["photos/cat.jpg"]);
}

#[test]
fn a_server_that_ignores_conditions_is_found_out() {
    let mut memory = MemoryMedium::default();
    memory.ignores_conditions = true;
    let probe = tried(&memory, DeletePermission::Allowed, ProbeDepth::Thorough);
    assert_eq!(probe.troubles(), ["only-if-absent"], "{probe:?}");
    assert_eq!(keys(&memory), [] as [&str; 0]);
}

#[test]
fn removing_must_be_refused_where_nobody_may() {
    let obeys = MemoryMedium::default();
    let probe = tried(&obeys, DeletePermission::Never, ProbeDepth::Thorough);
    let (outcome, text) = probe.find("delete").unwrap();
    assert_eq!(outcome, "doubt");
    assert!(text.contains("ransomware"), "{text}");
    assert_eq!(keys(&obeys), [] as [&str; 0]);
    let mut refuses = MemoryMedium::default();
    refuses.removes_nothing = true;
    let probe = tried(&refuses, DeletePermission::Never, ProbeDepth::Thorough);
    assert_eq!(probe.troubles(), [] as [&str; 0], "{probe:?}");
    let left = keys(&refuses);
    assert_eq!(left.len(), 1);
    assert!(probe.find("delete").unwrap().1.contains(&left[0]));
    // What was left keeps nobody from making a store there.
    let probe = tried(&refuses, DeletePermission::Never, ProbeDepth::Brief);
    assert_eq!(probe.troubles(), [] as [&str; 0], "{probe:?}");
    assert_eq!(keys(&refuses), left);
    let probe = tried(&refuses, DeletePermission::Allowed, ProbeDepth::Thorough);
    assert!(probe.troubles().contains(&"delete"), "{probe:?}");
}
