//! The description of what a backup holds: its manifest, the facts of the database, and what is
//! wrong with it. It is made from the snapshot while the content of that is written.

use super::OnDamage;
use crate::engine::sqlite::{Db, damaged_hint, facts, version};
use crate::engine::{Database, Dumped};
use crate::error::{Error, Result};
use crate::units;
use std::collections::BTreeMap;

/// Runs `describe` on another thread while `write` runs on this one.
pub fn describe_during(
    describe: impl FnOnce() -> Result<Dumped> + Send,
    write: impl FnOnce() -> Result<()>,
) -> Result<Dumped> {
    std::thread::scope(|scope| {
        let described = scope.spawn(describe);
        write()?;
        described
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Examines the database and counts its rows, in the transaction that is open.
pub fn describe(db: &Db, mut database: Database, on_damage: OnDamage) -> Result<Dumped> {
    let mut warnings = Vec::new();
    check_for_flaws(db, on_damage, &mut warnings)?;
    let manifest = facts::count_rows(db)?;
    database.foreign_key_violations = facts::count_foreign_key_violations(db, &mut warnings)?;
    if let Some(count @ 1..) = database.foreign_key_violations {
        let rows = units::count(count, "row");
        warnings.push(format!(
            "{rows} in the database violate foreign keys; they are saved as they are"
        ));
    }
    if database.size_bytes == 0 {
        warnings.push("the database is empty (0 bytes)".into());
    }
    let producer = BTreeMap::from([("sqlite".to_owned(), version().to_owned())]);
    Ok(Dumped {
        manifest,
        database,
        producer,
        warnings,
        ..Dumped::default()
    })
}

/// Examines the database itself: a faithful copy of a damaged database proves nothing.
fn check_for_flaws(db: &Db, on_damage: OnDamage, warnings: &mut Vec<String>) -> Result<()> {
    let flaws = facts::find_flaws(db)?;
    if !flaws.damage.is_empty() {
        let text = format!(
            "the database `{}` is damaged: {}",
            db.path().display(),
            facts::first_few(&flaws.damage)
        );
        match on_damage {
            OnDamage::Refuse => {
                return Err(Error::damaged(text).with_hint(damaged_hint(db.path())));
            }
            OnDamage::Warn => warnings.push(format!("{text}; it is kept as it is")),
        }
    }
    if !flaws.values.is_empty() {
        let shown = facts::first_few(&flaws.values);
        warnings.push(format!(
            "values in the database that its schema does not allow are saved as they are: {shown}"
        ));
    }
    Ok(())
}
