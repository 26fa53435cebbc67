//! The addresses of stores on other machines: `s3://`, `gs://`, `az://`, `sftp://` and `rclone:`.

use std::fmt;

/// An address, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteAddress {
    /// A bucket or container of an object store.
    Objects(ObjectAddress),
    /// A directory that `ssh` reaches.
    Sftp(SftpAddress),
    /// What rclone calls a remote with its path, as `b2:acme/web1`.
    Rclone(String),
}

/// Which protocol an object store speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectService {
    /// Amazon S3, and the many that speak its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

/// Where in an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectAddress {
    /// The protocol.
    pub service: ObjectService,
    /// The bucket's or container's name.
    pub bucket: String,
    /// What the keys begin with: empty, or segments with a slash between them and none at the end.
    pub prefix: String,
}

/// Where on a machine that `ssh` reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SftpAddress {
    /// The user's name there; where it is `None`, ssh's own configuration decides.
    pub user: Option<String>,
    /// A name or an address, or a `Host` of ssh's configuration; an IPv6 address without brackets.
    pub host: String,
    /// The port; where it is `None`, ssh's own configuration decides.
    pub port: Option<u16>,
    /// The directory: absolute, or relative to the directory in which the server begins.
    pub path: String,
}

impl ObjectService {
    /// Every protocol, by the scheme of its addresses.
    const ALL: [(&'static str, ObjectService); 3] = [
        ("s3", ObjectService::S3),
        ("gs", ObjectService::Google),
        ("az", ObjectService::Azure),
    ];

    /// The scheme of its addresses.
    pub fn scheme(self) -> &'static str {
        match self {
            ObjectService::S3 => "s3",
            ObjectService::Google => "gs",
            ObjectService::Azure => "az",
        }
    }
}

impl RemoteAddress {
    /// Reads an address; `None` where the text is none but a directory's name. The error is a
    /// sentence without its end, and does not repeat a password.
    pub fn parse(text: &str) -> Result<Option<RemoteAddress>, String> {
        if let Some(remote) = text.strip_prefix("rclone:") {
            return parse_rclone(remote).map(Some);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(None);
        };
        if scheme == "sftp" {
            return parse_sftp(rest).map(|address| Some(RemoteAddress::Sftp(address)));
        }
        let service = ObjectService::ALL.iter().find(|(name, _)| *name == scheme);
        match service {
            Some((_, service)) => {
                parse_objects(*service, rest).map(|address| Some(RemoteAddress::Objects(address)))
            }
            None => Err(format!(
                "a store's address begins with `s3://`, `gs://`, `az://`, `sftp://` or `rclone:`, \
                 not `{scheme}://`"
            )),
        }
    }
}

fn parse_rclone(remote: &str) -> Result<RemoteAddress, String> {
    match remote.split_once(':') {
        Some((name, _)) if name.contains([',', '=']) || name.is_empty() && remote.contains('=') => {
            Err(
                "keys do not belong into an address: make a remote with `rclone config`, and write \
                 `rclone:REMOTE:PATH`"
                    .to_owned(),
            )
        }
        Some((name, _)) if !name.is_empty() => Ok(RemoteAddress::Rclone(
            remote.trim_end_matches('/').to_owned(),
        )),
        _ => Err(format!(
            "`rclone:{remote}` names no remote of rclone: write `rclone:REMOTE:PATH`"
        )),
    }
}

fn parse_objects(service: ObjectService, rest: &str) -> Result<ObjectAddress, String> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let scheme = service.scheme();
    if bucket.contains('@') {
        return Err(format!(
            "keys do not belong into an address: write `{scheme}://BUCKET/PREFIX`, and the keys \
             into the configuration"
        ));
    }
    if bucket.is_empty() || bucket.contains([':', '?', '#']) {
        return Err(format!("write `{scheme}://BUCKET/PREFIX`"));
    }
    Ok(ObjectAddress {
        service,
        bucket: bucket.to_owned(),
        prefix: checked_prefix(prefix)?,
    })
}

/// A prefix without empty segments.
fn checked_prefix(prefix: &str) -> Result<String, String> {
    let segments: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
    if segments.iter().any(|part| matches!(*part, "." | "..")) {
        return Err(format!("`{prefix}` has `.` or `..` in it"));
    }
    if prefix.contains(char::is_control) {
        return Err("the address has a control character in it".to_owned());
    }
    Ok(segments.join("/"))
}

