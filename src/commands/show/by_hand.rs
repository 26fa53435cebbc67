//! How a delta is recovered with other programs alone: a line for a shell.

use crate::ops::content::BackupWay;
use crate::sidecar::Dump;
use crate::units::shell_word;
use std::path::Path;

/// The command line that writes the content of a delta, whose dump is at `path`, to stdout.
pub fn recovery_command(dump: &Dump, path: &Path, way: &BackupWay) -> String {
    let mut content = None;
    for base in way.bases().iter().rev() {
        let path = way.path(base);
        content = Some(with_base(&base.dump, &path, content.as_deref()));
    }
    with_base(dump, path, content.as_deref())
}

/// The content of a dump; that of its base, if it has one, comes from a command of its own.
fn with_base(dump: &Dump, path: &Path, base: Option<&str>) -> String {
    let unpacked = unpack(dump, path);
    match base {
        None => unpacked,
        Some(base) => format!("xdelta3 -d -c -s <({base}) <({unpacked})"),
    }
}

/// The dump, decrypted and decompressed.
fn unpack(dump: &Dump, path: &Path) -> String {
    let path = shell_word(&path.to_string_lossy());
    let program = match dump.compression.as_str() {
        "gzip" => "gunzip -c",
        "zstd" => "zstd -dc",
        _ => "cat",
    };
    match dump.encryption {
        None => format!("{program} {path}"),
        Some(_) => format!("age -d -i KEY {path} | {program}"),
    }
}
