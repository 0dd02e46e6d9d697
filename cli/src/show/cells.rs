//! The cells of a table: how wide they are is worked out once, and their texts lie one behind the
//! other, because tables have a million cells.

use std::{panic::resume_unwind, thread};

use unicode_width::UnicodeWidthStr;

use crate::console::Paint;

/// So many rows are worth a thread of their own.
const ROWS_PER_THREAD: usize = 2048;

/// A cell: its text, which must be safe to print, and its colour.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    paint: Option<Paint>,
}

impl Cell {
    /// A word with a meaning.
    #[must_use]
    pub fn painted(paint: Paint, text: impl Into<String>) -> Self {
        Self { text: text.into(), paint: Some(paint) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), paint: None }
    }
}

/// A cell of [`Rows`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    pub(super) text: &'a str,
    /// Columns of the terminal that the text takes.
    pub(super) width: usize,
    pub(super) paint: Option<Paint>,
}

/// Rows of so many cells each.
#[derive(Debug)]
pub(super) struct Rows {
    columns: usize,
    text: String,
    /// Where each cell's text ends, its width, and its colour.
    cells: Vec<(usize, usize, Option<Paint>)>,
}

impl Rows {
    pub(super) const fn new(columns: usize) -> Self {
        Self { columns, text: String::new(), cells: Vec::new() }
    }

    /// Rows of these cells, in the order of the items. The processors share the work.
    pub(super) fn of<T: Sync>(
        columns: usize,
        items: &[T],
        cells: &(impl Fn(&T) -> Vec<Cell> + Sync),
    ) -> Vec<Self> {
        let made = |items: &[T]| {
            let mut rows = Self::new(columns);
            items.iter().for_each(|item| rows.push(cells(item)));
            rows
        };
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = processors.min(items.len() / ROWS_PER_THREAD).max(1);
        let mut parts = items.chunks(items.len().div_ceil(threads).max(1));
        let first = parts.next().unwrap_or_default();
        thread::scope(|scope| {
            let others: Vec<_> = parts.map(|part| scope.spawn(|| made(part))).collect();
            let mut rows = vec![made(first)];
            let others = others.into_iter().map(|rows| rows.join());
            rows.extend(others.map(|rows| rows.unwrap_or_else(|panic| resume_unwind(panic))));
            rows
        })
    }

    /// Adds a row.
    pub(super) fn push(&mut self, cells: Vec<Cell>) {
        for Cell { text, paint } in cells {
            // Text that is safe to print has no control character, so ASCII is a column each.
            let width = if text.is_ascii() { text.len() } else { text.width() };
            self.text.push_str(&text);
            self.cells.push((self.text.len(), width, paint));
        }
    }

    /// The rows, each cell by cell.
    pub(super) fn iter(&self) -> impl Iterator<Item = impl Iterator<Item = Placed<'_>>> {
        let mut end_of_last_row = 0;
        self.cells.chunks(self.columns.max(1)).map(move |row| {
            let mut start = end_of_last_row;
            end_of_last_row = row.last().map_or(start, |(end, ..)| *end);
            row.iter().map(move |&(end, width, paint)| {
                let text = self.text.get(start..end).unwrap_or_default();
                start = end;
                Placed { text, width, paint }
            })
        })
    }

    /// The widest cell of each column.
    pub(super) fn widest(&self) -> Vec<usize> {
        let mut widest = vec![0; self.columns];
        for row in self.cells.chunks(self.columns.max(1)) {
            for (widest, (_, width, _)) in widest.iter_mut().zip(row) {
                *widest = (*widest).max(*width);
            }
        }
        widest
    }
}
