//! A generated month with streams that were cut, retries and batches, against the files that a provider makes of it.

use std::collections::BTreeMap;
use std::time::Instant;

use domain::{MeterRecord, Tier, Usage, UsageSource};
use reconciliation::{Kind, Matching, Measure, Names, Outcome, Theirs, read_export};
use serde_json::{Value, json};

use crate::fixture::{DAY_S, PROVIDER, START_S, catalogue, principal, record, used};

const DAYS: u64 = 30;
/// What may be unexplained, in millionths.
const UNEXPLAINED_PPM_MAX: u64 = 1_000;

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

/// What the provider has of a request: when it booked it, and how much.
struct Billed {
    at_unix_s: u64,
    tier: Tier,
    input: u64,
    cached: u64,
    output: u64,
}

/// One request on both sides.
fn exchange(number: u64, chance: &mut Chance) -> (MeterRecord, Option<Billed>) {
    let ended = START_S + 1 + chance.below(DAYS * DAY_S - 1);
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
        return (record(number, ended, estimate), Some(billed));
    }
    let mut ours = record(number, ended, usage);
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
    (ours, Some(billed))
}

type Sums = BTreeMap<(u64, bool), [u64; 3]>;

fn book(sums: &mut Sums, billed: &Billed) {
    let key = (billed.at_unix_s / DAY_S * DAY_S, billed.tier == Tier::Batch);
    let sum = sums.entry(key).or_default();
    for (sum, count) in sum.iter_mut().zip([billed.input, billed.cached, billed.output]) {
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
            "object": "organization.usage.completions.result", "model": "gpt-4o-mini-2024-07-18", "batch": is_batch,
            "input_tokens": input + cached, "input_cached_tokens": cached, "output_tokens": output,
        }));
    }
    page(buckets)
}

/// Amounts with six decimals, as an invoice has them.
fn costs_page(sums: &Sums) -> String {
    let mut buckets: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for ((day, is_batch), counts) in sums {
        for (what, tokens, price) in
            [("input", counts[0], 0.15), ("cached input", counts[1], 0.075), ("output", counts[2], 0.6)]
        {
            let price = if *is_batch { price / 2.0 } else { price };
            let prefix = if *is_batch { "batch | " } else { "" };
            let value = format!("{:.6}", tokens as f64 * price / 1_000_000.0);
            buckets.entry(*day).or_default().push(json!({
                "object": "organization.costs.result", "amount": {"value": value, "currency": "usd"},
                "line_item": format!("{prefix}gpt-4o-mini-2024-07-18, {what}"),
            }));
        }
    }
    page(buckets)
}

/// The month with this many records; each is compared as it is made, so that none is kept.
fn month(records: u64, seed: u64) -> (Outcome, f64) {
    // Twice the same chance: first their files, then our records.
    let mut sums = Sums::new();
    let mut chance = Chance(seed);
    for number in 0..records {
        if let (_, Some(billed)) = exchange(number, &mut chance) {
            book(&mut sums, &billed);
        }
    }
    let mut theirs = Theirs::new(Names::new(catalogue(), PROVIDER));
    for file in [usage_page(&sums), costs_page(&sums)] {
        let mut text = file.as_bytes();
        read_export(PROVIDER, None, &mut text, &mut |line| theirs.take(line)).unwrap();
    }
    theirs.widen(START_S, START_S + DAYS * DAY_S);
    let mut matching = Matching::new(theirs);
    let mut chance = Chance(seed);
    let mut spent = 0.0;
    for number in 0..records {
        let (ours, _) = exchange(number, &mut chance);
        let began = Instant::now();
        matching.take(&ours, &|one| one == principal());
        spent += began.elapsed().as_secs_f64();
    }
    (matching.finish(), spent)
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

#[test]
fn a_month_with_cut_streams_retries_and_batches_is_explained() {
    let records = number("TIDEGATE_RECONCILED_RECORDS", 20_000);
    let (outcome, spent) = month(records, number("TIDEGATE_SEED", 22));
    for kind in Kind::ALL {
        let sum = outcome.sum(kind);
        println!(
            "{:14} {:6} lines {:14} tokens {:10} micro-USD",
            kind.as_str(),
            sum.lines,
            sum.quantity,
            sum.picos / 1_000_000
        );
    }
    println!("{records} records in {spent:.1} s, {} ppm unexplained", outcome.unexplained_millionths());
    assert!(outcome.unexplained_millionths() <= UNEXPLAINED_PPM_MAX, "{outcome:#?}");
    // The month has what the comparison is for.
    for kind in [Kind::Matched, Kind::Late, Kind::Estimate, Kind::Rounding] {
        assert!(outcome.sum(kind).lines > 0, "{kind:?}: {outcome:#?}");
    }
    // What ended in the month's last minutes may be in their next month.
    assert_eq!(outcome.ours.lines, attempts(records), "each attempt is read once");
}

/// How many attempts the records have.
fn attempts(records: u64) -> u64 {
    let mut chance = Chance(number("TIDEGATE_SEED", 22));
    (0..records).map(|one| exchange(one, &mut chance).0.attempts.len() as u64).sum()
}

#[test]
fn a_day_that_was_not_recorded_is_found_in_the_month() {
    let seed = 7;
    let (mut sums, mut chance) = (Sums::new(), Chance(seed));
    let (mut ours, mut lost) = (Vec::new(), 0);
    for number in 0..5_000 {
        let (record, billed) = exchange(number, &mut chance);
        let billed = billed.unwrap();
        book(&mut sums, &billed);
        let is_lost = (START_S + 10 * DAY_S..START_S + 10 * DAY_S + 43_200)
            .contains(&(record.finished_unix_ms / 1_000));
        if is_lost {
            lost += billed.input + billed.cached + billed.output;
        } else {
            ours.push(record);
        }
    }
    let mut theirs = Theirs::new(Names::new(catalogue(), PROVIDER));
    let file = usage_page(&sums);
    read_export(PROVIDER, None, &mut file.as_bytes(), &mut |line| theirs.take(line)).unwrap();
    let mut matching = Matching::new(theirs);
    ours.iter().for_each(|record| matching.take(record, &|_| true));
    let outcome = matching.finish();
    let missing = outcome.sum(Kind::Missing).quantity;
    let lost = i128::from(lost);
    assert!(missing > lost * 8 / 10 && missing < lost * 12 / 10, "{missing} of {lost}: {outcome:#?}");
    let tenth = START_S + 10 * DAY_S;
    let largest = &outcome.differences[0];
    assert_eq!(
        (largest.from_unix_s, largest.kind, largest.measure == Measure::Whole),
        (tenth, Kind::Missing, false)
    );
}
