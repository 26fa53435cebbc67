//! TLS to a PostgreSQL server, by rustls under libpq's rules.
//!
//! [`TlsSettings`] holds the parameters, as `sslmode`. The files are read for each attempt
//! ([`TlsClient`]), since a certificate may be renewed during a long run. `verify` decides which
//! certificates are accepted.

mod files;
mod host_name;
mod verify;

use super::conninfo::dsn::format_pair;
use super::conninfo::params::Params;
use crate::error::Result;
use files::{ClientCertificate, load_system, read_certificates, read_key};
use postgres::Socket;
use postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A fault of a certificate or of a file in the TLS settings, with its remedy.
#[derive(Debug, Clone)]
pub(super) struct TlsFault {
    pub message: String,
    pub hint: String,
}

impl TlsFault {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> TlsFault {
        TlsFault {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TlsFault {}

/// `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum TlsMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// `sslrootcert`.
#[derive(Debug, Clone)]
enum TrustRoot {
    /// A file, which must exist only if the mode verifies.
    File(PathBuf),
    /// The operating system's authorities.
    System,
}

/// The settings of TLS. Paths are absolute, so that client programs find the same files.
#[derive(Debug, Clone)]
pub(super) struct TlsSettings {
    pub mode: TlsMode,
    root: TrustRoot,
    /// libpq's default list of revoked certificates. Lists are not supported, so its presence is an
    /// error.
    revoked: PathBuf,
    certificate: Option<PathBuf>,
    key: PathBuf,
    send_name: bool,
    versions: &'static [&'static SupportedProtocolVersion],
    /// The lower and the upper bound as they were given.
    bounds: [Option<String>; 2],
    /// Whether TLS begins with the first byte, which servers of release 17 support.
    pub direct: bool,
}

static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
static ONLY_12: [&SupportedProtocolVersion; 1] = [&TLS12];
static ONLY_13: [&SupportedProtocolVersion; 1] = [&TLS13];

impl TlsSettings {
    /// Reads the parameters. `home` is the directory of libpq's default files.
    pub(super) fn resolve(
        params: &Params,
        home: Option<&Path>,
        warnings: &mut Vec<String>,
    ) -> Result<TlsSettings> {
        let own = home.unwrap_or(Path::new("/nowhere")).join(".postgresql");
        let path = |name: &str, default: &str| {
            params.get(name).map_or_else(|| own.join(default), absolute)
        };
        let root = match params.get("sslrootcert") {
            Some("system") => TrustRoot::System,
            _ => TrustRoot::File(path("sslrootcert", "root.crt")),
        };
        let mode = mode(params, &root)?;
        let direct = params
            .choice("sslnegotiation", &[("postgres", false), ("direct", true)])?
            .unwrap_or(false);
        if direct && mode < TlsMode::Require {
            return Err(params.fault("sslnegotiation", "it needs at least `sslmode=require`"));
        }
        let certificate = path("sslcert", "postgresql.crt");
        if params.get("sslcert").is_some() && !certificate.exists() {
            warnings.push(format!(
                "client certificate `{}` does not exist: none is shown to the server",
                certificate.display()
            ));
        }
        let key = path("sslkey", "postgresql.key");
        if params.get("sslkey").is_some_and(|key| key.contains(':')) {
            return Err(params.fault("sslkey", "keys in hardware are not supported"));
        }
        Ok(TlsSettings {
            mode,
            root,
            revoked: own.join("root.crl"),
            certificate: Some(certificate).filter(|_| params.get("sslcertmode") != Some("disable")),
            key,
            send_name: params.number("sslsni")?.unwrap_or(1) != 0,
            versions: versions(params)?,
            bounds: ["ssl_min_protocol_version", "ssl_max_protocol_version"]
                .map(|name| params.get(name).map(str::to_owned)),
            direct,
        })
    }

    /// Reads the files and prepares TLS for one server. `name` is the name that its certificate
    /// must have.
    pub(super) fn client(
        &self,
        name: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<TlsClient, TlsFault> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (roots, label) = self.load_roots()?;
        let wanted_name = match self.mode {
            TlsMode::VerifyFull => Some(name.ok_or_else(|| {
                TlsFault::new(
                    "there is no host name to check the certificate for",
                    "set `host` beside `hostaddr`",
                )
            })?),
            _ => None,
        };
        let algorithms = provider.signature_verification_algorithms;
        let verifier = verify::CertificateVerifier::new(roots, &label, wanted_name, algorithms)?;
        let client = self.load_client(&provider)?;
        let (client, files) = client.map(|client| (client.resolver, client.files)).unzip();
        let name = name
            .and_then(server_name)
            .or_else(|| address.map(|address| ServerName::IpAddress(address.into())));
        // No name is sent for an address. The verifier checks names, not rustls.
        let nameless = || ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into());
        let config = self.config(provider, Arc::new(verifier), client);
        Ok(TlsClient {
            config: Arc::new(config.map_err(|error| {
                TlsFault::new(
                    format!("TLS can't be set up: {error}"),
                    "look at the ssl… parameters",
                )
            })?),
            name: name.unwrap_or_else(nameless),
            stage: Arc::default(),
            root: label,
            client: files,
        })
    }

