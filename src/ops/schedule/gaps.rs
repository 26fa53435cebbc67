//! What a schedule alone does not do, to be said when it is installed.

use super::{JobKind, JobScheduler, SchedulePlan, SchedulerKind};
use crate::ops::{Observer, Session};
use crate::units::{Span, shell_word};
use std::path::Path;

/// Says what the schedule alone does not do.
pub fn warn_of_gaps(
    plan: &SchedulePlan,
    scheduler: &dyn JobScheduler,
    session: &Session,
    observer: &dyn Observer,
) {
    let Some(config) = &session.config else {
        return;
    };
    let backup = plan.jobs.iter().find(|job| job.kind == JobKind::Backup);
    let pause = backup.map_or(0, |job| job.calendar.longest_pause());
    let too_old: Vec<&str> = config
        .sources
        .iter()
        .filter(|(_, source)| source.common.enabled && seconds(source.common.expect_every) < pause)
        .map(|(name, _)| name.as_str())
        .collect();
    if let (false, Some(job)) = (too_old.is_empty(), backup) {
        observer.warn(format!(
            "backups are made {}, but `expect_every` of {} is shorter than that: `status` will \
             call them too old between two runs",
            job.calendar,
            too_old.join(", ")
        ));
    }
    let is_systemd = scheduler.kind() == SchedulerKind::Systemd;
    if is_systemd && config.notify.notifiers.is_empty() && plan.mail_to.is_none() {
        observer.warn(
            "nobody is told of a run that fails: [notify] names nobody, and there is no program \
             `mail`",
        );
    }
    let has_hooks = !config.hooks.is_empty()
        || config
            .sources
            .iter()
            .any(|(_, source)| !source.hooks.is_empty());
    if has_hooks && is_systemd && rustix::process::geteuid().is_root() {
        observer.warn(format!(
            "hooks run inside of the unit, which may write only to what `ReadWritePaths=` names: \
             `systemctl edit {}-backup.service` allows more",
            plan.stem
        ));
    }
    if is_systemd && !rustix::process::geteuid().is_root() && !lingers() {
        let user = crate::users::me().unwrap_or_else(|| "USER".to_owned());
        observer.warn(format!(
            "timers of a user run only while the user is logged in: `loginctl enable-linger {}` \
             as root changes that",
            shell_word(&user)
        ));
    }
}

fn seconds(span: Span) -> u64 {
    span.duration().as_secs()
}

/// Whether this user's systemd runs without the user.
fn lingers() -> bool {
    crate::users::me().is_some_and(|user| Path::new("/var/lib/systemd/linger").join(user).exists())
}
