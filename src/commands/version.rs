//! `dbbackup -V`: the version; with `-v` what is built in, and what was found.

use crate::engine::postgres::ProgramSearch;
use crate::engine::sqlite;
use crate::error::Result;
use crate::report::{CommandOutcome, Report};

pub fn run(verbose: u8, report: &mut Report) -> Result<CommandOutcome> {
    let streaming = sqlite::page_streaming();
    report.set("version", env!("CARGO_PKG_VERSION"));
    report.set("sqlite", sqlite::version());
    report.set("page_streaming", streaming);
    report.answer(format!("dbbackup {}", env!("CARGO_PKG_VERSION")));
    if verbose > 0 {
        report.answer(format!("sqlite: {}", sqlite::version()));
        report.answer(format!(
            "page streaming: {}",
            if streaming {
                "yes"
            } else {
                "no (build in a clone of the repository to have it)"
            }
        ));
        let found = ProgramSearch::default()
            .find_all("pg_dump")
            .unwrap_or_default();
        let programs: Vec<String> = found
            .iter()
            .map(|one| format!("{} ({})", one.version, one.path().display()))
            .collect();
        report.answer(format!(
            "pg_dump: {}",
            if programs.is_empty() {
                "none found".to_owned()
            } else {
                programs.join(", ")
            }
        ));
        report.answer(format!(
            "system: {} {}",
            std::env::consts::OS,
            std::env::consts::ARCH
        ));
    }
    Ok(None)
}
