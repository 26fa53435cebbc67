//! How the events of an operation are shown.

use super::{Paint, Report};
use crate::catalog::Backup;
use crate::engine::CheckStatus;
use crate::ops::content::describe_contents;
use crate::ops::run::error_of_source;
use crate::ops::{Event, Observer};
use crate::pipeline::Progress;
use crate::sidecar::Status;
use crate::units;
use std::any::Any;

impl Observer for Report {
    fn observe(&self, event: Event<'_>) {
        match event {
            Event::Note(text) => self.note(text),
            Event::Step(text) => self.story(text),
            Event::Detail(text) => self.detail(text),
            Event::Line(text) => self.line(text),
            Event::Warning(text) => self.warn(text),
            Event::Failure(error) => self.error(error),
            Event::Answer(text) => self.answer(text),
            Event::BackupRestored { id, target, how } => {
                let ok = self.paint(Paint::Good, "ok");
                self.line(format!("{ok} {id} restored to {target}: {how}"));
            }
            Event::BackupVerified(verification) => self.show_verification(verification),
            Event::BackupCreated(backup) => self.line(created_line(backup, self)),
            Event::SourceSkipped { source, reason } => {
                self.note(format!("{source}: skipped, {reason}"))
            }
            Event::SourceFailed { source, error } => self.error(&error_of_source(source, error)),
        }
    }

    fn follow(&self, title: &str, total: u64, progress: &Progress) -> Box<dyn Any> {
        Box::new(self.bar(title, total, progress))
    }
}

/// The line of a new backup: its sizes, how long it took, what is inside, and how it was verified.
fn created_line(backup: &Backup, report: &Report) -> String {
    let sidecar = &backup.sidecar;
    let word = match sidecar.status {
        Status::Partial => report.paint(Paint::Warning, "partial"),
        Status::Ok | Status::Failed => report.paint(Paint::Good, "ok"),
    };
    let sizes = sidecar.dump.as_ref().map(|dump| {
        let base = dump.base.as_ref();
        format!(
            "{}{} from {}",
            base.map_or_else(String::new, |base| format!("delta of {}, ", base.id)),
            units::size(dump.size_bytes),
            units::size(dump.content_size_bytes)
        )
    });
    // Roles have no rows.
    let manifest = sidecar.manifest.as_ref();
    let inside = manifest
        .filter(|manifest| !manifest.tables.is_empty() || manifest.tree.is_some())
        .map_or(String::new(), |manifest| {
            format!(", {}", describe_contents(manifest))
        });
    let verified = sidecar
        .verifications
        .last()
        .map_or(String::new(), |seen| match seen.status {
            CheckStatus::Ok => format!(", {} verified", seen.level.as_str()),
            other => format!(", {} {}", seen.level.as_str(), other.as_str()),
        });
    format!(
        "{word} {}: {} in {}{inside}{verified}",
        sidecar.id,
        sizes.unwrap_or_default(),
        units::elapsed(sidecar.duration_seconds),
    )
}
