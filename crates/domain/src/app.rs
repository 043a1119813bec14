//! Apps that projects declare: their HTTP servers, what a run needs before it may begin, and secrets by name.

use serde::{Deserialize, Serialize};

use crate::ids::AppId;
use crate::tools::{HttpAction, SecretHeaders};

/// A named secret that a server is sent in a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppSecret {
    pub name: String,
    pub header: String,
    /// Stands before the secret in the header, such as `Bearer `.
    pub prefix: String,
}

/// What a run needs besides secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AppRequirement {
    /// A credential of the workspace for this provider.
    Integration { provider: String },
    /// A scope of the key that runs it.
    Scope { scope: String },
}

/// An HTTP app as a project declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDefinition {
    pub description: String,
    /// The JSON Schemas of its input and output, as text.
    pub input_schema: String,
    pub output_schema: String,
    pub http: HttpAction,
    pub secrets: Vec<AppSecret>,
    pub requirements: Vec<AppRequirement>,
}

/// What is shown of a named secret. Its value is sealed beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretDefinition {
    pub description: String,
    /// The hosts that it may be sent to.
    pub hosts: Vec<String>,
}

/// An app as lists show it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredApp {
    pub id: AppId,
    pub name: String,
    pub definition: AppDefinition,
    pub created_unix_ms: u64,
    pub version: u64,
}

/// Why a secret of an app can't be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingSecret {
    pub name: String,
    /// It exists, but may not be sent to the app's host.
    pub is_of_other_host: bool,
}

/// An app, ready to be called.
#[derive(Debug, Clone)]
pub struct ReadyApp {
    pub app: DeclaredApp,
    /// Its secrets, opened.
    pub headers: SecretHeaders,
    pub missing: Vec<MissingSecret>,
}

/// The result of looking up an app.
#[derive(Debug, Clone)]
pub enum FoundApp {
    Known(Box<ReadyApp>),
    Unknown,
    StoreUnavailable,
}

/// The host and port of an address, as the hosts of a secret are written; `None` where it has none.
pub fn host_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let host = host.strip_suffix(port).unwrap_or(&host);
    (!host.is_empty()).then(|| host.to_owned())
}
