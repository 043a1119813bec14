//! A node's description of itself: its models, its capabilities and its health.

use domain::adapters::{AdapterLimits, AdapterState};
use domain::runtime::{Runtime, RuntimeModel};
use domain::{Dialect, Fault, FaultClass};
use http::{Response, StatusCode};
use serde::Serialize;

use crate::body::NodeBody;
use crate::hybrid::Topology;
use crate::joined::{Policy, PolicyHealth};
use crate::json_body::json_response;
use crate::mode::Mode;
use crate::routes::DIALECTS;
use crate::train::Offers;

type Answer = Result<Response<NodeBody>, Box<Fault>>;

#[derive(Serialize)]
struct List {
    object: &'static str,
    data: Vec<Model>,
}

/// A model, or a model with an adapter: OpenAI's model object with our own fields.
#[derive(Serialize)]
struct Model {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: String,
    /// The operations that it serves.
    capabilities: Vec<&'static str>,
    /// The base model of an adapter.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_tokens: Option<u64>,
    /// What its weights take in memory, or the file of an adapter.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(flatten)]
    loras: Option<Loras>,
    execution_modes: Vec<&'static str>,
    /// The backends that it may leave to.
    cloud_backends: Vec<String>,
}

#[derive(Serialize)]
struct Loras {
    max_active_loras: usize,
    loaded_loras: Vec<String>,
    lora_mode: &'static str,
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    runtime_local_only_strict: bool,
    execution_modes: Vec<&'static str>,
    cloud_backends: Vec<String>,
    models: Vec<String>,
    /// Of a node that has joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyHealth>,
}

#[derive(Serialize)]
struct Capabilities {
    runtime: &'static str,
    version: &'static str,
    topology: &'static str,
    dialects: [&'static str; 3],
    execution_modes: Vec<&'static str>,
    cloud_backends: Vec<String>,
    runtime_local_only_strict: bool,
    streaming: bool,
    adapters: bool,
    /// The training capabilities; `None` if the node does not train.
    training: Option<Offers>,
    models: Vec<Capability>,
}

#[derive(Serialize)]
struct Capability {
    id: String,
    is_model: bool,
    makes: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights_bytes: Option<u64>,
    usage: &'static str,
}

pub(crate) async fn models(runtime: &dyn Runtime, topology: &Topology) -> Answer {
    json_response(StatusCode::OK, &List { object: "list", data: rows(runtime, topology).await? })
}

/// The supported execution modes.
fn modes(topology: &Topology) -> Vec<&'static str> {
    let all = if topology.hybrid().is_some() { &Mode::ALL[..] } else { &[Mode::Local] };
    all.iter().map(|mode| mode.as_str()).collect()
}

/// The model names that requests may use, and how large what they name is.
pub(crate) async fn sizes(runtime: &dyn Runtime) -> Result<Vec<(String, Option<u64>)>, Box<Fault>> {
    Ok(rows(runtime, &Topology::default()).await?.into_iter().map(|model| (model.id, model.bytes)).collect())
}

/// The model names that requests may use.
pub(crate) async fn names(runtime: &dyn Runtime) -> Result<Vec<String>, Box<Fault>> {
    Ok(sizes(runtime).await?.into_iter().map(|(name, _)| name).collect())
}

pub(crate) async fn model(runtime: &dyn Runtime, topology: &Topology, id: &str) -> Answer {
    match rows(runtime, topology).await?.into_iter().find(|model| model.id == id) {
        Some(model) => json_response(StatusCode::OK, &model),
        None => Err(Box::new(
            Fault::new(FaultClass::NotFound, "model_not_found", "This node doesn't have this model.")
                .param("model")
                .fix("List its models at /v1/models."),
        )),
    }
}

/// The models, each followed by its adapters under the names that requests use.
async fn rows(runtime: &dyn Runtime, topology: &Topology) -> Result<Vec<Model>, Box<Fault>> {
    let shelf = match runtime.adapters() {
        Some(adapters) => Some((adapters.limits(), adapters.list().await.map_err(Box::new)?)),
        None => None,
    };
    let mut rows = Vec::new();
    for model in runtime.models() {
        let loras = shelf.as_ref().map(|(limits, states)| Loras::of(*limits, states));
        let row = |id, parent, loras, adapter: Option<&AdapterState>| Model {
            id,
            object: "model",
            created: model.created_unix_s,
            owned_by: model.owned_by.clone(),
            capabilities: model.operations.operation_names(),
            parent,
            context_tokens: model.context_tokens,
            bytes: adapter.map_or(model.weights_bytes, |state| Some(state.bytes)),
            loras,
            execution_modes: modes(topology),
            cloud_backends: topology.backends_of(&model.id, adapter.map(|state| state.id.as_str())),
        };
        rows.push(row(model.id.clone(), None, loras, None));
        let named = |state: &AdapterState| format!("{}:{}", model.id, state.id);
        let states = shelf.iter().flat_map(|(_, states)| states);
        rows.extend(states.map(|state| row(named(state), Some(model.id.clone()), None, Some(state))));
    }
    Ok(rows)
}

impl Loras {
    fn of(limits: AdapterLimits, states: &[AdapterState]) -> Self {
        let loaded = states.iter().filter(|state| state.is_resident);
        Self {
            max_active_loras: limits.resident_max,
            loaded_loras: loaded.map(|state| state.id.clone()).collect(),
            lora_mode: "per_request",
        }
    }
}

pub(crate) fn health(runtime: &dyn Runtime, topology: &Topology, policy: Option<&Policy>) -> Answer {
    let health = Health {
        status: "ok",
        runtime_local_only_strict: topology.is_strict,
        execution_modes: modes(topology),
        cloud_backends: topology.backends(),
        models: runtime.models().into_iter().map(|model| model.id).collect(),
        policy: policy.map(Policy::health),
    };
    json_response(StatusCode::OK, &health)
}

pub(crate) fn capabilities(
    runtime: &dyn Runtime,
    topology: &Topology,
    name: &'static str,
    training: Option<Offers>,
) -> Answer {
    let capability = |model: RuntimeModel| Capability {
        usage: if model.is_model { "measured" } else { "estimated" },
        makes: model.operations.operation_names(),
        id: model.id,
        is_model: model.is_model,
        context_tokens: model.context_tokens,
        weights_bytes: model.weights_bytes,
    };
    let capabilities = Capabilities {
        runtime: name,
        version: env!("CARGO_PKG_VERSION"),
        topology: if topology.hybrid().is_some() { "hybrid" } else { "local" },
        dialects: DIALECTS.map(Dialect::as_str),
        execution_modes: modes(topology),
        cloud_backends: topology.backends(),
        runtime_local_only_strict: topology.is_strict,
        streaming: true,
        adapters: runtime.adapters().is_some(),
        training,
        models: runtime.models().into_iter().map(capability).collect(),
    };
    json_response(StatusCode::OK, &capabilities)
}
