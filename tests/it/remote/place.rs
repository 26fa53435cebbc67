//! Places for stores on other machines: a real server each, and what a configuration says of it.

use super::azurite::{ACCOUNT, Azurite, KEY};
use super::moto::Moto;
use super::s3::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};
use super::sftp::{SshServer, rclone_config};
use crate::support::{Call, World, set_mode};
use crate::tools::{have, lack, skip};
use std::any::Any;

/// A place with its server, which runs as long as the value is there.
pub struct Place {
    /// What a configuration says of the store below its heading.
    pub settings: String,
    /// What a run's environment has to say, too.
    environment: Vec<(&'static str, String)>,
    _server: Box<dyn Any>,
}

/// The settings of a store of S3.
fn s3(endpoint: &str, bucket: &str) -> String {
    format!(
        "url = 's3://{bucket}/web1'\nendpoint = '{endpoint}'\naccess_key = \
         '{ACCESS_KEY}'\nsecret_key = '{SECRET_KEY}'\nretry_for = '5s'\n"
    )
}

impl Place {
    fn new(settings: String, server: impl Any) -> Place {
        Place {
            settings,
            environment: Vec::new(),
            _server: Box::new(server),
        }
    }

    /// S3 in this process.
    pub fn s3() -> Place {
        let server = S3Server::start();
        Place::new(s3(&server.endpoint(), BUCKET), server)
    }

    /// S3 by moto, with versions.
    pub fn moto() -> Option<Place> {
        let Some(server) = Moto::start() else {
            lack("moto_server");
            return None;
        };
        server.make_versioned_bucket("versions");
        Some(Place::new(s3(&server.endpoint(), "versions"), server))
    }

    /// Azure Blob Storage by Azurite.
    pub fn azure() -> Option<Place> {
        let Some(server) = Azurite::start() else {
            skip("azurite of npm is not installed");
            return None;
        };
        server.make_container("backups");
        let settings = format!(
            "url = 'az://backups/web1'\nendpoint = '{}'\naccess_key = '{ACCOUNT}'\nsecret_key = \
             '{KEY}'\nretry_for = '5s'\n",
            server.endpoint()
        );
        Some(Place::new(settings, server))
    }

    /// SFTP by OpenSSH.
    pub fn sftp() -> Place {
        let server = SshServer::start();
        let dir = tempfile::tempdir().unwrap();
        let settings = format!(
            "url = '{}'\nssh_command = '{}'\nretry_for = '5s'\n",
            server.address(&dir.path().join("backups")),
            server.ssh_command()
        );
        Place::new(settings, (server, dir))
    }

    /// A remote of rclone.
    pub fn rclone() -> Option<Place> {
        if !have("rclone") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let behind = dir.path().join("behind");
        std::fs::create_dir(&behind).unwrap();
        let config = rclone_config(dir.path(), &behind);
        let settings = "url = 'rclone:behind:backups'\nretry_for = '5s'\n".to_owned();
        let mut place = Place::new(settings, dir);
        place
            .environment
            .push(("RCLONE_CONFIG", config.display().to_string()));
        Some(place)
    }

    /// `dbbackup` in that world, with the environment that the place needs.
    pub fn call(&self, world: &World, arguments: &str) -> Call {
        let call = world.dbbackup(arguments);
        self.environment
            .iter()
            .fold(call, |call, (name, value)| call.env(name, value))
    }
}

/// How a command line comes to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is the configuration's own.
    Own,
    /// It is named by `--store`.
    Named,
    /// Backups are made in a directory of this machine, and copied there after the run.
    Copied,
}

impl Way {
    /// What follows the settings of `[backup]`, to the heading of the store's own.
    pub fn heading(self) -> &'static str {
        match self {
            Way::Own => "[store]",
            Way::Named => "[stores.far]",
            Way::Copied => "copies = ['far']\n[store]\npath = 'store'\n[stores.far]",
        }
    }

    /// The heading of its retention.
    pub fn retention(self) -> &'static str {
        match self {
            Way::Own => "[retention]",
            Way::Named | Way::Copied => "[stores.far.retention]",
        }
    }

    /// What a command line begins with that reads the store.
    pub fn option(self) -> &'static str {
        match self {
            Way::Own => "",
            Way::Named | Way::Copied => "--store far ",
        }
    }

    /// What a command line begins with that makes a backup.
    pub fn backup_option(self) -> &'static str {
        match self {
            Way::Named => "--store far ",
            Way::Own | Way::Copied => "",
        }
    }
}

/// Writes a configuration of this name, which only its user reads.
pub fn configure(world: &World, name: &str, text: &str) {
    set_mode(&world.file(name, text), 0o600);
}
