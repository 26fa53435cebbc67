//! Results of verifications, and what is kept of them.

use super::*;
use crate::ops::tests::Fixture;

fn verify(fixture: &Fixture, backups: &[&str]) -> Result<Vec<BackupVerification>> {
    let request = VerifyRequest {
        backups: backups.iter().map(|&name| name.to_owned()).collect(),
        all: false,
        level: Level::Checksum,
    };
    verify_backups(&request, &fixture.session, &fixture.recorder)
}

#[test]
fn a_good_result_is_kept_with_the_backup() {
    let fixture = Fixture::new();
    let id = fixture.backup("app", 1, 100);
    let results = verify(&fixture, &["app"]).unwrap();
    let [result] = &results[..] else {
        panic!("{results:?}")
    };
    assert_eq!((&result.id, result.source.as_deref()), (&id, Some("app")));
    assert_eq!(result.result.status(), CheckStatus::Ok);
    assert!(result.failure().is_none());
    let catalog = fixture.catalog();
    let kept: Vec<CheckStatus> = (catalog.backups().next().unwrap().verifications())
        .map(|verification| verification.status)
        .collect();
    assert_eq!(kept, [CheckStatus::Ok]);
    assert!(fixture.recorder.has_heard("BackupVerified"));
}

#[test]
fn the_newest_is_examined_though_it_is_damaged() {
    let fixture = Fixture::new();
    fixture.backup("app", 2, 100);
    let id = fixture.backup("app", 1, 100);
    std::fs::write(fixture.path("app", &format!("{id}.sqlite3")), "900 rows").unwrap();
    let results = verify(&fixture, &[]).unwrap();
    assert_eq!(results[0].id, id);
    assert_eq!(results[0].result.status(), CheckStatus::Damaged);
    let failure = results[0].failure().unwrap();
    assert_eq!(failure.kind(), Kind::Damaged);
    // What people read has no hashes.
    assert!(failure.message().contains("(SHA-256 differs)"), "{failure}");
    assert!(!fixture.catalog().backups().next().unwrap().good());
}

#[test]
fn what_has_no_backup_is_not_proven() {
    let fixture = Fixture::new();
    fixture.failed_attempt("app", 1);
    fixture.backup("shop", 1, 100);
    let results = verify(&fixture, &["app", "shop"]).unwrap();
    let app = results.iter().find(|result| result.id == "app").unwrap();
    assert!(matches!(app.absence, Some(Absence::NoBackup)));
    assert_eq!(app.failure().unwrap().kind(), Kind::Failed);
    let results = verify(&fixture, &["shop", "nothing"]).unwrap();
    assert!(matches!(results[1].absence, Some(Absence::NotFound(_))));
    let error = verify(&fixture, &["nothing"]).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}
