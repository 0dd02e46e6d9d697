//! The published schema of the snapshot: what the store writes fits it, and what does not is
//! noticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::made::{STATE, known};
use serde_json::{Value, json};

fn schema() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(include_str!("../docs/snapshot.schema.json")).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn complaints(document: &Value) -> Vec<String> {
    schema().iter_errors(document).map(|error| error.to_string()).collect()
}

#[test]
fn a_snapshot_of_a_store_with_every_kind_of_row_fits() {
    let disk = known(true).disk;
    let written: Value = serde_json::from_slice(&disk.read(STATE).unwrap()).unwrap();
    assert_eq!(complaints(&written), [] as [String; 0]);
    let golden = include_str!("golden/v1/p2p-state.json");
    let golden: Value = serde_json::from_str(golden).unwrap();
    assert_eq!(complaints(&golden), [] as [String; 0]);
    for rows in ["peers", "reputation", "dht_entries", "bans", "bootstrap_nodes", "profiles"] {
        assert_ne!(golden[rows], json!([]), "the golden snapshot has no {rows}");
    }
}

#[test]
fn a_field_that_is_missing_renamed_or_of_another_type_does_not_fit() {
    let golden: Value = serde_json::from_str(include_str!("golden/v1/p2p-state.json")).unwrap();
    for field in golden.as_object().unwrap().keys() {
        let mut without = golden.clone();
        let value = without.as_object_mut().unwrap().remove(field).unwrap();
        assert_ne!(complaints(&without), [] as [String; 0], "{field} may be missing");
        without[format!("{field}s")] = value;
        without[field] = json!(true);
        assert_ne!(complaints(&without), [] as [String; 0], "{field} may be anything");
    }
    for (path, wrong) in [
        ("/version", json!(3)),
        ("/checksum", json!("md5:00")),
        ("/peers/0/last_seen", json!("yesterday")),
        ("/dht_entries/0/value", json!([1, 2, 3])),
        ("/profiles/0/verified", json!("yes")),
    ] {
        let mut document = golden.clone();
        *document.pointer_mut(path).unwrap() = wrong;
        assert_ne!(complaints(&document), [] as [String; 0], "{path}");
    }
}
