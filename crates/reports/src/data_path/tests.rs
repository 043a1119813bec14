//! Data paths of records that are made up.

use domain::purge::Place;
use domain::record::{AttemptRecord, Extras, PlanRecord};
use domain::{
    AccountId, CacheRecord, CachedAnswer, Charge, CredentialId, Dialect, FaultClass, HookCall, HookOutcome,
    HookPoint, HookServer, MeterRecord, Nanos, NodeId, Operation, Outcome, Principal, ProjectId,
    RetentionBasis, SessionId, SideCall, SideCallPurpose, StoredObjectKind, Timeline, TraceId, Usage,
    WorkspaceId,
};
use evidence::Held;
use proptest::prelude::*;
use reconcilers::Retained;

use super::DAY_MS;
use super::party::{Party, PartyRole, Retention, Saw, later};
use super::sums::Sums;
use super::trail::{Known, RequestFacts, Upstream, data_path};

const START: u64 = 1_790_000_000_000;

/// What is known of everybody, by the provider's name.
struct Table;

impl Known for Table {
    fn upstream(&self, principal: Principal, provider: &str, _model: &str) -> Upstream {
        let retained =
            |days, basis, source: Option<&str>| Retained { days, basis, source: source.map(str::to_owned) };
        Upstream {
            host: Some(format!("{provider}.example")),
            place: matches!(principal, Principal::Node(_)).then(|| "attic".to_owned()),
            has_key: !matches!(principal, Principal::Node(_)),
            retained: match provider {
                "agreed" => retained(Some(7), RetentionBasis::Agreed, None),
                "published" => retained(
                    Some(30),
                    RetentionBasis::Published,
                    Some("https://example.com, read 2026-11-20"),
                ),
                "endless" => retained(Some(u64::MAX), RetentionBasis::Published, None),
                _ => retained(None, RetentionBasis::Unknown, None),
            },
        }
    }

    fn records_days(&self) -> Option<u64> {
        Some(90)
    }
}

fn own() -> Principal {
    Principal::Credential(CredentialId::new(1, [1; 10]))
}

fn pooled() -> Principal {
    Principal::Account(AccountId::new(1, [2; 10]))
}

fn attempt(number: u32, principal: Principal, provider: &str, fault: Option<FaultClass>) -> AttemptRecord {
    AttemptRecord {
        number,
        principal,
        provider: provider.to_owned(),
        upstream_model: "m".to_owned(),
        region: (provider == "agreed").then(|| "eu".to_owned()),
        started_us: u64::from(number) * 1_000_000,
        duration_us: 500_000,
        status: fault.is_none().then_some(200),
        fault,
        upstream_request_id: None,
        usage: Usage { input: 10, output: 5, ..Usage::default() },
        rates: None,
        markup_bps: 0,
        charge: Charge::default(),
    }
}

fn record(attempts: Vec<AttemptRecord>) -> MeterRecord {
    MeterRecord {
        trace: TraceId::new(START, [7; 10]),
        workspace: WorkspaceId::new(1, [1; 10]),
        project: ProjectId::new(1, [1; 10]),
        key: None,
        environment: "production".to_owned(),
        started_unix_ms: START,
        finished_unix_ms: START + 9_000,
        operation: Operation::Chat,
        dialect: Dialect::Chat,
        stream: false,
        requested_model: "m".to_owned(),
        resolved_model: "m".to_owned(),
        outcome: Outcome::Completed,
        status: 200,
        fault: None,
        fault_code: None,
        principal: attempts.last().map(|one| one.principal),
        provider: attempts.last().map_or_else(String::new, |one| one.provider.clone()),
        fallback_used: false,
        tag: None,
        usage: Usage::default(),
        charge: Charge::default(),
        attempts,
        plan: PlanRecord::default(),
        timeline: Timeline::default(),
        bytes_out: 1,
        drawn: Vec::new(),
        caching: None,
        reason: None,
        extras: Extras::default(),
    }
}

