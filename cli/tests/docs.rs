//! Pages that the tool's messages point to must have what they promise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use peer_journal::{Reader, Verdict};

const PAGE: &str = include_str!("../../docs/troubleshooting.md");

#[test]
fn every_recovery_label_has_its_section_with_what_it_means_what_was_kept_and_what_to_do() {
    for verdict in Verdict::ALL {
        let head = format!("\n## `{verdict}`\n");
        let (_, rest) = PAGE.split_once(&head).unwrap_or_else(|| panic!("no section {verdict}"));
        let section = rest.split("\n## ").next().unwrap();
        for part in ["**Means:** ", "**Kept:** ", "**Do:** "] {
            let found = section.lines().find_map(|line| line.strip_prefix(part));
            assert!(found.is_some_and(|text| text.len() >= 8), "{verdict}: {part}");
        }
        let link = format!("[`{verdict}`](#{})", verdict.as_str().replace(' ', "-"));
        assert!(PAGE.contains(&link), "the table leads to {verdict}");
    }
    assert_eq!(PAGE.matches("\n## `").count(), Verdict::ALL.len(), "no section without a label");
}

#[test]
fn a_report_with_findings_names_the_page() {
    let fixture = common::Fixture::market();
    let page = "docs/troubleshooting.md";
    let report = |path| Reader::open(path).unwrap().report().to_string();
    assert!(!report(&fixture.state_file).contains(page));
    common::break_record(fixture.folder.path(), 15);
    let told = report(&fixture.state_file);
    assert!(told.contains("broken record") && told.contains(page), "{told}");
}