    fn config(
        &self,
        provider: Arc<CryptoProvider>,
        verifier: Arc<dyn ServerCertVerifier>,
        client: Option<Arc<SingleCertAndKey>>,
    ) -> Result<ClientConfig, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match client {
            Some(client) => builder.with_client_cert_resolver(client),
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = self.send_name;
        if self.direct {
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(config)
    }

    /// Loads the authorities, if the mode requires them or the file exists: libpq then checks in
    /// every mode. Returns the path of the same authorities for client programs, too.
    fn load_roots(&self) -> Result<(Vec<CertificateDer<'static>>, Option<String>), TlsFault> {
        let file = match &self.root {
            TrustRoot::System => return load_system(),
            TrustRoot::File(file) => file,
        };
        if !file.exists() {
            if self.mode < TlsMode::VerifyCa {
                return Ok((Vec::new(), None));
            }
            return Err(TlsFault::new(
                format!(
                    "there is no root certificate file `{}` to verify the server with",
                    file.display()
                ),
                "set `sslrootcert` to the certificate of the authority that signed the server's, \
                 or to `system`",
            ));
        }
        if self.revoked.exists() {
            return Err(TlsFault::new(
                format!(
                    "the revocation list `{}` can't be honoured",
                    self.revoked.display()
                ),
                "certificate revocation lists are not supported: move it away",
            ));
        }
        Ok((
            read_certificates(file, "sslrootcert")?,
            Some(file.display().to_string()),
        ))
    }

    /// Loads the client's certificate and key, if there is a certificate.
    fn load_client(
        &self,
        provider: &CryptoProvider,
    ) -> Result<Option<ClientCertificate>, TlsFault> {
        let Some(file) = self.certificate.as_deref().filter(|file| file.exists()) else {
            return Ok(None);
        };
        let chain = read_certificates(file, "sslcert")?;
        let key = read_key(&self.key)?;
        let in_words = self.key.display();
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| {
                TlsFault::new(
                    format!("the client's key `{in_words}` can't be used: {error}"),
                    "RSA, ECDSA and Ed25519 keys can be",
                )
            })?;
        if let (Some(of_key), Some(of_certificate)) =
            (key.public_key(), chain.first().and_then(verify::public_key))
            && *of_key != *of_certificate
        {
            return Err(TlsFault::new(
                format!(
                    "the client's key `{in_words}` does not belong to its certificate `{}`",
                    file.display()
                ),
                "set `sslcert` and `sslkey` to files that were made together",
            ));
        }
        let files = [file.display().to_string(), in_words.to_string()];
        Ok(Some(ClientCertificate {
            resolver: Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))),
            files,
        }))
    }
}

/// The value of `sslmode`, or its default, which depends on the authorities.
fn mode(params: &Params, root: &TrustRoot) -> Result<TlsMode> {
    let words = [
        ("disable", TlsMode::Disable),
        ("allow", TlsMode::Allow),
        ("prefer", TlsMode::Prefer),
        ("require", TlsMode::Require),
        ("verify-ca", TlsMode::VerifyCa),
        ("verify-full", TlsMode::VerifyFull),
    ];
    let mode = params.choice("sslmode", &words)?;
    match (root, mode) {
        (TrustRoot::System, None) => Ok(TlsMode::VerifyFull),
        (TrustRoot::System, Some(mode)) if mode != TlsMode::VerifyFull => Err(params.fault(
            "sslmode",
            "with `sslrootcert=system` only `verify-full` is safe, so nothing else is possible",
        )),
        (_, mode) => Ok(mode.unwrap_or(TlsMode::Prefer)),
    }
}

