//! Trials of stores behind OpenSSH and rclone.

use super::*;
use crate::store::remote::probe::{ProbeDepth, StoreProbe, probe_medium};
use crate::store::{DeletePermission, Location};

fn tried(medium: SftpMedium) -> StoreProbe {
    let location = Location::parse("sftp://host/x", Path::new("/")).unwrap();
    let medium: Arc<dyn Medium> = Arc::new(medium);
    let delete = DeletePermission::Allowed;
    probe_medium(&location, &medium, delete, ProbeDepth::Thorough)
}

#[test]
fn a_server_of_openssh_passes_and_nothing_is_left() {
    let server = SshServer::start();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let probe = tried(over_ssh(&server, &root, 5));
    assert_eq!(probe.troubles(), [] as [&str; 0], "{probe:?}");
    for name in ["connection", "directory", "upload", "server", "clock"] {
        assert!(probe.find(name).is_some(), "{name}: {probe:?}");
    }
    assert_eq!(names_in(&root), [] as [&str; 0]);
    let away = tried(over_ssh(&server, &dir.path().join("none/store"), 5));
    assert_eq!(away.troubles(), ["directory"], "{away:?}");
}

#[test]
fn a_server_that_is_away_is_told() {
    let mut server = SshServer::start();
    server.kill();
    let probe = tried(over_ssh(&server, Path::new("/store"), 0));
    assert_eq!(probe.troubles(), ["connection"], "{probe:?}");
}

#[test]
fn behind_rclone_creation_is_not_exclusive() {
    let dir = tempfile::tempdir().unwrap();
    let behind = dir.path().join("behind");
    std::fs::create_dir(&behind).unwrap();
    let config = servers::rclone_config(dir.path(), &behind);
    let probe = tried(medium("rclone:behind:deep", None, Some(&config)));
    assert_eq!(probe.troubles(), ["only-if-absent"], "{probe:?}");
    assert_eq!(names_in(&behind.join("deep")), [] as [&str; 0]);
}
