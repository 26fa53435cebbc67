//! Facts that a dump does not hold, or that a restore needs before it begins: versions, locale,
//! owner, privileges, settings, extensions, roles.

use super::explain_error;
use super::programs::PostgresVersion;
use crate::engine::{Database, Extension, Grant, Locale, SecurityLabel, Setting, Settings};
use crate::error::{Error, Result};
use postgres::{Client, GenericClient, Row};

/// Reads the server's version; an unsupported one is an error.
pub fn read_server_version(client: &mut Client) -> Result<PostgresVersion> {
    let row = client
        .query_one("SHOW server_version_num", &[])
        .map_err(|error| explain_error(&error, "asking for the server's version"))?;
    let number: u32 = row.get::<_, String>(0).parse().unwrap_or(0);
    let version = PostgresVersion::from_number(number);
    if version.major < 13 {
        return Err(Error::failed(format!(
            "the server is PostgreSQL {version}; dbbackup knows 13 and later"
        ))
        .with_hint(
            "`pg_dump` by hand, or upgrade the server: versions before 13 get no fixes any more",
        ));
    }
    Ok(version)
}

/// Whether the server is a standby.
pub fn is_standby(client: &mut Client) -> Result<bool> {
    let row = client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]);
    row.map(|row| row.get(0))
        .map_err(|error| explain_error(&error, "asking whether the server is a standby"))
}

/// The identifier that a cluster shares with its copies; `None` where the role may not read it.
pub fn read_system_identifier(client: &mut Client) -> Option<String> {
    let row = client
        .query_one(
            "SELECT system_identifier::text FROM pg_catalog.pg_control_system()",
            &[],
        )
        .ok()?;
    row.get(0)
}

/// Reads the facts of the database of this session.
pub fn read_database(client: &mut Client, version: &PostgresVersion) -> Result<Database> {
    let doing = "reading the database's own settings";
    let row = client.query_one(
        &format!(
            "{} WHERE d.datname = pg_catalog.current_database()",
            select_database(version)
        ),
        &[],
    );
    let row = row.map_err(|error| explain_error(&error, doing))?;
    let mut facts = database_from_row(&row, version);
    facts.settings =
        Some(read_settings(client, &row).map_err(|error| explain_error(&error, doing))?);
    facts.extensions =
        read_extensions(client).map_err(|error| explain_error(&error, "listing the extensions"))?;
    facts.roles =
        read_names(client, ROLES).map_err(|error| explain_error(&error, "listing the roles"))?;
    facts.tablespaces = read_names(client, TABLESPACES)
        .map_err(|error| explain_error(&error, "listing the tablespaces"))?;
    let locations = client.query(LOCATIONS, &[&facts.tablespaces]);
    let locations =
        locations.map_err(|error| explain_error(&error, "asking where the tablespaces are"))?;
    facts.tablespace_locations = locations
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    Ok(facts)
}

/// A tablespace in the cluster's own directory has no other location.
const LOCATIONS: &str = "
SELECT spcname::text, pg_catalog.pg_tablespace_location(oid) FROM pg_catalog.pg_tablespace
WHERE spcname = ANY ($1::text[]) AND pg_catalog.pg_tablespace_location(oid) ~ '^/'";

/// Reads the facts of any database of the server as far as they are visible from outside: it may
/// allow no connections.
pub fn read_database_from_outside(
    client: &mut Client,
    version: &PostgresVersion,
    name: &str,
) -> Result<Database> {
    let doing = format!("reading the settings of the database `{name}`");
    let row = client.query_one(
        &format!("{} WHERE d.datname = $1", select_database(version)),
        &[&name],
    );
    let row = row.map_err(|error| explain_error(&error, &doing))?;
    let mut facts = database_from_row(&row, version);
    facts.settings =
        Some(read_settings(client, &row).map_err(|error| explain_error(&error, &doing))?);
    Ok(facts)
}

/// The columns of `pg_database` in this version.
fn select_database(version: &PostgresVersion) -> String {
    let (provider, locale, rules) = match version.major {
        ..15 => ("'c'::text", "NULL::text", "NULL::text"),
        15 => ("d.datlocprovider::text", "d.daticulocale", "NULL::text"),
        16 => ("d.datlocprovider::text", "d.daticulocale", "d.daticurules"),
        _ => ("d.datlocprovider::text", "d.datlocale", "d.daticurules"),
    };
    format!(
        "SELECT d.oid, d.datname::text AS name, pg_catalog.pg_encoding_to_char(d.encoding)::text \
         AS encoding,
                d.datcollate::text AS collate, d.datctype::text AS ctype, {provider} AS provider, \
         {locale}::text AS locale, {rules}::text AS rules,
                pg_catalog.pg_database_size(d.oid) AS size, \
         pg_catalog.pg_get_userbyid(d.datdba)::text AS owner, d.datconnlimit AS limit,
                d.datistemplate AS template, t.spcname::text AS tablespace, d.datacl IS NULL AS \
         plain,
                pg_catalog.shobj_description(d.oid, 'pg_database') AS comment
         FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace"
    )
}

