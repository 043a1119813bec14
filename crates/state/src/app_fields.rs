//! The fields of an app: its name, its schemas, the secrets that its server is sent, and what else it requires.

use api::failure::{invalid, missing};
use api::state::Control;
use domain::{AppRequirement, AppSecret, Fault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::{
    APP_NAME_PART_BYTES_MAX, APP_REQUIREMENTS_MAX, SECRET_HEADERS_MAX, SECRET_PREFIX_BYTES_MAX,
    TOOL_SCHEMA_BYTES_MAX,
};
use crate::tool_fields::is_header;

/// Namespaces of what is an app without being declared as one, and of where models are served.
const TAKEN: [&str; 6] = ["tools", "agents", "flows", "local", "cloud", "hybrid"];
const AUTHORIZATION: &str = "authorization";
const SCOPES: [&str; 4] = ["inference", "read", "admin", "operator"];

/// A secret that the app's server is sent.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AppSecret")]
pub(crate) struct SecretUse {
    /// The secret, by its name in the project.
    name: String,
    /// The header that it is sent in; by default `authorization`.
    #[serde(default)]
    header: Option<String>,
    /// The prefix before it in the header; by default `Bearer ` in `authorization`, else none.
    #[serde(default)]
    prefix: Option<String>,
}

/// What a run needs beside secrets.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "AppRequirement")]
pub(crate) enum RequirementField {
    /// A credential of the workspace for a provider.
    Integration { provider: String },
    /// A scope of the key that runs the app.
    Scope {
        #[schemars(extend("enum" = ["inference", "read", "admin", "operator"]))]
        scope: String,
    },
}

/// Letters, digits, "_", "-" and ".".
fn is_part(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= APP_NAME_PART_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        && !text.starts_with('.')
}

/// `NAMESPACE/NAME`, in a namespace that no model of the catalogue can be in.
pub(crate) fn checked_app_name(control: &Control, name: Option<&str>) -> Result<String, Box<Fault>> {
    let fix = "Send NAMESPACE/NAME, such as acme/invoices, in letters, digits, \"_\", \"-\" and \".\".";
    let name = name.ok_or_else(|| missing("name", fix))?;
    let parts = name.split_once('/').filter(|(namespace, rest)| is_part(namespace) && is_part(rest));
    let (namespace, _) = parts.ok_or_else(|| invalid("name", "The name can't be used.", fix))?;
    let namespace = namespace.to_ascii_lowercase();
    let snapshot = control.deps.keeper.current();
    let catalogue = snapshot.catalogue();
    if TAKEN.contains(&namespace.as_str())
        || catalogue.is_publisher(&namespace)
        || catalogue.provider(&namespace).is_some()
    {
        let message = format!("\"{namespace}\" is reserved for models, tools, agents or flows.");
        return Err(invalid("name", message, "Use a namespace of your organisation."));
    }
    Ok(name.to_owned())
}

/// The schema of an output, as text; anything fits where there is none.
pub(crate) fn checked_output_schema(schema: Option<&Value>) -> Result<String, Box<Fault>> {
    let schema = schema.cloned().unwrap_or(Value::Bool(true));
    let text = schema.to_string();
    if text.len() > TOOL_SCHEMA_BYTES_MAX {
        let message = format!("The schema is longer than {TOOL_SCHEMA_BYTES_MAX} bytes.");
        return Err(invalid("output_schema", message, "Shorten it."));
    }
    checked_holds("output_schema", &schema)?;
    Ok(text)
}

/// Refuses a schema that no value can be compared with.
pub(crate) fn checked_holds(field: &str, schema: &Value) -> Result<(), Box<Fault>> {
    if ::tools::is_schema(schema) {
        return Ok(());
    }
    let message = format!("\"{field}\" isn't a usable JSON Schema.");
    Err(invalid(field, message, "Correct it; references must point to a place within it."))
}

pub(crate) fn checked_secrets(fields: Vec<SecretUse>) -> Result<Vec<AppSecret>, Box<Fault>> {
    if fields.len() > SECRET_HEADERS_MAX {
        let message = format!("An app receives at most {SECRET_HEADERS_MAX} secrets.");
        return Err(invalid("secrets", message, "Name fewer of them."));
    }
    let mut secrets: Vec<AppSecret> = Vec::with_capacity(fields.len());
    for (place, SecretUse { name, header, prefix }) in fields.into_iter().enumerate() {
        let header = header.unwrap_or_else(|| AUTHORIZATION.to_owned()).to_ascii_lowercase();
        let usual = if header == AUTHORIZATION { "Bearer " } else { "" };
        let prefix = prefix.unwrap_or_else(|| usual.to_owned());
        let is_plain = prefix.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let is_twice = secrets.iter().any(|other| other.header == header);
        if !is_header(&header) || is_twice || !is_plain || prefix.len() > SECRET_PREFIX_BYTES_MAX {
            let fix = "Name each header once, in visible ASCII, and no connection header.";
            return Err(invalid(
                format!("secrets[{place}]"),
                "The secret can't be sent in this header.",
                fix,
            ));
        }
        secrets.push(AppSecret {
            name: checked_secret_name(&format!("secrets[{place}].name"), &name)?,
            header,
            prefix,
        });
    }
    Ok(secrets)
}

/// The name of a secret: letters, digits, "_" and "-".
pub(crate) fn checked_secret_name(field: &str, name: &str) -> Result<String, Box<Fault>> {
    let is_fine = !name.is_empty()
        && name.len() <= APP_NAME_PART_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_fine {
        return Ok(name.to_owned());
    }
    let fix =
        format!("Send 1 to {APP_NAME_PART_BYTES_MAX} letters, digits, \"_\" and \"-\", such as STRIPE_KEY.");
    Err(invalid(field, "The name of the secret can't be used.", fix))
}

pub(crate) fn checked_requirements(
    control: &Control,
    fields: Vec<RequirementField>,
) -> Result<Vec<AppRequirement>, Box<Fault>> {
    if fields.len() > APP_REQUIREMENTS_MAX {
        let message = format!("An app has at most {APP_REQUIREMENTS_MAX} requirements.");
        return Err(invalid("requirements", message, "Name fewer of them."));
    }
    let snapshot = control.deps.keeper.current();
    let one = |(place, field): (usize, RequirementField)| match field {
        RequirementField::Integration { provider } => match snapshot.catalogue().provider(&provider) {
            Some(facts) => Ok(AppRequirement::Integration { provider: facts.slug.clone() }),
            None => Err(invalid(
                format!("requirements[{place}].provider"),
                "No provider of the catalogue has this name.",
                "`tidegate capability list` lists the providers.",
            )),
        },
        RequirementField::Scope { scope } if SCOPES.contains(&scope.as_str()) => {
            Ok(AppRequirement::Scope { scope })
        }
        RequirementField::Scope { .. } => Err(invalid(
            format!("requirements[{place}].scope"),
            "This is not a scope of a key.",
            format!("Send one of {}.", SCOPES.join(", ")),
        )),
    };
    fields.into_iter().enumerate().map(one).collect()
}

pub(crate) fn secrets_view(secrets: &[AppSecret]) -> Vec<SecretUse> {
    let view = |secret: &AppSecret| SecretUse {
        name: secret.name.clone(),
        header: Some(secret.header.clone()),
        prefix: Some(secret.prefix.clone()),
    };
    secrets.iter().map(view).collect()
}

pub(crate) fn requirements_view(requirements: &[AppRequirement]) -> Vec<RequirementField> {
    let view = |requirement: &AppRequirement| match requirement.clone() {
        AppRequirement::Integration { provider } => RequirementField::Integration { provider },
        AppRequirement::Scope { scope } => RequirementField::Scope { scope },
    };
    requirements.iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: Option<&str>, prefix: Option<&str>) -> Result<Vec<AppSecret>, Box<Fault>> {
        let (header, prefix) = (header.map(str::to_owned), prefix.map(str::to_owned));
        checked_secrets(vec![SecretUse { name: "KEY".to_owned(), header, prefix }])
    }

    #[test]
    fn a_secret_is_a_bearer_token_unless_it_is_said_otherwise() {
        for (header, prefix, sent) in [
            (None, None, ("authorization", "Bearer ")),
            (Some("Authorization"), Some("Basic "), ("authorization", "Basic ")),
            (Some("X-Api-Key"), None, ("x-api-key", "")),
        ] {
            let secrets = of(header, prefix).unwrap();
            assert_eq!((secrets[0].header.as_str(), secrets[0].prefix.as_str()), sent);
        }
        for (header, prefix) in [(Some("host"), None), (Some("x y"), None), (None, Some("a\n"))] {
            assert_eq!(of(header, prefix).unwrap_err().param.as_deref(), Some("secrets[0]"));
        }
    }

    #[test]
    fn parts_of_names_are_plain() {
        for (part, is_fine) in
            [("acme", true), ("v1.2_a-b", true), ("", false), ("..", false), ("a b", false), ("a/b", false)]
        {
            assert_eq!(is_part(part), is_fine, "{part}");
        }
    }
}
