//! Memory per peer, from the allocator's own count and from Linux.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicIsize, Ordering},
    },
};

use tokio::runtime::Runtime;

use crate::{
    args::Args, engines::Result, ours, report::Row, rows::child, stats::process_bytes,
    workload::World,
};

/// Counts live bytes while it is told to; otherwise it costs one load.
pub struct Counting;

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicIsize = AtomicIsize::new(0);

/// What glibc takes for a request: eight bytes of its own, in units of 16, and at least 32.
fn chunk(size: usize) -> isize {
    isize::try_from(((size + 8).next_multiple_of(16)).max(32)).unwrap_or(isize::MAX)
}

// SAFETY: every call goes to the system's allocator unchanged; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_COUNTING.load(Ordering::Relaxed) {
            LIVE.fetch_add(chunk(layout.size()), Ordering::Relaxed);
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if IS_COUNTING.load(Ordering::Relaxed) {
            LIVE.fetch_sub(chunk(layout.size()), Ordering::Relaxed);
        }
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if IS_COUNTING.load(Ordering::Relaxed) {
            LIVE.fetch_add(chunk(layout.size()), Ordering::Relaxed);
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if IS_COUNTING.load(Ordering::Relaxed) {
            LIVE.fetch_add(chunk(size) - chunk(layout.size()), Ordering::Relaxed);
        }
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
}

pub fn run(args: &Args, world: &Arc<World>, dir: &Path) -> Result<Vec<Row>> {
    let runtime = Runtime::new()?;
    let place = dir.join("memory");
    let store = ours::open_filled(&place, world)?;
    runtime.block_on(store.compact())?;
    runtime.block_on(store.close())?;
    let title = "memory per peer with three addresses and a reputation";
    let mut row = Row::new("memory", title, "bytes", false);
    for _ in 0..args.rounds {
        for way in ["opened", "appended"] {
            // Filling a store again and again in one folder would open it, not fill it.
            let folder = if way == "opened" { place.clone() } else { dir.join("memory-fresh") };
            let numbers = child(&["memory", way], args.peers, &folder, 0.0)?;
            if way == "appended" {
                std::fs::remove_dir_all(&folder)?;
            }
            let [heap, resident] = numbers[..] else { return Err("two numbers".into()) };
            row.add(&format!("heap, {way}"), heap);
            row.add(&format!("resident, {way}"), resident);
        }
    }
    row.note(
        "Heap: live allocations with glibc's own share. Resident: growth of the process. Opened: \
         from the snapshot. Appended: built change by change. The whole store counts, with its \
         threads and buffers.",
    );
    Ok(vec![row])
}

/// In a fresh process: bytes per peer on the heap, and resident.
pub fn measure(args: &Args) -> Result<Vec<f64>> {
    let is_opened = args.words.get(2).is_some_and(|way| way == "opened");
    let world = if is_opened { None } else { Some(World::new(args.peers)) };
    trim();
    let resident = process_bytes("VmRSS");
    IS_COUNTING.store(true, Ordering::Relaxed);
    let store = match &world {
        Some(world) => ours::open_filled(&args.dir, world)?,
        None => ours::open(&args.dir)?,
    };
    crate::rows::append::settle(&store)?;
    let heap = LIVE.load(Ordering::Relaxed) as f64;
    trim();
    let grown = process_bytes("VmRSS") - resident;
    let peers = store.view()?.state().counts().peers;
    if peers != args.peers {
        return Err(format!("{peers} peers are there").into());
    }
    Ok(vec![heap / peers as f64, grown / peers as f64])
}

/// Gives free memory back to the system, so that only what is in use is resident.
pub fn trim() {
    // SAFETY: the call has no preconditions.
    unsafe { libc::malloc_trim(0) };
}
