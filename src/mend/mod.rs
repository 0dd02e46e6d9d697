//! Mending a store that nobody holds ([`repair`], [`past`]), and taking a peer out of all its files
//! ([`redact`], [`rewrite`]).
//!
//! Everything here goes through an ordinary opening, with its lock and its crash safety.

mod past;
mod redact;
mod repair;
mod rewrite;

pub use redact::{Redaction, RedactionAction, RedactionPlan, RedactionStep};
pub use repair::{Repair, RepairPlan, repair, repair_plan};
