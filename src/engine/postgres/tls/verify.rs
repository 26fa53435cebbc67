//! Decides which server certificates are accepted: those that OpenSSL accepts for libpq. webpki
//! checks them where it is as lenient.
//!
//! webpki refuses three kinds that PostgreSQL servers really have and psql accepts: a self-signed
//! certificate that is itself among the authorities, one marked as an authority that serves as a
//! server's (`openssl req -x509` makes both), and X.509 version 1, which the example in
//! PostgreSQL's own documentation makes. Those are checked here. Names are compared as by libpq:
//! the common name counts where there is no alternative name of the host's kind.

use super::TlsFault;
use super::host_name::check_name;
use crate::units;
use chrono::DateTime;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::parse_x509_certificate;
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::X509Version;

/// The greatest number of authorities between a server's certificate and a root.
const DEPTH: u32 = 8;

/// Verifies a server's certificate.
#[derive(Debug)]
pub(super) struct CertificateVerifier {
    /// The self-signed certificates of the file. As for OpenSSL only they end a chain, so that
    /// client programs agree.
    roots: Vec<CertificateDer<'static>>,
    /// The other certificates of the file, which may be in the middle of a chain. If both lists are
    /// empty nothing is checked.
    middle: Vec<CertificateDer<'static>>,
    /// The file that they came from, for messages.
    file: String,
    /// The host that the certificate must be for.
    name: Option<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl CertificateVerifier {
    pub(super) fn new(
        roots: Vec<CertificateDer<'static>>,
        file: &Option<String>,
        name: Option<&str>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<CertificateVerifier, TlsFault> {
        let file = file.clone().unwrap_or_default();
        let all = roots;
        if let Some(number) = all.iter().position(|root| parse(root).is_none()) {
            return Err(TlsFault::new(
                format!("certificate {} in `{file}` can't be read", number + 1),
                "look at `sslrootcert`",
            ));
        }
        let (roots, middle) = all
            .into_iter()
            .partition(|one| parse(one).is_some_and(|one| is_self_issued(&one)));
        Ok(CertificateVerifier {
            roots,
            middle,
            file,
            name: name.map(str::to_owned),
            algorithms,
        })
    }

    /// Checks validity, chain and name, as far as they are required.
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), TlsFault> {
        if self.roots.is_empty() && self.middle.is_empty() {
            return Ok(());
        }
        let certificate = parse(leaf).ok_or_else(|| {
            TlsFault::new(
                "the server's certificate can't be read",
                "make the server a new certificate",
            )
        })?;
        check_time(&certificate, now)?;
        if !self.is_own_root(&certificate, leaf) {
            self.check_chain(&certificate, leaf, others, now)?;
        }
        match &self.name {
            Some(name) => check_name(&certificate, name),
            None => Ok(()),
        }
    }

    /// Whether the certificate is self-signed and itself among the roots.
    fn is_own_root(&self, certificate: &X509Certificate<'_>, leaf: &CertificateDer<'_>) -> bool {
        is_self_issued(certificate) && self.roots.iter().any(|root| root.as_ref() == leaf.as_ref())
    }

    fn check_chain(
        &self,
        certificate: &X509Certificate<'_>,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), TlsFault> {
        let mut anchors = RootCertStore::empty();
        let usable = |root: &&CertificateDer<'static>| {
            parse(root).is_some_and(|root| is_valid(&root, now) && may_sign(&root))
        };
        anchors.add_parsable_certificates(self.roots.iter().filter(usable).cloned());
        let by_webpki = ParsedCertificate::try_from(leaf).and_then(|parsed| {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &anchors,
                others,
                now,
                self.algorithms.all,
            )
        });
        let Err(error) = by_webpki else { return Ok(()) };
        let others: Vec<X509Certificate<'_>> = others.iter().filter_map(parse).collect();
        let beyond_webpki = certificate.version() == X509Version::V1 || certificate.is_ca();
        if beyond_webpki && serves(certificate) && self.is_vouched_for(certificate, &others, now, 0)
        {
            return Ok(());
        }
        Err(self.explain_error(certificate, &error, now))
    }

    /// The second way: whether the certificate was signed by a root, or by an authority that the
    /// server sent and for which the same holds.
    fn is_vouched_for(
        &self,
        certificate: &X509Certificate<'_>,
        others: &[X509Certificate<'_>],
        now: UnixTime,
        depth: u32,
    ) -> bool {
        let is_issued_by =
            |issuer: &X509Certificate<'_>| self.is_issued_by(certificate, issuer, now, depth);
        self.roots
            .iter()
            .filter_map(parse)
            .any(|root| is_issued_by(&root))
            || depth < DEPTH
                && others.iter().any(|issuer| {
                    is_issued_by(issuer) && self.is_vouched_for(issuer, others, now, depth + 1)
                })
    }

    /// Whether an authority signed the certificate and may do so, at this depth of the chain.
    fn is_issued_by(
        &self,
        certificate: &X509Certificate<'_>,
        issuer: &X509Certificate<'_>,
        now: UnixTime,
        depth: u32,
    ) -> bool {
        issuer.subject().as_raw() == certificate.issuer().as_raw()
            && is_valid(issuer, now)
            && may_sign(issuer)
            && allows_depth(issuer, depth)
            && is_understood(issuer)
            && self.signed_by(certificate, issuer)
    }

    fn signed_by(&self, certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
        let (message, signature) = (
            certificate.tbs_certificate.as_ref(),
            &certificate.signature_value.data,
        );
        let key = &issuer.public_key().subject_public_key.data;
        self.algorithms
            .all
            .iter()
            .any(|algorithm| algorithm.verify_signature(key, message, signature).is_ok())
    }

    /// The reason why there is no chain, with a remedy.
    fn explain_error(
        &self,
        certificate: &X509Certificate<'_>,
        error: &rustls::Error,
        now: UnixTime,
    ) -> TlsFault {
        let file = &self.file;
        if is_self_issued(certificate) {
            return TlsFault::new(
                format!("the server's certificate is self-signed and not in `{file}`"),
                format!(
                    "if it is the right server, add its certificate (`server.crt` in its data \
                     directory) to `{file}`"
                ),
            );
        }
        if let rustls::Error::InvalidCertificate(
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
        ) = error
        {
            return TlsFault::new(
                "the server's certificate is signed in a way that is not supported: ECDSA with \
                 SHA-512, P-521 and SHA-1 are not",
                "have it signed with SHA-256 or SHA-384",
            );
        }
        let issuer = |root: &&CertificateDer<'static>| {
            parse(root).is_some_and(|root| root.subject().as_raw() == certificate.issuer().as_raw())
        };
        let known = self.roots.iter().find(issuer).and_then(parse);
        match known {
            Some(root) if !is_valid(&root, now) => TlsFault::new(
                format!(
                    "the authority in `{file}` that signed the server's certificate has expired"
                ),
                "put the authority's new certificate into `sslrootcert`",
            ),
            _ if matches!(
                error,
                rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)
            ) || known.is_none() =>
            {
                TlsFault::new(
                    format!(
                        "the server's certificate is not signed by an authority in `{file}`; it is \
                         signed by `{}`",
                        certificate.issuer()
                    ),
                    "set `sslrootcert` to the certificate of the authority that signed the \
                     server's",
                )
            }
            _ => TlsFault::new(
                format!("the server's certificate is refused: {error}"),
                "make the server a new certificate",
            ),
        }
    }
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(leaf, others, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|fault| {
                rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(
                    fault,
                ))))
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // rustls would refuse a certificate of version 1.
        let certificate = parse(leaf).ok_or(CertificateError::BadEncoding)?;
        let key = &certificate.public_key().subject_public_key.data;
        let fitting = self
            .algorithms
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == signed.scheme)
            .flat_map(|(_, all)| *all);
        let good = |algorithm: &dyn rustls::pki_types::SignatureVerificationAlgorithm| {
            algorithm
                .verify_signature(key, message, signed.signature())
                .is_ok()
        };
        if fitting.into_iter().any(|algorithm| good(*algorithm)) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let certificate = parse(leaf).ok_or(CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    parse_x509_certificate(der.as_ref())
        .ok()
        .filter(|(rest, _)| rest.is_empty())
        .map(|(_, certificate)| certificate)
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

fn is_valid(certificate: &X509Certificate<'_>, now: UnixTime) -> bool {
    check_time(certificate, now).is_ok()
}

fn check_time(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), TlsFault> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    let (from, to) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    let words =
        |seconds: i64| DateTime::from_timestamp(seconds, 0).map_or_else(String::new, units::stamp);
    if now > to {
        return Err(TlsFault::new(
            format!("the server's certificate expired on {}", words(to)),
            "give the server a new certificate",
        ));
    }
    if now < from {
        let hint = "is the clock of this machine right? Else give the server a new certificate";
        return Err(TlsFault::new(
            format!(
                "the server's certificate is not valid before {}",
                words(from)
            ),
            hint,
        ));
    }
    Ok(())
}

