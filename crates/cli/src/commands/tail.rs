//! Follows a list by polling: for `request --follow`, `webhook tail` and `audit tail`.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

use crate::api::Api;
use crate::limits::{TAIL_PAGES_MAX, TAIL_SEEN_MAX};
use crate::output::{self, Failure, Form};
use crate::shared::Shared;

const POLL_EVERY: Duration = Duration::from_secs(1);

/// A list whose newest rows come first.
pub struct Tail<'a> {
    /// What is shown to begin with.
    pub first: String,
    /// Where is looked from then on; it has a query already.
    pub then: String,
    pub columns: &'a [&'a str],
    /// The fields that tell a row, and the state that it is in, from every other.
    pub identity_fields: &'a [&'a str],
    /// A row for people.
    pub line: &'a dyn Fn(&Value) -> String,
}

/// What was shown, or was there before.
#[derive(Default)]
struct Seen {
    now: HashSet<String>,
    before: HashSet<String>,
}

impl Seen {
    fn is_new(&mut self, row: String) -> bool {
        if self.now.len() >= TAIL_SEEN_MAX {
            self.before = std::mem::take(&mut self.now);
        }
        !self.before.contains(&row) && self.now.insert(row)
    }
}

impl Tail<'_> {
    /// Prints the latest rows, then each new or changed one, oldest first, until interrupted.
    ///
    /// # Errors
    /// The gateway refuses. One that is unreachable is polled again.
    pub fn follow(&self, shared: &Shared, api: &Api) -> Result<(), Failure> {
        let mut seen = Seen::default();
        let first = api.get(&self.first)?;
        self.print_rows(shared, self.fresh(&first, &mut seen));
        // Rows that existed before and are not on the first page are not new.
        self.poll(api, &mut seen)?;
        loop {
            api.pause(POLL_EVERY);
            match self.poll(api, &mut seen) {
                Ok(rows) => self.print_rows(shared, rows),
                // A gateway that restarts is polled again.
                Err(away) if away.code == output::UNAVAILABLE => eprintln!("{}", away.message),
                Err(refused) => return Err(refused),
            }
        }
    }

    fn poll(&self, api: &Api, seen: &mut Seen) -> Result<Vec<Value>, Failure> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        for _ in 0..TAIL_PAGES_MAX {
            let page = api.get(&format!("{}{cursor}", self.then))?;
            let rows = self.fresh(&page, seen);
            let is_over = rows.is_empty();
            // Each page is older than the one before it.
            found.splice(0..0, rows);
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(next) if !is_over => cursor = format!("&cursor={next}"),
                _ => break,
            }
        }
        Ok(found)
    }

    /// The rows of a page that were not seen before, oldest first.
    fn fresh(&self, page: &Value, seen: &mut Seen) -> Vec<Value> {
        let rows = page.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let identity = |row: &Value| {
            self.identity_fields.iter().map(|name| output::cell(row, name)).collect::<Vec<_>>().join(" ")
        };
        let mut rows: Vec<_> = rows.iter().filter(|row| seen.is_new(identity(row))).cloned().collect();
        rows.reverse();
        rows
    }

    fn print_rows(&self, shared: &Shared, rows: Vec<Value>) {
        for row in rows {
            match shared.form() {
                Form::Json => println!("{row}"),
                Form::Csv => {
                    print!(
                        "{}",
                        output::csv_line(self.columns.iter().map(|column| output::cell(&row, column)))
                    );
                }
                Form::Table => println!("{}", (self.line)(&row)),
            }
        }
    }
}

/// A row's cells, separated by two spaces.
pub fn cells(row: &Value, columns: &[&str]) -> String {
    let texts = columns.iter().map(|column| output::printable(&output::cell(row, column)));
    texts.collect::<Vec<_>>().join("  ")
}
