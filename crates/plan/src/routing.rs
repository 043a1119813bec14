//! Which route applies to a call: every field of its scope must match, and the strongest scope wins.

use catalogue::Modality;
use domain::{RouteScope, RouteSpec};
use snapshot::RouteEntry;

use crate::question::Ask;
use crate::resolve::Resolved;

/// How strong a matching scope is. Fields in order of strength, so that comparing two tells the winner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Strength {
    tag: bool,
    key: bool,
    project: bool,
    /// Characters of the model's full name that the scope fixes; one more than all of them for an alias.
    model: usize,
    modality: bool,
    provider: bool,
    environment: bool,
}

/// The route that decides, or `None` where none matches and the broker's own order holds.
pub fn winning<'a>(ask: &Ask<'a>, resolved: &Resolved<'a>) -> Option<&'a RouteEntry> {
    let routes = &ask.question.workspace.routes;
    let mut best: Option<(Strength, &RouteEntry)> = None;
    for route in routes {
        let Some(strength) = strength(ask, resolved, &route.spec.scope) else { continue };
        // The same scope twice is refused when it is saved; should it be there, the older route holds.
        let wins =
            best.is_none_or(|(held, other)| strength > held || (strength == held && route.id < other.id));
        if wins {
            best = Some((strength, route));
        }
    }
    best.map(|(_, route)| route)
}

/// Which part of its scope made a route win, in words.
pub fn reason(spec: &RouteSpec) -> &'static str {
    let scope = &spec.scope;
    match () {
        () if scope.tag.is_some() => "its tag is the request's",
        () if scope.key_id.is_some() => "its key is the request's",
        () if scope.project_id.is_some() => "its project is the key's",
        () if scope.alias.is_some() => "its alias is the model's name",
        () if scope.model.is_some() => "its model is the longest match",
        () if scope.modality.is_some() => "its modality is the request's",
        () if scope.provider.is_some() => "its provider is the pinned seller or the publisher's own",
        () if scope.environment.is_some() => "its environment is the key's",
        () => "it is the workspace's default",
    }
}

/// `None` where some field of the scope does not match.
fn strength(ask: &Ask<'_>, resolved: &Resolved<'_>, scope: &RouteScope) -> Option<Strength> {
    let question = &ask.question;
    if scope.alias.is_some() {
        // No alias exists yet, so none can be the name that was asked for.
        return None;
    }
    let tag = matches(scope.tag.as_deref(), |tag| question.tag == Some(tag))?;
    let key = matches(scope.key_id, |key| question.key == Some(key))?;
    let project = matches(scope.project_id, |project| question.project.id == project)?;
    let model = match scope.model.as_deref() {
        None => 0,
        Some(pattern) => fixed_chars(resolved, pattern)?,
    };
    let modality =
        matches(scope.modality.as_deref(), |word| Modality::from_word(word) == Some(question.modality))?;
    let provider = matches(scope.provider.as_deref(), |name| {
        resolved.provider(ask).is_some_and(|slug| slug == ask.canonical(name))
    })?;
    let environment = matches(scope.environment.as_deref(), |name| question.environment == name)?;
    Some(Strength { tag, key, project, model, modality, provider, environment })
}

/// `Some(false)` where the field is unset, `Some(true)` where it matches, `None` where it does not.
fn matches<T>(field: Option<T>, test: impl FnOnce(T) -> bool) -> Option<bool> {
    match field {
        None => Some(false),
        Some(value) => test(value).then_some(true),
    }
}

/// How many characters of the full name a pattern fixes. It is a beginning of the full name, or of the name without
/// its publisher, and then fixes the publisher too. The count starts at one: an empty pattern is still a model scope.
fn fixed_chars(resolved: &Resolved<'_>, pattern: &str) -> Option<usize> {
    if resolved.name.starts_with(pattern) {
        return Some(1 + pattern.len());
    }
    let bare = resolved.bare_name();
    let before = resolved.name.len().saturating_sub(bare.len());
    bare.starts_with(pattern).then_some(1 + before + pattern.len())
}
