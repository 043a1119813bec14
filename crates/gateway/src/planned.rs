//! A request that is planned and not served: the table of routes and the readers of addresses and forms find out what
//! it is, as for one that arrives.

use std::sync::Arc;

use api::planner::{PlanAddress, PlanRequest};
use conversation::request::{Addressed, with_model};
use conversation::routes::RouteAction;
use decode::{Inbound, comes_as_form, form_of_json};
use domain::{Dialect, Fault, FaultClass, Operation};
use http::{Method, Uri};
use line::{CallExplanation, Core};

use crate::handle::is_made;
use crate::invoked;
use crate::limits::PLANNED_PATH_CHARS_MAX;
use crate::realtime;
use crate::routes::{self, Action, Found, Route, aliases, dialect_at, operation_at};

/// The methods that are tried in turn where none is named.
static METHODS: [Method; 3] = [Method::POST, Method::GET, Method::DELETE];
const HOW: &str =
    "Name a path at which requests reach a provider, such as /v1/chat/completions; docs/api.md lists them.";

/// Plans a request on a core, without serving it.
///
/// # Errors
/// There is nothing at its address, or nothing that reaches a provider.
pub async fn explain(core: &Core, mut request: PlanRequest) -> Result<CallExplanation, Box<Fault>> {
    let table = routes::table();
    let address = match &request.address {
        PlanAddress::Path(path) => path.clone(),
        PlanAddress::Usual(dialect, modality, model) => {
            let usual = routes::usual_address(&table, *dialect, *modality, model);
            let (dialect, modality) = (dialect.as_str(), modality.as_str());
            usual.ok_or_else(|| bad_path(format!("The dialect {dialect} has no path for {modality}.")))?
        }
    };
    let uri: Uri = address.parse().map_err(|_| nothing_at(&address))?;
    let meant_path = routes::meant_path(&Method::POST, &uri, &request.headers);
    let alias = aliases::meant(uri.path()).filter(|_| meant_path.is_none());
    let path = alias.as_ref().map(|alias| &*alias.path).or(meant_path.as_deref()).unwrap_or(uri.path());
    let (route, rest, method) =
        found(&table, request.method.as_ref(), path).ok_or_else(|| nothing_at(path))?;
    if !reaches_provider(route) {
        let path = printable(path);
        return Err(bad_path(format!(
            "The gateway answers {method} {path} without a provider: there is nothing to plan."
        )));
    }
    if let Some(model) = alias.as_ref().and_then(|alias| alias.model.as_deref()) {
        request.body = with_model(request.body, model);
    }
    let (caller, environment) = (request.caller.clone(), Arc::clone(&request.environment));
    let planned = match inbound(core, (route, rest), &method, &uri, request).await {
        Ok(inbound) if is_of_responses(&inbound) => {
            let operation = Some(inbound.operation);
            run::planned_response(core, inbound, &caller).await.map_err(|fault| (operation, fault))
        }
        Ok(inbound) if run::continues_session(&inbound) => {
            let operation = Some(inbound.operation);
            run::planned_continued(core, inbound, &caller).await.map_err(|fault| (operation, fault))
        }
        planned => planned,
    };
    Ok(match planned {
        Ok(inbound) => line::explain(core, inbound, caller, &environment).await,
        Err((operation, fault)) => CallExplanation::refused(route.dialect, operation, fault),
    })
}

/// Whether the gateway may keep what a request continues.
fn is_of_responses(inbound: &Inbound) -> bool {
    inbound.dialect == Dialect::Responses && inbound.operation == Operation::Chat
}

fn found<'t, 'p>(
    table: &'t [Route],
    method: Option<&Method>,
    path: &'p str,
) -> Option<(&'t Route, &'p str, Method)> {
    let methods = method.map_or(&METHODS[..], std::slice::from_ref);
    let mut found: Vec<_> = methods
        .iter()
        .filter_map(|method| match routes::find(table, method, path) {
            Found::Route(route, rest) => Some((route, rest, method.clone())),
            Found::OtherMethods(..) | Found::Nothing => None,
        })
        .collect();
    found.sort_by_key(|(route, ..)| !reaches_provider(route));
    found.into_iter().next()
}

fn reaches_provider(route: &Route) -> bool {
    matches!(route.action, Action::Dialect(action) if action.calls_provider())
}

type Refused = (Option<Operation>, Box<Fault>);

