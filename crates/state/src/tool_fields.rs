//! The fields that tools, MCP servers and apps share: names, schemas, and what is sealed of their headers.

use std::collections::BTreeMap;

use ::tools::{
    CLIENT_SECRET, DeclaredRow, Kind, McpServerRow, NAME_BYTES_MAX, STDIO_SCHEME, SealedHeaders, seal_headers,
};
use api::failure::{invalid, missing};
use api::request::ApiRequest;
use api::state::Control;
use domain::grants::McpOauth;
use domain::{Fault, FaultClass, ObjectOwner};
use egress::TargetKind;
use http::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::{
    METADATA_VALUE_CHARS_MAX, SECRET_HEADERS_MAX, TOOL_DESCRIPTION_BYTES_MAX, TOOL_SCHEMA_BYTES_MAX,
    TOOL_SECRET_BYTES_MAX,
};

/// Headers that belong to the connection or to the protocol.
const TAKEN: [&str; 10] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "content-type",
    "accept",
    "mcp-session-id",
    "mcp-protocol-version",
    "last-event-id",
    "user-agent",
];

/// What a server is shown of its caller. It is sealed on arrival and never shown.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "ToolAuth")]
pub(crate) enum AuthInput {
    /// Nothing; what was there is removed.
    None,
    /// A bearer token.
    Bearer {
        #[schemars(extend("writeOnly" = true))]
        token: String,
    },
    /// An API key in a header.
    ApiKey {
        header: String,
        #[schemars(extend("writeOnly" = true))]
        value: String,
    },
    /// Several headers.
    Headers {
        #[schemars(extend("writeOnly" = true))]
        headers: BTreeMap<String, String>,
    },
    /// Tokens of the server's authorization server, once a person has signed in there. For MCP servers alone.
    Oauth {
        /// By default those that the server names.
        #[serde(default)]
        scopes: Vec<String>,
        /// Of a client that you registered; by default the gateway registers itself.
        client_id: Option<String>,
        #[schemars(extend("writeOnly" = true))]
        client_secret: Option<String>,
    },
}

impl AuthInput {
    /// The same for another tool.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Bearer { token } => Self::Bearer { token: token.clone() },
            Self::ApiKey { header, value } => Self::ApiKey { header: header.clone(), value: value.clone() },
            Self::Headers { headers } => Self::Headers { headers: headers.clone() },
            Self::Oauth { scopes, client_id, client_secret } => Self::Oauth {
                scopes: scopes.clone(),
                client_id: client_id.clone(),
                client_secret: client_secret.clone(),
            },
        }
    }
}

/// What is shown of sealed headers.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ToolAuthView")]
pub(crate) struct AuthView {
    /// Their names.
    headers: Vec<String>,
}

pub(crate) fn auth_view(headers: &[String]) -> Option<AuthView> {
    (!headers.is_empty()).then(|| AuthView { headers: headers.to_vec() })
}

/// Where headers are sealed.
pub(crate) struct Sealing<'a> {
    pub control: &'a Control,
    pub request: &'a ApiRequest,
    pub owner: ObjectOwner,
    pub id: String,
}

impl Sealing<'_> {
    /// The headers of an input, sealed, with their names; the present ones where it states none.
    pub(crate) fn seal(
        &self,
        input: Option<AuthInput>,
        present: (Option<SealedHeaders>, Vec<String>),
    ) -> Result<(Option<SealedHeaders>, Vec<String>), Box<Fault>> {
        let Some(input) = input else { return Ok(present) };
        let headers = checked(input)?;
        if headers.is_empty() {
            return Ok((None, Vec::new()));
        }
        let names = headers.iter().map(|(name, _)| name.clone()).collect();
        Ok((Some(self.sealed(&headers)?), names))
    }

    fn sealed(&self, headers: &[(String, String)]) -> Result<SealedHeaders, Box<Fault>> {
        let vault = &self.control.deps.vault;
        let sealed = seal_headers(vault, self.owner, &self.id, self.request.trace, headers);
        sealed.map_err(|error| {
            tracing::error!(workspace = %self.owner.workspace, %error, "the headers of a tool could not be sealed");
            Box::new(Fault::internal())
        })
    }

    /// What a server's input says, with what is sealed of it; the present state where it says nothing.
    pub(crate) fn seal_server(
        &self,
        input: Option<AuthInput>,
        present: &McpServerRow,
    ) -> Result<SealedAuth, Box<Fault>> {
        let definition = &present.definition;
        let Some(AuthInput::Oauth { scopes, client_id, client_secret }) = input else {
            let oauth = if input.is_some() { None } else { definition.oauth.clone() };
            let of_present = (present.secret.clone(), definition.secret_headers.clone());
            let (secret, headers) = self.seal(input, of_present)?;
            return Ok(SealedAuth { secret, headers, oauth });
        };
        check_oauth(&scopes, client_id.as_deref(), client_secret.as_deref())?;
        let has_client_secret = client_secret.is_some();
        let secret =
            client_secret.map(|text| self.sealed(&[(CLIENT_SECRET.to_owned(), text)])).transpose()?;
        let oauth = Some(McpOauth { scopes, client_id, has_client_secret });
        Ok(SealedAuth { secret, headers: Vec::new(), oauth })
    }
}

