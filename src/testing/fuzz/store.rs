//! The whole of recovery, over any contents of the folder.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::{
    Checked, MEND, RENUMBER, block_on, ensure, input::Input, mend, snapshot::fingerprint,
    split_mode,
};
use crate::{
    Builder, Error, ErrorKind, Finding, OnDamage, P2PStatePersistence, RecoveryReport, Verdict,
    journal::name::{SegmentName, prepared_name},
    recovery::{Base, examine},
    snapshot::{
        name::{VERSION_1_NAME, fallback_name, parse_fallback, temporary},
        publish::Places,
    },
    state::{Change, Limits, State},
    testing::{Outcome, SimDisk},
};

const STATE: &str = "/node/p2p-state.json";
const JOURNAL: &str = "/node/p2p-state.journal";
/// No test waits that long: what is not waited for is written when the store is closed.
const NEVER: Duration = Duration::from_secs(3600);

type Files = Vec<(PathBuf, Vec<u8>)>;

pub(super) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap_or_default()
}

pub(super) fn options(disk: &SimDisk) -> Builder {
    P2PStatePersistence::builder(STATE)
        .vfs(Arc::new(disk.mount()))
        .segment_bytes(4096)
        .sync_within(NEVER)
        .clock(now)
}

/// The files that an input stands for. Each is a kind, two numbers for its name, its length, the
/// number of zeros behind its bytes, and its bytes; a first byte in front of all of them is for
/// [`recover`].
#[must_use]
pub fn unpack(input: &[u8]) -> Files {
    let mut input = Input(split_mode(input).1);
    let mut files = Files::new();
    while !input.is_empty() {
        let (kind, number, lsn) = (input.below(8), input.byte(), input.pair());
        let (len, zeros) = (input.pair(), input.pair());
        let mut bytes = input.take(usize::from(len));
        bytes.resize(bytes.len().saturating_add(usize::from(zeros)), 0);
        let state_file = Path::new(STATE);
        let segment = SegmentName { segment: number.into(), first_lsn: u64::from(lsn).into() };
        let fallback = fallback_name(u64::from(lsn).into());
        let path = match kind {
            0 => state_file.to_owned(),
            1 => Path::new(JOURNAL).join(segment.to_string()),
            2 => Path::new(JOURNAL).join(fallback),
            3 => Path::new(JOURNAL).join(prepared_name(number.into())),
            4 => temporary(state_file),
            5 => Path::new(JOURNAL).join(format!("{fallback}.tmp")),
            6 => Path::new(JOURNAL).join(VERSION_1_NAME),
            _ => Path::new(JOURNAL).join(format!("{number}.wal")),
        };
        files.push((path, bytes));
    }
    files
}

/// An input that stands for these files, with this first byte; others than [`unpack`] can name are
/// left out.
#[must_use]
pub fn pack(mode: u8, files: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let mut input = vec![mode];
    for (path, bytes) in files {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (kind, number, lsn) = if path == Path::new(STATE) {
            (0, 0, 0)
        } else if let Some(segment) = SegmentName::parse(name) {
            (1, segment.segment, segment.first_lsn.get())
        } else if let Some(lsn) = parse_fallback(name) {
            (2, 0, lsn.get())
        } else {
            continue;
        };
        let zeros = bytes.iter().rev().take_while(|&&byte| byte == 0).count();
        let content = bytes.get(..bytes.len().saturating_sub(zeros)).unwrap_or_default();
        let sizes = [u16::try_from(content.len()), u16::try_from(zeros)];
        let (Ok(number), Ok(lsn), [Ok(len), Ok(zeros)]) =
            (u8::try_from(number), u16::try_from(lsn), sizes)
        else {
            continue;
        };
        input.extend_from_slice(&[kind, number]);
        for field in [lsn, len, zeros] {
            input.extend_from_slice(&field.to_le_bytes());
        }
        input.extend_from_slice(content);
    }
    input
}

/// Any files as a store. Accepted: the records replayed, and one for a snapshot.
///
/// # Errors
/// What does not hold.
pub fn recover(input: &[u8]) -> Checked {
    let (mode, _) = split_mode(input);
    let disk = SimDisk::new(1);
    for (path, mut bytes) in unpack(input) {
        if mode & MEND != 0 && path.extension().is_some_and(|extension| extension == "wal") {
            mend::segment(&mut bytes, mode & RENUMBER != 0);
        } else if mode & MEND != 0 {
            mend::snapshot(&mut bytes);
        }
        disk.write(&path, bytes).map_err(|error| error.to_string())?;
    }
    let (state, report) = match read_only(&disk)? {
        Ok(read) => read,
        Err(error) => return refused(&disk, &error),
    };
    if report.is_damaged() {
        let fork = disk.fork();
        let error = options(&fork).on_damage(OnDamage::Refuse).open().map(drop);
        ensure!(
            error.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corrupt),
            "damaged, and not refused: {error:?} {report}"
        );
        ensure!(data(&disk)? == data(&fork)?, "a refusal altered a file: {report}");
    }
    let Some(kept) = first_opening(&disk, state, &report)? else { return Ok(0) };
    later_openings(&disk, &kept, &report, mode & MEND != 0)?;
    Ok(report.replayed.saturating_add(u64::from(report.snapshot_lsn.is_some())))
}

type Read = Result<(State, RecoveryReport), Error>;

