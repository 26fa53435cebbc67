//! Connecting, against psql: for a table of servers, `sslmode`s, certificates and accounts the
//! program must reach what psql reaches with the same words and environment, encrypted or not as
//! psql is, and fail where psql fails. What was reached is then handed to psql in the program's own
//! words (`ReachedServer::conninfo`), which must lead to the same connection without a warning.

use crate::moments::PATIENCE;
use dbbackup::engine::postgres::connect::{PostgresSession, ReachedServer};
use dbbackup::engine::postgres::conninfo::{ConnInfo, ConnectionSpec};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

const PASSWORD: &str = "p$w'd \\ \"ü";

/// Who may come in how; `tester` always may.
const HBA: &str = "
local   all postgres,tester             trust
local   all scram                       scram-sha-256
hostssl all sslonly        127.0.0.1/32 trust
hostnossl all plainonly    127.0.0.1/32 trust
hostssl all certuser       127.0.0.1/32 trust clientcert=verify-full
hostssl all mixed          127.0.0.1/32 scram-sha-256
hostnossl all mixed        127.0.0.1/32 trust
hostssl all mixed2         127.0.0.1/32 trust
hostnossl all mixed2       127.0.0.1/32 scram-sha-256
host    all scram          127.0.0.1/32 scram-sha-256
host    all clear          127.0.0.1/32 password
host    all postgres,tester 127.0.0.1/32 trust
";

/// A query whose answer says what was reached.
const WHO: &str = "SELECT current_user || ' ' || current_database() || ' ' || (SELECT setting FROM \
                   pg_settings WHERE name = 'port') || ' ' || \
     coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)";

/// The directory of all clusters and certificates; removed by the last one out.
struct World {
    dir: PathBuf,
    servers: Vec<Server>,
}

struct Server {
    name: &'static str,
    data: PathBuf,
    port: u16,
}

fn bin() -> PathBuf {
    let newest = fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max()
        .unwrap();
    newest.join("bin")
}

/// A command that runs as the user of the servers, who must not be root.
fn as_postgres(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "--",
        ])
        .arg(program)
        .current_dir("/");
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn openssl(dir: &Path, line: &str) {
    run(Command::new("sh").current_dir(dir).args(["-c", line]));
}

/// Every certificate that a case needs.
fn certificates(dir: &Path) {
    let key = |name: &str, kind: &str| match kind {
        "rsa" => format!("openssl genrsa -out {name}.key 2048 2>/dev/null"),
        "ed25519" => format!("openssl genpkey -algorithm ed25519 -out {name}.key"),
        curve => format!("openssl ecparam -name {curve} -genkey -noout -out {name}.key"),
    };
    for ca in ["ca", "otherca", "oldca"] {
        let days = if ca == "oldca" { -1 } else { 3650 };
        openssl(dir, &key(ca, "prime256v1"));
        openssl(
            dir,
            &format!("openssl req -new -key {ca}.key -subj /CN={ca} -out {ca}.csr"),
        );
        fs::write(
            dir.join("ca.ext"),
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n",
        )
        .unwrap();
        openssl(
            dir,
            &format!(
                "openssl x509 -req -in {ca}.csr -signkey {ca}.key -days {days} -extfile ca.ext \
                 -out {ca}.crt 2>/dev/null"
            ),
        );
    }
    let signed =
        |name: &str, kind: &str, subject: &str, extensions: &str, days: i32, issuer: &str| {
            openssl(dir, &key(name, kind));
            openssl(
                dir,
                &format!("openssl req -new -key {name}.key -subj '{subject}' -out {name}.csr"),
            );
            let extfile = if extensions.is_empty() {
                ""
            } else {
                "-extfile ext"
            };
            fs::write(dir.join("ext"), extensions).unwrap();
            let hash = match name {
                "sha512" => "-sha512",
                "pss" => "-sha384 -sigopt rsa_padding_mode:pss",
                _ => "",
            };
            let by = if issuer == "self" {
                format!("-signkey {name}.key")
            } else {
                format!("-CA {issuer}.crt -CAkey {issuer}.key -CAcreateserial")
            };
            openssl(
                dir,
                &format!(
                    "openssl x509 -req -in {name}.csr {by} -days {days} {extfile} {hash} -out \
                 {name}.crt 2>/dev/null"
                ),
            );
        };
    let host = "subjectAltName=DNS:localhost,IP:127.0.0.1\n";
    openssl(
        dir,
        &format!(
            "{}; openssl req -x509 -key selfsigned.key -subj /CN=localhost -addext \
             subjectAltName=DNS:localhost -days 30 -out selfsigned.crt",
            key("selfsigned", "rsa")
        ),
    );
    signed(
        "selfleaf",
        "rsa",
        "/CN=localhost",
        &format!("{host}basicConstraints=critical,CA:FALSE\n"),
        30,
        "self",
    );
    signed("selfv1", "rsa", "/CN=localhost", "", 30, "self");
    signed("selfexpired", "rsa", "/CN=localhost", host, -1, "self");
    signed("owned", "prime256v1", "/CN=x", host, 30, "ca");
    signed(
        "caleaf",
        "rsa",
        "/CN=x",
        &format!("{host}basicConstraints=critical,CA:TRUE\n"),
        30,
        "ca",
    );
    signed("version1", "rsa", "/CN=localhost", "", 30, "ca");
    signed("expired", "rsa", "/CN=localhost", host, -1, "ca");
    signed("underold", "rsa", "/CN=localhost", host, 30, "oldca");
    signed(
        "wronghost",
        "secp384r1",
        "/CN=localhost",
        "subjectAltName=DNS:other.example\n",
        30,
        "ca",
    );
    signed(
        "cnonly",
        "rsa",
        "/O=Shop/CN=localhost",
        "basicConstraints=CA:FALSE\n",
        30,
        "ca",
    );
    signed(
        "clientonly",
        "rsa",
        "/CN=localhost",
        &format!("{host}extendedKeyUsage=clientAuth\n"),
        30,
        "ca",
    );
    signed(
        "wildcard",
        "rsa",
        "/CN=db.test.example",
        "subjectAltName=DNS:*.test.example,DNS:127.0.0.1\n",
        30,
        "ca",
    );
    signed("edwards", "ed25519", "/CN=localhost", host, 30, "ca");
    signed("sha512", "rsa", "/CN=localhost", host, 30, "self");
    signed("pss", "rsa", "/CN=localhost", host, 30, "self");
    signed(
        "middle",
        "rsa",
        "/CN=middle",
        "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n",
        30,
        "ca",
    );
    for (chained, extensions) in [("chained", host), ("chainedv1", "")] {
        signed(chained, "rsa", "/CN=localhost", extensions, 30, "middle");
        openssl(dir, &format!("cat middle.crt >> {chained}.crt"));
    }
    openssl(dir, "cat otherca.crt ca.crt > two.crt");
    for (client, extensions) in [("client", "keyUsage=digitalSignature\n"), ("clientv1", "")] {
        signed(client, "rsa", "/CN=certuser", extensions, 30, "ca");
    }
    signed(
        "wrongclient",
        "rsa",
        "/CN=somebody",
        "keyUsage=digitalSignature\n",
        30,
        "ca",
    );
    signed(
        "foreignclient",
        "rsa",
        "/CN=certuser",
        "keyUsage=digitalSignature\n",
        30,
        "otherca",
    );
}

