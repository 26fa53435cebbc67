//! Plans and their execution, against a store in a temporary directory.

use super::*;
use crate::ops::tests::{Fixture, now};
use crate::store::{DeletePermission, RemovalLimit, names, store_in_memory};
use std::io::Write;
use std::sync::Arc;

fn keep_one() -> RetentionPolicy {
    RetentionPolicy {
        keep_last: Some(1),
        ..RetentionPolicy::default()
    }
}

fn request(dry_run: bool, force: bool) -> PruneRequest {
    PruneRequest {
        policy: Some(keep_one()),
        force,
        dry_run,
        ..PruneRequest::default()
    }
}

fn plan(fixture: &Fixture, source: &str, force: bool) -> PrunePlan {
    let policies = RetentionPolicies::for_every_label(keep_one());
    let (store, catalog) = (fixture.store(), fixture.catalog());
    plan_source(&*store, &catalog, source, &policies, now(), force).unwrap()
}

fn ids_of(removals: &[Removal]) -> Vec<&str> {
    removals.iter().map(|removal| removal.id.as_str()).collect()
}

#[test]
fn a_plan_names_what_goes_and_changes_nothing() {
    let fixture = Fixture::new();
    let [old, middle, new] = [3, 2, 1].map(|hours| fixture.backup("app", hours, 100));
    let plan = plan(&fixture, "app", false);
    assert_eq!(ids_of(&plan.removals), [&middle, &old]);
    assert!(plan.removals.iter().all(|removal| removal.size > 0));
    let kept: Vec<&str> = plan.kept.iter().map(|kept| kept.id.as_str()).collect();
    assert_eq!(kept, [&new]);
    assert!(plan.hold().is_none());
    assert_eq!(fixture.ids(), [new, middle, old]);
}

#[test]
fn a_dry_run_gives_the_plan_and_a_run_what_was_done() {
    let fixture = Fixture::new();
    let [old, new] = [2, 1].map(|hours| fixture.backup("app", hours, 100));
    let dry = prune(&request(true, false), &fixture.session, &fixture.recorder).unwrap();
    assert_eq!(ids_of(&dry.removed), [&old]);
    assert_eq!(fixture.ids().len(), 2);
    assert!(!fixture.recorder.has_heard("removed"));
    let done = prune(&request(false, false), &fixture.session, &fixture.recorder).unwrap();
    assert_eq!((done.kept, done.removed), (dry.kept, dry.removed));
    assert_eq!(fixture.ids(), [new]);
    assert!(fixture.recorder.has_heard(&format!("removed {old}")));
}

#[test]
fn a_brake_that_holds_keeps_all_until_it_is_released() {
    let fixture = Fixture::new();
    fixture.backup("app", 3, 1000);
    fixture.backup("app", 2, 1000);
    let new = fixture.backup("app", 1, 10);
    let held = plan(&fixture, "app", false);
    assert_eq!(ids_of(&held.removals), [] as [&str; 0]);
    assert_eq!(held.kept.len(), 3);
    assert_eq!(held.hold().unwrap().what_is_removed(), "nothing");
    let summary = prune(&request(false, false), &fixture.session, &fixture.recorder).unwrap();
    assert_eq!((summary.tried, summary.removed.len()), (1, 0));
    assert_eq!(summary.failed[0].kind(), Kind::Failed);
    assert_eq!(fixture.ids().len(), 3);
    let summary = prune(&request(false, true), &fixture.session, &fixture.recorder).unwrap();
    assert_eq!(summary.removed.len(), 2);
    assert_eq!(fixture.ids(), [new]);
}

#[test]
fn a_source_that_fails_does_not_keep_the_others() {
    let fixture = Fixture::new();
    for source in ["app", "shop"] {
        fixture.backup(source, 2, 100);
        fixture.backup(source, 1, 100);
    }
    let store = fixture.store();
    let _lock = store.lock("app", std::time::Duration::ZERO).unwrap();
    let summary = prune(&request(false, false), &fixture.session, &fixture.recorder).unwrap();
    assert_eq!(summary.tried, 2);
    assert_eq!(summary.failed.len(), 1);
    assert_eq!(summary.failed[0].kind(), Kind::Locked);
    assert_eq!(summary.removed.len(), 1);
    assert_eq!(fixture.ids().len(), 3);
}

#[test]
fn what_a_kept_backup_needs_is_kept() {
    let fixture = Fixture::new();
    let full = fixture.backup("app", 6, 100);
    let [aside, end] = [5, 4].map(|hours| fixture.backup_on(&full, hours));
    let plan = plan(&fixture, "app", false);
    assert_eq!(ids_of(&plan.removals), [&aside]);
    let kept: Vec<_> = plan
        .kept
        .iter()
        .map(|kept| (&kept.id, &kept.reasons[0]))
        .collect();
    assert_eq!(kept[1], (&full, &format!("needed by {end}")));
    prune(&request(false, false), &fixture.session, &fixture.recorder).unwrap();
    assert_eq!(fixture.ids(), [end, full]);
}

