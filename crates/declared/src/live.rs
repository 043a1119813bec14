//! The objects of a workspace in the form of a document: names instead of ids, and no default values.

use std::collections::HashMap;

use domain::Weekdays;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::document::WORKSPACE;
use super::kinds::{Field, Form, KINDS, Kind};
use cli::api::{Api, field as text_of};
use cli::output::{self, Failure};

/// The member of `metadata` that says what manages an object.
pub const MANAGED_BY: &str = "managed_by";
pub const APPLY: &str = "tidegate apply";

/// An existing object.
#[derive(Debug, Clone)]
pub struct Live {
    pub kind: &'static Kind,
    pub id: String,
    pub label: String,
    /// In the form of a document.
    pub fields: Map<String, Value>,
    /// Whether `apply` created it or took it over.
    pub is_applied: bool,
}

/// Names by id, and ids by name.
#[derive(Debug, Default)]
pub struct Names {
    labels: HashMap<String, String>,
    ids: HashMap<(&'static str, String), Vec<String>>,
    providers: HashMap<String, String>,
}

impl Names {
    pub fn learn(&mut self, kind: &'static Kind, label: &str, id: &str) {
        self.labels.insert(id.to_owned(), label.to_owned());
        self.ids.entry((kind.noun, label.to_owned())).or_default().push(id.to_owned());
    }

    /// The ids of the objects of this name.
    pub fn ids(&self, noun: &'static str, label: &str) -> &[String] {
        self.ids.get(&(noun, label.to_owned())).map_or(&[], Vec::as_slice)
    }

    fn label(&self, id: &Value) -> Value {
        let known = id.as_str().and_then(|id| self.labels.get(id));
        known.map_or_else(|| id.clone(), |label| Value::from(label.as_str()))
    }

    fn provider(&self, name: &str) -> String {
        self.providers.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    /// The canonical form of a value, for comparison.
    pub fn settled(&self, form: Form, value: &Value) -> Value {
        let each = |change: &dyn Fn(&str) -> String| {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            let mut texts: Vec<_> =
                items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), change)).collect();
            texts.sort();
            Value::from(texts)
        };
        let text = |change: &dyn Fn(&str) -> String| {
            value.as_str().map_or_else(|| value.clone(), |text| Value::from(change(text)))
        };
        match form {
            Form::Set if value.is_array() => each(&str::to_owned),
            Form::Blocks if value.is_array() => each(&whole_block),
            Form::Address => text(&|text| text.trim_end_matches('/').to_owned()),
            Form::Moment => text(&|text| unix_ms(text).map_or_else(|| text.to_owned(), |ms| ms.to_string())),
            Form::Provider => text(&|text| self.provider(text)),
            Form::Scope => self.settled_scope(value),
            Form::Targets => settled_targets(value),
            Form::Conditions => settled_conditions(value),
            Form::Windows => settled_windows(value),
            Form::Status(one, others) => {
                text(&|text| if others.contains(&text) { one.to_owned() } else { text.to_owned() })
            }
            _ => value.clone(),
        }
    }

    fn settled_scope(&self, value: &Value) -> Value {
        let Some(members) = value.as_object() else { return value.clone() };
        let mut sorted: Vec<_> = members.iter().filter(|(_, value)| !value.is_null()).collect();
        sorted.sort_by_key(|(name, _)| *name);
        let settle = |(name, value): (&String, &Value)| {
            let settled = match (name.as_str(), value.as_str()) {
                ("model", Some(model)) => Value::from(model.trim_end_matches('*')),
                ("provider", Some(provider)) => Value::from(self.provider(provider)),
                _ => value.clone(),
            };
            (name.clone(), settled)
        };
        Value::Object(sorted.into_iter().map(settle).collect())
    }

    /// The name of an object among its kind.
    pub fn label_of(&self, kind: &Kind, fields: &Map<String, Value>) -> String {
        let parts = kind.identity.iter().filter_map(|name| {
            let form = kind.field(name)?.form;
            let value = self.settled(form, fields.get(*name)?);
            Some(match (form, &value) {
                (Form::Conditions, Value::Object(members)) if members.is_empty() => return None,
                (Form::Scope, Value::Object(members)) if members.is_empty() => "default".to_owned(),
                (Form::Scope, Value::Object(members)) => {
                    let texts: Vec<_> = members
                        .iter()
                        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
                        .collect();
                    texts.join(" ")
                }
                (_, Value::String(text)) => text.clone(),
                (_, other) => other.to_string(),
            })
        });
        let label = parts.collect::<Vec<_>>().join("/");
        // Only what belongs to the whole workspace has nothing to be told by.
        if label.is_empty() { WORKSPACE.to_owned() } else { label }
    }
}

