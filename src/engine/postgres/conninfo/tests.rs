//! Precedence, host lists and passwords: what resolves to what.

use super::host::SOCKET_DIRECTORIES;
use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn resolve_in(home: &Path, spec: &ConnectionSpec, env: &[(&str, &str)]) -> Result<ConnInfo> {
    ConnInfo::resolve(spec, &|name| match name {
        "HOME" => Some(home.display().to_string()),
        "PGSYSCONFDIR" => Some("/nowhere".into()),
        name => env
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned()),
    })
}

fn resolve(url: &str, env: &[(&str, &str)]) -> Result<ConnInfo> {
    let home = tempfile::tempdir().unwrap();
    resolve_in(home.path(), &url_spec(url), env)
}

fn url_spec(url: &str) -> ConnectionSpec {
    ConnectionSpec {
        url: Some(url.into()),
        ..ConnectionSpec::default()
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn found(info: &ConnInfo) -> Option<String> {
    info.password_for(&info.hosts[0])
        .map(|(secret, _)| secret.expose().to_owned())
}

#[test]
fn places() {
    for (url, place) in [
        (
            "postgresql://u@db.internal/shop",
            "shop on db.internal:5432",
        ),
        ("postgresql://u@h1:1,h2:2/shop", "shop on h1:1, h2:2"),
        ("postgresql://u@[::1]:5433/shop", "shop on [::1]:5433"),
        (
            "host=/var/run/postgresql user=u dbname=shop",
            "shop on /var/run/postgresql",
        ),
        (
            "host=/tmp port=5433 user=u dbname=shop",
            "shop on /tmp:5433",
        ),
        (
            "hostaddr=10.0.0.1 user=u dbname=shop",
            "shop on 10.0.0.1:5432",
        ),
        ("host=db hostaddr=::1 user=u dbname=shop", "shop on db:5432"),
        ("postgresql://u@db", "u on db:5432"),
        ("postgresql://u@h1,h2:7/x", "x on h1:5432, h2:7"),
        ("host=a,b port=7 user=u", "u on a:7, b:7"),
    ] {
        assert_eq!(resolve(url, &[]).unwrap().place(), place, "{url}");
    }
}

#[test]
fn precedence() {
    let home = tempfile::tempdir().unwrap();
    write(
        &home.path().join(".pg_service.conf"),
        "[s]\nhost=service\nport=2\nuser=service\ndbname=service\n",
    );
    let env = [
        ("PGHOST", "env"),
        ("PGPORT", "3"),
        ("PGUSER", "env"),
        ("PGDATABASE", "env"),
        ("PGSSLMODE", "disable"),
    ];
    let info = resolve_in(home.path(), &ConnectionSpec::default(), &env).unwrap();
    assert_eq!(
        (info.place().as_str(), info.user()),
        ("env on env:3", "env")
    );

    let with_service = [env.as_slice(), &[("PGSERVICE", "s")]].concat();
    let info = resolve_in(home.path(), &ConnectionSpec::default(), &with_service).unwrap();
    assert_eq!(
        (info.place().as_str(), info.user()),
        ("service on service:2", "service")
    );

    let info = resolve_in(home.path(), &url_spec("postgresql://url/?service=s"), &env).unwrap();
    assert_eq!(
        (info.place().as_str(), info.user()),
        ("service on url:2", "service")
    );

    let spec = ConnectionSpec {
        host: Some("key".into()),
        dbname: Some("key".into()),
        ..url_spec("postgresql://url:9/url?hostaddr=1.1.1.1")
    };
    assert_eq!(
        resolve_in(home.path(), &spec, &env).unwrap().place(),
        "key on key:9"
    );
    // Set but empty hides the environment, as in libpq.
    let info = resolve_in(home.path(), &url_spec("host=/tmp user='' port=''"), &env).unwrap();
    assert_eq!((info.hosts[0].port, info.user().is_empty()), (5432, false));
    // An empty variable is none.
    assert!(resolve("postgresql://u@h", &[("PGPORT", ""), ("PGSSLMODE", "")]).is_ok());
}

#[test]
fn defaults_are_the_operating_systems() {
    let info = resolve("", &[]).unwrap();
    assert_eq!(info.user(), os_user_name().unwrap());
    assert_eq!(info.dbname(), info.user());
    assert!(
        matches!(&info.hosts[0].at, Endpoint::Socket(dir) if SOCKET_DIRECTORIES.contains(&dir.as_str()))
    );
    assert_eq!(info.timeout, Some(PATIENCE));
}

#[test]
fn passwords() {
    let home = tempfile::tempdir().unwrap();
    write(
        &home.path().join(".pgpass"),
        "localhost:5432:*:u:socket\ndb:5432:shop:u:file\n10.0.0.1:5432:*:u:address\n",
    );
    let password = |spec: &ConnectionSpec, env: &[(&str, &str)]| {
        found(&resolve_in(home.path(), spec, env).unwrap())
    };
    let url = url_spec("postgresql://u@db/shop");
    assert_eq!(password(&url, &[]).as_deref(), Some("file"));
    assert_eq!(
        password(&url, &[("PGPASSWORD", "env$1")]).as_deref(),
        Some("env$1")
    );
    assert_eq!(
        password(
            &url_spec("postgresql://u:url@db/shop"),
            &[("PGPASSWORD", "env")]
        )
        .as_deref(),
        Some("url")
    );
    assert_eq!(
        password(
            &ConnectionSpec {
                password: Some("key".into()),
                ..url_spec("postgresql://u:url@db/shop")
            },
            &[]
        )
        .as_deref(),
        Some("key")
    );
    assert_eq!(
        password(
            &ConnectionSpec {
                password_command: Some("echo c$((1+1))".into()),
                ..url.clone()
            },
            &[]
        )
        .as_deref(),
        Some("c2")
    );
    assert_eq!(
        password(&url_spec("host=/var/run/postgresql user=u"), &[]).as_deref(),
        Some("socket")
    );
    assert_eq!(password(&url_spec("host=/srv user=u"), &[]), None);
    assert_eq!(
        password(
            &url_spec("host=db hostaddr=10.0.0.1 user=u dbname=shop"),
            &[]
        )
        .as_deref(),
        Some("file")
    );
    assert_eq!(
        password(&url_spec("hostaddr=10.0.0.1 user=u"), &[]).as_deref(),
        Some("address")
    );
    assert_eq!(password(&url, &[("PGPASSFILE", "/nowhere")]), None);
    assert_eq!(
        found(
            &resolve_in(home.path(), &url, &[])
                .unwrap()
                .with_database("other")
        ),
        None
    );
    let both = ConnectionSpec {
        password: Some("a".into()),
        password_command: Some("b".into()),
        ..url
    };
    assert!(resolve_in(home.path(), &both, &[]).is_err());
}

#[test]
fn a_password_file_that_others_read_is_a_warning() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(".pgpass");
    fs::write(&path, "*:*:*:*:p\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let info = resolve_in(home.path(), &url_spec("postgresql://u@db"), &[]).unwrap();
    assert_eq!((found(&info), info.warnings.len()), (None, 1));
    assert!(
        resolve_in(home.path(), &url_spec("postgresql://u:p@db"), &[])
            .unwrap()
            .warnings
            .is_empty()
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (url, says) in [
        ("port=x user=u", "1 to 65535"),
        ("port=0 user=u", "1 to 65535"),
        ("port=70000 user=u", "1 to 65535"),
        ("host=a,b port=1,2,3 user=u", "3 ports for 2 hosts"),
        (
            "host=a,b hostaddr=1.1.1.1 user=u",
            "2 hosts and 1 addresses",
        ),
        ("hostaddr=db user=u", "not an IP address"),
        ("host=@x user=u", "abstract"),
        ("sslmode=sometimes user=u", "one of disable, allow"),
        ("target_session_attrs=x user=u", "one of any"),
        ("connect_timeout=soon user=u", "whole number"),
        ("sslcrl=/x user=u", "revocation"),
        ("gssencmode=require user=u", "GSSAPI"),
        ("hots=x user=u", "unknown parameter `hots`"),
        ("service=none user=u", "`none` is not defined"),
        ("sslrootcert=system sslmode=require user=u", "verify-full"),
    ] {
        let error = resolve(url, &[]).unwrap_err();
        assert!(error.message().contains(says), "{url}: {error:?}");
    }
}

#[test]
fn timeouts() {
    for (text, seconds) in [("0", None), ("-1", None), ("1", Some(2)), ("30", Some(30))] {
        let info = resolve(&format!("user=u connect_timeout={text}"), &[]).unwrap();
        assert_eq!(info.timeout, seconds.map(Duration::from_secs));
    }
}

#[test]
fn debug_and_place_show_no_password() {
    let spec = ConnectionSpec {
        password_command: Some("echo s3cret".into()),
        ..url_spec("postgresql://u:s3cret@db/x")
    };
    let home = tempfile::tempdir().unwrap();
    let info = resolve_in(home.path(), &spec, &[("PGPASSWORD", "s3cret")]).unwrap();
    assert!(!format!("{spec:?} {info:?} {}", info.place()).contains("s3cret"));
}
