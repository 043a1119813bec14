//! The fields of a credential's `config`, as data, so that the form, the check and the documentation agree.

use std::borrow::Cow;

use domain::{AuthKind, Hosting, hosting};
use serde::Deserialize;

use crate::files::{AuthRow, ConfigRow};

/// The format of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigForm {
    /// The account's own name of each model, by the model's name.
    Names,
    /// A date, followed by `-preview` if it is one.
    Version,
    /// One name or id, without spaces.
    Word,
    /// A URL.
    Url,
}

/// The format of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretForm {
    /// One line of text.
    #[default]
    Text,
    /// A JSON object, as the cloud issues it.
    Json,
    /// There is none.
    None,
}

/// One field of a `config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigField {
    pub name: String,
    pub title: String,
    pub description: String,
    pub form: ConfigForm,
    pub required: bool,
    pub example: String,
}

/// An authentication method that a provider accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFacts {
    pub kind: AuthKind,
    pub title: String,
    /// What the secret is, and where to find it.
    pub description: String,
    pub secret: SecretForm,
    /// Fields of the `config` that it requires.
    pub required_fields: Vec<String>,
    /// Fields that only it may have.
    pub optional_fields: Vec<String>,
    /// It is the identity of the machine itself.
    pub host: bool,
    /// The minimum permission that it needs, in its cloud's notation.
    pub permission: Option<String>,
    /// The permission it also needs for batches in its owner's own storage.
    pub batch_permission: Option<String>,
}

impl ConfigField {
    /// `None` if nothing would read the field.
    pub(crate) fn of(name: String, row: ConfigRow) -> Option<Self> {
        let ConfigRow { title, says: description, form, required, example } = row;
        let is_read = match form {
            ConfigForm::Names => name == "deployments",
            ConfigForm::Version => name == "api_version",
            ConfigForm::Url => ["token_url", "queue_url", "storage_url"].contains(&name.as_str()),
            ConfigForm::Word => hosting::is_word(&name),
        };
        is_read.then_some(Self { name, title, description, form, required, example })
    }
}

impl AuthFacts {
    pub(crate) fn of(row: AuthRow) -> Self {
        let AuthRow {
            kind,
            title,
            says: description,
            secret,
            needs,
            takes,
            host,
            permission,
            batch_permission,
        } = row;
        Self {
            kind,
            title,
            description,
            secret,
            required_fields: needs,
            optional_fields: takes,
            host,
            permission,
            batch_permission,
        }
    }

    /// What a provider accepts by default: an API key.
    pub(crate) fn key() -> Self {
        Self {
            kind: AuthKind::ApiKey,
            title: "API key".to_owned(),
            description: "The key, as the provider shows it.".to_owned(),
            secret: SecretForm::Text,
            required_fields: Vec::new(),
            optional_fields: Vec::new(),
            host: false,
            permission: None,
            batch_permission: None,
        }
    }

    /// Whether it requires or accepts this field.
    pub fn names(&self, field: &str) -> bool {
        self.required_fields.iter().chain(&self.optional_fields).any(|name| name == field)
    }
}

/// Fills the words of a `config` into an address such as `https://{resource}.example.com`.
///
/// # Errors
/// The name of the missing word.
pub fn fill<'a>(address: &'a str, hosting: &Hosting) -> Result<Cow<'a, str>, &'a str> {
    // Most addresses have none, and this runs for every request.
    if !address.contains('{') {
        return Ok(address.into());
    }
    let mut filled = String::with_capacity(address.len() + 16);
    let mut rest = address;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').unwrap_or((after, ""));
        filled.push_str(before);
        // A word that is more than a DNS label could lead the secret to another host.
        let is_label = |word: &&str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        filled.push_str(hosting.word(name).filter(is_label).ok_or(name)?);
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled.into())
}
