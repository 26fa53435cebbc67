//! The part of the plans that is retention: which policy decides over which label of a source.

use crate::config::{Config, ConfiguredSource};
use crate::retention::RetentionPolicy;
use std::collections::BTreeMap;

/// The retention policies of one source, by label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionPolicies {
    general: Option<RetentionPolicy>,
    by_label: BTreeMap<String, RetentionPolicy>,
}

impl RetentionPolicies {
    /// The same policy for every label.
    pub fn for_every_label(policy: RetentionPolicy) -> Self {
        RetentionPolicies {
            general: Some(policy),
            by_label: BTreeMap::new(),
        }
    }

    /// Those of a source of the configuration: the most specific table replaces the others whole.
    pub fn of_source(config: &Config, source: &ConfiguredSource) -> Self {
        let mut by_label = if source.retention.is_some() {
            BTreeMap::new()
        } else {
            config.retention_labels.clone()
        };
        by_label.extend(source.retention_labels.clone());
        let general = source.retention.as_ref().or(config.retention.as_ref());
        RetentionPolicies {
            general: general.cloned(),
            by_label,
        }
    }

    /// Those of a source in `[stores.NAME]`: that table's where it has any, else the source's own.
    pub fn in_store(config: &Config, store: Option<&str>, source: &ConfiguredSource) -> Self {
        let store = store.and_then(|name| config.stores.get(name));
        match store {
            Some(store) if store.retention.is_some() || !store.retention_labels.is_empty() => {
                RetentionPolicies {
                    general: store.retention.clone(),
                    by_label: store.retention_labels.clone(),
                }
            }
            _ => RetentionPolicies::of_source(config, source),
        }
    }

    /// The one that decides over a label.
    pub fn for_label(&self, label: &str) -> Option<&RetentionPolicy> {
        self.by_label.get(label).or(self.general.as_ref())
    }

    /// Whether nothing would ever be removed.
    pub fn is_empty(&self) -> bool {
        self.general
            .iter()
            .chain(self.by_label.values())
            .all(RetentionPolicy::is_empty)
    }
}
