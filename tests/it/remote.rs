//! Stores on other machines, end to end: round trips through real servers (`round_trips`), the law
//! under a server that lies (`law` and `sftp_law`, with `judge` and the two liars), kills
//! (`kills`), deltas that go there (`deltas`), what the store's clock tells (`clocks`), what a user
//! is told where a store can't be used (`refusals`), dies (`outage`) or keeps what it has
//! (`locked`), what three machines with rights of their own can do (`three_machines`) and what can
//! be destroyed (`ransomware`), and that no secret gets anywhere (`secrets`).

#[path = "../servers/azurite.rs"]
mod azurite;
mod clocks;
mod deltas;
mod http;
mod judge;
mod kills;
mod law;
mod liar;
mod locked;
#[path = "../servers/moto.rs"]
mod moto;
mod outage;
mod place;
mod proxy;
mod ransomware;
mod refusals;
mod rights;
mod round_trips;
#[path = "../servers/s3.rs"]
mod s3;
mod secrets;
#[path = "../servers/sftp.rs"]
#[allow(dead_code)]
mod sftp;
mod sftp_law;
mod sftp_liar;
mod sftp_packet;
mod three_machines;

use crate::support::World;
use std::path::Path;

/// `[stores.NAME]` for a server of S3.
fn s3_settings(name: &str, endpoint: &str, prefix: &str) -> String {
    let (bucket, access_key, secret_key) = (s3::BUCKET, s3::ACCESS_KEY, s3::SECRET_KEY);
    format!(
        "[stores.{name}]\nurl = 's3://{bucket}/{prefix}'\nendpoint = '{endpoint}'\naccess_key = \
         '{access_key}'\nsecret_key = '{secret_key}'\nretry_for = '2s'\n"
    )
}

/// The least size of a part that S3 takes.
const LEAST_PART: &str = "5242880";

/// A database whose backup is more than one part.
fn big_database(world: &World, name: &str) {
    world.database(
        name,
        "CREATE TABLE ballast(id INTEGER PRIMARY KEY, body BLOB); WITH RECURSIVE n(i) AS (SELECT \
         1 UNION ALL SELECT i + 1 FROM n WHERE i < 110) INSERT INTO ballast SELECT i, \
         randomblob(100000) FROM n;",
    );
}

/// What is in the directory of a source with a dot before it.
fn debris(source: &Path) -> Vec<String> {
    let names = std::fs::read_dir(source).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('.')).collect()
}
