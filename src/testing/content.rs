//! The bytes of one file: what a program sees, what is durable, and what happened in between.

use std::{collections::BTreeMap, ops::Range};

use super::prng::Prng;

/// What a disk writes as one.
pub(super) const SECTOR: usize = 512;

type Sector = Box<[u8; SECTOR]>;

/// The bytes of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// What reads see.
    cache: Vec<u8>,
    /// What is durable.
    platter: Vec<u8>,
    /// Each sector written since the last sync, as it was after each of the writes, oldest first.
    /// Bytes of the cache that differ from the platter and are not listed here are lost.
    pending: BTreeMap<usize, Vec<Sector>>,
    /// The lengths since the last sync, oldest first.
    lengths: Vec<usize>,
    /// The bytes of the last write since the last sync.
    last_write: Range<usize>,
}

impl Content {
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Self { cache: bytes.clone(), platter: bytes, ..Self::default() }
    }

    /// What reads see.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.cache
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let old_len = self.cache.len();
        let end = offset.saturating_add(bytes.len());
        if end > old_len {
            self.cache.resize(end, 0);
        }
        overlay(&mut self.cache, offset, bytes);
        self.blank(old_len..offset);
        self.note(offset..end);
        self.last_write = offset..end;
        if end > old_len || end > self.platter.len() {
            self.note_len();
        }
    }

    pub(super) fn set_len(&mut self, len: usize) {
        let old_len = self.cache.len();
        self.cache.resize(len, 0);
        self.blank(old_len..len);
        if len != old_len {
            self.note_len();
        }
    }

    pub(super) fn sync(&mut self) {
        if !self.lengths.is_empty() {
            self.platter.resize(self.cache.len(), 0);
        }
        for number in self.pending.keys() {
            let at = number.saturating_mul(SECTOR);
            overlay(&mut self.platter, at, sector(&self.cache, *number).as_slice());
        }
        self.mark_clean();
    }

    /// Forgets that anything waits for a sync.
    pub(super) fn mark_clean(&mut self) {
        self.pending.clear();
        self.lengths.clear();
        self.last_write = 0..0;
    }

    /// The durable bytes only.
    pub(super) fn synced(&self) -> Vec<u8> {
        self.platter.clone()
    }

    /// All that was written and not lost by a failed sync.
    pub(super) fn complete(&self) -> Vec<u8> {
        let len = self.lengths.last().copied().unwrap_or(self.platter.len());
        self.assemble(len, |versions| versions.last())
    }

    /// Any legal mixture; a change survives in its last version `keep` times out of 8 or more.
    pub(super) fn mixture(&self, prng: &mut Prng, keep: u64, torn: bool) -> Vec<u8> {
        let len = match self.lengths.last() {
            Some(last) if prng.chance(keep, 8) => *last,
            // One more than there are: that one stands for the durable length.
            _ => match self.lengths.get(prng.index(self.lengths.len().saturating_add(1))) {
                Some(len) => *len,
                None => self.platter.len(),
            },
        };
        let mut bytes = self.assemble(len, |versions| {
            if prng.chance(keep, 8) {
                versions.last()
            } else {
                versions.get(prng.index(versions.len().saturating_add(1)))
            }
        });
        if torn {
            self.shred(prng, &mut bytes);
        }
        bytes
    }

    /// Number of different contents that a power cut may leave, torn bytes aside; saturates.
    pub(super) fn outcomes(&self) -> u64 {
        self.shapes().map(|shape| shape.count()).fold(0, u64::saturating_add)
    }

    /// The content of this number, from 0, which is the durable one.
    pub(super) fn outcome(&self, mut number: u64) -> Vec<u8> {
        for shape in self.shapes() {
            if number >= shape.count() {
                number = number.saturating_sub(shape.count());
                continue;
            }
            let mut bytes = self.platter.clone();
            bytes.resize(shape.len, 0);
            for (at, versions) in &shape.sectors {
                let count = versions.len() as u64;
                let chosen = usize::try_from(number.checked_rem(count).unwrap_or_default());
                number = number.checked_div(count).unwrap_or_default();
                if let Some(version) = chosen.ok().and_then(|chosen| versions.get(chosen)) {
                    overlay(&mut bytes, at.saturating_mul(SECTOR), version.as_slice());
                }
            }
            return bytes;
        }
        self.synced()
    }

    /// Each length that may survive, the durable one first, with the sectors that are in doubt.
    fn shapes(&self) -> impl Iterator<Item = Shape> {
        let mut lengths = vec![self.platter.len()];
        for len in &self.lengths {
            if !lengths.contains(len) {
                lengths.push(*len);
            }
        }
        lengths.into_iter().map(|len| {
            let in_doubt = |(number, written): (&usize, &Vec<Sector>)| {
                let visible = len.saturating_sub(number.saturating_mul(SECTOR)).min(SECTOR);
                let mut versions = vec![sector(&self.platter, *number)];
                for version in written {
                    if !versions
                        .iter()
                        .any(|known| known.iter().take(visible).eq(version.iter().take(visible)))
                    {
                        versions.push(version.clone());
                    }
                }
                (versions.len() > 1).then_some((*number, versions))
            };
            Shape { len, sectors: self.pending.iter().filter_map(in_doubt).collect() }
        })
    }

    fn assemble<'a>(
        &'a self,
        len: usize,
        mut choose: impl FnMut(&'a [Sector]) -> Option<&'a Sector>,
    ) -> Vec<u8> {
        let mut bytes = self.platter.clone();
        bytes.resize(len, 0);
        for (number, versions) in &self.pending {
            if let Some(version) = choose(versions) {
                overlay(&mut bytes, number.saturating_mul(SECTOR), version.as_slice());
            }
        }
        bytes
    }

    /// Puts random bytes into some sectors of the last write, only where that write wrote.
    fn shred(&self, prng: &mut Prng, bytes: &mut [u8]) {
        for number in sectors(&self.last_write) {
            if !prng.chance(1, 3) {
                continue;
            }
            let first = number.saturating_mul(SECTOR);
            let start = first.max(self.last_write.start);
            let end = first.saturating_add(SECTOR).min(self.last_write.end);
            let start = start.saturating_add(prng.index(end.saturating_sub(start)));
            let len = prng.index(end.saturating_sub(start)).saturating_add(1);
            let mut rubbish = vec![0; len];
            prng.fill(&mut rubbish);
            overlay(bytes, start, &rubbish);
        }
    }

    /// Records zeros where the file grew over bytes that an earlier cut left on the platter.
    fn blank(&mut self, grown: Range<usize>) {
        let pending = self.pending.last_key_value().map_or(0, |(number, _)| number + 1);
        let stale = self.platter.len().max(pending.saturating_mul(SECTOR));
        self.note(grown.start..grown.end.min(stale));
    }

    fn note(&mut self, written: Range<usize>) {
        for number in sectors(&written) {
            let version = sector(&self.cache, number);
            self.pending.entry(number).or_default().push(version);
        }
    }

    fn note_len(&mut self) {
        let known = self.lengths.last().copied().unwrap_or(self.platter.len());
        if known != self.cache.len() {
            self.lengths.push(self.cache.len());
        }
    }
}

