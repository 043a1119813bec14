//! No plan has an attempt that a policy forbids, and none refuses one for a policy that allows it: compared with an
//! oracle of its own, over generated workspaces, routes, aliases, policies and stored objects. `POLICY_CASES` sets how many.

pub mod files;

use std::cell::Cell;
use std::sync::Arc;

use admit::{Call, assumed};
use bytes::Bytes;
use decode::{Inbound, StoredFindings, decode};
use domain::ports::{FoundResponse, StoredResponse};
use domain::{
    Agreement, AliasId, AliasReleaseId, AliasReleaseSpec, AliasSplit, AliasTarget, CanaryGates, DataBoundary,
    Dialect, ModelFallback, ModelFallbackClass, Operation, Policies, Policy, PolicyId, PolicySpec, Principal,
    Profile, ProjectId, RegionPolicy, Retention, TraceId,
};
use http::HeaderMap;
use plan::{Explanation, explain_call, left_on};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use snapshot::{AliasEntry, CanaryEntry, ProjectEntry, ReleaseEntry};

use crate::fixture::{Fixture, NOW_UNIX_MS, NOW_US, project_id};
use crate::properties::{MODELS, any_fixture};

const CASES: u32 = 1_000;
const REGIONS: [&str; 5] = ["eu-west-1", "US-EAST-1", "westeurope", "eu-west-2", "mars"];
/// What the oracle knows of regions, apart from the lists of the code.
const IN_EU: [&str; 3] = ["eu-west-1", "westeurope", "eu"];
const IN_US: [&str; 2] = ["us-east-1", "us"];

/// What is stated of a seat.
#[derive(Debug, Clone)]
struct Stated {
    region: Option<&'static str>,
    retention: Option<Retention>,
    hipaa: bool,
}

fn stated() -> impl Strategy<Value = Stated> {
    let region = proptest::option::of(proptest::sample::select(REGIONS.as_slice()));
    let retention =
        proptest::option::of(prop_oneof![Just(Retention::Zero), (1_u32..60).prop_map(Retention::Days)]);
    (region, retention, any::<bool>()).prop_map(|(region, retention, hipaa)| Stated {
        region,
        retention,
        hipaa,
    })
}

fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let chosen = proptest::sample::subsequence(names.to_vec(), 0..=names.len());
    prop_oneof![
        2 => Just(Vec::new()),
        1 => chosen.prop_map(|names| names.into_iter().map(str::to_owned).collect()),
    ]
}

prop_compose! {
    fn spec()(
        providers in some_of(&["openai", "nebius", "together_ai", "openrouter", "own", "anthropic", "byoc"]),
        models in some_of(&["openai/", "openai/gpt-4o", "meta-llama/*", "acme/twin", "m", "own/x"]),
        regions in some_of(&["eu-west-1", "us-east-1", "mars", "eu"]),
        region_policy in proptest::sample::select(RegionPolicy::ALL.to_vec()),
        data_boundary in proptest::sample::select(DataBoundary::ALL.to_vec()),
        profiles in proptest::sample::subsequence(vec![Profile::Byok, Profile::Byoc, Profile::ManagedProvider], 0..=3),
        retention in proptest::option::of(prop_oneof![Just(Retention::Zero), (1_u32..60).prop_map(Retention::Days)]),
        hipaa in any::<bool>(),
        open in any::<bool>(),
    ) -> PolicySpec {
        // Half of the policies say little, so that plans are left.
        PolicySpec {
            providers,
            models: if open { Vec::new() } else { models },
            regions: if open { Vec::new() } else { regions },
            region_policy: if open { RegionPolicy::Any } else { region_policy },
            data_boundary,
            profiles: if open { Vec::new() } else { profiles },
            retention: retention.filter(|_| !open),
            compliance: if hipaa && !open { vec!["hipaa".to_owned()] } else { Vec::new() },
            ..PolicySpec::default()
        }
    }
}

