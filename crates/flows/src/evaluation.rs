//! Evaluates expressions over JSON, each within a fixed number of units, so that every one ends.

use std::borrow::Cow;
use std::cmp::Ordering;

use cel::common::ast::operators as op;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, MapExpr, SelectExpr};
use serde_json::{Map, Number, Value};

use crate::expression::{Expression, step_of};
use crate::functions;
use crate::limits::{EVALUATION_UNITS_MAX, VALUE_BYTES_MAX};

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    #[error("The expression does more than an expression, or all of a step together, may.")]
    TooLong,
    /// Its values don't fit what it does with them.
    #[error("{0}")]
    Wrong(String),
}

pub(crate) fn wrong(text: impl Into<String>) -> EvaluationError {
    EvaluationError::Wrong(text.into())
}

/// What the names of an expression stand for.
pub trait Names {
    fn named(&self, name: &str) -> Option<Cow<'_, Value>>;
}

/// The value of an expression.
///
/// # Errors
/// It has none.
pub fn evaluate(expression: &Expression, names: &dyn Names) -> Result<Value, EvaluationError> {
    evaluate_within(expression, names, &mut { EVALUATION_UNITS_MAX })
}

/// The same, within units that several expressions share.
pub(crate) fn evaluate_within(
    expression: &Expression,
    names: &dyn Names,
    units: &mut u64,
) -> Result<Value, EvaluationError> {
    let mut evaluator = Evaluator { units, bytes: VALUE_BYTES_MAX as u64, names };
    let value = evaluator.value(&expression.root.expr, None)?.into_owned();
    Ok(value)
}

/// A variable of a comprehension, in those around it.
#[derive(Clone, Copy)]
struct Local<'a> {
    name: &'a str,
    value: &'a Value,
    outer: Option<&'a Local<'a>>,
}

type Found<'a> = Result<Cow<'a, Value>, EvaluationError>;

pub(crate) struct Evaluator<'n> {
    units: &'n mut u64,
    /// What may be made altogether.
    bytes: u64,
    names: &'n dyn Names,
}

impl<'n> Evaluator<'n> {
    fn spend(&mut self, units: u64) -> Result<(), EvaluationError> {
        *self.units = self.units.checked_sub(units).ok_or(EvaluationError::TooLong)?;
        Ok(())
    }

    /// Pays for bytes that are made.
    pub(crate) fn make(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        self.bytes = self.bytes.checked_sub(bytes as u64).ok_or(EvaluationError::TooLong)?;
        self.spend(bytes as u64 / 64)
    }

    /// Pays for bytes that are read.
    pub(crate) fn scan(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        self.spend(bytes as u64 / 64)
    }

    /// A copy that is paid for.
    fn owned(&mut self, value: Cow<'_, Value>) -> Result<Value, EvaluationError> {
        match value {
            Cow::Owned(value) => Ok(value),
            Cow::Borrowed(value) => {
                self.make(size_of_value(value))?;
                Ok(value.clone())
            }
        }
    }

