//! The seeds of a scenario: those that failed once, which `seeds.txt` keeps, and then as many as are wanted from the day's on.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::day;
use harness::setting::number;

/// One seed in a line, `SCENARIO SEED # WHY`.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sim/seeds.txt");
/// Days have seeds of their own, so many at most.
const OF_A_DAY: u64 = 1_000;
/// The number of failed seeds that end a run.
const FAILED_MAX: usize = 20;

/// What one scenario runs with.
pub struct Seeds {
    scenario: &'static str,
    all: Vec<u64>,
    /// One that somebody wants to look at.
    pub is_one: bool,
}

impl Seeds {
    /// `TIDEGATE_SIM_SEED` names the only one, and `TIDEGATE_SIM_FROM` the first in place of the day's.
    pub fn of(scenario: &'static str, wanted: u64) -> Self {
        if let Some(one) = number("TIDEGATE_SIM_SEED") {
            return Self { scenario, all: vec![one], is_one: true };
        }
        let from = number("TIDEGATE_SIM_FROM").unwrap_or_else(|| day::seed().wrapping_mul(OF_A_DAY));
        let kept = kept(scenario);
        println!("{scenario}: {} kept seeds, and {wanted} from {from} on", kept.len());
        Self { scenario, all: kept.into_iter().chain(from..from + wanted).collect(), is_one: false }
    }

    /// Runs the scenario with every seed, on all processors, and adds up what each found. Those that fail are kept, and the first is reported.
    pub fn run_all<One, Sum: Default + Send>(
        &self,
        run: impl Fn(u64) -> One + Sync,
        add: impl Fn(&mut Sum, One) + Sync,
    ) -> Sum {
        let (next, sum) = (AtomicUsize::new(0), Mutex::new(Sum::default()));
        let failed: Mutex<BTreeMap<u64, String>> = Mutex::default();
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(seed) = self.all.get(next.fetch_add(1, Ordering::Relaxed))
                        && failed.lock().unwrap().len() < FAILED_MAX
                    {
                        match catch_unwind(AssertUnwindSafe(|| run(*seed))) {
                            Ok(one) => add(&mut sum.lock().unwrap(), one),
                            Err(panic) => {
                                failed.lock().unwrap().insert(*seed, message(panic.as_ref()));
                            }
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().unwrap();
        for (seed, why) in &failed {
            println!("seed {seed}: {why}");
            self.keep(*seed, why);
        }
        if let Some((seed, why)) = failed.first_key_value() {
            panic!("seed {seed}: {why}\nreplay it with TIDEGATE_SIM_SEED={seed}");
        }
        sum.into_inner().unwrap()
    }

    /// Runs a scenario that only passes or fails.
    pub fn check_all(&self, run: impl Fn(u64) + Sync) {
        self.run_all(run, |(): &mut (), ()| ());
    }

    /// What failed once is run first from now on: the line belongs into the change that mends it.
    fn keep(&self, seed: u64, why: &str) {
        if self.is_one || kept(self.scenario).contains(&seed) {
            return;
        }
        let why = why.lines().next().unwrap_or_default();
        let line = format!("{} {seed} # {why}\n", self.scenario);
        let file = OpenOptions::new().append(true).create(true).open(KEPT);
        match file.and_then(|mut file| file.write_all(line.as_bytes())) {
            Ok(()) => println!("kept in {KEPT}: {line}"),
            Err(error) => println!("not kept in {KEPT}, {error}: {line}"),
        }
    }
}

fn kept(scenario: &str) -> Vec<u64> {
    let text = std::fs::read_to_string(KEPT).unwrap_or_default();
    let of_line = |line: &str| {
        let seed = line.strip_prefix(scenario)?.strip_prefix(' ')?.split(' ').next()?.parse();
        Some(seed.unwrap_or_else(|_| panic!("{KEPT}: no seed in {line}")))
    };
    text.lines().filter_map(of_line).collect()
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text").to_owned()
}
