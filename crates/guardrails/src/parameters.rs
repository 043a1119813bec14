//! Parameters of a request: values outside a policy's range are moved or refused, and defaults are written in.

use std::borrow::Cow;

use bytes::Bytes;
use domain::{ParameterRule, Thousandths};
use json::splice::{Edit, splice};
use json::written::json_string;
use json::{Cursor, JsonError, Span};

/// Where a wire format has its parameters.
#[derive(Debug, Clone, Copy)]
pub struct ParameterPlace {
    /// The member that holds them; `None` if they are members of the request itself.
    pub container: Option<&'static str>,
    /// The names of the limit of the answer's length; the first is written.
    pub output_tokens: &'static [&'static str],
    /// The member that says whether the provider stores the answer, and whether it does without it.
    pub store: Option<(&'static str, bool)>,
}

/// What is wanted of a request's parameters.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<'a> {
    pub rules: &'a [ParameterRule],
    /// Written as the limit of the answer where the request sets none.
    pub output_tokens: Option<u64>,
    /// The provider must not store the answer.
    pub stores_nothing: bool,
}

/// A member, by its name and value.
struct Found {
    name: String,
    value: Span,
}

/// A value that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedValue {
    pub field: String,
    pub value: String,
    pub allowed: String,
    /// It asks the provider to store the answer.
    pub is_storage: bool,
}

/// A parameter that was written or moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterChange {
    /// As the request's format spells it.
    pub name: String,
    /// `None` where the request sets none.
    pub before: Option<String>,
    pub after: String,
}

/// The outcome.
#[derive(Debug, Default)]
pub struct Written {
    /// `None` where nothing changed.
    pub body: Option<Bytes>,
    /// What the rules moved, and the defaults that they set.
    pub changes: Vec<ParameterChange>,
    pub refused: Option<RefusedValue>,
}

/// The edits that are being made.
struct Fitting<'a> {
    body: &'a [u8],
    place: ParameterPlace,
    /// The objects that hold parameters: a request may have the member twice, and the provider take either.
    containers: Vec<Span>,
    /// All of their members.
    members: Vec<Found>,
    edits: Vec<Edit<'static>>,
    changes: Vec<ParameterChange>,
    refused: Option<RefusedValue>,
}

/// Fits a request. One that is not valid JSON is left as it is: nothing sends it.
pub fn fit_parameters(body: &Bytes, place: ParameterPlace, wanted: Parameters<'_>) -> Written {
    fit(body, place, wanted).unwrap_or_default()
}

fn fit(body: &Bytes, place: ParameterPlace, wanted: Parameters<'_>) -> Result<Written, JsonError> {
    let mut fitting = Fitting::read(body, place)?;
    let mut additions: Vec<(String, String)> = Vec::new();
    for rule in wanted.rules {
        if !fitting.apply(rule) {
            let added = rule.default.map(|value| (spelled(&rule.name, place), value.to_string()));
            fitting.changes.extend(added.iter().map(|(name, value)| ParameterChange {
                name: name.clone(),
                before: None,
                after: value.clone(),
            }));
            additions.extend(added);
        }
    }
    if let (Some(tokens), [first, ..]) = (wanted.output_tokens, place.output_tokens)
        && !place.output_tokens.iter().any(|name| fitting.has(name))
    {
        additions.push(((*first).to_owned(), tokens.to_string()));
    }
    let mut outer = Vec::new();
    if wanted.stores_nothing {
        outer.extend(fitting.forbid_storage()?);
    }
    match (place.container, fitting.containers.first().copied()) {
        (Some(name), None) if !additions.is_empty() => {
            outer.push((name.to_owned(), format!("{{{}}}", joined(&additions))));
        }
        (Some(_), None) => {}
        (Some(_), Some(container)) => fitting.edits.extend(insertion(body, container, &additions)),
        (None, _) => outer.extend(additions),
    }
    fitting.edits.extend(insertion(body, Span::new(0, body.len()), &outer));
    let Fitting { mut edits, changes, refused, .. } = fitting;
    if edits.is_empty() {
        return Ok(Written { body: None, changes, refused });
    }
    let mut pieces = Vec::new();
    splice(body, &mut edits, &mut pieces);
    let body = if pieces.len() == 1 { pieces.swap_remove(0) } else { Bytes::from(pieces.concat()) };
    Ok(Written { body: Some(body), changes, refused })
}

