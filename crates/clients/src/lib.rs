//! The tools that people point at a gateway: how each is set up, what its settings file gets, and which test drives it.
//!
//! The data is `clients.toml`. The console's page Connect and docs/clients.md are written from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

const TABLE: &str = include_str!("../clients.toml");

/// All of `clients.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clients {
    /// Above the list, in docs/clients.md.
    pub intro: String,
    /// Below it.
    pub outro: String,
    /// In the order in which they are shown.
    #[serde(rename = "client")]
    pub clients: Vec<Client>,
}

/// One tool.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    pub id: String,
    pub name: String,
    pub group: String,
    /// What somebody who sets it up should know, in Markdown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The program of a command-line tool.
    #[serde(default, skip_serializing)]
    pub command: Option<String>,
    /// What it reads from the environment.
    #[serde(default, skip_serializing)]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing)]
    pub settings: Option<SettingsFile>,
    #[serde(rename = "snippet")]
    pub snippets: Vec<Snippet>,
    /// The files of the tests that drive this very tool.
    pub tests: Vec<String>,
}

/// The file in which a tool keeps its settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsFile {
    /// Below the home directory, with `~`.
    pub path: String,
    /// The variable that names another folder for the file.
    #[serde(default)]
    pub folder_env: Option<String>,
    pub format: Format,
    pub set: Vec<Setting>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Json,
    Toml,
}

/// One value and its place in a settings file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    pub path: Vec<String>,
    pub value: toml::Value,
}

/// A text that a person pastes.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Snippet {
    /// The file or the language.
    pub label: String,
    pub language: String,
    pub text: String,
}

/// What the placeholders of a text stand for.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The gateway's address, without a path.
    pub url: &'a str,
    pub key: &'a str,
    pub model: &'a str,
}

impl Place<'_> {
    /// A text of the table with its placeholders filled in.
    pub fn fill(&self, text: &str) -> String {
        text.replace("{url}", self.url).replace("{model}", self.model).replace("{key}", self.key)
    }
}

/// Reads the table.
///
/// # Errors
/// The table in this build can't be read; a test reads it, so that no build has such a one.
pub fn clients() -> Result<Clients, toml::de::Error> {
    toml::from_str(TABLE)
}

impl Clients {
    /// The tool with this id.
    pub fn find(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }
}

#[cfg(test)]
mod tests;