/// The versions of TLS between the two bounds. Versions before 1.2 are not supported, but accepted
/// as a lower bound.
fn versions(params: &Params) -> Result<&'static [&'static SupportedProtocolVersion]> {
    let words = [
        ("TLSv1", 10),
        ("TLSv1.1", 11),
        ("TLSv1.2", 12),
        ("TLSv1.3", 13),
    ];
    let low = params
        .choice("ssl_min_protocol_version", &words)?
        .unwrap_or(12);
    let high = params
        .choice("ssl_max_protocol_version", &words)?
        .unwrap_or(13);
    match (low, high) {
        (_, ..12) => Err(params.fault(
            "ssl_max_protocol_version",
            "TLS before 1.2 is not supported",
        )),
        (low, high) if low > high => Err(params.fault(
            "ssl_max_protocol_version",
            "it is below `ssl_min_protocol_version`",
        )),
        (13, _) => Ok(&ONLY_13),
        (_, 12) => Ok(&ONLY_12),
        _ => Ok(&BOTH),
    }
}

fn absolute(path: &str) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))
}

/// A name or address that can be sent in the handshake.
fn server_name(name: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).ok()
}

/// TLS for connections to one server, in the form that the `postgres` crate takes.
#[derive(Clone)]
pub(super) struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// A [`TlsStage`] as 0, 1 and 2. 3 is encrypted, too, by a certificate that nothing can be
    /// bound to.
    stage: Arc<AtomicU8>,
    root: Option<String>,
    client: Option<[String; 2]>,
}

/// How far an attempt with TLS came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsStage {
    /// The server was not reached, or has no TLS.
    Before,
    /// The server has TLS; the handshake failed or is not finished.
    Handshake,
    /// The connection is encrypted.
    Encrypted,
}

impl TlsClient {
    /// The stage of the last attempt.
    pub(super) fn stage(&self) -> TlsStage {
        match self.stage.load(Ordering::SeqCst) {
            0 => TlsStage::Before,
            1 => TlsStage::Handshake,
            _ => TlsStage::Encrypted,
        }
    }

    /// Whether a password exchange can be bound to the server's certificate.
    pub(super) fn can_bind(&self) -> bool {
        self.stage.load(Ordering::SeqCst) == 2
    }

    /// The parameters that make libpq do the same.
    pub(super) fn pairs(&self, settings: &TlsSettings) -> Vec<String> {
        let mode = match settings.mode {
            TlsMode::VerifyCa => "verify-ca",
            TlsMode::VerifyFull => "verify-full",
            // What was allowed or preferred has been decided.
            _ => "require",
        };
        let mut pairs = vec![format_pair("sslmode", mode)];
        let mut put = |name: &str, value: Option<&String>| {
            pairs.extend(value.map(|value| format_pair(name, value)))
        };
        put("sslrootcert", self.root.as_ref());
        match &self.client {
            Some([certificate, key]) => {
                put("sslcert", Some(certificate));
                put("sslkey", Some(key));
            }
            // The equivalent of `sslcertmode=disable` for programs that don't know it: a file that
            // can't exist.
            None if settings.certificate.is_none() => {
                put("sslcert", Some(&"/dev/null/none".to_owned()))
            }
            None => {}
        }
        put("ssl_min_protocol_version", settings.bounds[0].as_ref());
        put("ssl_max_protocol_version", settings.bounds[1].as_ref());
        if !settings.send_name {
            pairs.push(format_pair("sslsni", "0"));
        }
        if settings.direct {
            pairs.push(format_pair("sslnegotiation", "direct"));
        }
        pairs
    }
}

impl MakeTlsConnect<Socket> for TlsClient {
    type Stream = EncryptedStream;
    type TlsConnect = TlsClient;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<TlsClient, Infallible> {
        self.stage.store(0, Ordering::SeqCst);
        Ok(self.clone())
    }
}

impl TlsConnect<Socket> for TlsClient {
    type Stream = EncryptedStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<EncryptedStream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            self.stage.store(1, Ordering::SeqCst);
            let stream = tokio_rustls::TlsConnector::from(self.config)
                .connect(self.name, socket)
                .await?;
            let stream = EncryptedStream(stream);
            self.stage.store(
                if stream.fingerprint().is_some() { 2 } else { 3 },
                Ordering::SeqCst,
            );
            Ok(stream)
        })
    }
}

/// An encrypted connection in the form that the `postgres` crate takes.
pub(super) struct EncryptedStream(tokio_rustls::client::TlsStream<Socket>);

impl EncryptedStream {
    fn fingerprint(&self) -> Option<Vec<u8>> {
        self.0
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first)
            .and_then(verify::fingerprint)
    }
}

impl TlsStream for EncryptedStream {
    fn channel_binding(&self) -> ChannelBinding {
        self.fingerprint()
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for EncryptedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for EncryptedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
