//! Guards the house rules: what the compiler and clippy cannot see, and what would otherwise drift.
//!
//! Each rule is a function of a path and a text, so that it can be shown to catch what it forbids.

#![allow(clippy::unwrap_used, reason = "a tree that cannot be read is a failed test")]
#![allow(clippy::expect_used, clippy::panic, reason = "as above, and this is how rules report")]
#![allow(clippy::indexing_slicing, clippy::string_slice, reason = "as above")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The modules of the crate by row: a module uses only itself and rows with a smaller number.
const ROWS: &[(&str, u8)] = &[
    ("error", 0),
    ("ids", 0),
    ("state", 1),
    ("vfs", 1),
    ("journal", 2),
    ("snapshot", 2),
    ("recovery", 3),
    ("history", 4),
    ("persistence", 5),
    ("reader", 6),
    ("registry", 6),
    ("mend", 7),
];
/// All that the simulated disk and the workload may use.
const TESTING_USES: &[&str] = &["error", "ids", "state", "vfs"];
/// The bodies of the fuzz targets stand above everything: they reach what no user can.
const FUZZ_BODIES: &str = "src/testing/fuzz/";
/// Where threads, locks and atomics live.
const CONCURRENT: &[&str] = &["persistence", "registry", "testing"];
/// The other files: their threads end before the call that starts them; and the disk of a test.
const HELPERS: &[&str] =
    &["src/recovery/crew.rs", "src/snapshot/both.rs", "src/snapshot/temporary/tests.rs"];
/// Where the clock is read.
const TIMED: &[&str] = &["persistence", "registry"];
/// Names that come from the system this crate replaces and break the rule on names.
const INHERITED_NAMES: &[&str] = &["persist_on_shutdown", "save_state"];
const FILE_LINES_MAX: usize = 400;
const COLUMNS_MAX: usize = 100;

/// A broken rule: the line, and what is wrong with its remedy.
type Broken = (usize, String);

#[test]
fn modules_use_only_the_rows_below_them() {
    let lib = read("src/lib.rs");
    check(&["src"], |path, text| direction(path, text, &exports(&lib)));
}

#[test]
fn only_the_vfs_touches_files() {
    check(&["src"], files);
}

#[test]
fn threads_and_locks_stay_in_their_modules() {
    check(&["src"], concurrency);
}

#[test]
fn the_clock_is_read_at_the_edge() {
    check(&["src"], clock);
}

#[test]
fn every_file_is_in_form() {
    let folders = ["src", "cli/src", "tests", "benches", "examples", "fuzz/fuzz_targets"];
    check(&folders, |_, text| form(text));
}

#[test]
fn files_are_short() {
    check(&["src", "cli/src"], |_, text| length(text));
}

#[test]
fn every_recovery_label_is_documented_and_tested() {
    let verdicts = root().join("src/recovery/verdict.rs");
    if !verdicts.exists() {
        return;
    }
    let text = fs::read_to_string(verdicts).unwrap();
    let docs = read("docs/durability.md");
    // This file names some labels, too, but tests none of them.
    let tests: String = sources("tests")
        .into_iter()
        .filter(|(path, _)| path != "tests/tidy.rs")
        .map(|(_, text)| text)
        .collect();
    report(labels("src/recovery/verdict.rs", &text, &docs, &tests));
}

#[test]
fn the_crate_root_holds_no_code() {
    check(&["src"], crate_root);
}

#[test]
fn public_names_say_what_is_durable() {
    check(&["src"], |_, text| names(text));
}

#[test]
fn the_model_builds_the_library_with_its_dependencies() {
    report(same_dependencies(&read("Cargo.toml"), &read("tests/model/Cargo.toml")));
}

