//! Files, and batches of files: no upload goes where a policy forbids it, and a batch goes to who holds its file or
//! nowhere.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use admit::{Call, assumed};
use bytes::Bytes;
use decode::{Inbound, decode, form_of_json};
use domain::{Dialect, Operation, PolicySpec, Principal, Profile, Retention, TraceId};
use http::HeaderMap;
use plan::{Explanation, explain_call};
use proptest::prelude::*;

use super::{Stated, TARGETS, about_stored, any_workspace, cases, is_allowed, place, run, with_policies};
use crate::fixture::{Fixture, NOW_UNIX_MS, NOW_US};

/// A provider that an upload names; the last stores no files.
const PROVIDERS: [&str; 3] = ["openai", "anthropic", "nebius"];
/// What a file was stored for, if for anything.
const READ_BY: [&str; 4] = ["files", "openai/gpt-4o", "openai/regional", "acme/twin"];

/// The request that is planned.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    /// A file for a model, for a provider, or for whoever stores files.
    Upload { model: Option<&'static str>, provider: Option<&'static str> },
    /// A batch of the requests in a file that is stored already.
    BatchOfFile { read_by: &'static str },
}

fn asked() -> impl Strategy<Value = Asked> {
    let model = proptest::option::of(proptest::sample::select(TARGETS.as_slice()));
    let provider = proptest::option::of(proptest::sample::select(PROVIDERS.as_slice()));
    prop_oneof![
        2 => (model, provider).prop_map(|(model, provider)| Asked::Upload { model, provider }),
        1 => proptest::sample::select(READ_BY.as_slice()).prop_map(|read_by| Asked::BatchOfFile { read_by }),
    ]
}

/// The output of a future that waits for nothing.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing waits here"),
    }
}

pub fn call_of(asked: Asked, made_by: Principal) -> Call {
    call_for(asked, "batch", made_by)
}

/// With the purpose that an upload states.
pub fn call_for(asked: Asked, purpose: &str, made_by: Principal) -> Call {
    let trace = TraceId::new(1, [9; 10]);
    let (operation, body) = match asked {
        Asked::Upload { model, provider } => {
            let field = |name: &str, value: Option<&str>| {
                value.map_or_else(String::new, |value| format!(r#""{name}": "{value}", "#))
            };
            let (model, provider) = (field("model", model), field("provider", provider));
            (Operation::File, format!(r#"{{{model}{provider}"purpose": "{purpose}", "file": "a.jsonl"}}"#))
        }
        Asked::BatchOfFile { .. } => {
            let body = r#"{"input_file_id": "file-tg_1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}"#;
            (Operation::Batch, body.to_owned())
        }
    };
    let form = matches!(asked, Asked::Upload { .. })
        .then(|| Box::new(now(form_of_json(operation, body.as_bytes(), trace)).unwrap()));
    let inbound = Inbound {
        trace,
        dialect: Dialect::Chat,
        operation,
        headers: HeaderMap::new(),
        addressed: None,
        body: if form.is_some() { Bytes::new() } else { Bytes::from(body) },
        form,
        received_us: 0,
        received_unix_ms: 0,
    };
    let call = decode(inbound, 0).unwrap();
    let Asked::BatchOfFile { read_by } = asked else { return call };
    about_stored(call, made_by, read_by)
}

pub fn explained(fixture: &Fixture, call: &Call) -> Explanation {
    let snapshot = Arc::new(fixture.snapshot());
    let workspace = Arc::clone(snapshot.workspace(fixture.workspace.id).unwrap());
    let project = Arc::clone(&workspace.projects[0]);
    let caller = assumed(snapshot, workspace, project, None).unwrap();
    explain_call(call, &caller, "production", fixture, fixture.random, NOW_US, NOW_UNIX_MS)
}

/// The oracle: who a layer lets a file go to. Nothing may be stored anywhere where nothing may be retained.
fn may_store(spec: &PolicySpec, fixture: &Fixture, principal: Principal, model: Option<&str>) -> bool {
    let keeps_nothing = spec.retention == Some(Retention::Zero);
    // A file that is for no model is none of a rule about models: what is to read it says which one it is.
    let of_place = PolicySpec { models: Vec::new(), ..spec.clone() };
    let spec = if model.is_some() { spec } else { &of_place };
    let model = model.unwrap_or("files");
    !keeps_nothing && is_allowed(spec, &place(fixture, principal, model), model)
}

#[test]
fn no_file_and_no_batch_of_one_goes_where_a_policy_forbids_it() {
    let counts = Cell::new([0_u64; 4]);
    let space = (any_workspace(), asked(), any::<proptest::sample::Index>());
    run(&space, |((fixture, layers), asked, maker)| {
        let own = fixture.workspace.credentials.iter().map(|one| Principal::Credential(one.id));
        let makers: Vec<_> =
            own.chain(fixture.accounts.iter().map(|one| Principal::Account(one.id))).collect();
        if makers.is_empty() {
            return Ok(());
        }
        let made_by = makers[maker.index(makers.len())];
        let answer = explained(&fixture, &call_of(asked, made_by));
        let mut seen = counts.get();
        for attempt in &answer.attempts {
            let model = match asked {
                // A provider that is named outweighs the model.
                Asked::Upload { model, provider } => model.filter(|_| provider.is_none()),
                Asked::BatchOfFile { read_by } => {
                    // A subscription is its credential under another name.
                    let own = (attempt.principal.own_credential(), made_by.own_credential());
                    let is_same = attempt.principal == made_by || own.0.is_some() && own.0 == own.1;
                    prop_assert!(is_same, "a batch leaves its file: {attempt:?}");
                    Some(read_by)
                }
            };
            for spec in &layers {
                prop_assert!(
                    may_store(spec, &fixture, attempt.principal, model),
                    "{asked:?}: {attempt:?} {spec:?}"
                );
            }
            let place = match asked {
                Asked::Upload { model: Some(_), provider: None } => 0,
                Asked::Upload { .. } => 1,
                Asked::BatchOfFile { .. } => 2,
            };
            seen[place] += 1;
        }
        let is_refused = answer.rejected.iter().any(|one| one.reason == "policy_forbids")
            || answer.fault.is_some_and(|fault| fault.code == "policy_forbids");
        seen[3] += u64::from(is_refused);
        counts.set(seen);
        Ok(())
    });
    let [for_model, other, batches, refused] = counts.get();
    println!(
        "files: {} workspaces, attempts: {for_model} of a file for a model, {other} of other files, {batches} of a batch of a file, {refused} requests refused for a policy; 0 attempts at a forbidden place",
        cases()
    );
    assert!(counts.get().into_iter().all(|count| count > 0), "{:?}", counts.get());
}

/// A subscription's credential is no own credential, also where a file says that it is the one to ask.
#[test]
fn a_batch_of_a_file_goes_to_a_subscription_only_where_a_policy_allows_that() {
    for (profile, attempts) in [(Profile::Subscription, 1), (Profile::Byok, 0)] {
        let spec = PolicySpec { profiles: vec![profile], ..PolicySpec::default() };
        let nothing = Stated { region: None, retention: None, hipaa: false };
        let fixture = with_policies(Fixture::new().subscription(1, "openai"), [Some(spec), None], &[nothing]);
        let made_by = Principal::Credential(fixture.workspace.credentials[0].id);
        let answer = explained(&fixture, &call_of(Asked::BatchOfFile { read_by: "files" }, made_by));
        assert_eq!(answer.attempts.len(), attempts, "{profile:?}: {:?}", answer.rejected);
    }
}
