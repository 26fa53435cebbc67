//! `dbbackup -V`: the version; with `-v` what is built in.

use crate::engine::sqlite;
use crate::error::Result;
use crate::report::{Outcome, Report};

pub fn run(verbose: u8, report: &mut Report) -> Result<Outcome> {
    let streaming = sqlite::page_streaming();
    report.set("version", env!("CARGO_PKG_VERSION"));
    report.set("sqlite", sqlite::version());
    report.set("page_streaming", streaming);
    report.answer(format!("dbbackup {}", env!("CARGO_PKG_VERSION")));
    if verbose > 0 {
        report.answer(format!("sqlite: {}", sqlite::version()));
        report.answer(format!(
            "page streaming: {}",
            if streaming { "yes" } else { "no (build in a clone of the repository to have it)" }
        ));
        report.answer(format!("system: {} {}", std::env::consts::OS, std::env::consts::ARCH));
    }
    Ok(None)
}
