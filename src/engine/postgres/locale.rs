//! The encoding and the locale of a database that is created for a restore.

use super::names;
use super::programs::PostgresVersion;
use crate::engine::{Database, Locale};

/// The clauses of `CREATE DATABASE` for a database like this one. Facts that were not recorded are
/// those of a database with UTF-8 and the locale "C".
pub fn database_clauses(like: &Database, version: &PostgresVersion) -> String {
    let encoding = like.encoding.as_deref().unwrap_or("UTF8");
    match &like.locale {
        Some(locale) => locale_clauses(encoding, locale, version),
        None => {
            let locale = Locale {
                provider: "c".into(),
                collate: "C".into(),
                ctype: "C".into(),
                ..Locale::default()
            };
            locale_clauses(encoding, &locale, version)
        }
    }
}

/// The clauses of `CREATE DATABASE` for the encoding and the locale of the database that was
/// dumped, as far as `version` supports them.
pub fn locale_clauses(encoding: &str, locale: &Locale, version: &PostgresVersion) -> String {
    let word = names::quote_literal;
    let mut text = format!(" ENCODING {}", word(encoding));
    let collation = format!(
        " LC_COLLATE {} LC_CTYPE {}",
        word(&locale.collate),
        word(&locale.ctype)
    );
    match (locale.provider.as_str(), &locale.locale) {
        ("i", Some(icu)) if version.major >= 15 => {
            text.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", word(icu)));
            if let Some(rules) = locale.icu_rules.as_ref().filter(|_| version.major >= 16) {
                text.push_str(&format!(" ICU_RULES {}", word(rules)));
            }
        }
        ("b", Some(builtin)) if version.major >= 17 => {
            text.push_str(&format!(
                " LOCALE_PROVIDER builtin BUILTIN_LOCALE {}",
                word(builtin)
            ));
        }
        _ if version.major >= 15 => text.push_str(" LOCALE_PROVIDER libc"),
        _ => {}
    }
    text + &collation
}
