//! What a credential or an account says of itself beside its address: checked against the fields that its provider has,
//! and shown as the schema of a form.

use catalogue::{ConfigField, ConfigForm, ProviderFacts};
use domain::Fault;
use serde_json::{Map, Value, json};

use crate::failure::{invalid, missing};

/// A deployment's name stands in addresses.
const NAME_BYTES_MAX: usize = 64;
const NAMES_MAX: usize = 1_000;

/// Where a provider has no fields, a `config` is its owner's own affair.
pub fn check(facts: Option<&ProviderFacts>, config: &Value) -> Result<(), Box<Fault>> {
    let Some(facts) = facts.filter(|facts| !facts.config.is_empty()) else { return Ok(()) };
    let none = Map::new();
    let given = match config {
        Value::Null => &none,
        Value::Object(given) => given,
        _ => return Err(wrong("config", facts, "config is no object")),
    };
    if let Some(name) = given.keys().find(|name| facts.config.iter().all(|field| field.name != **name)) {
        return Err(wrong(&format!("config.{name}"), facts, &format!("{name} is nothing that is read")));
    }
    for field in &facts.config {
        let path = format!("config.{}", field.name);
        match given.get(&field.name) {
            None | Some(Value::Null) if field.required => {
                return Err(missing(path, format!("{} For example: {}.", field.says, field.example)));
            }
            None | Some(Value::Null) => {}
            Some(value) => check_one(&path, field, value)?,
        }
    }
    Ok(())
}

fn check_one(path: &str, field: &ConfigField, value: &Value) -> Result<(), Box<Fault>> {
    let is_fine = match (field.form, value) {
        (ConfigForm::Names, Value::Object(names)) => {
            let is_filled = !field.required || !names.is_empty();
            let are_names =
                names.iter().all(|(model, name)| !model.is_empty() && name.as_str().is_some_and(is_name));
            is_filled && names.len() <= NAMES_MAX && are_names
        }
        (ConfigForm::Version, Value::String(text)) => is_version(text),
        _ => false,
    };
    let takes = match field.form {
        ConfigForm::Names => {
            "an object of model names, each with a name of letters, digits, \"-\", \"_\" and \".\""
        }
        ConfigForm::Version => "a day, with \"-preview\" after it where it is one",
    };
    match is_fine {
        true => Ok(()),
        false => {
            let fix = format!("Give {takes}. For example: {}.", field.example);
            Err(invalid(path.to_owned(), format!("{path} is not {takes}."), fix))
        }
    }
}

fn wrong(path: &str, facts: &ProviderFacts, what: &str) -> Box<Fault> {
    let known: Vec<&str> = facts.config.iter().map(|field| field.name.as_str()).collect();
    let fix = format!("Give an object with {}.", known.join(", "));
    invalid(path.to_owned(), format!("{what} for {}.", facts.display_name), fix)
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn is_version(text: &str) -> bool {
    let day = text.strip_suffix("-preview").unwrap_or(text);
    let mut parts = day.split('-').map(str::len);
    [parts.next(), parts.next(), parts.next(), parts.next()] == [Some(4), Some(2), Some(2), None]
        && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// What a credential of this provider takes beside its name and address: the secret, and the fields of its `config`.
pub fn schema(facts: &ProviderFacts) -> Value {
    let mut properties =
        Map::from_iter([("secret".to_owned(), json!({"type": "string", "writeOnly": true}))]);
    let mut required = vec!["secret"];
    for field in &facts.config {
        let mut property =
            json!({"title": field.title, "description": field.says, "examples": [field.example]});
        if let Some(property) = property.as_object_mut() {
            match field.form {
                ConfigForm::Names => {
                    property.insert("type".to_owned(), "object".into());
                    property.insert("additionalProperties".to_owned(), json!({"type": "string"}));
                }
                ConfigForm::Version => {
                    property.insert("type".to_owned(), "string".into());
                }
            }
        }
        properties.insert(field.name.clone(), property);
        if field.required {
            required.push(&field.name);
        }
    }
    json!({"type": "object", "required": required, "properties": properties})
}

/// Whose customers have each an address of their own needs it.
pub fn check_address(facts: Option<&ProviderFacts>, has_address: bool) -> Result<(), Box<Fault>> {
    match facts.and_then(|facts| facts.base_url_example.as_deref()) {
        Some(example) if !has_address => {
            Err(missing("base_url", format!("Give the address of your own resource, such as {example}.")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catalogue::Catalogue;

    #[test]
    fn a_config_is_checked_by_the_fields_of_its_provider() {
        let catalogue = Catalogue::embedded().unwrap();
        let facts = catalogue.provider("azure_openai");
        let param = |config: Value| {
            check(facts, &config).err().map(|fault| fault.param.clone().unwrap().into_owned())
        };
        assert_eq!(param(json!({"deployments": {"openai/gpt-4o": "mine"}})), None);
        let whole = json!({"deployments": {"gpt-4o": "a.b-C_1"}, "api_version": "2024-10-01-preview"});
        assert_eq!(param(whole), None);
        for (config, wrong) in [
            (Value::Null, "config.deployments"),
            (json!({"deployments": {}}), "config.deployments"),
            (json!({"deployments": {"m": "../x"}}), "config.deployments"),
            (json!({"deployments": {"m": ""}}), "config.deployments"),
            (json!({"deployments": "m"}), "config.deployments"),
            (json!({"deployments": {"m": "n"}, "api_version": "latest"}), "config.api_version"),
            (json!({"deployments": {"m": "n"}, "apiVersion": "2024-10-21"}), "config.apiVersion"),
            (json!([]), "config"),
        ] {
            assert_eq!(param(config.clone()).as_deref(), Some(wrong), "{config}");
        }
        // Of others a config is their owner's own.
        assert!(check(catalogue.provider("openai"), &json!({"anything": 1})).is_ok());
        assert!(check_address(facts, false).is_err() && check_address(facts, true).is_ok());
        assert!(check_address(catalogue.provider("openai"), false).is_ok());
    }
}
