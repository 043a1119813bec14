//! Names in routes and aliases that no known model or provider has. They are accepted, since a provider may know more, with a warning in the answer.

use api::state::Control;
use catalogue::Catalogue;
use domain::{ModelPattern, RouteSpec, WorkspaceId};
use snapshot::WorkspaceEntry;

/// The warning for a name or a pattern that matches no known model.
pub fn warning(control: &Control, workspace: WorkspaceId, text: &str) -> Option<String> {
    let snapshot = control.deps.keeper.current();
    let (catalogue, entry) = (snapshot.catalogue(), snapshot.workspace(workspace)?);
    let pattern = ModelPattern::read(text);
    let is_known = is_own(entry, pattern)
        || is_own_server(catalogue, entry, pattern)
        || match pattern {
            ModelPattern::Exact(name) => is_listed(catalogue, name),
            ModelPattern::Prefix(prefix) => begins_one(catalogue, prefix),
        };
    (!is_known).then(|| {
        format!(
            "No known model is called {text}: this may never match a request. GET /v1/models lists the models that serve now."
        )
    })
}

/// The warning for a provider that neither the catalogue nor a credential of the workspace has.
pub fn provider_warning(control: &Control, workspace: WorkspaceId, spec: &RouteSpec) -> Option<String> {
    let snapshot = control.deps.keeper.current();
    let own = &snapshot.workspace(workspace)?.credentials;
    let is_known = |name: &str| {
        snapshot.catalogue().provider(name).is_some() || own.iter().any(|one| *one.provider == *name)
    };
    let mut named = spec.providers.iter().chain(&spec.scope.provider);
    let unknown = named.find(|name| !is_known(name.as_str()))?;
    Some(format!(
        "No provider is called {unknown}: this may never match a request. GET /v2/provider-credentials/kinds lists the providers."
    ))
}

/// A model of a node, or one that a credential names.
fn is_own(entry: &WorkspaceEntry, pattern: ModelPattern<'_>) -> bool {
    entry.nodes.iter().flat_map(|node| node.models.iter()).any(|model| pattern.matches(model))
        || entry.credentials.iter().any(|credential| {
            let priced = credential.pricing.iter().map(|(name, _)| name);
            let deployed = credential.hosting.deployments.iter().flat_map(|(model, name)| [model, name]);
            let named = |name: &String| {
                pattern.matches(name) || pattern.matches(&format!("{}/{name}", credential.provider))
            };
            priced.chain(deployed).any(named)
        })
}

/// The models of a workspace's own server aren't known here.
fn is_own_server(catalogue: &Catalogue, entry: &WorkspaceEntry, pattern: ModelPattern<'_>) -> bool {
    let slug = pattern.fixed().split(['/', ':']).next().unwrap_or_default();
    let is_its = |provider: &str| provider == slug || (!pattern.is_exact() && provider.starts_with(slug));
    let is_unlisted = |provider: &str| catalogue.provider(provider).is_none_or(|facts| facts.custom);
    entry.credentials.iter().any(|one| is_its(&one.provider) && is_unlisted(&one.provider))
}

/// A model, a release of one, or a provider's own name of a model.
fn is_listed(catalogue: &Catalogue, name: &str) -> bool {
    catalogue.model(name).is_some()
        || !catalogue.by_bare_name(name).is_empty()
        || catalogue.release(name).is_some()
        || name.split_once([':', '/']).is_some_and(|(provider, rest)| {
            catalogue.provider(provider).is_some_and(|facts| {
                facts.models_of.is_some() || catalogue.named_at(&facts.slug, rest).is_some()
            }) || (name.contains(':') && catalogue.model(rest).is_some())
        })
}

/// Whether a prefix begins the name of a model, with its publisher or without, or is a provider's whole name.
fn begins_one(catalogue: &Catalogue, prefix: &str) -> bool {
    let mut models = catalogue.models().iter();
    models.any(|model| model.full.starts_with(prefix) || model.name.starts_with(prefix))
        || prefix.strip_suffix('/').is_some_and(|provider| catalogue.provider(provider).is_some())
}
