//! The part of the plans that is retention: which policy decides over which label of a source, from
//! tables and from flags.

use crate::cli;
use crate::config::{BrakeKey, Config, RetentionTable, SourceEntry};
use crate::error::{Error, Result};
use crate::retention::Policy;
use crate::retention::brake::Brake;
use std::collections::BTreeMap;

/// The retention policies of one source, by label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    general: Option<Policy>,
    by_label: BTreeMap<String, Policy>,
}

impl Policies {
    /// One policy for every label.
    pub fn all(policy: Policy) -> Self {
        Policies {
            general: Some(policy),
            by_label: BTreeMap::new(),
        }
    }

    /// Those of a source of the configuration: the most specific table replaces the others whole.
    pub fn configured(config: &Config, source: &SourceEntry) -> Self {
        let mut by_label = if source.retention.is_some() {
            BTreeMap::new()
        } else {
            config.retention_labels.clone()
        };
        by_label.extend(source.retention_labels.clone());
        let general = source.retention.as_ref().or(config.retention.as_ref());
        Policies {
            general: general.map(policy),
            by_label: by_label
                .iter()
                .map(|(label, table)| (label.clone(), policy(table)))
                .collect(),
        }
    }

    /// The one that decides over a label.
    pub fn for_label(&self, label: &str) -> Option<&Policy> {
        self.by_label.get(label).or(self.general.as_ref())
    }

    /// Nothing would ever be removed.
    pub fn is_empty(&self) -> bool {
        self.general
            .iter()
            .chain(self.by_label.values())
            .all(Policy::is_empty)
    }
}

fn policy(table: &RetentionTable) -> Policy {
    Policy {
        keep_last: table.keep_last,
        keep_hourly: table.keep_hourly,
        keep_daily: table.keep_daily,
        keep_weekly: table.keep_weekly,
        keep_monthly: table.keep_monthly,
        keep_yearly: table.keep_yearly,
        keep_within: table.keep_within,
        max_age: table.max_age,
        max_count: table.max_count,
        max_size: table.max_size,
        min_keep: table.min_keep,
        brake: Brake {
            percent: match table.brake {
                None => Brake::default().percent,
                Some(BrakeKey::Below(percent)) => Some(percent),
                Some(BrakeKey::Off) => None,
            },
            ignore: table.brake_ignore.clone(),
        },
    }
}

/// The policy of the command line; `None` where no rule is given there.
pub fn policy_of_flags(flags: &cli::PolicyFlags) -> Result<Option<Policy>> {
    let policy = Policy {
        keep_last: flags.keep_last,
        keep_hourly: flags.keep_hourly,
        keep_daily: flags.keep_daily,
        keep_weekly: flags.keep_weekly,
        keep_monthly: flags.keep_monthly,
        keep_yearly: flags.keep_yearly,
        keep_within: flags.keep_within,
        max_age: flags.max_age,
        max_count: flags.max_count,
        max_size: flags.max_size,
        min_keep: flags.min_keep,
        brake: Brake::default(),
    };
    if policy.is_empty() && policy.min_keep.is_some() {
        return Err(
            Error::usage("--min-keep alone says nothing about what to remove")
                .with_hint("add a --keep-… or --max-… rule"),
        );
    }
    Ok((!policy.is_empty()).then_some(policy))
}
