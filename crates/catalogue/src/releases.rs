//! Names of a model's releases: with a date, with `-latest`, or of a fine-tune.

/// What a name says besides its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The model as of a date, as in `gpt-4o-2024-08-06` or `claude-haiku-4-5-20251001`.
    Dated,
    /// The vendor's current release of the model.
    Latest,
    /// A fine-tune by a customer of the vendor, as in `ft:gpt-4o-mini-2024-07-18:acme::id`.
    FineTuned,
}

const FINE_TUNED: &str = "ft:";
const LATEST: &str = "-latest";
/// The date suffixes: `0` stands for a digit.
const DAYS: [&str; 4] = ["-0000-00-00", "-00000000", "@00000000", "-0000"];

impl Release {
    /// The release that a name denotes, with the rest of the name; `None` if it denotes none. The rest of a
    /// fine-tune may be a dated name itself.
    pub fn read(name: &str) -> Option<(Self, &str)> {
        if let Some(tuned) = name.strip_prefix(FINE_TUNED) {
            return tuned.split(':').next().map(|base| (Self::FineTuned, base));
        }
        if let Some(base) = name.strip_suffix(LATEST) {
            return Some((Self::Latest, base));
        }
        dated(name).map(|(base, _)| (Self::Dated, base))
    }

    /// Whether a provider's own name of a model has another date than the requested one. A
    /// name without a date is accepted.
    pub fn is_of_another_day(requested: &str, sold: &str) -> bool {
        let Some((_, day)) = dated(requested) else { return false };
        let plain = |text: &str| text.replace('-', "");
        has_day(sold) && !plain(sold).contains(&plain(day))
    }
}

/// A name's base and its date.
fn dated(name: &str) -> Option<(&str, &str)> {
    DAYS.iter().find_map(|form| {
        let (base, day) = name.split_at_checked(name.len().checked_sub(form.len())?)?;
        let is_dated = fits(day, form) && !base.is_empty() && is_day(&digits(day));
        is_dated.then_some((base, day.get(1..)?))
    })
}

/// A year, month and day; or, for four digits, a month with a day or a year.
fn is_day(digits: &str) -> bool {
    let number = |from: usize, to: usize| digits.get(from..to).and_then(|text| text.parse::<u32>().ok());
    let is_month = |found: Option<u32>| found.is_some_and(|month| (1..=12).contains(&month));
    match digits.len() {
        8 => digits.starts_with("20") && is_month(number(4, 6)),
        _ => is_month(number(0, 2)) || is_month(number(2, 4)),
    }
}

/// Whether a name contains a date, as eight digits or with dashes between.
fn has_day(text: &str) -> bool {
    let starts = || text.char_indices().map(|(at, _)| at);
    let form_at = |at: usize, form: &str| {
        let is_begin =
            text.get(..at).is_none_or(|before| !before.ends_with(|last: char| last.is_ascii_digit()));
        let day = text.get(at..at + form.len()).filter(|_| is_begin);
        let after = text.get(at + form.len()..).unwrap_or_default();
        let ends = !after.starts_with(|next: char| next.is_ascii_digit());
        day.is_some_and(|day| ends && fits(day, form) && is_day(&digits(day)))
    };
    starts().any(|at| form_at(at, "00000000") || form_at(at, "0000-00-00"))
}

/// Whether a string has a digit for each `0` of a form, and otherwise equals it.
fn fits(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, wanted)| match wanted {
            b'0' => byte.is_ascii_digit(),
            _ => byte == wanted,
        })
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}
