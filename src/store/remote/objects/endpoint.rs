//! Where requests go: a service's URL, and what its name tells of region and style.

use crate::error::{Error, Result};
use crate::store::ConnectionSettings;
use http::Uri;
use http::uri::Authority;
use std::net::IpAddr;

/// The URL of a service, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEndpoint {
    /// `https` or `http`.
    pub scheme: String,
    /// The host, with its port where it has one of its own.
    pub host: String,
    /// What follows the host: empty, or a path without a slash at its end.
    pub path: String,
}

impl ServiceEndpoint {
    /// Reads a URL as a user writes it; without a scheme it is of `https`. Plain HTTP is refused
    /// where it would leave this machine, unless the settings allow it.
    pub fn parse(text: &str, settings: &ConnectionSettings) -> Result<ServiceEndpoint> {
        let refused = |why: &str| {
            // What is before an `@` or behind a `?` may be a secret.
            let shown = text.rsplit('@').next().unwrap_or_default();
            let shown = shown.split('?').next().unwrap_or_default();
            Error::usage(format!("`endpoint` `{shown}`: {why}"))
                .with_hint("write it as `https://s3.example.com`")
        };
        let whole = match text.contains("://") {
            true => text.trim().to_owned(),
            false => format!("https://{}", text.trim()),
        };
        let uri: Uri = whole.parse().map_err(|_| refused("it is no URL"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refused("it is no URL"));
        };
        if !matches!(scheme, "http" | "https") {
            return Err(refused("it is no URL of `https`"));
        }
        if authority.as_str().contains('@') {
            return Err(refused("keys do not belong into a URL"));
        }
        if uri.query().is_some() || authority.host().is_empty() {
            return Err(refused("there is more in it than a host and a path"));
        }
        if scheme == "http" && !settings.allow_http && !is_this_machine(authority.host()) {
            return Err(Error::usage(format!(
                "`endpoint` `{text}` is plain HTTP to another machine: keys could be stolen, and \
                 backups read and changed on the way"
            ))
            .with_hint(
                "use `https://`, with `ca_file` for a certificate of your own; in a network that \
                 nobody else is in, `allow_http = true`",
            ));
        }
        Ok(ServiceEndpoint {
            scheme: scheme.to_owned(),
            host: normalized(scheme, authority),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The URL.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host, self.path)
    }

    /// The same with a bucket's name before the host.
    #[must_use]
    pub fn with_bucket(&self, bucket: &str) -> ServiceEndpoint {
        let host = match self.host.starts_with(&format!("{bucket}.")) {
            true => self.host.clone(),
            false => format!("{bucket}.{}", self.host),
        };
        ServiceEndpoint {
            host,
            ..self.clone()
        }
    }
}

/// The host as requests have it: in small letters, without the port that goes without saying.
fn normalized(scheme: &str, authority: &Authority) -> String {
    let host = authority.host().to_ascii_lowercase();
    match (scheme, authority.port_u16()) {
        (_, None) | ("https", Some(443)) | ("http", Some(80)) => host,
        (_, Some(port)) => format!("{host}:{port}"),
    }
}

/// Whether a host is surely this machine.
pub fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What is known of a service that speaks S3, by the end of its host's name.
struct S3Provider {
    /// What the name ends with.
    suffix: &'static str,
    /// What stands before the region.
    before_region: &'static str,
    /// Whether the bucket belongs into the host's name.
    virtual_style: bool,
}

const fn provider(
    suffix: &'static str,
    before_region: &'static str,
    virtual_style: bool,
) -> S3Provider {
    S3Provider {
        suffix,
        before_region,
        virtual_style,
    }
}

const PROVIDERS: &[S3Provider] = &[
    provider(".amazonaws.com", "s3.dualstack.", true),
    provider(".amazonaws.com", "s3.", true),
    provider(".amazonaws.com.cn", "s3.", true),
    provider(".backblazeb2.com", "s3.", true),
    provider(".wasabisys.com", "s3.", true),
    provider(".digitaloceanspaces.com", "", true),
    provider(".your-objectstorage.com", "", true),
    provider(".scw.cloud", "s3.", true),
    provider(".io.cloud.ovh.net", "s3.", true),
    provider(".perf.cloud.ovh.net", "s3.", true),
    provider(".cloud.ovh.net", "s3.", true),
    provider(".linodeobjects.com", "", true),
];

/// Cloudflare's, whose region is `auto` and whose parts must be equally large.
const CLOUDFLARE: &str = ".r2.cloudflarestorage.com";

fn known(host: &str, bucket: &str) -> Option<(&'static S3Provider, Option<String>)> {
    let host = host
        .split(':')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let host = host.strip_prefix(&format!("{bucket}.")).unwrap_or(&host);
    PROVIDERS.iter().find_map(|provider| {
        let rest = host.strip_suffix(provider.suffix)?;
        match rest.strip_prefix(provider.before_region) {
            Some(region) if !region.is_empty() && !region.contains('.') => {
                Some((provider, Some(region.to_owned())))
            }
            _ if rest == "s3" => Some((provider, None)),
            _ => None,
        }
    })
}

/// The region that a host's name tells.
pub fn told_region(host: &str, bucket: &str) -> Option<String> {
    if is_cloudflare(host) || host == "storage.googleapis.com" {
        return Some("auto".to_owned());
    }
    known(host, bucket)?.1
}

/// Whether the bucket belongs into the host's name, where the settings do not say.
pub fn is_virtual_style(host: &str, bucket: &str) -> bool {
    // A certificate for `*.host` is none for a bucket with a dot in its name.
    !bucket.contains('.') && known(host, bucket).is_some_and(|(provider, _)| provider.virtual_style)
}

/// Whether the service is Cloudflare's.
pub fn is_cloudflare(host: &str) -> bool {
    host.split(':')
        .next()
        .is_some_and(|host| host.ends_with(CLOUDFLARE))
}

/// Whether the service is Amazon's.
pub fn is_amazon(host: &str) -> bool {
    let host = host.split(':').next().unwrap_or_default();
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn names_tell_region_and_style() {
        for (host, region, virtual_style) in [
            ("s3.eu-west-1.amazonaws.com", Some("eu-west-1"), true),
            (
                "s3.dualstack.eu-west-1.amazonaws.com",
                Some("eu-west-1"),
                true,
            ),
            ("s3.amazonaws.com", None, true),
            (
                "s3.eu-central-003.backblazeb2.com",
                Some("eu-central-003"),
                true,
            ),
            (
                "acme.s3.eu-central-003.backblazeb2.com",
                Some("eu-central-003"),
                true,
            ),
            ("nyc3.digitaloceanspaces.com", Some("nyc3"), true),
            ("s3.eu-central-1.wasabisys.com", Some("eu-central-1"), true),
            ("fsn1.your-objectstorage.com", Some("fsn1"), true),
            ("s3.fr-par.scw.cloud", Some("fr-par"), true),
            ("s3.gra.io.cloud.ovh.net", Some("gra"), true),
            ("0123abc.r2.cloudflarestorage.com", Some("auto"), false),
            ("localhost:9000", None, false),
            ("127.0.0.1:9000", None, false),
            ("minio.example.com", None, false),
        ] {
            assert_eq!(told_region(host, "acme").as_deref(), region, "{host}");
            assert_eq!(is_virtual_style(host, "acme"), virtual_style, "{host}");
            assert!(!is_virtual_style(host, "a.b"));
        }
        assert!(is_cloudflare("x.eu.r2.cloudflarestorage.com"));
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        let settings = ConnectionSettings::default();
        for text in [
            "http://localhost:9000",
            "http://127.1.2.3",
            "http://[::1]:9000",
            "https://s3.example.com/",
            "s3.example.com",
        ] {
            assert!(ServiceEndpoint::parse(text, &settings).is_ok(), "{text}");
        }
        for text in [
            "http://s3.example.com",
            "http://10.0.0.1:9000",
            "http://127.0.0.1.evil.org",
        ] {
            let error = ServiceEndpoint::parse(text, &settings).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.message().contains("plain HTTP"), "{error:?}");
        }
        let allowed = ConnectionSettings {
            allow_http: true,
            ..ConnectionSettings::default()
        };
        assert!(ServiceEndpoint::parse("http://10.0.0.1:9000", &allowed).is_ok());
        for text in [
            "ftp://x",
            "https://",
            "https://k:s3cret@h",
            "https://h?s3cret",
            "a b",
        ] {
            let error = ServiceEndpoint::parse(text, &allowed).unwrap_err();
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn a_bucket_goes_before_the_host_once() {
        let settings = ConnectionSettings::default();
        let endpoint =
            ServiceEndpoint::parse("https://s3.gra.io.cloud.ovh.net/", &settings).unwrap();
        let plain = ServiceEndpoint::parse("HTTPS://S3.Example.com:443", &settings).unwrap();
        assert_eq!(plain.url(), "https://s3.example.com");
        let with = endpoint.with_bucket("acme");
        assert_eq!(with.url(), "https://acme.s3.gra.io.cloud.ovh.net");
        assert_eq!(with.with_bucket("acme"), with);
    }
}
