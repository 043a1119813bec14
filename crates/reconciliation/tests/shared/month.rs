//! A generated month on both sides: our records with streams that were cut, retries and batches, the files that a provider makes
//! of the same requests, and the defects that are put between them.

use std::collections::BTreeMap;
use std::ops::Range;

use domain::record::{AttemptRecord, Extras, MeterRecord, Outcome, PlanRecord, Priced};
use domain::{
    Charge, Dialect, Nanos, Operation, Price, Principal, ProjectId, Rates, Tier, Timeline, TraceId, Usage,
    UsageSource, WorkspaceId,
};
use serde_json::{Value, json};

pub const PROVIDER: &str = "openai";
pub const MINI: &str = "gpt-4o-mini";
pub const MINI_FULL: &str = "openai/gpt-4o-mini";
pub const DAY_S: u64 = 86_400;
pub const DAYS: u64 = 30;
/// What may be unexplained beside the defects, in millionths.
pub const UNEXPLAINED_PPM_MAX: u64 = 1_000;

/// The days of the defects, far enough apart that none is taken for another.
const UNRECORDED: u64 = 4;
const OTHER_PRICE: u64 = 8;
const NOT_BILLED: u64 = 12;
const BATCH_LOST: u64 = 15;
const BILLED_TWICE: u64 = 19;
const BYPASSED: u64 = 23;
const GIVEN_BACK: u64 = 27;
/// How much more they ask for the output of a day, in per cent.
const DEARER_PERCENT: u64 = 20;
/// Of how many requests of a day one doesn't come through the gateway.
const BYPASSED_OF: u64 = 5;
/// How much of a day may be explained as of days before and after it, in thousandths: where batches are told apart, what ended within
/// a quarter of an hour of either midnight; else also batches, a twentieth of each of the two days that they may be late.
const LATE_PERMILLE: [u64; 2] = [250, 30];
/// Tokens that an estimate may be off beyond its own size.
const ESTIMATED_UNITS: u64 = 16;

/// Whose records they are.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub principal: Principal,
}

/// What both sides are made from: the same every time.
#[derive(Debug, Clone, Copy)]
pub struct Month {
    pub records: u64,
    pub seed: u64,
    /// The first midnight.
    pub start_unix_s: u64,
    pub owner: Owner,
    /// Whether it has the defects.
    pub is_flawed: bool,
}

/// What the provider has of a request: when it booked it, and how much.
pub struct Billed {
    pub at_unix_s: u64,
    pub tier: Tier,
    pub input: u64,
    pub cached: u64,
    pub output: u64,
}

/// The provider's files, and what is wrong with them or with our records.
pub struct Files {
    pub usage: String,
    pub costs: String,
    pub defects: Vec<Defect>,
    /// All tokens that they count.
    pub tokens: u64,
}

/// One defect, as the comparison must name it.
#[derive(Debug, Clone)]
pub struct Defect {
    pub what: &'static str,
    kind: &'static str,
    days: Range<u64>,
    measures: &'static [&'static str],
    is_batch: bool,
    /// Tokens, or micro-USD of another price.
    size: u64,
    /// All of those days and measures, of which neighbours may explain a part.
    of: u64,
    /// What estimates may explain of them.
    estimated: u64,
}

/// A difference of a report.
#[derive(Debug)]
pub struct Found {
    pub kind: String,
    /// From the month's first; a batch may be booked the day before that.
    pub day: u64,
    pub measure: String,
    pub is_batch: bool,
    pub quantity: u64,
    pub micros: u64,
}

/// Numbers by chance, from a seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn happens(&mut self, in_ten_thousand: u64) -> bool {
        self.below(10_000) < in_ten_thousand
    }
}

/// Tokens by the day and whether of a batch: input, cached input, output.
type Sums = BTreeMap<(u64, bool), [u64; 3]>;

fn used(input: u64, cached_read: u64, output: u64) -> Usage {
    Usage { input, cached_read, output, source: UsageSource::Provider, ..Usage::default() }
}

pub fn rates() -> Rates {
    let (input, cached_read, output) = (Price(150_000), Some(Price(75_000)), Price(600_000));
    Rates { input, cached_read, output, ..Rates::default() }
}

