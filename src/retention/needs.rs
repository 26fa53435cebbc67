//! Backups that are built on others: none may lose the one that it needs.

use super::{Case, Decision, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Writes down where each case's base is.
pub(super) fn find_bases(cases: &mut [Case]) {
    if cases.iter().all(|case| case.candidate.needs.is_none()) {
        return;
    }
    let places: HashMap<&str, usize> = cases
        .iter()
        .enumerate()
        .map(|(at, case)| (case.candidate.id.as_str(), at))
        .collect();
    for case in cases {
        let needs = case.candidate.needs.as_deref();
        case.base = needs.and_then(|base| places.get(base).copied());
    }
}

/// Holds what something held needs, through any number of steps.
pub(super) fn hold_bases(cases: &mut [Case]) {
    for place in 0..cases.len() {
        let mut by = place;
        // It ends: each step holds one more.
        while let Some(base) = cases[by].base.filter(|&base| !cases[base].is_held)
            && cases[by].is_held
        {
            let reason = format!("needed by {}", cases[by].candidate.id);
            cases[base].hold(reason);
            (cases[base].removal, cases[base].edge) = (None, None);
            by = base;
        }
    }
}

/// Tells of each case whether it is one of these places, or something there needs it, through any
/// number of steps.
pub(super) fn with_bases(cases: &[Case], places: impl Iterator<Item = usize>) -> Vec<bool> {
    let mut stays = vec![false; cases.len()];
    for place in places {
        let mut next = Some(place);
        // It ends: each step marks one more.
        while let Some(at) = next.filter(|&at| !stays[at]) {
            stays[at] = true;
            next = cases[at].base;
        }
    }
    stays
}

/// These ids in an order in which they can be removed: what is built on one of them comes before
/// it, and else their order stays. `need_of` tells what an id is built on.
pub fn dependents_first<'d>(
    ids: &[&'d str],
    need_of: impl Fn(&str) -> Option<&'d str>,
) -> Vec<&'d str> {
    let mut built_on: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for id in ids {
        if let Some(base) = need_of(id) {
            built_on.entry(base).or_default().push(id);
        }
    }
    let (mut order, mut visited) = (Vec::new(), BTreeSet::new());
    for id in ids {
        push_after_dependents(id, &built_on, &mut visited, &mut order);
    }
    order
}

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
        dependents_first(&removed, |id| self.needs.get(id).map(String::as_str))
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
