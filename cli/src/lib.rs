//! What the `peer-journal` command is made of; its binary and its tests use it, nobody else should.
//!
//! Reading order: `store` (where the store is), `read` (a file for each reading command), `write`
//! (for each that changes a store), `pick` (which rows), `document` (rows as JSON, both ways),
//! `show` and `json` (how they look), `console` (where output goes), `progress` and `reads` (how
//! far a job is), `failure` (exit codes).

pub mod console;
pub mod document;
pub mod failure;
pub mod json;
pub mod out;
pub mod pick;
pub mod progress;
pub mod read;
pub mod reads;
pub mod show;
pub mod store;
pub mod write;