/// What a server is shown, as it is kept.
pub(crate) struct SealedAuth {
    pub secret: Option<SealedHeaders>,
    pub headers: Vec<String>,
    pub oauth: Option<McpOauth>,
}

fn check_oauth(
    scopes: &[String],
    client_id: Option<&str>,
    client_secret: Option<&str>,
) -> Result<(), Box<Fault>> {
    // The characters of RFC 6749, appendix A.
    let is_scope = |scope: &String| {
        !scope.is_empty()
            && scope.len() <= METADATA_VALUE_CHARS_MAX
            && scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
    };
    if scopes.len() > SECRET_HEADERS_MAX || !scopes.iter().all(is_scope) {
        let fix = format!("Send at most {SECRET_HEADERS_MAX} scopes, without spaces.");
        return Err(invalid("auth.scopes", "These scopes can't be requested.", fix));
    }
    let is_text = |text: &str| {
        !text.is_empty()
            && text.len() <= TOOL_SECRET_BYTES_MAX
            && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
    };
    for (field, text) in [("auth.client_id", client_id), ("auth.client_secret", client_secret)] {
        if text.is_some_and(|text| !is_text(text)) {
            return Err(invalid(
                field,
                "It can't be sent in this form.",
                "Send it as the authorization server shows it.",
            ));
        }
    }
    if client_secret.is_some() && client_id.is_none() {
        return Err(missing("auth.client_id", "Send the id of the client that the secret is for."));
    }
    Ok(())
}

fn checked(input: AuthInput) -> Result<Vec<(String, String)>, Box<Fault>> {
    let (field, headers) = match input {
        AuthInput::None => return Ok(Vec::new()),
        AuthInput::Oauth { .. } => {
            let fix = "Send a bearer token, an API key or headers.";
            return Err(invalid("auth.type", "Only MCP servers support a person's sign-in.", fix));
        }
        AuthInput::Bearer { token } => {
            ("auth.token", vec![("authorization".to_owned(), format!("Bearer {token}"))])
        }
        AuthInput::ApiKey { header, value } => ("auth.value", vec![(header, value)]),
        AuthInput::Headers { headers } => ("auth.headers", headers.into_iter().collect()),
    };
    let fix = "Send names and values of HTTP headers in visible ASCII, without connection headers.";
    if headers.is_empty() || headers.len() > SECRET_HEADERS_MAX {
        let message = format!("There must be 1 to {SECRET_HEADERS_MAX} headers.");
        return Err(invalid(field, message, fix));
    }
    let mut lower = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        if !is_header(&name) || !is_secret(&value) || lower.iter().any(|(other, _)| *other == name) {
            return Err(invalid(field, "A header can't be sent in this form.", fix));
        }
        lower.push((name, value));
    }
    Ok(lower)
}

/// Whether a secret may be sent in a header of this lower-case name.
pub(crate) fn is_header(name: &str) -> bool {
    HeaderName::try_from(name).is_ok() && !TAKEN.contains(&name)
}