/// Conditions with their defaults, without what is not set, in the order of their names.
fn settled_conditions(value: &Value) -> Value {
    let Some(members) = value.as_object() else { return value.clone() };
    let mut sorted: Vec<_> = members.iter().filter(|(_, value)| !value.is_null()).collect();
    sorted.sort_by_key(|(name, _)| *name);
    let settle = |(name, value): (&String, &Value)| {
        let settled = if name == "time" { settled_window(value) } else { value.clone() };
        (name.clone(), settled)
    };
    Value::Object(sorted.into_iter().map(settle).collect())
}

fn settled_window(value: &Value) -> Value {
    let Some(members) = value.as_object() else { return value.clone() };
    let text = |name: &str, usual: &str| {
        let set = members.get(name).and_then(Value::as_str).unwrap_or(usual);
        // The end of a day is the beginning of the next.
        if set == "24:00" { "00:00".to_owned() } else { set.to_owned() }
    };
    let named = members.get("weekdays").and_then(Value::as_array);
    let is_named = |day: &str| named.is_none_or(|days| days.iter().any(|named| named == day));
    let weekdays: Vec<_> = Weekdays::NAMES.into_iter().filter(|day| is_named(day)).collect();
    json!({
        "from": text("from", "00:00"), "to": text("to", "00:00"), "utc_offset": text("utc_offset", "+00:00"), "weekdays": weekdays,
    })
}

/// Windows without fields that are null, and with comparable starts.
fn settled_windows(value: &Value) -> Value {
    let mut windows = value.clone();
    for fields in windows.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        fields.retain(|_, value| !value.is_null());
        let start = fields.get("starts_at").and_then(Value::as_str).and_then(unix_ms);
        if let Some(ms) = start {
            fields.insert("starts_at".to_owned(), ms.to_string().into());
        }
    }
    windows
}

fn whole_block(block: &str) -> String {
    match block.parse::<std::net::IpAddr>() {
        Ok(address) if address.is_ipv4() => format!("{block}/32"),
        Ok(_) => format!("{block}/128"),
        Err(_) => block.to_owned(),
    }
}

fn unix_ms(text: &str) -> Option<i128> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    OffsetDateTime::parse(&whole, &Rfc3339).ok().map(|moment| moment.unix_timestamp_nanos() / 1_000_000)
}

/// The objects of a workspace.
#[derive(Debug, Default)]
pub struct Workspace {
    pub objects: Vec<Live>,
    pub names: Names,
    /// Kinds that this key may not see.
    pub unseen: Vec<&'static str>,
}

/// Reads all kinds, including the operator's if this key may.
pub fn read(api: &Api) -> Result<Workspace, Failure> {
    let mut workspace = Workspace::default();
    let kinds = api.get("/v2/provider-credentials/kinds")?;
    for kind in kinds.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
        let slug = text_of(kind, "provider");
        let synonyms = kind.get("synonyms").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for synonym in synonyms.iter().filter_map(Value::as_str) {
            workspace.names.providers.insert(synonym.to_owned(), slug.clone());
        }
    }
    for kind in KINDS {
        let rows = match api.get_all(kind.path) {
            Err(refused) if kind.of_operator && refused.code == output::FORBIDDEN => {
                workspace.unseen.push(kind.noun);
                continue;
            }
            rows => rows?,
        };
        for row in rows.iter().filter(|row| !is_over(kind, row)) {
            let live = live(kind, row, &workspace.names);
            workspace.names.learn(kind, &live.label, &live.id);
            workspace.objects.push(live);
        }
    }
    Ok(workspace)
}

fn is_over(kind: &Kind, row: &Value) -> bool {
    kind.ended_values.iter().any(|(field, value)| row.get(field).and_then(Value::as_str) == Some(value))
}

/// Converts an object of `/v2` to the form of a document.
pub fn live(kind: &'static Kind, row: &Value, names: &Names) -> Live {
    let mut fields = Map::new();
    for field in kind.fields {
        let value = field_value(field, row, names);
        let is_named = kind.identity.contains(&field.name) && field.form != Form::Conditions;
        let is_written = is_named || value != field.usual_value();
        if is_written && !value.is_null() {
            fields.insert(field.name.to_owned(), value);
        }
    }
    let mark = row.pointer(&format!("/metadata/{MANAGED_BY}"));
    Live {
        kind,
        id: text_of(row, "id"),
        label: names.label_of(kind, &fields),
        is_applied: mark.and_then(Value::as_str) == Some(APPLY),
        fields,
    }
}

