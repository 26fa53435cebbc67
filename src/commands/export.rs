//! `dbbackup export`: tables out of a backup as files, without restoring it.

use crate::cli::ExportArguments;
use crate::error::Result;
use crate::ops::Session;
use crate::ops::export::{ExportRequest, TableExport, export_tables};
use crate::plan;
use crate::report::{CommandOutcome, Paint, Report};
use crate::units;

pub fn run(
    arguments: &ExportArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let request = ExportRequest {
        backup: arguments.backup.clone(),
        tables: arguments.tables.clone(),
        to: plan::absolute(&session.cwd, &arguments.to),
        format: arguments.format,
        overwrite: arguments.overwrite,
    };
    let summary = export_tables(&request, session, report)?;
    summary.tables.iter().for_each(|table| show(table, report));
    let exported: Vec<serde_json::Value> = summary.tables.iter().map(json).collect();
    report.set("id", summary.id);
    report.set("exported", exported);
    Ok(None)
}

fn show(table: &TableExport, report: &Report) {
    let (name, written) = (&table.name, &table.written);
    let replaced = if written.replaced {
        ", replacing what was there"
    } else {
        ""
    };
    report.line(format!(
        "{} {name}: {} in {} ({}){replaced}",
        report.paint(Paint::Good, "ok"),
        units::count(written.rows, "row"),
        written.path.display(),
        units::size(written.size)
    ));
    let values = match written.mended {
        0 => return,
        1 => "1 value is".to_owned(),
        mended => format!("{} values are", units::thousands(mended)),
    };
    report.warn(format!(
        "{name}: {values} no UTF-8, which JSON must be; what is none became U+FFFD"
    ));
}

fn json(table: &TableExport) -> serde_json::Value {
    serde_json::json!({"table": table.name, "file": table.written.path,
        "rows": table.written.rows, "size_bytes": table.written.size})
}
