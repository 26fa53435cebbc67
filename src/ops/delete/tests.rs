//! What may be deleted, and what is refused.

use super::*;
use crate::ops::pin::{PinRequest, pin_backups};
use crate::ops::tests::Fixture;

fn plan(fixture: &Fixture, ids: &[&String], force: bool) -> Result<DeletePlan> {
    let request = DeleteRequest {
        ids: ids.iter().map(|&id| id.clone()).collect(),
        with_dependents: false,
        force,
    };
    plan_deletion(request, &fixture.session)
}

fn pin(fixture: &Fixture, id: &str) {
    let request = PinRequest {
        backups: vec![id.to_owned()],
        pinned: true,
    };
    pin_backups(&request, &fixture.session, &fixture.recorder).unwrap();
}

fn refusal(planned: Result<DeletePlan>) -> String {
    planned.err().unwrap().message()
}

#[test]
fn an_older_one_goes_and_the_last_good_one_stays() {
    let fixture = Fixture::new();
    let [old, new] = [2, 1].map(|hours| fixture.backup("app", hours, 100));
    let text = refusal(plan(&fixture, &[&old, &new], false));
    assert!(text.contains("is the last good backup of `app`"), "{text}");
    let planned = plan(&fixture, &[&old, &old], false).unwrap();
    assert_eq!(planned.count(), 1);
    assert!(planned.size() > 0);
    assert_eq!(fixture.ids().len(), 2);
    let deleted = planned
        .carry_out(&fixture.session, &fixture.recorder)
        .unwrap();
    assert_eq!(deleted, [old]);
    assert_eq!(fixture.ids(), std::slice::from_ref(&new));
    let planned = plan(&fixture, &[&new], true).unwrap();
    planned
        .carry_out(&fixture.session, &fixture.recorder)
        .unwrap();
    assert_eq!(fixture.ids(), [] as [&str; 0]);
}

#[test]
fn only_whole_ids_are_known() {
    let fixture = Fixture::new();
    let id = fixture.backup("app", 1, 100);
    let error = plan(&fixture, &[&id[..id.len() - 2].to_owned()], true)
        .err()
        .unwrap();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn a_pin_that_comes_after_the_plan_counts() {
    let fixture = Fixture::new();
    let [old, _new] = [2, 1].map(|hours| fixture.backup("app", hours, 100));
    let planned = plan(&fixture, &[&old], false).unwrap();
    pin(&fixture, &old);
    let error = planned
        .carry_out(&fixture.session, &fixture.recorder)
        .unwrap_err();
    assert!(error.message().contains("is pinned"), "{error}");
    assert_eq!(fixture.ids().len(), 2);
    assert!(refusal(plan(&fixture, &[&old], false)).contains("is pinned"));
    assert!(plan(&fixture, &[&old], true).is_ok());
}

#[test]
fn what_others_need_goes_after_them_or_not_at_all() {
    let fixture = Fixture::new();
    let full = fixture.backup("app", 5, 100);
    let middle = fixture.backup_on(&full, 4);
    let [end, _new] = [fixture.backup_on(&middle, 3), fixture.backup("app", 1, 100)];
    for force in [false, true] {
        let text = refusal(plan(&fixture, &[&full], force));
        let needed = format!("`{full}` can't be deleted: it is needed by `{middle}`");
        assert_eq!(text, needed);
        let text = refusal(plan(&fixture, &[&full, &middle], force));
        assert!(text.contains(&format!("needed by `{end}`")), "{text}");
    }
    let planned = plan(&fixture, &[&full, &end, &middle], false).unwrap();
    let deleted = planned
        .carry_out(&fixture.session, &fixture.recorder)
        .unwrap();
    assert_eq!(deleted, [end, middle, full]);
    assert_eq!(fixture.ids().len(), 1);
}

#[test]
fn what_a_newer_version_needs_stays() {
    let fixture = Fixture::new();
    let [full, _new] = [5, 1].map(|hours| fixture.backup("app", hours, 100));
    let newer = fixture.newer_backup_on(&full, 4);
    let text = refusal(plan(&fixture, &[&full], true));
    assert!(text.contains(&format!("needed by `{newer}`")), "{text}");
    let error = plan(&fixture, &[&full, &newer], true).err().unwrap();
    assert!(error.message().contains("can't be read"), "{error}");
}

#[test]
fn one_that_is_built_on_it_after_the_plan_counts() {
    let fixture = Fixture::new();
    let [full, _new] = [5, 1].map(|hours| fixture.backup("app", hours, 100));
    let planned = plan(&fixture, &[&full], false).unwrap();
    fixture.backup_on(&full, 4);
    let error = planned
        .carry_out(&fixture.session, &fixture.recorder)
        .unwrap_err();
    assert!(error.message().contains("needed by"), "{error}");
}
