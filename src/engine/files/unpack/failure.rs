//! The reasons why a member is not written. A fault of the member leaves it out; one of the machine
//! ends the restore.

use crate::error::Error;
use rustix::io::Errno;

/// The reason why a member was not written.
pub enum UnpackFailure {
    /// The member is at fault: it is left out.
    Refused(String),
    /// The machine is at fault: the restore ends.
    Failed(Error),
}

impl From<Error> for UnpackFailure {
    fn from(error: Error) -> Self {
        UnpackFailure::Failed(error)
    }
}

impl From<std::io::Error> for UnpackFailure {
    fn from(error: std::io::Error) -> Self {
        UnpackFailure::Failed(error.into())
    }
}

impl From<Errno> for UnpackFailure {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NAMETOOLONG => {
                UnpackFailure::Refused("its name is too long for this file system".into())
            }
            Errno::ILSEQ | Errno::INVAL => {
                UnpackFailure::Refused("this file system does not take its name".into())
            }
            other => UnpackFailure::Failed(other.into()),
        }
    }
}
