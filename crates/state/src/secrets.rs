//! `/v2/secrets`: secrets that a project's apps name. A value is sealed on arrival, never shown, and sent to its hosts alone.

use std::sync::Arc;

use ::tools::{Declared, SealedHeaders, SecretKind, SecretRow, seal_headers};
use api::access::Access;
use api::failure::{invalid, missing};
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::app::host_of;
use domain::{Fault, FaultClass, ObjectOwner, SecretDefinition, SecretId};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app_fields::checked_secret_name;
use crate::limits::{SECRET_HOSTS_MAX, TOOL_SECRET_BYTES_MAX};
use crate::tool_fields::{checked_description, is_secret};
use crate::{declared, scope};

const PATH: &str = "/v2/secrets";
const ONE: &str = "/v2/secrets/{id}";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::MANAGE, create)
            .says("Stores a secret under a name, for the project's apps at its hosts.")
            .takes::<SecretInput>()
            .makes::<SecretView>()
            .refuses(409, "name_taken")
            .refuses(409, "too_many_tools"),
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists the names of secrets, never their values.")
            .query("project_id", "Only those of this project.")
            .lists::<SecretView>(),
        Route::new(Method::GET, ONE, Access::LOOK, get)
            .says("Shows a secret without its value.")
            .returns::<SecretView>(),
        Route::new(Method::PATCH, ONE, Access::MANAGE, change)
            .says("Replaces the value of a secret, or changes its hosts or its description. Another host requires the value again.")
            .patches::<SecretUpdate>()
            .returns::<SecretView>()
            .refuses(400, "base_url_needs_secret"),
        Route::new(Method::DELETE, ONE, Access::MANAGE, delete).says("Deletes a secret.").returns_no_content(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SecretInput")]
struct SecretInput {
    /// By default the key's project.
    project_id: Option<String>,
    /// The name that apps use.
    #[schemars(required)]
    name: Option<String>,
    /// It is sealed on arrival and never shown.
    #[schemars(required, extend("writeOnly" = true))]
    value: Option<String>,
    /// The hosts that it may be sent to, each with its port where that is not the usual one. With none it is kept, and sent nowhere.
    #[schemars(required, length(max = SECRET_HOSTS_MAX))]
    hosts: Option<Vec<String>>,
    #[serde(default)]
    description: String,
}

/// The fields that a change may name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SecretUpdate")]
struct SecretUpdate {
    #[schemars(extend("writeOnly" = true))]
    value: Option<String>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    description: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NamedSecret")]
struct SecretView {
    id: String,
    object: &'static str,
    project_id: String,
    name: String,
    hosts: Vec<String>,
    description: String,
    created_at: Moment,
}

fn show(row: &SecretRow) -> SecretView {
    SecretView {
        id: row.id.to_string(),
        object: "secret",
        project_id: row.owner.project.to_string(),
        name: row.name.clone(),
        hosts: row.definition.hosts.clone(),
        description: row.definition.description.clone(),
        created_at: Moment(row.created_unix_ms),
    }
}

const HOSTS_FIX: &str = "Send hosts such as [\"api.example.com\"], as in the app's url.";

fn checked_hosts(hosts: Vec<String>) -> Result<Vec<String>, Box<Fault>> {
    let fix = HOSTS_FIX;
    if hosts.len() > SECRET_HOSTS_MAX {
        let message = format!("A secret may be sent to at most {SECRET_HOSTS_MAX} hosts.");
        return Err(invalid("hosts", message, fix));
    }
    let one = |host: String| {
        // As if it stood in an https address, where the usual port is left out.
        let read = host_of(&format!("https://{}", host.trim()));
        let is_alone = !host.contains(['/', '@', '?', '#', ' ']);
        read.filter(|_| is_alone).ok_or_else(|| invalid("hosts", "This isn't a host.", fix))
    };
    hosts.into_iter().map(one).collect()
}

fn sealed(
    control: &Control,
    request: &ApiRequest,
    (owner, id, name): (ObjectOwner, SecretId, &str),
    value: String,
) -> Result<SealedHeaders, Box<Fault>> {
    if !is_secret(&value) {
        let message = format!(
            "The value is empty, longer than {TOOL_SECRET_BYTES_MAX} bytes, or can't be sent in a header."
        );
        return Err(invalid("value", message, "Send it in visible ASCII, without line breaks."));
    }
    let headers = [(name.to_owned(), value)];
    let sealed = seal_headers(&control.deps.vault, owner, &id.to_string(), request.trace, &headers);
    sealed.map_err(|error| {
        tracing::error!(workspace = %owner.workspace, %error, "a named secret could not be sealed");
        Box::new(Fault::internal())
    })
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: SecretInput = request.json()?;
    let project = scope::of_new(control, &request, input.project_id.as_deref())?;
    let owner = ObjectOwner { workspace: request.workspace(), project };
    let name = input.name.ok_or_else(|| missing("name", "Name the secret, such as STRIPE_KEY."))?;
    let name = checked_secret_name("name", &name)?;
    let value = input.value.ok_or_else(|| missing("value", "Send the secret itself."))?;
    let definition = SecretDefinition {
        description: checked_description(input.description)?,
        hosts: checked_hosts(input.hosts.ok_or_else(|| missing("hosts", HOSTS_FIX))?)?,
    };
    let world = &control.deps.world;
    let created_unix_ms = world.clock.unix_ms();
    let id = SecretId::new(created_unix_ms, world.id_bytes());
    let secret = Some(sealed(control, &request, (owner, id, &name), value)?);
    let row = SecretRow {
        id,
        owner,
        name,
        is_enabled: true,
        definition,
        state: (),
        secret,
        created_unix_ms,
        version: 1,
    };
    Declared::of(&control.deps.store).create(row.clone(), request.act(world)).await.map_err(of_store)?;
    Ok(Reply::json(&show(&row))?.version(row.version).as_created(format!("{PATH}/{}", row.id)))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    declared::list::<SecretKind, _>(control, &request, show).await
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = declared::load::<SecretKind>(control, &request).await?;
    Ok(Reply::json(&show(&row))?.version(row.version))
}

/// The fields that a patch may change, as they are.
fn writable(row: &SecretRow) -> Value {
    json!({"hosts": row.definition.hosts, "description": row.definition.description})
}

async fn change(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = declared::load::<SecretKind>(control, &request).await?;
    let update: SecretUpdate = request.apply_patch(writable(&row))?;
    let hosts = checked_hosts(update.hosts)?;
    let is_new = |host: &String| !row.definition.hosts.contains(host);
    let secret = match update.value {
        Some(value) => Some(sealed(control, &request, (row.owner, row.id, &row.name), value)?),
        None if hosts.iter().any(is_new) => return Err(host_needs_value()),
        None => row.secret,
    };
    let definition = SecretDefinition { description: checked_description(update.description)?, hosts };
    let row = SecretRow { definition, secret, ..row };
    let (expected, act) = (request.if_match()?, request.act(&control.deps.world));
    let changed = Declared::of(&control.deps.store).replace(row, expected, act).await.map_err(of_store)?;
    Ok(Reply::json(&show(&changed))?.version(changed.version))
}

/// Whoever may change an app or a secret must not learn its value by a host that they control.
fn host_needs_value() -> Box<Fault> {
    let message = "The secret would be sent to another host.";
    let fault = Fault::new(FaultClass::BadRequest, "base_url_needs_secret", message).param("hosts");
    Box::new(fault.fix("Send \"value\" together with the hosts."))
}

async fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled {
    declared::delete::<SecretKind>(control, &request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_with_their_ports() {
        let of = |host: &str| checked_hosts(vec![host.to_owned()]).map(|mut hosts| hosts.remove(0));
        assert_eq!(of("API.Example.com").unwrap(), "api.example.com");
        assert_eq!(of("127.0.0.1:80").unwrap(), "127.0.0.1:80");
        assert_eq!(of("api.example.com:443").unwrap(), "api.example.com");
        for wrong in ["", "https://a.example", "a/b", "u@a", "a b"] {
            assert_eq!(of(wrong).unwrap_err().param.as_deref(), Some("hosts"), "{wrong}");
        }
        assert_eq!(checked_hosts(Vec::new()).unwrap(), Vec::<String>::new());
        assert!(checked_hosts(vec!["a.example.com".to_owned(); SECRET_HOSTS_MAX + 1]).is_err());
    }
}