/// Whether a certificate may sign others: it is marked as an authority, or it is a self-signed one
/// of version 1, which has no such mark.
fn may_sign(certificate: &X509Certificate<'_>) -> bool {
    let Ok(usage) = certificate.key_usage() else {
        return false;
    };
    let signs = usage.as_ref().map(|usage| usage.value.key_cert_sign());
    match certificate.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca && signs.unwrap_or(true),
        Ok(None) if certificate.version() == X509Version::V1 => is_self_issued(certificate),
        Ok(None) => signs.unwrap_or(false),
        Err(_) => false,
    }
}

fn allows_depth(issuer: &X509Certificate<'_>, depth: u32) -> bool {
    let limit = issuer
        .basic_constraints()
        .ok()
        .flatten()
        .and_then(|constraints| constraints.value.path_len_constraint);
    limit.is_none_or(|limit| depth <= limit)
}

/// Whether the certificate has no critical extension that this code does not know, and no
/// constraint on names, which it would not check.
fn is_understood(certificate: &X509Certificate<'_>) -> bool {
    certificate
        .extensions()
        .iter()
        .all(|extension| match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_) => true,
            ParsedExtension::NameConstraints(_) => false,
            _ => !extension.critical,
        })
}

/// Whether a certificate may belong to a server.
fn serves(certificate: &X509Certificate<'_>) -> bool {
    let purpose = match certificate.extended_key_usage() {
        Ok(Some(usage)) => usage.value.server_auth || usage.value.any,
        Ok(None) => true,
        Err(_) => false,
    };
    purpose && is_understood(certificate)
}

