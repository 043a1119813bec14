//! What providers export of usage and costs: files of one format each, read line by line into quantities and amounts.
//!
//! The formats themselves are in the folders of their providers.

pub(crate) mod fields;
mod moments;
mod numbers;
mod plain;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, Cursor, Read};

use domain::Tier;

pub(crate) use fields::{Fields, Node};
pub use numbers::PICOS_OF_NANO;
pub use plain::{PLAIN, write as write_plain};

use crate::limits::{EXPORT_BYTES_MAX, EXPORT_LINES_MAX};

domain::words! {
    /// What a line counts: the token classes and units of `domain::Rates::lines`, reasoning within the output.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Measure by from_word {
        Input = "input",
        CachedRead = "cached_read",
        CacheWrite = "cache_write",
        CacheWriteLong = "cache_write_long",
        Output = "output",
        AudioIn = "audio_in",
        AudioOut = "audio_out",
        ImageIn = "image_in",
        ImageOut = "image_out",
        Images = "images",
        AudioMs = "audio_ms",
        Characters = "characters",
        Searches = "searches",
        VideoMs = "video_ms",
        WebSearches = "web_searches",
        FileSearches = "file_searches",
        CacheTokenHours = "cache_token_hours",
        /// Something that the provider bills and no record of ours counts.
        Other = "other",
        /// Money for everything together.
        Whole = "whole",
    }
}

impl Measure {
    /// The measure of a class of a receipt.
    pub fn of_class(class: &str) -> Self {
        let class = if class == "reasoning" { "output" } else { class };
        Self::from_word(class).unwrap_or(Self::Other)
    }
}

/// One quantity or amount that a provider states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub from_unix_s: u64,
    /// Exclusive; `from_unix_s` where the line is of a moment.
    pub until_unix_s: u64,
    /// The provider's name of a project, key or account.
    pub account: Option<String>,
    pub model: Option<String>,
    /// `None` where the export doesn't tell tiers apart.
    pub tier: Option<Tier>,
    /// The provider's id of one request.
    pub request: Option<String>,
    pub measure: Measure,
    pub quantity: Option<i64>,
    /// Millionths of a micro-USD.
    pub cost_picos: Option<i128>,
    /// Decimals of a USD that the amount was stated with.
    pub decimals: u8,
}

impl Line {
    /// A line of nothing yet in a span.
    pub(crate) const fn of(from_unix_s: u64, until_unix_s: u64, measure: Measure) -> Self {
        Self {
            from_unix_s,
            until_unix_s,
            account: None,
            model: None,
            tier: None,
            request: None,
            measure,
            quantity: None,
            cost_picos: None,
            decimals: 0,
        }
    }
}

/// Why a file can't be read: where, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportError {
    pub place: String,
    pub problem: String,
}

impl std::fmt::Display for ExportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.problem)
        } else {
            write!(f, "{}: {}", self.place, self.problem)
        }
    }
}

impl std::error::Error for ExportError {}

impl ExportError {
    pub(crate) fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

/// How a format is written, and what reads one row or document of it.
pub enum Form {
    /// Comma or tab separated, with a header that has these columns; `read` takes one row.
    Table {
        columns: &'static [&'static str],
        read: fn(&Fields<'_>, &mut Lines<'_>) -> Result<(), ExportError>,
    },
    /// JSON documents, one or several after each other; `is` recognises the first.
    Json { is: fn(&Node<'_>) -> bool, read: fn(&Node<'_>, &mut Lines<'_>) -> Result<(), ExportError> },
}

/// One format of export.
pub struct Export {
    pub name: &'static str,
    /// Where its shape was read, and what of it was not verified against a recorded file.
    pub source: &'static str,
    /// Whether each row is a group of its own, so that an exact duplicate of a row is an error.
    pub is_grouped: bool,
    pub form: Form,
}

/// Takes the lines of a file, and counts what is not usage.
pub struct Lines<'s> {
    sink: &'s mut dyn FnMut(Line),
    /// Rows that are of something else: another service, a tax.
    skipped: u64,
    taken: u64,
    seen: Repeats,
    /// The first and last moment that rows are of, also of those without usage.
    covered: Option<(u64, u64)>,
}

impl Lines<'_> {
    /// # Errors
    /// A result with this text stood before: pages overlap, and would be counted twice.
    pub(crate) fn once(&mut self, text: &str, place: &str) -> Result<(), ExportError> {
        let number = self.seen.0.len() as u64 + 1;
        self.seen.check(&text, number, "result").map_err(|error| ExportError::new(place, error.problem))
    }