fn path(record: &MeterRecord, held: &[Held], is_operator: bool) -> Vec<Party> {
    data_path(&RequestFacts { record, held, embedding: None, is_operator }, &Table)
}

/// The roles, names, purposes and what was seen.
fn outline(path: &[Party]) -> Vec<(&'static str, &str, &'static str, Option<&'static str>)> {
    path.iter()
        .map(|party| (party.role.as_str(), party.name.as_str(), party.purpose, party.saw.map(Saw::as_str)))
        .collect()
}

fn held(place: Place, kind: &'static str, maker: Option<Principal>, until_unix_ms: Option<u64>) -> Held {
    Held { request: TraceId::new(START, [7; 10]), place, kind, maker, until_unix_ms }
}

#[test]
fn who_failed_saw_it_too_and_each_retains_it_by_its_own_terms() {
    let record = record(vec![
        attempt(1, own(), "agreed", Some(FaultClass::Overloaded)),
        attempt(2, pooled(), "published", None),
    ]);
    let told = path(&record, &[], false);
    let expected = [
        ("gateway", "tidegate", "serving", Some("content")),
        ("provider", "agreed", "answer", Some("content")),
        ("provider", "published", "answer", Some("content")),
        ("storage", "tidegate", "records", Some("metadata")),
    ];
    assert_eq!(outline(&told), expected);
    let [_, agreed, published, books] = &told[..] else { panic!("{told:?}") };
    assert_eq!((agreed.place.as_deref(), published.place.as_deref()), (Some("eu"), None));
    assert_eq!(agreed.key.as_deref(), Some(own().to_string().as_str()));
    let source = format!("the agreement of {}", own());
    assert_eq!(agreed.retention.source.as_deref(), Some(source.as_str()));
    assert_eq!(agreed.retention.until_unix_ms, Some(START + 1_500 + 7 * DAY_MS), "from its own end");
    assert_eq!(published.key.as_deref(), Some("managed"), "whose account it is, is the operator's to know");
    assert_eq!(published.retention.source.as_deref(), Some("https://example.com, read 2026-11-20"));
    assert_eq!(books.retention.until_unix_ms, Some(START + 90 * DAY_MS));
    assert_eq!(path(&record, &[], true)[2].key.as_deref(), Some(pooled().to_string().as_str()));
}

#[test]
fn an_item_of_a_batch_is_answered_and_a_refresh_is_not() {
    let purpose_of = |purpose| {
        let mut record = record(vec![attempt(1, own(), "agreed", None)]);
        record.extras.side_call = Some(SideCall { purpose, parent: TraceId::new(START, [8; 10]) });
        path(&record, &[], false)[1].purpose
    };
    assert_eq!(purpose_of(SideCallPurpose::BatchItem), "answer");
    assert_eq!(purpose_of(SideCallPurpose::CacheKeepAlive), "cache_keep_alive");
}

#[test]
fn the_operators_agreement_names_no_account_to_others() {
    let record = record(vec![attempt(1, pooled(), "agreed", None)]);
    for is_operator in [false, true] {
        let told = path(&record, &[], is_operator);
        assert_eq!(told[1].retention.source.as_deref(), Some("the operator's agreement"));
    }
}

#[test]
fn what_nobody_states_is_unknown() {
    let node = Principal::Node(NodeId::new(1, [3; 10]));
    let told =
        path(&record(vec![attempt(1, node, "byoc", None), attempt(2, own(), "endless", None)]), &[], false);
    let (node_party, endless) = (&told[1], &told[2]);
    assert_eq!((node_party.role, &node_party.name), (PartyRole::Node, &node.to_string()));
    assert_eq!((node_party.key.as_deref(), node_party.place.as_deref()), (None, Some("attic")));
    assert_eq!(node_party.retention, Retention::UNKNOWN);
    assert_eq!((endless.retention.days, endless.retention.until_unix_ms), (Some(u64::MAX), None));
}

