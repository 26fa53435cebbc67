//! Proving an archive without unpacking it: every member is read to its end and compared with the
//! list of contents.

use super::listing::{Lines, ListLine};
use super::member::{Member, MemberKind, parts_of};
use super::save::hash_zeros;
use super::tar::TarReader;
use crate::engine::{
    Check, CheckFinding, CheckSubject, Depth, Destination, Keep, Manifest, Published, Tree,
    TreeBasis,
};
use crate::error::{Error, Kind as Wrong, Result};
use sha2::{Digest, Sha256};
use std::io::{BufReader, Read};

/// How many differences are named.
const NAMED: usize = 5;

/// See the head of this file.
pub struct ContentCheck {
    comparison: Comparison,
}

impl ContentCheck {
    /// Compares with this list, where there is one.
    pub fn new(list: Option<Lines>) -> Self {
        ContentCheck {
            comparison: Comparison::new(list),
        }
    }
}

impl Destination for ContentCheck {
    fn receive(&mut self, content: &mut dyn Read) -> Result<()> {
        let mut reader = TarReader::new(BufReader::with_capacity(256 << 10, content));
        let mut block = vec![0; 256 << 10];
        while let Some(member) = reader.next_member()? {
            let sha256 = read_content(&mut reader, &member, &mut block, &mut |_, _| Ok(()))?;
            let expected = self.comparison.expect()?;
            self.comparison.found(&member, &expected, sha256);
        }
        self.comparison.end()
    }

    fn check(&mut self, expected: Option<&Manifest>, _depth: Depth) -> Result<Vec<Check>> {
        Ok(self.comparison.checks(expected))
    }

    fn publish(&mut self, _keep: Keep<'_>) -> Result<Published> {
        Err(Error::failed("an examination has no place to restore to"))
    }
}

/// Reads a file's content to its end, hands its parts to `sink` with their offsets, and gives back
/// the SHA-256 of the file as an application sees it; `None` for what is no file.
pub fn read_content<R: Read>(
    reader: &mut TarReader<R>,
    member: &Member,
    block: &mut [u8],
    sink: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<Option<String>> {
    let MemberKind::File { size, parts } = &member.kind else {
        return Ok(None);
    };
    let mut hash = Sha256::new();
    let mut at = 0;
    for (offset, length) in parts_of(*size, parts.as_ref()) {
        hash_zeros(&mut hash, offset - at)?;
        at = offset;
        while at < offset + length {
            let most = (offset + length - at).min(block.len() as u64) as usize;
            let count = reader.read(&mut block[..most])?;
            hash.update(&block[..count]);
            sink(at, &block[..count])?;
            at += count as u64;
        }
    }
    hash_zeros(&mut hash, size - at)?;
    Ok(Some(super::listing::to_hex(&hash.finalize())))
}

/// Archive against list, member by member.
pub struct Comparison {
    list: Option<Lines>,
    listed: bool,
    /// Why the list could not be read to its end.
    broken: Option<String>,
    tree: Tree,
    differences: Vec<String>,
    count: u64,
}

impl Comparison {
    /// With this list, where there is one.
    pub fn new(list: Option<Lines>) -> Self {
        let listed = list.is_some();
        Comparison {
            list,
            listed,
            broken: None,
            tree: Tree::default(),
            differences: Vec::new(),
            count: 0,
        }
    }

    /// What the list says of the next member of the archive.
    pub fn expect(&mut self) -> Result<Option<ListLine>> {
        self.expected(|lines| lines.next_stored())
    }

    /// The next member of the archive, of which the list says this.
    pub fn found(&mut self, member: &Member, expected: &Option<ListLine>, sha256: Option<String>) {
        let read = sha256.is_some() || !matches!(member.kind, MemberKind::File { .. });
        let mut found = ListLine::from_member(member, sha256);
        let superseded = expected
            .as_ref()
            .is_some_and(|line| line.note == Some(super::listing::MemberNote::Superseded));
        if !superseded {
            count(&mut self.tree, member);
        }
        match expected {
            Some(expected) => {
                if !read {
                    found.sha256.clone_from(&expected.sha256);
                }
                if let Some(difference) = expected.difference(&found) {
                    self.differs(difference);
                }
            }
            None if self.listed && self.broken.is_none() => {
                self.differs(format!("`{}` is not in the list", member.shown()))
            }
            None => {}
        }
    }

    fn expected(
        &mut self,
        next: impl FnOnce(&mut Lines) -> Result<Option<ListLine>>,
    ) -> Result<Option<ListLine>> {
        let Some(lines) = &mut self.list else {
            return Ok(None);
        };
        match next(lines) {
            Ok(line) => Ok(line),
            Err(error) if error.kind() == Wrong::Interrupted => Err(error),
            Err(error) => {
                self.broken = Some(error.message());
                self.list = None;
                Ok(None)
            }
        }
    }

    /// The archive has come to its end.
    pub fn end(&mut self) -> Result<()> {
        while let Some(line) = self.expected(|lines| lines.next_stored())? {
            self.differs(format!("`{}` is missing", line.path));
        }
        Ok(())
    }

    fn differs(&mut self, difference: String) {
        self.count += 1;
        if self.differences.len() < NAMED {
            self.differences.push(difference);
        }
    }

    /// What was found.
    pub fn checks(&self, expected: Option<&Manifest>) -> Vec<Check> {
        let mut checks = Vec::new();
        if let Some(why) = &self.broken {
            checks.push(Check::damaged(
                CheckSubject::Contents,
                CheckFinding::Message(why.clone()),
            ));
        }
        if self.count > 0 {
            let differ = CheckFinding::MembersDiffer {
                differences: self.differences.clone(),
                more: self.count - self.differences.len() as u64,
            };
            checks.push(Check::damaged(CheckSubject::Files, differ));
            return checks;
        }
        let numbers = |tree: &Tree| {
            (
                tree.files,
                tree.directories,
                tree.symlinks,
                tree.hard_links,
                tree.bytes,
            )
        };
        let tree = self.tree.clone();
        let basis = match expected.and_then(|manifest| manifest.tree.as_ref()) {
            Some(expected) if numbers(expected) != numbers(&tree) => {
                let differs = CheckFinding::TreeDiffers {
                    expected: expected.clone(),
                    found: tree,
                };
                checks.push(Check::damaged(CheckSubject::Files, differs));
                return checks;
            }
            Some(_) if self.listed && self.broken.is_none() => TreeBasis::List,
            Some(_) => TreeBasis::Manifest,
            None => TreeBasis::Nothing,
        };
        let agrees = CheckFinding::TreeAgrees { tree, basis };
        checks.push(Check::ok(CheckSubject::Files, agrees));
        checks
    }
}

fn count(tree: &mut Tree, member: &Member) {
    match &member.kind {
        MemberKind::File { size, .. } => {
            tree.files += 1;
            tree.bytes += size;
        }
        MemberKind::Directory => tree.directories += 1,
        MemberKind::Symlink(_) => tree.symlinks += 1,
        MemberKind::HardLink(_) => tree.hard_links += 1,
        MemberKind::Other => {}
    }
}