fn with_policies(mut fixture: Fixture, specs: [Option<PolicySpec>; 2], seats: &[Stated]) -> Fixture {
    let [workspace, project] = specs;
    let policy = |number: u64, project: Option<ProjectId>, spec| {
        Arc::new(Policy { id: PolicyId::new(number, [8; 10]), project, spec, hook_secret: None })
    };
    let workspace = workspace.map(|spec| policy(1, None, spec));
    let project = project.map(|spec| policy(2, Some(project_id(1)), spec));
    let entry =
        ProjectEntry { policy: Policies::of(workspace, project), ..(*fixture.workspace.projects[0]).clone() };
    fixture.workspace.projects = vec![Arc::new(entry)];
    let mut seats = seats.iter().cycle();
    let agreement = |stated: &Stated| {
        Arc::new(Agreement {
            retention: stated.retention,
            compliance: if stated.hipaa { vec!["hipaa".to_owned()] } else { Vec::new() },
            ..Agreement::default()
        })
    };
    for credential in &mut fixture.workspace.credentials {
        let (stated, entry) = (seats.next().unwrap(), Arc::make_mut(credential));
        entry.region = stated.region.map(Into::into);
        entry.agreement = agreement(stated);
    }
    for account in &mut fixture.accounts {
        let (stated, entry) = (seats.next().unwrap(), Arc::make_mut(account));
        entry.region = stated.region.map(Into::into);
        entry.agreement = agreement(stated);
    }
    for node in &mut fixture.workspace.nodes {
        let labels = seats.next().unwrap().region.iter().map(|region| format!("region={region}")).collect();
        Arc::make_mut(node).labels = Arc::new(labels);
    }
    fixture
}

/// The oracle: what a seat is, read from the configuration alone.
struct Place {
    provider: String,
    profile: Profile,
    regions: Vec<String>,
    agreement: Option<Agreement>,
}

fn place(fixture: &Fixture, principal: Principal, model: &str) -> Place {
    let slug = |name: &str| if name == "together" { "together_ai".to_owned() } else { name.to_owned() };
    let regions = |region: Option<&str>, provider: &str| match region {
        Some(region) => vec![region.to_owned()],
        None if model == "openai/regional" && provider == "openai" => vec!["eu".to_owned(), "us".to_owned()],
        None => Vec::new(),
    };
    match principal {
        Principal::Credential(_) | Principal::Subscription(_) => {
            let id = principal.own_credential().unwrap();
            let one = fixture.workspace.credentials.iter().find(|one| one.id == id).unwrap();
            Place {
                provider: slug(&one.provider),
                profile: principal.profile(),
                regions: regions(one.region.as_deref(), &one.provider),
                agreement: Some((*one.agreement).clone()),
            }
        }
        Principal::Account(id) => {
            let one = fixture.accounts.iter().find(|one| one.id == id).unwrap();
            Place {
                provider: slug(&one.provider),
                profile: Profile::ManagedProvider,
                regions: regions(one.region.as_deref(), &one.provider),
                agreement: Some((*one.agreement).clone()),
            }
        }
        Principal::Node(id) => {
            let one = fixture.workspace.nodes.iter().find(|one| one.id == id).unwrap();
            let regions =
                one.labels.iter().map(|label| label.trim_start_matches("region=").to_owned()).collect();
            Place { provider: "byoc".to_owned(), profile: Profile::Byoc, regions, agreement: None }
        }
    }
}

