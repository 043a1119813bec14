//! What a client reads when nothing can be planned: what is wrong and which command would change it.

use catalogue::{Model, nearest_of};
use domain::limits::{NODE_POLL_EVERY, RETRY_AFTER_SENT_MAX};
use domain::{Fault, FaultClass, Modality, PolicyId, PolicyRule, Principal, Profile, Refuser};
use snapshot::RouteEntry;

use crate::attempt::Seat;
use crate::capabilities;
use crate::limits::{NAMES_LISTED_MAX, PRINTED_NAME_CHARS_MAX};
use crate::listed::lacks_model;
use crate::question::PlanInput;
use crate::reason::{Refusal, Rejection, seconds};
use crate::resolve::{Resolved, ResolvedTarget, Rule};

const AGAIN: &str = "Send the whole conversation in \"input\" without it, or make the credential that created it usable again.";

/// The names that a client may have meant.
fn nearest(input: &PlanInput<'_>) -> Vec<String> {
    let own = input.query.workspace.nodes.iter().flat_map(|node| node.models.iter().map(String::as_str));
    let known = input.catalogue.models().iter().map(|model| &*model.full);
    nearest_of(input.query.model, known.chain(own), NAMES_LISTED_MAX)
}

pub fn unknown_model(input: &PlanInput<'_>) -> Box<Fault> {
    let (wanted, near) = (input.query.model, nearest(input));
    let message = format!("There is no model \"{}\" here.", printable(wanted));
    let fix = match near.as_slice() {
        [] => "GET /v1/models lists the models that this key may use; \
               a model that is not listed is reached as provider/model."
            .to_owned(),
        names => {
            format!("Did you mean {}? GET /v1/models lists the models that this key may use.", or_list(names))
        }
    };
    Box::new(Fault::new(FaultClass::NotFound, "model_not_found", message).fix(fix).param("model"))
}

pub fn ambiguous_model(name: &str, models: &[&Model]) -> Box<Fault> {
    let full: Vec<String> = models.iter().map(|model| (*model.full).to_owned()).collect();
    let message = format!("The name \"{}\" stands for {} models.", printable(name), full.len());
    let fix = format!("Write the full name: {}.", or_list(&full));
    Box::new(Fault::new(FaultClass::BadRequest, "model_ambiguous", message).fix(fix).param("model"))
}

pub fn wrong_modality(model: &Model, wanted: Modality) -> Box<Fault> {
    let message = format!(
        "{} does {}, and this path is for {} models.",
        model.full,
        model.modality.as_str(),
        wanted.as_str()
    );
    let fix = "Name a model of that kind; GET /v1/models lists them.";
    Box::new(Fault::new(FaultClass::Unsupported, wanted.mismatch_code(), message).fix(fix).param("model"))
}

/// Every candidate's provider asked to wait; the first of them resets in `wait_ms`.
pub fn all_limited(wait_ms: u64) -> Box<Fault> {
    let message = format!("All providers for this model are rate limited; next try in {}.", seconds(wait_ms));
    let fault = Fault::new(FaultClass::RateLimit, "rate_limit_exceeded", message)
        .fix("Wait that long, or add another credential, node or account that serves this model.");
    Box::new(patient(fault, wait_ms))
}