/// Reads as readers do, twice: the same both times, and nothing is altered.
fn read_only(disk: &SimDisk) -> Result<Read, String> {
    let places = Places::new(Path::new(STATE));
    let (files, calls) = (data(disk)?, disk.calls());
    let read = || {
        examine(disk, &places, Limits::default(), OnDamage::Salvage, Base::Taken)
            .map(|recovered| (recovered.state, recovered.report))
    };
    let (first, second) = (read(), read());
    ensure!(disk.calls() == calls && data(disk)? == files, "a reader altered a file");
    match (&first, &second) {
        (Ok((state, report)), Ok((again, twice))) => {
            ensure!(report == twice, "read twice: {report}\n{twice}");
            ensure!(fingerprint(state)? == fingerprint(again)?, "read twice, differs: {report}");
        }
        (Err(error), Err(twice)) if error.kind() == twice.kind() => {}
        _ => return Err(format!("read twice: {first:?}\n{second:?}")),
    }
    Ok(first)
}

/// Only what a newer version wrote is refused, and then nothing is altered.
fn refused(disk: &SimDisk, error: &Error) -> Checked {
    ensure!(error.kind() == ErrorKind::NewerVersion, "refused: {error:#}");
    let files = data(disk)?;
    let again = options(disk).open().map(drop);
    ensure!(
        again.as_ref().is_err_and(|again| again.kind() == ErrorKind::NewerVersion),
        "a reader refuses it, an opening does not: {again:?}"
    );
    ensure!(data(disk)? == files, "a refusal altered a file: {error:#}");
    Ok(0)
}

/// What a store holds.
struct Kept {
    lsn: u64,
    state: Vec<u8>,
}

impl Kept {
    fn of(store: &P2PStatePersistence) -> Result<Self, String> {
        let view = store.view().map_err(|error| error.to_string())?;
        Ok(Self { lsn: view.lsn().get(), state: fingerprint(view.state())? })
    }
}

/// Opens, finds what a reader found, and makes one more change durable. `None` for files with
/// numbers that no store reaches.
fn first_opening(
    disk: &SimDisk,
    read: State,
    report: &RecoveryReport,
) -> Result<Option<Kept>, String> {
    let files = data(disk)?;
    let store = match options(disk).open() {
        Ok(store) => store,
        Err(error) => {
            ensure!(error.to_string().contains("no store reaches"), "cannot open: {error:#}");
            ensure!(data(disk)? == files, "a refusal altered a file: {error:#}");
            return Ok(None);
        }
    };
    let opened = store.recovery().map_err(|error| error.to_string())?;
    ensure!(
        (opened.outcome, opened.last_lsn) == (report.outcome, report.last_lsn)
            && (&opened.lost, opened.replayed) == (&report.lost, report.replayed),
        "a reader found {report}\nan opening {opened}"
    );
    let mut expected = read;
    if expected.has_expired(now().into()) {
        let expired = Change::Expired { at: now().into() };
        expected.apply(&expired).map_err(|error| error.to_string())?;
    }
    let opened = Kept::of(&store)?;
    ensure!(opened.state == fingerprint(&expected)?, "opened as another state: {report}");
    ensure!(opened.lsn >= report.last_lsn.get(), "opened at {}: {report}", opened.lsn);
    let change = Change::DhtPut {
        key: format!("after {}", opened.lsn).into(),
        value: vec![7; 3].into(),
        at: now().into(),
    };
    match store.append(change) {
        Ok(ack) => {
            let lsn = ack.wait().map_err(|error| format!("not durable: {error:#}"))?;
            ensure!(lsn.get() >= opened.lsn, "the next change is {lsn}: {report}");
        }
        // A limit may keep it out.
        Err(error) => ensure!(error.kind() == ErrorKind::Limit, "{error:#}: {report}"),
    }
    Kept::of(&store).map(Some)
}

/// After a power cut: the same state, and nothing more is lost. After a snapshot: nothing is left
/// to complain about.
///
/// But for two kinds of files: one that was renamed keeps its name until a compaction removes it,
/// and one whose header states forged numbers may never be removed. Something was found of those
/// before, too.
fn later_openings(
    disk: &SimDisk,
    kept: &Kept,
    report: &RecoveryReport,
    is_forged: bool,
) -> Result<(), String> {
    let mut reports = vec![report.to_string()];
    for snapshots in 0..2 {
        disk.power_cut(Outcome::DropUnsynced);
        let store = match options(disk).open() {
            // Forged numbers right below the largest that is opened: an opening takes one.
            Err(error) if error.to_string().contains("a number that no store reaches") => {
                return Ok(());
            }
            opened => opened.map_err(|error| format!("cannot open again: {error:#}"))?,
        };
        let again = store.recovery().map_err(|error| error.to_string())?;
        reports.push(again.to_string());
        let found = Kept::of(&store)?;
        let story = || reports.join("\n");
        ensure!(found.lsn == kept.lsn, "lsn {}, then {}: {}", kept.lsn, found.lsn, story());
        ensure!(found.state == kept.state, "another state after a restart: {}", story());
        ensure!(
            again.lost.iter().all(|range| report.lost.contains(range)),
            "more is lost after a restart: {}",
            story()
        );
        if snapshots == 0 {
            block_on(store.compact()).map_err(|error| format!("{error:#}: {}", story()))?;
        } else {
            let is_known = |finding: &Finding| {
                let mut before = report.findings.iter().filter(|f| f.path == finding.path);
                let is_misnamed = finding.verdict == Verdict::Misnamed;
                before.any(|f| is_forged || (is_misnamed && f.verdict == finding.verdict))
            };
            ensure!(
                again.lost.is_empty() && again.findings.iter().all(is_known),
                "damaged after a snapshot: {}",
                story()
            );
        }
    }
    Ok(())
}

/// All files but the lock, whose text tells who holds it.
fn data(disk: &SimDisk) -> Result<Files, String> {
    let mut files = Files::new();
    for (path, _) in disk.files() {
        if path.file_name().is_some_and(|name| name != "LOCK") {
            let bytes = disk.read(&path).map_err(|error| error.to_string())?;
            files.push((path, bytes));
        }
    }
    Ok(files)
}