async fn inbound(
    core: &Core,
    (route, rest): (&Route, &str),
    method: &Method,
    uri: &Uri,
    request: PlanRequest,
) -> Result<Inbound, Refused> {
    let (operation, addressed) = if route.action == Action::Dialect(RouteAction::Realtime) {
        let operation = Operation::Realtime;
        let model = realtime::model(uri).map_err(|fault| (Some(operation), fault))?;
        (operation, Some(Box::new(Addressed { model, ..Addressed::default() })))
    } else {
        operation_at(route, rest, method, uri.query().unwrap_or_default()).map_err(|fault| (None, fault))?
    };
    let clock = &core.deps.world.clock;
    let makes_new = is_made(addressed.as_deref());
    let mut inbound = Inbound {
        trace: request.trace,
        dialect: dialect_at(route, addressed.as_deref()),
        operation,
        headers: request.headers,
        addressed,
        body: request.body,
        form: None,
        received_us: clock.monotonic_us(),
        received_unix_ms: clock.unix_ms(),
    };
    let refused = |fault| (Some(operation), fault);
    if inbound.dialect == Dialect::Invoke {
        invoked::as_messages(&mut inbound).map_err(refused)?;
    }
    if operation == Operation::Run {
        return run::planned(core, &request.caller, inbound).await.map_err(refused);
    }
    if makes_new && comes_as_form(operation, &inbound.headers) {
        let form = form_of_json(operation, &inbound.body, inbound.trace).await.map_err(refused)?;
        inbound.form = Some(Box::new(form));
    }
    Ok(inbound)
}

fn bad_path(message: String) -> Box<Fault> {
    Box::new(Fault::new(FaultClass::BadRequest, "invalid_value", message).param("path").fix(HOW))
}

fn nothing_at(path: &str) -> Box<Fault> {
    bad_path(format!("There is nothing at {}, or it doesn't take this method.", printable(path)))
}

fn printable(path: &str) -> String {
    path.chars().filter(|letter| !letter.is_control()).take(PLANNED_PATH_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(method: Option<&Method>, path: &str) -> Option<String> {
        let table = routes::table();
        let (route, rest, method) = found(&table, method, path)?;
        Some(format!("{method} {} {rest} {}", route.path, reaches_provider(route)))
    }

    #[test]
    fn a_path_means_what_reaches_a_provider_there() {
        for (method, path, expected) in [
            (None, "/v1/chat/completions", Some("POST /v1/chat/completions  true")),
            (None, "/v1/realtime", Some("GET /v1/realtime  true")),
            (None, "/v1/batches", Some("POST /v1/batches  true")),
            (None, "/v1/files/file_1", Some("GET /v1/files/{rest} file_1 true")),
            (Some(&Method::DELETE), "/v1/files/file_1", Some("DELETE /v1/files/{rest} file_1 true")),
            (Some(&Method::GET), "/v1/batches", Some("GET /v1/batches  false")),
            (None, "/v1/models", Some("GET /v1/models  false")),
            (Some(&Method::GET), "/v1/chat/completions", None),
            (None, "/v1/nothing", None),
        ] {
            assert_eq!(at(method, path).as_deref(), expected, "{method:?} {path}");
        }
    }

    #[test]
    fn every_dialect_of_clients_has_its_usual_path() {
        use domain::{Dialect, Modality};
        let table = routes::table();
        let usual = |dialect, modality| routes::usual_address(&table, dialect, modality, "p/m");
        for (dialect, modality, expected) in [
            (Dialect::Chat, Modality::Chat, Some("/v1/chat/completions")),
            (Dialect::Chat, Modality::Embedding, Some("/v1/embeddings")),
            (Dialect::Chat, Modality::Image, Some("/v1/images/generations")),
            (Dialect::Chat, Modality::Realtime, Some("/v1/realtime?model=p%2Fm")),
            (Dialect::Chat, Modality::Rerank, Some("/v1/rerank")),
            (Dialect::Responses, Modality::Chat, Some("/v1/responses")),
            (Dialect::Anthropic, Modality::Chat, Some("/v1/messages")),
            (Dialect::Gemini, Modality::Chat, Some("/v1beta/models/p%2Fm:generateContent")),
            (Dialect::Converse, Modality::Chat, Some("/model/p%2Fm/converse")),
            (Dialect::Invoke, Modality::Chat, Some("/model/p%2Fm/invoke")),
            (Dialect::Run, Modality::Chat, Some("/v1/run")),
            (Dialect::Anthropic, Modality::Image, None),
        ] {
            assert_eq!(usual(dialect, modality).as_deref(), expected, "{dialect:?} {modality:?}");
        }
    }
}