/// No candidate has the requested model, or those that have it can't be used.
pub fn nothing_serves(
    input: &PlanInput<'_>,
    resolved: &Resolved<'_>,
    route: Option<&RouteEntry>,
    rejected: &[Rejection],
) -> Box<Fault> {
    let near: Vec<&Rejection> =
        rejected.iter().filter(|rejection| is_informative(rejection.refusal)).collect();
    let away: Vec<&Rejection> =
        near.iter().copied().filter(|rejection| rejection.refusal == Refusal::Unreachable).collect();
    let nodes_may_serve = route
        .is_none_or(|route| route.spec.profiles.is_empty() || route.spec.profiles.contains(&Profile::Byoc));
    if !away.is_empty() && nodes_may_serve {
        return unreachable(resolved, &away);
    }
    let known = forbidden(input, resolved, &near)
        .or_else(|| forbidden_by_hints(resolved, &near))
        .or_else(|| terms_unpriced(resolved, &near))
        .or_else(|| capabilities::fault(input, &near));
    if let Some(fault) = known {
        return fault;
    }
    let mut message = format!("Nothing in this workspace serves the model {}", printable(&resolved.name));
    if let Some(route) = route {
        message.push_str(&format!(" under route {}", route.id));
    }
    let reasons: Vec<String> =
        near.iter().take(NAMES_LISTED_MAX).map(|rejection| rejection.sentence()).collect();
    if !reasons.is_empty() {
        message.push_str(&format!(": {}", reasons.join("; ")));
    }
    message.push('.');
    let missing = sellers_missing(input, resolved);
    if !missing.is_empty() {
        message.push_str(&format!(" {} is not in this build yet.", missing.join(", ")));
    }
    if input.data_plane.is_some() {
        message.push_str(" This gateway is a data plane: the operator's accounts and subscriptions stay at its control plane.");
    }
    let mut fix = match route.filter(|route| route.spec.names_seats()) {
        Some(route) if lacks_model(input, &route.spec, true, rejected) => format!(
            "Name what has the model in {} too, or let its requests go on to other routes and the default with \
             \"model_missing\" in its fallback_on; `tidegate plan {}` tells each candidate's reason.",
            route.id,
            printable(&resolved.name)
        ),
        _ => commands(input, resolved, &near),
    };
    if matches!(resolved.rule, Rule::Family | Rule::Dialect)
        && let near @ [_, ..] = nearest(input).as_slice()
    {
        fix = format!("Did you mean {}? Otherwise: {fix}", or_list(near));
    }
    let mut fault = Fault::new(FaultClass::NotFound, "model_not_served", message).fix(fix).param("model");
    fault.refused_by = route.map(|route| Box::new(Refuser::Route(route.id)));
    Box::new(fault)
}

/// An operator's account could serve it, but the price of the tier or of a tool is not known.
fn terms_unpriced(resolved: &Resolved<'_>, near: &[&Rejection]) -> Option<Box<Fault>> {
    let (code, param, what, fix) = near.iter().find_map(|rejection| match rejection.refusal {
        Refusal::TierUnpriced { tier } => Some((
            "service_tier_unpriced",
            "service_tier",
            format!("The tier \"{}\" of {}", tier.as_str(), printable(&resolved.name)),
            "Leave service_tier out, name a tier that GET /v2/price-books has a price of, or add a credential of your own.",
        )),
        Refusal::ToolUnpriced { tool } => Some((
            "hosted_tool_unpriced",
            "tools",
            format!("The tool \"{}\", which the provider of {} runs,", tool.as_str(), printable(&resolved.name)),
            "Leave the tool out, use one that GET /v2/price-books has a fee of, or add a credential of your own.",
        )),
        Refusal::StorageUnpriced => Some((
            "cache_storage_unpriced",
            "model",
            format!("The storage of a cached prompt of {}", printable(&resolved.name)),
            "Cache it for a model that GET /v2/price-books has a price of storage of, or add a credential of your own.",
        )),
        _ => None,
    })?;
    let reasons: Vec<String> =
        near.iter().take(NAMES_LISTED_MAX).map(|rejection| rejection.sentence()).collect();
    let message = format!(
        "{what} has no known price, and nothing is sent on the operator's account without one: {}.",
        reasons.join("; ")
    );
    Some(Box::new(Fault::new(FaultClass::Unsupported, code, message).fix(fix).param(param)))
}

