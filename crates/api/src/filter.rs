//! The `filter=` parameter of `/v2`: resolves names to ids and relative times to timestamps.

use ::filter::{Field, Filter, FilterError, Term, Test};
use domain::{CredentialId, Fault, FaultClass, KeyId, NodeId, ProjectId};
use reconcilers::{moment, of_store};

use crate::request::ApiRequest;
use crate::state::Control;

/// A parsed filter.
#[derive(Debug, Default)]
pub struct ParsedFilter {
    pub terms: Vec<Term>,
    pub since_unix_ms: Option<u64>,
    /// Exclusive.
    pub until_unix_ms: Option<u64>,
}

/// The list that is filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilteredList {
    Requests,
    Sums,
}

/// The request's filter; empty where it has none.
///
/// # Errors
/// 400 with the position of what can't be parsed.
pub async fn read(
    control: &Control,
    request: &ApiRequest,
    of: FilteredList,
) -> Result<ParsedFilter, Box<Fault>> {
    let mut parsed_filter = ParsedFilter::default();
    let Some(text) = request.query.get("filter") else { return Ok(parsed_filter) };
    let filter = Filter::parse(text).map_err(|error| invalid_filter(&error))?;
    for term in filter.terms {
        if of == FilteredList::Sums && !term.field.applies_to_usage() {
            return Err(no_sum(&term));
        }
        match (&term.test, term.field) {
            (Test::Moment(text), Field::Since) => {
                parsed_filter.since_unix_ms = Some(moment_of(control, &term, text)?)
            }
            (Test::Moment(text), _) => parsed_filter.until_unix_ms = Some(moment_of(control, &term, text)?),
            (_, Field::EndUser) => parsed_filter.terms.push(resolve_end_user(control, request, term)?),
            (_, Field::Key | Field::Project | Field::Credential | Field::Node) => {
                parsed_filter.terms.push(resolve_names(control, request, term).await?)
            }
            _ => parsed_filter.terms.push(term),
        }
    }
    Ok(parsed_filter)
}

/// Objects may be named instead of given by id: a name matches every object that has it.
async fn resolve_names(control: &Control, request: &ApiRequest, term: Term) -> Result<Term, Box<Fault>> {
    let (name, begins) = match &term.test {
        Test::Begins(name) => (name.clone(), true),
        Test::Is(name) => (name.clone(), false),
        _ => return Ok(term),
    };
    let is_id = match term.field {
        Field::Key => name.parse::<KeyId>().is_ok(),
        Field::Credential => name.parse::<CredentialId>().is_ok(),
        Field::Node => name.parse::<NodeId>().is_ok(),
        _ => name.parse::<ProjectId>().is_ok(),
    };
    if is_id && !begins {
        return Ok(term);
    }
    let (store, workspace, wanted) = (&control.deps.store, request.workspace(), name.clone());
    let ids = match term.field {
        Field::Key => store.api_keys().ids_by_name(workspace, wanted, begins).await.map(|ids| texts(&ids)),
        Field::Credential => {
            store.credentials().ids_by_name(workspace, wanted, begins).await.map(|ids| texts(&ids))
        }
        Field::Node => store.nodes().ids_by_name(workspace, wanted, begins).await.map(|ids| texts(&ids)),
        _ => store.projects().ids_by_name(workspace, wanted, begins).await.map(|ids| texts(&ids)),
    };
    let ids = ids.map_err(of_store)?;
    if ids.is_empty() {
        let what = term.field.as_str();
        let message = format!("No {what} of this workspace is called {name}.");
        let fix = format!("Write the name of a {what}, its beginning with *, or its id.");
        return Err(invalid_filter(&FilterError { at: term.at, message, fix }));
    }
    Ok(Term { test: Test::OneOf(ids), ..term })
}

/// Records hold a keyed hash of an end user's name, so only a whole name finds them.
fn resolve_end_user(control: &Control, request: &ApiRequest, term: Term) -> Result<Term, Box<Fault>> {
    let id_of = |name: &str| control.end_user(request.workspace(), name).to_string();
    let test = match term.test {
        Test::Is(name) => Test::Is(id_of(&name)),
        Test::OneOf(names) => Test::OneOf(names.iter().map(|name| id_of(name)).collect()),
        _ => {
            let message = "Records don't hold the names of end users, so the beginning of one finds nothing."
                .to_owned();
            let fix = "Write the whole name, or the id from a request's end_user_id.".to_owned();
            return Err(invalid_filter(&FilterError { at: term.at, message, fix }));
        }
    };
    Ok(Term { test, ..term })
}

fn texts<Id: ToString>(ids: &[Id]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn moment_of(control: &Control, term: &Term, text: &str) -> Result<u64, Box<Fault>> {
    let now = control.deps.world.clock.unix_ms();
    moment::ago(text, now).or_else(|| moment::read(text, "filter").ok()).ok_or_else(|| {
        let name = term.field.as_str();
        invalid_filter(&FilterError {
            at: term.at,
            message: format!("\"{text}\" is neither a time ago nor a moment."),
            fix: format!(
                "Write {name}:30m, {name}:24h, {name}:7d, {name}:2026-11-20 or {name}:2026-11-20T08:00:00Z."
            ),
        })
    })
}

fn no_sum(term: &Term) -> Box<Fault> {
    let known: Vec<_> =
        Field::ALL.iter().filter(|(field, ..)| field.applies_to_usage()).map(|(_, name, ..)| *name).collect();
    invalid_filter(&FilterError {
        at: term.at,
        message: format!("Sums don't know the {} of each request.", term.field.as_str()),
        fix: format!("Ask /v2/requests, or filter sums by {}.", known.join(", ")),
    })
}

fn invalid_filter(error: &FilterError) -> Box<Fault> {
    let fault = Fault::new(FaultClass::BadRequest, "invalid_filter", error.to_string());
    Box::new(fault.param("filter").fix(error.fix.clone()))
}

/// The later of two start times.
pub fn later(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.max(other)
}

/// The earlier of two end times.
pub fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_spans_the_common_one_counts() {
        assert_eq!(
            (later(Some(1), Some(2)), later(None, Some(2)), later(None, None)),
            (Some(2), Some(2), None)
        );
        assert_eq!(
            (earlier(Some(1), Some(2)), earlier(None, Some(2)), earlier(None, None)),
            (Some(1), Some(2), None)
        );
    }
}
