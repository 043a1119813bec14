//! What an operator states of a provider in place of ours: single facts of all its models, or of some by name.

use std::collections::BTreeMap;
use std::fmt;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongStatement {
    /// As `models.gpt-4o.batch_api_supported`.
    pub field: String,
    pub message: String,
}

impl fmt::Display for WrongStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for WrongStatement {}

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
    #[must_use]
    pub fn of_stored(text: &str) -> Self {
        let statement = serde_json::from_str(text).unwrap_or_default();
        Self::read_form(statement, "", Unknown::Ignored).unwrap_or_default()
    }

    /// Whether nothing is stated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.models.is_empty()
    }

    /// The facts that are stated, behind the names of the models that they are of.
    #[must_use]
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Capability, Catalogue};

    fn stated(provider: &str, statement: Value, day: &str) -> StatedCapabilities {
        let facts = StatedFacts::read(statement, day).unwrap();
        StatedCapabilities { provider: provider.to_owned(), facts, day: day.to_owned() }
    }

    #[test]
    fn what_is_stated_holds_in_place_of_ours() {
        let base = Catalogue::embedded().unwrap();
        let statement = json!({
            "facts": {"batch_api_supported": {"value": false}},
            "models": {
                "gpt-4o*": {"batch_api_supported": {"value": true, "source": "a letter", "checked": "2026-11-01"}},
                "gpt-6*": {"prompt_cache_min_tokens": {"source": "unverified"}},
            },
        });
        let catalogue = base.with_stated(&[stated("openai", statement, "2026-12-01")]);
        let manifest = catalogue.capabilities();
        for (model, is_denied) in [("gpt-4.1", true), ("gpt-4o-mini", false), ("gpt-6-astra", true)] {
            assert_eq!(manifest.denies("openai", model, Capability::Batch), is_denied, "{model}");
        }
        assert!(!base.capabilities().denies("openai", "gpt-4.1", Capability::Batch));
        assert_eq!(
            manifest.cache_facts("openai", "gpt-6-astra").tokens_min,
            None,
            "nobody knows it any more"
        );
        assert_eq!(manifest.cache_facts("openai", "gpt-4.1").tokens_min, Some(1_024), "ours");
        let facts = manifest.provider("openai").unwrap().facts_of("gpt-4.1");
        let fact = facts.batch_api_supported.unwrap();
        assert_eq!((fact.source(), fact.checked()), ("operator", "2026-12-01"));
        assert_eq!(catalogue.with_stated(&[]).capabilities(), base.capabilities(), "and the way back");
    }

    #[test]
    fn a_revision_is_its_content_and_its_day() {
        let base = Catalogue::embedded().unwrap();
        let revisions = |value: u64, day: &str| {
            let statement =
                json!({"facts": {"prompt_cache_min_tokens": {"value": value, "checked": "2026-11-01"}}});
            let catalogue = base.with_stated(&[stated("openai", statement, day)]);
            let manifest = catalogue.capabilities();
            let of = |slug: &str| manifest.provider(slug).unwrap().revision().to_owned();
            (manifest.revision().to_owned(), of("openai"), of("anthropic"))
        };
        let one = revisions(512, "2026-12-01");
        assert_eq!(one, revisions(512, "2026-12-01"));
        assert!(one.0.starts_with("cap_2026_12_01_") && one.1.starts_with("cap_2026_12_01_"), "{one:?}");
        let other = revisions(256, "2026-12-01");
        assert_ne!((&one.0, &one.1), (&other.0, &other.1));
        assert_eq!(one.2, other.2, "nobody stated anything of another provider");
        let later = revisions(512, "2026-12-02");
        assert!(later.1.starts_with("cap_2026_12_02_"), "{later:?}");
    }

    #[test]
    fn a_provider_that_nobody_read_of_can_be_stated() {
        let base = Catalogue::embedded().unwrap();
        let statement = json!({"facts": {"refuses_sampling": {"value": true}}});
        let catalogue = base.with_stated(&[stated("nebius", statement, "2026-12-01")]);
        assert!(catalogue.abilities("nebius", "any").refuses_sampling);
        assert_eq!(catalogue.grammars("nebius"), [domain::Grammar::Chat]);
    }

    #[test]
    fn a_wrong_statement_names_its_field() {
        for (statement, field, message) in [
            (
                json!({"facts": {"batch_api_support": {"value": true}}}),
                "facts.batch_api_support",
                "did you mean batch_api_supported?",
            ),
            (json!({"facts": {"vision": {"value": "yes"}}}), "facts.vision", "expected a boolean"),
            (json!({"facts": {"vision": true}}), "facts.vision", "invalid type"),
            (json!({"facts": {"vision": {"value": true, "sauce": "x"}}}), "facts.vision", "unknown field"),
            (json!({"facts": {"vision": {}}}), "facts.vision", "has a value"),
            (
                json!({"facts": {"vision": {"value": true, "source": "unverified"}}}),
                "facts.vision",
                "has a value",
            ),
            (json!({"facts": {"vision": {"value": true, "checked": "soon"}}}), "facts.vision", "is a day"),
            (
                json!({"facts": {"prompt_cache_discount_pct": {"value": 101}}}),
                "facts.prompt_cache_discount_pct",
                "more than 100",
            ),
            (json!({"facts": {"grammars": {"value": []}}}), "facts.grammars", "one at least"),
            (json!({"facts": {"purge": {"value": "magic"}}}), "facts.purge", "unknown variant"),
            (json!({"models": {"a/b": {"vision": {"value": true}}}}), "models.a/b", "without a path"),
            (json!({"models": {"*": {"vision": {"value": true}}}}), "models.*", "without a path"),
            (json!({"models": {"a": {"grammars": {"value": ["chat"]}}}}), "models.a", "are the provider's"),
            (json!({"models": {"a": {"vision": {"value": 1}}}}), "models.a.vision", "expected a boolean"),
            (json!({"facts": {}, "more": 1}), "body", "unknown field"),
        ] {
            let wrong = StatedFacts::read(statement, "2026-12-01").unwrap_err();
            assert_eq!(wrong.field, field, "{wrong}");
            assert!(wrong.message.contains(message), "{wrong}");
        }
    }

    #[test]
    fn what_a_newer_version_stated_says_nothing_here() {
        let text = r#"{"facts": {"telepathy": {"value": true}, "vision": {"value": true, "source": "x", "checked": "2026-11-01"}}}"#;
        let read = StatedFacts::of_stored(text);
        assert_eq!(read.facts.vision.as_ref().and_then(Fact::value), Some(&true));
        assert_eq!(StatedFacts::of_stored(&serde_json::to_string(&read).unwrap()), read, "as it is written");
        assert!(StatedFacts::of_stored("[]").is_empty());
    }
}
