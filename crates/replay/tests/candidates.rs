//! Simulated candidates whose truth is known: how often the gates let a worse one in, and keep a good one out. `make prove-replay`
//! is the large edition.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the lint knows test functions, not the helpers of an integration test"
)]

use replay::{Gates, Load, Measured, Pair, Random, Verdict, judge};

/// Of a standard normal distribution.
const Z_95: f64 = 1.644_853_6;
/// Of a run as it is without more words, and of the largest, which whoever is told "more requests narrow the bounds" makes next.
const REQUESTS: [usize; 2] = [1_000, 5_000];
/// The spread that both sides of a request share, and the spread that is each side's alone.
const SHARED_SPREAD: f64 = 0.35;
const BASELINE_SPREAD: f64 = 0.40;

/// What is true of a candidate, beside the baseline.
#[derive(Debug, Clone, Copy)]
struct Truth {
    first_token_p95: f64,
    total_p95: f64,
    spread: f64,
    errors: f64,
    cost: f64,
}

impl Truth {
    /// Half of them are near or within the gates in everything; the others are anything.
    fn draw(random: &mut Random) -> Self {
        let between = |random: &mut Random, low: f64, high: f64| low + (high - low) * random.unit();
        let is_likely = random.unit() < 0.5;
        let (ratio_max, errors_max, cost_max) = if is_likely { (1.5, 0.008, 0.9) } else { (2.4, 0.04, 1.6) };
        Self {
            first_token_p95: between(random, 0.5, ratio_max),
            total_p95: between(random, 0.5, ratio_max),
            spread: between(random, 0.25, 0.7),
            errors: between(random, 0.0, errors_max),
            cost: between(random, 0.3, cost_max),
        }
    }

    fn keeps_to(&self, gates: &Gates, margin: f64) -> bool {
        let percent = |gate: Option<u32>| f64::from(gate.unwrap()) / 100.0 * margin;
        self.first_token_p95 <= percent(gates.first_token_p95_percent_max)
            && self.total_p95 <= percent(gates.total_p95_percent_max)
            && self.cost <= percent(gates.cost_percent_max)
            && self.errors <= f64::from(gates.error_bps_max.unwrap()) / 10_000.0 * margin.powi(4)
    }

    fn pairs(&self, requests: usize, random: &mut Random) -> Vec<Pair> {
        (0..requests).map(|_| self.pair(random)).collect()
    }

    fn pair(&self, random: &mut Random) -> Pair {
        // The candidate's median follows from its 95th percentile and its spread.
        let of_spread = |own: f64| (SHARED_SPREAD.powi(2) + own.powi(2)).sqrt();
        let median = (Z_95 * (of_spread(BASELINE_SPREAD) - of_spread(self.spread))).exp();
        let mut times = |typical_us: f64, ratio: f64| {
            let shared = SHARED_SPREAD * normal(random);
            let before = typical_us * (shared + BASELINE_SPREAD * normal(random)).exp();
            let after = typical_us * ratio * median * (shared + self.spread * normal(random)).exp();
            (before as u64, after as u64)
        };
        let first = times(200_000.0, self.first_token_p95);
        let total = times(2_000_000.0, self.total_p95);
        let tokens = 100 + random.below(400) as u64;
        let cost = (tokens * 1_000) as f64;
        let side = |(first, total): (u64, u64), cost: f64| Measured {
            first_token_us: Some(first),
            total_us: total,
            is_error: false,
            cost_nanos: Some(cost as i64),
            prompt_tokens: tokens,
            output_tokens: tokens,
        };
        let noise = 0.9 + 0.2 * random.unit();
        let candidate = Measured {
            is_error: random.unit() < self.errors,
            ..side((first.1, total.1), cost * self.cost * noise)
        };
        Pair { baseline: side((first.0, total.0), cost), candidate, agreement: None }
    }
}

fn normal(random: &mut Random) -> f64 {
    let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.unit()).cos()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

#[derive(Debug, Default)]
struct Count {
    candidates: u64,
    passed: u64,
    failed: u64,
}

impl Count {
    fn add(&mut self, verdict: Verdict) {
        self.candidates += 1;
        self.passed += u64::from(verdict == Verdict::Passed);
        self.failed += u64::from(verdict == Verdict::Failed);
    }

    fn refused(&self) -> u64 {
        self.candidates - self.passed
    }
}

#[test]
fn the_gates_let_hardly_a_worse_candidate_in_and_keep_hardly_a_good_one_out() {
    let candidates = number("TIDEGATE_REPLAY_CANDIDATES", 16);
    let seed = number("TIDEGATE_SEED", 24);
    let (gates, load) =
        (Gates::default(), Load { recorded_tokens_per_minute: 100, replayed_tokens_per_minute: 200 });
    let (mut worse, mut good, mut clearly_good) = (Count::default(), Count::default(), Count::default());
    for number in 0..candidates {
        let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let truth = Truth::draw(&mut random);
        let mut verdict = Verdict::Inconclusive;
        for requests in REQUESTS {
            if verdict == Verdict::Inconclusive {
                verdict = judge(&truth.pairs(requests, &mut random), load, &gates, random.next()).verdict;
            }
        }
        if !truth.keeps_to(&gates, 1.0) {
            worse.add(verdict);
        } else {
            good.add(verdict);
            // A fifth within each gate; of errors, less than half.
            if truth.keeps_to(&gates, 0.8) {
                clearly_good.add(verdict);
            }
        }
    }
    println!("seed {seed}, {candidates} candidates of {REQUESTS:?} requests each");
    println!("worse than a gate:  {worse:?}: false activation {} of {}", worse.passed, worse.candidates);
    println!("good:               {good:?}: false refusal (failed) {} of {}", good.failed, good.candidates);
    println!(
        "good by a fifth:    {clearly_good:?}: not passed {} of {}",
        clearly_good.refused(),
        clearly_good.candidates
    );
    let share = |part: u64, whole: u64, percent: u64| part * 100 <= whole * percent;
    assert!(worse.candidates >= candidates / 5 && clearly_good.candidates >= candidates / 10);
    assert!(share(worse.passed, worse.candidates, 1), "false activations");
    assert!(share(good.failed, good.candidates, 5), "false refusals");
    assert!(share(clearly_good.refused(), clearly_good.candidates, 5), "good candidates that do not pass");
}
