//! `dbbackup pin` and `unpin`: whether cleanup may ever remove a backup.

use crate::cli::PinArguments;
use crate::error::Result;
use crate::ops::Session;
use crate::ops::pin::{PinRequest, pin_backups};
use crate::report::{CommandOutcome, Report};

pub fn run(
    arguments: &PinArguments,
    pinned: bool,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let request = PinRequest {
        backups: arguments.backups.clone(),
        pinned,
    };
    let ids = pin_backups(&request, session, report)?;
    report.set("ids", ids);
    report.set("pinned", pinned);
    Ok(None)
}
