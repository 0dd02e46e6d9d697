//! The published schema of each answer: what the tool prints fits it, and what does not is noticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use common::{Fixture, end, run};
use peer_journal_cli::read::schema::SCHEMAS;
use serde_json::{Value, json};

fn validator(verb: &str) -> jsonschema::Validator {
    let (_, text) = SCHEMAS.iter().find(|(name, _)| *name == verb).expect("a schema");
    jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
}

fn complaints(verb: &str, document: &Value) -> Vec<String> {
    validator(verb).iter_errors(document).map(|error| error.to_string()).collect()
}

/// What a command that changes a store answers, each time on a store of its own.
fn answers_of_writing(verb: &str) -> Option<Vec<Value>> {
    let ends: Vec<String> = (1..=6).map(end).collect();
    let args: &[&[&str]] = match verb {
        "ban" => &[&["ban", &ends[1], "--reason", "x"], &["ban", &ends[0], &ends[5], "--forever"]],
        "unban" => &[&["unban", &ends[5]]],
        "forget" => &[&["forget", &ends[0]]],
        "compact" => &[&["compact"]],
        "undo" => &[&["undo", "17"], &["undo", "13"], &["undo", "9..18", "--dry-run"]],
        "redact" => &[&["redact", "--peer", &ends[1]], &["redact", "--peer", &ends[0], "--apply"]],
        "repair" => &[&["repair"], &["repair", "--apply"]],
        _ => return None,
    };
    let answer = |args: &&[&str]| {
        let fixture = Fixture::market();
        if verb == "repair" {
            common::break_record(fixture.folder.path(), 15);
        }
        if verb == "unban" {
            fixture.run(&["ban", args[1]]).ok();
        }
        fixture.run(&[*args, &["--json"]].concat()).json()
    };
    Some(args.iter().map(answer).collect())
}

/// Every answer that a command with this name gives here.
fn answers(fixture: &Fixture, verb: &str) -> Vec<Value> {
    if let Some(answers) = answers_of_writing(verb) {
        return answers;
    }
    let ends: Vec<String> = (1..=6).map(end).collect();
    let args: Vec<Vec<&str>> = match verb {
        "snapshot" => {
            let text = std::fs::read_to_string(&fixture.state_file).unwrap();
            return vec![serde_json::from_str(&text).unwrap()];
        }
        "cat" => vec![vec!["cat"], vec!["cat", "--at", "9"]],
        "export-line" => vec![vec!["export", "-o", "jsonl"]],
        "export" => vec![vec!["export"], vec!["export", "--kind", "ban"]],
        "import" => {
            let list = fixture.folder.path().join("list");
            std::fs::write(&list, "/ip4/192.0.2.1/tcp/1\n").unwrap();
            let list = list.to_str().unwrap();
            let import =
                |args: &[&str]| fixture.run(&[&["import", "--json"], args].concat()).json();
            let store = fixture.state_file.to_str().unwrap();
            return vec![import(&[list, "--dry-run"]), import(&[list]), import(&[store])];
        }
        "bans" => vec![vec!["bans", "--json", "--all"], vec!["bans", "--json"]],
        "diff" => vec![vec!["diff", "8", "now", "--json"], vec!["diff", "8", "8", "--json"]],
        "why" => ends.iter().map(|end| vec!["why", end, "--json", "--all"]).collect(),
        _ => vec![vec![verb, "--json"]],
    };
    let answer = |args: Vec<&str>| {
        let out = fixture.run(&args).out;
        let stream = serde_json::Deserializer::from_str(&out).into_iter();
        stream.collect::<Result<Vec<Value>, _>>().unwrap()
    };
    args.into_iter().flat_map(answer).collect()
}

#[test]
fn every_answer_fits_its_schema_and_names_it() {
    let fixture = Fixture::market();
    for (verb, _) in SCHEMAS {
        let documents = answers(&fixture, verb);
        assert!(!documents.is_empty(), "{verb}");
        for document in documents {
            assert_eq!(complaints(verb, &document), [] as [String; 0], "{verb}: {document:#}");
            if *verb != "snapshot" {
                assert_eq!(document["schema"], format!("peer-journal/{verb}/1"));
            }
        }
    }
}

#[test]
fn a_field_that_is_missing_renamed_or_of_another_type_does_not_fit() {
    let fixture = Fixture::market();
    for (verb, _) in SCHEMAS {
        let whole = answers(&fixture, verb).remove(0);
        for field in whole.as_object().unwrap().keys() {
            let mut without = whole.clone();
            let value = without.as_object_mut().unwrap().remove(field).unwrap();
            assert_ne!(complaints(verb, &without), [] as [String; 0], "{verb}: no {field}");
            let mut renamed = without.clone();
            renamed[format!("{field}s")] = value;
            assert_ne!(complaints(verb, &renamed), [] as [String; 0], "{verb}: {field}s");
            without[field] = json!([true]);
            assert_ne!(complaints(verb, &without), [] as [String; 0], "{verb}: {field} is a list");
        }
    }
}

#[test]
fn the_tool_prints_its_schemas() {
    let listed = run(&["schema"]).ok();
    for (verb, text) in SCHEMAS {
        assert!(listed.lines().any(|line| line == *verb), "{listed}");
        assert_eq!(run(&["schema", verb]).ok().trim(), text.trim());
        let schema: Value = serde_json::from_str(text).unwrap();
        jsonschema::meta::validate(&schema).unwrap();
    }
    let wrong = run(&["schema", "nonsense"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("peers"), "{}", wrong.err);
}
