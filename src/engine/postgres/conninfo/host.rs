//! The servers of an address, and the way to reach each of them.

use super::params::Params;
use crate::error::Result;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

/// A server to try.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::engine::postgres) struct Host {
    pub at: Endpoint,
    pub port: u16,
}

/// The way to reach a server.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::engine::postgres) enum Endpoint {
    /// Through a Unix socket in this directory.
    Socket(String),
    /// By TCP: by a name, which is looked up and compared with certificates, by an address, or
    /// both.
    Tcp {
        name: Option<String>,
        address: Option<IpAddr>,
    },
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Endpoint::Socket(directory) if self.port == 5432 => f.write_str(directory),
            Endpoint::Socket(directory) => write!(f, "{directory}:{}", self.port),
            Endpoint::Tcp {
                name: Some(name), ..
            } if !name.contains(':') => write!(f, "{name}:{}", self.port),
            Endpoint::Tcp {
                name: Some(name), ..
            } => write!(f, "[{name}]:{}", self.port),
            Endpoint::Tcp {
                address: Some(IpAddr::V6(address)),
                ..
            } => write!(f, "[{address}]:{}", self.port),
            Endpoint::Tcp { address, .. } => {
                write!(
                    f,
                    "{}:{}",
                    address.map_or_else(String::new, |address| address.to_string()),
                    self.port
                )
            }
        }
    }
}

impl Host {
    /// The name or address in the form of libpq's `host`.
    pub(in crate::engine::postgres) fn name(&self) -> String {
        match &self.at {
            Endpoint::Socket(directory) => directory.clone(),
            Endpoint::Tcp { name, address } => name
                .clone()
                .or_else(|| address.map(|address| address.to_string()))
                .unwrap_or_default(),
        }
    }

    /// The names by which a password file may know this server.
    pub(super) fn names_in_passfile(&self) -> Vec<String> {
        match &self.at {
            Endpoint::Socket(directory) if SOCKET_DIRECTORIES.contains(&directory.as_str()) => {
                vec!["localhost".into(), directory.clone()]
            }
            _ => vec![self.name()],
        }
    }
}

/// The servers to try, in order: the lists `host`, `hostaddr` and `port` side by side.
pub(super) fn parse_hosts(params: &Params) -> Result<Vec<Host>> {
    let names = parse_list(params, "host");
    let addresses = parse_list(params, "hostaddr");
    let ports = parse_list(params, "port");
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(params.fault(
            "hostaddr",
            &format!(
                "there are {} hosts and {} addresses",
                names.len(),
                addresses.len()
            ),
        ));
    }
    let count = names.len().max(addresses.len()).max(1);
    if ports.len() > 1 && ports.len() != count {
        return Err(params.fault(
            "port",
            &format!("there are {} ports for {count} hosts", ports.len()),
        ));
    }
    (0..count)
        .map(|index| {
            let port = element(&ports, if ports.len() == 1 { 0 } else { index });
            let port =
                match port {
                    None => 5432,
                    Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                        params.fault("port", "a port is a number from 1 to 65535")
                    })?,
                };
            Ok(Host {
                at: parse_endpoint(
                    params,
                    element(&names, index),
                    element(&addresses, index),
                    port,
                )?,
                port,
            })
        })
        .collect()
}

/// A parameter that is a list with commas.
fn parse_list(params: &Params, name: &str) -> Vec<String> {
    let text = params.get(name).map(|text| text.split(','));
    text.into_iter()
        .flatten()
        .map(|one| one.trim().to_owned())
        .collect()
}

/// An element of a list, unless it is empty.
fn element(list: &[String], index: usize) -> Option<String> {
    list.get(index).filter(|one| !one.is_empty()).cloned()
}

/// The way to reach one of the servers.
fn parse_endpoint(
    params: &Params,
    name: Option<String>,
    address: Option<String>,
    port: u16,
) -> Result<Endpoint> {
    if let Some(address) = address {
        let address = address
            .parse()
            .map_err(|_| params.fault("hostaddr", "it is not an IP address"))?;
        return Ok(Endpoint::Tcp {
            name,
            address: Some(address),
        });
    }
    match name {
        None => Ok(Endpoint::Socket(socket_directory(port).into())),
        Some(name) if name.starts_with('/') => Ok(Endpoint::Socket(name)),
        Some(name) if name.starts_with('@') => {
            Err(params.fault("host", "abstract sockets are not supported"))
        }
        Some(name) => Ok(Endpoint::Tcp {
            name: Some(name),
            address: None,
        }),
    }
}

/// The socket directories of Debian and of vanilla PostgreSQL. A libpq has either as its default,
/// decided when it was built.
pub(super) const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// The default socket directory: the one where a server listens on this port, else the first that
/// exists.
fn socket_directory(port: u16) -> &'static str {
    let holds = |directory: &&str| {
        Path::new(directory)
            .join(format!(".s.PGSQL.{port}"))
            .exists()
    };
    let mut existing = SOCKET_DIRECTORIES
        .into_iter()
        .filter(|directory| Path::new(directory).is_dir());
    SOCKET_DIRECTORIES
        .into_iter()
        .find(holds)
        .or_else(|| existing.next())
        .unwrap_or(SOCKET_DIRECTORIES[0])
}
