//! The rights of users, as IAM has them, in front of a server that knows none: each request is
//! judged by the policy of whoever signs it.

use super::http::{Answer, Request, forward};
use super::proxy::start_proxy;
use serde_json::Value;

/// A user: what he signs with, and what he may do.
pub struct User {
    pub key: String,
    policy: Value,
}

impl User {
    /// A user with a policy as IAM takes it.
    pub fn new(key: &str, policy: &str) -> User {
        User {
            key: key.to_owned(),
            policy: serde_json::from_str(policy).unwrap(),
        }
    }

    fn may(&self, asked: &Asked) -> bool {
        let statements = self.policy["Statement"].as_array().unwrap();
        statements.iter().any(|statement| {
            assert_eq!(statement["Effect"], "Allow", "nothing else is understood");
            let prefix = &statement["Condition"]["StringLike"]["s3:prefix"];
            one_matches(&statement["Action"], asked.action)
                && one_matches(&statement["Resource"], &asked.resource)
                && (prefix.is_null() || one_matches(prefix, &asked.prefix))
        })
    }
}

/// A text, or a list of them, with wildcards.
fn one_matches(patterns: &Value, text: &str) -> bool {
    let matches = |pattern: &Value| {
        let glob = globset::Glob::new(pattern.as_str().unwrap()).unwrap();
        glob.compile_matcher().is_match(text)
    };
    match patterns {
        Value::Array(patterns) => patterns.iter().any(matches),
        pattern => matches(pattern),
    }
}

/// What a request is for, in the words of policies.
struct Asked {
    action: &'static str,
    resource: String,
    prefix: String,
}

impl Asked {
    fn of(request: &Request) -> Asked {
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        let (bucket, key) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        let parameter = |name: &str| {
            let mut all = query
                .split('&')
                .map(|one| one.split_once('=').unwrap_or((one, "")));
            all.find(|(found, _)| *found == name)
                .map(|(_, value)| value)
        };
        let has = |name: &str| parameter(name).is_some();
        let action = match (request.method.as_str(), key) {
            ("GET", "") if has("versions") => "s3:ListBucketVersions",
            ("GET", "") if has("versioning") => "s3:GetBucketVersioning",
            ("GET", "") if has("object-lock") => "s3:GetBucketObjectLockConfiguration",
            ("GET", "") if has("lifecycle") => "s3:GetLifecycleConfiguration",
            ("GET" | "HEAD", "") => "s3:ListBucket",
            ("GET" | "HEAD", _) if has("versionId") => "s3:GetObjectVersion",
            ("GET" | "HEAD", _) => "s3:GetObject",
            ("PUT", _) if has("retention") => "s3:PutObjectRetention",
            ("PUT" | "POST", _) => "s3:PutObject",
            ("DELETE", _) if has("uploadId") => "s3:AbortMultipartUpload",
            ("DELETE", _) if has("versionId") => "s3:DeleteObjectVersion",
            ("DELETE", _) => "s3:DeleteObject",
            other => panic!("no action is known for {other:?}"),
        };
        let resource = match key {
            "" => format!("arn:aws:s3:::{bucket}"),
            key => format!("arn:aws:s3:::{bucket}/{key}"),
        };
        let prefix = parameter("prefix").unwrap_or_default().replace("%2F", "/");
        Asked {
            action,
            resource,
            prefix,
        }
    }
}

/// A server in front of another one that lets these users do what they may; gives its endpoint.
pub fn start_guard(endpoint: &str, users: Vec<User>) -> String {
    start_proxy(endpoint, move |request, upstream| {
        let asked = Asked::of(&request);
        let signer = request.header("authorization").unwrap_or_default();
        let mut known = users.iter();
        let user = known.find(|user| signer.contains(&format!("Credential={}/", user.key)));
        match user.is_some_and(|user| user.may(&asked)) {
            true => forward(upstream, &request),
            false => Some(Answer::error(403, "AccessDenied", &request)),
        }
    })
}