fn is_allowed(spec: &PolicySpec, place: &Place, model: &str) -> bool {
    let regions: Vec<String> = place.regions.iter().map(|region| region.to_lowercase()).collect();
    let within =
        |known: &[&str]| !regions.is_empty() && regions.iter().all(|one| known.contains(&one.as_str()));
    let in_world = match spec.region_policy {
        RegionPolicy::UsOnly => within(&IN_US),
        RegionPolicy::EuOnly => within(&IN_EU),
        RegionPolicy::Global | RegionPolicy::Any => true,
    };
    let listed: Vec<&str> = spec.regions.iter().map(String::as_str).collect();
    let model_fits = |pattern: &String| match pattern.strip_suffix('*') {
        Some(prefix) => model.starts_with(prefix),
        None if pattern.ends_with('/') => model.starts_with(pattern.as_str()),
        None => model == pattern,
    };
    let kept = match (spec.retention, place.agreement.as_ref().map(|agreement| agreement.retention)) {
        (None, _) | (_, None) | (_, Some(Some(Retention::Zero))) => true,
        (Some(Retention::Days(most)), Some(Some(Retention::Days(days)))) => days <= most,
        _ => false,
    };
    let complies = place
        .agreement
        .as_ref()
        .is_none_or(|agreement| spec.compliance.iter().all(|tag| agreement.compliance.contains(tag)));
    let last_resort = place.profile == Profile::ManagedProvider && place.provider == "openrouter";
    (spec.providers.is_empty() || spec.providers.contains(&place.provider))
        && (spec.models.is_empty() || spec.models.iter().any(model_fits))
        && (spec.profiles.is_empty() || spec.profiles.contains(&place.profile))
        && (listed.is_empty() || within(&listed))
        && in_world
        && kept
        && complies
        && !(last_resort && spec.data_boundary != DataBoundary::Project)
}

