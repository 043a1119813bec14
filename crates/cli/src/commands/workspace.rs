//! `tidegate workspace`: workspaces, for the operator.

use serde_json::{Map, Value, json};

use crate::body::Body;
use crate::collection::Collection;
use crate::output::Failure;
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Creates a workspace with a project and keys; the keys are shown once.
    Create { name: String },
    /// Lists workspaces.
    List,
    /// Shows one workspace.
    Show { id: String },
    /// Renames a workspace.
    Rename { id: String, name: String },
    /// Changes how the gateway uses providers' prompt caches and its response cache.
    Set {
        id: String,
        #[command(flatten)]
        caching: Caching,
    },
    /// Removes a workspace. Remove its projects, credentials and nodes first.
    Remove { id: String },
}

/// What the gateway may do to use providers' prompt caches.
#[derive(Debug, clap::Args)]
pub struct Caching {
    /// How prompt caches are used on the operator's accounts: apply, suggest, off, or inherit.
    #[arg(long, value_name = "MODE", value_parser = MODES)]
    cache_managed: Option<String>,
    /// The same for your own credentials.
    #[arg(long, value_name = "MODE", value_parser = MODES)]
    cache_byok: Option<String>,
    /// Whether prefixes that the gateway has marked for caching are read again before they expire, if that saves money: on, off,
    /// or inherit.
    #[arg(long, value_name = "STATE", value_parser = ["on", "off", "inherit"])]
    cache_keep_alive: Option<String>,
    /// The response cache: exact reuses answers for identical requests, semantic also for requests with the same meaning; off, or
    /// inherit.
    #[arg(long, value_name = "MODE", value_parser = ["exact", "semantic", "off", "inherit"])]
    cache_responses: Option<String>,
    /// Seconds to keep an answer.
    #[arg(long, value_name = "SECONDS")]
    cache_ttl: Option<u32>,
    /// The embedding model for the semantic cache.
    #[arg(long, value_name = "MODEL")]
    cache_semantic_model: Option<String>,
    /// How similar two texts must be, in basis points, such as 9500.
    #[arg(long, value_name = "BPS")]
    cache_min_similarity: Option<u16>,
}

const MODES: [&str; 4] = ["apply", "suggest", "off", "inherit"];

impl Caching {
    /// The given options as a merge patch; `inherit` removes a field.
    pub fn patch(self) -> Option<Value> {
        let value = |mode: &str| if mode == "inherit" { Value::Null } else { json!(mode) };
        let both = [("managed", self.cache_managed), ("byok", self.cache_byok)];
        let mut fields: Map<_, _> =
            both.into_iter().filter_map(|(name, mode)| Some((name.to_owned(), value(&mode?)))).collect();
        if let Some(state) = self.cache_keep_alive {
            let value = if state == "inherit" { Value::Null } else { json!(state == "on") };
            fields.insert("keep_alive".to_owned(), value);
        }
        let mode = self.cache_responses.map(|mode| ("mode".to_owned(), value(&mode)));
        let ttl_s = self.cache_ttl.map(|seconds| ("ttl_s".to_owned(), json!(seconds)));
        let model = self.cache_semantic_model.map(|model| ("model".to_owned(), json!(model)));
        let bound = self.cache_min_similarity.map(|bps| ("min_similarity_bps".to_owned(), json!(bps)));
        let semantic: Map<_, _> = model.into_iter().chain(bound).collect();
        let semantic = (!semantic.is_empty()).then(|| ("semantic".to_owned(), Value::Object(semantic)));
        let responses: Map<_, _> = mode.into_iter().chain(ttl_s).chain(semantic).collect();
        if !responses.is_empty() {
            fields.insert("responses".to_owned(), Value::Object(responses));
        }
        (!fields.is_empty()).then_some(Value::Object(fields))
    }
}

const PATH: &str = "/v2/workspaces";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let workspaces = Collection::connect(shared, PATH)?;
    match command {
        Command::Create { name } => {
            workspaces.create(&json!({"name": name}))?;
        }
        Command::Show { id } => workspaces.show(&id)?,
        Command::Rename { id, name } => {
            workspaces.change(&id, &json!({"name": name}))?;
        }
        Command::Set { id, caching } => {
            let body = Body::new().with_some("caching", caching.patch()).build();
            workspaces.change(&id, &body)?;
        }
        Command::Remove { id } => workspaces.remove(&id)?,
        Command::List => {
            workspaces.list(&["id", "name", "created_at"], "No workspaces.")?;
        }
    }
    Ok(())
}
