//! Fills a store with requests as a month of traffic would, through the drainer's own code path.

use std::time::{Duration, Instant, SystemTime};

use domain::record::PlanRecord;
use domain::*;
use ledger::{DrainBatch, JournalPosition, SettledRecords};
use store::Store;

pub const DAYS: u64 = 30;
pub const TAG: &str = "nightly";
const DAY_MS: u64 = 86_400_000;
const BATCH: u64 = 2_000;
const KEYS: u64 = 12;
/// Requested name, resolved name and provider.
const MODELS: [(&str, &str, &str); 8] = [
    ("openai/gpt-4o", "openai/gpt-4o", "openai"),
    ("gpt-4o-mini", "openai/gpt-4o-mini", "openai"),
    ("fast", "openai/gpt-4o-mini", "openai"),
    ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5", "anthropic"),
    ("gemini-2.5-flash", "google/gemini-2.5-flash", "gemini"),
    ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "together_ai"),
    ("deepseek-chat", "deepseek/deepseek-chat", "deepseek"),
    ("tide-1", "tide-1", "byoc"),
];

/// What was inserted, as far as answers are compared with it.
pub struct Filled {
    pub records: u64,
    pub took: Duration,
    pub keys: Vec<KeyId>,
    pub project: ProjectId,
    pub oldest: TraceId,
    pub newest: TraceId,
    /// Requests answered with a 502, oldest first.
    pub broken: Vec<TraceId>,
    pub fast: Vec<TraceId>,
    pub tagged: Vec<TraceId>,
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// Mostly small values, sometimes large.
    fn skewed(&mut self, end: u64) -> u64 {
        let one = self.below(end);
        self.below(one + 1)
    }

    fn bytes(&mut self) -> [u8; 10] {
        std::array::from_fn(|_| self.below(256) as u8)
    }
}

struct Filler {
    chance: Chance,
    workspace: WorkspaceId,
    projects: Vec<ProjectId>,
    keys: Vec<KeyId>,
    principals: Vec<Principal>,
}

impl Filler {
    fn new(workspace: WorkspaceId, project: ProjectId, now: u64) -> Self {
        let mut chance = Chance(7);
        let projects =
            [project].into_iter().chain((0..3).map(|_| ProjectId::new(now, chance.bytes()))).collect();
        let keys = (0..KEYS).map(|_| KeyId::new(now, chance.bytes())).collect();
        let principals = (0..MODELS.len()).map(|number| match number {
            0..=3 => Principal::Credential(CredentialId::new(now, chance.bytes())),
            4..=6 => Principal::Account(AccountId::new(now, chance.bytes())),
            _ => Principal::Node(NodeId::new(now, chance.bytes())),
        });
        let principals = principals.collect();
        Self { chance, workspace, projects, keys, principals }
    }

    fn record(&mut self, started: u64) -> MeterRecord {
        let chance = &mut self.chance;
        let model = chance.skewed(MODELS.len() as u64) as usize;
        let (requested, resolved, provider) = MODELS[model];
        let key = chance.skewed(KEYS) as usize;
        let (outcome, status, fault) = match chance.below(10_000) {
            0..150 => (Outcome::ClientCancelled, 200, None),
            150..280 => (Outcome::Failed, 429, Some(FaultClass::RateLimit)),
            280..284 => (Outcome::Failed, 502, Some(FaultClass::Upstream)),
            _ => (Outcome::Completed, 200, None),
        };
        let usage = Usage {
            input: 20 + chance.skewed(8_000),
            cached_read: if chance.below(4) == 0 { chance.below(4_000) } else { 0 },
            output: 1 + chance.skewed(1_500),
            source: UsageSource::Provider,
            ..Usage::default()
        };
        let cost = (usage.prompt_total() * 150 + usage.output * 600).cast_signed();
        let principal = self.principals[model];
        let owed = if matches!(principal, Principal::Account(_)) { cost } else { 0 };
        let charge = Charge { cost: Nanos(owed), provider_cost: Nanos(cost), priced: Priced::Priced };
        let first_byte_us = 180_000 + chance.skewed(1_500_000);
        let settled_us = first_byte_us + 1_000 + chance.skewed(20_000_000);
        let upstream_model = resolved.rsplit('/').next().unwrap();
        let attempt = AttemptRecord {
            provider: provider.into(),
            upstream_model: upstream_model.into(),
            started_us: 260 + chance.skewed(400),
            duration_us: settled_us - 700,
            status: Some(status),
            fault,
            usage,
            charge,
            ..attempt(principal, upstream_id(chance))
        };
        MeterRecord {
            trace: TraceId::new(started, chance.bytes()),
            workspace: self.workspace,
            project: self.projects[key % self.projects.len()],
            key: Some(self.keys[key]),
            environment: if key % 5 == 4 { "staging".into() } else { "production".into() },
            started_unix_ms: started,
            finished_unix_ms: started + settled_us / 1_000,
            operation: Operation::Chat,
            dialect: Dialect::Chat,
            stream: chance.below(3) > 0,
            requested_model: requested.into(),
            resolved_model: resolved.into(),
            outcome,
            status,
            fault,
            fault_code: fault.map(|fault| fault.as_str().to_owned()),
            principal: Some(principal),
            provider: provider.into(),
            fallback_used: false,
            tag: (chance.below(1_000) == 0).then(|| TAG.to_owned()),
            usage,
            charge,
            attempts: vec![attempt],
            plan: plan(principal),
            timeline: timeline(chance, first_byte_us, settled_us),
            bytes_out: 300 + chance.skewed(30_000),
            drawn: Vec::new(),
            caching: None,
            reason: None,
            extras: domain::record::Extras::default(),
        }
    }
}

