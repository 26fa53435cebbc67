//! `dbbackup delete`: by id only, and not without a yes.

use crate::cli::DeleteArguments;
use crate::error::{Error, Result};
use crate::ops::Session;
use crate::ops::delete::{DeleteRequest, plan_deletion};
use crate::report::{CommandOutcome, Report};
use crate::units;

pub fn run(
    arguments: &DeleteArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let request = DeleteRequest {
        ids: arguments.ids.clone(),
        with_dependents: arguments.with_dependents,
        force: arguments.force,
    };
    let plan = plan_deletion(request, session)?;
    let size = plan.size();
    if !arguments.yes {
        if !report.can_ask() {
            return Err(Error::usage("deleting needs a yes").with_hint("add `--yes`"));
        }
        let count = units::count(plan.count() as u64, "backup");
        if !report.ask(&format!("delete {count}, {}?", units::size(size)))? {
            return Err(Error::usage("nothing was deleted"));
        }
    }
    let deleted = plan.carry_out(session, report)?;
    report.set("deleted", deleted);
    report.set("total_size_freed", size);
    Ok(None)
}