/// A candidate could serve it, and the project's policy forbids that.
fn forbidden(input: &PlanInput<'_>, resolved: &Resolved<'_>, near: &[&Rejection]) -> Option<Box<Fault>> {
    let policies = input.query.project.policy.as_ref()?;
    let refusals: Vec<(PolicyRule, PolicyId, String)> = near
        .iter()
        .filter_map(|rejection| match rejection.refusal {
            Refusal::PolicyForbids { rule, policy, .. } => Some((rule, policy, rejection.sentence())),
            _ => None,
        })
        .take(NAMES_LISTED_MAX)
        .collect();
    let &(rule, id, _) = refusals.first()?;
    let policy = policies.each().find(|policy| policy.id == id)?;
    let sentences: Vec<&str> = refusals.iter().map(|(_, _, sentence)| sentence.as_str()).collect();
    let message = format!(
        "The policy {id} of this {} keeps {} from being served: {}.",
        policy.owner(),
        printable(&resolved.name),
        sentences.join("; ")
    );
    let fix = match rule {
        PolicyRule::Retention | PolicyRule::Compliance => {
            "State on a credential or account what is agreed with its provider (`--retention`, `--compliance`), ask for another \
             model, or have an admin change the policy."
        }
        _ => {
            "Ask for another model, add a credential, account or node that the policy allows, or have an admin change it."
        }
    };
    let fault = Fault::new(FaultClass::Forbidden, "policy_forbids", message).fix(fix).param("model");
    Some(Box::new(fault.refused_by(Refuser::PolicyRule(id, rule)).should_retry(false)))
}

/// A candidate could serve it, and the client's own hints keep the call away from it.
fn forbidden_by_hints(resolved: &Resolved<'_>, near: &[&Rejection]) -> Option<Box<Fault>> {
    let is_by_hints = |rejection: &&&Rejection| matches!(rejection.refusal, Refusal::HintsForbid { .. });
    let sentences: Vec<String> = near
        .iter()
        .filter(is_by_hints)
        .take(NAMES_LISTED_MAX)
        .map(|rejection| rejection.sentence())
        .collect();
    if sentences.is_empty() {
        return None;
    }
    let name = printable(&resolved.name);
    let message = format!("The request's hints keep {name} from being served: {}.", sentences.join("; "));
    let fix = "Allow more under \"routing\" of the hints, or ask for another model.";
    let fault = Fault::new(FaultClass::Forbidden, "hints_forbid", message).fix(fix).param("routing");
    Some(Box::new(fault.should_retry(false)))
}

/// The seat that made the answer which the call continues can't be used now.
pub fn maker_cannot(maker: Principal, rejected: &[Rejection]) -> Box<Fault> {
    let why = why_not(rejected.iter().find(|rejection| rejection.seat.principal() == maker));
    let message = format!(
        "Only the credential or account that created the response of \"previous_response_id\" can continue it: {why}."
    );
    let fault = Fault::new(FaultClass::BadRequest, "previous_response_unavailable", message);
    Box::new(fault.param("previous_response_id").fix(AGAIN))
}

/// The seat that stores the files which the call names can't be used for this.
pub fn keeper_cannot(
    input: &PlanInput<'_>,
    resolved: &Resolved<'_>,
    keeper: Principal,
    path: &str,
    rejected: &[Rejection],
) -> Box<Fault> {
    let credentials = input.query.workspace.credentials.iter();
    let own = credentials.filter(|one| one.principal() == keeper).map(|one| &*one.provider);
    let pooled = input.accounts.iter().filter(|one| Principal::Account(one.id) == keeper);
    let provider = own.chain(pooled.map(|one| &*one.provider)).next();
    let message = format!(
        "What {path} names is kept by {}, and no other credential or account can read it for {}: {}.",
        provider.unwrap_or("a credential or account that is gone"),
        printable(&resolved.name),
        why_not(rejected.iter().find(|rejection| rejection.seat.principal() == keeper)),
    );
    let fault = Fault::new(FaultClass::BadRequest, "file_kept_elsewhere", message).param(path.to_owned());
    let fix = "Ask for a model that is served where it is kept, or upload or create it again with that model's name.";
    Box::new(fault.fix(fix))
}

