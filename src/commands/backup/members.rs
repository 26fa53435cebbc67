//! A cluster is backed up database by database: which its server has now, and which were asked for and are not there.

use crate::engine::postgres::PostgresSource;
use crate::engine::postgres::leftovers::is_leftover;
use crate::error::{Error, Result};
use crate::plan::postgres::ClusterPlan;
use crate::plan::{self, SourceKind, SourcePlan};

/// A source to back up, or one that can't even be tried.
pub type Member = Result<SourcePlan, (String, Error)>;

/// The source itself; in place of a cluster the databases that its server has now.
pub fn members_of(source: &SourcePlan) -> Result<Vec<Member>> {
    let SourceKind::Cluster(cluster) = &source.kind else { return Ok(vec![Ok(source.clone())]) };
    let databases = PostgresSource::open(&cluster.each)?.databases()?;
    let mut members: Vec<Member> = Vec::new();
    if cluster.globals {
        members.push(Ok(plan::postgres::globals_of_cluster(source, cluster)));
    }
    // What a restore set aside is no database of the user's any more.
    let chosen = databases.iter().filter(|name| plan::postgres::is_chosen(cluster, name) && !is_leftover(name));
    for database in chosen {
        let member = plan::postgres::member_of_cluster(source, cluster, database);
        let taken = members.iter().flatten().any(|other| other.name == member.name);
        members.push(if taken {
            let text = format!("two databases of the server would be called `{}`", member.name);
            Err((member.name, Error::failed(text).hint("exclude one of them, and give it a source of its own")))
        } else {
            Ok(member)
        });
    }
    members.extend(missing_databases(source, cluster, &databases));
    let Some(only) = &cluster.only else { return Ok(members) };
    members.retain(|member| member.as_ref().map_or_else(|(name, _)| name == only, |member| member.name == *only));
    if members.is_empty() {
        return Err(Error::not_found(format!("the server of `{}` has no database that becomes `{only}`", source.name))
            .hint(format!("`dbbackup backup {} --dry-run` lists what it has", source.name)));
    }
    Ok(members)
}

/// What it is called in the store.
pub fn name_of(member: &Member) -> String {
    member.as_ref().map_or_else(|(name, _)| name.clone(), |source| source.name.clone())
}

/// Databases that are named, not meant by a pattern, and that are not there.
fn missing_databases(source: &SourcePlan, cluster: &ClusterPlan, there: &[String]) -> Vec<Member> {
    let plain = |name: &&String| !name.contains(['*', '?']);
    let missing = cluster.databases.iter().filter(plain).filter(|name| !there.contains(name));
    let error = |name: &String| {
        let text = format!("the server has no database `{name}`");
        let known = crate::config::nearest(name, there.iter().map(String::as_str));
        let hint = known.map_or("take it out of `databases`".to_owned(), |near| format!("did you mean `{near}`?"));
        Err((format!("{}.{}", source.name, plan::plain_name(name)), Error::failed(text).hint(hint)))
    };
    missing.map(error).collect()
}
