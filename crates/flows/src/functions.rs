//! The operators and functions of expressions.

use std::borrow::Cow;
use std::cmp::Ordering;

use cel::common::ast::operators as op;
use serde_json::{Number, Value};

use crate::evaluation::{EvaluationError, Evaluator, compared, equal, size_of_value, whole, wrong};

type Made = Result<Value, EvaluationError>;

/// Calls an operator or a function. Of a method, the first value is what it is called on.
pub(crate) fn call(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    is_method: bool,
    values: &[Cow<'_, Value>],
) -> Made {
    let values: Vec<&Value> = values.iter().map(|value| &**value).collect();
    match (name, values.as_slice()) {
        (op::LOGICAL_NOT, [Value::Bool(flag)]) => Ok(Value::Bool(!flag)),
        (op::NEGATE, [Value::Number(number)]) => arithmetic(op::SUBSTRACT, &Number::from(0), number),
        (op::EQUALS | op::NOT_EQUALS, [one, other]) => {
            evaluator.scan(size_of_value(one).min(size_of_value(other)))?;
            Ok(Value::Bool(equal(one, other) == (name == op::EQUALS)))
        }
        (op::GREATER | op::GREATER_EQUALS | op::LESS | op::LESS_EQUALS, [one, other]) => {
            ordered(evaluator, name, one, other)
        }
        (op::IN, [value, list]) => contained(evaluator, value, list),
        (op::ADD, [one, other]) => sum(evaluator, one, other),
        (
            op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO,
            [Value::Number(one), Value::Number(other)],
        ) => arithmetic(name, one, other),
        (name, [Value::String(text), rest @ ..]) if is_method => of_text(evaluator, name, text, rest),
        ("join", [Value::Array(items), rest @ ..]) if is_method => joined(evaluator, items, rest),
        ("size", [value]) => size(evaluator, value),
        ("type", [value]) => Ok(Value::from(type_of(value))),
        (name, [value]) if !is_method => converted(evaluator, name, value),
        _ => Err(no_overload(name, &values)),
    }
}

fn no_overload(name: &str, values: &[&Value]) -> EvaluationError {
    let types: Vec<_> = values.iter().map(|value| type_of(value)).collect();
    let name: String = name.chars().filter(|letter| *letter != '_' && *letter != '@').collect();
    wrong(format!("There is no \"{name}\" of ({}).", types.join(", ")))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "double",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}

fn size(evaluator: &mut Evaluator<'_>, value: &Value) -> Made {
    let size = match value {
        Value::String(text) => {
            evaluator.scan(text.len())?;
            text.chars().count()
        }
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => return Err(no_overload("size", &[value])),
    };
    Ok(Value::from(size))
}

fn ordered(evaluator: &mut Evaluator<'_>, name: &str, one: &Value, other: &Value) -> Made {
    let order = match (one, other) {
        (Value::Number(one), Value::Number(other)) => compared(one, other),
        (Value::String(one), Value::String(other)) => {
            evaluator.scan(one.len().min(other.len()))?;
            Some(one.cmp(other))
        }
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        _ => return Err(no_overload(name, &[one, other])),
    };
    let holds = order.is_some_and(|order| match name {
        op::GREATER => order == Ordering::Greater,
        op::GREATER_EQUALS => order != Ordering::Less,
        op::LESS => order == Ordering::Less,
        _ => order != Ordering::Greater,
    });
    Ok(Value::Bool(holds))
}

fn contained(evaluator: &mut Evaluator<'_>, value: &Value, list: &Value) -> Made {
    match (value, list) {
        (value, Value::Array(items)) => {
            let size = size_of_value(value);
            for item in items {
                evaluator.scan(size + 64)?;
                if equal(value, item) {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        (Value::String(key), Value::Object(fields)) => Ok(Value::Bool(fields.contains_key(key))),
        _ => Err(no_overload("in", &[value, list])),
    }
}

fn sum(evaluator: &mut Evaluator<'_>, one: &Value, other: &Value) -> Made {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => arithmetic(op::ADD, one, other),
        (Value::String(one), Value::String(other)) => {
            evaluator.make(one.len() + other.len())?;
            Ok(Value::String(format!("{one}{other}")))
        }
        (Value::Array(first), Value::Array(second)) => {
            evaluator.make(size_of_value(one) + size_of_value(other))?;
            Ok(Value::Array(first.iter().chain(second).cloned().collect()))
        }
        _ => Err(no_overload("+", &[one, other])),
    }
}

/// Whole numbers stay whole and never wrap; a fraction on either side makes a fraction.
fn arithmetic(name: &str, one: &Number, other: &Number) -> Made {
    if let (Some(one), Some(other)) = (whole(one), whole(other)) {
        let result = match name {
            op::ADD => one.checked_add(other),
            op::SUBSTRACT => one.checked_sub(other),
            op::MULTIPLY => one.checked_mul(other),
            op::DIVIDE => one.checked_div(other),
            _ => one.checked_rem(other),
        };
        let number = result.and_then(|number| i64::try_from(number).ok());
        return number.map(Value::from).ok_or_else(|| wrong("A number is divided by zero, or too large."));
    }
    let (Some(one), Some(other)) = (one.as_f64(), other.as_f64()) else {
        return Err(wrong("A number is too large."));
    };
    let result = match name {
        op::ADD => one + other,
        op::SUBSTRACT => one - other,
        op::MULTIPLY => one * other,
        op::DIVIDE => one / other,
        _ => one % other,
    };
    let number = Number::from_f64(result);
    number.map(Value::Number).ok_or_else(|| wrong("A number is divided by zero, or too large."))
}

fn of_text(evaluator: &mut Evaluator<'_>, name: &str, text: &str, rest: &[&Value]) -> Made {
    evaluator.scan(text.len() + 64)?;
    let made = match (name, rest) {
        ("contains", [Value::String(part)]) => return Ok(Value::Bool(text.contains(part.as_str()))),
        ("startsWith", [Value::String(part)]) => return Ok(Value::Bool(text.starts_with(part.as_str()))),
        ("endsWith", [Value::String(part)]) => return Ok(Value::Bool(text.ends_with(part.as_str()))),
        ("size", []) => return Ok(Value::from(text.chars().count())),
        ("split", [Value::String(part)]) if !part.is_empty() => {
            // Each part costs the place that it takes in the list.
            evaluator.make(text.len() + text.matches(part.as_str()).count() * 16)?;
            return Ok(Value::Array(text.split(part.as_str()).map(Value::from).collect()));
        }
        ("replace", [Value::String(part), Value::String(by)]) if !part.is_empty() => {
            evaluator.make(text.len() + text.matches(part.as_str()).count() * by.len())?;
            return Ok(Value::String(text.replace(part.as_str(), by)));
        }
        ("trim", []) => text.trim().to_owned(),
        ("lowerAscii", []) => text.to_ascii_lowercase(),
        ("upperAscii", []) => text.to_ascii_uppercase(),
        _ => return Err(no_overload(name, rest)),
    };
    evaluator.make(made.len())?;
    Ok(Value::String(made))
}

fn joined(evaluator: &mut Evaluator<'_>, items: &[Value], rest: &[&Value]) -> Made {
    let between = match rest {
        [] => "",
        [Value::String(between)] => between.as_str(),
        _ => return Err(no_overload("join", rest)),
    };
    let mut made = String::new();
    for (place, item) in items.iter().enumerate() {
        let Value::String(text) = item else { return Err(wrong("Only a list of texts is joined.")) };
        if place > 0 {
            made.push_str(between);
        }
        evaluator.make(text.len() + between.len())?;
        made.push_str(text);
    }
    Ok(Value::String(made))
}

fn converted(evaluator: &mut Evaluator<'_>, name: &str, value: &Value) -> Made {
    let refused = || wrong(format!("{name}() can't convert this {}.", type_of(value)));
    match (name, value) {
        ("string", Value::String(_)) | ("bool", Value::Bool(_)) => {
            evaluator.make(size_of_value(value))?;
            Ok(value.clone())
        }
        ("string" | "json", value) => {
            evaluator.scan(size_of_value(value) * 8)?;
            let text = value.to_string();
            evaluator.make(text.len())?;
            Ok(Value::String(text))
        }
        ("parseJson", Value::String(text)) => {
            // A value of JSON takes up to eight bytes for each of its text.
            evaluator.make(text.len().saturating_mul(8))?;
            serde_json::from_str(text).map_err(|_| wrong("The text isn't JSON."))
        }
        ("bool", Value::String(text)) => text.parse().map(Value::Bool).map_err(|_| refused()),
        ("int", Value::Number(number)) => {
            let whole = whole(number).and_then(|number| i64::try_from(number).ok());
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a fraction is cut, and its range is checked"
            )]
            let cut = || number.as_f64().filter(|number| number.abs() < 9e15).map(|number| number as i64);
            whole.or_else(cut).map(Value::from).ok_or_else(refused)
        }
        ("int", Value::String(text)) => text.trim().parse::<i64>().map(Value::from).map_err(|_| refused()),
        ("double", Value::Number(number)) => {
            number.as_f64().and_then(Number::from_f64).map(Value::Number).ok_or_else(refused)
        }
        ("double", Value::String(text)) => {
            let number = text.trim().parse::<f64>().ok().and_then(Number::from_f64);
            number.map(Value::Number).ok_or_else(refused)
        }
        _ => Err(no_overload(name, &[value])),
    }
}
