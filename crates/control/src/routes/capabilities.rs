//! `/v2/capabilities`: what providers and their models can do, each fact with its source, and what the operator states in
//! its place.
//!
//! A provider's manifest is no `Resource`: it is there before anything is stated of it, and its id is the provider's name.

use std::sync::Arc;

use api::access::Access;
use api::failure::invalid;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use catalogue::{Catalogue, StatedCapabilities, StatedFacts, WrongStatement};
use domain::{Fault, FaultClass};
use http::Method;
use reconcilers::{moment, of_store};
use reports::canonical;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::StatementChange;

use super::capability_revisions::{find, revisions_of};

const PATH: &str = "/v2/capabilities";
const ONE: &str = "/v2/capabilities/{id}";
const REVISION: &str = "As it was in this revision.";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, PATH, Access::LOOK, all)
            .says("Returns what providers and their models support, each fact with its source.")
            .returns_value::<Map<String, Value>>()
            .query("provider", "Only this provider.")
            .query("revision", REVISION),
        Route::new(Method::GET, ONE, Access::LOOK, one)
            .says("Returns what one provider and its models support.")
            .returns::<ManifestView>()
            .query("revision", REVISION),
        Route::new(Method::PUT, ONE, Access::OPERATE, put)
            .says("States facts about a provider that replace the built-in ones, and removes all facts stated before.")
            .takes::<Statement>()
            .returns::<ManifestView>(),
        Route::new(Method::PATCH, ONE, Access::OPERATE, patch)
            .says("States single facts about a provider; `null` removes one.")
            .patches::<Statement>()
            .returns::<ManifestView>(),
    ]
}

/// Facts by their names, as `{"value": false, "source": "where it was read"}`: of the provider, and of models by their names
/// there or by what these begin with, as in `gpt-4o*`.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "CapabilityStatement")]
struct Statement {
    facts: Map<String, Value>,
    models: Map<String, Value>,
}

/// The manifest of one provider.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CapabilityManifest")]
pub(super) struct ManifestView {
    object: &'static str,
    provider: String,
    /// Identifies exactly this content: `?revision=` returns it again.
    manifest_revision: String,
    facts: Map<String, Value>,
    /// How some models differ.
    models: Vec<Map<String, Value>>,
    /// What the operator states, which is part of the above; absent if nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    stated: Option<Map<String, Value>>,
}

/// The members of a provider's manifest, as they are kept.
#[derive(Deserialize)]
struct Content {
    provider: String,
    manifest_revision: String,
    facts: Map<String, Value>,
    models: Vec<Map<String, Value>>,
    stated: Option<Map<String, Value>>,
}

async fn all(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let snapshot = control.deps.keeper.current();
    let wanted = request.query.get("provider").map(|slug| canonical(&snapshot, slug));
    let is_wanted = |slug: &str| wanted.as_deref().is_none_or(|wanted| wanted == slug);
    let (revision, data) = match request.query.get("revision") {
        Some(revision) => (revision.clone(), kept(control, revision, &is_wanted).await?),
        None => {
            let manifest = snapshot.catalogue().capabilities();
            let providers = manifest.providers().iter().filter(|one| is_wanted(one.slug()));
            let data = providers.map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
            (manifest.revision().to_owned(), data.map_err(|_| Box::new(Fault::internal()))?)
        }
    };
    Reply::json(&json!({"object": "capability_manifest", "revision": revision, "data": data}))
}