/// Dependencies point one way.
fn direction(path: &str, text: &str, exports: &BTreeMap<String, String>) -> Vec<Broken> {
    let Some(module) = module_of(path) else { return Vec::new() };
    if path.starts_with(FUZZ_BODIES) {
        return Vec::new();
    }
    let code = code_of(text);
    let mut broken = Vec::new();
    for (line, name) in references(path, &code) {
        let used = exports.get(&name).unwrap_or(&name);
        let known = used == "testing" || row(used).is_some();
        if !known || used == module || may_use(module, used) {
            continue;
        }
        broken.push((
            line,
            format!(
                "`{module}` uses `{used}`, which is not below it; move the code or invert the call"
            ),
        ));
    }
    broken
}

fn may_use(module: &str, used: &str) -> bool {
    if module == "testing" {
        return TESTING_USES.contains(&used);
    }
    if module == "journal" && used == "state" {
        // Payloads are bytes to the journal.
        return false;
    }
    matches!((row(module), row(used)), (Some(own), Some(other)) if other < own)
}

fn row(module: &str) -> Option<u8> {
    ROWS.iter().find(|(name, _)| *name == module).map(|(_, row)| *row)
}

/// What the crate root exports, by the module it comes from.
fn exports(lib: &str) -> BTreeMap<String, String> {
    let code = code_of(lib);
    let statements = code.split(';').filter_map(|statement| statement.split("pub use ").nth(1));
    let mut exports = BTreeMap::new();
    for statement in statements {
        let path = statement.trim().trim_start_matches("crate::").trim_start_matches("self::");
        let Some((module, rest)) = path.split_once("::") else { continue };
        for name in rest.split(|c: char| !is_word(c)).filter(|name| !name.is_empty()) {
            exports.insert(name.to_owned(), module.to_owned());
        }
    }
    exports
}

/// The names right below the crate root that a file mentions, through `crate::` or through `super`.
fn references(path: &str, code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in words(code).filter(|(_, word)| *word == "crate") {
        let Some(rest) = after_colons(&code[at + "crate".len()..]) else { continue };
        found.extend(heads(rest).into_iter().map(|name| (line_of(code, at), name)));
    }
    let depth = path.trim_end_matches("/mod.rs").trim_end_matches(".rs").split('/').count() - 1;
    for (at, _) in words(code).filter(|(_, word)| *word == "super") {
        if code[..at].trim_end().ends_with("super::") {
            continue;
        }
        let mut rest = &code[at..];
        let mut climbs = 0;
        while let Some(next) = rest.strip_prefix("super").and_then(after_colons) {
            climbs += 1;
            rest = next;
        }
        if climbs == depth + inline_depth(&code[..at]) {
            found.extend(heads(rest).into_iter().map(|name| (line_of(code, at), name)));
        }
    }
    found
}

/// How many modules written out in the file are open at its end.
fn inline_depth(code: &str) -> usize {
    let mut open = Vec::new();
    let mut statement = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => {
                let head: Vec<&str> = words(&code[statement..at]).map(|(_, word)| word).collect();
                open.push(head.len() >= 2 && head[head.len() - 2] == "mod");
                statement = at + 1;
            }
            '}' => {
                open.pop();
                statement = at + 1;
            }
            ';' => statement = at + 1,
            _ => {}
        }
    }
    open.iter().filter(|is_module| **is_module).count()
}

