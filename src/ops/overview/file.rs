//! The page as a file: written in one step, for whoever may read it, and never over what is no page
//! of ours. After a run it is written whatever became of that.

use super::{OverviewRequest, overview_without_store, read_overview};
use crate::durable;
use crate::engine::whole_second;
use crate::error::{Context, Error, Kind, Result};
use crate::failpoint::present;
use crate::ops::run::{RunListener, RunSummary};
use crate::ops::{Observer, Session};
use crate::overview::{Overview, PAGE_MARK, render_page};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// A web server runs as another user. A file that is there keeps its mode, where that is narrower.
const MODE: u32 = 0o644;

/// Bytes at a page's beginning in which its mark stands.
const BEGINNING: u64 = 1024;

/// Writes the page to a file, in one step.
pub fn write_page(path: &Path, overview: &Overview) -> Result<()> {
    let mode = check_page(path)?;
    durable::replace_for_others(path, render_page(overview)?.as_bytes(), mode)
}

/// Checks that a file is a page of ours, empty, or not there; gives the mode of the one that takes
/// its place. A name that was mistyped must not cost a file.
pub fn check_page(path: &Path) -> Result<u32> {
    let shown = path.display();
    // A FIFO must not be waited for, and a link may lead anywhere.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(MODE),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(Error::failed(format!("`{shown}` is a link"))
                .with_hint("name the file that it leads to"));
        }
        Err(error) => return Err(error).with_context(|| format!("reading `{shown}`")),
    };
    let looking = || format!("looking at `{shown}`");
    let found = file.metadata().with_context(looking)?;
    let mut beginning = Vec::new();
    if found.is_file() {
        let mut start = file.take(BEGINNING);
        start.read_to_end(&mut beginning).with_context(looking)?;
    }
    let mark = PAGE_MARK.as_bytes();
    let is_page = beginning.windows(mark.len()).any(|part| part == mark);
    if !found.is_file() || !is_page && found.len() > 0 {
        return Err(
            Error::failed(format!("`{shown}` is there, and is no page of dbbackup's"))
                .with_hint("name another file, or remove it"),
        );
    }
    Ok(found.permissions().mode() & MODE)
}

/// Writes the page when a run has ended, where `[report]` names a file.
pub struct PageFile<'a> {
    session: &'a Session,
    observer: &'a dyn Observer,
}

impl<'a> PageFile<'a> {
    /// The page of the session's configuration.
    pub fn new(session: &'a Session, observer: &'a dyn Observer) -> Self {
        PageFile { session, observer }
    }

    /// How everything stands after the run, of a store that perhaps can't be read; an error where a
    /// signal keeps it from being found out.
    fn overview(&self, run: &RunSummary) -> Result<Overview> {
        // The run took its time: what it created is not of the future.
        let session = self.session.at(whole_second(present()));
        let request = OverviewRequest {
            run: Some(run),
            // The run has just been at the other stores, and what it found is noted.
            ..OverviewRequest::default()
        };
        read_overview(request, &session).or_else(|error| {
            if error.kind() == Kind::Interrupted {
                return Err(error);
            }
            self.observer.detail(format!(
                "the page says only what the run came to, as the store can't be read: {error}"
            ));
            Ok(overview_without_store(&error, Some(run), &session))
        })
    }
}

impl RunListener for PageFile<'_> {
    fn run_ended(&self, summary: &RunSummary) -> Result<()> {
        let Some(config) = &self.session.config else {
            return Ok(());
        };
        let Some(path) = &config.report.html else {
            return Ok(());
        };
        let own = config.store.as_ref();
        let store = self.session.store_plan().ok();
        let is_another = own
            .zip(store)
            .is_some_and(|(own, store)| own.location != *store.location());
        if is_another {
            // One page, one store: that of another one would take its place.
            self.observer.detail(format!(
                "`{}` is about the store in [store], so it was left as it is",
                path.display()
            ));
            return Ok(());
        }
        self.overview(summary)
            .and_then(|overview| write_page(path, &overview))
            .context("the page was not written")
    }
}
