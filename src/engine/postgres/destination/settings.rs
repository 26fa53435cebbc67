//! Applies a database's own settings to the new database.

use crate::engine::Settings;
use crate::engine::postgres::explain_error;
use crate::engine::postgres::names::{quote_ident, quote_literal};
use postgres::Client;

/// Applies the database's own settings to the new database. A setting that this role may not apply
/// becomes a warning. The comment, which marks the database if this run is killed, stays until the
/// swap.
pub(super) fn apply_settings(client: &mut Client, name: &str, settings: &Settings) -> Vec<String> {
    let database = quote_ident(name);
    let mut statements = Vec::new();
    for set in &settings.set {
        let whom = match &set.role {
            Some(role) => format!("ROLE {} IN DATABASE {database}", quote_ident(role)),
            None => format!("DATABASE {database}"),
        };
        let (setting, value) = (
            quote_setting(&set.name),
            setting_value(&set.name, &set.value),
        );
        statements.push((
            format!("ALTER {whom} SET {setting} TO {value}"),
            format!("`{}`", set.name),
        ));
    }
    for label in &settings.security_labels {
        let (provider, text) = (quote_ident(&label.provider), quote_literal(&label.label));
        statements.push((
            format!("SECURITY LABEL FOR {provider} ON DATABASE {database} IS {text}"),
            "a security label".to_owned(),
        ));
    }
    let mut warnings = Vec::new();
    for (statement, what) in statements {
        if let Err(error) = client.batch_execute(&statement) {
            let doing = format!("{what} could not be given to the new database");
            warnings.push(explain_error(&error, doing).message());
        }
    }
    warnings
}

/// The parts of a custom parameter's name are separate identifiers.
fn quote_setting(name: &str) -> String {
    name.split('.')
        .map(quote_ident)
        .collect::<Vec<_>>()
        .join(".")
}

/// Quotes a setting's value: a list is stored with its elements quoted where needed, any other
/// value is one literal.
fn setting_value(name: &str, value: &str) -> String {
    const LISTS: [&str; 7] = [
        "search_path",
        "temp_tablespaces",
        "session_preload_libraries",
        "local_preload_libraries",
        "shared_preload_libraries",
        "DateStyle",
        "unix_socket_directories",
    ];
    let list = LISTS.iter().any(|list| list.eq_ignore_ascii_case(name)) && !value.is_empty();
    if list {
        split_list(value)
            .iter()
            .map(|element| quote_literal(element))
            .collect::<Vec<_>>()
            .join(", ")
    } else {
        quote_literal(value)
    }
}

/// Splits `"$user", public` into its elements.
fn split_list(list: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut quoted = false;
    let mut letters = list.chars().peekable();
    while let Some(letter) = letters.next() {
        let last = found.len() - 1;
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                found[last].push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => found.push(String::new()),
            ' ' | '\t' if !quoted => {}
            _ => found[last].push(letter),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_elements() {
        assert_eq!(
            setting_value("search_path", r#""$user", public, "a ""b"", c""#),
            r#"'$user', 'public', 'a "b", c'"#
        );
        assert_eq!(setting_value("search_path", r#""""#), "''");
        assert_eq!(setting_value("work_mem", "64MB"), "'64MB'");
        assert_eq!(quote_setting("my.thing"), "my.thing");
    }
}