/// The public key of a certificate.
pub(super) fn public_key(der: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    parse(der)
        .map(|certificate| SubjectPublicKeyInfoDer::from(certificate.public_key().raw.to_vec()))
}

/// The value that a password exchange is bound to (RFC 5929, `tls-server-end-point`): the hash of
/// the certificate, by the algorithm of its signature.
pub(super) fn fingerprint(der: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let certificate = parse(der)?;
    let mut algorithm = certificate.signature_algorithm.algorithm.to_id_string();
    if let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) =
        SignatureAlgorithm::try_from(&certificate.signature_algorithm)
    {
        algorithm = parameters.hash_algorithm_oid().to_id_string();
    }
    match algorithm.as_str() {
        // The algorithms with RSA, with ECDSA, and the hash alone. MD5 and SHA-1 count as SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2"
        | "1.3.14.3.2.26"
        | "2.16.840.1.101.3.4.2.1" => Some(Sha256::digest(der).to_vec()),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" | "2.16.840.1.101.3.4.2.2" => {
            Some(Sha384::digest(der).to_vec())
        }
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" | "2.16.840.1.101.3.4.2.3" => {
            Some(Sha512::digest(der).to_vec())
        }
        // Ed25519 has no hash of its own, and no binding is defined for it.
        _ => None,
    }
}