    fn value<'a>(&mut self, expression: &'a Expr, locals: Option<&'a Local<'a>>) -> Found<'a>
    where
        'n: 'a,
    {
        self.spend(1)?;
        if let Some(step) = step_of(expression) {
            return self.named(step);
        }
        match expression {
            Expr::Ident(name) => {
                let mut scope = locals;
                while let Some(local) = scope {
                    if local.name == name {
                        return Ok(Cow::Borrowed(local.value));
                    }
                    scope = local.outer;
                }
                self.named(name)
            }
            Expr::Literal(literal) => self.literal(literal).map(Cow::Owned),
            Expr::Select(select) => self.select(select, locals),
            Expr::Call(call) => self.call(call, locals),
            Expr::List(list) => {
                let mut made = Vec::with_capacity(list.elements.len());
                for element in &list.elements {
                    let value = self.value(&element.expr, locals)?;
                    made.push(self.owned(value)?);
                }
                Ok(Cow::Owned(Value::Array(made)))
            }
            Expr::Map(map) => self.object(map, locals).map(Cow::Owned),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, locals).map(Cow::Owned),
            Expr::Struct(_) | Expr::Unspecified => Err(wrong("The expression has a part without a value.")),
        }
    }

    fn named<'a>(&self, name: &str) -> Found<'a>
    where
        'n: 'a,
    {
        self.names.named(name).ok_or_else(|| wrong(format!("\"{name}\" has no value here.")))
    }

    fn literal(&mut self, literal: &LiteralValue) -> Result<Value, EvaluationError> {
        Ok(match literal {
            LiteralValue::Boolean(flag) => Value::Bool(*flag.inner()),
            LiteralValue::Int(number) => Value::from(*number.inner()),
            LiteralValue::UInt(number) => Value::from(*number.inner()),
            LiteralValue::Double(number) => Value::from(*number.inner()),
            LiteralValue::String(text) => {
                self.make(text.inner().len())?;
                Value::from(text.inner())
            }
            LiteralValue::Null => Value::Null,
            LiteralValue::Bytes(_) => return Err(wrong("A flow's values have no bytes.")),
        })
    }

    fn select<'a>(&mut self, select: &'a SelectExpr, locals: Option<&'a Local<'a>>) -> Found<'a>
    where
        'n: 'a,
    {
        let operand = self.value(&select.operand.expr, locals)?;
        let field = select.field.as_str();
        if select.test {
            let is_there = operand.get(field).is_some_and(|value| !value.is_null());
            return Ok(Cow::Owned(Value::Bool(is_there)));
        }
        let missing = || wrong(format!("There is no field \"{field}\"."));
        match operand {
            Cow::Borrowed(Value::Object(fields)) => fields.get(field).map(Cow::Borrowed).ok_or_else(missing),
            Cow::Owned(Value::Object(mut fields)) => fields.remove(field).map(Cow::Owned).ok_or_else(missing),
            _ => Err(wrong(format!("\"{field}\" is read of something that isn't an object."))),
        }
    }

    fn object<'a>(
        &mut self,
        map: &'a MapExpr,
        locals: Option<&'a Local<'a>>,
    ) -> Result<Value, EvaluationError>
    where
        'n: 'a,
    {
        let mut fields = Map::new();
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let key = self.value(&entry.key.expr, locals)?;
            let key = match &*key {
                Value::String(text) => text.clone(),
                _ => return Err(wrong("The keys of an object are texts.")),
            };
            self.make(key.len())?;
            let value = self.value(&entry.value.expr, locals)?;
            let value = self.owned(value)?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }

    fn comprehension<'a>(
        &mut self,
        comprehension: &'a ComprehensionExpr,
        locals: Option<&'a Local<'a>>,
    ) -> Result<Value, EvaluationError>
    where
        'n: 'a,
    {
        let range = self.value(&comprehension.iter_range.expr, locals)?;
        let keys: Vec<Value>;
        let items: &[Value] = match &*range {
            Value::Array(items) => items,
            Value::Object(fields) => {
                keys = fields.keys().map(|key| Value::from(key.as_str())).collect();
                self.make(size_of_list(&keys))?;
                &keys
            }
            _ => return Err(wrong("Only lists and objects are gone through.")),
        };
        let start = self.value(&comprehension.accu_init.expr, locals)?;
        let mut accumulated = self.owned(start)?;
        for item in items {
            self.spend(1)?;
            let local = Local { name: &comprehension.iter_var, value: item, outer: locals };
            let goes_on = {
                let accu = Local { name: &comprehension.accu_var, value: &accumulated, outer: Some(&local) };
                self.value(&comprehension.loop_cond.expr, Some(&accu))?.as_bool()
            };
            if goes_on == Some(false) {
                break;
            }
            accumulated =
                self.accumulated(comprehension, &comprehension.loop_step.expr, accumulated, &local)?;
        }
        let accu = Local { name: &comprehension.accu_var, value: &accumulated, outer: locals };
        let result = self.value(&comprehension.result.expr, Some(&accu))?;
        // What is accumulated was paid for as it was made.
        Ok(result.into_owned())
    }

    /// One step of a comprehension. What `map` and `filter` append is appended in place.
    fn accumulated(
        &mut self,
        comprehension: &ComprehensionExpr,
        step: &Expr,
        mut accumulated: Value,
        local: &Local<'_>,
    ) -> Result<Value, EvaluationError> {
        let is_accumulator =
            |expression: &Expr| matches!(expression, Expr::Ident(name) if *name == comprehension.accu_var);
        if is_accumulator(step) {
            return Ok(accumulated);
        }
        if let Expr::Call(call) = step {
            match (call.func_name.as_str(), call.args.as_slice()) {
                (op::CONDITIONAL, [condition, then, otherwise]) => {
                    let accu =
                        Local { name: &comprehension.accu_var, value: &accumulated, outer: Some(local) };
                    let chosen = match self.flag(&condition.expr, Some(&accu))? {
                        true => then,
                        false => otherwise,
                    };
                    return self.accumulated(comprehension, &chosen.expr, accumulated, local);
                }
                (op::ADD, [first, second]) if is_accumulator(&first.expr) => {
                    if let (Value::Array(items), Expr::List(list)) = (&mut accumulated, &second.expr) {
                        for element in &list.elements {
                            let value = self.value(&element.expr, Some(local))?;
                            items.push(self.owned(value)?);
                        }
                        return Ok(accumulated);
                    }
                }
                _ => {}
            }
        }
        let accu = Local { name: &comprehension.accu_var, value: &accumulated, outer: Some(local) };
        let value = self.value(step, Some(&accu))?;
        self.owned(value)
    }

    fn flag<'a>(
        &mut self,
        expression: &'a Expr,
        locals: Option<&'a Local<'a>>,
    ) -> Result<bool, EvaluationError>
    where
        'n: 'a,
    {
        let value = self.value(expression, locals)?;
        value.as_bool().ok_or_else(|| wrong("A condition is neither true nor false."))
    }

    fn call<'a>(&mut self, call: &'a CallExpr, locals: Option<&'a Local<'a>>) -> Found<'a>
    where
        'n: 'a,
    {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (op::CONDITIONAL, [condition, then, otherwise]) => {
                let chosen = if self.flag(&condition.expr, locals)? { then } else { otherwise };
                self.value(&chosen.expr, locals)
            }
            (op::LOGICAL_AND, [first, second]) => self.either(&first.expr, &second.expr, false, locals),
            (op::LOGICAL_OR, [first, second]) => self.either(&first.expr, &second.expr, true, locals),
            (op::NOT_STRICTLY_FALSE, [part]) => {
                let value = match self.value(&part.expr, locals) {
                    Ok(value) => value.as_bool() != Some(false),
                    Err(EvaluationError::TooLong) => return Err(EvaluationError::TooLong),
                    Err(EvaluationError::Wrong(_)) => true,
                };
                Ok(Cow::Owned(Value::Bool(value)))
            }
            (op::INDEX, [list, index]) => {
                let list = self.value(&list.expr, locals)?;
                let index = self.value(&index.expr, locals)?;
                indexed(list, &index)
            }
            (name, arguments) => {
                let mut values = Vec::with_capacity(arguments.len() + 1);
                for part in call.target.as_deref().into_iter().chain(arguments) {
                    values.push(self.value(&part.expr, locals)?);
                }
                let is_method = call.target.is_some();
                functions::call(self, name, is_method, &values).map(Cow::Owned)
            }
        }
    }

    /// `&&` and `||`: a side that decides does so whatever becomes of the other.
    fn either<'a>(
        &mut self,
        first: &'a Expr,
        second: &'a Expr,
        decisive: bool,
        locals: Option<&'a Local<'a>>,
    ) -> Found<'a>
    where
        'n: 'a,
    {
        let decided = Ok(Cow::Owned(Value::Bool(decisive)));
        let left = self.flag(first, locals);
        match left {
            Err(EvaluationError::TooLong) => return Err(EvaluationError::TooLong),
            Ok(flag) if flag == decisive => return decided,
            _ => {}
        }
        if self.flag(second, locals)? == decisive {
            return decided;
        }
        left.map(|flag| Cow::Owned(Value::Bool(flag)))
    }
}