fn cases() -> u32 {
    std::env::var("POLICY_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}

/// Another model of every route, and what an alias points at: each a place among `TARGETS`.
type Names = (Option<usize>, usize, usize);

const TARGETS: [&str; 6] =
    ["openai/gpt-4o", "acme/twin", "other/twin", "openai/regional", "meta-llama/Llama-3.3-70B-Instruct", "m"];
const ALIAS: &str = "auto";
const GATES: CanaryGates = CanaryGates {
    error_bps_max: Some(100),
    latency_p95_ms_max: None,
    first_byte_p95_ms_max: None,
    requests_min: 1,
    window_s: 60,
};

/// With an alias of an active release and a canary, and another model behind each route.
fn with_names(mut fixture: Fixture, (other, active, canary): Names) -> Fixture {
    let release = |number: u8, model: &str| {
        Arc::new(ReleaseEntry {
            id: AliasReleaseId::new(u64::from(number), [number; 10]),
            number: u32::from(number),
            spec: AliasReleaseSpec {
                split: AliasSplit::Ordered,
                targets: vec![AliasTarget { model: model.to_owned(), weight: 1 }],
                note: String::new(),
                parameters: Vec::new(),
            },
        })
    };
    let (active, canary) = (release(1, TARGETS[active]), release(2, TARGETS[canary]));
    fixture.workspace.aliases = vec![Arc::new(AliasEntry {
        id: AliasId::new(1, [1; 10]),
        name: ALIAS.into(),
        project: None,
        fits_parameters: false,
        active: Arc::clone(&active),
        canary: Some(CanaryEntry {
            release: Arc::clone(&canary),
            percent: 50,
            gates: GATES,
            started_unix_ms: 1,
        }),
        releases: vec![active, canary],
        created_unix_ms: 1,
    })];
    for route in &mut fixture.workspace.routes {
        let fallback = |model: usize| ModelFallback {
            on: ModelFallbackClass::ALL.to_vec(),
            model: TARGETS[model].to_owned(),
        };
        Arc::make_mut(route).spec.model_fallbacks = other.into_iter().map(fallback).collect();
    }
    fixture
}

/// What was checked, for the proof to say.
#[derive(Debug, Default, Clone, Copy)]
struct Figures {
    plans: u64,
    attempts: u64,
    fallback_attempts: u64,
    other_model_attempts: u64,
    overflow_attempts: u64,
    emergency_attempts: u64,
    subscription_attempts: u64,
    refused: u64,
}

impl Figures {
    fn print(&self, what: &str, cases: u32) {
        println!("{what}: {cases} workspaces, {self:?}, 0 of the attempts at a forbidden place");
    }
}

/// No attempt of a plan is at a place that a layer forbids, and nothing is refused for a policy that allows it.
fn check(
    fixture: &Fixture,
    layers: &[PolicySpec],
    answer: &Explanation,
    figures: &mut Figures,
) -> Result<(), TestCaseError> {
    let Some(resolved) = answer.resolved_model.as_deref() else { return Ok(()) };
    figures.plans += 1;
    let first = answer.attempts.iter().map(|attempt| (resolved, attempt, false));
    let others = answer
        .fallbacks
        .iter()
        .flat_map(|one| one.attempts.iter().map(|attempt| (one.model.as_str(), attempt, true)));
    for (model, attempt, is_other) in first.chain(others) {
        let place = place(fixture, attempt.principal, model);
        for spec in layers {
            prop_assert!(is_allowed(spec, &place, model), "{model} at {:?}: {spec:?}", attempt.principal);
        }
        figures.attempts += 1;
        figures.other_model_attempts += u64::from(is_other);
        figures.fallback_attempts += u64::from(attempt.is_fallback);
        figures.overflow_attempts += u64::from(attempt.overflow.is_some());
        figures.emergency_attempts += u64::from(attempt.is_emergency);
        figures.subscription_attempts += u64::from(attempt.profile == Profile::Subscription);
    }
    // The reasons of a model that was left are those of that one.
    let is_left = answer.rejected.first().is_some_and(|first| left_on(&first.reason).is_some());
    for rejected in answer.rejected.iter().filter(|one| one.reason == "policy_forbids" && !is_left) {
        let place = place(fixture, rejected.principal, resolved);
        prop_assert!(
            layers.iter().any(|spec| !is_allowed(spec, &place, resolved)),
            "{resolved} at {:?} is allowed: {layers:?}",
            rejected.principal
        );
        figures.refused += 1;
    }
    Ok(())
}

/// A workspace with everything that may lead somewhere, and its policies.
fn any_workspace() -> impl Strategy<Value = (Fixture, Vec<PolicySpec>)> {
    let specs = [proptest::option::of(spec()), proptest::option::of(spec())];
    let seats = proptest::collection::vec(stated(), 7);
    let names = (proptest::option::of(0..TARGETS.len()), 0..TARGETS.len(), 0..TARGETS.len());
    (any_fixture(), specs, seats, names).prop_map(|(fixture, specs, seats, names)| {
        let layers = specs.iter().flatten().cloned().collect();
        (with_names(with_policies(fixture, specs, &seats), names), layers)
    })
}

fn run<S: Strategy>(strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    // By the file, failed cases are kept, and tried first.
    let config = ProptestConfig { source_file: Some(file!()), ..ProptestConfig::with_cases(cases()) };
    TestRunner::new(config).run(strategy, test).unwrap();
}

#[test]
fn no_attempt_goes_where_a_policy_forbids_it() {
    let figures = Cell::new(Figures::default());
    run(&any_workspace(), |(fixture, layers)| {
        let mut seen = figures.get();
        for model in MODELS.iter().chain(&["openai/regional", ALIAS]) {
            check(&fixture, &layers, &fixture.ask_for(model, None), &mut seen)?;
        }
        figures.set(seen);
        Ok(())
    });
    let seen = figures.get();
    seen.print("attempts, aliases, other models, overflow, emergencies and subscriptions", cases());
    // Among a thousand workspaces those of some days have none of the rare ones; the proof has ten times as many.
    let is_proof = cases() > CASES;
    for (what, count, is_rare) in [
        ("attempts", seen.attempts, false),
        ("of another model", seen.other_model_attempts, false),
        ("of a fallback", seen.fallback_attempts, true),
        ("of an overflow", seen.overflow_attempts, true),
        ("in an emergency", seen.emergency_attempts, true),
        ("of a subscription", seen.subscription_attempts, false),
        ("refusals", seen.refused, false),
    ] {
        assert!(count > 0 || (is_rare && !is_proof), "none {what}: {seen:?}");
    }
}

/// What a call is about that a provider stores.
#[derive(Debug, Clone, Copy)]
pub enum Stored {
    /// A response that another one continues.
    Continued,
    /// Nothing yet: a batch that names its models.
    Batch,
}

/// The models of a batch, which one seller takes batches of.
const BATCHED: [&str; 2] = ["anthropic/claude-sonnet-5", "anthropic/claude-haiku-4-5"];

pub fn stored_call(stored: Stored, made_by: Principal, [model, other]: [&str; 2]) -> Call {
    let trace = TraceId::new(1, [9; 10]);
    let (dialect, operation, body) = match stored {
        Stored::Continued => {
            let body =
                format!(r#"{{"model": "{model}", "input": "hello", "previous_response_id": "resp_1"}}"#);
            (Dialect::Responses, Operation::Chat, body)
        }
        Stored::Batch => {
            let request = |id: &str, model: &str| {
                format!(
                    r#"{{"custom_id": "{id}", "params": {{"model": "{model}", "max_tokens": 9, "messages": [{{"role": "user", "content": "hello"}}]}}}}"#
                )
            };
            let body = format!(r#"{{"requests": [{}, {}]}}"#, request("a", model), request("b", other));
            (Dialect::Anthropic, Operation::Batch, body)
        }
    };
    let inbound = Inbound {
        trace,
        dialect,
        operation,
        headers: HeaderMap::new(),
        addressed: None,
        body: Bytes::from(body),
        form: None,
        received_us: 0,
        received_unix_ms: 0,
    };
    let call = decode(inbound, 0).unwrap();
    match stored {
        Stored::Continued => about_stored(call, made_by, model),
        Stored::Batch => call,
    }
}

/// The call about what this principal created.
fn about_stored(call: Call, created_by: Principal, model: &str) -> Call {
    let made = StoredResponse {
        request: call.trace(),
        created_by,
        model: model.to_owned(),
        upstream_model: model.to_owned(),
        is_booked: true,
    };
    call.with_stored(StoredFindings {
        response: Some(FoundResponse::Known(made)),
        ..StoredFindings::default()
    })
}

#[test]
fn nothing_that_a_provider_stores_leads_where_a_policy_forbids_it() {
    let kind = proptest::sample::select(vec![Stored::Continued, Stored::Batch]);
    let models = [proptest::sample::select(TARGETS.as_slice()), proptest::sample::select(TARGETS.as_slice())];
    let counts = Cell::new([0_u64; 2]);
    run(
        &(any_workspace(), kind, models, any::<proptest::sample::Index>()),
        |(space, kind, models, maker)| {
            let (fixture, layers) = space;
            let models = if matches!(kind, Stored::Batch) { BATCHED } else { models };
            let own = fixture.workspace.credentials.iter().map(|one| Principal::Credential(one.id));
            let makers: Vec<_> =
                own.chain(fixture.accounts.iter().map(|one| Principal::Account(one.id))).collect();
            if makers.is_empty() {
                return Ok(());
            }
            let made_by = makers[maker.index(makers.len())];
            let snapshot = Arc::new(fixture.snapshot());
            let workspace = Arc::clone(snapshot.workspace(fixture.workspace.id).unwrap());
            let project = Arc::clone(&workspace.projects[0]);
            let caller = assumed(snapshot, workspace, project, None).unwrap();
            let call = stored_call(kind, made_by, models);
            let answer =
                explain_call(&call, &caller, "production", &fixture, fixture.random, NOW_US, NOW_UNIX_MS);
            for attempt in &answer.attempts {
                prop_assert!(matches!(kind, Stored::Batch) || attempt.principal == made_by, "{attempt:?}");
                // A continuation asks for one model, a batch for both.
                let named = if matches!(kind, Stored::Continued) { &models[..1] } else { &models[..] };
                for spec in &layers {
                    for model in named {
                        let place = place(&fixture, attempt.principal, model);
                        prop_assert!(
                            is_allowed(spec, &place, model),
                            "{kind:?} {model}: {attempt:?} {spec:?}"
                        );
                    }
                }
                let mut seen = counts.get();
                seen[kind as usize] += 1;
                counts.set(seen);
            }
            Ok(())
        },
    );
    let [continued, batches] = counts.get();
    println!(
        "what is stored: {} workspaces, attempts: {continued} that continue a response, {batches} of a batch that names its models; 0 of them at a forbidden place",
        cases()
    );
    assert!(continued > 0 && batches > 0, "{:?}", counts.get());
}
