//! Validates the provider-specific settings (`auth`, `config`, `region`) of a credential or an account
//! against the fields that its provider declares, and shows those as a JSON schema for forms.

use api::failure::{invalid, missing};
use api::state::Control;
use catalogue::{AuthFacts, ConfigField, ConfigForm, ProviderFacts, SecretForm};
use domain::hosting::StoragePlace;
use domain::{AuthKind, Fault, FaultClass, Hosting, WorkspaceId};
use egress::TargetKind;
use serde_json::{Map, Value, json};

use crate::limits::{CLOUD_ID_BYTES_MAX, DEPLOYMENT_NAME_BYTES_MAX, DEPLOYMENTS_MAX};

/// The requested settings of a credential or an account, as far as its provider constrains them.
#[derive(Clone, Copy)]
pub struct RequestedHosting<'a> {
    pub facts: Option<&'a ProviderFacts>,
    /// `None` for an account, which belongs to the operator.
    pub workspace: Option<WorkspaceId>,
    pub auth: Option<&'a str>,
    pub config: &'a Value,
    pub base_url: Option<&'a str>,
    pub region: Option<&'a str>,
}

/// The kind of authentication, if all settings fit together.
pub fn check(control: &Control, requested: &RequestedHosting<'_>) -> Result<AuthKind, Box<Fault>> {
    let auth = check_auth(requested.facts, requested.auth)?;
    let own = requested.facts.and_then(|facts| facts.auth(auth));
    if let (Some(workspace), true) = (requested.workspace, own.is_some_and(|own| own.host))
        && !control.web.egress.host_identity.contains(&workspace)
    {
        return Err(not_the_host(workspace));
    }
    check_config(requested.facts, own, requested.config)?;
    check_region(requested.region)?;
    for field in ["token_url", "queue_url", "storage_url"] {
        if let Some(url) = requested.config.get(field).and_then(Value::as_str) {
            egress::check_base_url(url, &control.web.egress, TargetKind::Provider)
                .map_err(|fault| Box::new(fault.param(format!("config.{field}"))))?;
        }
    }
    if let Some(path) = requested.config.get("token_file").and_then(Value::as_str)
        && !control.web.egress.may_read(path)
    {
        let message = format!("Tidegate can't read a token from {path}.");
        let fix = "The operator lists the file in TIDEGATE_TOKEN_FILES.";
        let fault = Fault::new(FaultClass::Forbidden, "token_file_not_allowed", message);
        return Err(Box::new(fault.param("config.token_file").fix(fix)));
    }
    if let Some(uri) = requested.config.get("batch_storage").and_then(Value::as_str)
        && StoragePlace::read(uri).is_none()
    {
        let fix = "Give a bucket and a prefix, as in s3://my-bucket/batches.";
        return Err(invalid("config.batch_storage", "config.batch_storage isn't a place in a storage.", fix));
    }
    check_address(requested)?;
    Ok(auth)
}

/// A provider unknown to the catalogue is a compatible server that takes an API key.
fn check_auth(facts: Option<&ProviderFacts>, auth: Option<&str>) -> Result<AuthKind, Box<Fault>> {
    let takes: Vec<AuthKind> = match facts {
        Some(facts) => facts.auths.iter().map(|auth| auth.kind).collect(),
        None => vec![AuthKind::ApiKey],
    };
    kind_of(facts, auth).filter(|kind| takes.contains(kind)).ok_or_else(|| {
        let names: Vec<&str> = takes.iter().map(|kind| kind.as_str()).collect();
        let provider = facts.map_or("a server of your own", |facts| &facts.display_name);
        let message =
            format!("auth \"{}\" isn't a kind that {provider} accepts here.", auth.unwrap_or_default());
        invalid("auth", message, format!("Use {}.", names.join(" or ")))
    })
}

/// The auth kind of this name; without one, the provider's default.
fn kind_of(facts: Option<&ProviderFacts>, auth: Option<&str>) -> Option<AuthKind> {
    let usual = || facts.and_then(|facts| facts.auths.first()).map_or(AuthKind::ApiKey, |auth| auth.kind);
    auth.map_or_else(|| Some(usual()), AuthKind::from_name)
}

