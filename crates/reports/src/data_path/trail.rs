//! Derives the data path of one request from its meter record and from what is known of those that the record names.
//! Nothing is guessed: what neither says is unknown.

use domain::purge::{OURSELVES, Place};
use domain::{
    AttemptRecord, HookCall, HookOutcome, HookPoint, HookServer, MeterRecord, Principal, RetentionBasis,
};
use evidence::Held;
use reconcilers::Retained;

use super::party::{Party, PartyRole, Retention, Saw, later};
use crate::learned_limits;

/// The kind of what a gateway holds in memory, unsealed: what replicas share is sealed in the database.
pub const IN_MEMORY: &str = "memory";
const SESSION: &str = "session";
const SESSION_TTL: &str = "the session's ttl_seconds";
const CACHE_TTL: &str = "the project's caching.responses.ttl_s";
/// Who is shown as the key of what is sealed here.
const WORKSPACE_KEY: &str = "workspace_key";
/// The name of a hook that an older version called, and of a provider whose credential is gone.
const UNKNOWN: &str = "unknown";

/// What is known of a provider or node beside the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Where it is called, as far as the viewer may know.
    pub host: Option<String>,
    /// The region that a node's owner states.
    pub place: Option<String>,
    /// Whether it is called with a secret.
    pub has_key: bool,
    pub retained: Retained,
}

/// What a data path is derived from beside the record.
pub trait Known {
    fn upstream(&self, principal: Principal, provider: &str, model: &str) -> Upstream;
    /// How many days a request's record is kept; `None` for ever.
    fn records_days(&self) -> Option<u64>;
}

/// What one request is known by.
pub struct RequestFacts<'a> {
    pub record: &'a MeterRecord,
    /// What is held of it now.
    pub held: &'a [Held],
    /// The record of the exchange that embedded its text, if there is one.
    pub embedding: Option<&'a MeterRecord>,
    pub is_operator: bool,
}

/// Everyone that saw the request, in the order in which they did.
pub fn data_path(facts: &RequestFacts<'_>, known: &dyn Known) -> Vec<Party> {
    let record = facts.record;
    let mut path = vec![gateway(record)];
    path.extend(hooks(record, HookPoint::Pre));
    if let Some(embedding) = facts.embedding {
        let of_embedding =
            |one| Party { attempt: None, ..attempt(facts, known, embedding, one, "embedding") };
        path.extend(embedding.attempts.iter().map(of_embedding));
    }
    let mut attempts: Vec<_> = record.attempts.iter().collect();
    attempts.sort_by_key(|one| (one.started_us, one.number));
    // To its client, a batch item is a request like any other.
    let side_call = record.extras.side_call.filter(|call| !call.is_wanted());
    let purpose = side_call.map_or("answer", |call| call.purpose.as_str());
    path.extend(attempts.into_iter().map(|one| attempt(facts, known, record, one, purpose)));
    path.extend(served_from_cache(record));
    path.extend(hooks(record, HookPoint::Post));
    path.extend(storages(facts));
    path.extend(session(facts));
    path.push(books(record, known.records_days()));
    path
}

fn gateway(record: &MeterRecord) -> Party {
    let source = "in memory until the answer ends; what is kept longer is listed as storage";
    Party {
        retention: Retention::ours(Some(record.finished_unix_ms), source),
        ..ours(PartyRole::Gateway, "serving", record.started_unix_ms)
    }
}

/// This installation, which nothing is stated of where it is.
fn ours(role: PartyRole, purpose: &'static str, seen_unix_ms: u64) -> Party {
    Party {
        name: OURSELVES.to_owned(),
        role,
        purpose,
        saw: Some(Saw::Content),
        place: None,
        host: None,
        key: None,
        attempt: None,
        seen_unix_ms,
        retention: Retention::UNKNOWN,
    }
}

fn hooks(record: &MeterRecord, at: HookPoint) -> impl Iterator<Item = Party> {
    let calls = record.extras.hooks.iter().enumerate();
    let called = calls.filter(move |(_, call)| call.at == at && was_sent(call));
    called.map(|(position, call)| hook(record, call, record.extras.hook_servers.get(position)))
}

/// A hook that is not called sees nothing.
const fn was_sent(call: &HookCall) -> bool {
    !matches!(call.outcome, HookOutcome::Skipped | HookOutcome::Unreadable)
}

/// Nobody states where a hook is, nor what it retains.
fn hook(record: &MeterRecord, call: &HookCall, server: Option<&HookServer>) -> Party {
    let (purpose, seen_unix_ms) = match call.at {
        HookPoint::Pre => ("hook_before", record.started_unix_ms),
        HookPoint::Post => ("hook_after", record.finished_unix_ms),
    };
    Party {
        name: server.map_or(UNKNOWN, |server| &server.host).to_owned(),
        saw: server.map(|server| if server.reads_content { Saw::Content } else { Saw::Metadata }),
        host: server.map(|server| server.host.clone()),
        ..ours(PartyRole::Hook, purpose, seen_unix_ms)
    }
}

