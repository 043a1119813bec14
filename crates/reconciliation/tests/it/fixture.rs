//! Records and lines to compare.

use std::sync::OnceLock;

use catalogue::Catalogue;
use domain::record::{AttemptRecord, Extras, MeterRecord, Outcome, PlanRecord, Priced};
use domain::{
    AccountId, Charge, Dialect, Nanos, Operation, Price, Principal, ProjectId, Rates, Tier, Timeline,
    TraceId, Usage, UsageSource, WorkspaceId,
};
use reconciliation::{Line, Matching, Measure, Names, Theirs};

pub const PROVIDER: &str = "openai";
pub const MINI: &str = "gpt-4o-mini";
pub const MINI_FULL: &str = "openai/gpt-4o-mini";
pub const DAY_S: u64 = 86_400;
/// The first of November 2026.
pub const START_S: u64 = 1_793_491_200;

/// Read once: properties compare hundreds of times.
pub fn catalogue() -> &'static Catalogue {
    static EMBEDDED: OnceLock<Catalogue> = OnceLock::new();
    EMBEDDED.get_or_init(|| Catalogue::embedded().unwrap())
}

pub fn rates() -> Rates {
    Rates {
        input: Price(150_000),
        cached_read: Some(Price(75_000)),
        output: Price(600_000),
        ..Rates::default()
    }
}

pub fn principal() -> Principal {
    Principal::Account(AccountId::new(1, [7; 10]))
}

pub fn used(input: u64, cached_read: u64, output: u64) -> Usage {
    Usage { input, cached_read, output, source: UsageSource::Provider, ..Usage::default() }
}

/// A request with one attempt that ended then.
pub fn record(number: u64, ended_unix_s: u64, usage: Usage) -> MeterRecord {
    let random = u128::from(number).to_be_bytes();
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&random[6..]);
    let rates = match usage.tier {
        Some(Tier::Batch) => rates().percent(50),
        _ => rates(),
    };
    let charge = Charge { cost: Nanos::ZERO, provider_cost: rates.cost(&usage), priced: Priced::Priced };
    let attempt = AttemptRecord {
        number: 1,
        principal: principal(),
        provider: PROVIDER.to_owned(),
        upstream_model: MINI.to_owned(),
        region: None,
        started_us: 0,
        duration_us: 1_000_000,
        status: Some(200),
        fault: None,
        upstream_request_id: Some(format!("req_{number}")),
        usage,
        rates: Some(rates),
        markup_bps: 0,
        charge,
    };
    let started_unix_ms = (ended_unix_s - 1) * 1_000;
    MeterRecord {
        trace: TraceId::new(started_unix_ms, bytes),
        workspace: WorkspaceId::new(1, [1; 10]),
        project: ProjectId::new(1, [1; 10]),
        key: None,
        environment: "production".to_owned(),
        started_unix_ms,
        finished_unix_ms: ended_unix_s * 1_000,
        operation: Operation::Chat,
        dialect: Dialect::Chat,
        stream: false,
        requested_model: MINI_FULL.to_owned(),
        resolved_model: MINI_FULL.to_owned(),
        outcome: Outcome::Completed,
        status: 200,
        fault: None,
        fault_code: None,
        principal: Some(principal()),
        provider: PROVIDER.to_owned(),
        fallback_used: false,
        tag: None,
        usage,
        charge,
        attempts: vec![attempt],
        plan: PlanRecord::default(),
        timeline: Timeline::default(),
        bytes_out: 1,
        drawn: Vec::new(),
        caching: None,
        reason: None,
        extras: Extras::default(),
    }
}

/// A line of a day.
pub fn line(day: u64, measure: Measure, quantity: Option<i64>, cost_picos: Option<i128>) -> Line {
    let from_unix_s = START_S + day * DAY_S;
    Line {
        from_unix_s,
        until_unix_s: from_unix_s + DAY_S,
        account: None,
        model: Some(MINI.to_owned()),
        tier: None,
        request: None,
        measure,
        quantity,
        cost_picos,
        decimals: 12,
    }
}

pub fn theirs(lines: impl IntoIterator<Item = Line>) -> Theirs {
    let mut theirs = Theirs::new(Names::new(catalogue(), PROVIDER));
    lines.into_iter().for_each(|line| theirs.take(line));
    theirs
}

pub fn compare(lines: impl IntoIterator<Item = Line>, records: &[MeterRecord]) -> reconciliation::Outcome {
    let mut matching = Matching::new(theirs(lines));
    for record in records {
        matching.take(record, &|one| one == principal());
    }
    matching.finish()
}
