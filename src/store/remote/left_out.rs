//! What stands for `objects` in a build without the feature `object-stores`: an error that says so.

use super::medium::Medium;
use crate::error::{Error, Result};
use crate::store::ConnectionSettings;
use crate::store::location::ObjectAddress;
use std::sync::Arc;

/// Refuses the store.
pub fn connect(_: &ObjectAddress, _: &ConnectionSettings) -> Result<Arc<dyn Medium>> {
    Err(
        Error::usage("this dbbackup was built without object stores: no s3://, gs:// and az://")
            .with_hint(
                "use a build that has them, or reach the bucket through rclone: \
                 `url = \"rclone:REMOTE:BUCKET\"`",
            ),
    )
}

/// No error is of an object store here.
pub fn lacks_right(_: &Error) -> bool {
    false
}
