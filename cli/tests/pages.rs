//! Completions and pages of the manual: they know every command, and shells and roff take them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{collections::HashSet, fs, process::Command};

use common::run;

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = run(&["--help"]).ok();
    let listed = help.split_once("Commands:").unwrap().1.split_once("Options:").unwrap().0;
    let is_name = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let names = listed.lines().filter(is_name).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_shell_is_told_of_every_command_and_of_nothing_hidden() {
    let commands = commands();
    assert!(commands.len() > 15, "{commands:?}");
    for shell in SHELLS {
        let script = run(&["completions", shell]).ok();
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell}: {command}");
        }
        for hidden in ["torture-child", "demo-node", "--now"] {
            assert!(!script.contains(hidden), "{shell}: {hidden}");
        }
    }
    assert_eq!(run(&["completions", "csh"]).code, 2);
}

/// Bash goes from word to word by names that the script makes up; each must lead somewhere.
#[test]
fn the_script_for_bash_has_a_place_for_every_command_that_it_recognizes() {
    let script = run(&["completions", "bash"]).ok();
    let lines = script.lines().map(str::trim);
    let named: HashSet<&str> = lines
        .clone()
        .filter_map(|line| line.strip_prefix("cmd=\"")?.strip_suffix('"'))
        .filter(|name| !name.is_empty())
        .collect();
    let places: HashSet<&str> = lines.filter_map(|line| line.strip_suffix(')')).collect();
    let lost: Vec<_> = named.iter().filter(|name| !places.contains(*name)).collect();
    assert!(named.len() > 15 && lost.is_empty(), "{lost:?}");
}

#[cfg(unix)]
#[test]
fn bash_completes_commands_options_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("completions");
    fs::write(&file, run(&["completions", "bash"]).ok()).unwrap();
    let ask = "source \"$1\"; shift; name=$(complete -p peer-journal | sed 's/.*-F //; s/ .*//')
        COMP_WORDS=(peer-journal \"$@\"); COMP_CWORD=$#; last=\"${!#}\"
        $name peer-journal \"$last\" \"${COMP_WORDS[$((COMP_CWORD - 1))]}\"; echo \"${COMPREPLY[*]}\"";
    for (words, expected) in [
        (vec!["expo"], "export"),
        (vec!["export", "-o", ""], "json jsonl csv multiaddrs"),
        (vec!["export", "--ki"], "--kind"),
        (vec!["completions", "fi"], "fish"),
        (vec!["man", "repu"], "reputation"),
        (vec!["schema", "snap"], "snapshot"),
    ] {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", ask, "bash"]).arg(&file).args(&words);
        // Not every machine that runs these tests has bash.
        let Ok(output) = bash.output() else { return };
        let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((told.as_str(), err.as_str()), (expected, ""), "{words:?}");
    }
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man");
    let ran = run(&["man", "--out", dir.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    let mut pages: Vec<String> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    let name = |command: &String| format!("peer-journal-{command}.1");
    let mut expected: Vec<String> = commands().iter().map(name).collect();
    expected.push("peer-journal.1".to_owned());
    expected.sort();
    assert_eq!(pages, expected);
    for command in commands() {
        let page = fs::read_to_string(dir.join(name(&command))).unwrap();
        assert_eq!(run(&["man", &command]).ok(), page);
        for part in [".TH ", ".SH NAME", ".SH SYNOPSIS", "SEE ALSO"] {
            assert!(page.contains(part), "{command}: {part}");
        }
    }
    let root = run(&["man"]).ok();
    for part in ["EXIT STATUS", "ENVIRONMENT", "FILES", "peer\\-journal\\-export"] {
        assert!(root.contains(part), "{part}");
    }
    let nobody = run(&["man", "nonsense"]);
    assert_eq!(nobody.code, 2);
    assert!(nobody.err.contains("status, verify"), "{}", nobody.err);
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(run(&["man", "--out", file.to_str().unwrap()]).code, 4);
}
