//! POSIX access control lists: the kernel's bytes, and the text that archives hold.
//!
//! The bytes are those of `linux/posix_acl_xattr.h`: a version, then tag, permissions and id of
//! each entry, little-endian. The text is that of acl_to_text(3), with numbers for users and
//! groups.

const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;

/// Tag in the kernel's bytes, and the word.
const TAGS: [(u16, &str); 6] = [
    (0x01, "user"),
    (0x02, "user"),
    (0x04, "group"),
    (0x08, "group"),
    (0x10, "mask"),
    (0x20, "other"),
];

/// Tags whose entries name somebody.
fn names_somebody(tag: u16) -> bool {
    tag == 0x02 || tag == 0x08
}

/// The text of the kernel's bytes; `None` where they are none.
pub fn to_text(bytes: &[u8]) -> Option<String> {
    let (version, entries) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || entries.len() % 8 != 0 {
        return None;
    }
    let lines: Option<Vec<String>> = entries.chunks_exact(8).map(entry_text).collect();
    Some(lines?.join(","))
}

fn entry_text(entry: &[u8]) -> Option<String> {
    let number = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
    let (tag, rights) = (number(0), number(2));
    let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
    let word = TAGS.iter().find(|(known, _)| *known == tag)?.1;
    let who = if names_somebody(tag) {
        id.to_string()
    } else {
        String::new()
    };
    let right = |bit: u16, letter: char| if rights & bit != 0 { letter } else { '-' };
    Some(format!(
        "{word}:{who}:{}{}{}",
        right(4, 'r'),
        right(2, 'w'),
        right(1, 'x')
    ))
}

/// The kernel's bytes of a text, long or short, names or numbers; `None` where it is none. `ids`
/// looks a user's or a group's name up.
pub fn to_bytes(text: &str, ids: &dyn Fn(bool, &str) -> Option<u32>) -> Option<Vec<u8>> {
    let mut entries: Vec<(u16, u32, u16)> = Vec::new();
    let lines = text
        .split(['\n', ','])
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    for line in lines.filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split(':').collect();
        // star writes the number after the rights, as in `user:joe:rwx:1000`.
        let (&[word, who, rights], number) = (fields.get(..3)?, fields.get(3)) else {
            return None;
        };
        let tag = match (word, who.is_empty()) {
            ("user" | "u", true) => 0x01,
            ("user" | "u", false) => 0x02,
            ("group" | "g", true) => 0x04,
            ("group" | "g", false) => 0x08,
            ("mask" | "m", _) => 0x10,
            ("other" | "o", _) => 0x20,
            _ => return None,
        };
        let id = match names_somebody(tag) {
            true => who
                .parse()
                .ok()
                .or_else(|| ids(tag == 0x02, who))
                .or_else(|| number?.parse().ok())?,
            false => NO_ID,
        };
        let bit = |letter: char, bit: u16| if rights.contains(letter) { bit } else { 0 };
        entries.push((tag, id, bit('r', 4) | bit('w', 2) | bit('x', 1)));
    }
    // The kernel wants them in this order.
    entries.sort_unstable();
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, id, rights) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&rights.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let text = "user::rw-,user:1000:r-x,group::r--,group:33:rwx,mask::rwx,other::---";
        let bytes = to_bytes(text, &|_, _| None).unwrap();
        assert_eq!(bytes.len(), 4 + 6 * 8);
        assert_eq!(to_text(&bytes).unwrap(), text);
        let long = "user::rw-\nuser:joe:r-x\t#effective:r--\ngroup::r--\ngroup:www-data:rwx\nmask::rwx\nother::---\n";
        let ids = |user: bool, name: &str| match (user, name) {
            (true, "joe") => Some(1000),
            (false, "www-data") => Some(33),
            _ => None,
        };
        assert_eq!(to_bytes(long, &ids).unwrap(), bytes);
        assert_eq!(
            to_bytes("user:joe:r-x:1000", &|_, _| None).unwrap()[4..],
            [2, 0, 5, 0, 0xe8, 3, 0, 0]
        );
    }

    #[test]
    fn nonsense_is_none() {
        for text in ["user", "nobody::rwx", "user:joe:rwx"] {
            assert_eq!(to_bytes(text, &|_, _| None), None, "{text}");
        }
        assert_eq!(to_text(&[1, 0, 0, 0]), None);
        assert_eq!(to_text(&[2, 0, 0, 0, 1]), None);
    }
}
