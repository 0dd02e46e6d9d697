//! Which rows and records: peers by a part of their id, times, LSNs, kinds, order, limit.

mod kind;
mod peer;
mod time;

pub use kind::Kinds;
pub use peer::{PeerQuery, find_peer};
pub use time::{When, parse_span, parse_time, parse_when};

/// How many rows, and from which end.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Slice {
    /// Show at most this many
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<usize>,
    /// Turn the order around
    #[arg(long)]
    pub reverse: bool,
}

impl Slice {
    /// The rows in their order, turned around and cut as asked.
    #[must_use]
    pub fn of<T>(self, mut rows: Vec<T>) -> Vec<T> {
        if self.reverse {
            rows.reverse();
        }
        rows.truncate(self.limit.unwrap_or(usize::MAX));
        rows
    }
}

/// True if one of the texts contains the other one, whatever the case of ASCII letters.
#[must_use]
pub fn contains(texts: &[&str], part: &str) -> bool {
    let part = part.to_ascii_lowercase();
    texts.iter().any(|text| text.to_ascii_lowercase().contains(&part))
}
