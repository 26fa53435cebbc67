//! Restoring a cluster's roles: those that the server lacks are shown and made; those that it has
//! are left as they are.

use super::RestoredBackup;
use super::context::RestoreContext;
use super::driver::{Question, RestorePlan, RestoreSteps};
use super::safety::{KeptContent, Safety};
use crate::config::KindSettings;
use crate::engine::postgres::ConnectionSpec;
use crate::engine::postgres::conninfo::ConnInfo;
use crate::engine::postgres::roles::RolesDestination;
use crate::engine::{Destination, Published};
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::plan;

/// The restore of a cluster's roles.
pub struct RolesRestore<'a> {
    context: RestoreContext<'a>,
    place: String,
    destination: RolesDestination,
}

impl<'a> RolesRestore<'a> {
    /// Connects to the server.
    pub fn new(context: RestoreContext<'a>) -> Result<Self> {
        let conn = connection(context)?;
        let drill_settings = context.session.drill_settings_of(&context.found.source);
        Ok(RolesRestore {
            context,
            place: conn.place(),
            destination: RolesDestination::open(&conn, &drill_settings.search)?,
        })
    }
}

impl RestoreSteps for RolesRestore<'_> {
    fn plans_by_content(&self) -> bool {
        true
    }

    fn plan(&mut self) -> Result<RestorePlan> {
        let missing = self.destination.missing_roles();
        let mut plan = RestorePlan {
            target: self.place.clone(),
            question: (!missing.is_empty()).then_some(Question::CreateRoles),
            roles: Some(missing.into_iter().map(str::to_owned).collect()),
            ..RestorePlan::default()
        };
        plan.add_line(format!(
            "restoring the roles of {} to the server of {}",
            self.context.found.name(),
            self.place
        ));
        for line in self.destination.describe_plan() {
            plan.add_line(format!("  {line}"));
        }
        Ok(plan)
    }

    fn prepare(&mut self) -> Result<Safety> {
        Ok(Safety::None)
    }

    fn lock(&mut self, _: &Safety) -> Result<Option<Lock>> {
        Ok(None)
    }

    fn destination(&mut self) -> Result<&mut dyn Destination> {
        Ok(&mut self.destination)
    }

    fn conclude(&mut self, _: &Published, _: Option<KeptContent>) -> Result<RestoredBackup> {
        Ok(RestoredBackup {
            id: self.context.found.name(),
            target: self.place.clone(),
            undo: None,
            kept: None,
            how: None,
        })
    }
}

/// Resolves the server that the roles go to; nothing is connected yet.
fn connection(context: RestoreContext<'_>) -> Result<ConnInfo> {
    let (found, session) = (context.found, context.session);
    let spec = match (
        &context.request.to,
        session.entry_of(&found.source).map(|entry| &entry.kind),
    ) {
        (Some(to), _) if plan::postgres::is_connection_string(to) => ConnectionSpec {
            url: Some(to.clone()),
            ..ConnectionSpec::default()
        },
        (Some(_), _) => {
            return Err(Error::usage("roles belong to a server, not to a database")
                .with_hint("`--to` takes a `postgresql://` address here"));
        }
        (None, Some(KindSettings::Postgres(own))) => plan::postgres::spec(own),
        (None, _) => {
            let recorded = found
                .backup
                .as_ref()
                .filter(|backup| backup.sidecar.producer.get("host") == Some(&session.host));
            let Some(database) = recorded.and_then(|backup| backup.sidecar.database.as_ref())
            else {
                return Err(Error::usage(format!(
                    "nobody here knows where `{}` belongs",
                    found.name()
                ))
                .with_hint("say where: `--to postgresql://HOST/postgres`"));
            };
            ConnectionSpec {
                host: database.host.clone(),
                port: database.port.map(|port| port.to_string()),
                dbname: database.name.clone(),
                ..ConnectionSpec::default()
            }
        }
    };
    Ok(ConnInfo::resolve(&spec, &|name| std::env::var(name).ok())?
        .with_application_name("dbbackup"))
}
