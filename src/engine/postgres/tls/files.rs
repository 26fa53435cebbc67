//! The files of the TLS settings: authorities, the client's certificate and its key.

use super::TlsFault;
use crate::error::Error;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SingleCertAndKey;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// The client's certificate with its key, and the files of both.
pub(super) struct ClientCertificate {
    pub(super) resolver: Arc<SingleCertAndKey>,
    pub(super) files: [String; 2],
}

/// The files in which systems keep their authorities: Debian, Red Hat, SUSE, Alpine and macOS.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Loads the operating system's authorities. Client programs before release 16 don't know `system`,
/// so they get the file.
pub(super) fn load_system() -> Result<(Vec<CertificateDer<'static>>, Option<String>), TlsFault> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(TlsFault::new(
            "this system has no trusted certificates",
            "install the package `ca-certificates`",
        ));
    }
    let bundle = BUNDLES
        .iter()
        .find(|path| Path::new(path).exists())
        .map_or("system", |path| path);
    let bundle = std::env::var("SSL_CERT_FILE")
        .ok()
        .filter(|file| Path::new(file).exists())
        .unwrap_or_else(|| bundle.into());
    Ok((found.certs, Some(bundle)))
}

pub(super) fn read_certificates(
    file: &Path,
    parameter: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let unreadable = |what: String| {
        TlsFault::new(
            format!("certificate file `{}`: {what}", file.display()),
            format!("look at `{parameter}`"),
        )
    };
    match all {
        Err(rustls::pki_types::pem::Error::Io(error)) => {
            Err(unreadable(Error::from(error).message()))
        }
        Err(error) => Err(unreadable(error.to_string())),
        Ok(all) if all.is_empty() => {
            Err(unreadable("it holds no certificate in PEM format".into()))
        }
        Ok(all) => Ok(all),
    }
}

/// Reads the client's key, under libpq's rules for who may read it.
pub(super) fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsFault> {
    let shown = file.display();
    let facts = fs::metadata(file).map_err(|error| {
        TlsFault::new(
            format!(
                "there is a client certificate, but no key `{shown}`: {}",
                Error::from(error)
            ),
            "set `sslkey`",
        )
    })?;
    if !facts.is_file() {
        return Err(TlsFault::new(
            format!("the client's key `{shown}` is not a regular file"),
            "set `sslkey`",
        ));
    }
    // A file of root's may be readable for a group, as on Debian.
    let forbidden = if facts.uid() == 0 { 0o037 } else { 0o077 };
    if facts.permissions().mode() & forbidden != 0 {
        return Err(TlsFault::new(
            format!("the client's key `{shown}` has group or world access"),
            format!("run `chmod 0600 {shown}`"),
        ));
    }
    let bytes = fs::read(file).map_err(|error| {
        TlsFault::new(
            format!("the client's key `{shown}`: {}", Error::from(error)),
            "set `sslkey`",
        )
    })?;
    if bytes.windows(9).any(|part| part == b"ENCRYPTED") {
        return Err(TlsFault::new(
            format!("the client's key `{shown}` is encrypted, which is not supported"),
            "decrypt it: `openssl pkey -in KEY -out NEW`, and set `sslkey`",
        ));
    }
    // PEM, or DER, which libpq tries second.
    PrivateKeyDer::from_pem_slice(&bytes)
        .or_else(|_| PrivateKeyDer::try_from(bytes.as_slice()).map(|key| key.clone_key()))
        .map_err(|_| {
            TlsFault::new(
                format!("the client's key `{shown}` is not a private key"),
                "set `sslkey` to a key in PEM format",
            )
        })
}