#[test]
fn hooks_see_what_they_are_sent_and_those_that_are_not_called_see_nothing() {
    let call = |at, outcome| HookCall { at, owner: "project".to_owned(), place: 0, outcome, latency_ms: 1 };
    let server = |host: &str, reads_content| HookServer { host: host.to_owned(), reads_content };
    let mut record = record(vec![attempt(1, own(), "agreed", None)]);
    record.extras.hooks = vec![
        call(HookPoint::Pre, HookOutcome::Allowed),
        call(HookPoint::Pre, HookOutcome::Skipped),
        call(HookPoint::Post, HookOutcome::Timeout),
        call(HookPoint::Post, HookOutcome::Unreadable),
    ];
    let hooks = |record: &MeterRecord| {
        let told = path(record, &[], false);
        outline(&told)
            .into_iter()
            .map(|(role, name, purpose, saw)| (role, name.to_owned(), purpose, saw))
            .collect::<Vec<_>>()
    };
    let old = hooks(&record);
    assert_eq!(
        old[1],
        ("hook", "unknown".to_owned(), "hook_before", None),
        "an older version kept no server"
    );
    record.extras.hook_servers = vec![
        server("a.example", false),
        server("b.example", true),
        server("c.example", true),
        server("d.example", true),
    ];
    let told = hooks(&record);
    assert_eq!(told[1], ("hook", "a.example".to_owned(), "hook_before", Some("metadata")));
    assert_eq!(told[2].1, "agreed");
    assert_eq!(told[3], ("hook", "c.example".to_owned(), "hook_after", Some("content")));
    assert_eq!(told.len(), 5, "{told:?}");
}

#[test]
fn what_a_cache_gives_again_no_provider_sees() {
    let mut record = record(Vec::new());
    let served = CachedAnswer { input_tokens: 1, output_tokens: 1, saved: Nanos(0) };
    record.caching = Some(CacheRecord { served: Some(served), ..CacheRecord::default() });
    record.extras.session = Some(SessionId::new(1, [4; 10]));
    let told = path(&record, &[], false);
    let expected = [
        ("gateway", "tidegate", "serving", Some("content")),
        ("storage", "tidegate", "response_cache", Some("content")),
        ("storage", "tidegate", "session", None),
        ("storage", "tidegate", "records", Some("metadata")),
    ];
    assert_eq!(outline(&told), expected);
    let told = path(&record, &[held(Place::AgentState, "", None, None)], false);
    let sessions: Vec<_> = outline(&told).into_iter().filter(|line| line.2 == "session").collect();
    assert_eq!(sessions, [("storage", "tidegate", "session", Some("content"))], "what it added itself");
}

#[test]
fn what_is_held_is_told_once_with_its_last_end() {
    let record = record(vec![attempt(1, own(), "agreed", None)]);
    let (turn, file) = (|until| held(Place::KeptTurns, "", None, until), StoredObjectKind::FILE.as_str());
    let told = path(
        &record,
        &[
            turn(Some(5)),
            turn(Some(9)),
            turn(Some(7)),
            held(Place::ProviderObjects, file, Some(own()), Some(3)),
            held(Place::ProviderObjects, file, Some(own()), None),
            held(Place::ProviderResponses, "response", Some(pooled()), Some(3)),
        ],
        false,
    );
    let storages: Vec<_> = told.iter().filter(|party| party.role == PartyRole::Storage).collect();
    let ends: Vec<_> = storages
        .iter()
        .map(|party| (party.name.as_str(), party.purpose, party.retention.until_unix_ms))
        .collect();
    assert_eq!(
        ends[..3],
        [("tidegate", "kept_turns", Some(9)), ("agreed", "file", None), ("unknown", "response", None)]
    );
    let keys: Vec<_> = storages.iter().map(|party| party.key.as_deref()).collect();
    assert_eq!(keys[..3], [Some("workspace_key"), Some(own().to_string().as_str()), Some("managed")]);
}