/// The servers, by the certificate that each shows; `plain` has no TLS.
const SERVERS: &[&str] = &[
    "plain",
    "selfsigned",
    "selfleaf",
    "selfv1",
    "selfexpired",
    "owned",
    "caleaf",
    "version1",
    "expired",
    "underold",
    "wronghost",
    "cnonly",
    "clientonly",
    "wildcard",
    "edwards",
    "sha512",
    "pss",
    "chained",
    "chainedv1",
];

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let dir = tempfile::Builder::new()
        .prefix("dbbackup-tls-")
        .tempdir_in("/tmp")
        .unwrap()
        .keep();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    keep(&dir);
    certificates(&dir);
    let template = dir.join("template");
    make_for_postgres(&template);
    run(as_postgres(&bin().join("initdb"))
        .arg("-D")
        .arg(&template)
        .args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "--locale=C",
            "-E",
            "UTF8",
        ]));
    let mut world = World {
        dir: dir.clone(),
        servers: Vec::new(),
    };
    for name in SERVERS {
        let server = Server {
            name,
            data: dir.join(format!("data-{name}")),
            port: dead_port(),
        };
        start(&dir, &template, &server);
        world.servers.push(server);
    }
    world
});

/// Sees to the servers' end: a shell that waits for this process, however that ends, to close a
/// pipe.
fn keep(dir: &Path) {
    let dir = dir.display();
    let line = format!(
        "trap '' INT TERM HUP; read x; for file in {dir}/data-*/postmaster.pid; do kill -QUIT \
         $(head -1 $file); done; sleep 1; rm -rf {dir}"
    );
    let mut keeper = Command::new("sh");
    keeper
        .args(["-c", &line])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    std::mem::forget(keeper.spawn().unwrap());
}

fn make_for_postgres(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    give(dir);
}

/// Makes a file the servers' user's, where that is another one.
fn give(path: &Path) {
    if rustix::process::geteuid().is_root() {
        let id = |flag: &str| {
            run(Command::new("id").args([flag, "postgres"]))
                .trim()
                .parse()
                .unwrap()
        };
        chown(path, Some(id("-u")), Some(id("-g"))).unwrap();
    }
}

