//! The filter language of the console's search box, `/v2` and the command line, as in `status:error
//! model:gpt-4o* cost:>0.01`.

mod limits;

use std::fmt;

use crate::limits::{FILTER_BYTES_MAX, FILTER_TERMS_MAX};
use domain::{Mode, Profile, QosClass};

/// The fields that a term can test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    Model,
    Provider,
    Profile,
    Mode,
    Key,
    Project,
    Environment,
    Region,
    Operation,
    Outcome,
    Error,
    RefusedBy,
    Tag,
    QosClass,
    Session,
    EndUser,
    Task,
    Agent,
    Adapter,
    Credential,
    Node,
    CacheTier,
    Status,
    Cost,
    ProviderCost,
    Input,
    Output,
    Cached,
    Attempts,
    Latency,
    FirstByte,
    Since,
    Until,
}

/// The type of a field: how its values are written and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Compared in full, or as a prefix: `model:gpt-4o*`.
    Text,
    /// One of a fixed set of words.
    Word(&'static [&'static str]),
    /// `429`, `>=500`, `4xx`, `error`, `ok`.
    Status,
    /// An integer, also written as `10k` or `2M`.
    Count,
    /// US dollars, to a billionth.
    Money,
    /// A duration with its unit: `250ms`, `1.5s`.
    Time,
    /// A point in time: a date, or an age such as `24h`. The caller resolves it, since this module has no
    /// clock.
    Moment,
}

/// The condition on a field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    Is(String),
    Begins(String),
    /// Any of several values: the ids that a name was resolved to.
    OneOf(Vec<String>),
    /// An inclusive range. Money is in nano-USD, durations in microseconds.
    Within {
        least: i64,
        most: i64,
    },
    Moment(String),
}

/// One condition; a filter matches when all of its terms do.
#[derive(Debug, Clone)]
pub struct Term {
    pub field: Field,
    /// Written with a leading `-`.
    pub negated: bool,
    pub test: Test,
    /// Position in the filter text, in characters.
    pub at: usize,
}

/// The position does not take part in equality.
impl PartialEq for Term {
    fn eq(&self, other: &Self) -> bool {
        (self.field, self.negated, &self.test) == (other.field, other.negated, &other.test)
    }
}

impl Eq for Term {}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub terms: Vec<Term>,
}

/// A filter that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("At character {}: {message}", .at + 1)]
pub struct FilterError {
    /// The first wrong character, counted from 0.
    pub at: usize,
    pub message: String,
    pub fix: String,
}

/// Something that a filter can be applied to.
pub trait Filterable {
    /// Whether any of the field's texts satisfies the predicate; `false` if it has none.
    fn any_text(&self, field: Field, is_wanted: &dyn Fn(&str) -> bool) -> bool;
    /// The field's number, in the units of `Test::Within`.
    fn number(&self, field: Field) -> Option<i64>;
}

const PROFILES: &[&str] = &["byok", "byoc", "managed_provider", "subscription"];
const MODES: &[&str] = &["mi", "byok", "byoc"];
/// The word of people for the managed profile and its mode.
const MANAGED: &str = "managed";
const OUTCOMES: &[&str] = &["completed", "cut", "failed", "client_cancelled", "interrupted", "deadline"];
const CACHE_TIERS: &[&str] = &["provider", "response", "unknown"];
const NANOS_PER_DOLLAR_DIGITS: u32 = 9;