fn database_from_row(row: &Row, version: &PostgresVersion) -> Database {
    Database {
        name: row.get("name"),
        size_bytes: row.get::<_, i64>("size").unsigned_abs(),
        encoding: row.get("encoding"),
        server_version: Some(version.to_string()),
        locale: Some(Locale {
            provider: row.get("provider"),
            collate: row.get("collate"),
            ctype: row.get("ctype"),
            locale: row.get("locale"),
            icu_rules: row.get("rules"),
        }),
        ..Database::default()
    }
}

fn read_settings(client: &mut impl GenericClient, row: &Row) -> Result<Settings, postgres::Error> {
    let oid: u32 = row.get("oid");
    let grants = if row.get("plain") {
        None
    } else {
        Some(read_grants(client, oid)?)
    };
    let set = client.query(
        "SELECT CASE WHEN s.setrole = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(s.setrole)::text \
         END AS role, c.entry
         FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS \
         c(entry, at)
         WHERE s.setdatabase = $1 ORDER BY 1 NULLS FIRST, c.at",
        &[&oid],
    )?;
    let set = set.iter().map(|row| {
        let entry: String = row.get("entry");
        let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
        Setting {
            role: row.get("role"),
            name: name.to_owned(),
            value: value.to_owned(),
        }
    });
    let labels = client.query(
        "SELECT provider, label FROM pg_catalog.pg_shseclabel
         WHERE classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND objoid = $1 ORDER BY 1",
        &[&oid],
    )?;
    Ok(Settings {
        owner: row.get("owner"),
        grants,
        set: set.collect(),
        comment: row.get("comment"),
        connection_limit: row.get("limit"),
        tablespace: row.get("tablespace"),
        is_template: row.get("template"),
        security_labels: labels
            .iter()
            .map(|row| SecurityLabel {
                provider: row.get(0),
                label: row.get(1),
            })
            .collect(),
    })
}

fn read_grants(client: &mut impl GenericClient, oid: u32) -> Result<Vec<Grant>, postgres::Error> {
    let rows = client.query(
        "SELECT DISTINCT CASE WHEN a.grantee = 0 THEN NULL ELSE \
         pg_catalog.pg_get_userbyid(a.grantee)::text END AS role,
                a.privilege_type::text AS privilege, a.is_grantable AS grantable
         FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a WHERE d.oid = $1 ORDER \
         BY 1 NULLS FIRST, 2, 3",
        &[&oid],
    )?;
    Ok(rows
        .iter()
        .map(|row| Grant {
            to: row.get("role"),
            privilege: row.get("privilege"),
            grantable: row.get("grantable"),
        })
        .collect())
}

fn read_extensions(client: &mut impl GenericClient) -> Result<Vec<Extension>, postgres::Error> {
    let query = "SELECT e.extname::text, e.extversion, n.nspname::text
                 FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = \
                 e.extnamespace ORDER BY 1";
    let rows = client.query(query, &[])?;
    Ok(rows
        .iter()
        .map(|row| Extension {
            name: row.get(0),
            version: row.get(1),
            schema: Some(row.get(2)),
        })
        .collect())
}

fn read_names(
    client: &mut impl GenericClient,
    query: &str,
) -> Result<Vec<String>, postgres::Error> {
    Ok(client
        .query(query, &[])?
        .iter()
        .map(|row| row.get(0))
        .collect())
}

/// `pg_shdepend` lists everything that depends on a role: owners, grantees, policies, user
/// mappings. The system's own roles are in every cluster.
const ROLES: &str = "
SELECT DISTINCT r.rolname::text FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_roles r ON r.oid \
                     = s.refobjid
WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND r.rolname !~ '^pg_'
  AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = \
                     pg_catalog.current_database())
UNION SELECT pg_catalog.pg_get_userbyid(n.nspowner)::text FROM pg_catalog.pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND \
                     pg_catalog.pg_get_userbyid(n.nspowner) !~ '^pg_'
UNION SELECT pg_catalog.pg_get_userbyid(c.relowner)::text FROM pg_catalog.pg_class c JOIN \
                     pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND \
                     pg_catalog.pg_get_userbyid(c.relowner) !~ '^pg_'
UNION SELECT pg_catalog.pg_get_userbyid(p.proowner)::text FROM pg_catalog.pg_proc p JOIN \
                     pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND \
                     pg_catalog.pg_get_userbyid(p.proowner) !~ '^pg_'
ORDER BY 1";

const TABLESPACES: &str = "
SELECT DISTINCT t.spcname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_tablespace t ON \
                           t.oid = c.reltablespace
WHERE c.reltablespace <> 0 AND t.spcname NOT LIKE 'pg\\_%' ORDER BY 1";