/// The manifests of all providers in a revision of the whole.
async fn kept(
    control: &Control,
    revision: &str,
    is_wanted: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Vec<Value>, Box<Fault>> {
    let whole = find(control, "", revision).await?;
    let of_providers: Vec<(String, String)> =
        serde_json::from_str(&whole.content).map_err(|_| Box::new(Fault::internal()))?;
    let mut data = Vec::new();
    for (provider, revision) in of_providers.iter().filter(|(provider, _)| is_wanted(provider)) {
        let one = find(control, provider, revision).await?;
        data.push(serde_json::from_str(&one.content).map_err(|_| Box::new(Fault::internal()))?);
    }
    Ok(data)
}

async fn one(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let provider = provider_of(control, &request)?;
    if let Some(revision) = request.query.get("revision") {
        let kept = find(control, &provider, revision).await?;
        return Reply::json(&view(&kept.content)?);
    }
    let statement = control.deps.store.capabilities().statement(&provider).await.map_err(of_store)?;
    let snapshot = control.deps.keeper.current();
    let manifest = snapshot.catalogue().capabilities();
    let manifest = manifest.provider(&provider).ok_or_else(|| nothing_read(&provider))?;
    let content = serde_json::to_string(manifest).map_err(|_| Box::new(Fault::internal()))?;
    let version = statement.map_or(0, |statement| statement.version);
    Ok(Reply::json(&view(&content)?)?.version(version))
}

fn view(content: &str) -> Result<ManifestView, Box<Fault>> {
    let Content { provider, manifest_revision, facts, models, stated } =
        serde_json::from_str(content).map_err(|_| Box::new(Fault::internal()))?;
    Ok(ManifestView { object: "capability_manifest", provider, manifest_revision, facts, models, stated })
}

/// The provider that the path names, if the catalogue has it: nothing can be stated of a workspace's own servers.
pub(super) fn provider_of(control: &Control, request: &ApiRequest) -> Result<String, Box<Fault>> {
    let name = request.parameters.first().map_or("", String::as_str);
    let snapshot = control.deps.keeper.current();
    let facts = snapshot.catalogue().provider(name);
    facts.map(|facts| facts.slug.clone()).ok_or_else(|| {
        let printable: String = name.chars().filter(|letter| !letter.is_control()).take(64).collect();
        let message = format!("The catalogue has no provider \"{printable}\".");
        let fault = Fault::new(FaultClass::NotFound, "not_found", message);
        Box::new(fault.fix("GET /v2/capabilities lists the providers that something is known of."))
    })
}

fn nothing_read(provider: &str) -> Box<Fault> {
    let message = format!("Nothing was read of {provider}, and nothing is stated of it.");
    let fault = Fault::new(FaultClass::NotFound, "not_found", message);
    Box::new(fault.fix("An operator states its facts with PATCH /v2/capabilities/{id}."))
}

async fn put(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let provider = provider_of(control, &request)?;
    let statement: Statement = request.json()?;
    state(control, &request, provider, &statement).await
}

async fn patch(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let provider = provider_of(control, &request)?;
    let old = control.deps.store.capabilities().statement(&provider).await.map_err(of_store)?;
    let document = old.map_or(Ok(json!({})), |old| serde_json::from_str(&old.facts));
    let statement = request.apply_patch(document.map_err(|_| Box::new(Fault::internal()))?)?;
    state(control, &request, provider, &statement).await
}

/// The day in UTC, as `2026-11-24`.
fn day_of(unix_ms: u64) -> String {
    moment::write(unix_ms).chars().take(10).collect()
}

async fn state(
    control: &Arc<Control>,
    request: &ApiRequest,
    provider: String,
    statement: &Statement,
) -> Result<Reply, Box<Fault>> {
    let day = day_of(control.deps.world.clock.unix_ms());
    let document = serde_json::to_value(statement).map_err(|_| Box::new(Fault::internal()))?;
    let facts = StatedFacts::read(document, &day).map_err(of_statement)?;
    let text = serde_json::to_string(&facts).map_err(|_| Box::new(Fault::internal()))?;
    let names = facts.names();
    let detail = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    let facts = (!facts.is_empty()).then_some(text);
    write(control, request, StatementChange { provider, facts, day, verb: "state", detail }).await
}

fn of_statement(wrong: WrongStatement) -> Box<Fault> {
    let message = format!("The body is wrong: {}: {}.", wrong.field, wrong.message);
    invalid(wrong.field, message, "Correct that field and send the request again.")
}

/// Writes what is stated of a provider, and shows its manifest once that is in force.
pub(super) async fn write(
    control: &Arc<Control>,
    request: &ApiRequest,
    change: StatementChange,
) -> Result<Reply, Box<Fault>> {
    let snapshot = control.deps.keeper.current();
    let catalogue = Arc::clone(snapshot.catalogue());
    let view_after = manifest_view(&catalogue, &change)?;
    let act = request.act(&control.deps.world);
    let revisions = revisions_of(catalogue, &act);
    let written = control.deps.store.capabilities().change(change, revisions, request.if_match()?, act).await;
    let written = written.map_err(of_store)?;
    control.deps.await_published(written.version).await?;
    Ok(Reply::json(&view_after)?.version(written.row.map_or(0, |row| row.version)))
}

/// The manifest that a change makes: a provider's depends on no other.
fn manifest_view(catalogue: &Catalogue, change: &StatementChange) -> Result<ManifestView, Box<Fault>> {
    let stated = change.facts.iter().map(|facts| StatedCapabilities {
        provider: change.provider.clone(),
        facts: StatedFacts::of_stored(facts),
        day: change.day.clone(),
    });
    let catalogue = catalogue.with_stated(&stated.collect::<Vec<_>>());
    match catalogue.capabilities().provider(&change.provider) {
        Some(manifest) => view(&serde_json::to_string(manifest).map_err(|_| Box::new(Fault::internal()))?),
        // Nothing is known of it any more.
        None => Ok(ManifestView {
            object: "capability_manifest",
            provider: change.provider.clone(),
            manifest_revision: String::new(),
            facts: Map::new(),
            models: Vec::new(),
            stated: None,
        }),
    }
}
