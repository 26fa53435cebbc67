//! What a bucket of S3 says of itself, read from its answers: versions, locks, and rules by which
//! it removes objects.

use crate::store::remote::server_text::bounded;
use crate::units;
use serde::Deserialize;

/// The answer to `?versioning`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VersioningAnswer {
    #[serde(default)]
    status: Option<String>,
}

/// The answer to `?object-lock`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LockAnswer {
    #[serde(default)]
    object_lock_enabled: Option<String>,
    #[serde(default)]
    rule: Option<LockRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LockRule {
    default_retention: LockRetention,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LockRetention {
    mode: String,
    #[serde(default)]
    days: Option<u32>,
    #[serde(default)]
    years: Option<u32>,
}

/// The answer to `?lifecycle`.
#[derive(Debug, Deserialize)]
struct LifecycleAnswer {
    #[serde(rename = "Rule", default)]
    rules: Vec<LifecycleRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LifecycleRule {
    #[serde(rename = "ID", default)]
    id: Option<String>,
    status: String,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    filter: Option<RuleFilter>,
    #[serde(default)]
    expiration: Option<RuleExpiration>,
    #[serde(rename = "Transition", default)]
    transitions: Vec<RuleTransition>,
    #[serde(default)]
    abort_incomplete_multipart_upload: Option<RuleAbort>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RuleFilter {
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    tag: Option<RuleTag>,
    #[serde(default)]
    and: Option<CombinedFilter>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CombinedFilter {
    #[serde(default)]
    prefix: Option<String>,
    #[serde(rename = "Tag", default)]
    tags: Vec<RuleTag>,
}

/// That there is one is enough: backups have none.
#[derive(Debug, Deserialize)]
struct RuleTag {}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RuleExpiration {
    #[serde(default)]
    days: Option<u32>,
    #[serde(default)]
    date: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RuleTransition {
    storage_class: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RuleAbort {
    #[serde(default)]
    days_after_initiation: Option<u32>,
}

/// Classes from which nothing can be read before somebody has asked for it and waited for hours.
const FROZEN_CLASSES: &[&str] = &["GLACIER", "DEEP_ARCHIVE"];

/// What the rules of a bucket mean for what is below a prefix.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LifecycleFindings {
    /// After how many days unfinished uploads are given up, where they are.
    pub gives_up_after: Option<u32>,
    /// Which rules remove objects, and when.
    pub removals: Vec<String>,
    /// Which rules move objects to where they can't be read at once.
    pub freezes: Vec<String>,
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a str, root: &str) -> Option<T> {
    // Any page would be read as a setting with nothing in it else.
    body.contains(&format!("<{root}"))
        .then(|| quick_xml::de::from_str(body).ok())?
}

/// Whether old versions are kept; `None` where the answer can't be read.
pub fn versions_are_kept(body: &str) -> Option<bool> {
    // Some name it after the call.
    let answer: VersioningAnswer = parsed(body, "VersioningConfiguration")
        .or_else(|| parsed(body, "GetBucketVersioningResponse"))?;
    Some(answer.status.as_deref() == Some("Enabled"))
}

/// How long every new object is locked, and in which mode: `COMPLIANCE, 30 days`; empty where it is
/// not. `None` where the answer can't be read.
pub fn default_lock(body: &str) -> Option<String> {
    let answer: LockAnswer = parsed(body, "ObjectLockConfiguration")?;
    if answer.object_lock_enabled.as_deref() != Some("Enabled") {
        return Some(String::new());
    }
    let Some(LockRule { default_retention }) = answer.rule else {
        return Some(String::new());
    };
    let mode = bounded(&default_retention.mode);
    let counted = |number: Option<u32>, one: &str| {
        let number = number.filter(|number| *number > 0)?;
        Some(format!("{mode}, {}", units::count(number.into(), one)))
    };
    let shown =
        counted(default_retention.days, "day").or_else(|| counted(default_retention.years, "year"));
    Some(shown.unwrap_or(mode))
}

/// What the rules mean for objects below `prefix`, which is empty or ends with a slash; `None`
/// where the answer can't be read.
pub fn lifecycle(body: &str, prefix: &str) -> Option<LifecycleFindings> {
    let answer: LifecycleAnswer = parsed(body, "LifecycleConfiguration")?;
    let mut findings = LifecycleFindings::default();
    for rule in answer.rules.iter().filter(|rule| rule.status == "Enabled") {
        let Some(of_rule) = rule.prefix() else {
            continue;
        };
        let covers_all = prefix.starts_with(of_rule);
        if !covers_all && !of_rule.starts_with(prefix) {
            continue;
        }
        if covers_all && let Some(abort) = &rule.abort_incomplete_multipart_upload {
            let days = abort.days_after_initiation.unwrap_or_default();
            let least = findings.gives_up_after.unwrap_or(u32::MAX);
            findings.gives_up_after = Some(days.min(least));
        }
        let shown = rule.shown(of_rule);
        if let Some(expiration) = &rule.expiration {
            match (expiration.days, &expiration.date) {
                (Some(days), _) => {
                    let days = units::count(days.into(), "day");
                    findings.removals.push(format!("{shown} after {days}"));
                }
                (None, Some(date)) => {
                    let date = bounded(date);
                    findings.removals.push(format!("{shown} on {date}"));
                }
                // Only the marks of what is deleted already.
                (None, None) => {}
            }
        }
        let frozen = (rule.transitions.iter())
            .map(|transition| transition.storage_class.as_str())
            .find(|class| FROZEN_CLASSES.contains(class));
        if let Some(class) = frozen {
            findings.freezes.push(format!("{shown} to {class}"));
        }
    }
    Some(findings)
}

impl LifecycleRule {
    /// What the keys begin with that it is about; `None` where it is about tagged objects only,
    /// which backups are not.
    fn prefix(&self) -> Option<&str> {
        let filter = self.filter.as_ref();
        let and = filter.and_then(|filter| filter.and.as_ref());
        let is_tagged = filter.is_some_and(|filter| filter.tag.is_some())
            || and.is_some_and(|and| !and.tags.is_empty());
        if is_tagged {
            return None;
        }
        let prefix = (self.prefix.as_deref())
            .or_else(|| filter?.prefix.as_deref())
            .or_else(|| and?.prefix.as_deref());
        Some(prefix.unwrap_or_default())
    }

    fn shown(&self, prefix: &str) -> String {
        let name = bounded(self.id.as_deref().unwrap_or("without a name"));
        match prefix {
            "" => format!("the rule `{name}`, for all objects,"),
            prefix => format!("the rule `{name}`, for `{}`,", bounded(prefix)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

    fn rules(inner: &str, prefix: &str) -> LifecycleFindings {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LifecycleConfiguration {NAMESPACE}>\
             {inner}</LifecycleConfiguration>"
        );
        lifecycle(&body, prefix).unwrap()
    }

    #[test]
    fn versions_and_locks_are_read() {
        let versioning = |inner: &str| {
            versions_are_kept(&format!(
                "<VersioningConfiguration {NAMESPACE}>{inner}</VersioningConfiguration>"
            ))
        };
        assert_eq!(versioning("<Status>Enabled</Status>"), Some(true));
        assert_eq!(versioning("<Status>Suspended</Status>"), Some(false));
        assert_eq!(versioning(""), Some(false));
        assert_eq!(versions_are_kept("<html></html>"), None);
        let lock = |inner: &str| {
            default_lock(&format!(
                "<ObjectLockConfiguration {NAMESPACE}>{inner}</ObjectLockConfiguration>"
            ))
        };
        let enabled = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>";
        let rule = "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>30</Days>\
                    </DefaultRetention></Rule>";
        assert_eq!(lock("").as_deref(), Some(""));
        assert_eq!(lock(enabled).as_deref(), Some(""));
        assert_eq!(
            lock(&format!("{enabled}{rule}")).as_deref(),
            Some("GOVERNANCE, 30 days")
        );
        assert_eq!(default_lock("no XML"), None);
    }

    #[test]
    fn rules_are_judged_by_what_they_are_about() {
        let expire = "<Expiration><Days>30</Days></Expiration>";
        let rule = |head: &str, action: &str| {
            format!("<Rule><ID>r</ID><Status>Enabled</Status>{head}{action}</Rule>")
        };
        let whole = "<Filter></Filter>";
        for (head, concerned) in [
            (whole, true),
            ("", true),
            ("<Prefix></Prefix>", true),
            ("<Prefix>web</Prefix>", true),
            ("<Filter><Prefix>web1/</Prefix></Filter>", true),
            ("<Filter><Prefix>web1/app/</Prefix></Filter>", true),
            ("<Filter><Prefix>web2/</Prefix></Filter>", false),
            (
                "<Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter>",
                false,
            ),
            (
                "<Filter><And><Prefix>web1/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag>\
                 </And></Filter>",
                false,
            ),
            (
                "<Filter><And><Prefix>web1/</Prefix><ObjectSizeGreaterThan>1\
                 </ObjectSizeGreaterThan></And></Filter>",
                true,
            ),
        ] {
            let found = rules(&rule(head, expire), "web1/");
            assert_eq!(!found.removals.is_empty(), concerned, "{head}: {found:?}");
        }
        let off = rule(whole, expire).replace("Enabled", "Disabled");
        assert_eq!(rules(&off, ""), LifecycleFindings::default());
        let marks = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>\
                     </Expiration><NoncurrentVersionExpiration><NoncurrentDays>9</NoncurrentDays>\
                     </NoncurrentVersionExpiration>";
        assert_eq!(rules(&rule(whole, marks), ""), LifecycleFindings::default());
        let found = rules(&rule("<Prefix>web1/</Prefix>", expire), "web1/");
        assert_eq!(found.removals, ["the rule `r`, for `web1/`, after 30 days"]);
        let cold = "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>";
        assert_eq!(
            rules(&rule(whole, cold), "web1/").freezes,
            ["the rule `r`, for all objects, to GLACIER"]
        );
    }

    #[test]
    fn unfinished_uploads_must_all_be_covered() {
        let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation>\
                     </AbortIncompleteMultipartUpload>";
        let rule = |prefix: &str| {
            format!("<Rule><Status>Enabled</Status><Prefix>{prefix}</Prefix>{abort}</Rule>")
        };
        assert_eq!(rules(&rule("web"), "web1/").gives_up_after, Some(7));
        assert_eq!(rules(&rule("web1/app/"), "web1/").gives_up_after, None);
        assert_eq!(rules("", "web1/").gives_up_after, None);
    }
}
