//! Obstacles to a restore, found before any work is done, each with its remedy.

use super::conninfo::ConnInfo;
use super::destination::RestoreTarget;
use super::programs::PostgresVersion;
use super::{drill, explain_error};
use crate::engine::Settings;
use crate::error::{Error, Result};
use crate::units;
use postgres::Client;

/// Checks for obstacles to any restore of the database.
pub fn check_any_restore(
    client: &mut Client,
    target: &RestoreTarget,
    settings: &Settings,
    version: &PostgresVersion,
) -> Result<()> {
    if !target.tables.is_empty() && target.format != super::PgFormat::Custom {
        return Err(Error::usage(
            "single tables can be taken from a dump of `format = \"custom\"` only",
        )
        .with_hint("restore the whole elsewhere"));
    }
    if target.no_owner && target.format == super::PgFormat::Plain {
        return Err(Error::usage(
            "`--no-owner` can't be had from a dump of `format = \"plain\"`: its script sets the \
             owners itself",
        )
        .with_hint("make the roles that are missing, if any, and leave `--no-owner` out"));
    }
    if target.no_tablespaces && target.format == super::PgFormat::Plain {
        return Err(Error::usage(
            "`--no-tablespaces` can't be had from a dump of `format = \"plain\"`: its script names \
             the tablespaces itself",
        )
        .with_hint("make the tablespaces, and leave `--no-tablespaces` out"));
    }
    let recorded = target
        .recorded
        .server_version
        .as_deref()
        .and_then(PostgresVersion::parse);
    if let Some(then) = recorded.filter(|then| then.major > version.major) {
        return Err(Error::failed(format!(
            "the backup is of PostgreSQL {then}, and this server is older: {version}"
        ))
        .with_hint(format!(
            "restore to a server of version {} or newer",
            then.major
        )));
    }
    // A program that does not fit is found now, not after an hour.
    match target.format {
        super::PgFormat::Custom => drop(target.search.find("pg_restore", target.pg_dump_major)?),
        super::PgFormat::Plain | super::PgFormat::Globals => {}
    }
    if target.in_place || target.format != super::PgFormat::Custom {
        super::fill::find_psql(&target.search)?;
    }
    if !can_create_databases(client)? {
        let (conn, role) = (&target.conn, &target.conn.user);
        let hosts = conn
            .hosts
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        return Err(Error::failed(format!(
            "the role `{role}` may not create databases on {hosts}"
        ))
        .with_hint(format!(
            "restore as a role that may: `--to {}`; or let it: ALTER ROLE {} CREATEDB; or use \
             `--in-place` as the database's owner",
            address_for("ROLE", conn),
            super::names::quote_ident(role)
        )))
        .or_else(|error| if target.in_place { Ok(()) } else { Err(error) });
    }
    check_roles(client, target, settings)?;
    let missing = drill::missing_extensions(client, &target.recorded)?;
    if !missing.is_empty() {
        return Err(Error::failed(format!(
            "the server lacks extensions that the backup needs: {}",
            missing.join(", ")
        ))
        .with_hint("install their packages on the server, then restore again"));
    }
    check_tablespaces(client, target)
}

/// The database's address for another role, to be pasted.
fn address_for(role: &str, conn: &ConnInfo) -> String {
    let database = &conn.dbname;
    match conn.hosts.first() {
        Some(host) if host.name().starts_with('/') => {
            format!(
                "'host={} port={} user={role} dbname={database}'",
                host.name(),
                host.port
            )
        }
        Some(host) => format!(
            "postgresql://{role}@{}:{}/{database}",
            host.name(),
            host.port
        ),
        None => format!("postgresql://{role}@/{database}"),
    }
}

fn can_create_databases(client: &mut Client) -> Result<bool> {
    query_flag(
        client,
        "SELECT rolsuper OR rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user",
        &[],
    )
}

fn query_flag(
    client: &mut Client,
    query: &str,
    parameters: &[&(dyn postgres::types::ToSql + Sync)],
) -> Result<bool> {
    client
        .query_one(query, parameters)
        .map(|row| row.get(0))
        .map_err(|error| explain_error(&error, "looking at the server"))
}

fn check_roles(client: &mut Client, target: &RestoreTarget, settings: &Settings) -> Result<()> {
    if target.no_owner {
        return Ok(());
    }
    // The dump names some roles, the database's own settings others.
    let owner = Some(&settings.owner).filter(|owner| !owner.is_empty());
    let granted = settings
        .grants
        .iter()
        .flatten()
        .filter_map(|grant| grant.to.as_ref());
    let set = settings.set.iter().filter_map(|set| set.role.as_ref());
    let mut roles: Vec<String> = target
        .recorded
        .roles
        .iter()
        .chain(owner)
        .chain(granted)
        .chain(set)
        .cloned()
        .collect();
    roles.sort();
    roles.dedup();
    let mut missing = find_absent(
        client,
        "SELECT rolname::text FROM pg_catalog.pg_roles",
        &roles,
    )?;
    missing.retain(|role| !target.roles_to_come.contains(role));
    if missing.is_empty() {
        return Ok(());
    }
    let create: Vec<String> = missing
        .iter()
        .map(|role| format!("CREATE ROLE {};", super::names::quote_ident(role)))
        .collect();
    Err(Error::failed(format!(
        "the server lacks roles that the backup needs: {}",
        missing.join(", ")
    ))
    .with_hint(format!(
        "make them (`{}`, or restore the cluster's globals), or add `--no-owner`: then all belongs \
         to you",
        create.join(" ")
    )))
}