#[test]
fn a_request_counts_once_for_a_party_and_an_unknown_end_is_the_latest() {
    let twice = record(vec![attempt(1, own(), "agreed", None), attempt(2, own(), "agreed", None)]);
    let elsewhere = record(vec![attempt(1, own(), "published", None)]);
    let mut sums = Sums::default();
    for record in [&twice, &elsewhere] {
        sums.take(record, path(record, &[], false));
    }
    let of = |name: &str| sums.lines.iter().find(|(key, _)| key.name == name).unwrap().1;
    assert_eq!((of("agreed").requests, of("published").requests), (1, 1));
    assert_eq!(of("agreed").last_seen_unix_ms - of("agreed").first_seen_unix_ms, 1_000);
    assert_eq!(sums.lines.values().map(|line| line.requests).max(), Some(2), "the gateway saw both");
    let regions: Vec<_> = sums
        .regions
        .iter()
        .map(|(name, sum)| (name.as_deref(), sum.requests, sum.attempts, sum.input_tokens))
        .collect();
    assert_eq!(regions, [(None, 1, 1, 10), (Some("eu"), 1, 2, 20)]);
    assert_eq!((later((Some(1), Some(2))), later((Some(1), None))), (Some(2), None));
}

fn some_principal() -> impl Strategy<Value = Principal> {
    (0_u8..3, 1_u8..4).prop_map(|(kind, number)| match kind {
        0 => Principal::Credential(CredentialId::new(1, [number; 10])),
        1 => Principal::Account(AccountId::new(1, [number; 10])),
        _ => Principal::Node(NodeId::new(1, [number; 10])),
    })
}

fn some_record() -> impl Strategy<Value = MeterRecord> {
    let provider = prop::sample::select(vec!["agreed", "published", "endless", "other"]);
    let attempts = prop::collection::vec((some_principal(), provider, any::<bool>()), 0..5);
    attempts.prop_map(|attempts| {
        let numbered = attempts.into_iter().zip(1..);
        record(
            numbered
                .map(|((principal, provider, fails), number)| {
                    attempt(number, principal, provider, fails.then_some(FaultClass::Timeout))
                })
                .collect(),
        )
    })
}

proptest! {
    /// Everybody who was tried is told, in order, with content; nothing tells an account to who is not the operator; and what has no
    /// basis has no figure.
    #[test]
    fn nobody_is_left_out_and_nothing_is_guessed(record in some_record(), is_operator: bool) {
        let told = path(&record, &[], is_operator);
        let tried: Vec<_> = told.iter().filter_map(|party| party.attempt).collect();
        prop_assert_eq!(tried, record.attempts.iter().map(|one| one.number).collect::<Vec<_>>());
        prop_assert!(told.is_sorted_by_key(|party| party.role == PartyRole::Storage));
        for party in &told {
            prop_assert_eq!(party.attempt.is_some(), matches!(party.role, PartyRole::Provider | PartyRole::Node));
            prop_assert!(party.attempt.is_none() || party.saw == Some(Saw::Content));
            if party.retention.basis == RetentionBasis::Unknown {
                prop_assert_eq!(&party.retention, &Retention::UNKNOWN);
            }
        }
        let shown = format!("{told:?}");
        for one in record.attempts.iter().filter(|one| matches!(one.principal, Principal::Account(_))) {
            prop_assert_eq!(shown.contains(&one.principal.to_string()), is_operator);
        }
    }

    /// Sums have no other order than the requests': what each line and region counts does not depend on it.
    #[test]
    fn sums_are_the_same_in_any_order(records in prop::collection::vec(some_record(), 0..6)) {
        let sum = |records: &mut dyn Iterator<Item = &MeterRecord>| {
            let mut sums = Sums::default();
            records.for_each(|record| sums.take(record, path(record, &[], false)));
            sums
        };
        let (one, other) = (sum(&mut records.iter()), sum(&mut records.iter().rev()));
        prop_assert_eq!(&one.lines, &other.lines);
        prop_assert_eq!(&one.regions, &other.regions);
        let attempts: u64 = one.regions.values().map(|region| region.attempts).sum();
        prop_assert_eq!(attempts, records.iter().map(|record| record.attempts.len() as u64).sum::<u64>());
    }
}
