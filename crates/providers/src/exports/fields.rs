//! The fields of one row or document of an export, each with its place for errors.

use domain::Tier;
use serde_json::Value;

use super::numbers::Decimal;
use super::{ExportError, Line, moments};
use crate::limits::WRONG_VALUE_CHARS_MAX;

/// The currency that our books are in.
const CURRENCY: &str = "USD";

fn quoted(text: &str) -> String {
    text.chars().take(WRONG_VALUE_CHARS_MAX).collect()
}

/// One row of a table.
pub struct Fields<'r> {
    pub header: &'r csv::StringRecord,
    pub row: &'r csv::StringRecord,
    pub line: u64,
}

impl<'r> Fields<'r> {
    /// A cell; `None` where the column is missing or the cell empty.
    pub fn text(&self, column: &str) -> Option<&'r str> {
        let at = self.header.iter().position(|name| name == column)?;
        self.row.get(at).map(str::trim).filter(|text| !text.is_empty())
    }

    pub fn has_column(&self, column: &str) -> bool {
        self.header.iter().any(|name| name == column)
    }

    /// The first of several names that a column has.
    pub fn any(&self, columns: &[&str]) -> Option<&'r str> {
        columns.iter().find_map(|column| self.text(column))
    }

    pub fn wrong(&self, column: &str, problem: impl AsRef<str>) -> ExportError {
        ExportError::new(format!("line {}, column \"{column}\"", self.line), problem.as_ref())
    }

    pub fn moment(&self, column: &str) -> Result<u64, ExportError> {
        let text = self.text(column).unwrap_or_default();
        moments::read(text)
            .ok_or_else(|| self.wrong(column, format!("\"{}\" isn't a date or time.", quoted(text))))
    }

    /// A number of units, stated by ten to the `thousands` of them; none is zero.
    pub fn units(&self, column: &str, thousands: i32) -> Result<i64, ExportError> {
        let Some(text) = self.text(column) else { return Ok(0) };
        let number = Decimal::read(text).and_then(|number| number.units(thousands));
        number.ok_or_else(|| {
            self.wrong(column, format!("\"{}\" isn't a number of at most 18 digits.", quoted(text)))
        })
    }

    /// Adds an amount in ten to the minus `cents` USD to a line; none is zero.
    pub fn cost(&self, column: &str, cents: i32, line: &mut Line) -> Result<(), ExportError> {
        let text = self.text(column).unwrap_or("0");
        let number = Decimal::read(text);
        let picos = number.and_then(|number| number.picos(cents));
        let wrong =
            || self.wrong(column, format!("\"{}\" isn't an amount below a billion dollars.", quoted(text)));
        line.cost_picos = Some(picos.ok_or_else(wrong)?);
        line.decimals = number.map_or(0, Decimal::decimals).saturating_add(u8::try_from(cents).unwrap_or(0));
        Ok(())
    }

    /// # Errors
    /// The row's currency is another one than that of our books.
    pub fn check_currency(&self, column: &str) -> Result<(), ExportError> {
        match self.text(column) {
            Some(currency) if !currency.eq_ignore_ascii_case(CURRENCY) => {
                Err(self.wrong(column, wrong_currency(currency)))
            }
            _ => Ok(()),
        }
    }
}

fn wrong_currency(currency: &str) -> String {
    format!(
        "The amount is in {}, and prices are in {CURRENCY}. Export the costs in {CURRENCY}.",
        quoted(currency)
    )
}

/// What is wrong with a table itself: its encoding, or a row's number of cells.
pub fn of_csv(error: &csv::Error) -> ExportError {
    let place = error.position().map_or_else(String::new, |position| format!("line {}", position.line()));
    let problem = match error.kind() {
        csv::ErrorKind::Utf8 { err, .. } => {
            let place = format!("{place}, cell {}", err.field() + 1);
            return ExportError::new(place, "The cell is not UTF-8.");
        }
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("The row has {len} cells, and the header {expected_len}.")
        }
        _ => format!("This is not a table: {error}."),
    };
    ExportError::new(place, problem)
}

/// One value of a document, with the path that leads to it.
#[derive(Clone)]
pub struct Node<'d> {
    value: &'d Value,
    path: String,
}

impl<'d> Node<'d> {
    pub fn root(value: &'d Value, number: u64) -> Self {
        Self { value, path: format!("document {number}") }
    }

    pub fn place(&self) -> &str {
        &self.path
    }

    /// A member; that of nothing is nothing.
    pub fn at(&self, name: &str) -> Self {
        Self { value: self.value.get(name).unwrap_or(&Value::Null), path: format!("{}, {name}", self.path) }
    }

    pub fn has(&self, name: &str) -> bool {
        self.value.get(name).is_some_and(|value| !value.is_null())
    }

    /// The items of a list.
    pub fn items(&self) -> Result<Vec<Self>, ExportError> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("This isn't a list."))?;
        let of = |(at, value)| Self { value, path: format!("{}[{at}]", self.path) };
        Ok(items.iter().enumerate().map(of).collect())
    }

    pub fn text(&self) -> Option<&'d str> {
        self.value.as_str().filter(|text| !text.is_empty())
    }

    pub fn flag(&self) -> Option<bool> {
        self.value.as_bool()
    }

    /// The whole document in one text, for comparing.
    pub fn text_of_all(&self) -> String {
        self.value.to_string()
    }

    pub fn wrong(&self, problem: impl AsRef<str>) -> ExportError {
        ExportError::new(&self.path, problem.as_ref())
    }

    fn written(&self) -> String {
        match self.value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    pub fn moment(&self) -> Result<u64, ExportError> {
        let text = self.written();
        moments::read(&text).ok_or_else(|| self.wrong(format!("\"{}\" isn't a date or time.", quoted(&text))))
    }

    /// A number of units; `null` is zero.
    pub fn units(&self) -> Result<i64, ExportError> {
        if self.value.is_null() {
            return Ok(0);
        }
        let text = self.written();
        let number = Decimal::read(&text).and_then(|number| number.units(0));
        number
            .ok_or_else(|| self.wrong(format!("\"{}\" isn't a number of at most 18 digits.", quoted(&text))))
    }

    /// Adds an amount in ten to the minus `cents` USD to a line.
    pub fn cost(&self, cents: i32, line: &mut Line) -> Result<(), ExportError> {
        let text = self.written();
        let number = Decimal::read(&text);
        let picos = number.and_then(|number| number.picos(cents));
        let wrong = || self.wrong(format!("\"{}\" isn't an amount below a billion dollars.", quoted(&text)));
        line.cost_picos = Some(picos.ok_or_else(wrong)?);
        line.decimals = number.map_or(0, Decimal::decimals).saturating_add(u8::try_from(cents).unwrap_or(0));
        Ok(())
    }

    /// # Errors
    /// It is another currency than that of our books.
    pub fn check_currency(&self) -> Result<(), ExportError> {
        match self.text() {
            Some(currency) if !currency.eq_ignore_ascii_case(CURRENCY) => {
                Err(self.wrong(wrong_currency(currency)))
            }
            _ => Ok(()),
        }
    }
}

/// The tier of a usage row that may state a word for it, and whether it was a batch.
pub fn tier(word: Option<&str>, is_batch: Option<bool>) -> Option<Tier> {
    match is_batch {
        Some(true) => Some(Tier::Batch),
        Some(false) => Some(word.and_then(Tier::from_word).unwrap_or(Tier::Standard)),
        None => word.map(|word| Tier::from_word(word).unwrap_or(Tier::Standard)),
    }
}
