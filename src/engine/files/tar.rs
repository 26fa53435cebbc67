//! The archive's format: tar as POSIX has it (pax), with what GNU tar adds for sparse files and
//! extended attributes, so that GNU tar, bsdtar and others read it.
//!
//! The `tar` crate gives the header and its fields. Its own reader is not used: it takes a line
//! break in an extended attribute for the end of a record, and does not know files with holes as
//! POSIX archives have them.

mod acl;
mod pax;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::TarReader;
pub use write::{TarWriter, head_size};

/// Headers and contents begin at multiples of this many bytes.
pub const BLOCK: u64 = 512;

/// The prefix of records that hold extended attributes, as GNU tar, bsdtar and star have it.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// ACLs as the kernel calls them, and the records that hold them as text.
const ACLS: [(&[u8], &[u8]); 2] = [
    (b"system.posix_acl_access", b"SCHILY.acl.access"),
    (b"system.posix_acl_default", b"SCHILY.acl.default"),
];

/// Bytes that fill the last block of a content of this length.
pub fn padding(length: u64) -> u64 {
    length.wrapping_neg() % BLOCK
}
