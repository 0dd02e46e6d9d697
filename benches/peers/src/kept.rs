//! Rows that were measured before, so that a full table can be run in pieces: each is a file of its
//! own below `--out`, and a later measurement of the same row replaces it.

use std::{fs, path::Path};

use crate::{engines::Result, report::Row};

/// Rows in the order of the table, by the beginnings of their names.
const ORDER: &[&str] = &[
    "durable", "relaxed", "append", "replay", "open", "snapshot", "stall", "peak", "memory",
    "bytes", "growth",
];

pub fn save(rows: &[Row], out: &Path) -> Result<()> {
    let dir = out.join("rows");
    fs::create_dir_all(&dir)?;
    for row in rows {
        fs::write(dir.join(format!("{}.tsv", row.id)), written(row))?;
    }
    Ok(())
}

/// All rows that were kept.
pub fn load(out: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for entry in fs::read_dir(out.join("rows"))? {
        let path = entry?.path();
        let id = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let row = read(id, &fs::read_to_string(&path)?);
        rows.push(row.ok_or_else(|| format!("{}: cannot be read, remove it", path.display()))?);
    }
    rows.sort_by_key(|row| {
        let place = ORDER.iter().position(|name| row.id.starts_with(name));
        let number = row.id.rsplit('-').next().and_then(|end| end.parse::<u64>().ok());
        (place, number, row.id.clone())
    });
    Ok(rows)
}

fn written(row: &Row) -> String {
    let better = if row.higher_is_better { "more" } else { "less" };
    let mut text = format!("row\t{}\t{}\t{better}\t{}\n", row.title, row.unit, row.run);
    for note in &row.notes {
        text.push_str(&format!("note\t{note}\n"));
    }
    for name in row.names() {
        let values: Vec<String> = row.values(name).iter().map(f64::to_string).collect();
        text.push_str(&format!("values\t{name}\t{}\n", values.join("\t")));
    }
    text
}

fn read(id: &str, text: &str) -> Option<Row> {
    let mut lines = text.lines();
    let mut head = lines.next()?.strip_prefix("row\t")?.split('\t');
    let (title, unit, better) = (head.next()?, head.next()?, head.next()?);
    let mut row = Row::new(id, title, unit, better == "more");
    row.run = head.next()?.to_owned();
    for line in lines {
        if let Some(note) = line.strip_prefix("note\t") {
            row.note(note);
            continue;
        }
        let (name, values) = line.strip_prefix("values\t")?.split_once('\t')?;
        for value in values.split('\t') {
            row.put(name, value.parse().ok()?);
        }
    }
    Some(row)
}
