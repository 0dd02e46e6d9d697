//! What a power cut may leave, counted and numbered; and the disk as it was before each call.

use std::collections::BTreeMap;

use super::{
    Outcome, SimDisk,
    content::Content,
    disk::Disk,
    names::{Inode, Names},
    prng::Prng,
};

/// More outcomes than this are not counted.
const OUTCOMES_MAX: u64 = 1 << 16;

impl SimDisk {
    /// How many different disks a power cut can leave now, torn bytes aside: the numbers below this
    /// are those that [`Outcome::Nth`] takes. `None` if there are more than 65,536.
    ///
    /// Two outcomes are different if a name, a length or a byte differs, or if a name leads to
    /// another file.
    #[must_use]
    pub fn outcome_count(&self) -> Option<u64> {
        self.disk().possible().map(|possible| possible.count)
    }

    /// Outcomes to try: all of them if there are at most `bound`, and otherwise `bound` of them,
    /// the two ends and random ones that the seed tells. Add [`Outcome::Torn`] for bytes that are
    /// torn inside a sector.
    ///
    /// ```
    /// use std::path::Path;
    /// use peer_journal::{testing::SimDisk, vfs::Vfs};
    ///
    /// let disk = SimDisk::new(1);
    /// disk.write("/a", [0; 1024]).unwrap();
    /// disk.open(Path::new("/a")).unwrap().write_at(0, &[1; 1024]).unwrap();
    /// let mut left: Vec<Vec<u8>> = Vec::new();
    /// for outcome in disk.outcomes(256, 1) {
    ///     let image = disk.fork();
    ///     image.power_cut(outcome);
    ///     left.push(image.read("/a").unwrap());
    /// }
    /// let (old, new) = ([0; 512], [1; 512]);
    /// let all = [[old, old], [new, old], [old, new], [new, new]].map(|sectors| sectors.concat());
    /// assert_eq!(left, all);
    /// ```
    #[must_use]
    pub fn outcomes(&self, bound: u64, seed: u64) -> Vec<Outcome> {
        match self.outcome_count() {
            Some(count) if count <= bound => (0..count).map(Outcome::Nth).collect(),
            _ => {
                let mut random = Prng::new(seed);
                let ends = [Outcome::DropUnsynced, Outcome::KeepAll].into_iter();
                let middle = std::iter::repeat_with(|| Outcome::Random(random.next_u64()));
                ends.chain(middle).take(usize::try_from(bound).unwrap_or(usize::MAX)).collect()
            }
        }
    }

    /// From now on a copy of the disk is kept from before each mutating call. One run of the
    /// program then gives all its crash points: cut the power on each of them.
    pub fn record_images(&self) {
        self.disk().images.get_or_insert_with(Vec::new);
    }

    /// The copies so far, oldest first; no more are made. A copy's [`calls`](Self::calls) is the
    /// number of calls that came before it.
    #[must_use]
    pub fn take_images(&self) -> Vec<Self> {
        let images = self.disk().images.take().unwrap_or_default();
        images.into_iter().map(Self::around).collect()
    }
}

/// Everything that a power cut may leave.
pub(super) struct Possible {
    count: u64,
    choices: Vec<Choice>,
}

/// The names that may be left, and the files behind them whose bytes are in doubt.
struct Choice {
    survives: Vec<bool>,
    files: Vec<(Inode, u64)>,
    count: u64,
}

impl Disk {
    /// `None` if there is too much of it.
    pub(super) fn possible(&self) -> Option<Possible> {
        let mut known: BTreeMap<Inode, u64> = BTreeMap::new();
        let mut possible = Possible { count: 0, choices: Vec::new() };
        for survives in self.names.outcomes(OUTCOMES_MAX)? {
            let mut count: u64 = 1;
            let mut files = Vec::new();
            for inode in left(&self.names, &survives).visible() {
                let contents = *known.entry(inode).or_insert_with(|| {
                    self.files.get(&inode).map_or(1, |file| file.content.outcomes())
                });
                if contents > 1 {
                    files.push((inode, contents));
                    count = count.saturating_mul(contents);
                }
            }
            possible.count = possible.count.saturating_add(count);
            possible.choices.push(Choice { survives, files, count });
        }
        (possible.count <= OUTCOMES_MAX).then_some(possible)
    }

    /// Makes one of them the disk; the last one if the number is past it.
    pub(super) fn settle_nth(&mut self, possible: &Possible, number: u64) {
        let mut number = number.min(possible.count.saturating_sub(1));
        let mut chosen = None;
        for choice in &possible.choices {
            if number < choice.count {
                chosen = Some(choice);
                break;
            }
            number = number.saturating_sub(choice.count);
        }
        let Some(Choice { survives, files, .. }) = chosen else { return };
        let mut contents = BTreeMap::new();
        for (inode, count) in files {
            contents.insert(*inode, number.checked_rem(*count).unwrap_or_default());
            number = number.checked_div(*count).unwrap_or_default();
        }
        for (inode, file) in &mut self.files {
            let bytes = match contents.get(inode) {
                Some(number) => file.content.outcome(*number),
                None => file.content.synced(),
            };
            file.content = Content::durable(bytes);
        }
        self.names = left(&self.names, survives);
    }
}

/// The names after a power cut that these unsynced operations survive.
fn left(names: &Names, survives: &[bool]) -> Names {
    let mut names = names.clone();
    let mut survives = survives.iter();
    names.cut(|| survives.next().copied().unwrap_or_default());
    names
}