fn parse_sftp(rest: &str) -> Result<SftpAddress, String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, machine) = match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            return Err(
                "a password does not belong into an address: ssh's keys, agent and \
                        configuration are used"
                    .to_owned(),
            );
        }
        Some((user, machine)) => (Some(user.to_owned()), machine),
        None => (None, authority),
    };
    let (host, port) = split_port(machine)?;
    // Both become arguments of ssh, where a word that begins so is an option.
    let is_option = |word: &str| word.starts_with('-');
    if host.is_empty() || is_option(&host) || user.as_deref().is_some_and(is_option) {
        return Err("write `sftp://USER@HOST:PORT/PATH`".to_owned());
    }
    if rest.contains(char::is_control) || rest.contains(' ') && !path.contains(' ') {
        return Err("the address has a space or a control character in it".to_owned());
    }
    // As URLs of sftp have it: `/~/` begins in the user's own directory.
    let path = match path.strip_prefix("~/") {
        Some(relative) => relative.to_owned(),
        None if path == "~" => ".".to_owned(),
        None => format!("/{path}"),
    };
    let path = match path.trim_end_matches('/') {
        "" if path.is_empty() => ".".to_owned(),
        "" => "/".to_owned(),
        trimmed => trimmed.to_owned(),
    };
    Ok(SftpAddress {
        user,
        host,
        port,
        path,
    })
}

fn split_port(machine: &str) -> Result<(String, Option<u16>), String> {
    let refused = |port: &str| format!("`{port}` is no port");
    let parse = |port: &str| port.parse::<u16>().map_err(|_| refused(port)).map(Some);
    if let Some(inner) = machine.strip_prefix('[') {
        let Some((host, after)) = inner.split_once(']') else {
            return Err(format!("`{machine}` lacks a `]`"));
        };
        return match after.strip_prefix(':') {
            Some(port) => Ok((host.to_owned(), parse(port)?)),
            None => Ok((host.to_owned(), None)),
        };
    }
    match machine.rsplit_once(':') {
        Some((host, port)) => Ok((host.to_owned(), parse(port)?)),
        None => Ok((machine.to_owned(), None)),
    }
}

/// As a user writes it.
impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteAddress::Objects(address) => address.fmt(f),
            RemoteAddress::Sftp(address) => address.fmt(f),
            RemoteAddress::Rclone(remote) => write!(f, "rclone:{remote}"),
        }
    }
}

impl fmt::Display for ObjectAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.service.scheme(), self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

impl fmt::Display for SftpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sftp://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match self.path.as_str() {
            "." => f.write_str("/~"),
            absolute if absolute.starts_with('/') => f.write_str(absolute),
            relative => write!(f, "/~/{relative}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> RemoteAddress {
        RemoteAddress::parse(text).unwrap().unwrap()
    }

    #[test]
    fn addresses_are_taken_apart_and_written_again() {
        for (text, written) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket//web1//a/", "s3://bucket/web1/a"),
            ("gs://b/p", "gs://b/p"),
            ("az://container/p", "az://container/p"),
            ("sftp://u@host:2222/srv/b/", "sftp://u@host:2222/srv/b"),
            ("sftp://host/~/b", "sftp://host/~/b"),
            ("sftp://host", "sftp://host/"),
            ("sftp://[fe80::1]:22/b", "sftp://[fe80::1]:22/b"),
            ("rclone:b2:acme/web1/", "rclone:b2:acme/web1"),
            ("rclone:local:", "rclone:local:"),
        ] {
            let address = parsed(text);
            assert_eq!(address.to_string(), written);
            assert_eq!(parsed(written), address, "{text}");
        }
        assert_eq!(RemoteAddress::parse("/var/backups"), Ok(None));
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_secrets() {
        for text in [
            "ftp://host/b",
            "s3://",
            "s3:///p",
            "s3://key:s3cret@bucket",
            "s3://b/../c",
            "sftp://u:s3cret@host/b",
            "sftp://-oProxyCommand=x/b",
            "sftp://-o@host/b",
            "sftp://host:x/b",
            "sftp:///b",
            "rclone:",
            "rclone:path",
            "rclone:b2,key=s3cret:bucket",
            "rclone::s3,secret_access_key=s3cret:bucket",
        ] {
            let why = RemoteAddress::parse(text).unwrap_err();
            assert!(!why.contains("s3cret"), "{why}");
        }
    }
}
