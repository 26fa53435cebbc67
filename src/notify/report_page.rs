//! The page of `dbbackup report`, as it goes with a mail. It waits nowhere: a message that could
//! not be delivered goes later without it, so that what waits stays small, and a page that no
//! server takes keeps nobody from being told.

use crate::units;

/// The name of the attachment.
pub const REPORT_FILE: &str = "report.html";

/// The longest page that goes with a mail: many servers take 10 MiB, of which an attachment's
/// encoding is a quarter.
const LONGEST_PAGE: usize = 5 * 1024 * 1024;

/// The page, or why there is none.
#[derive(Debug)]
pub enum ReportPage {
    /// The page, as HTML.
    Made(String),
    /// Why it does not go with the mail, in one line for people.
    Missing(String),
}

impl ReportPage {
    /// The page, where a mail can take it.
    pub fn new(html: String) -> ReportPage {
        if html.len() <= LONGEST_PAGE {
            return ReportPage::Made(html);
        }
        let (size, limit) = (
            units::size(html.len() as u64),
            units::size(LONGEST_PAGE as u64),
        );
        ReportPage::Missing(format!("it has {size}, and a mail takes {limit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_no_server_takes_stays_here() {
        let page = ReportPage::new("x".repeat(LONGEST_PAGE));
        assert!(matches!(page, ReportPage::Made(_)));
        let ReportPage::Missing(why) = ReportPage::new("x".repeat(2 * LONGEST_PAGE)) else {
            panic!("it was taken");
        };
        assert_eq!(why, "it has 10.0 MiB, and a mail takes 5.0 MiB");
    }
}
