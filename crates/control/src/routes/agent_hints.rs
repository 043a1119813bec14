//! `/v2/agent-hints`: what clients wish of how their requests are served, stored under an id that requests refer to with
//! `Agent-Hints-Ref`.

use api::failure::invalid;
use api::moment::Moment;
use api::names::checked_name;
use api::request::ApiRequest;
use api::router::Route;
use api::state::Control;
use domain::limits::HINTS_BYTES_MAX;
use domain::{Fault, HintsId, Profile, ReadHints, Why};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::AgentHintsRow;

use crate::policy_forms::{DataBoundaryName, RegionPolicyName};
use crate::resource::{Resource, WritableResource, delete, get, list, patch, post, put, without};

pub fn routes() -> Vec<Route> {
    vec![
        post::<AgentHintsRow>("Stores hints, which requests refer to with Agent-Hints-Ref.")
            .makes::<HintsView>()
            .refuses(409, "too_many_hints"),
        list::<AgentHintsRow>("Lists the workspace's stored hints."),
        get::<AgentHintsRow>("Shows stored hints, and which of their fields have no effect."),
        patch::<AgentHintsRow>("Changes fields of stored hints."),
        put::<AgentHintsRow>("Replaces stored hints."),
        delete::<AgentHintsRow>("Deletes stored hints. Requests that refer to them are refused."),
    ]
}

/// Hints, as a client writes them. They may only tighten what routes and policies allow.
#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AgentHints")]
pub struct HintsForm {
    /// What people call them.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Routes may match it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qos: Option<QosForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reuse: Option<ReuseForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<RoutingForm>,
    /// Stored, but not honoured.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Map<String, Value>>,
    /// Stored, but not honoured.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Map<String, Value>>,
    /// Stored, but not honoured.
    #[serde(skip_serializing_if = "Option::is_none")]
    safety: Option<Map<String, Value>>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HintedQos")]
struct QosForm {
    /// How much the client minds waiting: under overload, background and batch are refused first.
    #[schemars(extend("enum" = ["interactive", "standard", "background", "batch", null]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    /// The time within which the answer should start. `Agent-QoS-Target-Met` says whether it did.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    target_ttft_ms: Option<u64>,
    /// The time after which the request is ended with a 504.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
    /// From 0, which is refused first under overload, to 255; at most what the key and the route allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    /// `forbid`: neither another profile nor an emergency account serves after a failure.
    #[schemars(extend("enum" = ["forbid", "allow_compatible_fallback", null]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    degrade_policy: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HintedReuse")]
struct ReuseForm {
    /// `bypass`: no earlier answer is given again. `prefer` is not honoured.
    #[schemars(extend("enum" = ["bypass", "allow", "prefer", null]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    preference: Option<String>,
    /// `none` is as `bypass`. `session` is not honoured.
    #[schemars(extend("enum" = ["project", "session", "none", null]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// Not honoured.
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_preference: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HintedRouting")]
struct RoutingForm {
    /// Only regions of this part of the world.
    #[schemars(with = "Option<RegionPolicyName>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    region_policy: Option<String>,
    /// Only these profiles.
    #[schemars(schema_with = "profile_names")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    execution_profiles: Option<Vec<String>>,
    /// `strict` and `no_openrouter`: never to an emergency account.
    #[schemars(with = "Option<DataBoundaryName>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_boundary: Option<String>,
}

fn profile_names(_: &mut SchemaGenerator) -> Schema {
    let names = Profile::ALL.map(Profile::as_str);
    json_schema!({"type": ["array", "null"], "items": {"type": "string", "enum": names}})
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StoredAgentHints")]
pub struct HintsView {
    id: String,
    object: &'static str,
    #[serde(flatten)]
    hints: HintsForm,
    /// The fields that have no effect here; `Agent-Dropped-Params` names them, too.
    not_honoured: Vec<String>,
    created_at: Moment,
}

impl HintsForm {
    /// The name, and the rest as it is stored.
    fn checked(mut self) -> Result<(String, Value), Box<Fault>> {
        let name = self.name.take().map(|name| checked_name(Some(name), "name")).transpose()?;
        let hints = json!(self);
        if hints.to_string().len() > HINTS_BYTES_MAX {
            let message = format!("The hints are longer than {HINTS_BYTES_MAX} bytes.");
            return Err(invalid("state", message, "Shorten state, session and safety."));
        }
        for one in read(&hints)?.passed_over {
            if let Why::Invalid(must_be) = one.why {
                let message = format!("{} has a value that it can't have.", one.path);
                return Err(invalid(one.path, message, format!("Send {must_be}.")));
            }
        }
        Ok((name.unwrap_or_default(), hints))
    }
}

fn read(hints: &Value) -> Result<ReadHints, Box<Fault>> {
    ReadHints::deserialize(hints).map_err(|_| Box::new(Fault::internal()))
}

fn show(row: &AgentHintsRow) -> Result<HintsView, Box<Fault>> {
    // A later version may have stored fields that this one does not know: they are named, and not shown.
    let known = |name: &str| row.hints.get(name).cloned();
    let mut fields = Map::new();
    for name in ["tag", "qos", "reuse", "routing", "state", "session", "safety"] {
        fields.extend(known(name).map(|value| (name.to_owned(), value)));
    }
    let hints: HintsForm = serde_json::from_value(Value::Object(fields)).unwrap_or_default();
    Ok(HintsView {
        id: row.id.to_string(),
        object: "agent_hints",
        hints: HintsForm { name: Some(row.name.clone()).filter(|name| !name.is_empty()), ..hints },
        not_honoured: read(&row.hints)?.passed_over.into_iter().map(|one| one.path).collect(),
        created_at: Moment(row.created_unix_ms),
    })
}

impl Resource for AgentHintsRow {
    const PATH: &'static str = "/v2/agent-hints";
    const ONE: &'static str = "/v2/agent-hints/{id}";
    const WHAT: &'static str = "agent hints";
    type View = HintsView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.agent_hints()
    }

    async fn view(&self, _: &Control) -> Result<HintsView, Box<Fault>> {
        show(self)
    }
}

impl WritableResource for AgentHintsRow {
    type Input = HintsForm;
    type Update = HintsForm;
    type Rest = ();

    fn writable(&self, _: &Control) -> Result<Value, Box<Fault>> {
        Ok(without(json!(show(self)?), &["id", "object", "not_honoured", "created_at"]))
    }

    async fn new(
        control: &Control,
        request: &ApiRequest,
        input: HintsForm,
    ) -> Result<(Self, ()), Box<Fault>> {
        let now = control.deps.world.clock.unix_ms();
        let id = HintsId::new(now, control.deps.world.id_bytes());
        let (name, hints) = input.checked()?;
        let workspace = request.workspace();
        Ok((Self { id, workspace, name, hints, created_unix_ms: now, version: 0 }, ()))
    }

    async fn change(self, _: &Control, _: &ApiRequest, input: HintsForm) -> Result<(Self, ()), Box<Fault>> {
        let (name, hints) = input.checked()?;
        Ok((Self { name, hints, ..self }, ()))
    }
}