/// The named files are stored with one seat, and the answer that the call continues was made by another.
pub fn files_apart(path: &str) -> Box<Fault> {
    let message = format!(
        "The response that \"previous_response_id\" names was made by another credential or account than the one that \
         keeps the file which {path} names."
    );
    let fault = Fault::new(FaultClass::BadRequest, "files_kept_apart", message).param(path.to_owned());
    Box::new(
        fault.fix("Send the whole conversation in \"input\", or upload the file to the provider that made the response."),
    )
}

/// The seat that made the answer which the call is about can't be used now.
pub fn maker_away(rejection: Option<&Rejection>) -> Box<Fault> {
    let message = format!(
        "Only the credential or account that created a response can return it: {}.",
        why_not(rejection)
    );
    let fault = Fault::new(FaultClass::NotFound, "response_unavailable", message);
    Box::new(fault.fix("Make that usable again, or send the conversation again."))
}

/// Only the operator's accounts serve another model of a route, and the request must not leave the customer's own.
pub fn fallback_leaves_own(model: &str, rejected: &[Rejection]) -> Box<Fault> {
    let reasons: Vec<String> = rejected.iter().take(NAMES_LISTED_MAX).map(Rejection::sentence).collect();
    let message =
        format!("Nothing of this workspace's own serves {}: {}.", printable(model), reasons.join("; "));
    let fix = "Add a credential that serves it, or set byok_fallback: managed on the route.";
    Box::new(Fault::new(FaultClass::NotFound, "model_not_served", message).fix(fix).param("model"))
}

fn why_not(rejection: Option<&Rejection>) -> String {
    rejection.map_or_else(
        || "that credential or account no longer exists".to_owned(),
        |rejection| rejection.sentence(),
    )
}

/// This project has no answer of this id.
pub fn unknown_response(id: &str) -> Box<Fault> {
    let message = format!("Response with id '{}' not found.", printable(id));
    let fault = Fault::new(FaultClass::NotFound, "response_not_found", message);
    Box::new(fault.fix("Use the id of a response that this project made here, kept, and did not delete."))
}

/// This project has no file, batch or video of this id.
pub fn unknown_object(noun: &str, code: &'static str, id: &str) -> Box<Fault> {
    let message = format!("There is no {noun} '{}' here.", printable(id));
    let fault = Fault::new(FaultClass::NotFound, code, message);
    Box::new(fault.fix("Use an id as it came in an answer to this project, of what was not deleted."))
}

/// Only the seat that made a video can remix it, and it can't be used, or must not be.
pub fn remix_cannot(
    input: &PlanInput<'_>,
    resolved: &Resolved<'_>,
    maker: Principal,
    rejected: &[Rejection],
) -> Box<Fault> {
    let its: Vec<&Rejection> =
        rejected.iter().filter(|rejection| rejection.seat.principal() == maker).collect();
    forbidden(input, resolved, &its)
        .unwrap_or_else(|| keeper_away(input.query.modality.as_str(), its.first().copied()))
}

/// Without a length, the price of a video is not known before it is made.
pub fn video_length() -> Box<Fault> {
    let message =
        "A managed account makes a video of a stated length, so that its price is known before it is made.";
    let fault = Fault::new(FaultClass::Unsupported, "video_length_missing", message);
    let fix = "Send \"seconds\", such as \"8\"; to make one like another, add a credential of a provider that makes videos.";
    Box::new(fault.param("seconds").fix(fix))
}

/// The price of a video is not known before it is made, so that no money could be held for it.
pub fn video_on_account() -> Box<Fault> {
    let message = "A video of this model is made on a credential of your own: only a node or a managed account serves it here, and it has no price per second.";
    let fault = Fault::new(FaultClass::Unsupported, "video_needs_own_credential", message);
    Box::new(fault.param("model").fix("Add a credential of a provider that makes videos."))
}

