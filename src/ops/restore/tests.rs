//! The order of a restore's steps, whatever kind fills them in.

use super::context::RestoreContext;
use super::driver::{Question, RestorePlan, RestoreSteps, drive};
use super::safety::{KeptContent, Safety};
use super::*;
use crate::engine::{Check, Depth, Destination, Keep, Manifest, Published};
use crate::lock::Lock;
use crate::ops::tests::Fixture;
use std::cell::RefCell;
use std::io::Read;
use std::rc::Rc;

/// The steps that were taken.
#[derive(Clone, Default)]
struct StepLog(Rc<RefCell<Vec<&'static str>>>);

impl StepLog {
    fn add(&self, step: &'static str) {
        self.0.borrow_mut().push(step);
    }

    fn taken(&self) -> Vec<&'static str> {
        self.0.borrow().clone()
    }
}

/// Steps that only say that they were taken.
struct RecordedSteps {
    journal: StepLog,
    destination: RecordedDestination,
    plans_by_content: bool,
}

impl RecordedSteps {
    fn new(journal: &StepLog) -> Self {
        RecordedSteps {
            journal: journal.clone(),
            destination: RecordedDestination(journal.clone()),
            plans_by_content: false,
        }
    }
}

impl RestoreSteps for RecordedSteps {
    fn find_obstacles(&mut self) -> Result<()> {
        self.journal.add("obstacles");
        Ok(())
    }

    fn plans_by_content(&self) -> bool {
        self.plans_by_content
    }

    fn plan(&mut self) -> Result<RestorePlan> {
        self.journal.add("plan");
        let mut plan = RestorePlan {
            target: "there".to_owned(),
            question: Some(Question::Replace("there".to_owned())),
            ..RestorePlan::default()
        };
        plan.add_line("restoring it");
        Ok(plan)
    }

    fn rehearse(&mut self) -> Result<Option<Hint>> {
        self.journal.add("rehearse");
        Ok(None)
    }

    fn prepare(&mut self) -> Result<Safety> {
        self.journal.add("prepare");
        Ok(Safety::Aside)
    }

    fn lock(&mut self, _: &Safety) -> Result<Option<Lock>> {
        self.journal.add("lock");
        Ok(None)
    }

    fn destination(&mut self) -> Result<&mut dyn Destination> {
        Ok(&mut self.destination)
    }

    fn conclude(&mut self, _: &Published, _: Option<KeptContent>) -> Result<RestoredBackup> {
        self.journal.add("conclude");
        Ok(RestoredBackup {
            id: String::new(),
            target: String::new(),
            undo: None,
            kept: None,
            how: None,
        })
    }
}

struct RecordedDestination(StepLog);

impl Destination for RecordedDestination {
    fn receive(&mut self, content: &mut dyn Read) -> Result<()> {
        self.0.add("receive");
        std::io::copy(content, &mut std::io::sink())?;
        Ok(())
    }

    fn check(&mut self, _: Option<&Manifest>, _: Depth) -> Result<Vec<Check>> {
        self.0.add("check");
        Ok(Vec::new())
    }

    fn publish(&mut self, keep: Keep<'_>) -> Result<Published> {
        assert!(matches!(keep, Keep::Aside));
        self.0.add("publish");
        Ok(Published::default())
    }
}

/// Drives recorded steps for the newest backup of `app`.
fn drive_recorded(
    fixture: &Fixture,
    steps: &mut RecordedSteps,
    request: &RestoreRequest,
    answer: Result<()>,
) -> Result<RestoreOutcome> {
    let found = find::find_backup("app", &fixture.session).unwrap();
    let context = RestoreContext {
        found: &found,
        wanted: "app",
        request,
        roles_to_come: &[],
        session: &fixture.session,
        create_safety_backup: &|_, _| panic!("the old content is set aside"),
        observer: &fixture.recorder,
    };
    let journal = steps.journal.clone();
    let answer = RefCell::new(Some(answer));
    let confirm = |question: &Question| {
        assert_eq!(*question, Question::Replace("there".to_owned()));
        journal.add("confirm");
        answer.take().unwrap()
    };
    drive(steps, context, &confirm)
}

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture.backup("app", 1, 100);
    fixture
}

#[test]
fn nothing_is_published_before_all_the_rest() {
    let (fixture, journal) = (fixture(), StepLog::default());
    let mut steps = RecordedSteps::new(&journal);
    let request = RestoreRequest::default();
    let outcome = drive_recorded(&fixture, &mut steps, &request, Ok(())).unwrap();
    assert!(matches!(outcome, RestoreOutcome::Restored(_)));
    assert_eq!(
        journal.taken(),
        [
            "obstacles",
            "plan",
            "confirm",
            "prepare",
            "lock",
            "receive",
            "check",
            "publish",
            "conclude"
        ]
    );
    assert!(fixture.recorder.has_heard("BackupRestored"));
}

#[test]
fn a_plan_that_needs_the_content_comes_after_it() {
    let (fixture, journal) = (fixture(), StepLog::default());
    let mut steps = RecordedSteps {
        plans_by_content: true,
        ..RecordedSteps::new(&journal)
    };
    let request = RestoreRequest::default();
    drive_recorded(&fixture, &mut steps, &request, Ok(())).unwrap();
    assert_eq!(
        journal.taken(),
        [
            "obstacles",
            "receive",
            "check",
            "plan",
            "confirm",
            "prepare",
            "lock",
            "publish",
            "conclude"
        ]
    );
}

#[test]
fn a_dry_run_ends_with_the_plan() {
    let (fixture, journal) = (fixture(), StepLog::default());
    let mut steps = RecordedSteps::new(&journal);
    let request = RestoreRequest {
        dry_run: true,
        ..RestoreRequest::default()
    };
    let outcome = drive_recorded(&fixture, &mut steps, &request, Ok(())).unwrap();
    let RestoreOutcome::Planned(planned) = outcome else {
        panic!("it was restored")
    };
    assert_eq!(planned.target, "there");
    assert_eq!(journal.taken(), ["obstacles", "plan", "rehearse"]);
    assert!(fixture.recorder.has_heard("Answer(\"restoring it\")"));
}

#[test]
fn a_no_leaves_everything_as_it_is() {
    let (fixture, journal) = (fixture(), StepLog::default());
    let mut steps = RecordedSteps::new(&journal);
    let no = Err(Error::usage("no"));
    let request = RestoreRequest::default();
    assert!(drive_recorded(&fixture, &mut steps, &request, no).is_err());
    assert_eq!(journal.taken(), ["obstacles", "plan", "confirm"]);
}

#[test]
fn damage_goes_nowhere() {
    let (fixture, journal) = (fixture(), StepLog::default());
    let id = &fixture.ids()[0];
    std::fs::write(fixture.path("app", &format!("{id}.sqlite3")), "900 rows").unwrap();
    let mut steps = RecordedSteps::new(&journal);
    let request = RestoreRequest::default();
    let error = drive_recorded(&fixture, &mut steps, &request, Ok(()))
        .err()
        .unwrap();
    assert_eq!(error.kind(), Kind::Damaged);
    assert!(
        error
            .hint()
            .unwrap()
            .to_string()
            .starts_with("nothing was touched")
    );
    // What is not what was written is not even looked at.
    assert_eq!(
        journal.taken(),
        ["obstacles", "plan", "confirm", "prepare", "lock", "receive"]
    );
}
