//! `dbbackup key`: new keys, and the page for the safe.

use crate::cli::{GlobalArguments, KeyInitArguments, KeyProveArguments, KeySheetArguments};
use crate::error::{Context, Kind, Result};
use crate::ops::Session;
use crate::ops::key_files::{KeyInitRequest, KeySheet, NewKeys, compose_sheet, create_keys};
use crate::ops::key_proof::prove_keys;
use crate::plan;
use crate::report::{CommandOutcome, Report};
use serde_json::json;
use std::path::PathBuf;

/// Makes the keys that are asked for.
pub fn init(
    arguments: &KeyInitArguments,
    global: &GlobalArguments,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let cwd = std::env::current_dir().context("finding the current directory")?;
    let place = |path: &PathBuf| plan::absolute(&cwd, path);
    let request = KeyInitRequest {
        dir: arguments.dir.as_ref().map(place),
        identity: global.identity.as_ref().map(place),
        sign_key: arguments.sign_key.as_ref().map(place),
    };
    let keys = create_keys(&request)?;
    show_keys(&keys, report);
    Ok(None)
}

fn show_keys(keys: &NewKeys, report: &mut Report) {
    let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    for (name, value) in [
        ("identity_file", text(&keys.identity_file)),
        ("recipient", keys.recipient.clone()),
        ("sign_key_file", text(&keys.sign_key_file)),
        ("public_key", keys.public_key.clone()),
    ] {
        if let Some(value) = value {
            report.set(name, value);
        }
    }
    if let (Some(file), Some(recipient)) = (&keys.identity_file, &keys.recipient) {
        report.answer(format!("identity:   {}", file.display()));
        report.answer(format!("recipient:  {recipient}"));
    }
    if let (Some(file), Some(key)) = (&keys.sign_key_file, &keys.public_key) {
        report.answer(format!("sign key:   {}", file.display()));
        report.answer(format!("public key: {key}"));
    }
    report.answer("");
    report.answer("In the configuration, below [encryption]:");
    report.answer("");
    if let Some(recipient) = &keys.recipient {
        report.answer(format!("recipients = [\"{recipient}\"]"));
    }
    if let (Some(file), Some(key)) = (&keys.sign_key_file, &keys.public_key) {
        report.answer(format!("sign_key_file = \"{}\"", file.display()));
        report.answer("");
        report.answer("and below [store], and below each [stores.NAME]:");
        report.answer("");
        report.answer(format!("trust = [\"{key}\"]"));
    }
    if keys.identity_file.is_some() {
        report.note(
            "keep the identity off this machine, and on paper: without it nobody reads the \
             backups, with it anybody does",
        );
    }
}

/// Tries the key that is given.
pub fn prove(
    arguments: &KeyProveArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let summary = match &arguments.store {
        Some(store) => prove_keys(&session.with_store(store), report)?,
        None => prove_keys(session, report)?,
    };
    let opened = summary.opened.iter().map(
        |opened| json!({"source": opened.source, "id": opened.id, "recipient": opened.recipient}),
    );
    report.set("opened", opened.collect::<Vec<_>>());
    super::set_error(summary.failed.iter().map(|(_, error)| error), report);
    Ok(
        match (summary.failed.is_empty(), summary.opened.is_empty()) {
            (true, _) => None,
            (false, true) => Some(Kind::Failed),
            (false, false) => Some(Kind::Partial),
        },
    )
}

/// Prints the page for the safe.
pub fn sheet(
    arguments: &KeySheetArguments,
    global: &GlobalArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let sheet = compose_sheet(session, arguments.with_secret, global.identity.as_deref())?;
    report.set("stores", sheet.stores.as_slice());
    report.set("recipients", sheet.recipients.as_slice());
    report.set("public_keys", sheet.public_keys.as_slice());
    report.set("commands", sheet.commands.as_slice());
    if let Some(identity) = &sheet.identity {
        report.set("identity", identity.expose());
    }
    show_sheet(&sheet, report);
    Ok(None)
}

fn show_sheet(sheet: &KeySheet, report: &Report) {
    report.answer(format!(
        "dbbackup: how to read the backups of {}",
        sheet.host
    ));
    report.answer(format!("printed {}", sheet.printed));
    show_part("Stores", &sheet.stores, report);
    show_part("Sources", &sheet.sources, report);
    show_part("Encrypted to", &sheet.recipients, report);
    show_part("Signed by", &sheet.public_keys, report);
    show_part("Restore without dbbackup", &sheet.commands, report);
    match &sheet.identity {
        Some(identity) => {
            let lines: Vec<String> = identity.expose().lines().map(str::to_owned).collect();
            show_part(
                "Identity (who has this page reads every backup)",
                &lines,
                report,
            );
        }
        None if sheet.needs_passphrase => {
            let blank = "_".repeat(58);
            show_part("Passphrase, to be written in by hand", &[blank], report);
        }
        None if sheet.recipients.iter().any(|one| one.starts_with("age1")) => {
            let blank = "AGE-SECRET-KEY-1".to_owned() + &"_".repeat(58);
            show_part("Identity, to be written in by hand", &[blank], report);
        }
        None if !sheet.recipients.is_empty() => {
            let blank = "_".repeat(58);
            show_part("Where the private key is", &[blank], report);
        }
        None => {}
    }
}

fn show_part(title: &str, lines: &[String], report: &Report) {
    if lines.is_empty() {
        return;
    }
    report.answer("");
    report.answer(title);
    for line in lines {
        report.answer(format!("  {line}"));
    }
}
