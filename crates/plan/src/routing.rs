//! Which route applies to a call: every field of its scope and every condition must match, and the strongest scope wins; of one
//! scope, the strongest conditions.

use domain::{ConditionStrength, Modality, ModelPattern, RouteId, RouteScope, RouteSpec};
use snapshot::RouteEntry;

use crate::question::PlanInput;
use crate::resolve::Resolved;

/// How strong a matching scope is. The fields are in order of strength, so that
/// a comparison gives the winner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Strength {
    tag: bool,
    key: bool,
    project: bool,
    alias: bool,
    /// How much of the model's full name the scope fixes.
    model: usize,
    modality: bool,
    provider: bool,
    environment: bool,
}

/// The route that applies, or `None` if none matches and the default order holds. `passed` are those that let the request go on
/// to the others, since nothing that they allow has the model.
pub fn winning<'a>(
    input: &PlanInput<'a>,
    resolved: &Resolved<'a>,
    passed: &[RouteId],
) -> Option<&'a RouteEntry> {
    let routes = &input.query.workspace.routes;
    let mut best: Option<((Strength, ConditionStrength), &RouteEntry)> = None;
    for route in routes.iter().filter(|route| !passed.contains(&route.id)) {
        let Some(scope) = strength(input, resolved, &route.spec.scope) else { continue };
        let Some(conditions) = route.spec.when.matched(&input.facts()) else { continue };
        let strength = (scope, conditions);
        // Saving the same scope twice is refused; should it exist all the same, the older route holds.
        let wins =
            best.is_none_or(|(held, other)| strength > held || (strength == held && route.id < other.id));
        if wins {
            best = Some((strength, route));
        }
    }
    best.map(|(_, route)| route)
}

/// The routes that would win over `winner` if facts of the request are so that nobody knows: its metadata and its end user, its
/// tools where it has no traits, and the prompt's size unless that is known. The winner itself is among them if it holds only by such a fact.
pub fn undecided<'a>(
    input: &PlanInput<'a>,
    resolved: &Resolved<'a>,
    winner: Option<&RouteEntry>,
    is_size_known: bool,
) -> Vec<&'a RouteEntry> {
    let strength_of = |route: &RouteEntry| {
        Some((strength(input, resolved, &route.spec.scope)?, route.spec.when.strength()))
    };
    let held = winner.and_then(strength_of);
    let unknown = |route: &&RouteEntry| {
        let when = &route.spec.when;
        let is_open_about_tools = when.has_tools.is_some() && input.query.traits.is_none();
        let depends = when.needs_metadata() || is_open_about_tools || (when.has_size() && !is_size_known);
        depends
            && when.may_hold(&input.facts(), is_size_known)
            && strength_of(route).is_some_and(|found| held.is_none_or(|held| found >= held))
    };
    input.query.workspace.routes.iter().map(|route| &**route).filter(|route| unknown(route)).collect()
}

/// Which part of its scope made a route win, in words.
pub fn reason(spec: &RouteSpec) -> &'static str {
    let scope = &spec.scope;
    let is_exact = |model: &str| ModelPattern::read(model).is_exact();
    if scope.tag.is_some() {
        "its tag is the request's"
    } else if scope.key_id.is_some() {
        "its key is the request's"
    } else if scope.project_id.is_some() {
        "its project is the key's"
    } else if scope.alias.is_some() {
        "its alias is the model's name"
    } else if scope.model.as_deref().is_some_and(is_exact) {
        "its model is the request's"
    } else if scope.model.is_some() {
        "its model is the longest match"
    } else if scope.modality.is_some() {
        "its modality is the request's"
    } else if scope.provider.is_some() {
        "its provider is the pinned seller or the publisher's own"
    } else if scope.environment.is_some() {
        "its environment is the key's"
    } else {
        "it is the workspace's default"
    }
}

/// `None` if some field of the scope does not match.
fn strength(input: &PlanInput<'_>, resolved: &Resolved<'_>, scope: &RouteScope) -> Option<Strength> {
    let question = &input.query;
    let tag = matches(scope.tag.as_deref(), |tag| question.tag == Some(tag))?;
    let key = matches(scope.key_id, |key| question.key == Some(key))?;
    let project = matches(scope.project_id, |project| question.project.id == project)?;
    let alias = matches(scope.alias.as_deref(), |name| {
        resolved.alias.is_some_and(|resolved| *resolved.alias.name == *name)
    })?;
    let model = match scope.model.as_deref() {
        None => 0,
        Some(pattern) => fixed(resolved, pattern)?,
    };
    let modality =
        matches(scope.modality.as_deref(), |word| Modality::from_word(word) == Some(question.modality))?;
    let provider = matches(scope.provider.as_deref(), |name| {
        resolved.provider(input).is_some_and(|slug| slug == input.canonical(name))
    })?;
    let environment = matches(scope.environment.as_deref(), |name| question.environment == name)?;
    Some(Strength { tag, key, project, alias, model, modality, provider, environment })
}

/// `Some(false)` if the field is unset, `Some(true)` if it matches, `None` if it does not.
fn matches<T>(field: Option<T>, test: impl FnOnce(T) -> bool) -> Option<bool> {
    match field {
        None => Some(false),
        Some(value) => test(value).then_some(true),
    }
}

/// How much of a full name a pattern fixes; a whole name fixes more than a prefix of the same length. It may
/// leave the publisher out, and then fixes that too.
fn fixed(resolved: &Resolved<'_>, pattern: &str) -> Option<usize> {
    let pattern = ModelPattern::read(pattern);
    let fits = |(full, before): (&str, usize)| {
        let own = full.get(before..).unwrap_or_default();
        let chars = match (pattern.matches(full), pattern.matches(own)) {
            (true, _) => pattern.fixed().len(),
            (false, true) => before + pattern.fixed().len(),
            (false, false) => return None,
        };
        // Even a pattern that fixes nothing is a scope of models.
        Some(1 + 2 * chars + usize::from(pattern.is_exact()))
    };
    resolved.names().filter_map(fits).max()
}