fn indexed<'a>(list: Cow<'a, Value>, index: &Value) -> Found<'a> {
    let missing = || wrong("The list or object has nothing at this place.");
    match (list, index) {
        (Cow::Borrowed(value), Value::String(key)) => value.get(key).map(Cow::Borrowed).ok_or_else(missing),
        (Cow::Owned(value), Value::String(key)) => {
            value.get(key).cloned().map(Cow::Owned).ok_or_else(missing)
        }
        (list, Value::Number(number)) => {
            let place = number.as_u64().and_then(|place| usize::try_from(place).ok()).ok_or_else(missing)?;
            match list {
                Cow::Borrowed(value) => value.get(place).map(Cow::Borrowed).ok_or_else(missing),
                Cow::Owned(value) => value.get(place).cloned().map(Cow::Owned).ok_or_else(missing),
            }
        }
        _ => Err(wrong("A place in a list is a number, and in an object a text.")),
    }
}

/// About how many bytes a value has.
pub(crate) fn size_of_value(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 8,
        Value::Array(items) => size_of_list(items),
        Value::Object(fields) => {
            8 + fields.iter().map(|(key, value)| key.len() + 8 + size_of_value(value)).sum::<usize>()
        }
    }
}

fn size_of_list(items: &[Value]) -> usize {
    8 + items.iter().map(size_of_value).sum::<usize>()
}

/// How two numbers compare, whatever their types.
pub(crate) fn compared(one: &Number, other: &Number) -> Option<Ordering> {
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

pub(crate) fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// Whether two values are the same, where 1 and 1.0 are.
pub(crate) fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => compared(one, other) == Some(Ordering::Equal),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => one == other,
    }
}
