//! The mounted file systems, as this process sees them; see proc_pid_mountinfo(5).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A mounted file system.
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The options of the file system itself, not of this mount of it.
    pub options: String,
}

/// Every mount, in the order in which they cover each other; none where the system has no such
/// list.
pub fn mounts() -> Vec<Mount> {
    let bytes = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .collect()
}

/// Reads one line of the list.
fn parse(line: &[u8]) -> Option<Mount> {
    let at = line.windows(3).position(|part| part == b" - ")?;
    let point = unescape(line[..at].split(|byte| *byte == b' ').nth(4)?);
    let options = String::from_utf8_lossy(line.rsplit(|byte| *byte == b' ').next()?).into_owned();
    Some(Mount {
        point: PathBuf::from(OsString::from_vec(point)),
        options,
    })
}

/// Spaces, tabs, line breaks and backslashes are written as three octal digits: `\040`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 4).filter(|_| text[at] == b'\\');
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(value.unwrap_or(text[at]));
        at += if value.is_some() { 4 } else { 1 };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_writes_names_with_octal_digits() {
        assert_eq!(unescape(br"/a\040b\134c\011"), b"/a b\\c\t");
        assert_eq!(unescape(br"/plain\9"), br"/plain\9");
    }

    #[test]
    fn lines_of_the_kernel_are_understood() {
        let line =
            b"36 35 98:0 /mnt1 /srv/my\\040disk rw,noatime shared:1 - ext3 /dev/root rw,errors=x";
        let mount = parse(line).unwrap();
        assert_eq!(mount.point, PathBuf::from("/srv/my disk"));
        assert_eq!(mount.options, "rw,errors=x");
        assert!(parse(b"").is_none());
        // In a change of root there may be none at `/`.
        assert!(cfg!(not(target_os = "linux")) || !mounts().is_empty());
    }
}