/// A length that may survive, and the sectors whose bytes are in doubt then, each with its
/// different versions, the durable one first.
struct Shape {
    len: usize,
    sectors: Vec<(usize, Vec<Sector>)>,
}

impl Shape {
    fn count(&self) -> u64 {
        self.sectors.iter().map(|(_, versions)| versions.len() as u64).fold(1, u64::saturating_mul)
    }
}

/// The numbers of the sectors that a range of bytes touches.
fn sectors(bytes: &Range<usize>) -> Range<usize> {
    if bytes.is_empty() { 0..0 } else { bytes.start / SECTOR..bytes.end.div_ceil(SECTOR) }
}

/// One sector of a file, filled up with zeros behind the file's end.
fn sector(bytes: &[u8], number: usize) -> Sector {
    let mut sector = Box::new([0; SECTOR]);
    let rest = bytes.get(number.saturating_mul(SECTOR)..).unwrap_or_default();
    overlay(sector.as_mut_slice(), 0, rest);
    sector
}

/// Copies `from` over `onto` at `at`; what does not fit is cut off.
fn overlay(onto: &mut [u8], at: usize, from: &[u8]) {
    let Some(onto) = onto.get_mut(at..) else { return };
    let len = onto.len().min(from.len());
    if let (Some(onto), Some(from)) = (onto.get_mut(..len), from.get(..len)) {
        onto.copy_from_slice(from);
    }
}