/// The client of a background response may leave before its usage is known, so that
/// no money could be held for it.
pub fn background_on_account() -> Box<Fault> {
    let message = "A response in the background is made on a credential of your own, and only a managed account serves this model here.";
    let fault = Fault::new(FaultClass::Unsupported, "background_needs_own_credential", message);
    Box::new(
        fault
            .param("background")
            .fix("Leave \"background\" out, or add a credential of a provider that serves the model."),
    )
}

/// Ids of files are their provider's there, and whoever shares the account could name them.
pub fn file_on_account() -> Box<Fault> {
    let message = "Files of this API are stored with a credential of your own, and only a managed account serves this model here.";
    let fault = Fault::new(FaultClass::Unsupported, "files_not_kept", message);
    Box::new(fault.fix("Add a credential of the API's vendor, or send the file's content with the request."))
}

/// The file that a batch is to be made from is not one of this project's.
pub fn unknown_input(id: &str) -> Box<Fault> {
    let message = format!("There is no file '{}' here.", printable(id));
    let fault = Fault::new(FaultClass::BadRequest, "file_not_found", message);
    Box::new(fault.param("input_file_id").fix("Upload it with POST /v1/files, and use the id of the answer."))
}

/// The usage of a batch is not known before it ends, so that no money could be held for it.
pub fn batch_on_account() -> Box<Fault> {
    let message =
        "A batch is worked through on a credential of your own, and this file is kept on a managed account.";
    let fault = Fault::new(FaultClass::Unsupported, "batch_needs_own_credential", message);
    Box::new(fault.param("input_file_id").fix("Upload the file again: the gateway works through it, or a credential of the provider's that you add before."))
}

/// The usage of a batch is reported in its results alone, which are deleted with it.
pub fn batch_not_booked() -> Box<Fault> {
    let message = "The batch goes on, or what its requests used is not in the books yet.";
    let fault = Fault::new(FaultClass::Conflict, "batch_not_booked", message);
    Box::new(
        fault.fix("Delete it in a moment; if it is still running, cancel it first.").retry_after_ms(1_000),
    )
}

/// The seat that stores a file, batch or video can't be used now.
pub fn keeper_away(noun: &str, rejection: Option<&Rejection>) -> Box<Fault> {
    let message =
        format!("Only the credential or account that stores a {noun} can serve it: {}.", why_not(rejection));
    let fault = Fault::new(FaultClass::NotFound, "keeper_unavailable", message);
    Box::new(fault.fix("Make that usable again, or send it again."))
}

/// The store that knows who made an answer does not respond.
pub fn makers_unknown() -> Box<Fault> {
    let message = "Which credential created what the request names can't be looked up now.";
    let fault = Fault::new(FaultClass::Unavailable, "store_unavailable", message);
    Box::new(fault.fix("Send the request again in a moment.").retry_after_ms(1_000))
}

fn unreachable(resolved: &Resolved<'_>, away: &[&Rejection]) -> Box<Fault> {
    let names: Vec<String> = away.iter().map(|rejection| rejection.label()).collect();
    let message =
        format!("{} is served by {}, which did not answer when last asked.", resolved.name, names.join(", "));
    let wait_ms = u64::try_from(NODE_POLL_EVERY.as_millis()).unwrap_or(u64::MAX);
    let fault = Fault::new(FaultClass::Overloaded, "node_unreachable", message)
        .fix("Start the node, or see `tidegate nodes list`; it is asked again every 30 s.");
    Box::new(patient(fault, wait_ms))
}

/// Whether a reason is of use to a client that asks why nothing serves.
const fn is_informative(refusal: Refusal) -> bool {
    !matches!(refusal, Refusal::DoesNotOffer | Refusal::ProfileNotChosen { .. })
}

/// Sets the wait. If it is longer than clients may be told to sleep, their own retries are turned off.
fn patient(fault: Fault, wait_ms: u64) -> Fault {
    let fault = fault.retry_after_ms(wait_ms);
    if u128::from(wait_ms) > RETRY_AFTER_SENT_MAX.as_millis() { fault.should_retry(false) } else { fault }
}

