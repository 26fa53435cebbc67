//! The smallest set of rights with which a bucket of S3 can be a store.

use crate::store::DeletePermission;
use crate::store::location::ObjectAddress;

/// A policy as IAM takes it: for this bucket and prefix, and with the right to remove only where
/// this machine removes. `partition` is the first word of the cloud's own names: `aws`.
pub fn smallest_policy(
    address: &ObjectAddress,
    delete: DeletePermission,
    partition: &str,
) -> String {
    let bucket = format!("arn:{partition}:s3:::{}", address.bucket);
    let (objects, condition) = match address.prefix.as_str() {
        "" => ("*".to_owned(), String::new()),
        prefix => {
            let objects = format!("{}/*", without_wildcards(prefix));
            let shown = quoted(&objects);
            (
                objects,
                format!(
                    ",\n      \"Condition\": {{ \"StringLike\": {{ \"s3:prefix\": {shown} }} }}"
                ),
            )
        }
    };
    let (title, actions): (&str, &[&str]) = match delete {
        DeletePermission::Allowed => (
            "WriteReadAndRemoveBackups",
            &[
                "s3:PutObject",
                "s3:AbortMultipartUpload",
                "s3:GetObject",
                "s3:DeleteObject",
            ],
        ),
        DeletePermission::Never => (
            "WriteAndReadBackups",
            &["s3:PutObject", "s3:AbortMultipartUpload", "s3:GetObject"],
        ),
    };
    let actions: Vec<String> = actions.iter().map(|action| quoted(action)).collect();
    format!(
        r#"{{
  "Version": "2012-10-17",
  "Statement": [
    {{
      "Sid": "ListBackups",
      "Effect": "Allow",
      "Action": "s3:ListBucket",
      "Resource": {bucket_name}{condition}
    }},
    {{
      "Sid": "{title}",
      "Effect": "Allow",
      "Action": [{actions}],
      "Resource": {all_objects}
    }}
  ]
}}
"#,
        bucket_name = quoted(&bucket),
        actions = actions.join(", "),
        all_objects = quoted(&format!("{bucket}/{objects}")),
    )
}

/// The text as JSON has it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The text with the signs that mean more to IAM written as it wants them.
fn without_wildcards(text: &str) -> String {
    let written = |sign: char| match sign {
        '*' | '?' | '$' => format!("${{{sign}}}"),
        sign => sign.to_string(),
    };
    text.chars().map(written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::location::ObjectService;
    use std::path::Path;

    fn policy(bucket: &str, prefix: &str, delete: DeletePermission) -> String {
        let address = ObjectAddress {
            service: ObjectService::S3,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        smallest_policy(&address, delete, "aws")
    }

    fn parsed(policy: &str) -> serde_json::Value {
        serde_json::from_str(policy).unwrap()
    }

    /// With `DBBACKUP_BLESS` set writes the examples anew.
    #[test]
    fn the_examples_are_what_is_printed() {
        for (file, delete) in [
            ("iam-backup.json", DeletePermission::Never),
            ("iam-backup-and-cleanup.json", DeletePermission::Allowed),
        ] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("examples")
                .join(file);
            let policy = policy("acme-backups", "web1", delete);
            if std::env::var_os("DBBACKUP_BLESS").is_some() {
                std::fs::write(&path, &policy).unwrap();
            }
            let written = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(
                written, policy,
                "examples/{file}: write it anew with `DBBACKUP_BLESS=1 cargo test examples`"
            );
        }
    }

    #[test]
    fn only_who_removes_gets_the_right_to() {
        let never = policy("acme", "web1", DeletePermission::Never);
        assert!(!never.contains("Delete"), "{never}");
        assert!(policy("acme", "web1", DeletePermission::Allowed).contains("s3:DeleteObject"));
    }

    #[test]
    fn bucket_and_prefix_bound_it() {
        let whole = parsed(&policy("acme", "", DeletePermission::Never));
        assert_eq!(whole["Statement"][0]["Resource"], "arn:aws:s3:::acme");
        assert!(whole["Statement"][0].get("Condition").is_none());
        assert_eq!(whole["Statement"][1]["Resource"], "arn:aws:s3:::acme/*");
        let part = parsed(&policy("acme", "a\"b*/c", DeletePermission::Never));
        assert_eq!(
            part["Statement"][0]["Condition"]["StringLike"]["s3:prefix"],
            "a\"b${*}/c/*"
        );
        assert_eq!(
            part["Statement"][1]["Resource"],
            "arn:aws:s3:::acme/a\"b${*}/c/*"
        );
    }
}