/// A request with one attempt that ended then.
pub fn record(owner: &Owner, number: u64, ended_unix_s: u64, usage: Usage) -> MeterRecord {
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
        principal: owner.principal,
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
        workspace: owner.workspace,
        project: owner.project,
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
        principal: Some(owner.principal),
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

impl Month {
    /// One request after the other, in the order in which they ended, on both sides; without a record if nobody kept one.
    pub fn exchanges(&self) -> impl Iterator<Item = (Option<MeterRecord>, Billed)> + '_ {
        let mut chance = Chance(self.seed);
        (0..self.records).map(move |number| {
            let (ours, billed) = self.exchange(number, &mut chance);
            let is_kept = !self.is_flawed || self.is_recorded(&ours, number);
            (is_kept.then_some(ours), billed)
        })
    }

    fn exchange(&self, number: u64, chance: &mut Chance) -> (MeterRecord, Billed) {
        let span = DAYS * DAY_S - 2;
        let ended = self.start_unix_s + 1 + number * span / self.records.max(1);
        let (input, cached, output) = (1 + chance.below(4_000), chance.below(2_000), 1 + chance.below(900));
        let is_batch = chance.happens(500);
        let tier = if is_batch { Tier::Batch } else { Tier::Standard };
        let usage = Usage { tier: is_batch.then_some(Tier::Batch), ..used(input, cached, output) };
        // They book what ended up to five minutes ago; a batch when it ran, which is up to a day before we are told.
        let shift = if is_batch { chance.below(20 * 3_600) } else { 0 };
        let at_unix_s = (ended + chance.below(300)).saturating_sub(shift);
        let billed = Billed { at_unix_s, tier, input, cached, output };
        // A stream that its client cut: we counted what we passed on, and they what they made.
        if !is_batch && chance.happens(200) {
            let seen = output - output * chance.below(20) / 100;
            let estimate = Usage { output: seen, source: UsageSource::Estimate, ..usage };
            return (record(&self.owner, number, ended, estimate), billed);
        }
        let mut ours = record(&self.owner, number, ended, usage);
        // A retry after an error that nobody bills.
        if chance.happens(300) {
            let mut failed = ours.attempts[0].clone();
            (failed.status, failed.usage) = (Some(500), Usage::default());
            ours.attempts.insert(0, failed);
        }
        // An attempt that ran out of time: they may have billed it, and we know of no tokens.
        if chance.happens(1) {
            (ours.attempts[0].status, ours.attempts[0].usage) = (None, Usage::default());
        }
        (ours, billed)
    }

    /// Twelve hours of a day are lost, and on another day some of the requests come to the provider by another way.
    fn is_recorded(&self, ours: &MeterRecord, number: u64) -> bool {
        let since = ours.finished_unix_ms / 1_000 - self.start_unix_s;
        let (day, hour) = (since / DAY_S, since % DAY_S / 3_600);
        let is_batch = ours.usage.tier == Some(Tier::Batch);
        let is_lost = day == UNRECORDED && (6..18).contains(&hour);
        let is_bypassed = day == BYPASSED && (1..23).contains(&hour) && number.is_multiple_of(BYPASSED_OF);
        is_batch || !(is_lost || is_bypassed)
    }

    /// The files that the provider makes of the month.
    pub fn files(&self) -> Files {
        let (mut sums, mut unseen, mut estimated) = (Sums::new(), Sums::new(), Sums::new());
        for (ours, billed) in self.exchanges() {
            let key = (billed.at_unix_s / DAY_S * DAY_S, billed.tier == Tier::Batch);
            let counts = [billed.input, billed.cached, billed.output];
            add(sums.entry(key).or_default(), counts);
            match ours {
                None => add(unseen.entry(key).or_default(), counts),
                Some(ours) if ours.usage.is_estimated() => {
                    add(estimated.entry(key).or_default(), counts.map(|count| count + ESTIMATED_UNITS));
                }
                Some(_) => {}
            }
        }
        let defects = if self.is_flawed { self.flaw(&mut sums, &unseen, &estimated) } else { Vec::new() };
        Files {
            usage: usage_page(&sums),
            costs: self.costs_page(&sums),
            defects,
            tokens: sums.values().flatten().sum(),
        }
    }

    fn midnight(&self, day: u64) -> u64 {
        self.start_unix_s + day * DAY_S
    }

    /// Puts the defects into what they count, and names all of them.
    fn flaw(&self, sums: &mut Sums, unseen: &Sums, estimated: &Sums) -> Vec<Defect> {
        let day = |day: u64| (self.midnight(day), false);
        let cell = |sums: &Sums, key, measure: usize| sums.get(&key).map_or(0, |counts| counts[measure]);
        let all = |sums: &Sums, of: u64| (0..3).map(|measure| cell(sums, day(of), measure)).sum::<u64>();
        let every: &[&str] = &["input", "cached_read", "output"];
        let of_day = |what, kind, of: u64, measures, size| Defect {
            what,
            kind,
            days: of..of + 1,
            measures,
            is_batch: false,
            size,
            of: all(sums, of),
            estimated: all(estimated, of),
        };
        let of_cell = |what, kind, of: u64, measures, measure| {
            let size = cell(sums, day(of), measure);
            let estimated = cell(estimated, day(of), measure);
            Defect { of: size, estimated, ..of_day(what, kind, of, measures, size) }
        };
        let batch_key = (self.midnight(BATCH_LOST), true);
        let around =
            (BATCH_LOST - 2..BATCH_LOST + 3).map(|near| cell(sums, (self.midnight(near), true), 2)).sum();
        let dearer = cell(sums, day(OTHER_PRICE), 2) * 600_000 / 1_000_000 * DEARER_PERCENT / 100;
        let defects = vec![
            of_day("twelve hours without records", "missing", UNRECORDED, every, all(unseen, UNRECORDED)),
            of_day("requests beside the gateway", "missing", BYPASSED, every, all(unseen, BYPASSED)),
            of_cell("input that is billed twice", "missing", BILLED_TWICE, &["input"], 0),
            of_cell("cached input that isn't billed", "extra", NOT_BILLED, &["cached_read"], 1),
            Defect {
                of: dearer,
                estimated: 0,
                ..of_day("dearer output", "price_differs", OTHER_PRICE, &["output"], dearer)
            },
            // Which of the days around it lacks a line can't be told of what may be a day late, from the first day to the last.
            Defect {
                days: 0..DAYS,
                is_batch: true,
                of: around,
                estimated: 0,
                ..of_day("a lost line of batches", "extra", BATCH_LOST, &["output"], cell(sums, batch_key, 2))
            },
        ];
        let twice = cell(sums, day(BILLED_TWICE), 0);
        sums.entry(day(BILLED_TWICE)).or_default()[0] += twice;
        sums.entry(day(NOT_BILLED)).or_default()[1] = 0;
        sums.entry(batch_key).or_default()[2] = 0;
        defects
    }

    /// Amounts with six decimals, as an invoice has them.
    fn costs_page(&self, sums: &Sums) -> String {
        let mut buckets: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        let mut put = |day: u64, line_item: String, dollars: f64| {
            buckets.entry(day).or_default().push(json!({
                "object": "organization.costs.result", "line_item": line_item,
                "amount": {"value": format!("{dollars:.6}"), "currency": "usd"},
            }));
        };
        for ((day, is_batch), counts) in sums {
            let classes = [("input", 0.15), ("cached input", 0.075), ("output", 0.6)].into_iter().zip(counts);
            for ((what, price), tokens) in classes.filter(|(_, tokens)| **tokens > 0) {
                let mut price = if *is_batch { price / 2.0 } else { price };
                let prefix = if *is_batch { "batch | " } else { "" };
                let is_dearer = self.is_flawed && *day == self.midnight(OTHER_PRICE) && !is_batch;
                if is_dearer && what == "output" {
                    price = price * (100 + DEARER_PERCENT) as f64 / 100.0;
                }
                let line_item = format!("{prefix}{MINI}-2024-07-18, {what}");
                put(*day, line_item, *tokens as f64 * price / 1_000_000.0);
            }
        }
        if self.is_flawed {
            put(self.midnight(GIVEN_BACK), format!("{MINI}-2024-07-18, input"), -0.5);
        }
        page(buckets)
    }
}