impl Field {
    /// Each field with its name, its measure, and whether aggregated usage has it too.
    pub const ALL: [(Self, &'static str, Measure, bool); 33] = [
        (Self::Model, "model", Measure::Text, true),
        (Self::Provider, "provider", Measure::Text, true),
        (Self::Profile, "profile", Measure::Word(PROFILES), true),
        (Self::Mode, "mode", Measure::Word(MODES), true),
        (Self::Key, "key", Measure::Text, true),
        (Self::Project, "project", Measure::Text, true),
        (Self::Environment, "environment", Measure::Text, true),
        (Self::Region, "region", Measure::Text, true),
        (Self::Operation, "operation", Measure::Text, true),
        (Self::Outcome, "outcome", Measure::Word(OUTCOMES), true),
        (Self::Error, "error", Measure::Text, false),
        (Self::RefusedBy, "refused_by", Measure::Text, false),
        (Self::Tag, "tag", Measure::Text, true),
        (Self::QosClass, "qos_class", Measure::Word(&QosClass::WORDS), true),
        (Self::Session, "session", Measure::Text, false),
        (Self::EndUser, "end_user", Measure::Text, false),
        (Self::Task, "task", Measure::Text, false),
        (Self::Agent, "agent", Measure::Text, true),
        (Self::Adapter, "adapter", Measure::Text, true),
        (Self::Credential, "credential", Measure::Text, true),
        (Self::Node, "node", Measure::Text, true),
        (Self::CacheTier, "cache_tier", Measure::Word(CACHE_TIERS), true),
        (Self::Status, "status", Measure::Status, true),
        (Self::Cost, "cost", Measure::Money, false),
        (Self::ProviderCost, "provider_cost", Measure::Money, false),
        (Self::Input, "input", Measure::Count, false),
        (Self::Output, "output", Measure::Count, false),
        (Self::Cached, "cached", Measure::Count, false),
        (Self::Attempts, "attempts", Measure::Count, false),
        (Self::Latency, "latency", Measure::Time, false),
        (Self::FirstByte, "ttft", Measure::Time, false),
        (Self::Since, "since", Measure::Moment, true),
        (Self::Until, "until", Measure::Moment, true),
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, word, _, _)| *word == name).map(|(field, ..)| field)
    }

    fn row(self) -> (&'static str, Measure, bool) {
        let found = Self::ALL.into_iter().find(|(field, ..)| *field == self);
        found.map_or(("", Measure::Text, false), |(_, name, measure, of_sums)| (name, measure, of_sums))
    }

    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    pub fn measure(self) -> Measure {
        self.row().1
    }

    /// Whether aggregated usage can be filtered by it.
    pub fn applies_to_usage(self) -> bool {
        self.row().2
    }
}

impl Filter {
    /// # Errors
    /// Says where the text is wrong, what is wrong, and how to write it.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut reader = Reader { text, rest: text };
        if text.len() > FILTER_BYTES_MAX {
            return Err(reader.wrong(
                text,
                format!("The filter is longer than {FILTER_BYTES_MAX} bytes."),
                "Shorten it.",
            ));
        }
        let mut terms: Vec<Term> = Vec::new();
        while let Some(start) = reader.next_term() {
            let term = reader.term()?;
            let is_exact = |term: &Term| !term.negated && !matches!(term.test, Test::Within { .. });
            if is_exact(&term) && terms.iter().any(|other| other.field == term.field && is_exact(other)) {
                let name = term.field.as_str();
                let message = format!("{name} is given twice, and nothing can match both.");
                return Err(reader.wrong(start, message, format!("Keep one {name}.")));
            }
            if terms.len() == FILTER_TERMS_MAX {
                let message = format!("The filter has more than {FILTER_TERMS_MAX} terms.");
                return Err(reader.wrong(start, message, "Leave some out."));
            }
            terms.push(term);
        }
        Ok(Self { terms })
    }
}

impl Term {
    /// Whether the term holds for `item`. A test of a point in time always holds here: only a caller with
    /// a clock can evaluate it.
    pub fn holds(&self, item: &impl Filterable) -> bool {
        let is_so = match &self.test {
            Test::Is(wanted) => item.any_text(self.field, &|text| text == wanted),
            Test::Begins(wanted) => item.any_text(self.field, &|text| text.starts_with(wanted.as_str())),
            Test::OneOf(wanted) => item.any_text(self.field, &|text| wanted.iter().any(|one| one == text)),
            Test::Within { least, most } => {
                item.number(self.field).is_some_and(|number| (*least..=*most).contains(&number))
            }
            Test::Moment(_) => return true,
        };
        is_so != self.negated
    }
}

impl FilterError {
    /// The text, with a mark under the position of the error.
    pub fn render_in(&self, text: &str) -> String {
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{line}\n{:>width$}", '^', width = self.at + 1)
    }
}

