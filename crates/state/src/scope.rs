//! Which project a caller keeps state in, and which it may see.

use api::failure::{invalid, missing, not_found};
use api::request::ApiRequest;
use api::state::Control;
use domain::{Fault, FaultClass, ProjectId};

/// Refuses what is in a project that the caller may not see, as if it weren't there.
pub(crate) fn check(
    request: &ApiRequest,
    project: ProjectId,
    what: &str,
    id: &impl ToString,
) -> Result<(), Box<Fault>> {
    match request.confined_to() {
        Some(own) if own != project => Err(not_found(what, &id.to_string())),
        _ => Ok(()),
    }
}

/// The project of a list: the one that is asked for, within what the caller may see.
pub(crate) fn listed(request: &ApiRequest) -> Result<Option<ProjectId>, Box<Fault>> {
    let wanted = request.query.get("project_id").map(|text| read("project_id", text)).transpose()?;
    request.seen_project(wanted)
}

/// The project of something new: the one that is named, or the caller's own.
pub(crate) fn of_new(
    control: &Control,
    request: &ApiRequest,
    named: Option<&str>,
) -> Result<ProjectId, Box<Fault>> {
    let Some(text) = named else {
        let own = request.caller.project().map(|project| project.id);
        return own.ok_or_else(|| missing("project_id", "Name a project of the workspace."));
    };
    let wanted: ProjectId = read("project_id", text)?;
    check(request, wanted, "project", &wanted)?;
    let snapshot = control.deps.keeper.current();
    let workspace = snapshot.workspace(request.workspace());
    let is_there = workspace.is_some_and(|entry| entry.projects.iter().any(|project| project.id == wanted));
    if is_there { Ok(wanted) } else { Err(not_found("project", text)) }
}

/// Refuses to keep content where the project's policy lets nothing be retained.
pub(crate) fn check_retention(
    control: &Control,
    request: &ApiRequest,
    project: ProjectId,
) -> Result<(), Box<Fault>> {
    let snapshot = control.deps.keeper.current();
    let workspace = snapshot.workspace(request.workspace());
    let entry = workspace.and_then(|entry| entry.projects.iter().find(|other| other.id == project));
    let policies = entry.and_then(|entry| entry.policy.as_ref());
    if policies.is_some_and(|policies| policies.retains_nothing()) {
        let message = "The project's policy doesn't allow retention, but this stores content.";
        let fault = Fault::new(FaultClass::Forbidden, "policy_forbids", message).param("retention");
        return Err(Box::new(fault.fix("Use a project whose policy allows retention.")));
    }
    Ok(())
}

/// An id in a field.
pub(crate) fn read<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &str,
    text: &str,
) -> Result<T, Box<Fault>> {
    text.parse().map_err(|error: T::Err| {
        let excerpt: String = text.chars().take(64).collect();
        invalid(field, format!("\"{excerpt}\" isn't an id of this kind."), format!("Send the id: {error}."))
    })
}

/// The nth id of the path; a malformed one is not found.
pub(crate) fn in_path<T: std::str::FromStr>(
    request: &ApiRequest,
    at: usize,
    what: &str,
) -> Result<T, Box<Fault>> {
    let text = request.parameters.get(at).map_or("", String::as_str);
    text.parse().map_err(|_| not_found(what, text))
}