/// Whether a header can carry this secret.
pub(crate) fn is_secret(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= TOOL_SECRET_BYTES_MAX
        && HeaderValue::try_from(value).is_ok()
        && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// Refuses a new address that would be shown the secret of the old one.
pub(crate) fn check_moved<K: Kind>(
    row: &DeclaredRow<K>,
    (old, new): (&str, &str),
    auth: Option<&AuthInput>,
) -> Result<(), Box<Fault>> {
    if old == new || row.secret.is_none() || auth.is_some() {
        return Ok(());
    }
    let message = "The secret of the old url would be sent to the new one.";
    let fault = Fault::new(FaultClass::BadRequest, "base_url_needs_secret", message).param("url");
    Err(Box::new(fault.fix("Send \"auth\" together with the url.")))
}

/// The name by which requests name it.
pub(crate) fn checked_name(name: Option<&str>, bytes_max: usize) -> Result<String, Box<Fault>> {
    let fix = format!("Send 1 to {bytes_max} letters, digits, \"_\" and \"-\".");
    let name = name.ok_or_else(|| missing("name", fix.clone()))?;
    let is_fine = !name.is_empty()
        && name.len() <= bytes_max.min(NAME_BYTES_MAX)
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    // "all" stands for everything.
    if is_fine && name != "all" {
        Ok(name.to_owned())
    } else {
        Err(invalid("name", "The name can't be used.", fix))
    }
}

pub(crate) fn checked_description(text: String) -> Result<String, Box<Fault>> {
    if text.len() <= TOOL_DESCRIPTION_BYTES_MAX {
        return Ok(text);
    }
    let message = format!("\"description\" is longer than {TOOL_DESCRIPTION_BYTES_MAX} bytes.");
    Err(invalid("description", message, "Shorten it: the model reads it with every request."))
}

/// The schema of arguments, as text.
pub(crate) fn checked_schema(field: &str, schema: Option<&Value>) -> Result<String, Box<Fault>> {
    let fix = r#"Send a JSON Schema such as {"type": "object", "properties": {"city": {"type": "string"}}}."#;
    let Some(schema) = schema else { return Ok(r#"{"type":"object","properties":{}}"#.to_owned()) };
    if schema.get("type") != Some(&Value::from("object")) {
        return Err(invalid(field, format!("\"{field}\" is not the schema of an object."), fix));
    }
    let text = schema.to_string();
    if text.len() > TOOL_SCHEMA_BYTES_MAX {
        return Err(invalid(field, format!("The schema is longer than {TOOL_SCHEMA_BYTES_MAX} bytes."), fix));
    }
    Ok(text)
}

/// An address of the customer's, under the guard that all such addresses are under.
pub(crate) fn checked_url(
    control: &Control,
    url: Option<&str>,
    template: bool,
) -> Result<String, Box<Fault>> {
    let url = url.ok_or_else(|| missing("url", "Give the https address of the server."))?.trim();
    let plain = if template { without_places(url)? } else { url.to_owned() };
    egress::check_base_url(&plain, &control.web.egress, TargetKind::Provider)
        .map_err(|fault| Box::new(fault.param("url")))?;
    Ok(url.to_owned())
}

/// The address of an MCP server: one of the customer's, or a program that the operator lets the workspace use.
pub(crate) fn checked_server_url(
    control: &Control,
    row: &McpServerRow,
    url: Option<&str>,
    auth: Option<&AuthInput>,
) -> Result<String, Box<Fault>> {
    let Some(program) = url.and_then(|url| url.trim().strip_prefix(STDIO_SCHEME)) else {
        return checked_url(control, url, false);
    };
    let programs = &control.web.egress.programs;
    let workspace = row.owner.workspace.to_string();
    // One that the operator has withdrawn can still be switched off, and shown.
    let is_new = row.definition.url.strip_prefix(STDIO_SCHEME) != Some(program);
    if is_new && programs.find(program, &workspace).is_none() {
        let names = programs.names(&workspace);
        let fix = if names.is_empty() {
            "The operator declares programs in the file that the setting tools.stdio names.".to_owned()
        } else {
            format!("Those that it allows: {}.", names.join(", "))
        };
        return Err(invalid("url", "The operator doesn't allow this workspace to use this program.", fix));
    }
    if matches!(auth, Some(AuthInput::Oauth { .. })) {
        let fix = "Send {\"type\": \"headers\"} with the variables that the program reads.";
        return Err(invalid("auth.type", "A program has no sign-in.", fix));
    }
    Ok(format!("{STDIO_SCHEME}{program}"))
}

/// A template with a word in each place, all of which must be in the path.
fn without_places(url: &str) -> Result<String, Box<Fault>> {
    let fix = "Write it as https://host/path/{argument}.";
    let wrong = || invalid("url", "A placeholder for an argument isn't closed, or is outside the path.", fix);
    let path = url.split_once("://").and_then(|(scheme, rest)| Some(scheme.len() + 3 + rest.find('/')?));
    let path = path.ok_or_else(wrong)?;
    let mut plain = String::with_capacity(url.len());
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, next) = after.split_once('}').ok_or_else(wrong)?;
        if name.is_empty() || plain.len() + before.len() < path {
            return Err(wrong());
        }
        plain.push_str(before);
        plain.push('x');
        rest = next;
    }
    plain.push_str(rest);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_its_places_in_the_path() {
        assert_eq!(without_places("https://a.example/b/{c}/d").unwrap(), "https://a.example/b/x/d");
        for wrong in ["https://{host}/a", "https://a.example/{b", "https://a.example/{}", "{a}"] {
            assert!(without_places(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_of_the_connection_are_no_secrets() {
        let of = |header: &str, value: &str| {
            checked(AuthInput::ApiKey { header: header.to_owned(), value: value.to_owned() })
        };
        assert_eq!(of("X-Key", "s").unwrap(), [("x-key".to_owned(), "s".to_owned())]);
        for (header, value) in
            [("Host", "a"), ("x y", "a"), ("x", ""), ("x", "a\nb"), ("Mcp-Session-Id", "a")]
        {
            assert_eq!(of(header, value).unwrap_err().code, "invalid_value", "{header}");
        }
        let bearer = checked(AuthInput::Bearer { token: "t".to_owned() }).unwrap();
        assert_eq!(bearer, [("authorization".to_owned(), "Bearer t".to_owned())]);
    }
}