/// In the syntax that `parse` reads.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{term}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:", if self.negated { "-" } else { "" }, self.field.as_str())?;
        match &self.test {
            Test::Is(text) | Test::Moment(text) => f.write_str(&quote_value(text)),
            Test::Begins(text) => write!(f, "{}*", quote_value(text)),
            Test::OneOf(texts) => f.write_str(&quote_value(&texts.join(","))),
            Test::Within { least, most } => {
                let number = |number: i64| number_text(self.field.measure(), number);
                match (*least, *most) {
                    (least, most) if least == most => f.write_str(&number(least)),
                    (least, i64::MAX) => write!(f, ">={}", number(least)),
                    (0, most) => write!(f, "<={}", number(most)),
                    (least, _) => write!(f, "{}xx", least / 100),
                }
            }
        }
    }
}

fn quote_value(text: &str) -> String {
    let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\\');
    let begins_plainly = !text.is_empty() && !text.starts_with(['<', '>', '=']);
    if begins_plainly && !text.contains('*') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn number_text(measure: Measure, number: i64) -> String {
    match measure {
        Measure::Money => {
            let whole = number.unsigned_abs();
            let unit = 10_u64.pow(NANOS_PER_DOLLAR_DIGITS);
            format!("{}.{:09}", whole / unit, whole % unit)
        }
        Measure::Time => format!("{number}us"),
        _ => number.to_string(),
    }
}

/// The parser's state: the text that is left.
struct Reader<'t> {
    text: &'t str,
    rest: &'t str,
}

const OPERATORS: [&str; 5] = [">=", "<=", ">", "<", "="];

impl<'t> Reader<'t> {
    /// Moves to the next term and returns the text from there on.
    fn next_term(&mut self) -> Option<&'t str> {
        self.rest = self.rest.trim_start();
        Some(self.rest).filter(|rest| !rest.is_empty())
    }

    fn position(&self, rest: &str) -> usize {
        let read = self.text.len().saturating_sub(rest.len());
        self.text.get(..read).map_or(0, |text| text.chars().count())
    }

    fn wrong(&self, rest: &str, message: impl Into<String>, fix: impl Into<String>) -> FilterError {
        FilterError { at: self.position(rest), message: message.into(), fix: fix.into() }
    }

    fn eat(&mut self, word: &str) -> bool {
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn cut(&mut self, at: usize) -> &'t str {
        let (cut, rest) = self.rest.split_at_checked(at).unwrap_or((self.rest, ""));
        self.rest = rest;
        cut
    }

    fn term(&mut self) -> Result<Term, FilterError> {
        let start = self.rest;
        let at = self.position(start);
        let negated = self.eat("-");
        let named = self.rest;
        let end = named.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(named.len());
        let name = self.cut(end);
        let has_colon = self.eat(":");
        let operator = OPERATORS.into_iter().find(|operator| self.eat(operator));
        if name.is_empty() || (!has_colon && operator.is_none()) {
            let word = start.split_whitespace().next().unwrap_or_default();
            let message = format!("\"{word}\" isn't a filter.");
            return Err(self.wrong(start, message, "Write field:value, such as model:echo or status:error."));
        }
        let Some(field) = Field::named(name) else {
            let known: Vec<_> = Field::ALL.iter().map(|(_, name, _, _)| *name).collect();
            let message = format!("\"{name}\" is not a field to filter by.");
            return Err(self.wrong(named, message, format!("Use {}.", known.join(", "))));
        };
        let value_start = self.rest;
        let value = self.value()?;
        let test = test_of(field, operator, &value)
            .map_err(|(message, fix)| self.wrong(value_start, message, fix))?;
        if negated && matches!(test, Test::Moment(_)) {
            let message = format!("{name} can't be negated.");
            return Err(self.wrong(
                start,
                message,
                "Use since for what came later, and until for what came before.",
            ));
        }
        Ok(Term { field, negated, test, at })
    }

    fn value(&mut self) -> Result<Value, FilterError> {
        let start = self.rest;
        if !self.eat("\"") {
            let end = start.find(char::is_whitespace).unwrap_or(start.len());
            let word = self.cut(end);
            if let Some(quote) = word.find('"') {
                let rest = start.get(quote..).unwrap_or(start);
                return Err(self.wrong(
                    rest,
                    "A quote stands inside a value.",
                    "Put the whole value into quotes, and write \\\" for a quote in it.",
                ));
            }
            return Ok(Value { text: word.to_owned(), is_quoted: false, begins: false });
        }
        let mut text = String::new();
        let mut characters = self.rest.char_indices();
        let end = loop {
            match characters.next() {
                None => {
                    return Err(self.wrong(start, "The quote does not end.", "Close it with another \"."));
                }
                Some((at, '"')) => break at + 1,
                Some((_, '\\')) => text.extend(characters.next().map(|(_, escaped)| escaped)),
                Some((_, character)) => text.push(character),
            }
        };
        self.cut(end);
        let begins = self.eat("*");
        if self.rest.chars().next().is_some_and(|next| !next.is_whitespace()) {
            return Err(self.wrong(
                self.rest,
                "Something follows the quote.",
                "Leave a space between two terms.",
            ));
        }
        Ok(Value { text, is_quoted: true, begins })
    }
}

