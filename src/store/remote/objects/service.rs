//! The library's client of a service, from an address and the settings.

use super::credentials::{ConfiguredKeys, S3Identity, variable};
use super::endpoint::{self, ServiceEndpoint};
use super::failure::key_hint;
use super::inspector::BucketInspector;
use super::parts::PartSchedule;
use super::target::ServiceTarget;
use super::transport::{Connector, Transport};
use crate::error::{Error, Result};
use crate::store::ConnectionSettings;
use crate::store::location::{ObjectAddress, ObjectService};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::list::PaginatedListStore;
use object_store::multipart::MultipartStore;
use object_store::{ObjectStore, RetryConfig};
use std::sync::Arc;
use std::time::Duration;

/// A service's client; the three are the same one.
pub struct ServiceClient {
    /// Whole objects.
    pub objects: Arc<dyn ObjectStore>,
    /// Uploads in parts.
    pub parts: Arc<dyn MultipartStore>,
    /// Lists, page by page.
    pub lists: Arc<dyn PaginatedListStore>,
    /// Where requests go.
    pub target: ServiceTarget,
    /// How uploads are cut.
    pub schedule: PartSchedule,
    /// What asks a bucket of S3 for its own settings.
    pub inspector: Option<BucketInspector>,
}

/// Where a machine in Amazon's cloud is told its keys, as far as the environment says.
const AMBIENT: &[&str] = &[
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// The library tries each request once: we try again ourselves, with a new signature.
fn no_retries() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        retry_timeout: Duration::ZERO,
        ..RetryConfig::default()
    }
}

/// What the library refuses before it sends anything is in the settings.
fn refused(error: &object_store::Error) -> Error {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    Error::usage(crate::store::remote::server_text::bounded(
        &deepest.to_string(),
    ))
    .with_hint("look at `access_key` and `secret_key`, or at what stands in for them")
}

impl ServiceClient {
    /// Prepares a client; nothing is connected yet, but files with keys are read.
    /// `patience` is how long a connection may be silent.
    pub fn new(
        address: &ObjectAddress,
        settings: &ConnectionSettings,
        patience: Duration,
    ) -> Result<ServiceClient> {
        let connector = |endpoint: &ServiceEndpoint| {
            let transport = Transport::new(endpoint, settings, patience)?;
            Ok(Connector(Arc::new(transport)))
        };
        match address.service {
            ObjectService::S3 => s3(address, settings, connector),
            ObjectService::Google => google(address, settings, connector),
            ObjectService::Azure => azure(address, settings, connector),
        }
    }

    fn assemble<T>(client: T, address: &ObjectAddress, endpoint: &ServiceEndpoint) -> Self
    where
        T: ObjectStore + MultipartStore + PaginatedListStore,
    {
        let client = Arc::new(client);
        ServiceClient {
            objects: Arc::clone(&client) as Arc<dyn ObjectStore>,
            parts: Arc::clone(&client) as Arc<dyn MultipartStore>,
            lists: client,
            target: ServiceTarget {
                service: address.service,
                bucket: address.bucket.clone(),
                host: endpoint.host.clone(),
                shown: address.to_string(),
            },
            schedule: match endpoint::is_cloudflare(&endpoint.host) {
                true => PartSchedule::Equal,
                false => PartSchedule::Growing,
            },
            inspector: None,
        }
    }
}

/// Where S3 requests go, and the region that they are signed for.
fn s3_endpoint(
    bucket: &str,
    settings: &ConnectionSettings,
    region: Option<String>,
    custom: Option<&str>,
) -> Result<(ServiceEndpoint, String)> {
    let region = settings.region.clone().or(region);
    let (endpoint, region) = match custom {
        Some(text) => {
            let endpoint = ServiceEndpoint::parse(text, settings)?;
            // What the name says is true, whatever region the environment has in mind.
            let told = endpoint::told_region(&endpoint.host, bucket);
            let region = settings.region.clone().or(told).or(region);
            (endpoint, region.unwrap_or_else(|| "us-east-1".to_owned()))
        }
        None => {
            let region = region.ok_or_else(|| {
                Error::usage(format!("the region of `s3://{bucket}` is not known"))
                    .with_hint("set `region`, or `endpoint` where it is not Amazon's")
            })?;
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if !region.chars().all(is_name) {
                return Err(Error::usage(format!(
                    "`region` `{region}` is no region's name"
                )));
            }
            let tail = if region.starts_with("cn-") { ".cn" } else { "" };
            let url = format!("https://s3.{region}.amazonaws.com{tail}");
            (ServiceEndpoint::parse(&url, settings)?, region)
        }
    };
    let is_path_style = (settings.path_style)
        .unwrap_or_else(|| !endpoint::is_virtual_style(&endpoint.host, bucket));
    let endpoint = match is_path_style {
        true => endpoint,
        false => endpoint.with_bucket(bucket),
    };
    Ok((endpoint, region))
}

