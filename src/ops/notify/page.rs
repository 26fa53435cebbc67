//! The page that goes with a mail: how everything stands at the moment at which people are told.

use crate::error::{Error, Kind, Result};
use crate::notify::ReportPage;
use crate::ops::Session;
use crate::ops::overview::{OverviewRequest, overview_without_store, read_overview};
use crate::ops::run::RunSummary;
use crate::ops::secrets::clean;
use crate::overview::{Overview, render_page};

/// What a page is made of.
#[derive(Clone, Copy, Default)]
pub struct PageOccasion<'a> {
    /// The run that has ended.
    pub run: Option<&'a RunSummary>,
    /// Why the store can't be read, where that is known: it is not asked again.
    pub unreadable: Option<&'a Error>,
}

/// Makes the page. What keeps it from being made is said in its place: who is told that something
/// failed must not go untold because a page failed, too.
pub fn make_page(occasion: PageOccasion<'_>, session: &Session) -> ReportPage {
    let made = overview_of(occasion, session).and_then(|overview| render_page(&overview));
    match made {
        Ok(html) => ReportPage::new(html),
        Err(error) => ReportPage::Missing(clean(&error.to_string())),
    }
}

/// How everything stands, of a store that perhaps can't be read; an error where a signal keeps it
/// from being found out.
fn overview_of(occasion: PageOccasion<'_>, session: &Session) -> Result<Overview> {
    let request = OverviewRequest {
        run: occasion.run,
        // Asking other stores would make a message wait for them.
        ..OverviewRequest::default()
    };
    let without_store = |error: &Error| overview_without_store(error, occasion.run, session);
    match occasion.unreadable {
        Some(error) if error.kind() == Kind::Interrupted => Err(Error::interrupted()),
        Some(error) => Ok(without_store(error)),
        None => read_overview(request, session).or_else(|error| match error.kind() {
            Kind::Interrupted => Err(error),
            _ => Ok(without_store(&error)),
        }),
    }
}