struct Value {
    text: String,
    is_quoted: bool,
    /// A quoted text followed by `*`.
    begins: bool,
}

/// What is wrong with a value, and how to write it correctly.
type Wrong = (String, String);

fn test_of(field: Field, operator: Option<&str>, value: &Value) -> Result<Test, Wrong> {
    let name = field.as_str();
    if value.text.is_empty() && !value.is_quoted {
        return Err((
            format!("{name} needs a value."),
            format!("Write {name}:{}.", example(field.measure())),
        ));
    }
    match field.measure() {
        Measure::Text => text_test(name, operator, value),
        Measure::Word(words) => {
            let word = match (field, value.text.as_str()) {
                (Field::Profile, MANAGED) => Profile::ManagedProvider.as_str(),
                (Field::Mode, MANAGED) => Mode::Mi.as_str(),
                (_, text) => text,
            };
            let is_known = words.contains(&word) && is_equal(operator) && !value.begins;
            let fix = || format!("Use {}.", words.join(", "));
            if is_known {
                Ok(Test::Is(word.to_owned()))
            } else {
                Err((format!("Unknown {name} \"{}\".", value.text), fix()))
            }
        }
        Measure::Moment if is_equal(operator) && !value.begins => Ok(Test::Moment(value.text.clone())),
        Measure::Moment => {
            Err((format!("{name} is one moment."), format!("Write {name}:24h or {name}:2026-11-20.")))
        }
        measure => number_test(name, measure, operator, value),
    }
}

fn is_equal(operator: Option<&str>) -> bool {
    matches!(operator, None | Some("="))
}

const fn example(measure: Measure) -> &'static str {
    match measure {
        Measure::Text | Measure::Word(_) => "VALUE",
        Measure::Status => ">=500, 4xx or error",
        Measure::Count => ">1000",
        Measure::Money => ">0.01",
        Measure::Time => ">1.5s",
        Measure::Moment => "24h",
    }
}

fn text_test(name: &str, operator: Option<&str>, value: &Value) -> Result<Test, Wrong> {
    if !is_equal(operator) {
        let message = format!("{name} is text, which is neither more nor less.");
        return Err((message, format!("Write {name}:VALUE, or {name}:BEGINNING*.")));
    }
    if value.begins {
        return Ok(Test::Begins(value.text.clone()));
    }
    match (value.is_quoted, value.text.strip_suffix('*')) {
        (false, Some(started)) if !started.contains('*') => Ok(Test::Begins(started.to_owned())),
        (false, _) if value.text.contains('*') => {
            let message = "* stands for what follows, so it can only be the last character.".to_owned();
            Err((message, format!("Write {name}:BEGINNING*, or put a text with a * in it into quotes.")))
        }
        _ => Ok(Test::Is(value.text.clone())),
    }
}