fn add(sum: &mut [u64; 3], counts: [u64; 3]) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum += count;
    }
}

fn page(buckets: BTreeMap<u64, Vec<Value>>) -> String {
    let bucket = |(day, results)| json!({"object": "bucket", "start_time": day, "end_time": day + DAY_S, "results": results});
    json!({"object": "page", "data": buckets.into_iter().map(bucket).collect::<Vec<_>>()}).to_string()
}

fn usage_page(sums: &Sums) -> String {
    let mut buckets: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for ((day, is_batch), [input, cached, output]) in sums {
        buckets.entry(*day).or_default().push(json!({
            "object": "organization.usage.completions.result", "model": format!("{MINI}-2024-07-18"), "batch": is_batch,
            "input_tokens": input + cached, "input_cached_tokens": cached, "output_tokens": output,
        }));
    }
    page(buckets)
}

impl Files {
    /// Prints how much of each defect was found; each must be, and what else is found must be next to nothing. Costs don't tell
    /// batches apart and usage knows no prices, so that each has a defect that the other can't have.
    pub fn check(&self, found: &[Found], tells_batches_apart: bool) {
        let mut rest: Vec<_> = found.iter().collect();
        let is_told = |defect: &&Defect| {
            if tells_batches_apart { defect.kind != "price_differs" } else { !defect.is_batch }
        };
        for defect in self.defects.iter().filter(is_told) {
            let (of_it, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|one| defect.is(one));
            rest = others;
            let is_money = defect.kind == "price_differs";
            let size = |one: &&Found| if is_money { one.micros } else { one.quantity };
            let sum: u64 = of_it.iter().map(size).sum();
            let unit = if is_money { "micro-USD" } else { "tokens" };
            let (what, kind, whole) = (defect.what, defect.kind, defect.size);
            println!("{what:32} {kind:>13} of {whole:>11} {unit}: {sum:>11} found");
            let late = defect.of * LATE_PERMILLE[usize::from(tells_batches_apart)] / 1_000;
            let (least, most) = (whole.saturating_sub(defect.estimated + late).max(1), whole + late);
            assert!((least..=most).contains(&sum), "{defect:?}: {least} to {most}: {of_it:#?}");
        }
        let beside: u64 = rest.iter().map(|one| one.quantity).sum();
        let ppm = beside * 1_000_000 / self.tokens;
        println!("beside the defects {beside} of {} tokens are unexplained, {ppm} ppm", self.tokens);
        assert!(ppm <= UNEXPLAINED_PPM_MAX, "{rest:#?}");
        assert!(rest.iter().all(|one| one.kind != "price_differs"), "{rest:#?}");
    }
}

impl Defect {
    fn is(&self, found: &Found) -> bool {
        found.kind == self.kind
            && self.days.contains(&found.day)
            && self.measures.contains(&&*found.measure)
            && found.is_batch == self.is_batch
    }
}
