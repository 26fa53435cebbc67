//! A retention policy as it is typed.

use crate::error::{Error, Result};
use crate::retention::{Age, RetentionPolicy};
use crate::units::{Span, parse_size};
use clap::Args;

/// A retention policy as flags.
#[derive(Debug, Clone, Default, Args)]
pub struct PolicyArguments {
    /// Keep the newest N
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,
    /// Keep the newest of each of the last N hours that have one
    #[arg(long, value_name = "N")]
    pub keep_hourly: Option<u32>,
    /// … days (UTC)
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<u32>,
    /// … ISO weeks
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<u32>,
    /// … months
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<u32>,
    /// … years
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<u32>,
    /// Keep all made within this time before the newest, as in 48h
    #[arg(long, value_name = "DURATION", value_parser = Span::parse)]
    pub keep_within: Option<Span>,
    /// Remove what is older; a bare number is days
    #[arg(long, value_name = "DURATION", value_parser = Age::parse)]
    pub max_age: Option<Age>,
    /// Remove the oldest beyond this number
    #[arg(long, value_name = "N")]
    pub max_count: Option<u32>,
    /// Remove the oldest beyond this size, as in '20 GiB'
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_size: Option<u64>,
    /// Keep the newest N good ones whatever the rules say [default: 1]
    #[arg(long, value_name = "N")]
    pub min_keep: Option<u32>,
}

impl PolicyArguments {
    /// The policy; `None` where no rule is given.
    ///
    /// # Errors
    /// A minimum without a rule, which would say nothing.
    pub fn policy(&self) -> Result<Option<RetentionPolicy>> {
        let default = RetentionPolicy::default();
        let policy = RetentionPolicy {
            keep_last: self.keep_last,
            keep_hourly: self.keep_hourly,
            keep_daily: self.keep_daily,
            keep_weekly: self.keep_weekly,
            keep_monthly: self.keep_monthly,
            keep_yearly: self.keep_yearly,
            keep_within: self.keep_within,
            max_age: self.max_age,
            max_count: self.max_count,
            max_size: self.max_size,
            min_keep: self.min_keep.unwrap_or(default.min_keep),
            ..default
        };
        if policy.is_empty() && self.min_keep.is_some() {
            return Err(
                Error::usage("--min-keep alone says nothing about what to remove")
                    .with_hint("add a --keep-… or --max-… rule"),
            );
        }
        Ok((!policy.is_empty()).then_some(policy))
    }
}
