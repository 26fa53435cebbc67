//! Restoring single tables: the entries of an archive that belong to some tables, with their data,
//! sequences, indexes, constraints and triggers, and the types and functions that those need.

use super::destination::RestoreTarget;
use super::names::QualifiedName;
use super::toc::Toc;
use crate::engine::{Manifest, Table};
use crate::error::{Context, Error, Result};
use crate::process::Process;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The kinds of entries that go with the table that they depend on.
const DEPENDENT_KINDS: &[&str] = &[
    "TABLE DATA",
    "SEQUENCE",
    "SEQUENCE OWNED BY",
    "SEQUENCE SET",
    "DEFAULT",
    "CONSTRAINT",
    "CHECK CONSTRAINT",
    "FK CONSTRAINT",
    "INDEX",
    "INDEX ATTACH",
    "TABLE ATTACH",
    "TRIGGER",
    "RULE",
    "POLICY",
    "ROW SECURITY",
    "COMMENT",
    "ACL",
    "STATISTICS",
    "STATISTICS DATA",
    "SECURITY LABEL",
];

/// The kinds of entries that every restore needs: they say how strings are read.
const PREAMBLE_KINDS: &[&str] = &["ENCODING", "STDSTRINGS", "SEARCHPATH"];

/// Whether `wanted` names this table. A name without a schema matches one in any schema.
pub fn names_table(wanted: &str, schema: &str, name: &str) -> bool {
    QualifiedName::parse(wanted).is_some_and(|wanted| {
        wanted.name == name && (wanted.schema.is_empty() || wanted.schema == schema)
    })
}

/// The part of a manifest that consists of these tables; all of it where none is named.
pub fn select_tables(manifest: &Manifest, wanted: &[String]) -> Manifest {
    let chosen = manifest
        .tables
        .iter()
        .filter(|table| wanted.is_empty() || is_wanted(table, wanted));
    Manifest::of(chosen.cloned().collect())
}

fn is_wanted(table: &Table, wanted: &[String]) -> bool {
    QualifiedName::parse(&table.name).is_some_and(|name| {
        wanted
            .iter()
            .any(|wanted| names_table(wanted, &name.schema, &name.name))
    })
}

/// The entries of an archive that a restore takes.
pub struct RestoreList {
    /// The lines of the list for `pg_restore --use-list`.
    lines: String,
    /// Foreign keys of restored tables that point to tables which are not restored, as
    /// `public.orders orders_customer_fkey`.
    pub lost_foreign_keys: Vec<String>,
}

/// Finds the entries of the target's tables, writes their list to a file beside the archive, and
/// returns them with the option that makes `pg_restore` use it.
pub fn write_restore_list(target: &RestoreTarget, archive: &Path) -> Result<(RestoreList, String)> {
    let program = target.search.find("pg_restore", target.pg_dump_major)?;
    let mut command = program.command(&[], &[]);
    command.args(["--list", "--verbose"]).arg(archive);
    let text = Process::output(command, "pg_restore", None)?;
    let part = DependencyGraph::read(&text)?.select(&target.tables)?;
    let list = archive.with_extension("list");
    std::fs::write(&list, &part.lines).with_context(|| format!("writing `{}`", list.display()))?;
    Ok((part, format!("--use-list={}", list.display())))
}

/// The entries of an archive, with the entries that each depends on.
struct DependencyGraph {
    toc: Toc,
    needs: BTreeMap<i32, Vec<i32>>,
}

impl DependencyGraph {
    fn read(text: &str) -> Result<DependencyGraph> {
        let toc = Toc::parse(text)?;
        let mut needs = BTreeMap::new();
        let mut last = 0;
        for line in text.lines() {
            match line.strip_prefix(";\tdepends on:") {
                Some(ids) => drop(
                    needs.insert(
                        last,
                        ids.split_whitespace()
                            .filter_map(|id| id.parse().ok())
                            .collect(),
                    ),
                ),
                None => {
                    last = line
                        .split(';')
                        .next()
                        .and_then(|id| id.parse().ok())
                        .unwrap_or(last)
                }
            }
        }
        Ok(DependencyGraph { toc, needs })
    }

    fn needs(&self, id: i32) -> &[i32] {
        self.needs.get(&id).map_or(&[], Vec::as_slice)
    }

    fn kind(&self, id: i32) -> &str {
        self.toc
            .entries
            .iter()
            .find(|entry| entry.id == id)
            .map_or("", |entry| entry.kind.as_str())
    }

    /// Selects the entries of these tables.
    fn select(&self, wanted: &[String]) -> Result<RestoreList> {
        let mut tables = BTreeSet::new();
        for name in wanted {
            let found: Vec<i32> = self
                .toc
                .entries_of_kind("TABLE")
                .filter(|entry| {
                    let schema = entry.schema.as_deref().unwrap_or_default();
                    names_table(name, schema, &entry.tag)
                })
                .map(|entry| entry.id)
                .collect();
            if found.is_empty() {
                return Err(Error::not_found(format!(
                    "the backup has no table `{name}`"
                )));
            }
            tables.extend(found);
        }
        self.add_partitions(&mut tables);
        let mut chosen = tables.clone();
        tables
            .iter()
            .for_each(|id| self.add_needs(*id, &mut chosen));
        loop {
            let before = chosen.len();
            for entry in self
                .toc
                .entries
                .iter()
                .filter(|entry| DEPENDENT_KINDS.contains(&entry.kind.as_str()))
            {
                if !chosen.contains(&entry.id)
                    && self.belongs(entry.id, &entry.kind, &tables, &chosen)
                {
                    chosen.insert(entry.id);
                    self.add_needs(entry.id, &mut chosen);
                }
            }
            if chosen.len() == before {
                break;
            }
        }
        let lines = self.toc.entries.iter().filter(|entry| {
            chosen.contains(&entry.id) || PREAMBLE_KINDS.contains(&entry.kind.as_str())
        });
        // Every new database has the schema `public`.
        let lines = lines.filter(|entry| entry.kind != "SCHEMA" || entry.tag != "public");
        Ok(RestoreList {
            lines: lines.map(|entry| format!("{}\n", entry.line)).collect(),
            lost_foreign_keys: self.lost_foreign_keys(&tables, &chosen),
        })
    }