impl<'a> Fitting<'a> {
    fn read(body: &'a [u8], place: ParameterPlace) -> Result<Self, JsonError> {
        let outer = members_of(body, 0)?;
        let (mut containers, mut members) = (Vec::new(), Vec::new());
        match place.container {
            None => members = outer,
            Some(name) => {
                let is_it = |member: &&Found| {
                    plain(&member.name) == plain(name) && member.value.of(body).first() == Some(&b'{')
                };
                containers.extend(outer.iter().filter(is_it).map(|member| member.value));
                for container in &containers {
                    members.extend(members_of(container.of(body), container.start)?);
                }
            }
        }
        Ok(Self { body, place, containers, members, edits: Vec::new(), changes: Vec::new(), refused: None })
    }

    fn has(&self, name: &str) -> bool {
        self.members.iter().any(|member| plain(&member.name) == plain(name))
    }

    /// Applies a rule to the parameter; false if the request does not set it.
    fn apply(&mut self, rule: &ParameterRule) -> bool {
        let same = |member: &&Found| plain(&member.name) == plain(&rule.name);
        for member in self.members.iter().filter(same) {
            match fitted(rule, member.value.of(self.body)) {
                Fit::Kept => {}
                Fit::Moved(value) => {
                    self.changes.push(ParameterChange {
                        name: member.name.clone(),
                        before: Some(String::from_utf8_lossy(member.value.of(self.body)).into_owned()),
                        after: value.to_string(),
                    });
                    self.edits.push(Edit { span: member.value, text: Cow::Owned(value.to_string()) });
                }
                Fit::Refused(value) => {
                    let (field, allowed) = (member.name.clone(), range_of(rule));
                    self.refused = Some(RefusedValue { field, value, allowed, is_storage: false });
                }
            }
        }
        self.has(&rule.name)
    }

    /// The member that keeps the provider from storing the answer, where it is needed.
    fn forbid_storage(&mut self) -> Result<Option<(String, String)>, JsonError> {
        let Some((name, stores)) = self.place.store else { return Ok(None) };
        let outer = members_of(self.body, 0)?;
        let mut set = outer.iter().filter(|member| member.name == name).peekable();
        let is_set = set.peek().is_some();
        if set.any(|member| member.value.of(self.body) == b"true") {
            self.refused = Some(RefusedValue {
                field: name.to_owned(),
                value: "true".to_owned(),
                allowed: "false".to_owned(),
                is_storage: true,
            });
        }
        Ok((!is_set && stores).then(|| (name.to_owned(), "false".to_owned())))
    }
}

enum Fit {
    Kept,
    Moved(Thousandths),
    Refused(String),
}

/// What is no number is left to the provider, whose error says so.
fn fitted(rule: &ParameterRule, value: &[u8]) -> Fit {
    let text = String::from_utf8_lossy(value);
    let Ok(number) = text.parse::<f64>() else { return Fit::Kept };
    let Some(number) = Thousandths::of(number) else { return Fit::Refused(text.into_owned()) };
    match rule.fit(number) {
        Some(same) if same == number => Fit::Kept,
        Some(moved) => Fit::Moved(moved),
        None => Fit::Refused(text.into_owned()),
    }
}

fn range_of(rule: &ParameterRule) -> String {
    let bound =
        |bound: Option<Thousandths>| bound.map_or_else(|| "any".to_owned(), |bound| bound.to_string());
    format!("{} to {}", bound(rule.least), bound(rule.most))
}

/// A name without what differs between spellings.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| *letter != '_').map(|letter| letter.to_ascii_lowercase()).collect()
}

/// The name as the format spells it: formats with a container have camel case.
fn spelled(name: &str, place: ParameterPlace) -> String {
    if place.container.is_none() {
        return name.to_owned();
    }
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |mut spelled, part| {
        let mut letters = part.chars();
        spelled.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        spelled.extend(letters);
        spelled
    })
}

/// The members of the object in `bytes`, which starts at `offset` of the body.
fn members_of(bytes: &[u8], offset: usize) -> Result<Vec<Found>, JsonError> {
    let mut found = Vec::new();
    let mut cursor = Cursor::new(bytes)?;
    cursor.object::<JsonError>(|cursor, member| {
        let value = cursor.skip()?;
        let value = Span::new(value.start + offset, value.end + offset);
        found.push(Found { name: member.key.decode().into_owned(), value });
        Ok(())
    })?;
    Ok(found)
}

