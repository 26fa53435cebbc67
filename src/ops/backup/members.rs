//! The databases of a cluster, which are backed up one by one: those that its server has now, and
//! those that were asked for and are not there.

use crate::catalog::Catalog;
use crate::engine::postgres::PostgresSource;
use crate::engine::postgres::leftovers::is_leftover;
use crate::engine::postgres::names::quote_ident;
use crate::engine::postgres::source::ListedDatabase;
use crate::error::{Error, Hint, Kind, Result};
use crate::plan::postgres::ClusterPlan;
use crate::plan::{self, SourceKind, SourcePlan};
use crate::retention::PRE_RESTORE;
use crate::store::Store;
use crate::units;
use chrono::{DateTime, Utc};

/// A source to back up, or one that can't even be tried.
pub type ClusterMember = Result<SourcePlan, (String, Error)>;

/// The source itself; in place of a cluster the databases that its server has now.
pub fn members_of(source: &SourcePlan) -> Result<Vec<ClusterMember>> {
    let SourceKind::Cluster(cluster) = &source.kind else {
        return Ok(vec![Ok(source.clone())]);
    };
    let listed = PostgresSource::open(&cluster.each)?.databases()?;
    let databases: Vec<String> = listed
        .iter()
        .map(|database| database.name.clone())
        .collect();
    let mut members: Vec<ClusterMember> = Vec::new();
    if cluster.globals {
        members.push(Ok(plan::postgres::globals_of_cluster(source, cluster)));
    }
    // What a restore set aside is no database of the user's any more.
    let chosen = listed
        .iter()
        .filter(|one| plan::postgres::is_chosen(cluster, &one.name) && !is_leftover(&one.name));
    for database in chosen {
        let member = plan::postgres::member_of_cluster(source, cluster, &database.name);
        if let Some(error) = obstacle_of(database) {
            members.push(Err((member.name, error)));
            continue;
        }
        let taken = members
            .iter()
            .flatten()
            .any(|other| other.name == member.name);
        members.push(if taken {
            let text = format!(
                "two databases of the server would be called `{}`",
                member.name
            );
            Err((
                member.name,
                Error::failed(text)
                    .with_hint("exclude one of them, and give it a source of its own"),
            ))
        } else {
            Ok(member)
        });
    }
    members.extend(missing_databases(source, cluster, &databases));
    let Some(only) = &cluster.only else {
        return Ok(members);
    };
    members.retain(|member| {
        member
            .as_ref()
            .map_or_else(|(name, _)| name == only, |member| member.name == *only)
    });
    if members.is_empty() {
        return Err(Error::not_found(format!(
            "the server of `{}` has no database that becomes `{only}`",
            source.name
        ))
        .with_hint(
            Hint::new()
                .command(["backup", &source.name, "--dry-run"])
                .text(" lists what it has"),
        ));
    }
    Ok(members)
}

/// Why a database that is there can't be backed up, where that is so. It is a member all the same:
/// nobody is to believe that it is saved.
fn obstacle_of(database: &ListedDatabase) -> Option<Error> {
    let name = &database.name;
    let leave_out = format!("or leave it out: `exclude_databases = [\"{name}\"]`");
    if database.is_invalid {
        let text = format!("a DROP DATABASE that was interrupted left `{name}` invalid");
        return Some(Error::failed(text).with_hint(format!(
            "drop it (DROP DATABASE {}), {leave_out}",
            quote_ident(name)
        )));
    }
    if !database.allows_connections {
        let hint = format!(
            "let them: ALTER DATABASE {} ALLOW_CONNECTIONS true; {leave_out}",
            quote_ident(name)
        );
        return Some(
            Error::failed(format!("the database `{name}` allows no connections")).with_hint(hint),
        );
    }
    None
}

/// Lists the databases of a cluster that have backups, are still meant by the configuration, and
/// are not on the server any more, each with its error. Where one database of the cluster is asked
/// for alone, there are none.
pub fn vanished_databases(
    source: &SourcePlan,
    cluster: &ClusterPlan,
    members: &[ClusterMember],
    store: &dyn Store,
) -> Result<Vec<(String, Error)>> {
    if cluster.only.is_some() {
        return Ok(Vec::new());
    }
    let names = [source.name.clone()];
    let catalog = Catalog::read_with_members(store, &names)?;
    let there: Vec<String> = members.iter().map(member_name).collect();
    let known = catalog
        .members(&names)
        .into_iter()
        .filter(|name| *name != source.name && !there.contains(name));
    let mut vanished = Vec::new();
    for name in known {
        let mut backups = catalog
            .of(&name)
            .filter(|backup| backup.sidecar.label != PRE_RESTORE);
        let Some(newest) = backups.find(|backup| backup.sidecar.dump.is_some()) else {
            continue;
        };
        // Globals have no database of their own, and are asked for or not.
        if name == plan::postgres::globals_of_cluster(source, cluster).name {
            continue;
        }
        let Some(database) = newest
            .whole(store)?
            .sidecar
            .database
            .and_then(|database| database.name)
        else {
            continue;
        };
        if plan::postgres::is_chosen(cluster, &database) {
            vanished.push((name, vanished_error(&database, newest.sidecar.started_at)));
        }
    }
    Ok(vanished)
}

fn vanished_error(database: &str, last: DateTime<Utc>) -> Error {
    let text = format!(
        "the database `{database}` is not on the server any more; its newest backup is of {}",
        units::stamp(last)
    );
    Error::new(Kind::Partial, text).with_hint(format!(
        "if that is right, say so: `exclude_databases = [\"{database}\"]`; until then none of its \
         backups is removed"
    ))
}

/// The name of a member in the store.
pub fn member_name(member: &ClusterMember) -> String {
    member
        .as_ref()
        .map_or_else(|(name, _)| name.clone(), |source| source.name.clone())
}

/// Databases that are named and that are not there, and patterns that mean none: nobody is to
/// believe that they are saved.
fn missing_databases(
    source: &SourcePlan,
    cluster: &ClusterPlan,
    there: &[String],
) -> Vec<ClusterMember> {
    let meant = |pattern: &&String| {
        there
            .iter()
            .any(|name| units::wildcard(pattern, name) && !is_leftover(name))
    };
    let missing = cluster.databases.iter().filter(|pattern| !meant(pattern));
    let error = |pattern: &String| {
        if pattern.contains(['*', '?']) {
            let text = format!("no database of the server matches `{pattern}`");
            return Err((
                source.name.clone(),
                Error::failed(text).with_hint("correct it, or take it out of `databases`"),
            ));
        }
        let text = format!("the server has no database `{pattern}`");
        let known = crate::config::nearest(pattern, there.iter().map(String::as_str));
        let hint = known.map_or("take it out of `databases`".to_owned(), |near| {
            format!("did you mean `{near}`?")
        });
        Err((
            format!("{}.{}", source.name, plan::plain_name(pattern)),
            Error::failed(text).with_hint(hint),
        ))
    };
    let mut members: Vec<ClusterMember> = missing.map(error).collect();
    let any_left = there
        .iter()
        .any(|name| plan::postgres::is_chosen(cluster, name) && !is_leftover(name));
    if members.is_empty() && !any_left && !cluster.globals {
        let error = Error::failed("`exclude_databases` leaves out every database of the server");
        members.push(Err((
            source.name.clone(),
            error.with_hint("leave fewer out"),
        )));
    }
    members
}
