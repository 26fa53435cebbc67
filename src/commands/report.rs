//! `dbbackup report`: how all sources and stores stand, as a page of HTML or as a document.

use crate::cli::ReportArguments;
use crate::error::{Error, Kind, Result};
use crate::ops::Session;
use crate::ops::overview::{
    OverviewRequest, check_page, overview_without_store, read_overview, write_page,
};
use crate::overview::Overview;
use crate::plan;
use crate::report::{CommandOutcome, Report};
use std::path::PathBuf;

pub fn run(
    arguments: &ReportArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let path = page_path(arguments, session, report);
    if path.is_none() && !report.is_json() {
        return Err(
            Error::usage("it is not said where the page goes").with_hint(
                "name the file: `--html FILE`, or `html` in [report] of the configuration",
            ),
        );
    }
    if let Some(path) = &path {
        // Before the stores are asked.
        check_page(path)?;
    }
    let request = OverviewRequest {
        all_stores: arguments.all_stores,
        asks_copy_stores: true,
        run: None,
    };
    let read = read_overview(request, session);
    let overview = match &read {
        Ok(overview) => overview,
        Err(error) if matches!(error.kind(), Kind::Usage | Kind::Interrupted) => {
            return read.map(|_| None);
        }
        // Else a page of yesterday would go on saying that all is well.
        Err(error) => &overview_without_store(error, None, session),
    };
    set_document(overview, report);
    if let Some(path) = &path {
        write_page(path, overview)?;
        report.line(format!("wrote {}", path.display()));
    }
    read.map(|_| None)
}

/// The file that is named, else that of the configuration. With `--json` alone none is written.
fn page_path(arguments: &ReportArguments, session: &Session, report: &Report) -> Option<PathBuf> {
    if let Some(path) = &arguments.html {
        return Some(plan::absolute(&session.cwd, path));
    }
    let config = session.config.as_ref().filter(|_| !report.is_json());
    config?.report.html.clone()
}

fn set_document(overview: &Overview, report: &mut Report) {
    if !report.is_json() {
        return;
    }
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(overview) else {
        return;
    };
    for (name, value) in fields {
        report.set(&name, value);
    }
}