fn s3(
    address: &ObjectAddress,
    settings: &ConnectionSettings,
    connector: impl FnOnce(&ServiceEndpoint) -> Result<Connector>,
) -> Result<ServiceClient> {
    let identity = S3Identity::find(settings, &variable)?;
    let custom = (settings.endpoint.clone())
        .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
        .or_else(|| variable("AWS_ENDPOINT_URL"));
    let bucket = &address.bucket;
    let (endpoint, region) = s3_endpoint(bucket, settings, identity.region, custom.as_deref())?;
    let is_virtual_style = endpoint.host.starts_with(&format!("{bucket}."));
    let connector = connector(&endpoint)?;
    let bucket_url = match is_virtual_style {
        true => endpoint.url(),
        false => format!("{}/{bucket}", endpoint.url()),
    };
    let mut builder = AmazonS3Builder::new()
        .with_http_connector(connector.clone())
        .with_retry(no_retries())
        .with_bucket_name(bucket)
        .with_region(region.clone())
        .with_endpoint(endpoint.url())
        .with_virtual_hosted_style_request(is_virtual_style)
        .with_allow_http(true)
        // One object a request: not all services have the other kind, and its refusals are told
        // object by object.
        .with_disable_bulk_delete(true);
    match identity.keys {
        Some(keys) => {
            builder = builder
                .with_access_key_id(keys.name)
                .with_secret_access_key(keys.key.expose());
            if let Some(token) = &keys.token {
                builder = builder.with_token(token.expose());
            }
        }
        None if !endpoint::is_amazon(&endpoint.host) => {
            return Err(Error::usage(format!("there are no keys for `{address}`"))
                .with_hint(key_hint(ObjectService::S3)));
        }
        None => {
            for name in AMBIENT {
                let key = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>();
                if let (Some(value), Ok(key)) = (variable(name), key) {
                    builder = builder.with_config(key, value);
                }
            }
        }
    }
    let client = builder.build().map_err(|error| refused(&error))?;
    let inspector = BucketInspector {
        credentials: Arc::clone(client.credentials()),
        region,
        bucket_url,
        connector,
    };
    Ok(ServiceClient {
        inspector: Some(inspector),
        ..ServiceClient::assemble(client, address, &endpoint)
    })
}

fn google(
    address: &ObjectAddress,
    settings: &ConnectionSettings,
    connector: impl FnOnce(&ServiceEndpoint) -> Result<Connector>,
) -> Result<ServiceClient> {
    let text = settings
        .endpoint
        .as_deref()
        .unwrap_or("https://storage.googleapis.com");
    let endpoint = ServiceEndpoint::parse(text, settings)?;
    let keys = ConfiguredKeys::read(settings)?;
    let mut builder = match &keys.key {
        Some(key) => GoogleCloudStorageBuilder::new().with_service_account_key(key.expose()),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    builder = builder
        .with_http_connector(connector(&endpoint)?)
        .with_retry(no_retries())
        .with_bucket_name(&address.bucket)
        .with_base_url(&endpoint.url());
    let client = builder.build().map_err(|error| refused(&error))?;
    Ok(ServiceClient::assemble(client, address, &endpoint))
}

fn azure(
    address: &ObjectAddress,
    settings: &ConnectionSettings,
    connector: impl FnOnce(&ServiceEndpoint) -> Result<Connector>,
) -> Result<ServiceClient> {
    if settings.storage_class.is_some() {
        return Err(
            Error::usage(format!("`storage_class` is not for `{address}`")).with_hint(
                "set the default access tier of the account, or a rule of its lifecycle",
            ),
        );
    }
    let keys = ConfiguredKeys::read(settings)?;
    let mut builder = match &keys.key {
        Some(key) => {
            let is_token = key.expose().contains("sig=");
            let kind = if is_token {
                AzureConfigKey::SasKey
            } else {
                AzureConfigKey::AccessKey
            };
            MicrosoftAzureBuilder::new().with_config(kind, key.expose())
        }
        None => MicrosoftAzureBuilder::from_env(),
    };
    let account = (keys.name)
        .or_else(|| builder.get_config_value(&AzureConfigKey::AccountName))
        .ok_or_else(|| {
            Error::usage(format!("the account of `{address}` is not known"))
                .with_hint("set `access_key` to its name, or `$AZURE_STORAGE_ACCOUNT_NAME`")
        })?;
    let own = format!("https://{account}.blob.core.windows.net");
    let text = settings.endpoint.as_deref().unwrap_or(&own);
    let endpoint = ServiceEndpoint::parse(text, settings)?;
    builder = builder
        .with_http_connector(connector(&endpoint)?)
        .with_retry(no_retries())
        .with_account(account)
        .with_container_name(&address.bucket)
        .with_endpoint(endpoint.url())
        .with_allow_http(true);
    let client = builder.build().map_err(|error| refused(&error))?;
    Ok(ServiceClient::assemble(client, address, &endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(
        endpoint: Option<&str>,
        region: Option<&str>,
        path_style: Option<bool>,
    ) -> Result<(String, String)> {
        let settings = ConnectionSettings {
            path_style,
            ..ConnectionSettings::default()
        };
        let found = s3_endpoint("acme", &settings, region.map(str::to_owned), endpoint)?;
        Ok((found.0.url(), found.1))
    }

    #[test]
    fn endpoints_get_region_and_style() {
        let pair = |url: &str, region: &str| (url.to_owned(), region.to_owned());
        assert_eq!(
            resolved(None, Some("eu-west-1"), None).unwrap(),
            pair("https://acme.s3.eu-west-1.amazonaws.com", "eu-west-1")
        );
        assert_eq!(
            resolved(None, Some("eu-west-1"), Some(true)).unwrap(),
            pair("https://s3.eu-west-1.amazonaws.com", "eu-west-1")
        );
        assert!(resolved(None, None, None).unwrap_err().hint().is_some());
        assert!(resolved(None, Some("evil.org/"), None).is_err());
        assert_eq!(
            resolved(
                Some("https://s3.eu-central-003.backblazeb2.com"),
                Some("eu-west-1"),
                None
            )
            .unwrap(),
            pair(
                "https://acme.s3.eu-central-003.backblazeb2.com",
                "eu-central-003"
            )
        );
        assert_eq!(
            resolved(Some("http://127.0.0.1:9000/"), None, None).unwrap(),
            pair("http://127.0.0.1:9000", "us-east-1")
        );
        assert_eq!(
            resolved(Some("https://minio.example.com"), Some("x"), Some(false)).unwrap(),
            pair("https://acme.minio.example.com", "x")
        );
    }
}