fn start(dir: &Path, template: &Path, server: &Server) {
    run(Command::new("cp").arg("-a").arg(template).arg(&server.data));
    let sockets = dir.join(format!("sockets-{}", server.name));
    make_for_postgres(&sockets);
    fs::set_permissions(&sockets, fs::Permissions::from_mode(0o755)).unwrap();
    let mut conf = format!(
        "listen_addresses='127.0.0.1'\nport={}\nunix_socket_directories='{}'\nfsync=off\nshared_buffers=1MB\nmax_connections=20\n\
         max_wal_senders=0\nwal_level=minimal\nlc_messages='C'\nlog_destination=stderr\n",
        server.port,
        sockets.display()
    );
    if server.name != "plain" {
        for (from, to) in [
            (format!("{}.crt", server.name), "server.crt"),
            (format!("{}.key", server.name), "server.key"),
            ("ca.crt".into(), "ca.crt"),
        ] {
            let to = server.data.join(to);
            fs::copy(dir.join(from), &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
            give(&to);
        }
        conf += "ssl=on\nssl_ca_file='ca.crt'\n";
    }
    fs::write(server.data.join("postgresql.conf"), conf).unwrap();
    fs::write(server.data.join("pg_hba.conf"), HBA).unwrap();
    let log = server.data.join("log");
    run(as_postgres(&bin().join("pg_ctl"))
        .arg("-D")
        .arg(&server.data)
        .arg("-l")
        .arg(&log)
        .args(["-w", "start"])
        .stdout(Stdio::null()));
    let roles: String = [
        "tester",
        "scram",
        "sslonly",
        "plainonly",
        "certuser",
        "mixed",
        "mixed2",
        "clear",
    ]
    .iter()
    .map(|role| {
        format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{}';",
            PASSWORD.replace('\'', "''")
        )
    })
    .collect();
    let mut psql = Command::new(bin().join("psql"));
    psql.args(["-Xqw", "-U", "postgres", "-d", "postgres", "-h"])
        .arg(&sockets)
        .args(["-p", &server.port.to_string(), "-c", &roles]);
    run(&mut psql);
}

impl World {
    fn server(&self, name: &str) -> &Server {
        self.servers
            .iter()
            .find(|server| server.name == name)
            .unwrap()
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn sockets(&self, name: &str) -> String {
        self.file(&format!("sockets-{name}"))
    }
}

/// One way to ask for a connection.
struct Case {
    url: String,
    env: Vec<(String, String)>,
    home: PathBuf,
}

impl Case {
    fn new(url: impl Into<String>) -> Case {
        Case {
            url: url.into(),
            env: Vec::new(),
            home: PathBuf::from("/nowhere"),
        }
    }

    fn env(mut self, name: &str, value: impl Into<String>) -> Case {
        self.env.push((name.into(), value.into()));
        self
    }

    fn home(mut self, home: &Path) -> Case {
        self.home = home.into();
        self
    }

    fn resolve(&self) -> dbbackup::error::Result<ConnInfo> {
        let spec = ConnectionSpec {
            url: Some(self.url.clone()),
            ..ConnectionSpec::default()
        };
        let home = self.home.display().to_string();
        ConnInfo::resolve(&spec, &|name| match name {
            "HOME" => Some(home.clone()),
            name => self
                .env
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone()),
        })
    }

    fn connect(&self) -> dbbackup::error::Result<PostgresSession> {
        self.resolve()?.connect()
    }

    fn psql(&self) -> Output {
        psql(&self.url, &self.env, &self.home)
    }
}

fn psql(conninfo: &str, env: &[(String, String)], home: &Path) -> Output {
    let mut command = Command::new(bin().join("psql"));
    command
        .env_clear()
        .env("HOME", home)
        .env("LC_ALL", "C")
        .envs(env.iter().map(|(name, value)| (name, value)));
    command
        .args(["-XAtwq", "-d", conninfo, "-c", WHO])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// What the program reaches; checks on the way that psql reaches the same by the program's words.
fn ours(case: &Case) -> Result<String, String> {
    let PostgresSession {
        mut client,
        reached,
    } = case.connect().map_err(|error| {
        assert!(!format!("{error:?}").contains(PASSWORD), "{error:?}");
        let own_words = error.kind() == dbbackup::error::Kind::Usage;
        assert!(own_words || error.hint().is_some(), "no hint: {error:?}");
        format!("{error:?}")
    })?;
    let who: String = client.query_one(WHO, &[]).unwrap().get(0);
    let dbname = reached.dbname().to_owned();
    let conninfo = reached.conninfo(&dbname, "it's a \\ test");
    assert!(!conninfo.contains("p$w"), "{conninfo}");
    let again = psql(&conninfo, &reached.environment(), &case.home);
    assert_eq!(said(&again).as_ref(), Ok(&who), "{conninfo}");
    assert_eq!(String::from_utf8_lossy(&again.stderr), "", "{conninfo}");
    let mut second = reached
        .reconnect(&dbname, "second")
        .map_err(|error| format!("{error:?}"))?;
    assert_eq!(second.query_one(WHO, &[]).unwrap().get::<_, String>(0), who);
    Ok(who)
}

/// Runs a case both ways.
fn compare(case: &Case, differences: &mut Vec<String>) -> Result<String, String> {
    let (theirs, ours) = (said(&case.psql()), ours(case));
    let equal = match (&theirs, &ours) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        (Err(_), Err(_)) => true,
        _ => false,
    };
    if !equal {
        differences.push(format!(
            "{} {:?} home {}\n   psql: {theirs:?}\n   ours: {ours:?}",
            case.url,
            case.env,
            case.home.display()
        ));
    }
    ours
}