fn not_the_host(workspace: WorkspaceId) -> Box<Fault> {
    let message =
        "This kind uses the identity of the machine that Tidegate runs on, which belongs to its operator.";
    let fix = format!(
        "The operator adds {workspace} to TIDEGATE_HOST_IDENTITY, or you use a kind with a secret of your own."
    );
    Box::new(Fault::new(FaultClass::Forbidden, "host_identity_not_allowed", message).param("auth").fix(fix))
}

/// The auth kind and the format of its secret; whether the provider accepts that kind is checked with the
/// rest.
pub fn secret_of(control: &Control, provider: &str, auth: Option<&str>) -> (AuthKind, SecretForm) {
    let snapshot = control.deps.keeper.current();
    let facts = snapshot.catalogue().provider(provider);
    let kind = kind_of(facts, auth).unwrap_or_default();
    (kind, facts.and_then(|facts| facts.auth(kind)).map_or(SecretForm::Text, |auth| auth.secret))
}

/// Where a secret is sent, as far as its owner configures it.
#[derive(Clone, PartialEq)]
pub struct Destination {
    base_url: Option<String>,
    token_url: Option<Value>,
    queue_url: Option<Value>,
    storage_url: Option<Value>,
    resource: Option<Value>,
}

impl Destination {
    pub fn of(base_url: Option<&String>, config: &Value) -> Self {
        let field = |name| config.get(name).cloned();
        Self {
            base_url: base_url.cloned(),
            token_url: field("token_url"),
            queue_url: field("queue_url"),
            storage_url: field("storage_url"),
            resource: field("resource"),
        }
    }
}