fn check_tablespaces(client: &mut Client, target: &RestoreTarget) -> Result<()> {
    if target.no_tablespaces {
        return Ok(());
    }
    let missing = find_absent(
        client,
        "SELECT spcname::text FROM pg_catalog.pg_tablespace",
        &target.recorded.tablespaces,
    )?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!(
        "the server lacks tablespaces that the backup needs: {}",
        missing.join(", ")
    ))
    .with_hint(format!(
        "make them (`{}`; the directory must be there, empty, and the server's), or add \
             `--no-tablespaces`: then all goes where the database is",
        missing
            .iter()
            .map(|name| create_tablespace(name, target))
            .collect::<Vec<_>>()
            .join(" ")
    )))
}

/// The statement that creates a tablespace in its recorded place, if that is known.
fn create_tablespace(name: &str, target: &RestoreTarget) -> String {
    let location = target
        .recorded
        .tablespace_locations
        .get(name)
        .map_or("…", String::as_str);
    format!(
        "CREATE TABLESPACE {} LOCATION {};",
        super::names::quote_ident(name),
        super::names::quote_literal(location)
    )
}

fn find_absent(client: &mut Client, query: &str, wanted: &[String]) -> Result<Vec<String>> {
    let rows = client
        .query(query, &[])
        .map_err(|error| explain_error(&error, "looking at the server"))?;
    let there: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    Ok(wanted
        .iter()
        .filter(|name| !there.contains(name))
        .cloned()
        .collect())
}

/// Checks for obstacles to renaming the old database.
pub fn check_swap(client: &mut Client, name: &str) -> Result<()> {
    let owner = query_flag(
        client,
        "SELECT pg_catalog.pg_has_role(datdba, 'USAGE') FROM pg_catalog.pg_database WHERE datname \
         = $1",
        &[&name],
    )?;
    if !owner {
        return Err(swap_error(
            name,
            "this role does not own it",
            "restore as its owner or a superuser",
        ));
    }
    let slots = count_for_database(
        client,
        name,
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots WHERE slot_type = \
         'logical' AND database = $1",
    )?;
    if slots > 0 {
        let slots = units::count(slots, "logical replication slot");
        return Err(swap_error(
            name,
            &format!("{slots} would go on reading the old one"),
            "drop them, or keep the database: `--in-place`",
        ));
    }
    let subscriptions = count_for_database(
        client,
        name,
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database \
         d ON d.oid = s.subdbid WHERE d.datname = $1",
    );
    // Without the privilege to look there, the server's own refusal must do.
    let subscriptions = subscriptions.unwrap_or(0);
    if subscriptions > 0 {
        let subscriptions = units::count(subscriptions, "subscription");
        return Err(swap_error(
            name,
            &format!("{subscriptions} would go on writing to the old one"),
            "drop them, or keep the database: `--in-place`",
        ));
    }
    let prepared = count_for_database(
        client,
        name,
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = $1",
    )?;
    if prepared > 0 {
        let prepared = units::count(prepared, "prepared transaction");
        return Err(swap_error(
            name,
            &format!("it has {prepared}"),
            "COMMIT PREPARED or ROLLBACK PREPARED them: see pg_prepared_xacts",
        ));
    }
    let foreign = count_for_database(
        client,
        name,
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r \
         ON r.oid = a.usesysid
         WHERE a.datname = $1 AND a.pid <> pg_catalog.pg_backend_pid()
           AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
           AND (r.rolsuper OR NOT (pg_catalog.pg_has_role(a.usesysid, 'MEMBER') OR \
         pg_catalog.pg_has_role('pg_signal_backend', 'MEMBER')))",
    )?;
    if foreign > 0 {
        let foreign = units::count(foreign, "session");
        return Err(swap_error(
            name,
            &format!("this role may not end {foreign} in it"),
            "end them, or GRANT pg_signal_backend to this role",
        ));
    }
    Ok(())
}

/// Asks how many of something a database has; the query's only parameter is its name.
fn count_for_database(client: &mut Client, name: &str, query: &str) -> Result<u64> {
    let row = client
        .query_one(query, &[&name])
        .map_err(|error| explain_error(&error, "looking at the server"))?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}

fn swap_error(name: &str, why: &str, hint: &str) -> Error {
    Error::failed(format!(
        "the database `{name}` can't be replaced by a new one: {why}"
    ))
    .with_hint(hint)
}

/// Checks for obstacles to emptying and filling the old database.
pub fn check_in_place(client: &mut Client, name: &str) -> Result<()> {
    let owner = query_flag(
        client,
        "SELECT pg_catalog.pg_has_role(datdba, 'USAGE') FROM pg_catalog.pg_database WHERE datname \
         = $1",
        &[&name],
    )?;
    if !owner {
        return Err(Error::failed(format!(
            "the database `{name}` can't be emptied: this role does not own it"
        ))
        .with_hint("restore as its owner or a superuser"));
    }
    // Before version 15 the schema `public` belongs to the server's superuser in every database.
    let all =
        "SELECT rolsuper OR pg_catalog.current_setting('server_version_num')::integer >= 150000
               FROM pg_catalog.pg_roles WHERE rolname = current_user";
    if !query_flag(client, all, &[])? {
        return Err(Error::failed(format!(
            "the database `{name}` can't be emptied: before PostgreSQL 15 its schema `public` is \
             not this role's"
        ))
        .with_hint("restore as a superuser"));
    }
    Ok(())
}