fn plan(principal: Principal) -> PlanRecord {
    PlanRecord {
        resolution: "catalogue".into(),
        route: String::new(),
        candidates: vec![principal],
        rejected: Vec::new(),
        snapshot_version: 17,
    }
}

fn upstream_id(chance: &mut Chance) -> String {
    let letters: Vec<u8> =
        (0..29).map(|_| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop"[chance.below(42) as usize]).collect();
    format!("chatcmpl-{}", String::from_utf8(letters).unwrap())
}

/// The fields that all attempts share.
fn attempt(principal: Principal, upstream_id: String) -> AttemptRecord {
    AttemptRecord {
        number: 1,
        principal,
        provider: String::new(),
        upstream_model: String::new(),
        region: None,
        started_us: 0,
        duration_us: 0,
        status: None,
        fault: None,
        upstream_request_id: Some(upstream_id),
        usage: Usage::default(),
        rates: Some(Rates {
            input: Price(150_000),
            output: Price(600_000),
            cached_read: Some(Price(75_000)),
            ..Rates::default()
        }),
        markup_bps: 0,
        charge: Charge::default(),
    }
}

fn timeline(chance: &mut Chance, first_byte_us: u64, settled_us: u64) -> Timeline {
    Timeline {
        decoded_us: 40 + chance.skewed(60),
        admitted_us: 110 + chance.skewed(60),
        planned_us: 180 + chance.skewed(60),
        intent_us: 250 + chance.skewed(100),
        upstream_head_us: first_byte_us - 300,
        first_byte_us,
        settled_us,
    }
}

/// Start times with nightly lows and a noon peak.
fn started(number: u64, records: u64, now: u64) -> u64 {
    let span = DAYS * DAY_MS - 3_600_000;
    let even = u128::from(number) * u128::from(span) / u128::from(records);
    let even = u64::try_from(even).unwrap();
    let hour = even % DAY_MS / 3_600_000;
    // Each night hour's requests fall into its second half.
    let within = even % 3_600_000;
    let within = if hour < 7 { 1_800_000 + within / 2 } else { within };
    now - DAYS * DAY_MS + even / 3_600_000 * 3_600_000 + within
}

pub async fn fill(store: &Store, ids: (WorkspaceId, ProjectId), records: u64) -> Filled {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let mut filler = Filler::new(ids.0, ids.1, now);
    let mut filled = Filled {
        records,
        took: Duration::ZERO,
        keys: filler.keys.clone(),
        project: ids.1,
        oldest: TraceId::new(0, [0; 10]),
        newest: TraceId::new(0, [0; 10]),
        broken: Vec::new(),
        fast: Vec::new(),
        tagged: Vec::new(),
    };
    let sink = store.record_sink();
    for first in (0..records).step_by(BATCH as usize) {
        let batch: Vec<_> = (first..records.min(first + BATCH))
            .map(|number| filler.record(started(number, records, now)))
            .collect();
        for record in &batch {
            for (list, is) in [
                (&mut filled.broken, record.status == 502),
                (&mut filled.fast, record.requested_model == "fast"),
                (&mut filled.tagged, record.tag.is_some()),
            ] {
                if is {
                    list.push(record.trace);
                }
            }
        }
        if first == 0 {
            filled.oldest = batch[0].trace;
        }
        filled.newest = batch.last().unwrap().trace;
        let upto = JournalPosition { epoch: 1, segment: 1, offset: first + 1 };
        let settled = SettledRecords::of(&batch).unwrap();
        let start = Instant::now();
        sink.apply(DrainBatch { core: 99, upto, records: settled }).await.unwrap();
        filled.took += start.elapsed();
    }
    for list in [&mut filled.broken, &mut filled.fast, &mut filled.tagged] {
        list.sort();
    }
    filled
}