/// The first name of a path, or of each path of a group in braces.
fn heads(path: &str) -> Vec<String> {
    let Some(group) = path.trim_start().strip_prefix('{') else {
        return words(path).take(1).map(|(_, word)| word.to_owned()).collect();
    };
    let mut heads = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.extend(words(&group[start..at]).take(1).map(|(_, word)| word.to_owned()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads
}

fn after_colons(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix("::").map(str::trim_start)
}

/// One seam to the disk.
fn files(path: &str, text: &str) -> Vec<Broken> {
    if ["src/vfs/os.rs", "src/vfs/os/direct.rs"].contains(&path) {
        return Vec::new();
    }
    forbidden_words(text, |word| word == "fs", "goes around the disk seam; use `crate::vfs`")
}

/// One place for everything that runs at the same time as something else.
fn concurrency(path: &str, text: &str) -> Vec<Broken> {
    let is_concurrent = module_of(path).is_some_and(|module| CONCURRENT.contains(&module));
    if is_concurrent || HELPERS.contains(&path) {
        return Vec::new();
    }
    const WORDS: &[&str] = &[
        "thread",
        "JoinHandle",
        "Mutex",
        "RwLock",
        "Condvar",
        "Barrier",
        "mpsc",
        "spawn",
        "spawn_blocking",
        "block_on",
        "block_in_place",
    ];
    let concurrent = |word: &str| {
        let is_atomic = word.strip_prefix("Atomic").is_some_and(|kind| {
            let bits = kind.trim_start_matches(['U', 'I']);
            ["Bool", "Ptr", "Usize", "Isize"].contains(&kind) || bits.parse::<u8>().is_ok()
        });
        WORDS.contains(&word) || is_atomic
    };
    forbidden_words(
        text,
        concurrent,
        "belongs in src/persistence or src/registry: pass data instead",
    )
}

fn forbidden_words(text: &str, forbidden: impl Fn(&str) -> bool, remedy: &str) -> Vec<Broken> {
    let code = code_of(text);
    words(&code)
        .filter(|(_, word)| forbidden(word))
        .map(|(at, word)| (line_of(&code, at), format!("`{word}` {remedy}")))
        .collect()
}

/// Replay of the same bytes gives the same state, whatever the time is.
fn clock(path: &str, text: &str) -> Vec<Broken> {
    if module_of(path).is_some_and(|module| TIMED.contains(&module)) {
        return Vec::new();
    }
    let mut broken = Vec::new();
    for (number, line) in code_of(text).lines().enumerate() {
        for clock in ["Utc::now", "Local::now", "Instant::now", "SystemTime::now"] {
            if line.contains(clock) {
                let remedy = "reads the clock; take the time as an argument";
                broken.push((number + 1, format!("`{clock}` {remedy}")));
            }
        }
    }
    broken
}

/// The form of every source file.
fn form(text: &str) -> Vec<Broken> {
    let mut broken = Vec::new();
    if !text.starts_with("//!") {
        broken.push((1, "open the file with a `//!` line that says what it is for".to_owned()));
    }
    // Spelled in two halves, or this file would break the rule.
    let leftovers = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("X", "XX")];
    let leftover_call = concat!("to", "do!");
    for (number, line) in text.lines().enumerate() {
        let mut say = |what: String| broken.push((number + 1, what));
        if !line.is_ascii() {
            say("write it in ASCII, or as an escape".to_owned());
        }
        let columns = line.chars().count();
        if columns > COLUMNS_MAX && !is_one_literal(line) && !line.contains("://") {
            say(format!("{columns} columns; break the line at {COLUMNS_MAX}"));
        }
        if words(line).any(|(_, word)| leftovers.contains(&word)) || line.contains(leftover_call) {
            say("finish it, or open an issue instead".to_owned());
        }
    }
    broken
}

fn is_one_literal(line: &str) -> bool {
    let line = line.trim().trim_end_matches([',', ';', ')']);
    line.len() > 1
        && line.trim_start_matches(['b', 'r', '#']).starts_with('"')
        && line.ends_with('"')
}

/// A file that does not fit in one's head is two files.
fn length(text: &str) -> Vec<Broken> {
    let tests = text.rfind("\n#[cfg(test)]\nmod ").filter(|at| text[*at..].ends_with("\n}\n"));
    let lines = text[..tests.unwrap_or(text.len())].lines().count();
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![(FILE_LINES_MAX + 1, format!("{lines} lines; split the file at {FILE_LINES_MAX}"))]
}

/// The words of the recovery table are the same in the code, the page and the tests.
fn labels(path: &'static str, text: &str, docs: &str, tests: &str) -> Vec<(String, Broken)> {
    let mut broken = Vec::new();
    let start = text.find("pub const fn as_str(self) -> &'static str");
    let body = start.map_or("", |start| &text[start..]);
    let body = &body[..body.find("\n    }\n").unwrap_or(body.len())];
    let first = line_of(text, start.unwrap_or_default());
    let mut count = 0;
    for (number, line) in body.lines().enumerate() {
        let Some(label) = line.split("=> \"").nth(1).and_then(|rest| rest.split('"').next()) else {
            continue;
        };
        count += 1;
        let named = |text: &str| {
            text.contains(&format!("`{label}`")) || text.contains(&format!("\"{label}\""))
        };
        for (place, text) in [("docs/durability.md", docs), ("any file under tests/", tests)] {
            if !named(text) {
                let what =
                    format!("the label `{label}` is not in {place}; describe or test it there");
                broken.push((path.to_owned(), (first + number, what)));
            }
        }
    }
    if count == 0 {
        let what = "no labels found in `pub const fn as_str(self) -> &'static str`; keep that form";
        broken.push((path.to_owned(), (first, what.to_owned())));
    }
    broken
}

/// The crate root says what there is, and nothing else.
fn crate_root(path: &str, text: &str) -> Vec<Broken> {
    if path != "src/lib.rs" {
        return Vec::new();
    }
    let code = code_of(text);
    let mut broken = Vec::new();
    let mut start = 0;
    for statement in code.split_inclusive(';') {
        let (line, bare) =
            (line_of(&code, start + blank_len(statement)), without_attributes(statement));
        start += statement.len();
        let bare = bare.trim_start();
        let bare = bare.strip_prefix("pub(crate) ").or(bare.strip_prefix("pub ")).unwrap_or(bare);
        let allowed = bare.is_empty()
            || bare.starts_with("use ")
            || (bare.starts_with("mod ") && !bare.contains('{'));
        if !allowed {
            broken.push((
                line,
                "only docs, attributes, `mod` and `use` here; move it to a module".into(),
            ));
        }
    }
    broken
}

/// The model is built from the same sources by another manifest.
fn same_dependencies(library: &str, model: &str) -> Vec<(String, Broken)> {
    let path = "tests/model/Cargo.toml";
    let wanted = dependencies(library);
    let found = dependencies(model);
    let mut broken = Vec::new();
    for (name, (line, spec)) in &wanted {
        let optional = spec.contains("optional = true");
        if !optional && found.get(name).is_none_or(|(_, found)| found != spec) {
            let what = format!("Cargo.toml:{line} says `{name} = {spec}`; say the same here");
            broken.push((path.to_owned(), (1, what)));
        }
    }
    for (name, (line, _)) in &found {
        if name != "shuttle" && !wanted.contains_key(name) {
            let what = format!("the library does not depend on `{name}`; take it out");
            broken.push((path.to_owned(), (*line, what)));
        }
    }
    if wanted.is_empty() {
        broken.push((path.to_owned(), (1, "no dependencies found in Cargo.toml".to_owned())));
    }
    broken
}

/// The lines of a manifest's `[dependencies]`, by name.
fn dependencies(manifest: &str) -> BTreeMap<String, (usize, String)> {
    let lines = manifest.lines().enumerate().skip_while(|(_, line)| *line != "[dependencies]");
    lines
        .skip(1)
        .take_while(|(_, line)| !line.starts_with('['))
        .filter_map(|(number, line)| {
            let (name, spec) = line.split_once(" = ")?;
            (!name.starts_with('#')).then(|| (name.to_owned(), (number + 1, spec.to_owned())))
        })
        .collect()
}

fn blank_len(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

fn without_attributes(statement: &str) -> &str {
    let mut rest = statement.trim_start();
    while rest.starts_with('#') {
        let mut depth = 0;
        let end = rest.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '[') - i32::from(*c == ']');
            *c == ']' && depth == 0
        });
        rest = end.map_or("", |(at, _)| rest[at + 1..].trim_start());
    }
    rest
}