    /// States that the file covers a span, though there may be no usage in it.
    pub(crate) fn cover(&mut self, (from, until): (u64, u64)) {
        let (first, last) = self.covered.unwrap_or((from, until));
        self.covered = Some((first.min(from), last.max(until)));
    }

    /// Takes a line for each count, alike in everything else.
    pub(crate) fn take_all(&mut self, base: &Line, counts: impl IntoIterator<Item = (Measure, i64)>) {
        for (measure, quantity) in counts {
            self.take(Line { measure, quantity: Some(quantity), ..base.clone() });
        }
    }

    /// Takes a line, unless it says nothing.
    pub(crate) fn take(&mut self, line: Line) {
        self.cover((line.from_unix_s, line.until_unix_s));
        if line.quantity.is_some_and(|quantity| quantity != 0)
            || line.cost_picos.is_some_and(|cost| cost != 0)
        {
            self.taken = self.taken.saturating_add(1);
            (self.sink)(line);
        }
    }

    pub(crate) const fn skip(&mut self) {
        self.skipped = self.skipped.saturating_add(1);
    }
}

/// What was read of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadExport {
    pub format: &'static str,
    pub source: &'static str,
    pub lines: u64,
    pub skipped: u64,
    /// Unix seconds; `None` of a file without any row of this provider.
    pub covered: Option<(u64, u64)>,
}