    fn lost_foreign_keys(&self, tables: &BTreeSet<i32>, chosen: &BTreeSet<i32>) -> Vec<String> {
        let names: Vec<QualifiedName> = (self.toc.entries.iter())
            .filter(|entry| tables.contains(&entry.id))
            .map(|entry| {
                QualifiedName::new(entry.schema.clone().unwrap_or_default(), entry.tag.clone())
            })
            .collect();
        let lost = (self.toc.entries_of_kind("FK CONSTRAINT")).filter(|key| {
            !chosen.contains(&key.id) && names.iter().any(|name| key.belongs_to(name))
        });
        lost.map(|key| format!("{}.{}", key.schema.as_deref().unwrap_or_default(), key.tag))
            .collect()
    }

    fn add_partitions(&self, tables: &mut BTreeSet<i32>) {
        loop {
            let before = tables.len();
            for attach in self.toc.entries_of_kind("TABLE ATTACH") {
                let ends: Vec<i32> = self
                    .needs(attach.id)
                    .iter()
                    .copied()
                    .filter(|id| self.kind(*id) == "TABLE")
                    .collect();
                // The entry has the partition's name; the other end is the partitioned table.
                if ends
                    .iter()
                    .any(|id| tables.contains(id) && !self.is_named(*id, attach))
                {
                    tables.extend(ends);
                }
            }
            if tables.len() == before {
                return;
            }
        }
    }

    fn is_named(&self, id: i32, attach: &super::toc::TocEntry) -> bool {
        self.toc
            .entries
            .iter()
            .any(|entry| entry.id == id && entry.tag == attach.tag && entry.schema == attach.schema)
    }

    /// Whether an entry depends on a chosen one and on no table that is left out: a foreign key
    /// needs both of its tables.
    fn belongs(&self, id: i32, kind: &str, tables: &BTreeSet<i32>, chosen: &BTreeSet<i32>) -> bool {
        let needs = self.needs(id);
        // A table that only another one needs is restored without its data.
        let own = if kind == "TABLE DATA" { tables } else { chosen };
        needs.iter().any(|id| own.contains(id))
            && needs
                .iter()
                .filter(|id| self.is_relation(**id))
                .all(|id| chosen.contains(id))
    }

    fn is_relation(&self, id: i32) -> bool {
        matches!(
            self.kind(id),
            "TABLE" | "VIEW" | "MATERIALIZED VIEW" | "FOREIGN TABLE"
        )
    }

    fn add_needs(&self, id: i32, chosen: &mut BTreeSet<i32>) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            for need in self.needs(id) {
                if chosen.insert(*need) {
                    open.push(*need);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
;
; Archive created at 2026-11-21 09:41:33 UTC
3367; 0 0 ENCODING - ENCODING 
841; 1247 16385 TYPE public mood me
842; 1247 16386 TYPE public other me
218; 1255 16411 FUNCTION public f() me
215; 1259 16390 TABLE public a me
;\tdepends on: 841
214; 1259 16389 SEQUENCE public a_id_seq me
;\tdepends on: 215
216; 1259 16400 TABLE public b me
217; 1259 16413 VIEW public v me
;\tdepends on: 215
3363; 0 16390 TABLE DATA public a me
;\tdepends on: 215
3364; 0 16400 TABLE DATA public b me
;\tdepends on: 216
3212; 2606 16397 CONSTRAINT public a a_pkey me
;\tdepends on: 215
3218; 2620 16412 TRIGGER public a tt me
;\tdepends on: 218 215
3217; 2606 16405 FK CONSTRAINT public b b_a_fkey me
;\tdepends on: 3212 215 216
";

    fn ids(wanted: &[&str]) -> Vec<i32> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let lines = DependencyGraph::read(LIST)
            .unwrap()
            .select(&wanted)
            .unwrap();
        lines
            .lines
            .lines()
            .map(|line| line.split(';').next().unwrap().parse().unwrap())
            .collect()
    }

    #[test]
    fn a_table_comes_with_what_belongs_to_it() {
        assert_eq!(ids(&["a"]), [3367, 841, 218, 215, 214, 3363, 3212, 3218]);
        assert_eq!(ids(&["public.b"]), [3367, 216, 3364]);
        assert!(ids(&["a", "b"]).contains(&3217));
        assert!(
            DependencyGraph::read(LIST)
                .unwrap()
                .select(&["c".to_owned()])
                .is_err()
        );
        let lost = |name: &str| {
            DependencyGraph::read(LIST)
                .unwrap()
                .select(&[name.to_owned()])
                .unwrap()
                .lost_foreign_keys
        };
        assert_eq!(lost("b"), ["public.b b_a_fkey"]);
        assert_eq!(lost("a"), [] as [&str; 0]);
    }
}