fn field_value(field: &Field, row: &Value, names: &Names) -> Value {
    let found = field.path.iter().try_fold(row, |value, name| value.get(name));
    let value = found.cloned().unwrap_or_default();
    match (field.form, value) {
        (Form::Name(_), id) => names.label(&id),
        (Form::Prefixed(prefix, _), Value::String(word)) => match word.strip_prefix(prefix) {
            Some(id) => match names.label(&Value::from(id)) {
                Value::String(label) => Value::from(format!("{prefix}{label}")),
                other => other,
            },
            None => Value::from(word),
        },
        (Form::Names(_), Value::Array(ids)) => ids.iter().map(|id| names.label(id)).collect(),
        (Form::Scope, Value::Object(members)) => Value::Object(
            members
                .iter()
                .map(|(name, value)| match name.as_str() {
                    "project_id" => ("project".to_owned(), names.label(value)),
                    "key_id" => ("key".to_owned(), names.label(value)),
                    _ => (name.clone(), value.clone()),
                })
                .collect(),
        ),
        (Form::Status(..), value) => names.settled(field.form, &value),
        (Form::DeclaredModels, _) if row.get("models_declared") != Some(&Value::Bool(true)) => Value::Null,
        (_, Value::Object(mut members)) if field.name == "metadata" => {
            members.remove(MANAGED_BY);
            if members.is_empty() { Value::Null } else { Value::Object(members) }
        }
        (_, value) => value,
    }
}

/// A target without a weight has the weight 1.
fn settled_targets(value: &Value) -> Value {
    let whole = |target: &Value| match target.as_object() {
        Some(fields) if !fields.contains_key("weight") => {
            let weight = ("weight".to_owned(), Value::from(1));
            Value::Object(fields.clone().into_iter().chain([weight]).collect())
        }
        _ => target.clone(),
    };
    value.as_array().map_or_else(|| value.clone(), |targets| targets.iter().map(whole).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_told_as_names_and_the_usual_is_not_told() {
        let mut names = Names::default();
        names.learn(Kind::by_noun("project").unwrap(), "web", "prj_1");
        names.learn(Kind::by_noun("credential").unwrap(), "ours", "pcr_1");
        let row = json!({"id": "rte_1", "scope": {"project_id": "prj_1", "model": "openai/"}, "profiles": ["byok"], "credential_ids": ["pcr_1"],
            "byok_fallback": "never", "fallback_on": [], "regions": []});
        let route = live(Kind::by_noun("route").unwrap(), &row, &names);
        assert_eq!(
            Value::from(route.fields),
            json!({"scope": {"project": "web", "model": "openai/"}, "profiles": ["byok"], "credentials": ["ours"]})
        );
        assert_eq!(route.label, "model=openai/ project=web");
        let row = json!({"id": "node_1", "name": "rack", "base_url": "http://x/v1", "models": ["a"], "models_declared": false, "status": "unreachable",
            "labels": [], "metadata": {"managed_by": "tidegate apply"}});
        let node = live(Kind::by_noun("node").unwrap(), &row, &names);
        assert!(node.is_applied);
        assert_eq!(Value::from(node.fields), json!({"name": "rack", "base_url": "http://x/v1"}));
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        let mut names = Names::default();
        names.providers.insert("google".into(), "gemini".into());
        for (form, one, other) in [
            (Form::Set, json!(["b", "a"]), json!(["a", "b"])),
            (Form::Address, json!("http://x/v1/"), json!("http://x/v1")),
            (Form::Blocks, json!(["10.0.0.1", "::1"]), json!(["::1/128", "10.0.0.1/32"])),
            (Form::Moment, json!("2026-11-20"), json!("2026-11-20T00:00:00.000Z")),
            (Form::Provider, json!("google"), json!("gemini")),
            (
                Form::Scope,
                json!({"model": "x/*", "provider": "google"}),
                json!({"provider": "gemini", "model": "x/", "tag": null}),
            ),
            (Form::Targets, json!([{"model": "a"}]), json!([{"weight": 1, "model": "a"}])),
        ] {
            assert_eq!(names.settled(form, &one), names.settled(form, &other), "{one}");
        }
        assert_ne!(
            names.settled(Form::Plain, &json!(["b", "a"])),
            names.settled(Form::Plain, &json!(["a", "b"]))
        );
    }
}
