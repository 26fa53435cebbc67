//! What a backup would do: what it would read, where that would go, and which hooks would run.

use super::attempt::RunContext;
use super::base::would_be_delta;
use super::members::members_of;
use super::{BackupRequest, hooks_of_run, new_run, plan_backup};
use crate::catalog::Catalog;
use crate::config::Hooks;
use crate::error::{Error, Kind, Result};
use crate::ops::content::dump_extension;
use crate::ops::engines::Engine;
use crate::ops::hooks::{HookMoment, shown_commands};
use crate::ops::run::{Run, error_of_source, outcome_of};
use crate::ops::{BackupEncryption, Observer, Session};
use crate::plan::{PlannedAttempt, SourcePlan};
use crate::store::{Location, Store};
use std::sync::Arc;

/// One thing that a backup would do.
#[derive(Debug)]
pub enum ForecastStep {
    /// A hook would run.
    Hook {
        /// The source that it belongs to; none for the whole run's.
        source: Option<String>,
        /// When it would run.
        moment: HookMoment,
        /// Its command, as it may be shown.
        command: String,
    },
    /// A source would be backed up.
    Backup {
        /// The source's name.
        source: String,
        /// What the sidecar would call its kind.
        kind: String,
        /// Where the source is.
        place: String,
        /// Its size in bytes.
        size_bytes: u64,
        /// Where the dump would be; `<time>` stands in its name.
        target: String,
    },
    /// A source would be skipped.
    Skip {
        /// The source's name.
        source: String,
        /// Why.
        reason: String,
    },
    /// A source can't be backed up; the error has its name.
    Failure(Error),
}

/// What a backup would do, in order.
#[derive(Debug, Default)]
pub struct BackupForecast {
    /// The steps.
    pub steps: Vec<ForecastStep>,
}

impl BackupForecast {
    /// What would fail, each with the source's name.
    pub fn failures(&self) -> impl Iterator<Item = &Error> {
        self.steps.iter().filter_map(|step| match step {
            ForecastStep::Failure(error) => Some(error),
            _ => None,
        })
    }

    /// The kind of what would go wrong; `None` where nothing would.
    pub fn kind(&self) -> Option<Kind> {
        let backups = self
            .steps
            .iter()
            .filter(|step| matches!(step, ForecastStep::Backup { .. }))
            .count();
        let failed: Vec<Kind> = self.failures().map(Error::kind).collect();
        outcome_of(backups + failed.len(), &failed)
    }

    fn add_hooks(&mut self, source: Option<&str>, hooks: &Hooks) {
        let commands = shown_commands(hooks);
        self.steps
            .extend(commands.into_iter().map(|(moment, command)| {
                let source = source.map(str::to_owned);
                ForecastStep::Hook {
                    source,
                    moment,
                    command,
                }
            }));
    }
}

/// Says what [`super::create_backups`] would do with this request. Every source is opened, nothing
/// is locked, and nothing is written.
pub fn forecast_backup(
    request: &BackupRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<BackupForecast> {
    let planned = plan_backup(request, session, observer)?;
    let location = session.store_plan()?.settings.location;
    let forecaster = Forecaster {
        encryption: session.encryption_at(&location)?,
        location,
        run: new_run(request, session),
        store: session.reading().ok(),
        observer,
    };
    let mut forecast = BackupForecast::default();
    forecast.add_hooks(None, &hooks_of_run(Some(&planned), session));
    for one in planned {
        let members = match one {
            PlannedAttempt::Source(source) => {
                forecast.add_hooks(Some(&source.name), &source.hooks);
                members_of(&source).unwrap_or_else(|error| vec![Err((source.name.clone(), error))])
            }
            PlannedAttempt::Skipped { name, why } => {
                let (source, reason) = (name, why);
                forecast.steps.push(ForecastStep::Skip { source, reason });
                continue;
            }
            PlannedAttempt::Refused { name, error, .. } => vec![Err((name, error))],
        };
        for member in members {
            let step = member.and_then(|source| forecaster.forecast_source(source));
            forecast.steps.push(step.unwrap_or_else(|(name, error)| {
                ForecastStep::Failure(error_of_source(&name, &error))
            }));
        }
    }
    Ok(forecast)
}

/// Tells of each source what its backup would be.
struct Forecaster<'a> {
    location: Location,
    encryption: Option<BackupEncryption>,
    run: Run,
    /// What deltas would be built on; `None` where there is no store yet, or it can't be read.
    store: Option<Arc<dyn Store>>,
    observer: &'a dyn Observer,
}

impl Forecaster<'_> {
    /// Opens a source to learn where it is, how large, and whether it would be a delta.
    fn forecast_source(&self, source: SourcePlan) -> Result<ForecastStep, (String, Error)> {
        let probed = Engine::open(&source).and_then(|engine| engine.probe().map(|()| engine));
        match probed {
            Ok(engine) => Ok(ForecastStep::Backup {
                place: engine.place(&source),
                size_bytes: engine.estimate(),
                kind: source.kind.format().kind().to_string(),
                target: self.target(&source, self.would_be_delta(&source, &engine)),
                source: source.name,
            }),
            Err(error) => Err((source.name, error)),
        }
    }

    fn target(&self, source: &SourcePlan, is_delta: bool) -> String {
        let recipients = self.encryption.as_ref().map(|how| &how.recipients);
        let encoding = source.settings.encoding().with_recipients(recipients);
        let name = format!(
            "{}_{}_<time>.{}",
            source.name,
            self.run.label,
            dump_extension(source.kind.format(), is_delta, &encoding)
        );
        self.location.object(&source.name, &name)
    }

    fn would_be_delta(&self, source: &SourcePlan, engine: &Engine) -> bool {
        let Some(store) = &self.store else {
            return false;
        };
        let context = RunContext {
            store: &**store,
            run: &self.run,
            observer: self.observer,
            encryption: self.encryption.as_ref(),
        };
        let catalog = Catalog::read(&**store, Some(std::slice::from_ref(&source.name)));
        catalog.is_ok_and(|catalog| would_be_delta(source, engine, &catalog, context))
    }
}
