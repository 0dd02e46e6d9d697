//! A table that fits the terminal: less important columns go, long cells are cut.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub use super::cells::Cell;
use super::cells::{Placed, Rows};
use crate::{
    console::{Console, Paint},
    failure::Failure,
};

/// Columns between two columns.
const GAP: usize = 2;

/// One column of a [`Table`].
#[derive(Clone, Copy, Debug)]
pub struct Column {
    head: &'static str,
    is_right: bool,
    /// Where there is no room, the column with the largest number goes first; zero never goes.
    rank: u8,
    /// The column may be cut down to this many characters.
    least: usize,
}

impl Column {
    /// Text, which is never cut and never goes.
    #[must_use]
    pub const fn new(head: &'static str) -> Self {
        Self { head, is_right: false, rank: 0, least: usize::MAX }
    }

    /// Numbers stand at the right.
    #[must_use]
    pub const fn right(mut self) -> Self {
        self.is_right = true;
        self
    }

    /// It goes where there is no room; larger numbers first.
    #[must_use]
    pub const fn goes(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    /// It may be cut, but keeps at least this many characters.
    #[must_use]
    pub const fn least(mut self, least: usize) -> Self {
        self.least = least;
        self
    }
}

/// Rows under heads.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Rows>,
    has_head: bool,
}

impl Table {
    /// A table with these columns.
    #[must_use]
    pub fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new(), has_head: true }
    }

    /// The same without a head line.
    #[must_use]
    pub fn without_head(mut self) -> Self {
        self.has_head = false;
        self
    }

    /// Adds a row, which has as many cells as there are columns.
    pub fn row(&mut self, cells: Vec<Cell>) {
        if self.rows.is_empty() {
            self.rows.push(Rows::new(self.columns.len()));
        }
        if let Some(rows) = self.rows.last_mut() {
            rows.push(cells);
        }
    }

    /// Adds a row for each item, in their order; many are made by several threads.
    pub fn rows<T: Sync>(&mut self, items: &[T], cells: impl Fn(&T) -> Vec<Cell> + Sync) {
        self.rows.extend(Rows::of(self.columns.len(), items, &cells));
    }

    /// Prints it within the width of the console.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn print(&self, console: &mut Console) -> Result<(), Failure> {
        let widths = self.widths(console.width);
        if self.has_head {
            let heads = self.columns.iter().map(|column| Placed {
                text: column.head,
                width: column.head.width(),
                paint: Some(Paint::Bold),
            });
            self.print_row(console, &widths, heads)?;
        }
        let mut rows = self.rows.iter().flat_map(Rows::iter);
        rows.try_for_each(|row| self.print_row(console, &widths, row))
    }

    fn print_row<'a>(
        &self,
        console: &mut Console,
        widths: &[Option<usize>],
        cells: impl Iterator<Item = Placed<'a>>,
    ) -> Result<(), Failure> {
        let mut line = String::new();
        let mut owed = 0;
        for ((column, width), cell) in self.columns.iter().zip(widths).zip(cells) {
            let Some(width) = *width else { continue };
            let (text, taken) = if cell.width <= width {
                (Cow::from(cell.text), cell.width)
            } else {
                let short = cut(cell.text, width);
                let taken = short.width();
                (Cow::from(short), taken)
            };
            let pad = width.saturating_sub(taken);
            let (before, after) = if column.is_right { (pad, 0) } else { (0, pad) };
            // Spaces are owed until something follows, so that no line ends with them.
            if !text.is_empty() {
                line.extend(std::iter::repeat_n(' ', owed + before));
                owed = 0;
                match cell.paint {
                    Some(paint) => line.push_str(&console.paint(paint, &text)),
                    None => line.push_str(&text),
                }
            } else {
                owed += before;
            }
            owed += after + GAP;
        }
        console.line(line)
    }

    /// The width of each column; `None` for one that goes.
    fn widths(&self, limit: Option<usize>) -> Vec<Option<usize>> {
        let widest: Vec<Vec<usize>> = self.rows.iter().map(Rows::widest).collect();
        let natural = |(index, column): (usize, &Column)| {
            let head = if self.has_head { column.head.width() } else { 0 };
            widest
                .iter()
                .filter_map(|widest| widest.get(index))
                .fold(head, |most, width| most.max(*width))
        };
        let full: Vec<usize> = self.columns.iter().enumerate().map(natural).collect();
        let mut widths: Vec<Option<usize>> = full.iter().copied().map(Some).collect();
        let Some(limit) = limit else { return widths };
        // An empty column takes no room.
        let least = |index: usize| {
            let least = self.columns.get(index).map_or(0, |column| column.least);
            full.get(index).copied().unwrap_or_default().min(least)
        };
        loop {
            let kept: Vec<usize> =
                widths.iter().enumerate().filter_map(|(i, w)| w.map(|_| i)).collect();
            let gaps = GAP * kept.len().saturating_sub(1);
            let needed: usize = kept.iter().map(|index| least(*index)).sum::<usize>() + gaps;
            let last = kept
                .iter()
                .filter_map(|index| self.columns.get(*index).map(|column| (column.rank, *index)))
                .filter(|(rank, _)| *rank > 0)
                .max();
            if let (true, Some((_, index))) = (needed > limit, last) {
                widths.splice(index..=index, [None]);
                continue;
            }
            shrink(&mut widths, least, limit.saturating_sub(gaps));
            return widths;
        }
    }
}