#[test]
fn what_is_removed_goes_before_what_it_needs() {
    let fixture = Fixture::new();
    let full = fixture.backup("app", 6, 100);
    let end = fixture.backup_on(&full, 5);
    let new = fixture.backup("app", 1, 100);
    prune(&request(false, false), &fixture.session, &fixture.recorder).unwrap();
    assert_eq!(fixture.ids(), [new]);
    let heard = fixture.recorder.heard();
    let told = |id: &str| {
        heard
            .iter()
            .any(|event| event.contains(&format!("removed {id}")))
    };
    assert!(told(&full) && told(&end));
}

#[test]
fn what_a_newer_version_needs_is_kept() {
    let fixture = Fixture::new();
    let full = fixture.backup("app", 6, 100);
    let [_, middle] = [5, 4].map(|hours| fixture.backup_on(&full, hours));
    let newer = fixture.newer_backup_on(&middle, 3);
    let new = fixture.backup("app", 1, 100);
    prune(&request(false, false), &fixture.session, &fixture.recorder).unwrap();
    assert_eq!(fixture.ids(), [new, middle.clone(), full.clone()]);
    let catalog = fixture.catalog();
    assert_eq!(catalog.unreadable[0].id, newer);
    assert_eq!(catalog.dependents_of(&middle).collect::<Vec<_>>(), [&newer]);
    assert_eq!(catalog.dependents_of(&full).collect::<Vec<_>>(), [&middle]);
    let caps = PruneRequest {
        policy: Some(RetentionPolicy {
            max_count: Some(1),
            max_size: Some(1),
            ..RetentionPolicy::default()
        }),
        ..PruneRequest::default()
    };
    prune(&caps, &fixture.session, &fixture.recorder).unwrap();
    assert_eq!(fixture.ids().len(), 3);
}

/// A store on another machine with the backups of `app`.
fn elsewhere(fixture: &Fixture, delete: DeletePermission) -> Arc<dyn Store> {
    let from = fixture.store();
    let to = store_in_memory(delete, RemovalLimit::default());
    for backup in fixture.catalog().backups() {
        let id = backup.id();
        let mut draft = to.begin_copy("app", id).unwrap();
        for file in backup.sidecar.files() {
            let mut pending = draft.create(&file).unwrap();
            let bytes = from.read("app", &file).unwrap();
            pending.write_all(&bytes).unwrap();
            pending.finish().unwrap();
        }
        let sidecar = from.read("app", &names::sidecar_name(id)).unwrap();
        draft.commit(&sidecar).unwrap();
    }
    to
}

fn plan_elsewhere(store: &dyn Store, force: bool) -> PrunePlan {
    let policies = RetentionPolicies::for_every_label(keep_one());
    let catalog = Catalog::read(store, None).unwrap();
    plan_source(store, &catalog, "app", &policies, now(), force).unwrap()
}

#[test]
fn only_so_many_go_in_one_run_elsewhere() {
    let fixture = Fixture::new();
    let ids: Vec<String> = (1..=8)
        .map(|hours| fixture.backup("app", hours, 100))
        .collect();
    let store = elsewhere(&fixture, DeletePermission::Allowed);
    assert_eq!(plan_elsewhere(&*store, true).removals.len(), 7);
    let plan = plan_elsewhere(&*store, false);
    assert_eq!(ids_of(&plan.removals), [&ids[5], &ids[6], &ids[7]]);
    let kept = plan.kept.iter().find(|kept| kept.id == ids[4]).unwrap();
    assert!(
        kept.reasons[0].starts_with("at most 3 are removed there in one run"),
        "{:?}",
        kept.reasons
    );
    carry_out(plan, &*store, "app", &fixture.recorder).unwrap();
    let left = plan_elsewhere(&*store, false);
    assert_eq!((left.kept.len(), left.removals.len()), (2, 3));
}

#[test]
fn nothing_goes_where_this_machine_only_writes() {
    let fixture = Fixture::new();
    (1..=3).for_each(|hours| drop(fixture.backup("app", hours, 100)));
    let store = elsewhere(&fixture, DeletePermission::Never);
    for force in [false, true] {
        let plan = plan_elsewhere(&*store, force);
        assert_eq!((plan.kept.len(), plan.removals.len()), (3, 0));
        let why = plan.kept.iter().flat_map(|kept| &kept.reasons);
        let never = why.filter(|why| why.contains("`delete = \"never\"`"));
        assert_eq!(never.count(), 2);
    }
}