/// Where the provider declares no fields, `config` is free-form and not checked.
fn check_config(
    facts: Option<&ProviderFacts>,
    auth: Option<&AuthFacts>,
    config: &Value,
) -> Result<(), Box<Fault>> {
    let Some(facts) = facts.filter(|facts| !facts.config.is_empty()) else { return Ok(()) };
    let none = Map::new();
    let given = match config {
        Value::Null => &none,
        Value::Object(given) => given,
        _ => return Err(wrong("config", facts, "config isn't an object")),
    };
    if let Some(name) = given.keys().find(|name| facts.config.iter().all(|field| field.name != **name)) {
        return Err(wrong(&format!("config.{name}"), facts, &format!("{name} isn't a known field")));
    }
    for field in &facts.config {
        let path = format!("config.{}", field.name);
        let is_needed = auth.is_some_and(|auth| auth.required_fields.contains(&field.name));
        match given.get(&field.name) {
            None | Some(Value::Null) if field.required || is_needed => {
                return Err(missing(path, format!("{} For example: {}.", field.description, field.example)));
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
            is_filled && names.len() <= DEPLOYMENTS_MAX && are_names
        }
        (ConfigForm::Version, Value::String(text)) => is_version(text),
        (ConfigForm::Word, Value::String(text)) => is_word(text),
        // Whether it may be reached is checked later, with the other addresses.
        (ConfigForm::Url, Value::String(_)) => true,
        _ => false,
    };
    let takes = match field.form {
        ConfigForm::Names => {
            "an object of model names, each with a name of letters, digits, \"-\", \"_\" and \".\""
        }
        ConfigForm::Version => "a day, with \"-preview\" after it where it is one",
        ConfigForm::Word => "a name or an id, without spaces",
        ConfigForm::Url => "an address",
    };
    if is_fine {
        Ok(())
    } else {
        let fix = format!("Give {takes}. For example: {}.", field.example);
        Err(invalid(path.to_owned(), format!("{path} is not {takes}."), fix))
    }
}

fn wrong(path: &str, facts: &ProviderFacts, what: &str) -> Box<Fault> {
    let known: Vec<&str> = facts.config.iter().map(|field| field.name.as_str()).collect();
    let fix = format!("Give an object with {}.", known.join(", "));
    invalid(path.to_owned(), format!("{what} for {}.", facts.display_name), fix)
}

fn is_name(text: &str) -> bool {
    (1..=DEPLOYMENT_NAME_BYTES_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The value becomes part of URLs and forms.
fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@+=,".contains(&byte);
    (1..=CLOUD_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain) && !text.contains("..")
}

fn is_version(text: &str) -> bool {
    let day = text.strip_suffix("-preview").unwrap_or(text);
    let mut parts = day.split('-').map(str::len);
    [parts.next(), parts.next(), parts.next(), parts.next()] == [Some(4), Some(2), Some(2), None]
        && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// JSON schema of what a credential of this provider takes besides its name and address: the secret, and the
/// fields of its `config`.
pub fn schema(facts: &ProviderFacts, auth: &AuthFacts) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    let secret_schema = json!({"title": auth.title, "description": auth.description, "writeOnly": true});
    if let (true, Value::Object(mut secret)) = (auth.secret != SecretForm::None, secret_schema) {
        let kind = if auth.secret == SecretForm::Json { "object" } else { "string" };
        secret.insert("type".to_owned(), kind.into());
        properties.insert("secret".to_owned(), Value::Object(secret));
        required.push("secret");
    }
    // Fields that only other auth kinds use are left out.
    let others = || facts.auths.iter().filter(|other| other.kind != auth.kind);
    let is_visible =
        |field: &&ConfigField| auth.names(&field.name) || !others().any(|other| other.names(&field.name));
    for field in facts.config.iter().filter(is_visible) {
        let mut property =
            json!({"title": field.title, "description": field.description, "examples": [field.example]});
        if let Some(property) = property.as_object_mut() {
            match field.form {
                ConfigForm::Names => {
                    property.insert("type".to_owned(), "object".into());
                    property.insert("additionalProperties".to_owned(), json!({"type": "string"}));
                }
                ConfigForm::Url => {
                    property.insert("type".to_owned(), "string".into());
                    property.insert("format".to_owned(), "uri".into());
                }
                ConfigForm::Version | ConfigForm::Word => {
                    property.insert("type".to_owned(), "string".into());
                }
            }
        }
        properties.insert(field.name.clone(), property);
        if field.required || auth.required_fields.contains(&field.name) {
            required.push(&field.name);
        }
    }
    json!({"type": "object", "required": required, "properties": properties})
}

/// The region may become part of a URL, where other characters would change the destination.
fn check_region(region: Option<&str>) -> Result<(), Box<Fault>> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match region {
        Some(region) if region.is_empty() || !region.bytes().all(is_letter) => Err(invalid(
            "region",
            "A region's name is of letters, digits and hyphens.".to_owned(),
            "Name it as its provider does, such as eu-west-1.",
        )),
        _ => Ok(()),
    }
}

/// A provider with an address per customer needs `base_url`, or the parts that the address is built from.
fn check_address(requested: &RequestedHosting<'_>) -> Result<(), Box<Fault>> {
    let Some(facts) = requested.facts.filter(|facts| requested.base_url.is_none() && !facts.custom) else {
        return Ok(());
    };
    let configured: Hosting = serde_json::from_value(requested.config.clone()).unwrap_or_default();
    let hosting = Hosting { region: requested.region.map(str::to_owned), ..configured };
    match (facts.address(&hosting), facts.base_url_example.as_deref()) {
        (Ok(_), _) => Ok(()),
        (Err(_), Some(example)) => {
            Err(missing("base_url", format!("Give the address of your own resource, such as {example}.")))
        }
        (Err(Some("region")), None) => {
            Err(missing("region", format!("Name the region in which {} serves you.", facts.display_name)))
        }
        (Err(Some(word)), None) => {
            Err(missing(format!("config.{word}"), format!("The address of {} has it.", facts.display_name)))
        }
        // Stored before the provider can be called.
        (Err(None), None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catalogue::Catalogue;

    #[test]
    fn a_region_is_a_word() {
        for (region, is_fine) in [
            (None, true),
            (Some("eu-west-1"), true),
            (Some("global"), true),
            (Some(""), false),
            (Some("evil.example/"), false),
            (Some("eu west"), false),
        ] {
            assert_eq!(check_region(region).is_ok(), is_fine, "{region:?}");
        }
    }

    #[test]
    fn a_config_is_checked_by_the_fields_of_its_provider() {
        let catalogue = Catalogue::embedded().unwrap();
        let facts = catalogue.provider("azure_openai");
        let own = facts.and_then(|facts| facts.auth(AuthKind::ApiKey));
        let param = |config: Value| {
            check_config(facts, own, &config).err().map(|fault| fault.param.clone().unwrap().into_string())
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
        // For other providers `config` is free-form.
        assert!(check_config(catalogue.provider("openai"), None, &json!({"anything": 1})).is_ok());
    }

    #[test]
    fn an_address_is_given_or_made_of_what_is_said() {
        let catalogue = Catalogue::embedded().unwrap();
        let (none, resource) = (Value::Null, json!({"resource": "mine"}));
        let fault_param = |provider, config, base_url| {
            let facts = catalogue.provider(provider);
            let requested =
                RequestedHosting { facts, workspace: None, auth: None, config, base_url, region: None };
            check_address(&requested).err().map(|fault| fault.param.clone().unwrap().into_string())
        };
        assert_eq!(fault_param("azure_openai", &none, None).as_deref(), Some("base_url"));
        assert_eq!(fault_param("azure_openai", &none, Some("https://x.example")), None);
        assert_eq!(fault_param("azure_openai", &resource, None), None);
        assert_eq!(fault_param("openai", &none, None), None);
    }

    #[test]
    fn a_kind_is_one_that_the_provider_takes_and_needs_its_fields() {
        let catalogue = Catalogue::embedded().unwrap();
        let facts = catalogue.provider("azure_openai");
        assert_eq!(check_auth(facts, None).ok(), Some(AuthKind::ApiKey));
        assert_eq!(check_auth(facts, Some("oauth_client")).ok(), Some(AuthKind::OauthClient));
        let fault = check_auth(facts, Some("iam_static")).unwrap_err();
        assert_eq!(
            fault.fix.as_deref(),
            Some(
                "Use api_key or oauth_client or workload_identity or workload_identity_file or managed_identity."
            )
        );
        assert!(check_auth(None, Some("oauth_client")).is_err() && check_auth(None, Some("api_key")).is_ok());
        let own = facts.and_then(|facts| facts.auth(AuthKind::OauthClient));
        let lacking = json!({"deployments": {"m": "n"}, "tenant_id": "t"});
        let fault = check_config(facts, own, &lacking).unwrap_err();
        assert_eq!(fault.param.as_deref(), Some("config.client_id"));
        let spaced = json!({"deployments": {"m": "n"}, "tenant_id": "a b", "client_id": "c"});
        assert_eq!(check_config(facts, own, &spaced).unwrap_err().param.as_deref(), Some("config.tenant_id"));
    }

    #[test]
    fn a_form_shows_the_fields_of_its_kind() {
        let catalogue = Catalogue::embedded().unwrap();
        let facts = catalogue.provider("azure_openai").unwrap();
        let fields = |kind| {
            let schema = schema(facts, facts.auth(kind).unwrap());
            let names = schema["properties"].as_object().unwrap().keys().cloned();
            (names.collect::<Vec<_>>(), schema["required"].clone())
        };
        let (names, required) = fields(AuthKind::ApiKey);
        assert_eq!(names, ["secret", "api_version", "deployments", "resource"]);
        assert_eq!(required, json!(["secret", "deployments"]));
        let (names, required) = fields(AuthKind::ManagedIdentity);
        assert!(names.contains(&"client_id".to_owned()) && !names.contains(&"secret".to_owned()));
        assert_eq!(required, json!(["deployments"]));
    }
}