/// "Durable" has one meaning; words that hide whether a sync happened are no names for calls.
fn names(text: &str) -> Vec<Broken> {
    let code = code_of(text);
    let found: Vec<(usize, &str)> = words(&code).collect();
    let mut broken = Vec::new();
    for (index, (_, word)) in found.iter().enumerate() {
        let Some((at, name)) = found.get(index + 1).filter(|_| *word == "fn") else { continue };
        let start = code[..*at].rfind([';', '{', '}']).map_or(0, |end| end + 1);
        let head = without_attributes(&code[start..*at]);
        let vague = name.split('_').any(|part| part == "flush" || part == "persist");
        if vague
            && words(head).next().is_some_and(|(_, first)| first == "pub")
            && !head.contains("pub(")
            && !INHERITED_NAMES.contains(name)
        {
            let what = format!("`{name}` does not say what is durable after it; name it by that");
            broken.push((line_of(&code, *at), what));
        }
    }
    broken
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All sources below a folder of the repository, by their paths in it; it need not exist.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut sources = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What a crate of its own has built is not ours.
                folders.extend((!path.ends_with("target")).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push((name_of(&path), text.replace("\r\n", "\n")));
            }
        }
    }
    sources.sort();
    sources
}

fn name_of(path: &Path) -> String {
    let path = path.strip_prefix(root()).unwrap();
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

fn check(folders: &[&str], rule: impl Fn(&str, &str) -> Vec<Broken>) {
    let mut broken = Vec::new();
    for (path, text) in folders.iter().flat_map(|folder| sources(folder)) {
        broken.extend(rule(&path, &text).into_iter().map(|found| (path.clone(), found)));
    }
    report(broken);
}

fn report(broken: Vec<(String, Broken)>) {
    let lines: Vec<String> =
        broken.iter().map(|(path, (line, what))| format!("{path}:{line}: {what}")).collect();
    assert!(lines.is_empty(), "house rules are broken:\n{}", lines.join("\n"));
}

/// The module below the crate root that a file belongs to; `None` for the root itself.
fn module_of(path: &str) -> Option<&str> {
    let first = path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
    (first != "lib").then_some(first)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The words of a text, with their positions.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let position = |word: &str| word.as_ptr().addr() - text.as_ptr().addr();
    text.split(|c| !is_word(c)).filter(|word| !word.is_empty()).map(move |w| (position(w), w))
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The text with comments and the insides of literals turned into spaces, line by line the same.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let raw = rest.trim_start_matches(['b', 'c']);
        let starts_word = !code.ends_with(is_word);
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if c == '"' {
            1 + quoted(&rest[1..], '"')
        } else if starts_word && (raw.starts_with("r\"") || raw.starts_with("r#")) {
            raw_string(rest)
        } else if c == '\'' {
            char_literal(rest)
        } else {
            0
        };
        if skip == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        code.extend(rest[..skip].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[skip..];
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    for (at, _) in text.char_indices() {
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    text.len()
}

/// The length of a literal behind its opening quote, the closing one included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// The length of a raw string; 0 for a raw identifier.
fn raw_string(text: &str) -> usize {
    let start = text.find('r').unwrap_or_default() + 1;
    let hashes = text[start..].chars().take_while(|c| *c == '#').count();
    let open = start + hashes;
    if !text[open..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[open + 1..].find(&close).map_or(text.len(), |at| open + 1 + at + close.len())
}

/// The length of a character literal; 0 for a lifetime.
fn char_literal(text: &str) -> usize {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => 1 + quoted(&text[1..], '\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

fn lines(broken: &[Broken]) -> Vec<usize> {
    broken.iter().map(|(line, _)| *line).collect()
}

#[test]
fn a_use_of_a_row_above_is_caught() {
    let lib = "pub use error::{Error, Result};\npub use persistence::Ack;\n";
    let caught = |path: &str, text: &str| lines(&direction(path, text, &exports(lib)));
    assert_eq!(caught("src/state/mod.rs", "\nuse crate::journal::scan;"), [2]);
    assert_eq!(
        caught("src/state/mod.rs", "use crate::{\n error::Error,\n vfs::{Vfs, x},\n};"),
        [1]
    );
    assert_eq!(caught("src/vfs/os.rs", "fn f() { crate::state::apply() }"), [1]);
    assert_eq!(caught("src/vfs/os.rs", "use super::super::state::X;"), [1]);
    assert_eq!(caught("src/vfs/mod.rs", "use super::state::X;"), [1]);
    assert_eq!(caught("src/vfs/mod.rs", "mod tests {\n use super::super::state::X; }"), [2]);
    assert_eq!(caught("src/error.rs", "use super::ids::Lsn;"), [1], "the same row");
    assert_eq!(
        caught("src/journal/mod.rs", "use crate::snapshot::X; use crate::state::Y;"),
        [1, 1]
    );
    assert_eq!(caught("src/journal/mod.rs", "use crate::Ack;"), [1], "through the crate root");
    assert_eq!(caught("src/recovery/mod.rs", "use crate::testing::SimDisk;"), [1]);
    assert_eq!(caught("src/testing/mod.rs", "use crate::{vfs::Vfs, journal::X};"), [1]);
    assert!(caught("src/testing/fuzz/mod.rs", "use crate::journal::X;").is_empty());
    let fine = "//! See [`crate::registry`].\nuse crate::{Error, vfs, state::{journal, X}};\n\
        use super::{journal::x, snapshot};\nmod tests { use super::*; use super::super::journal; }";
    assert!(caught("src/recovery/mod.rs", fine).is_empty());
}

#[test]
fn a_use_of_files_is_caught() {
    let caught = |path: &str, text: &str| lines(&files(path, text));
    assert_eq!(caught("src/journal/scan.rs", "use std::{\n    fs::{self, File},\n};"), [2]);
    assert_eq!(caught("src/vfs/mod.rs", "#[cfg(test)]\nmod t { use std::fs::File; }"), [2]);
    assert!(
        caught("src/journal/scan.rs", "// std::fs\nuse fs4::X; let x = \"std::fs\";").is_empty()
    );
    assert!(caught("src/vfs/os.rs", "use std::fs;").is_empty());
}

#[test]
fn threads_and_locks_elsewhere_are_caught() {
    let caught = |path: &str, text: &str| lines(&concurrency(path, text));
    let text =
        "use std::thread;\nuse std::sync::{Arc, Mutex};\nAtomicU64::new(0);\ntokio::spawn(x);";
    assert_eq!(caught("src/state/mod.rs", text), [1, 2, 3, 4]);
    assert!(caught("src/persistence/commit.rs", text).is_empty());
    assert!(caught("src/testing/mod.rs", text).is_empty());
    assert!(caught("src/snapshot/both.rs", text).is_empty());
    assert_eq!(caught("src/snapshot/own.rs", text), [1, 2, 3, 4]);
    assert!(
        caught("src/state/mod.rs", "/// No Mutex.\nstruct AtomicBatch(Atomically);").is_empty()
    );
}

#[test]
fn a_clock_elsewhere_is_caught() {
    assert_eq!(lines(&clock("src/state/mod.rs", "\nlet now = Utc::now();")), [2]);
    assert_eq!(lines(&clock("src/testing/mod.rs", "std::time::Instant::now()")), [1]);
    assert!(clock("src/registry/node.rs", "Utc::now()").is_empty());
}

#[test]
fn bad_form_is_caught() {
    let caught = |text: &str| lines(&form(text));
    assert_eq!(caught("use std::io;"), [1]);
    assert_eq!(caught("//! x\n// caf\u{e9}"), [2]);
    assert_eq!(caught(concat!("//! x\n\n// TO", "DO: later\nto", "do!()")), [3, 4]);
    let long = "x".repeat(120);
    assert_eq!(caught(&format!("//! x\n// {long}")), [2]);
    assert!(caught(&format!("//! x\n    \"{long}\",\n// https://{long}")).is_empty());
}

#[test]
fn a_long_file_is_caught() {
    let code = "x\n".repeat(FILE_LINES_MAX);
    let tests = format!("\n#[cfg(test)]\nmod tests {{\n{code}}}\n");
    assert!(length(&format!("{code}{tests}")).is_empty());
    assert_eq!(lines(&length(&format!("{code}x\n{tests}"))), [FILE_LINES_MAX + 1]);
    let not_trailing = format!("{tests}{code}");
    assert_eq!(lines(&length(&not_trailing)), [FILE_LINES_MAX + 1]);
}

#[test]
fn a_label_without_a_page_or_a_test_is_caught() {
    let verdict = r#"
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Gap => "gap",
        }
    }
"#;
    let caught = |docs, tests| -> Vec<usize> {
        labels("verdict.rs", verdict, docs, tests).iter().map(|(_, (line, _))| *line).collect()
    };
    assert!(caught("`whole` `gap`", "\"whole\" \"gap\"").is_empty());
    assert_eq!(caught("`whole`", "\"whole\" \"gap\""), [5]);
    assert_eq!(caught("`whole` `gap`", "a whole gap"), [4, 5]);
    assert_eq!(
        labels("verdict.rs", "enum Verdict {}", "", "").len(),
        1,
        "nothing to check is wrong"
    );
}

#[test]
fn code_in_the_crate_root_is_caught() {
    let fine = r#"//! x; y
#![doc = include_str!("x")]
mod a;
#[cfg(feature = "b")]
pub mod b;
#[doc(inline)]
pub use a::{
    X,
};
"#;
    assert!(crate_root("src/lib.rs", fine).is_empty());
    assert_eq!(lines(&crate_root("src/lib.rs", "mod a;\n\npub fn f() { g(); }\n")), [3, 3]);
    assert_eq!(lines(&crate_root("src/lib.rs", "mod a { }\n")), [1]);
    assert!(crate_root("src/error.rs", "fn f() {}").is_empty());
}

#[test]
fn a_model_that_drifts_from_the_library_is_caught() {
    let library =
        "[dependencies]\n# why\na = \"1\"\nb = { version = \"2\", optional = true }\n[x]\n";
    let caught = |model: &str| same_dependencies(library, model).len();
    assert_eq!(caught("[dependencies]\na = \"1\"\nshuttle = \"=0.9.9\"\n"), 0);
    assert_eq!(caught("[dependencies]\na = \"1.1\"\n"), 1);
    assert_eq!(caught("[dependencies]\na = \"1\"\nc = \"3\"\n"), 1);
    assert_eq!(same_dependencies("", "[dependencies]\n").len(), 1);
}

#[test]
fn a_vague_name_is_caught() {
    let caught = |text: &str| lines(&names(text));
    assert_eq!(caught("impl X {\n    pub fn flush(&self) {}\n}"), [2]);
    assert_eq!(caught("#[must_use]\npub async fn persist_now() {}"), [2]);
    assert!(caught("fn flush() {}\npub(crate) fn flush() {}\n/// pub fn flush").is_empty());
    assert!(caught("pub async fn persist_on_shutdown() {}\npub fn persistence() {}").is_empty());
}

#[test]
fn literals_and_comments_are_no_code() {
    let text = "a /* b /* c */ d */ \"e \\\" f\" r#\"g \" h\"# 'i' '\\'' &'j k // l\nm b\"n\" r#o";
    let code: String = words(&code_of(text)).map(|(_, word)| word).collect();
    assert_eq!(code, "ajkmbro", "prefixes and raw names stay");
}
