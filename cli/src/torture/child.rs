//! The process that writes and is killed. It tells its parent a line each: `open LSN`,
//! `durable LSN CHECKSUM` for a record whose acknowledgement came, `compacted LSN`.
//!
//! It ends only when it is killed, or when its standard input ends because the parent did.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use peer_journal::{
    Ack, Change, P2PStatePersistence,
    testing::{Prng, Step, Workload},
};
use tokio::sync::Mutex;

use super::{builder, lie};
use crate::Failure;

/// Sizes of segments: small ones rotate all the time.
const SEGMENT_BYTES: [u64; 4] = [4096, 16 << 10, 64 << 10, 1 << 20];
/// Differences above it become durable by a snapshot: none, most, or half of them.
const UPDATE_BYTES: [usize; 3] = [usize::MAX, 100, 1000];
/// One in so many records is not waited for.
const UNAWAITED_ONE_IN: u64 = 8;
const COMPACTION_PAUSE_MS: u64 = 80;
/// Longer than any child lives: nothing is synced unless somebody waits.
const NEVER: Duration = Duration::from_secs(3600);

/// Write until killed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    cycle: u64,
    #[arg(long)]
    writers: u64,
}

/// What makes this process lie, for the test of the oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// Calls a record durable before it is.
    Early,
    /// Writes something else than it says.
    Other,
}

/// Runs until killed. Returns only when something fails.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start the runtime", error))?;
    thread::spawn(end_with_parent);
    runtime.block_on(write_all(args))
}

async fn write_all(args: &Args) -> Result<(), Failure> {
    let lie = match lie().as_deref() {
        None => Lie::None,
        Some("other") => Lie::Other,
        Some(_) => Lie::Early,
    };
    let mut random = Prng::new(args.seed ^ args.cycle.rotate_left(32));
    let segment_bytes = random.pick(&SEGMENT_BYTES).copied().unwrap_or(4096);
    let update_bytes = random.pick(&UPDATE_BYTES).copied().unwrap_or(usize::MAX);
    let mut options =
        builder(&args.dir).segment_bytes(segment_bytes).max_update_record_bytes(update_bytes);
    if lie == Lie::Early {
        options = options.sync_within(NEVER);
    }
    let store = options.open()?;
    let view = store.view()?;
    tell(format_args!("open {}", view.lsn()))?;
    let workload = Workload::resume(args.seed, view.lsn(), view.state().clone());
    let writer = Arc::new(Writer { store, workload: Mutex::new(workload), lie });
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..args.writers {
        tasks.spawn(Arc::clone(&writer).write(Prng::new(random.next_u64())));
    }
    if lie != Lie::Early && random.chance(3, 4) {
        tasks.spawn(compact(writer.store.clone(), random));
    }
    match tasks.join_next().await {
        Some(Ok(ended)) => ended,
        _ => Err(Failure::negative("a task of the writing process panicked")),
    }
}

/// What the tasks share.
struct Writer {
    store: P2PStatePersistence,
    /// Its lock makes the order of the records that of the LSNs.
    workload: Mutex<Workload>,
    lie: Lie,
}

impl Writer {
    /// Writes one record after the other.
    async fn write(self: Arc<Self>, mut random: Prng) -> Result<(), Failure> {
        loop {
            let (lsn, checksum, ack) = self.append().await?;
            if let Some(ack) = ack.filter(|_| self.lie != Lie::Early) {
                if random.chance(1, UNAWAITED_ONE_IN) {
                    continue;
                }
                ack.await?;
            }
            tell(format_args!("durable {lsn} {checksum:08x}"))?;
        }
    }

    /// The next record of the workload; without an ack it is durable already.
    async fn append(&self) -> Result<(u64, u32, Option<Ack>), Failure> {
        let mut workload = self.workload.lock().await;
        let lsn = workload.lsn().next();
        let ack = match workload.step() {
            Step::Append(mut changes) if self.lie == Lie::Other && lsn.get() % 32 == 0 => {
                let (key, value) = ("something else".into(), lsn.to_string().into_bytes().into());
                changes.push(Change::DhtPut { key, value, at: Workload::clock().into() });
                Some(self.store.append_batch(changes)?)
            }
            Step::Append(changes) => Some(self.store.append_batch(changes)?),
            Step::Update(rows) => {
                self.store.update_state(rows).await?;
                None
            }
            other => {
                return Err(Failure::negative(format!("a step of an unknown kind: {other:?}")));
            }
        };
        let checksum = workload.advance()?;
        let numbered = self.store.view()?.lsn();
        if numbered != lsn {
            return Err(Failure::negative(format!("record {lsn} got the number {numbered}")));
        }
        Ok((lsn.get(), checksum, ack))
    }
}

async fn compact(store: P2PStatePersistence, mut random: Prng) -> Result<(), Failure> {
    loop {
        tokio::time::sleep(Duration::from_millis(random.below(COMPACTION_PAUSE_MS) + 1)).await;
        let lsn = store.compact().await?;
        tell(format_args!("compacted {lsn}"))?;
    }
}

/// One line to the parent, in one piece.
fn tell(line: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    let line = format!("{line}\n");
    let mut stdout = io::stdout().lock();
    let told = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    told.map_err(|error| Failure::io("cannot tell the parent process", error))
}

fn end_with_parent() {
    let mut nothing = Vec::new();
    // An error ends it as well: either way nobody is there any more.
    io::stdin().read_to_end(&mut nothing).ok();
    std::process::exit(0);
}
