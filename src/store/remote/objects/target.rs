//! What messages need to know of the place that requests go to.

use crate::store::location::ObjectService;

/// The place that requests go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTarget {
    /// The protocol.
    pub service: ObjectService,
    /// The bucket's or container's name.
    pub bucket: String,
    /// The host that is asked, with its port where it has one of its own.
    pub host: String,
    /// The store's address, as a user writes it.
    pub shown: String,
}
