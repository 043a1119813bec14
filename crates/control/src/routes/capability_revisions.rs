//! `/v2/capabilities/{id}/revisions`: every manifest that was served, what differs between them, and the way back.

use std::sync::Arc;

use api::access::Access;
use api::failure::missing;
use api::moment::Moment;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use catalogue::{Catalogue, Manifest, StatedCapabilities, StatedFacts};
use domain::{Fault, FaultClass};
use http::Method;
use reconcilers::{Deps, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::capabilities::RevisionsOf;
use store::{Act, CapabilityRevision, CapabilityStatement, StatementChange, StoreError};

use super::capabilities::{ManifestView, provider_of, write};
use super::field_changes::{FieldChange, differences};
use crate::limits::CAPABILITY_REVISIONS_MAX;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/capabilities/{id}/revisions", Access::LOOK, list)
            .says("Lists the revisions of a provider's manifest that were served, newest first, each with its changes.")
            .lists::<RevisionView>(),
        Route::new(Method::POST, "/v2/capabilities/{id}/rollback", Access::OPERATE, rollback)
            .says("Restores the facts stated about a provider in an earlier revision, and removes all other stated facts.")
            .takes::<Rollback>()
            .returns::<ManifestView>(),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CapabilityRevision")]
struct RevisionView {
    object: &'static str,
    revision: String,
    /// When it was first served.
    served_at: Moment,
    /// Who stated what it has: a key or a person; `system` for what a version of the program brought.
    served_by: String,
    /// It is in force.
    current: bool,
    /// What the operator stated in it; absent if nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    stated: Option<Value>,
    /// The values that differ from the revision before; empty for the oldest.
    changes: Vec<FieldChange>,
}

/// The revision to go back to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CapabilityRollback")]
struct Rollback {
    #[schemars(required)]
    revision: Option<String>,
}

/// The revisions that are served where these statements are in force, which nobody knows before they are written.
pub(super) fn revisions_of(catalogue: Arc<Catalogue>, act: &Act) -> RevisionsOf {
    let (unix_ms, by) = (act.unix_ms, act.actor.clone());
    Box::new(move |statements| {
        let catalogue = catalogue.with_stated(&statements.iter().map(stated).collect::<Vec<_>>());
        revisions(catalogue.capabilities(), statements, unix_ms, &by)
    })
}

fn stated(statement: &CapabilityStatement) -> StatedCapabilities {
    StatedCapabilities {
        provider: statement.provider.clone(),
        facts: StatedFacts::of_stored(&statement.facts),
        day: statement.day.clone(),
    }
}

/// Keeps the manifest as this process serves it, and as its version of the program brings it.
pub async fn keep_served(deps: &Deps) -> Result<(), StoreError> {
    let snapshot = deps.keeper.current();
    let store = deps.store.capabilities();
    let catalogue = snapshot.catalogue();
    let unix_ms = deps.world.clock.unix_ms();
    let mut statements = Vec::new();
    for provider in catalogue.capabilities().providers().iter().filter(|one| one.stated().is_some()) {
        statements.extend(store.statement(provider.slug()).await?);
    }
    let mut served = revisions(catalogue.built_in_capabilities(), &[], unix_ms, SYSTEM);
    served.extend(revisions(catalogue.capabilities(), &statements, unix_ms, SYSTEM));
    store.keep(served).await
}

/// Who brings what is built in.
const SYSTEM: &str = "system";

/// A manifest as it is kept: each provider's, and for the whole which revision each of them has.
fn revisions(
    manifest: &Manifest,
    statements: &[CapabilityStatement],
    unix_ms: u64,
    by: &str,
) -> Vec<CapabilityRevision> {
    let kept = |provider: &str, revision: &str, content: String, stated: Option<&CapabilityStatement>| {
        CapabilityRevision {
            provider: provider.to_owned(),
            revision: revision.to_owned(),
            content,
            facts: stated.map(|stated| stated.facts.clone()),
            day: stated.map(|stated| stated.day.clone()).unwrap_or_default(),
            served_unix_ms: unix_ms,
            served_by: by.to_owned(),
        }
    };
    let text = |value: &dyn Fn() -> serde_json::Result<String>| value().unwrap_or_default();
    let of_providers: Vec<(&str, &str)> =
        manifest.providers().iter().map(|one| (one.slug(), one.revision())).collect();
    let whole = kept("", manifest.revision(), text(&|| serde_json::to_string(&of_providers)), None);
    let each = manifest.providers().iter().map(|one| {
        let stated =
            one.stated().and_then(|_| statements.iter().find(|stated| stated.provider == one.slug()));
        kept(one.slug(), one.revision(), text(&|| serde_json::to_string(one)), stated)
    });
    each.chain([whole]).collect()
}

/// A revision that was served; of the whole manifest if the provider is empty.
pub(super) async fn find(
    control: &Control,
    provider: &str,
    revision: &str,
) -> Result<CapabilityRevision, Box<Fault>> {
    match control.deps.store.capabilities().revision(provider, revision).await {
        Err(StoreError::NotFound { .. }) => Err(unknown(revision)),
        found => found.map_err(of_store),
    }
}

fn unknown(revision: &str) -> Box<Fault> {
    let printable: String = revision.chars().filter(|letter| !letter.is_control()).take(64).collect();
    let message = format!("No manifest of the revision \"{printable}\" was served here.");
    let fault = Fault::new(FaultClass::NotFound, "capability_revision_not_found", message).param("revision");
    Box::new(fault.fix("Use a revision that GET /v2/capabilities/{id}/revisions lists."))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let provider = provider_of(control, &request)?;
    let store = control.deps.store.capabilities();
    let kept = store.revisions(&provider, CAPABILITY_REVISIONS_MAX).await.map_err(of_store)?;
    let snapshot = control.deps.keeper.current();
    let current = snapshot.catalogue().capabilities().provider(&provider).map(|one| one.revision());
    let before = kept.iter().skip(1).map(Some).chain([None]);
    let views = kept.iter().zip(before).map(|(one, before)| show(one, before, current));
    Reply::json(&Page::whole(views.collect::<Result<Vec<_>, _>>()?))
}

fn show(
    kept: &CapabilityRevision,
    before: Option<&CapabilityRevision>,
    current: Option<&str>,
) -> Result<RevisionView, Box<Fault>> {
    let stated = kept.facts.as_deref().map(serde_json::from_str).transpose();
    let changes = match before {
        Some(before) => differences(&values(&before.content)?, &values(&kept.content)?),
        None => Vec::new(),
    };
    Ok(RevisionView {
        object: "capability_revision",
        revision: kept.revision.clone(),
        served_at: Moment(kept.served_unix_ms),
        served_by: kept.served_by.clone(),
        current: current == Some(&*kept.revision),
        stated: stated.map_err(|_| Box::new(Fault::internal()))?,
        changes,
    })
}

/// The values of a manifest, by the names of the facts, and behind the names of models where these differ.
fn values(content: &str) -> Result<Value, Box<Fault>> {
    let manifest: Value = serde_json::from_str(content).map_err(|_| Box::new(Fault::internal()))?;
    let mut found = Map::new();
    let mut add = |place: &str, facts: Option<&Value>| {
        for (name, fact) in facts.and_then(Value::as_object).into_iter().flatten() {
            found.insert(format!("{place}{name}"), fact.get("value").cloned().unwrap_or_default());
        }
    };
    add("", manifest.get("facts"));
    for row in manifest.get("models").and_then(Value::as_array).into_iter().flatten() {
        let names = row.get("names").and_then(Value::as_array).into_iter().flatten();
        let names: Vec<&str> = names.filter_map(Value::as_str).collect();
        add(&format!("{} ", names.join(" ")), row.get("facts"));
    }
    Ok(found.into())
}

async fn rollback(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let provider = provider_of(control, &request)?;
    let input: Rollback = request.json()?;
    let revision = input.revision.ok_or_else(|| {
        missing("revision", "Name a revision: GET /v2/capabilities/{id}/revisions lists them.")
    })?;
    let kept = find(control, &provider, &revision).await?;
    let detail = format!("as in {}", kept.revision);
    let change = StatementChange { provider, facts: kept.facts, day: kept.day, verb: "restore", detail };
    write(control, &request, change).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_revision_differs_in_values_not_in_where_they_were_read() {
        let content = |minimum: u64, source: &str| {
            let facts = json!({"prompt_cache_min_tokens": {"value": minimum, "source": source}});
            let models = json!([{"names": ["a", "b*"], "facts": {"vision": {"source": "unverified"}}}]);
            values(&json!({"facts": facts, "models": models}).to_string()).unwrap()
        };
        assert!(differences(&content(5, "a page"), &content(5, "another")).is_empty());
        let read = content(5, "a page");
        assert_eq!(read, json!({"prompt_cache_min_tokens": 5, "a b* vision": null}));
        assert_eq!(differences(&read, &content(6, "a page")).len(), 1);
    }
}