fn none_of(differences: &[String]) {
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

const MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

#[test]
fn every_mode_with_every_certificate_is_as_in_psql() {
    let world = &*WORLD;
    let mut differences = Vec::new();
    let (mut reached, mut refused) = (0, 0);
    for server in &world.servers {
        let own = format!("{}.crt", server.name);
        let roots = [
            "none",
            "ca.crt",
            "two.crt",
            "oldca.crt",
            "middle.crt",
            own.as_str(),
        ];
        let matters = |root: &&&str| match **root {
            "plain.crt" => false,
            "oldca.crt" => ["underold", "owned"].contains(&server.name),
            "middle.crt" => server.name.starts_with("chained") || server.name == "owned",
            _ => true,
        };
        for root in roots.iter().filter(matters) {
            for mode in MODES {
                for user in ["tester", "sslonly", "plainonly"] {
                    let url = format!(
                        "postgresql://{user}@localhost:{}/postgres?hostaddr=127.0.0.1&sslmode={mode}&sslrootcert={}",
                        server.port,
                        world.file(root)
                    );
                    // Only the certificates themselves are of interest with all three.
                    if user != "tester"
                        && !["plain", "owned", "selfsigned", "expired"].contains(&server.name)
                    {
                        continue;
                    }
                    match compare(&Case::new(url), &mut differences) {
                        Ok(_) => reached += 1,
                        Err(_) => refused += 1,
                    }
                }
            }
        }
    }
    println!("{reached} reached, {refused} refused");
    none_of(&differences);
    assert!(reached > 150 && refused > 150);
}

#[test]
fn names_are_checked_as_in_psql() {
    let world = &*WORLD;
    let mut differences = Vec::new();
    for server in [
        "owned",
        "version1",
        "wronghost",
        "cnonly",
        "wildcard",
        "selfsigned",
    ] {
        for host in [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "db.test.example",
            "a.db.test.example",
            "test.example",
            "other.example",
            "x",
            "",
        ] {
            for sni in ["0", "1"] {
                let root = if server == "selfsigned" {
                    "selfsigned.crt"
                } else {
                    "ca.crt"
                };
                let port = world.server(server).port;
                let url = format!(
                    "host='{host}' hostaddr=127.0.0.1 port={port} user=tester dbname=postgres \
                     sslmode=verify-full sslsni={sni} sslrootcert={}",
                    world.file(root)
                );
                let _ = compare(&Case::new(url), &mut differences);
            }
        }
    }
    none_of(&differences);
}

#[test]
fn prefer_and_allow_fall_back_as_in_psql() {
    let world = &*WORLD;
    let mut differences = Vec::new();
    for server in ["plain", "owned", "expired"] {
        let port = world.server(server).port;
        for mode in MODES {
            for user in [
                "mixed",
                "mixed2",
                "scram",
                "clear",
                "sslonly",
                "plainonly",
                "certuser",
                "nobody",
            ] {
                for password in [None, Some(PASSWORD), Some("wrong")] {
                    for dbname in ["postgres", "missing"] {
                        if dbname == "missing" && password.is_none() {
                            continue;
                        }
                        let url = format!(
                            "host=127.0.0.1 port={port} user={user} dbname={dbname} sslmode={mode} \
                             sslrootcert={}",
                            world.file("ca.crt")
                        );
                        let case = Case::new(url);
                        let case = match password {
                            Some(password) => case.env("PGPASSWORD", password),
                            None => case,
                        };
                        let _ = compare(&case, &mut differences);
                    }
                }
            }
        }
    }
    none_of(&differences);
}

#[test]
fn client_certificates_are_as_in_psql() {
    let world = &*WORLD;
    let mut differences = Vec::new();
    let port = world.server("owned").port;
    let mut good = 0;
    for mode in MODES {
        for (certificate, key) in [
            ("client", "client"),
            ("clientv1", "clientv1"),
            ("wrongclient", "wrongclient"),
            ("foreignclient", "foreignclient"),
            ("client", "wrongclient"),
            ("client", "missing"),
            ("missing", "client"),
        ] {
            for version in ["TLSv1.2", "TLSv1.3"] {
                let url = format!(
                    "host=127.0.0.1 port={port} user=certuser dbname=postgres sslmode={mode} \
                     sslrootcert={} sslcert={} sslkey={} ssl_max_protocol_version={version}",
                    world.file("ca.crt"),
                    world.file(&format!("{certificate}.crt")),
                    world.file(&format!("{key}.key"))
                );
                good += usize::from(compare(&Case::new(url), &mut differences).is_ok());
            }
        }
    }
    // Who may read the key.
    for mode in [0o600, 0o640, 0o644, 0o660, 0o604] {
        let key = world.dir.join(format!("client-{mode:o}.key"));
        fs::copy(world.dir.join("client.key"), &key).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let url = format!(
            "host=127.0.0.1 port={port} user=certuser dbname=postgres sslmode=require sslcert={} \
             sslkey={}",
            world.file("client.crt"),
            key.display()
        );
        let _ = compare(&Case::new(url), &mut differences);
    }
    none_of(&differences);
    assert!(good >= 16, "{good}");
}

/// A home directory with these files, which only its owner can read.
fn home(files: &[(&str, String)]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    home
}

#[test]
fn addresses_and_passwords_are_found_as_in_psql() {
    let world = &*WORLD;
    let mut differences = Vec::new();
    let (plain, owned) = (world.server("plain").port, world.server("owned").port);
    let sockets = world.sockets("plain");
    let dead = dead_port();
    let escaped = PASSWORD.replace('\\', "\\\\").replace(':', "\\:");
    let own = home(&[
        (
            ".pgpass",
            format!(
                "# a \
                 comment\n127.0.0.1:{plain}:postgres:scram:{escaped}\n{sockets}:*:*:scram:{escaped}\nlocalhost:{owned}:*:scram:wrong\n"
            ),
        ),
        (
            ".pg_service.conf",
            format!(
                "[shop]\nhost=127.0.0.1\nport={plain}\nuser=scram\ndbname=postgres\n[bad]\nhots=x\n"
            ),
        ),
        (
            "other.conf",
            format!(
                "[far]\nhost={sockets}\nport={plain}\nuser=tester\ndbname=postgres\nsslmode=require\n"
            ),
        ),
        ("pass2", format!("*:*:*:*:{escaped}\n")),
        (
            ".postgresql/root.crt",
            fs::read_to_string(world.dir.join("otherca.crt")).unwrap(),
        ),
    ]);
    let client_home = home(&[
        (
            ".postgresql/root.crt",
            fs::read_to_string(world.dir.join("ca.crt")).unwrap(),
        ),
        (
            ".postgresql/postgresql.crt",
            fs::read_to_string(world.dir.join("client.crt")).unwrap(),
        ),
        (
            ".postgresql/postgresql.key",
            fs::read_to_string(world.dir.join("client.key")).unwrap(),
        ),
    ]);
    let encoded = sockets.replace('/', "%2F");
    let other = own.path().join("other.conf").display().to_string();
    let pass2 = own.path().join("pass2").display().to_string();
    let url_password: String = PASSWORD.bytes().fold(String::new(), |mut all, byte| {
        let _ = write!(all, "%{byte:02x}");
        all
    });
    let mut cases = vec![
        Case::new(format!("postgresql://tester@{encoded}:{plain}/postgres")),
        Case::new(format!(
            "postgresql:///postgres?host={sockets}&port={plain}&user=tester"
        )),
        Case::new(format!(
            "postgresql://tester@/postgres?host={sockets}&port={plain}&sslmode=verify-full"
        )),
        Case::new(format!(
            "host={sockets} port={plain} user=scram dbname=postgres"
        )),
        Case::new(format!(
            "host={sockets} port={plain} user=scram dbname=postgres"
        ))
        .home(own.path()),
        Case::new(format!(
            "host={sockets} port={dead} user=tester dbname=postgres"
        )),
        Case::new(format!(
            "postgresql://scram:{url_password}@127.0.0.1:{plain}/postgres"
        )),
        Case::new(format!("postgresql://scram@127.0.0.1:{plain}/postgres")).home(own.path()),
        Case::new(format!("postgresql://scram@localhost:{plain}/postgres")).home(own.path()),
        Case::new(format!("postgresql://scram@127.0.0.1:{plain}/template1")).home(own.path()),
        Case::new(format!(
            "host=localhost hostaddr=127.0.0.1 port={owned} user=scram \
                           dbname=postgres sslmode=disable"
        ))
        .home(own.path()),
        Case::new(format!("postgresql://scram@127.0.0.1:{plain}/template1"))
            .home(own.path())
            .env("PGPASSFILE", pass2.as_str()),
        Case::new(format!(
            "host=127.0.0.1 port={plain} user=scram dbname=template1 \
                           passfile='{pass2}'"
        ))
        .home(own.path()),
        Case::new("service=shop").home(own.path()),
        Case::new("postgresql:///?service=shop").home(own.path()),
        Case::new("postgresql:///template1?service=shop")
            .home(own.path())
            .env("PGPASSWORD", PASSWORD),
        Case::new("dbname=template1")
            .home(own.path())
            .env("PGSERVICE", "shop")
            .env("PGPASSWORD", PASSWORD)
            .env("PGPORT", "1"),
        Case::new("service=far").home(own.path()),
        Case::new("service=far")
            .home(own.path())
            .env("PGSERVICEFILE", other.as_str()),
        Case::new("service=bad").home(own.path()),
        Case::new("service=none").home(own.path()),
        Case::new("service=shop")
            .home(own.path())
            .env("PGSERVICEFILE", "/nowhere/services"),
        Case::new(format!(
            "postgresql://tester@127.0.0.1:{dead},127.0.0.1:{plain}/postgres"
        )),
        Case::new(format!(
            "postgresql://tester@nowhere.invalid:{plain},127.0.0.1:{plain}/postgres"
        )),
        Case::new(format!(
            "postgresql://tester@{}:{plain},127.0.0.1:{owned}/postgres",
            "%2Fnowhere"
        )),
        // A server that refuses ends the search; one that is not there does not.
        Case::new(format!(
            "postgresql://plainonly@127.0.0.1:{owned},127.0.0.1:{plain}/postgres?sslmode=require"
        )),
        Case::new(format!(
            "postgresql://tester@127.0.0.1:{plain},127.0.0.1:{owned}/postgres?sslmode=require"
        )),
        Case::new(format!(
            "postgresql://tester@127.0.0.1:{plain},127.0.0.1:{owned}/missing"
        )),
        Case::new(format!(
            "postgresql://tester@127.0.0.1,127.0.0.1:{dead}/postgres?port={plain}"
        )),
        Case::new(format!(
            "host=127.0.0.1,127.0.0.1 port={dead},{plain} user=tester \
                           dbname=postgres"
        )),
        Case::new(format!(
            "host=127.0.0.1,127.0.0.1 port={plain},1,2 user=tester dbname=postgres"
        )),
        Case::new(format!(
            "hostaddr=127.0.0.1 port={plain} user=tester dbname=postgres"
        )),
        Case::new(format!(
            "hostaddr=localhost port={plain} user=tester dbname=postgres"
        )),
        Case::new(""),
        Case::new("user=tester")
            .env("PGHOST", sockets.as_str())
            .env("PGPORT", plain.to_string()),
        Case::new("")
            .env("PGHOST", sockets.as_str())
            .env("PGPORT", plain.to_string())
            .env("PGUSER", "tester")
            .env("PGDATABASE", "postgres"),
        Case::new("")
            .env("PGHOSTADDR", "127.0.0.1")
            .env("PGPORT", owned.to_string())
            .env("PGUSER", "sslonly")
            .env("PGDATABASE", "postgres"),
        Case::new(format!(
            "host=nowhere.invalid port={plain} user=tester dbname=postgres"
        ))
        .env("PGHOSTADDR", "127.0.0.1"),
        Case::new(format!(
            "host=127.0.0.1 port={owned} user=tester dbname=postgres"
        ))
        .env("PGSSLMODE", "disable"),
        Case::new(format!(
            "host=127.0.0.1 port={plain} user=tester dbname=postgres"
        ))
        .env("PGSSLMODE", "require"),
        Case::new(format!(
            "host=127.0.0.1 port={plain} user=tester dbname=postgres"
        ))
        .env("PGREQUIRESSL", "1"),
        Case::new(format!(
            "host=127.0.0.1 port={owned} user=tester dbname=postgres"
        ))
        .env("PGSSLMODE", "nonsense"),
        Case::new(format!(
            "host=127.0.0.1 port={owned} user=tester dbname=postgres \
                           sslmode=verify-ca"
        ))
        .env("PGSSLROOTCERT", world.file("ca.crt")),
        Case::new(format!(
            "postgresql://tester@127.0.0.1:{plain}/postgres?ssl=true"
        )),
        Case::new(format!(
            "postgresql://tester@127.0.0.1:{owned}/postgres?ssl=true"
        )),
        Case::new(format!(
            "postgresql://tester@127.0.0.1:{owned}/postgres?nonsense=true"
        )),
        Case::new(format!(
            "postgresql://tester@127.0.0.1:{owned}/postgres?options=-c%20geqo%3Doff"
        )),
        Case::new(format!(
            "host=127.0.0.1 port={owned} user=tester dbname=postgres options='-c \
                           nonsense=1'"
        )),
        Case::new(format!(
            "host=127.0.0.1 port={owned} user=scram dbname=postgres \
                           channel_binding=require"
        ))
        .env("PGPASSWORD", PASSWORD),
        Case::new(format!(
            "host=127.0.0.1 port={plain} user=scram dbname=postgres \
                           channel_binding=require"
        ))
        .env("PGPASSWORD", PASSWORD),
        Case::new(format!(
            "host=127.0.0.1 port={owned} user=tester dbname=postgres \
                           channel_binding=require"
        )),
        Case::new(format!(
            "host=127.0.0.1 port={owned} user=scram dbname=postgres \
                           channel_binding=disable"
        ))
        .env("PGPASSWORD", PASSWORD),
        Case::new(format!(
            "host=127.0.0.1 port={} user=scram dbname=postgres sslmode=require",
            world.server("wronghost").port
        ))
        .env("PGPASSWORD", PASSWORD),
        Case::new(format!(
            "host=127.0.0.1 port={owned} user=certuser dbname=postgres"
        ))
        .home(client_home.path()),
        Case::new(format!(
            "host=127.0.0.1 port={owned} user=certuser dbname=postgres \
                           sslcertmode=disable"
        ))
        .home(client_home.path()),
        Case::new(format!(
            "postgresql://tester@127.0.0.1:{plain},127.0.0.1:{owned}/postgres?target_session_attrs=standby"
        )),
        Case::new(format!(
            "postgresql://tester@127.0.0.1:{plain},127.0.0.1:{owned}/postgres?target_session_attrs=prefer-standby"
        )),
        Case::new(format!(
            "postgresql://tester@127.0.0.1:{plain}/postgres?target_session_attrs=read-only"
        )),
        Case::new(format!(
            "postgresql://tester@127.0.0.1:{plain}/postgres?target_session_attrs=read-only&options=-c%20default_transaction_read_only%3Don"
        )),
        Case::new(format!(
            "postgresql://tester@127.0.0.1:{plain}/postgres?target_session_attrs=read-write&options=-c%20default_transaction_read_only%3Don"
        )),
        Case::new(format!(
            "postgresql://tester@127.0.0.1:{plain}/postgres?target_session_attrs=primary"
        )),
    ];
    // A root certificate in the home directory is looked at in every mode.
    for mode in MODES {
        cases.push(
            Case::new(format!(
                "host=127.0.0.1 port={owned} user=tester dbname=postgres sslmode={mode}"
            ))
            .home(own.path()),
        );
        cases.push(
            Case::new(format!(
                "host=127.0.0.1 port={owned} user=tester dbname=postgres sslmode={mode}"
            ))
            .home(client_home.path()),
        );
    }
    let mut good = 0;
    for case in &cases {
        // psql 15 does not know it; newer ones do.
        if !case.url.contains("sslcertmode") {
            good += usize::from(compare(case, &mut differences).is_ok());
        }
    }
    none_of(&differences);
    assert!(good > 30, "{good}");
}

/// A port where nobody listens.
fn dead_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn passwords_are_bound_to_the_channel_as_in_psql() {
    let world = &*WORLD;
    let mut differences = Vec::new();
    for server in ["plain", "owned", "version1", "sha512", "pss", "edwards"] {
        for binding in ["disable", "prefer", "require"] {
            let port = world.server(server).port;
            let url = format!(
                "host=127.0.0.1 port={port} user=scram dbname=postgres channel_binding={binding}"
            );
            let case = Case::new(url).env("PGPASSWORD", PASSWORD);
            if server == "edwards" && binding == "prefer" {
                // libpq fails here, as Ed25519 has no hash to bind to; we do without, and tell
                // client programs to.
                ours(&case).unwrap();
                continue;
            }
            let good = compare(&case, &mut differences).is_ok();
            assert!(
                good || binding == "require",
                "{server} {binding}: {:?}",
                ours(&case)
            );
            assert!(
                good || ["plain", "edwards"].contains(&server),
                "{server} {binding}: {:?}",
                ours(&case)
            );
        }
    }
    none_of(&differences);
}

#[test]
fn a_password_file_that_others_read_is_not_used_as_in_psql() {
    let world = &*WORLD;
    let own = home(&[(
        ".pgpass",
        format!("*:*:*:*:{}\n", PASSWORD.replace('\\', "\\\\")),
    )]);
    let case = Case::new(format!(
        "host=127.0.0.1 port={} user=scram dbname=postgres",
        world.server("plain").port
    ))
    .home(own.path());
    for mode in [0o600, 0o400, 0o640, 0o604] {
        fs::set_permissions(own.path().join(".pgpass"), fs::Permissions::from_mode(mode)).unwrap();
        let mut differences = Vec::new();
        let good = compare(&case, &mut differences).is_ok();
        none_of(&differences);
        assert_eq!(good, mode & 0o077 == 0);
        assert_eq!(case.resolve().unwrap().warnings.is_empty(), good);
    }
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let plain = WORLD.server("plain").port;
    let start = Instant::now();
    let error = Case::new(format!(
        "host=127.0.0.1 port={port} user=tester dbname=postgres connect_timeout=2"
    ))
    .connect()
    .unwrap_err();
    assert!(
        error.message().contains("no answer within 2 s"),
        "{error:?}"
    );
    // The next host is tried.
    let case = Case::new(format!(
        "postgresql://tester@127.0.0.1:{port},127.0.0.1:{plain}/postgres?connect_timeout=2"
    ));
    assert_eq!(case.connect().unwrap().reached.port(), plain);
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn errors_say_what_to_do() {
    let world = &*WORLD;
    let (plain, owned) = (world.server("plain").port, world.server("owned").port);
    let root = world.file("ca.crt");
    let full = |server: &str| {
        format!(
            "host=localhost port={} user=tester dbname=postgres sslmode=verify-full \
             sslrootcert={root}",
            world.server(server).port
        )
    };
    for (url, password, message, hint) in [
        (
            format!(
                "host=127.0.0.1 port={} user=tester dbname=shop",
                dead_port()
            ),
            None,
            "can't connect to shop on 127.0.0.1:",
            "is the server running",
        ),
        (
            "host=nowhere.invalid user=tester dbname=shop".into(),
            None,
            "`nowhere.invalid` does not resolve",
            "check `host`",
        ),
        (
            "host=/nowhere user=tester dbname=shop".into(),
            None,
            "there is no socket `/nowhere/.s.PGSQL.5432`",
            "is the server running",
        ),
        (
            format!("host=127.0.0.1 port={plain} user=scram dbname=postgres"),
            None,
            "asks for a password",
            "password_file",
        ),
        (
            format!("host=127.0.0.1 port={plain} user=scram dbname=postgres"),
            Some("wrong"),
            "refuses the password of role `scram`",
            "PGPASSWORD",
        ),
        (
            format!("host=127.0.0.1 port={plain} user=tester dbname=missing"),
            None,
            "database `missing` does not exist",
            "psql -l",
        ),
        (
            format!("host=127.0.0.1 port={plain} user=sslonly dbname=postgres"),
            None,
            "no pg_hba.conf entry",
            "`host postgres sslonly",
        ),
        (
            format!("host=127.0.0.1 port={plain} user=tester dbname=postgres sslmode=require"),
            None,
            "the server has no TLS",
            "ssl = on",
        ),
        (
            format!("host=127.0.0.1 port={owned} user=tester dbname=postgres sslmode=verify-ca"),
            None,
            "no root certificate file",
            "sslrootcert",
        ),
        (
            full("selfsigned"),
            None,
            "is self-signed and not in",
            "add its certificate",
        ),
        (
            full("expired"),
            None,
            "certificate expired on 20",
            "new certificate",
        ),
        (
            full("wronghost"),
            None,
            "is for `other.example`, not for `localhost`",
            "verify-ca",
        ),
        (
            full("owned").replace("ca.crt", "otherca.crt"),
            None,
            "not signed by an authority in",
            "set `sslrootcert`",
        ),
        (
            full("underold").replace("ca.crt", "oldca.crt"),
            None,
            "has expired",
            "new certificate",
        ),
        (
            format!("host=127.0.0.1 port={owned} user=certuser dbname=postgres"),
            None,
            "requires a valid client certificate",
            "`sslcert`",
        ),
    ] {
        let case = Case::new(&url);
        let case = match password {
            Some(password) => case.env("PGPASSWORD", password),
            None => case,
        };
        let error = case
            .connect()
            .map(|session| format!("{session:?}"))
            .unwrap_err();
        println!("{error:?}");
        assert!(error.message().contains(message), "{url}: {error:?}");
        assert!(
            error
                .hint()
                .map(ToString::to_string)
                .unwrap_or_default()
                .contains(hint),
            "{url}: {error:?}"
        );
    }
}

#[test]
fn a_query_is_cancelled_with_and_without_encryption() {
    let world = &*WORLD;
    for mode in ["disable", "require"] {
        let PostgresSession {
            mut client,
            reached,
        } = Case::new(format!(
            "host=127.0.0.1 port={} user=tester dbname=postgres sslmode={mode}",
            world.server("owned").port
        ))
        .connect()
        .unwrap();
        assert_eq!(reached.encrypted(), mode == "require");
        let token = client.cancel_token();
        let other = reached.clone();
        let start = Instant::now();
        let ended = Arc::new(AtomicBool::new(false));
        let ended_too = Arc::clone(&ended);
        let canceller = thread::spawn(move || {
            // One that comes before the query has nothing to cancel.
            while !ended_too.load(Ordering::Relaxed) {
                other.cancel(&token);
                thread::sleep(Duration::from_millis(50));
            }
        });
        let error = client.batch_execute("SELECT pg_sleep(600)").unwrap_err();
        ended.store(true, Ordering::Relaxed);
        assert_eq!(
            error.code(),
            Some(&postgres::error::SqlState::QUERY_CANCELED)
        );
        assert!(start.elapsed() < PATIENCE);
        canceller.join().unwrap();
    }
}

#[test]
fn children_see_no_variable_that_contradicts() {
    let cleared = ReachedServer::cleared_variables();
    for name in [
        "PGHOST",
        "PGSERVICE",
        "PGOPTIONS",
        "PGSSLMODE",
        "PGPASSWORD",
        "PGPASSFILE",
        "PGCLUSTER",
    ] {
        assert!(cleared.contains(&name), "{name}");
    }
}