fn joined(additions: &[(String, String)]) -> String {
    let members: Vec<String> =
        additions.iter().map(|(name, value)| format!("{}:{value}", json_string(name))).collect();
    members.join(",")
}

/// Writes members at the beginning of the object at `span`.
fn insertion(body: &[u8], span: Span, additions: &[(String, String)]) -> Option<Edit<'static>> {
    if additions.is_empty() {
        return None;
    }
    let open = span.start + span.of(body).iter().position(|byte| *byte == b'{')? + 1;
    let is_empty = body.get(open..)?.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
    let comma = if is_empty { "" } else { "," };
    Some(Edit::insert(open, format!("{}{comma}", joined(additions))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT: ParameterPlace = ParameterPlace {
        container: None,
        output_tokens: &["max_completion_tokens", "max_tokens"],
        store: Some(("store", true)),
    };
    const NESTED: ParameterPlace = ParameterPlace {
        container: Some("generationConfig"),
        output_tokens: &["maxOutputTokens"],
        store: None,
    };

    fn rule(name: &str, default: Option<f64>, clamps: bool) -> ParameterRule {
        ParameterRule {
            name: name.into(),
            default: default.and_then(Thousandths::of),
            least: Thousandths::of(0.1),
            most: Thousandths::of(1.0),
            clamps,
        }
    }

    fn check(body: &'static str, place: ParameterPlace, wanted: Parameters<'_>, expected: &str) {
        let body = Bytes::from_static(body.as_bytes());
        let written = fit_parameters(&body, place, wanted);
        assert_eq!(written.body.unwrap_or(body), expected);
        assert!(written.refused.is_none());
    }

    #[test]
    fn values_are_moved_and_defaults_written_where_the_format_has_them() {
        let rules = [rule("temperature", Some(0.5), true), rule("top_p", None, true)];
        let wanted = Parameters { rules: &rules, output_tokens: Some(9), stores_nothing: true };
        let only = Parameters { rules: &rules, output_tokens: None, stores_nothing: false };
        for (body, place, wanted, expected) in [
            (r#"{"temperature":2,"top_p":0}"#, FLAT, only, r#"{"temperature":1,"top_p":0.1}"#),
            (r#"{"temperature":0.7}"#, FLAT, only, r#"{"temperature":0.7}"#),
            (r#"{ }"#, FLAT, only, r#"{"temperature":0.5 }"#),
            (
                r#"{"m":1}"#,
                FLAT,
                wanted,
                r#"{"store":false,"temperature":0.5,"max_completion_tokens":9,"m":1}"#,
            ),
            (
                r#"{"max_tokens":5,"store":false,"temperature":1}"#,
                FLAT,
                wanted,
                r#"{"max_tokens":5,"store":false,"temperature":1}"#,
            ),
            (
                r#"{"a":1}"#,
                NESTED,
                wanted,
                r#"{"generationConfig":{"temperature":0.5,"maxOutputTokens":9},"a":1}"#,
            ),
            (
                r#"{"generation_config":{"topP":3}}"#,
                NESTED,
                wanted,
                r#"{"generation_config":{"temperature":0.5,"maxOutputTokens":9,"topP":1}}"#,
            ),
            (
                r#"{"temperature":2}"#,
                NESTED,
                only,
                r#"{"generationConfig":{"temperature":0.5},"temperature":2}"#,
            ),
            (r#"{"temperature":2"#, FLAT, only, r#"{"temperature":2"#),
            (
                r#"{"temperature":0.5,"\u0074emperature":2}"#,
                FLAT,
                only,
                r#"{"temperature":0.5,"\u0074emperature":1}"#,
            ),
        ] {
            check(body, place, wanted, expected);
        }
    }

    #[test]
    fn a_value_outside_is_refused_where_it_is_not_moved() {
        let rules = [rule("temperature", None, false)];
        let wanted = Parameters { rules: &rules, output_tokens: None, stores_nothing: false };
        let body = Bytes::from_static(br#"{"temperature":1.5}"#);
        let refused = fit_parameters(&body, FLAT, wanted).refused.unwrap();
        assert_eq!(
            (refused.field.as_str(), refused.value.as_str(), refused.allowed.as_str(), refused.is_storage),
            ("temperature", "1.5", "0.1 to 1", false)
        );
        let wanted = Parameters { rules: &[], output_tokens: None, stores_nothing: true };
        let body = Bytes::from_static(br#"{"store":false,"store":true}"#);
        assert!(fit_parameters(&body, FLAT, wanted).refused.unwrap().is_storage);
    }
}