fn number_test(name: &str, measure: Measure, operator: Option<&str>, value: &Value) -> Result<Test, Wrong> {
    if measure == Measure::Status
        && is_equal(operator)
        && let Some(test) = status_class(&value.text)
    {
        return Ok(test);
    }
    let Some(number) = number_of(measure, &value.text).filter(|_| !value.begins) else {
        let message = format!("\"{}\" can't be compared with {name}.", value.text);
        return Err((message, format!("Write {name}:{}.", example(measure))));
    };
    let (least, most) = match operator {
        Some(">") => (number.saturating_add(1), i64::MAX),
        Some(">=") => (number, i64::MAX),
        Some("<") if number == 0 => {
            return Err((format!("No {name} is less than 0."), format!("Write {name}:0.")));
        }
        Some("<") => (0, number - 1),
        Some("<=") => (0, number),
        _ => (number, number),
    };
    Ok(Test::Within { least, most })
}

fn status_class(text: &str) -> Option<Test> {
    match text {
        "error" => Some(Test::Within { least: 400, most: i64::MAX }),
        "ok" => Some(Test::Within { least: 0, most: 399 }),
        _ => {
            let class: i64 = text.strip_suffix("xx").filter(|digit| digit.len() == 1)?.parse().ok()?;
            (1..=5).contains(&class).then_some(Test::Within { least: class * 100, most: class * 100 + 99 })
        }
    }
}

fn number_of(measure: Measure, text: &str) -> Option<i64> {
    match measure {
        Measure::Status => parse_decimal(text, 0).filter(|status| *status <= 999),
        Measure::Money => parse_decimal(text.strip_prefix('$').unwrap_or(text), NANOS_PER_DOLLAR_DIGITS),
        Measure::Count => match text.strip_suffix(['k', 'K']) {
            Some(thousands) => parse_decimal(thousands, 3),
            None => text
                .strip_suffix('M')
                .map_or_else(|| parse_decimal(text, 0), |millions| parse_decimal(millions, 6)),
        },
        Measure::Time => microseconds(text),
        Measure::Text | Measure::Word(_) | Measure::Moment => None,
    }
}

fn microseconds(text: &str) -> Option<i64> {
    let units = [("us", 0, 1), ("ms", 3, 1), ("s", 6, 1), ("m", 6, 60), ("h", 6, 3_600)];
    units.into_iter().find_map(|(unit, digits, times)| {
        text.strip_suffix(unit).and_then(|number| parse_decimal(number, digits)?.checked_mul(times))
    })
}

