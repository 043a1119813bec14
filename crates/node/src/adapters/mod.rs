//! The HTTP API for LoRA adapters: listing, registering, loading and unloading them while the node serves.

mod folder;

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use domain::adapters::{AdapterState, Adapters, NewAdapter, is_plain_name};
use domain::limits::ADAPTER_NAME_BYTES_MAX;
use domain::runtime::Runtime;
use domain::{Fault, FaultClass};
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::body::NodeBody;
use crate::json_body::{json_response, read};
pub(crate) use folder::find;
use folder::{Entry, Folder};

/// The operations of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdapterOperation<'p> {
    List,
    Register,
    Status,
    WarmUp,
    One(&'p str),
    Load(&'p str),
    Unload(&'p str),
}

/// A node's adapters.
#[derive(Debug)]
pub(crate) struct AdapterRegistry {
    folder: Folder,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    id: String,
    path: Option<PathBuf>,
    #[serde(default)]
    pinned: bool,
    #[serde(default)]
    replace: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Loading {
    wait: bool,
    pinned: Option<bool>,
    scope: Option<String>,
    backend: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Warming {
    adapter_ids: Vec<String>,
    #[serde(default)]
    wait: bool,
    scope: Option<String>,
    backend: Option<String>,
}

#[derive(Serialize)]
struct List {
    object: &'static str,
    data: Vec<Object>,
}

#[derive(Serialize)]
struct Object {
    id: String,
    object: &'static str,
    status: &'static str,
    generation: u64,
    rank: usize,
    bytes: u64,
    pinned: bool,
    /// The number of running generations that use it.
    in_use: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Status {
    registered: usize,
    max_registered: usize,
    loaded_loras: Vec<String>,
    max_active_loras: usize,
    loaded_bytes: u64,
    max_loaded_bytes: u64,
    max_lora_rank: usize,
}

#[derive(Serialize)]
struct Warmed {
    requested: Vec<String>,
    queued: Vec<String>,
    loaded: Vec<String>,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Failed {
    id: String,
    code: &'static str,
    message: String,
}

#[derive(Serialize)]
struct Gone<'p> {
    id: &'p str,
    object: &'static str,
    unloaded: bool,
}

type Answer = Result<Response<NodeBody>, Box<Fault>>;

impl AdapterRegistry {
    /// # Errors
    /// The list of registered adapters can't be read.
    pub(crate) fn open(root: Option<&Path>, data_dir: Option<&Path>) -> io::Result<Self> {
        Ok(Self { folder: Folder::open(root, data_dir)? })
    }

    /// Registers all adapters of the list and the directory; returns those that failed, with the reason.
    pub(crate) async fn register_all(&self, runtime: &dyn Runtime) -> Vec<(String, String)> {
        let Some(adapters) = runtime.adapters() else { return Vec::new() };
        let mut failed = Vec::new();
        for (id, entry) in self.folder.all() {
            let known = match self.folder.find(&entry.path) {
                Ok(directory) => {
                    let is_pinned = entry.is_pinned;
                    let new = NewAdapter { id: id.clone(), directory, replaces: false, is_pinned };
                    adapters.register(new).await.map_err(|fault| fault.message)
                }
                Err(fault) => Err(fault.message),
            };
            if let Err(message) = known {
                failed.push((id, message.into_owned()));
            }
        }
        failed
    }

    /// Registers an adapter of the directory under its own name.
    ///
    /// # Errors
    /// It is not there, or the runtime does not take it.
    pub(crate) async fn register_one(&self, runtime: &dyn Runtime, name: &str) -> Result<(), String> {
        let adapters = runtime.adapters().ok_or("This runtime doesn't support adapters.")?;
        let directory = self.folder.find(Path::new(name)).map_err(|fault| fault.message.into_owned())?;
        let new = NewAdapter { id: name.to_owned(), directory, replaces: false, is_pinned: false };
        adapters.register(new).await.map(|_| ()).map_err(|fault| fault.message.into_owned())
    }

    /// The directories of the adapters in the list and the directory, by name.
    pub(crate) fn directories(&self) -> Vec<(String, PathBuf)> {
        let found = |(id, entry): (String, Entry)| Some((id, self.folder.find(&entry.path).ok()?));
        self.folder.all().into_iter().filter_map(found).collect()
    }

    pub(crate) async fn answer(
        &self,
        operation: AdapterOperation<'_>,
        runtime: &dyn Runtime,
        body: &Bytes,
    ) -> Answer {
        let adapters = runtime.adapters().ok_or_else(|| {
            let message = "This runtime doesn't support adapters.";
            let fault = Fault::new(FaultClass::Unsupported, "no_adapters", message);
            Box::new(fault.fix("Start a node with --model and a model of the engine."))
        })?;
        match operation {
            AdapterOperation::List => {
                let data = states(adapters).await?.into_iter().map(Object::from).collect();
                json_response(StatusCode::OK, &List { object: "list", data })
            }
            AdapterOperation::One(id) => {
                json_response(StatusCode::OK, &Object::from(state(adapters, id).await?))
            }
            AdapterOperation::Status => {
                json_response(StatusCode::OK, &Status::of(&states(adapters).await?, adapters))
            }
            AdapterOperation::Register => self.register(adapters, read(body)?).await,
            AdapterOperation::Load(id) => self.load(adapters, id, read_or_usual(body)?).await,
            AdapterOperation::Unload(id) => {
                adapters.unload(id.to_owned()).await.map_err(Box::new)?;
                self.folder.strike(id).map_err(|error| write_failed(&error))?;
                json_response(StatusCode::OK, &Gone { id, object: "adapter", unloaded: true })
            }
            AdapterOperation::WarmUp => self.warm_up(adapters, read(body)?).await,
        }
    }

    /// The number of adapters, as Prometheus metrics.
    pub(crate) async fn page(&self, runtime: &dyn Runtime) -> String {
        let Some(adapters) = runtime.adapters() else { return String::new() };
        // On failure the metrics are omitted.
        let Ok(states) = adapters.list().await else { return String::new() };
        let resident = states.iter().filter(|state| state.is_resident).count();
        format!(
            "# HELP tidegate_node_adapters Adapters: those that are registered, and those of them that are in memory.\n\
             # TYPE tidegate_node_adapters gauge\n\
             tidegate_node_adapters{{state=\"registered\"}} {}\n\
             tidegate_node_adapters{{state=\"loaded\"}} {resident}\n",
            states.len()
        )
    }

    async fn register(&self, adapters: &dyn Adapters, request: Registration) -> Answer {
        let Registration { id, path, pinned, replace } = request;
        if !is_name(&id) {
            let message = format!(
                "\"id\" must be 1 to {ADAPTER_NAME_BYTES_MAX} letters, digits, dots, dashes and underscores."
            );
            let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message);
            return Err(Box::new(fault.param("id").fix("Send a plain name, such as \"contracts-2\".")));
        }
        let path = path.unwrap_or_else(|| PathBuf::from(&id));
        let directory = self.folder.find(&path)?;
        let new = NewAdapter { id: id.clone(), directory, replaces: replace, is_pinned: pinned };
        adapters.register(new).await.map_err(Box::new)?;
        self.folder.note(&id, Entry { path, is_pinned: pinned }).map_err(|error| write_failed(&error))?;
        json_response(StatusCode::CREATED, &Object::from(state(adapters, &id).await?))
    }

    async fn load(&self, adapters: &dyn Adapters, id: &str, request: Loading) -> Answer {
        check_scope(request.scope.as_deref(), request.backend.as_deref())?;
        self.bring(adapters, id, request.wait).await.map_err(Box::new)?;
        if let Some(pinned) = request.pinned {
            adapters.pin(id.to_owned(), pinned).await.map_err(Box::new)?;
            self.folder.pin(id, pinned).map_err(|error| write_failed(&error))?;
        }
        let state = state(adapters, id).await?;
        let status = if state.is_resident { StatusCode::OK } else { StatusCode::ACCEPTED };
        json_response(status, &Object::from(state))
    }

    /// Loads an adapter into memory, registering it first if it is only in the directory.
    async fn bring(&self, adapters: &dyn Adapters, id: &str, waits: bool) -> Result<(), Fault> {
        match adapters.load(id.to_owned(), waits).await {
            Err(fault) if fault.class == FaultClass::NotFound && is_name(id) && self.folder.has(id) => {
                let directory = self.folder.find(Path::new(id)).map_err(|fault| *fault)?;
                let new = NewAdapter { id: id.to_owned(), directory, replaces: true, is_pinned: false };
                adapters.register(new).await?;
                adapters.load(id.to_owned(), waits).await
            }
            loaded => loaded,
        }
    }

    async fn warm_up(&self, adapters: &dyn Adapters, request: Warming) -> Answer {
        check_scope(request.scope.as_deref(), request.backend.as_deref())?;
        let limits = adapters.limits();
        if request.adapter_ids.len() > limits.registered_max {
            let message = format!("\"adapter_ids\" names more than {} adapters.", limits.registered_max);
            let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message);
            return Err(Box::new(fault.param("adapter_ids").fix("Warm up fewer simultaneously.")));
        }
        let mut warmed = Warmed {
            requested: request.adapter_ids,
            queued: Vec::new(),
            loaded: Vec::new(),
            failed: Vec::new(),
        };
        for id in &warmed.requested {
            if let Err(fault) = self.bring(adapters, id, request.wait).await {
                let (code, message) = (fault.code, fault.message.into_owned());
                warmed.failed.push(Failed { id: id.clone(), code, message });
            }
        }
        let states = states(adapters).await?;
        for id in &warmed.requested {
            let is_resident = states.iter().any(|state| state.id == *id && state.is_resident);
            if is_resident {
                warmed.loaded.push(id.clone());
            } else if !warmed.failed.iter().any(|failed| failed.id == *id) {
                warmed.queued.push(id.clone());
            }
        }
        let status = if warmed.queued.is_empty() { StatusCode::OK } else { StatusCode::ACCEPTED };
        json_response(status, &warmed)
    }
}

/// A plain name that has no other meaning in a path or a header.
pub(crate) fn is_name(name: &str) -> bool {
    is_plain_name(name) && !matches!(name, "status" | "warmup" | "none")
}

async fn states(adapters: &dyn Adapters) -> Result<Vec<AdapterState>, Box<Fault>> {
    adapters.list().await.map_err(Box::new)
}

async fn state(adapters: &dyn Adapters, id: &str) -> Result<AdapterState, Box<Fault>> {
    let found = states(adapters).await?.into_iter().find(|state| state.id == id);
    found.ok_or_else(|| {
        let message = "This node has no adapter of that name.";
        let fault = Fault::new(FaultClass::NotFound, "adapter_not_found", message);
        Box::new(fault.param("id").fix("GET /v1/adapters lists the registered adapters."))
    })
}

fn read_or_usual(body: &Bytes) -> Result<Loading, Box<Fault>> {
    if body.is_empty() { Ok(Loading::default()) } else { read(body) }
}

/// Adapters can only be loaded on this machine.
fn check_scope(scope: Option<&str>, backend: Option<&str>) -> Result<(), Box<Fault>> {
    let leads_away = match scope {
        None | Some("local") => backend.is_some_and(|backend| backend != "local"),
        Some("cloud" | "all") => true,
        Some(_) => {
            let message = "\"scope\" must be local, cloud or all.";
            let fault = Fault::new(FaultClass::BadRequest, "invalid_scope", message);
            return Err(Box::new(fault.param("scope").fix("Send local, or leave it out.")));
        }
    };
    if !leads_away {
        return Ok(());
    }
    let message = "This node is strictly local: it brings adapters on this machine alone.";
    let fault = Fault::new(FaultClass::Forbidden, "local_only", message);
    Err(Box::new(fault.param("scope").fix("Leave \"scope\" and \"backend\" out.")))
}

fn write_failed(error: &io::Error) -> Box<Fault> {
    tracing::error!(%error, "the book of adapters can't be written");
    Box::new(Fault::internal())
}

impl From<AdapterState> for Object {
    fn from(state: AdapterState) -> Self {
        let AdapterState { id, generation, rank, bytes, is_resident, is_pinned, in_use, failed } = state;
        let status = match (is_resident, &failed) {
            (true, _) => "loaded",
            (false, Some(_)) => "failed",
            (false, None) => "registered",
        };
        Self {
            id,
            object: "adapter",
            status,
            generation,
            rank,
            bytes,
            pinned: is_pinned,
            in_use,
            error: failed,
        }
    }
}

impl Status {
    fn of(states: &[AdapterState], adapters: &dyn Adapters) -> Self {
        let limits = adapters.limits();
        let loaded = || states.iter().filter(|state| state.is_resident);
        Self {
            registered: states.len(),
            max_registered: limits.registered_max,
            loaded_loras: loaded().map(|state| state.id.clone()).collect(),
            max_active_loras: limits.resident_max,
            loaded_bytes: loaded().map(|state| state.bytes).sum(),
            max_loaded_bytes: limits.resident_bytes_max,
            max_lora_rank: limits.rank_max,
        }
    }
}
