//! Names for files that hold tables: a table may have any name, a file should not.

use std::collections::HashSet;

/// A file's name may have 255 bytes on most systems.
const LONGEST: usize = 200;

/// Gives out file names, each once.
#[derive(Debug)]
pub struct FileNames {
    extension: &'static str,
    /// The names given out, as the file system compares them.
    taken: HashSet<String>,
}

impl FileNames {
    /// Names that end with this extension.
    pub fn new(extension: &'static str) -> Self {
        FileNames {
            extension,
            taken: HashSet::new(),
        }
    }

    /// Returns the name for one more table: `public.orders.csv`, or without a schema `orders.csv`.
    ///
    /// Letters and digits of any script, `_` and `-` stay; other bytes, and a dot within a name,
    /// become `%2E`. A name that is too long is cut and gets a number made from the whole. On
    /// macOS, whose file systems take `A.csv` and `a.csv` for the same, the second one gets `~2`.
    pub fn next(&mut self, schema: &str, table: &str) -> String {
        let whole = if schema.is_empty() {
            escape(table)
        } else {
            format!("{}.{}", escape(schema), escape(table))
        };
        let plain = if whole.len() > LONGEST {
            let cut = (0..=LONGEST)
                .rev()
                .find(|at| whole.is_char_boundary(*at))
                .unwrap_or(0);
            format!(
                "{}~{:08x}",
                &whole[..cut],
                crc32fast::hash(whole.as_bytes())
            )
        } else {
            whole
        };
        let mut name = plain.clone();
        let mut number = 2;
        while !self.taken.insert(comparable(&name)) {
            name = format!("{plain}~{number}");
            number += 1;
        }
        format!("{name}.{}", self.extension)
    }
}

fn comparable(name: &str) -> String {
    if cfg!(target_os = "macos") {
        name.to_lowercase()
    } else {
        name.to_owned()
    }
}

fn escape(part: &str) -> String {
    let mut name = String::new();
    for (at, letter) in part.char_indices() {
        if letter.is_alphanumeric() || letter == '_' || letter == '-' && at > 0 {
            name.push(letter);
        } else {
            let mut bytes = [0; 4];
            letter
                .encode_utf8(&mut bytes)
                .bytes()
                .for_each(|byte| name.push_str(&format!("%{byte:02X}")));
        }
    }
    // An empty name would leave the extension alone.
    if name.is_empty() {
        "%".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_tell_the_table() {
        let mut names = FileNames::new("csv");
        assert_eq!(names.next("public", "orders"), "public.orders.csv");
        assert_eq!(names.next("", "orders"), "orders.csv");
        assert_eq!(
            names.next("", "Orders"),
            if cfg!(target_os = "macos") {
                "Orders~2.csv"
            } else {
                "Orders.csv"
            }
        );
        assert_eq!(names.next("my schema", "Größe"), "my%20schema.Größe.csv");
        assert_eq!(names.next("a.b", "c"), "a%2Eb.c.csv");
        assert_eq!(names.next("a", "b.c"), "a.b%2Ec.csv");
        assert_eq!(
            names.next("", "../../etc/passwd"),
            "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd.csv"
        );
        assert_eq!(names.next("", "-rf"), "%2Drf.csv");
        assert_eq!(names.next("", ""), "%.csv");
        assert_eq!(names.next("", "50%\n"), "50%25%0A.csv");
    }

    #[test]
    fn long_names_stay_apart() {
        let mut names = FileNames::new("json");
        let (one, two) = (
            names.next("", &"é".repeat(300)),
            names.next("", &"é".repeat(301)),
        );
        assert!(
            one != two && one.len() < 255 && two.len() < 255,
            "{one} {two}"
        );
    }
}
