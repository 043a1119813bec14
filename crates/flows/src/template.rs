//! Values of a document with expressions in them: `{{expression}}` alone is its value, and in a text its text.

use serde_json::{Map, Value};

use crate::evaluation::{EvaluationError, Names, evaluate_within, size_of_value, wrong};
use crate::expression::Expression;
use crate::limits::{EVALUATION_UNITS_MAX, TEMPLATE_DEPTH_MAX, VALUE_BYTES_MAX};

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// A value with expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// Without any.
    Literal(Value),
    Whole(Expression),
    Text(Vec<Piece>),
    List(Vec<Template>),
    Object(Vec<(String, Template)>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Text(String),
    Value(Expression),
}

impl Template {
    /// # Errors
    /// Each place with what is wrong there.
    pub fn parse(value: &Value, pointer: &str) -> Result<Self, Vec<(String, String)>> {
        Self::parse_at(value, pointer, TEMPLATE_DEPTH_MAX)
    }

    fn parse_at(value: &Value, pointer: &str, depth: usize) -> Result<Self, Vec<(String, String)>> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(vec![(pointer.to_owned(), "The value is nested too deep.".to_owned())]);
        };
        match value {
            Value::String(text) if text.contains(OPEN) => {
                parse_text(text).map_err(|message| vec![(pointer.to_owned(), message)])
            }
            Value::Array(items) => {
                let parts = items.iter().enumerate();
                let parts =
                    parts.map(|(place, item)| Self::parse_at(item, &format!("{pointer}/{place}"), depth));
                let parts = all(parts)?;
                let is_literal = parts.iter().all(|part| matches!(part, Self::Literal(_)));
                Ok(if is_literal { Self::Literal(value.clone()) } else { Self::List(parts) })
            }
            Value::Object(fields) => {
                let parts = fields.iter().map(|(key, item)| {
                    let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                    Self::parse_at(item, &pointer, depth).map(|part| (key.clone(), part))
                });
                let parts = all(parts)?;
                let is_literal = parts.iter().all(|(_, part)| matches!(part, Self::Literal(_)));
                Ok(if is_literal { Self::Literal(value.clone()) } else { Self::Object(parts) })
            }
            other => Ok(Self::Literal(other.clone())),
        }
    }

    /// What its expressions read.
    pub fn names<'a>(&'a self, found: &mut Vec<&'a str>) {
        match self {
            Self::Literal(_) => {}
            Self::Whole(expression) => found.extend(expression.names()),
            Self::Text(pieces) => {
                for piece in pieces {
                    if let Piece::Value(expression) = piece {
                        found.extend(expression.names());
                    }
                }
            }
            Self::List(parts) => parts.iter().for_each(|part| part.names(found)),
            Self::Object(parts) => parts.iter().for_each(|(_, part)| part.names(found)),
        }
    }

    /// All its expressions share the budget of one, because they run on the thread of the control plane.
    ///
    /// # Errors
    /// One of its expressions has no value, or the whole is too large.
    pub fn fill(&self, names: &dyn Names) -> Result<Value, EvaluationError> {
        self.fill_within(names, &mut { EVALUATION_UNITS_MAX }, &mut { VALUE_BYTES_MAX })
    }

    fn fill_within(
        &self,
        names: &dyn Names,
        units: &mut u64,
        bytes_left: &mut usize,
    ) -> Result<Value, EvaluationError> {
        let value = match self {
            Self::Literal(value) => value.clone(),
            Self::Whole(expression) => evaluate_within(expression, names, units)?,
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(part) => text.push_str(part),
                        Piece::Value(expression) => match evaluate_within(expression, names, units)? {
                            Value::String(part) => text.push_str(&part),
                            Value::Null => {}
                            other => text.push_str(&other.to_string()),
                        },
                    }
                    if text.len() > VALUE_BYTES_MAX {
                        return Err(too_large());
                    }
                }
                Value::String(text)
            }
            Self::List(parts) => {
                let parts = parts.iter().map(|part| part.fill_within(names, units, bytes_left));
                return parts.collect::<Result<Vec<_>, _>>().map(Value::Array);
            }
            Self::Object(parts) => {
                let mut fields = Map::new();
                for (key, part) in parts {
                    fields.insert(key.clone(), part.fill_within(names, units, bytes_left)?);
                }
                return Ok(Value::Object(fields));
            }
        };
        *bytes_left = bytes_left.checked_sub(size_of_value(&value)).ok_or_else(too_large)?;
        Ok(value)
    }
}

fn too_large() -> EvaluationError {
    wrong(format!("The value has more than {VALUE_BYTES_MAX} bytes."))
}

fn all<T>(
    parts: impl Iterator<Item = Result<T, Vec<(String, String)>>>,
) -> Result<Vec<T>, Vec<(String, String)>> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Ok(part) => found.push(part),
            Err(more) => errors.extend(more),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

fn parse_text(text: &str) -> Result<Template, String> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once(OPEN) {
        let end = end_of(after).ok_or("\"{{\" is not closed by \"}}\".")?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let source = after.get(..end).unwrap_or_default();
        pieces.push(Piece::Value(Expression::parse(source.trim())?));
        rest = after.get(end + CLOSE.len()..).unwrap_or_default();
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    match pieces.pop() {
        Some(Piece::Value(expression)) if pieces.is_empty() => Ok(Template::Whole(expression)),
        Some(last) => {
            pieces.push(last);
            Ok(Template::Text(pieces))
        }
        None => Ok(Template::Literal(Value::from(text))),
    }
}

/// Where the expression ends: braces of objects, and those in texts, are its own.
fn end_of(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut is_escaped) = (0_u32, None, false);
    for (place, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(open), letter) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '{') => depth += 1,
            (None, '}') if depth > 0 => depth -= 1,
            (None, '}') if text.get(place..)?.starts_with(CLOSE) => return Some(place),
            _ => {}
        }
    }
    None
}