/// Takes room from the widest column that has some to give until all fit.
fn shrink(widths: &mut [Option<usize>], least: impl Fn(usize) -> usize, room: usize) {
    loop {
        let total: usize = widths.iter().flatten().sum();
        let Some(excess) = total.checked_sub(room).filter(|excess| *excess > 0) else { return };
        let widest = widths.iter_mut().enumerate().filter_map(|(i, w)| Some((i, w.as_mut()?)));
        let Some((index, width)) =
            widest.filter(|(i, width)| **width > least(*i)).max_by_key(|(_, width)| **width)
        else {
            return;
        };
        // A column is not cut below the next widest at once, but one step at a time is slow.
        let step = (excess / 2).max(1).min(*width - least(index));
        *width -= step;
    }
}

/// The text within so many columns; what is cut ends with a mark.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        short.push(c);
    }
    if width > 0 {
        short.push('\u{2026}');
    }
    short
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, io, rc::Rc};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printed(table: &Table, width: Option<usize>, colour: bool) -> String {
        let out = Shared::default();
        let now = chrono::DateTime::UNIX_EPOCH;
        let mut console = Console::into_writers(Box::new(out.clone()), Box::new(io::sink()), now);
        (console.width, console.colour) = (width, colour);
        assert!(table.print(&mut console).is_ok());
        let bytes = out.0.borrow().clone();
        String::from_utf8(bytes).unwrap_or_default()
    }

    fn table() -> Table {
        let mut table = Table::new(&[
            Column::new("PEER"),
            Column::new("SCORE").right(),
            Column::new("ADDRESS").least(10).goes(1),
            Column::new("AGENT").least(4).goes(2),
        ]);
        let mut row = |cells: [&str; 4]| table.row(cells.map(Cell::from).to_vec());
        row(["\u{2026}q7RkT3vN", "0.92", "/ip4/192.0.2.7/tcp/4001", "kubo/0.41"]);
        row(["\u{2026}Zb1kLm0x", "1.00", "", "\u{4e16}\u{754c}/2"]);
        table
    }

    #[test]
    fn without_a_limit_nothing_is_cut() {
        assert_eq!(
            printed(&table(), None, false),
            "PEER       SCORE  ADDRESS                  AGENT\n\
             \u{2026}q7RkT3vN   0.92  /ip4/192.0.2.7/tcp/4001  kubo/0.41\n\
             \u{2026}Zb1kLm0x   1.00                           \u{4e16}\u{754c}/2\n"
        );
    }

    #[test]
    fn it_fits_every_width_that_has_room_for_what_must_stay() {
        for width in 16..90 {
            let text = printed(&table(), Some(width), false);
            for line in text.lines() {
                assert!(line.width() <= width, "{width}: {line:?}");
                assert!(!line.ends_with(' '), "{width}: {line:?}");
                assert!(line.contains("PEER") || line.starts_with('\u{2026}'), "{line:?}");
            }
        }
        assert_eq!(
            printed(&table(), Some(30), false),
            "PEER       SCORE  ADDRESS\n\
             \u{2026}q7RkT3vN   0.92  /ip4/192.0.\u{2026}\n\
             \u{2026}Zb1kLm0x   1.00\n"
        );
        let narrow = printed(&table(), Some(5), false);
        assert!(narrow.contains("\u{2026}q7RkT3vN   0.92\n"), "what must stay stays: {narrow}");
    }

    #[test]
    fn rows_of_several_threads_come_in_order() {
        let items: Vec<usize> = (0..10_000).collect();
        let cells = |item: &usize| vec![Cell::from(item.to_string()), Cell::from("\u{4e16}")];
        let columns = [Column::new("A").right(), Column::new("B")];
        let mut at_once = Table::new(&columns);
        at_once.rows(&items, cells);
        let mut one_by_one = Table::new(&columns);
        items.iter().for_each(|item| one_by_one.row(cells(item)));
        let text = printed(&at_once, None, false);
        assert_eq!(text, printed(&one_by_one, None, false));
        assert_eq!(text.lines().count(), 10_001);
        assert!(text.ends_with("9999  \u{4e16}\n"), "{:?}", text.lines().last());
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let mut table = Table::new(&[Column::new("A"), Column::new("B")]);
        table.row(vec![Cell::painted(Paint::Good, "OK"), Cell::from("x")]);
        let text = printed(&table.without_head(), Some(20), true);
        assert_eq!(text, "\u{1b}[32mOK\u{1b}[0m  x\n");
    }

    #[test]
    fn a_cut_never_splits_a_wide_character() {
        assert_eq!(cut("\u{4e16}\u{754c}", 3), "\u{4e16}\u{2026}");
        assert_eq!(cut("\u{4e16}\u{754c}", 2), "\u{2026}");
        assert_eq!(cut("ab", 0), "");
        assert_eq!(cut("ab", 2), "ab");
    }
}
