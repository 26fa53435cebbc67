//! Compares the names in a server's certificate with the host's name, as libpq does.

use super::TlsFault;
use std::net::IpAddr;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// Checks the host's name as libpq does: alternative names of both kinds, then the common name
/// where there is none of the host's kind.
pub(super) fn check_name(certificate: &X509Certificate<'_>, host: &str) -> Result<(), TlsFault> {
    let address: Option<IpAddr> = host.parse().ok();
    let names = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|names| names.value.general_names.as_slice());
    let mut shown = Vec::new();
    let mut of_its_kind = false;
    for name in names.unwrap_or_default() {
        match name {
            GeneralName::DNSName(name) => {
                of_its_kind |= address.is_none();
                if name_fits(name, host) {
                    return Ok(());
                }
                shown.push((*name).to_owned());
            }
            GeneralName::IPAddress(bytes) => {
                of_its_kind |= address.is_some();
                if address.is_some_and(|address| address_fits(bytes, address)) {
                    return Ok(());
                }
                shown.push(address_in_words(bytes));
            }
            _ => {}
        }
    }
    if !of_its_kind && let Some(name) = common_name(certificate) {
        if name_fits(&name, host) {
            return Ok(());
        }
        shown.push(name);
    }
    let shown = if shown.is_empty() {
        "no name".into()
    } else {
        format!("`{}`", shown.join("`, `"))
    };
    Err(TlsFault::new(
        format!("the server's certificate is for {shown}, not for `{host}`"),
        "set `host` to a name in the certificate (with `hostaddr` where that does not resolve), or \
         use `sslmode=verify-ca`",
    ))
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().next()?;
    Some(name.as_str().map_or_else(
        |_| String::from_utf8_lossy(name.as_slice()).into_owned(),
        str::to_owned,
    ))
}

/// Whether a name in a certificate, which may begin with `*.` for one label, matches the host.
fn name_fits(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(domain) = name.strip_prefix("*.").filter(|domain| !domain.is_empty()) else {
        return false;
    };
    host.split_once('.')
        .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain))
}

fn address_fits(bytes: &[u8], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => bytes == address.octets(),
        IpAddr::V6(address) => bytes == address.octets(),
    }
}

fn address_in_words(bytes: &[u8]) -> String {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let sixteen = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| sixteen())
        .map_or_else(|_| "an address".into(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_libpq_compares_them() {
        for (name, host, fits) in [
            ("db.example", "DB.example", true),
            ("*.example", "db.example", true),
            ("*.example", "a.db.example", false),
            ("*.example", ".example", false),
            ("*.example", "example", false),
            ("d*.example", "db.example", false),
            ("*", "db", false),
            ("*.", "db.", false),
            ("*.b.example", "ü.b.example", true),
        ] {
            assert_eq!(name_fits(name, host), fits, "{name} {host}");
        }
    }

    #[test]
    fn addresses() {
        assert!(address_fits(&[127, 0, 0, 1], IpAddr::from([127, 0, 0, 1])));
        assert!(!address_fits(&[127, 0, 0, 1], IpAddr::from([0; 16])));
        assert_eq!(address_in_words(&[10, 0, 0, 1]), "10.0.0.1");
    }
}
