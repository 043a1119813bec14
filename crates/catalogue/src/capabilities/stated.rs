//! What an operator states of a provider in place of ours: single facts of all its models, or of some by name.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::facts::{Fact, Facts};
use super::wrong_name;
use crate::limits::{SOURCE_CHARS_MAX, STATED_MODELS_MAX};
use crate::nearest_of;
use crate::source::{OPERATOR, UNVERIFIED, is_day};

/// What is stated of one provider, and the day of the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedCapabilities {
    /// The canonical slug.
    pub provider: String,
    pub facts: StatedFacts,
    pub day: String,
}

/// The facts that are stated; what is not among them stays as it is built in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StatedFacts {
    /// Of all models of the provider.
    pub facts: Facts,
    /// Of models by their names, or by what these begin with.
    pub models: BTreeMap<String, Facts>,
}

/// What is wrong with a statement, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct WrongStatement {
    /// As `models.gpt-4o.batch_api_supported`.
    pub field: String,
    pub message: String,
}

/// Whether what can't be read is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    Refused,
    /// A newer version of this program wrote it.
    Ignored,
}

/// A fact as it is stated. Without a source it is the operator's own word.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FactForm<T> {
    value: Option<T>,
    source: Option<String>,
    checked: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default)]
    facts: BTreeMap<String, Value>,
    #[serde(default)]
    models: BTreeMap<String, BTreeMap<String, Value>>,
}

impl WrongStatement {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    pub(super) fn of_no_fact(name: &str, known: &[&str]) -> Self {
        let near = nearest_of(name, known.iter().copied(), 1);
        let hint = near.first().map_or_else(
            || "GET /v2/capabilities lists the facts".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        Self::new(name, format!("there is no such fact; {hint}"))
    }

    fn within(self, place: &str) -> Self {
        Self { field: format!("{place}.{}", self.field), ..self }
    }
}

/// One fact, with its source and the day it was read there.
pub(super) fn stated<T: DeserializeOwned>(
    name: &str,
    value: Value,
    day: &str,
) -> Result<Fact<T>, WrongStatement> {
    let form: FactForm<T> =
        serde_json::from_value(value).map_err(|error| WrongStatement::new(name, error.to_string()))?;
    let source = form.source.unwrap_or_else(|| OPERATOR.to_owned());
    if source.is_empty() || source.chars().count() > SOURCE_CHARS_MAX {
        let message = format!("source is where it was read, in at most {SOURCE_CHARS_MAX} characters");
        return Err(WrongStatement::new(name, message));
    }
    if (source == UNVERIFIED) != form.value.is_none() {
        let message = "has a value, or source = \"unverified\" alone where nobody knows it";
        return Err(WrongStatement::new(name, message));
    }
    let checked = match form.checked {
        Some(checked) if !is_day(&checked) => {
            return Err(WrongStatement::new(name, "checked is a day, as \"2026-11-20\""));
        }
        _ if source == UNVERIFIED => String::new(),
        checked => checked.unwrap_or_else(|| day.to_owned()),
    };
    Ok(Fact::new(form.value, source, checked))
}

impl StatedFacts {
    /// Reads a statement of this day.
    ///
    /// # Errors
    /// A fact or a name of it is wrong.
    pub fn read(statement: Value, day: &str) -> Result<Self, WrongStatement> {
        let stated = Self::read_form(statement, day, Unknown::Refused)?;
        stated.check()?;
        Ok(stated)
    }

    /// Reads a stored statement. A fact that is not known here, since a newer version wrote it, says nothing.
    pub fn of_stored(text: &str) -> Self {
        let statement = serde_json::from_str(text).unwrap_or_default();
        Self::read_form(statement, "", Unknown::Ignored).unwrap_or_default()
    }

    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.models.is_empty()
    }

    /// The facts that are stated, behind the names of the models that they are of.
    pub fn names(&self) -> Vec<String> {
        let of = |facts: &Facts, place: &str| -> Vec<String> {
            facts.readings().iter().map(|(name, ..)| format!("{place}{name}")).collect()
        };
        let of_models = self.models.iter().flat_map(|(name, facts)| of(facts, &format!("{name} ")));
        of(&self.facts, "").into_iter().chain(of_models).collect()
    }

    fn read_form(statement: Value, day: &str, unknown: Unknown) -> Result<Self, WrongStatement> {
        let form: Form = serde_json::from_value(statement)
            .map_err(|error| WrongStatement::new("body", error.to_string()))?;
        let facts = Facts::read_stated(form.facts, day, unknown).map_err(|wrong| wrong.within("facts"))?;
        let mut models = BTreeMap::new();
        for (name, facts) in form.models {
            let read = Facts::read_stated(facts, day, unknown);
            let read = read.map_err(|wrong| wrong.within(&format!("models.{name}")))?;
            models.insert(name, read);
        }
        models.retain(|_, facts| !facts.is_empty());
        Ok(Self { facts, models })
    }

    fn check(&self) -> Result<(), WrongStatement> {
        if self.models.len() > STATED_MODELS_MAX {
            return Err(WrongStatement::new("models", format!("has more than {STATED_MODELS_MAX} names")));
        }
        check_facts(&self.facts).map_err(|wrong| wrong.within("facts"))?;
        for (name, facts) in &self.models {
            let place = format!("models.{name}");
            if let Some(message) = wrong_name(name) {
                return Err(WrongStatement::new(place, message));
            }
            // Which of them is asked is decided before the model is.
            if facts.grammars.is_some() {
                return Err(WrongStatement::new(place, "grammars are the provider's, for all of its models"));
            }
            check_facts(facts).map_err(|wrong| wrong.within(&place))?;
        }
        Ok(())
    }
}

fn check_facts(facts: &Facts) -> Result<(), WrongStatement> {
    if let Some(name) = facts.wrong_share() {
        return Err(WrongStatement::new(name, "is more than 100"));
    }
    match &facts.grammars {
        Some(fact) if fact.value().is_none_or(Vec::is_empty) => {
            Err(WrongStatement::new("grammars", "a provider speaks one at least"))
        }
        _ => Ok(()),
    }
}
