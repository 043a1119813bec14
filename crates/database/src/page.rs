//! Cursor pagination: lists are ordered by id, so that a cursor stays valid whatever is added or removed.

use domain::limits::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX};

/// The requested part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<Id> {
    /// Bounded by `PAGE_ROWS_MAX`.
    pub limit: u32,
    /// The last id of the previous page.
    pub after: Option<Id>,
}

impl<Id> Page<Id> {
    pub fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }

    pub fn rows_wanted(&self) -> usize {
        self.limit.clamp(1, PAGE_ROWS_MAX) as usize
    }
}

impl<Id> Default for Page<Id> {
    fn default() -> Self {
        Self::first(PAGE_ROWS_DEFAULT)
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<Row, Id> {
    pub rows: Vec<Row>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<Id>,
}

impl<Row, Id> Listed<Row, Id> {
    /// Makes a page from the query's rows; a row beyond `wanted` means that there is a next page.
    pub fn cut(mut rows: Vec<Row>, wanted: usize, id: impl Fn(&Row) -> Id) -> Self {
        let more = rows.len() > wanted;
        rows.truncate(wanted);
        let next = if more { rows.last().map(id) } else { None };
        Self { rows, next }
    }

    /// For a scan that stopped early at `end`: the next page starts there, unless rows already found are
    /// left for it.
    pub fn or_end_at(self, end: Option<Id>) -> Self {
        Self { next: self.next.or(end), ..self }
    }
}