/// A decimal number times ten to the power of `digits`; `None` if it has more decimal places than that.
fn parse_decimal(text: &str, digits: u32) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let decimals = u32::try_from(part.len()).ok().filter(|decimals| *decimals <= digits)?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(part) || (part.is_empty() && text.contains('.')) {
        return None;
    }
    let number: i64 = format!("{whole}{part}").parse().ok()?;
    number.checked_mul(10_i64.checked_pow(digits - decimals)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Request;

    impl Filterable for Request {
        fn any_text(&self, field: Field, is_wanted: &dyn Fn(&str) -> bool) -> bool {
            let texts: &[&str] = match field {
                Field::Model => &["gpt-4o-mini", "openai/gpt-4o-mini"],
                Field::Key => &["key_1"],
                Field::Outcome => &["completed"],
                _ => &[],
            };
            texts.iter().any(|text| is_wanted(text))
        }

        fn number(&self, field: Field) -> Option<i64> {
            match field {
                Field::Status => Some(429),
                Field::Cost => Some(10_000_000),
                Field::Latency => Some(1_500_000),
                Field::Input => Some(1_000),
                _ => None,
            }
        }
    }

    fn holds(text: &str) -> bool {
        let filter = Filter::parse(text).unwrap();
        filter.terms.iter().all(|term| term.holds(&Request))
    }

    #[test]
    fn what_a_filter_means() {
        for text in [
            "",
            " ",
            "model:openai/gpt-4o-mini",
            "model:gpt-4o*",
            "model:\"gpt-4o\"*",
            "status:429",
            "status=429",
            "status:4xx",
            "status:error",
            "status>=400 status<500",
            "cost:>0.009",
            "cost>=0.01",
            "cost:$0.01",
            "cost<=0.010000000",
            "latency:>1s",
            "latency:1500ms",
            "latency<0.1m",
            "input:1k",
            "input>=0.001M",
            "-model:echo",
            "-tag:x",
            "-status:ok",
            "since:24h until:2026-11-20",
            "outcome:completed key:key_1",
            "  model:gpt-4o*\tstatus:error ",
        ] {
            assert!(holds(text), "{text}");
        }
        for text in [
            "model:gpt-4o",
            "model:\"gpt-4o*\"",
            "status:5xx",
            "status:ok",
            "cost>0.01",
            "latency>1500ms",
            "tag:x",
            "-model:gpt*",
            "ttft<1s",
        ] {
            assert!(!holds(text), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_told_by_its_place() {
        for (text, at, part) in [
            ("gpt", 0, "isn't a filter"),
            ("model:a gpt", 8, "isn't a filter"),
            ("é:x", 0, "isn't a filter"),
            ("tag:é modle:x", 6, "\"modle\" is not a field to filter by"),
            ("model:", 6, "needs a value"),
            ("model:a model:b", 8, "twice"),
            ("model>a", 6, "neither more nor less"),
            ("model:a*b", 6, "last character"),
            ("status:erorr", 7, "can't be compared"),
            ("status:1000", 7, "can't be compared"),
            ("latency:5", 8, "can't be compared"),
            ("cost:0.0000000001", 5, "can't be compared"),
            ("cost:1.", 5, "can't be compared"),
            ("input<0", 6, "less than 0"),
            ("outcome:faild", 8, "Unknown outcome"),
            ("tag:\"x", 4, "does not end"),
            ("tag:\"x\"y", 7, "follows the quote"),
            ("tag:x\"y", 5, "inside a value"),
            ("-since:24h", 0, "negated"),
            ("since:>24h", 7, "one moment"),
        ] {
            let error = Filter::parse(text).unwrap_err();
            assert!(
                error.at == at && error.message.contains(part) && !error.fix.is_empty(),
                "{text}: {error:?}"
            );
        }
        let error = Filter::parse("model:a  cots:1").unwrap_err();
        assert_eq!(error.render_in("model:a  cots:1"), "model:a  cots:1\n         ^");
        assert!(Filter::parse(&"tag:x".repeat(FILTER_BYTES_MAX)).is_err());
        assert!(Filter::parse(&"-tag:x ".repeat(FILTER_TERMS_MAX + 1)).is_err());
    }

    fn term() -> impl Strategy<Value = Term> {
        let fields = proptest::sample::select(Field::ALL.to_vec());
        let numbers = (0_i64..i64::MAX, 0..3_u8);
        (fields, "[ -~é\u{2028}]{0,12}", numbers, any::<bool>()).prop_map(
            |((field, _, measure, _), text, (number, choice), negated)| {
                let within = |least, most| Test::Within { least, most };
                let (test, negated) = match measure {
                    Measure::Text if choice == 0 => (Test::Begins(text), negated),
                    Measure::Text => (Test::Is(text), negated),
                    Measure::Word(words) => {
                        (Test::Is(words[usize::from(choice) % words.len()].to_owned()), negated)
                    }
                    Measure::Moment => (Test::Moment(text), false),
                    Measure::Status if choice == 0 => (within(400, 499), negated),
                    Measure::Status => (within(number % 999, i64::MAX), negated),
                    _ if choice == 0 => (within(number, number), negated),
                    _ if choice == 1 => (within(0, number), negated),
                    _ => (within(number, i64::MAX), negated),
                };
                Term { field, negated, test, at: 0 }
            },
        )
    }

    proptest! {
        #[test]
        fn a_filter_that_is_written_reads_the_same(mut terms in prop::collection::vec(term(), 0..8)) {
            let mut seen = Vec::new();
            terms.retain(|term| {
                let is_first = !seen.contains(&term.field);
                seen.push(term.field);
                is_first
            });
            let filter = Filter { terms };
            prop_assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter);
        }

        #[test]
        fn any_text_is_read_or_told_by_a_place_in_it(text in "[a-z:<>=\"\\\\* é0-9-]{0,40}") {
            match Filter::parse(&text) {
                Ok(filter) => prop_assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter),
                Err(error) => prop_assert!(error.at <= text.chars().count() && !error.fix.is_empty()),
            }
        }
    }
}