/// An attempt that failed counts as one that was shown the content: a record does not tell a connection that was refused from one
/// that broke.
fn attempt(
    facts: &RequestFacts<'_>,
    known: &dyn Known,
    record: &MeterRecord,
    attempt: &AttemptRecord,
    purpose: &'static str,
) -> Party {
    let Upstream { host, place, has_key, retained } =
        known.upstream(attempt.principal, &attempt.provider, &attempt.upstream_model);
    let key = learned_limits::principal(attempt.principal, facts.is_operator);
    let at_us = |us: u64| record.started_unix_ms.saturating_add(us / 1_000);
    let (role, name) = match attempt.principal {
        Principal::Node(id) => (PartyRole::Node, id.to_string()),
        _ => (PartyRole::Provider, attempt.provider.clone()),
    };
    let Retained { days, basis, source } = retained;
    let source = match (basis, attempt.principal) {
        (RetentionBasis::Agreed, Principal::Account(_)) => Some("the operator's agreement".to_owned()),
        (RetentionBasis::Agreed, _) => Some(format!("the agreement of {key}")),
        _ => source,
    };
    let ended_unix_ms = at_us(attempt.started_us.saturating_add(attempt.duration_us));
    Party {
        name,
        role,
        purpose,
        saw: Some(Saw::Content),
        place: attempt.region.clone().or(place),
        host,
        key: has_key.then_some(key),
        attempt: Some(attempt.number),
        seen_unix_ms: at_us(attempt.started_us),
        retention: Retention::days(days, ended_unix_ms, basis, source),
    }
}

/// The cache that gave an answer again, which no provider saw.
fn served_from_cache(record: &MeterRecord) -> Option<Party> {
    record.caching?.served?;
    Some(Party {
        retention: Retention::ours(None, CACHE_TTL),
        ..ours(PartyRole::Storage, "response_cache", record.started_unix_ms)
    })
}

/// Each once: a storage that holds several things of a request, such as two turns, holds them until the last of them ends.
fn storages(facts: &RequestFacts<'_>) -> Vec<Party> {
    let mut found: Vec<Party> = Vec::new();
    for party in facts.held.iter().map(|held| storage(facts, held)) {
        let is_same = |known: &&mut Party| {
            (&known.name, known.purpose, &known.key) == (&party.name, party.purpose, &party.key)
        };
        match found.iter_mut().find(is_same) {
            Some(known) => {
                let ends = (known.retention.until_unix_ms, party.retention.until_unix_ms);
                known.retention.until_unix_ms = later(ends);
            }
            None => found.push(party),
        }
    }
    found
}

/// What is held here is sealed with the workspace's key; what a provider holds is under the credential that made it.
fn storage(facts: &RequestFacts<'_>, held: &Held) -> Party {
    let record = facts.record;
    let until = held.until_unix_ms;
    let here = |purpose: &'static str, is_sealed: bool, source: &str| Party {
        key: is_sealed.then(|| WORKSPACE_KEY.to_owned()),
        retention: Retention::ours(until, source),
        ..ours(PartyRole::Storage, purpose, record.finished_unix_ms)
    };
    match held.place {
        Place::ProviderObjects | Place::ProviderResponses => at_provider(facts, held),
        Place::IdempotentAnswers => here("idempotent_answers", true, "the lifetime of idempotency keys"),
        Place::KeptTurns => here("kept_turns", true, "the lifetime of turns, tasks and answers"),
        Place::Tasks => here("tasks", true, "the lifetime of a task"),
        Place::FlowRuns => here("flow_runs", true, "the lifetime of a run of a flow"),
        Place::Batches => here("batches", true, "the lifetime of a batch's results"),
        Place::Files => here("files", true, "the lifetime of a file"),
        Place::RequestContents => here("request_contents", true, "the project's retention profile"),
        Place::AgentState => here(SESSION, true, SESSION_TTL),
        Place::ResponseCache => here("response_cache", held.kind != IN_MEMORY, CACHE_TTL),
        place => here(place.as_str(), false, "until it is sent again or purged"),
    }
}

fn at_provider(facts: &RequestFacts<'_>, held: &Held) -> Party {
    let record = facts.record;
    let made = held.maker.and_then(|maker| record.attempts.iter().find(|one| one.principal == maker));
    let (name, place) = match made {
        Some(attempt) => (attempt.provider.clone(), attempt.region.clone()),
        None => (UNKNOWN.to_owned(), None),
    };
    // Of a response we know how long we keep its name, and not how long its provider keeps it.
    let stated = held.until_unix_ms.filter(|_| held.place == Place::ProviderObjects);
    let retention = stated.map_or(Retention::UNKNOWN, |until| Retention {
        days: None,
        until_unix_ms: Some(until),
        basis: RetentionBasis::Published,
        source: Some("the provider's answer about the object".to_owned()),
    });
    Party {
        name,
        place,
        key: held.maker.map(|maker| learned_limits::principal(maker, facts.is_operator)),
        retention,
        ..ours(PartyRole::Storage, held.kind, record.finished_unix_ms)
    }
}

/// Naming a session stores nothing in it: whether its events have content of this request is its agent's matter. What the
/// request itself added to it is held.
fn session(facts: &RequestFacts<'_>) -> Option<Party> {
    facts.record.extras.session?;
    if facts.held.iter().any(|held| held.place == Place::AgentState) {
        return None;
    }
    Some(Party {
        saw: None,
        key: Some(WORKSPACE_KEY.to_owned()),
        retention: Retention::ours(None, SESSION_TTL),
        ..ours(PartyRole::Storage, SESSION, facts.record.started_unix_ms)
    })
}

/// The meter record itself.
fn books(record: &MeterRecord, days: Option<u64>) -> Party {
    let source = if days.is_some() { "records.keep_days" } else { "records.keep_days is 0: for ever" };
    let retention =
        Retention::days(days, record.started_unix_ms, RetentionBasis::Ours, Some(source.to_owned()));
    Party {
        saw: Some(Saw::Metadata),
        retention,
        ..ours(PartyRole::Storage, "records", record.finished_unix_ms)
    }
}