/// Reads a file of one of these formats: the named one, or the first that recognises it.
///
/// # Errors
/// The place and the problem, if the file is of no such format or a value in it can't be read.
pub fn read(
    exports: &[&'static Export],
    named: Option<&str>,
    input: &mut dyn BufRead,
    sink: &mut dyn FnMut(Line),
) -> Result<ReadExport, ExportError> {
    let start = start_of(input)?;
    let candidates: Vec<_> =
        exports.iter().copied().filter(|export| named.is_none_or(|name| export.name == name)).collect();
    let known = || exports.iter().map(|export| export.name).collect::<Vec<_>>().join(", ");
    if let (true, Some(name)) = (candidates.is_empty(), named) {
        return Err(ExportError::new("", format!("There is no format \"{name}\". Known here: {}.", known())));
    }
    let mut input = Cursor::new(start.clone()).chain(input);
    let is_json =
        start.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| b"[{".contains(byte));
    let mut lines = Lines { sink, skipped: 0, taken: 0, seen: Repeats::default(), covered: None };
    let export = if is_json {
        read_documents(&candidates, &mut input, &mut lines)?
    } else {
        read_table(&candidates, start_is_tabbed(&start), &mut input, &mut lines)?
    };
    let export = export.ok_or_else(|| {
        ExportError::new("line 1", format!("This isn't a known format. Known formats: {}.", known()))
    })?;
    let Lines { skipped, taken, covered, .. } = lines;
    Ok(ReadExport { format: export.name, source: export.source, lines: taken, skipped, covered })
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
const GZIP: &[u8] = b"\x1F\x8B";

/// The first bytes, without a mark of their order.
fn start_of(input: &mut dyn BufRead) -> Result<Vec<u8>, ExportError> {
    let mut start = Vec::new();
    let first = input.take(4096);
    let mut first = first;
    first
        .read_to_end(&mut start)
        .map_err(|error| ExportError::new("", format!("The file can't be read: {error}.")))?;
    if start.starts_with(GZIP) {
        return Err(ExportError::new("", "The file is compressed with gzip. Unpack it first, with gunzip."));
    }
    if start.starts_with(BYTE_ORDER_MARK) {
        start.drain(..BYTE_ORDER_MARK.len());
    }
    if start.iter().all(u8::is_ascii_whitespace) {
        return Err(ExportError::new("", "The file is empty."));
    }
    Ok(start)
}

fn start_is_tabbed(start: &[u8]) -> bool {
    let header = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    header.contains(&b'\t') && !header.contains(&b',')
}

fn too_many() -> ExportError {
    ExportError::new(
        format!("line {}", EXPORT_LINES_MAX + 1),
        format!("A file has at most {EXPORT_LINES_MAX} lines. Split it by day or month."),
    )
}

/// Where rows stood first, by their hash: a file of millions of rows is compared by 16 bytes each.
#[derive(Default)]
struct Repeats(HashMap<u64, u64>);

impl Repeats {
    fn check(&mut self, row: &impl Hash, place: u64, unit: &str) -> Result<(), ExportError> {
        let mut hasher = DefaultHasher::new();
        row.hash(&mut hasher);
        match self.0.insert(hasher.finish(), place) {
            Some(first) => Err(ExportError::new(
                format!("{unit} {place}"),
                format!("It repeats {unit} {first}, so the file counts the same usage twice."),
            )),
            None => Ok(()),
        }
    }
}

fn read_table(
    candidates: &[&'static Export],
    is_tabbed: bool,
    input: &mut dyn Read,
    lines: &mut Lines<'_>,
) -> Result<Option<&'static Export>, ExportError> {
    let delimiter = if is_tabbed { b'\t' } else { b',' };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(input);
    let header = reader.headers().map_err(|error| fields::of_csv(&error))?.clone();
    let mut repeated = header.iter().collect::<Vec<_>>();
    repeated.sort_unstable();
    if let Some(name) =
        repeated.windows(2).find_map(|pair| pair.first().filter(|name| pair.last() == Some(name)))
    {
        return Err(ExportError::new("line 1", format!("The column \"{name}\" is there twice.")));
    }
    let found = candidates.iter().find_map(|export| match export.form {
        Form::Table { columns, read }
            if columns.iter().all(|column| header.iter().any(|name| name == *column)) =>
        {
            Some((*export, read))
        }
        _ => None,
    });
    let Some((export, read)) = found else {
        return if candidates.len() == 1 { Err(missing_columns(candidates, &header)) } else { Ok(None) };
    };
    let (mut repeats, mut row) = (Repeats::default(), csv::StringRecord::new());
    let mut count = 0_u64;
    while reader.read_record(&mut row).map_err(|error| fields::of_csv(&error))? {
        let place = row.position().map_or(0, csv::Position::line);
        if export.is_grouped {
            repeats.check(&row.as_slice(), place, "line")?;
        }
        count += 1;
        if count > EXPORT_LINES_MAX {
            return Err(too_many());
        }
        read(&Fields { header: &header, row: &row, line: place }, lines)?;
    }
    Ok(Some(export))
}

/// Which column of the only possible format is not there.
fn missing_columns(candidates: &[&'static Export], header: &csv::StringRecord) -> ExportError {
    let columns = candidates.iter().find_map(|export| match export.form {
        Form::Table { columns, .. } => Some((export.name, columns)),
        Form::Json { .. } => None,
    });
    match columns {
        None => ExportError::new("line 1", "This format is JSON, and the file is a table."),
        Some((name, columns)) => {
            let missing = columns.iter().find(|column| !header.iter().any(|name| name == **column));
            let missing = missing.copied().unwrap_or_default();
            ExportError::new("line 1", format!("The column \"{missing}\" of {name} is missing."))
        }
    }
}

fn read_documents(
    candidates: &[&'static Export],
    input: &mut dyn Read,
    lines: &mut Lines<'_>,
) -> Result<Option<&'static Export>, ExportError> {
    let bounded = input.take(EXPORT_BYTES_MAX);
    let documents = serde_json::Deserializer::from_reader(bounded).into_iter::<serde_json::Value>();
    let (mut found, mut repeats) = (None, Repeats::default());
    for (number, document) in documents.enumerate() {
        let place = number as u64 + 1;
        let document = document.map_err(|error| {
            ExportError::new(
                format!("line {} column {}", error.line(), error.column()),
                format!("This is not JSON in UTF-8: {error}."),
            )
        })?;
        let node = Node::root(&document, place);
        // A whole list may hold what else stands line by line.
        let several = document.as_array().map(|_| node.items()).transpose()?;
        for node in several.unwrap_or_else(|| vec![node]) {
            let is_of = |form: &Form| matches!(form, Form::Json { is, .. } if is(&node));
            let export = found.or_else(|| candidates.iter().copied().find(|export| is_of(&export.form)));
            let Some(export) = export else { return Ok(None) };
            found = Some(export);
            let Form::Json { is, read } = export.form else { return Ok(None) };
            if !is(&node) {
                return Err(ExportError::new(
                    node.place(),
                    format!("This is not of the format {}.", export.name),
                ));
            }
            if export.is_grouped {
                repeats.check(&node.text_of_all(), place, "document")?;
            }
            if lines.taken + lines.skipped > EXPORT_LINES_MAX {
                return Err(too_many());
            }
            read(&node, lines)?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
