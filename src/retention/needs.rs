//! Backups that are built on others: none may lose the one that it needs.

use super::{Decision, Verdict};
use std::collections::{BTreeMap, BTreeSet};

impl Decision {
    /// Keeps whatever a kept backup needs, through any number of steps. To be called again by
    /// whoever has turned a removal into a keeping.
    pub fn keep_what_is_needed(&mut self) {
        let places: BTreeMap<&str, usize> = self
            .verdicts
            .iter()
            .enumerate()
            .map(|(at, (id, _))| (id.as_str(), at))
            .collect();
        let mut needed: BTreeMap<usize, String> = BTreeMap::new();
        let is_removed = |at: usize| matches!(self.verdicts[at].1, Verdict::Remove(_));
        for (at, (id, _)) in self.verdicts.iter().enumerate() {
            if is_removed(at) {
                continue;
            }
            let mut id = id;
            // It ends: each step finds one more backup that would have gone, or stops.
            while let Some(base) = self.needs.get(id) {
                match places.get(base.as_str()) {
                    Some(&at) if is_removed(at) && !needed.contains_key(&at) => {
                        needed.insert(at, id.clone());
                        id = base;
                    }
                    _ => break,
                }
            }
        }
        for (at, by) in needed {
            let (id, verdict) = &mut self.verdicts[at];
            self.aged.retain(|(aged, _, _)| aged != id);
            *verdict = Verdict::Keep(vec![format!("needed by {by}")]);
        }
    }

    /// The ids of what goes, in the order in which it must go: the oldest first, but what is built
    /// on a backup before that one, so that a removal that is interrupted leaves nothing that can't
    /// be restored.
    pub fn removals(&self) -> Vec<&str> {
        let removed: Vec<&str> = self
            .verdicts
            .iter()
            .rev()
            .filter(|(_, verdict)| matches!(verdict, Verdict::Remove(_)))
            .map(|(id, _)| id.as_str())
            .collect();
        let mut built_on: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for id in &removed {
            if let Some(base) = self.needs.get(*id) {
                built_on.entry(base).or_default().push(id);
            }
        }
        let mut order = Vec::new();
        let mut visited = BTreeSet::new();
        for id in &removed {
            push_after_dependents(id, &built_on, &mut visited, &mut order);
        }
        let is_removed: BTreeSet<&str> = removed.iter().copied().collect();
        order.retain(|id| is_removed.contains(id));
        order
    }
}

/// Pushes what is built on `id`, and then `id`.
fn push_after_dependents<'d>(
    id: &'d str,
    built_on: &BTreeMap<&'d str, Vec<&'d str>>,
    visited: &mut BTreeSet<&'d str>,
    order: &mut Vec<&'d str>,
) {
    // The work that is left: an id is looked at first for what is built on it, then pushed. A
    // chain may be longer than a stack is deep.
    let mut work = vec![(id, false)];
    while let Some((id, dependents_are_pushed)) = work.pop() {
        if dependents_are_pushed {
            order.push(id);
        } else if visited.insert(id) {
            work.push((id, true));
            let dependents = built_on.get(id).into_iter().flatten();
            work.extend(dependents.map(|dependent| (*dependent, false)));
        }
    }
}
