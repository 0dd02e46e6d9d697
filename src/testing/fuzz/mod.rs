//! The bodies of the fuzz targets: any bytes go in, and what must hold of them is checked.
//!
//! `tests/fuzz.rs` and the targets in `fuzz/` call the same bodies. Each takes any bytes and says
//! how much of them was accepted, so that its caller sees whether the checksums are ever passed, or
//! what does not hold. Unlike the rest of the `testing` feature this module is no part of the
//! public interface and changes without notice.

mod input;
mod journal;
mod mend;
mod operations;
mod snapshot;
mod store;

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
};

pub use journal::{read_header, scan_segment};
pub use operations::operations;
pub use snapshot::read_snapshot;
pub use store::{pack, recover, unpack};

/// How much of the input was accepted, or what does not hold.
pub type Checked = Result<u64, String>;

/// One of the bodies.
pub type Target = fn(&[u8]) -> Checked;

/// All of them, by the names of their targets.
pub const TARGETS: [(&str, Target); 5] = [
    ("scan_segment", scan_segment),
    ("read_header", read_header),
    ("read_snapshot", read_snapshot),
    ("recover", recover),
    ("operations", operations),
];

/// In the first byte of an input: renew the checksums, so that what is behind them is reached.
const MEND: u8 = 1;
/// In the first byte of an input: number the records anew, too.
const RENUMBER: u8 = 2;

/// Returns from the function with the reason if the condition does not hold.
macro_rules! ensure {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(format!($($why)*));
        }
    };
}
use ensure;

/// The mode in the first byte, and the rest.
fn split_mode(input: &[u8]) -> (u8, &[u8]) {
    match input.split_first() {
        Some((mode, rest)) => (*mode, rest),
        None => (0, input),
    }
}

/// Polls on this thread until it is ready.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
