//! `/v2/projects`: parts of a workspace, each with an environment and keys of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::access::Access;
use api::limits::{ENVIRONMENT_BYTES_MAX, NAME_CHARS_MAX, ORIGINS_MAX};
use api::moment::Moment;
use api::names::{checked_environment, checked_name, checked_origins};
use api::openapi::bounds::{ENVIRONMENT, NAME};
use api::openapi::description::Nothing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use catalogue::{Fact, PurgeControl};
use domain::ports::{PurgeScope, Purgeable as _, Purged};
use domain::{Fault, ProjectId, Subject, WorkspaceId};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use snapshot::origins_of;
use store::{LimitsOf, ProjectRow};

use super::limits::{self, LimitsForm};
use crate::resource::{Resource, WritableResource, delete, get, list, load, patch, post, put};
use reports::caching::CachingForm;

pub fn routes() -> Vec<Route> {
    vec![
        post::<ProjectRow>("Creates a project.").makes::<ProjectView>(),
        list::<ProjectRow>("Lists the workspace's projects."),
        get::<ProjectRow>("Shows a project."),
        patch::<ProjectRow>("Changes fields of a project."),
        put::<ProjectRow>("Replaces a project."),
        delete::<ProjectRow>("Deletes a project that has no keys.").refuses(409, "referenced"),
        Route::new(Method::POST, "/v2/projects/{id}/purge-cache", Access::MANAGE, purge_cache)
            .says("Deletes the project's answers in the response cache.")
            .takes_nothing()
            .returns::<PurgedCache>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Project")]
pub struct Input {
    #[schemars(required)]
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    name: Option<String>,
    #[schemars(length(min = 1, max = ENVIRONMENT_BYTES_MAX), regex(pattern = ENVIRONMENT))]
    environment: Option<String>,
    /// Origins of pages that may read the answers to its keys in a browser, such as `https://app.example`, or `*` for all.
    /// Without one, the gateway's `cors_origins` count.
    #[serde(default)]
    #[schemars(length(max = ORIGINS_MAX))]
    origins: Vec<String>,
    #[serde(default)]
    metadata: Value,
    limits: Option<LimitsForm>,
    caching: Option<CachingForm>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Project")]
pub struct ProjectView {
    id: String,
    object: &'static str,
    workspace_id: String,
    name: String,
    environment: String,
    /// Origins of pages that may read the answers to its keys; without one, the gateway's count.
    origins: Vec<String>,
    metadata: Value,
    limits: LimitsForm,
    caching: CachingForm,
    created_at: Moment,
}

/// What a purge of the response cache deleted.
#[derive(Serialize, JsonSchema)]
struct PurgedCache {
    object: &'static str,
    project_id: String,
    /// Stored answers. Replicas hold some of these in memory, and no longer find them.
    deleted: u64,
    /// The prompt caches of providers, which no purge of ours reaches.
    providers: Vec<ProviderCache>,
}

/// What happens to prompts that a provider of the workspace has cached, by the capability manifest.
#[derive(Serialize, JsonSchema)]
struct ProviderCache {
    provider: String,
    /// What the provider offers to end them sooner: `expiry`, `delete_resource` or `rotate_isolation_key`; `null` if
    /// that is not known.
    #[schemars(with = "Option<String>", extend("enum" = ["expiry", "delete_resource", "rotate_isolation_key", null]))]
    purge: Option<PurgeControl>,
    /// A prompt that isn't sent again is gone after this time at the latest; `null` if that is not known.
    kept_seconds_max: Option<u64>,
    /// Never more than what was achieved: they end by themselves.
    #[schemars(extend("enum" = ["best_effort_expiry"]))]
    guarantee: &'static str,
}

/// Those of the workspace's credentials and of the operator's accounts, where prompts are cached at all.
fn provider_caches(control: &Control, workspace: WorkspaceId) -> Vec<ProviderCache> {
    let snapshot = control.deps.keeper.current();
    let own = snapshot.workspace(workspace).into_iter().flat_map(|entry| &entry.credentials);
    let used = own.map(|one| &*one.provider).chain(snapshot.accounts().iter().map(|one| &*one.provider));
    let used: BTreeSet<&str> =
        used.filter_map(|name| Some(snapshot.catalogue().provider(name)?.slug.as_str())).collect();
    let manifest = snapshot.catalogue().capabilities();
    let cache_of = |slug: &str| {
        let facts = manifest.provider(slug)?.facts();
        let number = |fact: &Option<Fact<u64>>| fact.as_ref().and_then(Fact::value).copied();
        let is_kept = facts.prompt_cache_supported.as_ref().and_then(Fact::value) == Some(&true);
        is_kept.then(|| ProviderCache {
            provider: slug.to_owned(),
            purge: facts.purge.as_ref().and_then(Fact::value).copied(),
            kept_seconds_max: number(&facts.prompt_cache_extended_ttl_seconds)
                .max(number(&facts.prompt_cache_default_ttl_seconds)),
            guarantee: "best_effort_expiry",
        })
    };
    used.into_iter().filter_map(cache_of).collect()
}

async fn purge_cache(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let Nothing {} = request.json()?;
    let row: ProjectRow = load(control, &request).await?;
    let providers = provider_caches(control, row.workspace);
    let view = |deleted| {
        let project_id = row.id.to_string();
        PurgedCache { object: "purged_cache", project_id, deleted, providers }
    };
    if request.is_rehearsal {
        return Reply::json(&view(0));
    }
    let act = request.act(&control.deps.world);
    let answers = control.deps.store.kept_answers();
    let written = answers.purge_cached(act, row.workspace, row.id).await.map_err(of_store)?;
    control.deps.await_published(written.version).await?;
    let scope = PurgeScope::of(row.workspace, Purged::Project(row.id));
    if let Err(error) = control.web.cached.purge(scope).await {
        tracing::warn!(%error, "the response cache in memory was not purged");
    }
    Reply::json(&view(written.row))
}

const fn of(row: &ProjectRow) -> LimitsOf {
    LimitsOf::Subject(Subject::Project(row.id))
}

fn show(control: &Control, row: &ProjectRow) -> ProjectView {
    ProjectView {
        id: row.id.to_string(),
        object: "project",
        workspace_id: row.workspace.to_string(),
        name: row.name.clone(),
        environment: row.environment.clone(),
        origins: origins_of(&row.origins).map(str::to_owned).collect(),
        metadata: row.metadata.clone(),
        limits: limits::show(control, row.workspace, &of(row)),
        caching: CachingForm::of(&row.caching),
        created_at: Moment(row.created_unix_ms),
    }
}

fn row_of(input: Input, base: &ProjectRow) -> Result<(ProjectRow, Option<LimitsForm>), Box<Fault>> {
    limits::check(input.limits, "limits")?;
    let environment = input.environment.as_deref().unwrap_or("production");
    let row = ProjectRow {
        name: checked_name(input.name, "name")?,
        environment: checked_environment(environment, "environment")?,
        origins: checked_origins(&input.origins)?,
        metadata: input.metadata,
        caching: input.caching.unwrap_or_default().read(&base.caching)?,
        ..base.clone()
    };
    Ok((row, input.limits))
}

impl Resource for ProjectRow {
    const PATH: &'static str = "/v2/projects";
    const ONE: &'static str = "/v2/projects/{id}";
    const WHAT: &'static str = "project";
    type View = ProjectView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.projects()
    }

    async fn view(&self, control: &Control) -> Result<ProjectView, Box<Fault>> {
        Ok(show(control, self))
    }
}

impl WritableResource for ProjectRow {
    type Input = Input;
    type Update = Input;
    /// Its limits, which are written after it.
    type Rest = Option<LimitsForm>;

    fn writable(&self, control: &Control) -> Result<Value, Box<Fault>> {
        Ok(json!({"name": self.name, "environment": self.environment, "metadata": self.metadata,
            "origins": origins_of(&self.origins).collect::<Vec<_>>(),
            "limits": limits::show(control, self.workspace, &of(self)),
            "caching": CachingForm::of(&self.caching)}))
    }

    async fn new(
        control: &Control,
        request: &ApiRequest,
        input: Input,
    ) -> Result<(Self, Self::Rest), Box<Fault>> {
        let now = control.deps.world.clock.unix_ms();
        let blank = Self {
            caching: domain::CachePolicy::default(),
            id: ProjectId::new(now, control.deps.world.id_bytes()),
            workspace: request.workspace(),
            name: String::new(),
            environment: String::new(),
            origins: String::new(),
            metadata: Value::Null,
            created_unix_ms: now,
            version: 0,
        };
        row_of(input, &blank)
    }

    async fn change(
        self,
        _: &Control,
        _: &ApiRequest,
        input: Input,
    ) -> Result<(Self, Self::Rest), Box<Fault>> {
        row_of(input, &self)
    }

    async fn finish(
        self,
        control: &Arc<Control>,
        request: &ApiRequest,
        form: Self::Rest,
    ) -> Result<Reply, Box<Fault>> {
        let limits =
            limits::write(control, request.act(&control.deps.world), self.workspace, of(&self), form).await?;
        Ok(Reply::json(&ProjectView { limits, ..show(control, &self) })?.version(self.version))
    }
}