/// The model's providers that this build has no code for.
fn sellers_missing<'a>(input: &PlanInput<'a>, resolved: &Resolved<'a>) -> Vec<&'a str> {
    sellers(input, resolved)
        .into_iter()
        .filter(|slug| input.catalogue.provider(slug).is_some_and(|facts| !facts.available))
        .collect()
}

fn sellers<'a>(input: &PlanInput<'a>, resolved: &Resolved<'a>) -> Vec<&'a str> {
    match resolved.target {
        ResolvedTarget::Model { seller: Some(seller), .. } | ResolvedTarget::AtSeller { seller, .. } => {
            vec![seller]
        }
        ResolvedTarget::Model { model, seller: None } => {
            model.offers.iter().map(|offer| input.canonical(offer.provider.as_str())).collect()
        }
        ResolvedTarget::OnNode { .. } => Vec::new(),
    }
}

/// The nodes that serve it and were told to take no new requests.
fn held_nodes<'a>(near: &[&'a Rejection]) -> Vec<&'a str> {
    near.iter()
        .copied()
        .filter(|rejection| matches!(rejection.refusal, Refusal::Cordoned | Refusal::Draining))
        .filter_map(|rejection| match &rejection.seat {
            Seat::Byoc(node) => Some(&*node.name),
            Seat::Byok(_) | Seat::Managed(_) => None,
        })
        .take(NAMES_LISTED_MAX)
        .collect()
}

/// The commands that would make it served, those for this model first.
fn commands(input: &PlanInput<'_>, resolved: &Resolved<'_>, near: &[&Rejection]) -> String {
    let usable: Vec<&str> = sellers(input, resolved)
        .into_iter()
        .filter(|slug| {
            input.catalogue.facts(slug).is_some_and(|facts| facts.available && !facts.emergency_only)
        })
        .collect();
    let held = held_nodes(near);
    let mut options: Vec<String> =
        held.iter().map(|name| format!("`tidegate nodes uncordon {name}`")).collect();
    let own = usable.iter().map(|slug| format!("`tidegate credential add {slug}`"));
    options.extend(own.take(NAMES_LISTED_MAX));
    let pinned = matches!(
        resolved.target,
        ResolvedTarget::AtSeller { .. } | ResolvedTarget::Model { seller: Some(_), .. }
    );
    if !pinned {
        let which = if held.is_empty() { "a node" } else { "another node" };
        options.push(format!("`tidegate nodes add` with {which} that serves it"));
    }
    if let Some(plane) = input.data_plane {
        let control = &plane.control;
        let own = if options.is_empty() {
            String::new()
        } else {
            format!("Run {} at {control}. ", or_list(&options))
        };
        return format!(
            "{own}Requests for the operator's accounts or a subscription go to {control} itself."
        );
    }
    if let Some(slug) = usable.first() {
        options.push(format!("as the operator `tidegate account add {slug}`"));
    }
    if options.is_empty() {
        format!("`tidegate plan {}` tells why.", printable(&resolved.name))
    } else {
        let options = or_list(&options);
        format!("Run {options}; `tidegate plan {}` tells each candidate's reason.", printable(&resolved.name))
    }
}

impl Rejection {
    /// The candidate as its own workspace may read it: the name of an account is the operator's.
    pub fn label(&self) -> String {
        match &self.seat {
            Seat::Byok(credential) if credential.subscription.is_some() => {
                format!("subscription \"{}\"", credential.display_name)
            }
            Seat::Byok(credential) => format!("credential \"{}\"", credential.display_name),
            Seat::Byoc(node) => format!("node \"{}\"", node.name),
            Seat::Managed(account) => format!("the managed account at {}", account.provider),
        }
    }

    pub fn sentence(&self) -> String {
        format!("{} {}", self.label(), self.refusal.detail())
    }
}

fn printable(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(PRINTED_NAME_CHARS_MAX).collect()
}

fn or_list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
