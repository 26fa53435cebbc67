//! The names of files that hold tables: a table may be called anything, a file should not be.

use std::collections::HashSet;

/// A file's name may have 255 bytes on most systems.
const LONGEST: usize = 200;

/// Gives out names, each once.
#[derive(Debug)]
pub struct Names {
    extension: &'static str,
    /// As the file system compares them.
    taken: HashSet<String>,
}

impl Names {
    /// For files with this extension.
    pub fn new(extension: &'static str) -> Self {
        Names {
            extension,
            taken: HashSet::new(),
        }
    }

    /// The name for a table: `public.orders.csv`; without a schema `orders.csv`.
    ///
    /// Letters and digits of any script, `_` and `-` stay; other bytes, and a dot within a name,
    /// become `%2E`. A name that is too long is cut and gets a number made from the whole. On
    /// macOS, whose file systems take `A.csv` and `a.csv` for the same, the second one gets `~2`.
    pub fn of(&mut self, schema: &str, table: &str) -> String {
        let whole = if schema.is_empty() {
            safe(table)
        } else {
            format!("{}.{}", safe(schema), safe(table))
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
        while !self.taken.insert(compared(&name)) {
            name = format!("{plain}~{number}");
            number += 1;
        }
        format!("{name}.{}", self.extension)
    }
}

fn compared(name: &str) -> String {
    if cfg!(target_os = "macos") {
        name.to_lowercase()
    } else {
        name.to_owned()
    }
}

fn safe(part: &str) -> String {
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
    // Nothing, as an empty name, would be an extension alone.
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
        let mut names = Names::new("csv");
        assert_eq!(names.of("public", "orders"), "public.orders.csv");
        assert_eq!(names.of("", "orders"), "orders.csv");
        assert_eq!(
            names.of("", "Orders"),
            if cfg!(target_os = "macos") {
                "Orders~2.csv"
            } else {
                "Orders.csv"
            }
        );
        assert_eq!(names.of("my schema", "Größe"), "my%20schema.Größe.csv");
        assert_eq!(names.of("a.b", "c"), "a%2Eb.c.csv");
        assert_eq!(names.of("a", "b.c"), "a.b%2Ec.csv");
        assert_eq!(
            names.of("", "../../etc/passwd"),
            "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd.csv"
        );
        assert_eq!(names.of("", "-rf"), "%2Drf.csv");
        assert_eq!(names.of("", ""), "%.csv");
        assert_eq!(names.of("", "50%\n"), "50%25%0A.csv");
    }

    #[test]
    fn long_names_stay_apart() {
        let mut names = Names::new("json");
        let (one, two) = (
            names.of("", &"é".repeat(300)),
            names.of("", &"é".repeat(301)),
        );
        assert!(
            one != two && one.len() < 255 && two.len() < 255,
            "{one} {two}"
        );
    }
}
