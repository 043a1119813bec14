//! The measurements: one function per row of the table.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::Options;
use crate::children::Child;
use crate::models::Models;
use crate::train::{self, Trained};

pub enum Wanted {
    AtLeast,
    AtMost,
}

pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    pub wanted: Wanted,
    pub gate: f64,
    pub target: f64,
    pub is: f64,
    /// The absolute figures behind the ratio.
    pub behind: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Rounded {
    Eight,
    Four,
}

/// The running child processes, each started when it is first needed.
struct Bench<'a> {
    options: &'a Options,
    models: &'a Models,
    ours: HashMap<Rounded, Child>,
    llama: HashMap<Rounded, Child>,
    measured: HashMap<&'static str, f64>,
}

type Measure = fn(&mut Bench<'_>) -> Result<Row>;

/// In this order: some rows use the measurements of earlier ones.
const ROWS: [(&str, Measure); 23] = [
    ("G1", decode_eight),
    ("G2", decode_four),
    ("G3", prefill_eight),
    ("G3 (Q4_K)", prefill_four),
    ("G4", bandwidth),
    ("G5", batch),
    ("G5 (llama.cpp)", batch_beside),
    ("G6", again),
    ("G7", adapters),
    ("G8", schema_text),
    ("G8 (list)", schema_list),
    ("G8 (eight)", eight_texts),
    ("G8 (eight lists)", eight_lists),
    ("G8 (eight calls)", eight_calls),
    ("G9", copies),
    ("G10", kept),
    ("G10 (8 bits)", kept_eight),
    ("G10 (decode)", decode_kept_eight),
    ("G11", load),
    ("disk", on_disk),
    ("G13", trains_wide),
    ("G13 (small)", trains_small),
    ("memory", memory),
];

pub fn all(options: &Options, models: &Models) -> Result<Vec<Row>> {
    let (ours, llama, measured) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut bench = Bench { options, models, ours, llama, measured };
    let mut rows = Vec::new();
    let is_selected = |name: &str| {
        let first = name.split(' ').next().unwrap_or_default();
        options.only.as_ref().is_none_or(|only| only.iter().any(|only| only == first))
    };
    for (name, measure) in ROWS.into_iter().filter(|(name, _)| is_selected(name)) {
        if name.starts_with("G13") && options.peft.is_none() {
            eprintln!("{name}: left out without --peft");
            continue;
        }
        eprintln!("{name}");
        rows.push(measure(&mut bench).with_context(|| name.to_owned())?);
    }
    Ok(rows)
}

pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Bench<'_> {
    fn path(&self, rounded: Rounded) -> &std::path::Path {
        match rounded {
            Rounded::Eight => &self.models.eight,
            Rounded::Four => &self.models.four,
        }
    }

    fn ours(&mut self, rounded: Rounded) -> Result<&mut Child> {
        if !self.ours.contains_key(&rounded) {
            let child = Child::ours(self.path(rounded), self.options.threads)?;
            self.ours.insert(rounded, child);
        }
        self.ours.get_mut(&rounded).context("a child that was not started")
    }

    fn llama(&mut self, rounded: Rounded) -> Result<&mut Child> {
        if !self.llama.contains_key(&rounded) {
            let child = Child::llama(&self.options.llama, self.path(rounded), self.options.threads)?;
            self.llama.insert(rounded, child);
        }
        self.llama.get_mut(&rounded).context("a child that was not started")
    }

    /// The rates of the engine and of llama.cpp: `count` divided by the seconds that each reports.
    fn rates(&mut self, rounded: Rounded, line: &str, count: f64) -> Result<(f64, f64)> {
        let (mut ours, mut llama) = (Vec::new(), Vec::new());
        for round in 0..=self.options.rounds {
            let seconds = (self.ours(rounded)?.ask(line)?, self.llama(rounded)?.ask(line)?);
            // The first round is a warm-up.
            if round > 0 {
                ours.push(count / seconds.0);
                llama.push(count / seconds.1);
            }
        }
        eprintln!("    ours {ours:.1?}, llama.cpp {llama:.1?}");
        Ok((median(ours), median(llama)))
    }

    fn ratio(
        &mut self,
        (name, what): (&'static str, &'static str),
        (gate, target): (f64, f64),
        rounded: Rounded,
        (line, count): (&str, f64),
    ) -> Result<Row> {
        let (ours, llama) = self.rates(rounded, line, count)?;
        self.measured.insert(name, ours);
        let behind = format!("{ours:.1} tokens a second, llama.cpp {llama:.1}");
        Ok(Row { name, what, wanted: Wanted::AtLeast, gate, target, is: ours / llama, behind })
    }

    /// The figure of an earlier row, measured now if it is missing.
    fn measured(&mut self, name: &'static str, measure: Measure) -> Result<f64> {
        if !self.measured.contains_key(name) {
            measure(self)?;
        }
        self.measured.get(name).copied().with_context(|| name.to_owned())
    }
}

fn decode_eight(bench: &mut Bench<'_>) -> Result<Row> {
    let what = "decode, one text, Q8_0, context 256, by llama.cpp";
    bench.ratio(("G1", what), (0.85, 1.0), Rounded::Eight, ("decode 1 256 64", 64.0))
}

fn decode_four(bench: &mut Bench<'_>) -> Result<Row> {
    let what = "decode, one text, Q4_K, context 256, by llama.cpp";
    bench.ratio(("G2", what), (0.70, 0.95), Rounded::Four, ("decode 1 256 64", 64.0))
}

fn prefill_eight(bench: &mut Bench<'_>) -> Result<Row> {
    let what = "prefill of 512, Q8_0, by llama.cpp";
    bench.ratio(("G3", what), (0.65, 0.9), Rounded::Eight, ("prefill 512", 512.0))
}

fn prefill_four(bench: &mut Bench<'_>) -> Result<Row> {
    let what = "prefill of 256, Q4_K, by llama.cpp";
    bench.ratio(("G3 (Q4_K)", what), (0.65, 0.9), Rounded::Four, ("prefill 256", 256.0))
}

/// Memory bandwidth: reads half a gigabyte over and over with all threads.
fn read_bandwidth(threads: usize) -> Result<f64> {
    const BYTES: usize = 1 << 29;
    let numbers = vec![1u64; BYTES / 8];
    let mut best = 0.0f64;
    for _ in 0..5 {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for piece in numbers.chunks(numbers.len().div_ceil(threads)) {
                scope.spawn(move || {
                    let lanes = piece.chunks_exact(64).fold([0u64; 64], |mut sums, numbers| {
                        sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum |= number);
                        sums
                    });
                    black_box(lanes)
                });
            }
        });
        best = best.max(BYTES as f64 / start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn bandwidth(bench: &mut Bench<'_>) -> Result<Row> {
    let rate = bench.measured("G1", decode_eight)?;
    let bytes = std::fs::metadata(&bench.models.eight)?.len() as f64;
    let read = read_bandwidth(bench.options.threads)?;
    Ok(Row {
        name: "G4",
        what: "weights read for decode, Q8_0, by what memory gives",
        wanted: Wanted::AtLeast,
        gate: 0.6,
        target: 0.75,
        is: bytes * rate / read,
        behind: format!("{:.1} of {:.1} GB a second", bytes * rate / 1e9, read / 1e9),
    })
}

const BATCH: (&str, f64) = ("decode 8 256 32", 256.0);

fn batch(bench: &mut Bench<'_>) -> Result<Row> {
    let one = bench.measured("G1", decode_eight)?;
    let (ours, llama) = bench.rates(Rounded::Eight, BATCH.0, BATCH.1)?;
    bench.measured.extend([("batch", ours), ("batch of llama.cpp", llama)]);
    Ok(Row {
        name: "G5",
        what: "decode of eight texts, Q8_0, by decode of one",
        wanted: Wanted::AtLeast,
        gate: 2.3,
        target: 3.2,
        is: ours / one,
        behind: format!("{ours:.1} tokens a second, one alone {one:.1}"),
    })
}

fn batch_beside(bench: &mut Bench<'_>) -> Result<Row> {
    let (ours, llama) = (bench.measured("batch", batch)?, bench.measured("batch of llama.cpp", batch)?);
    Ok(Row {
        name: "G5 (llama.cpp)",
        what: "decode of eight texts, Q8_0, by llama.cpp's",
        wanted: Wanted::AtLeast,
        gate: 1.0,
        target: 1.2,
        is: ours / llama,
        behind: format!("{ours:.1} tokens a second, llama.cpp {llama:.1}"),
    })
}

fn again(bench: &mut Bench<'_>) -> Result<Row> {
    let (mut ratios, mut behind) = (Vec::new(), String::new());
    for round in 0..=bench.options.rounds {
        let figures = bench.ours(Rounded::Eight)?.ask_all("again 1024 32")?;
        let [cold, warm] = figures.as_slice() else { anyhow::bail!("not two figures") };
        if round > 0 {
            ratios.push(warm / cold);
            behind = format!("{:.1} ms, cold {:.1} ms (the last round)", warm * 1e3, cold * 1e3);
        }
    }
    Ok(Row {
        name: "G6",
        what: "first token behind 1,024 remembered tokens and 32 new ones, by that of a cold prompt",
        wanted: Wanted::AtMost,
        gate: 0.08,
        target: 0.045,
        is: median(ratios),
        behind,
    })
}

/// The medians over the rounds of a child's figures.
fn medians(rounds: usize, mut ask: impl FnMut() -> Result<Vec<f64>>) -> Result<Vec<f64>> {
    let mut all: Vec<Vec<f64>> = Vec::new();
    for round in 0..=rounds {
        let figures = ask()?;
        all.resize(figures.len(), Vec::new());
        // The first round is a warm-up.
        if round > 0 {
            all.iter_mut().zip(figures).for_each(|(all, figures)| all.push(figures));
        }
    }
    Ok(all.into_iter().map(median).collect())
}

fn adapters(bench: &mut Bench<'_>) -> Result<Row> {
    let rounds = bench.options.rounds;
    let child = bench.ours(Rounded::Eight)?;
    let figures = medians(rounds, || child.ask_all("adapters"))?;
    let [base, with] = figures.as_slice() else { anyhow::bail!("not two figures") };
    Ok(Row {
        name: "G7",
        what: "decode of eight texts with four adapters of rank 16, Q8_0, by that of eight without",
        wanted: Wanted::AtLeast,
        gate: 0.75,
        target: 0.9,
        is: base / with,
        behind: format!("{:.1} tokens a second, without {:.1}", 1.0 / with, 1.0 / base),
    })
}

/// Seconds per token: unconstrained, in a long JSON string, and in a list of objects.
fn ruled(bench: &mut Bench<'_>) -> Result<[f64; 3]> {
    const NAMES: [&str; 3] = ["free", "text", "list"];
    if !bench.measured.contains_key("list") {
        let rounds = bench.options.rounds;
        let child = bench.ours(Rounded::Eight)?;
        let figures = medians(rounds, || child.ask_all("rules"))?;
        bench.measured.extend(NAMES.into_iter().zip(figures));
    }
    let figures = NAMES.map(|name| bench.measured.get(name).copied().unwrap_or(f64::NAN));
    Ok(figures)
}

fn schema(name: &'static str, what: &'static str, free: f64, ruled: f64) -> Row {
    let behind = format!("{:.2} ms a token, freely {:.2} ms", ruled * 1e3, free * 1e3);
    Row { name, what, wanted: Wanted::AtMost, gate: 1.1, target: 1.03, is: ruled / free, behind }
}

fn schema_text(bench: &mut Bench<'_>) -> Result<Row> {
    let [free, text, _] = ruled(bench)?;
    Ok(schema("G8", "a token of a long text in JSON under its schema, Q8_0, by one that is free", free, text))
}

fn schema_list(bench: &mut Bench<'_>) -> Result<Row> {
    let [free, _, list] = ruled(bench)?;
    Ok(schema(
        "G8 (list)",
        "a token of a list of objects under its schema, Q8_0, by one that is free",
        free,
        list,
    ))
}

/// Seconds per token of eight texts: unconstrained, in long JSON strings, in lists of objects, and in calls of tools.
fn ruled_eight(bench: &mut Bench<'_>) -> Result<[f64; 4]> {
    const NAMES: [&str; 4] = ["eight free", "eight texts", "eight lists", "eight calls"];
    if !bench.measured.contains_key("eight calls") {
        let rounds = bench.options.rounds;
        let child = bench.ours(Rounded::Eight)?;
        let figures = medians(rounds, || child.ask_all("rules8"))?;
        bench.measured.extend(NAMES.into_iter().zip(figures));
    }
    Ok(NAMES.map(|name| bench.measured.get(name).copied().unwrap_or(f64::NAN)))
}

fn of_eight(name: &'static str, what: &'static str, free: f64, ruled: f64) -> Row {
    let behind = format!("{:.2} ms a token, freely {:.2} ms", ruled * 1e3, free * 1e3);
    Row { name, what, wanted: Wanted::AtMost, gate: 1.05, target: 1.03, is: ruled / free, behind }
}

fn eight_texts(bench: &mut Bench<'_>) -> Result<Row> {
    let [free, text, _, _] = ruled_eight(bench)?;
    let what =
        "a token of eight long texts in JSON under their schema at once, Q8_0, by one of eight that are free";
    Ok(of_eight("G8 (eight)", what, free, text))
}

fn eight_lists(bench: &mut Bench<'_>) -> Result<Row> {
    let [free, _, list, _] = ruled_eight(bench)?;
    Ok(of_eight("G8 (eight lists)", "the same of eight lists of objects", free, list))
}

fn eight_calls(bench: &mut Bench<'_>) -> Result<Row> {
    let [free, _, _, calls] = ruled_eight(bench)?;
    Ok(of_eight("G8 (eight calls)", "the same of eight calls of tools", free, calls))
}

fn on_disk(bench: &mut Bench<'_>) -> Result<Row> {
    let rounds = bench.options.rounds;
    let child = bench.ours(Rounded::Eight)?;
    let figures = medians(rounds, || child.ask_all("disk 1024 32"))?;
    let [cold, memory, disk, bytes] = figures.as_slice() else { anyhow::bail!("not four figures") };
    let rate = bytes / (disk - memory).max(f64::EPSILON) / 1e6;
    Ok(Row {
        name: "disk",
        what: "first token behind 1,024 tokens in the prefix cache on disk and 32 new ones, after a restart, by that of a cold prompt",
        wanted: Wanted::AtMost,
        // Reading may not take longer than computing.
        gate: 1.0,
        target: 0.08,
        is: disk / cold,
        behind: format!(
            "{:.1} ms, cold {:.1} ms, from memory {:.1} ms; {:.0} MB from the page cache at {rate:.0} MB a second",
            disk * 1e3,
            cold * 1e3,
            memory * 1e3,
            bytes / 1e6
        ),
    })
}

fn copies(bench: &mut Bench<'_>) -> Result<Row> {
    let mut child = Child::ours(&bench.models.counting, bench.options.threads)?;
    let figures = medians(bench.options.rounds, || child.ask_all("copies"))?;
    let [off, on] = figures.as_slice() else { anyhow::bail!("not two figures") };
    Ok(Row {
        name: "G9",
        what: "greedy decode with guesses of a text that is copied but for each twentieth token, Q8_0, by that without",
        wanted: Wanted::AtLeast,
        gate: 1.3,
        target: 2.0,
        is: off / on,
        behind: format!("{:.1} tokens a second, without guesses {:.1}", 1.0 / on, 1.0 / off),
    })
}

fn kept(bench: &mut Bench<'_>) -> Result<Row> {
    let kept = bench.ours(Rounded::Eight)?.ask("kept")?;
    Ok(kept_row("G10", "bytes of keys and values for a token, in 16 bits, by stock candle's", kept))
}

fn kept_eight(bench: &mut Bench<'_>) -> Result<Row> {
    let kept = Child::ours_in_eight(&bench.models.eight, bench.options.threads)?.ask("kept")?;
    Ok(kept_row("G10 (8 bits)", "the same in 8 bits with a scale for each 32 (`--kv-numbers q8`)", kept))
}

fn kept_row(name: &'static str, what: &'static str, kept: f64) -> Row {
    // Stock candle keeps keys and values in single precision, and two copies of each.
    let shape = crate::models::shape();
    let stock = (2 * 2 * 4 * shape.layers * shape.kv_width()) as f64;
    let behind = format!("{kept} bytes, stock candle {stock}");
    Row { name, what, wanted: Wanted::AtMost, gate: 0.25, target: 0.14, is: kept / stock, behind }
}

fn decode_kept_eight(bench: &mut Bench<'_>) -> Result<Row> {
    const LONG: (&str, f64) = ("decode 1 4096 64", 64.0);
    let mut child = Child::ours_in_eight(&bench.models.eight, bench.options.threads)?;
    let rounds = bench.options.rounds;
    let other = bench.ours(Rounded::Eight)?;
    let figures = medians(rounds, || Ok(vec![LONG.1 / child.ask(LONG.0)?, LONG.1 / other.ask(LONG.0)?]))?;
    let [eight, half] = figures.as_slice() else { anyhow::bail!("not two figures") };
    Ok(Row {
        name: "G10 (decode)",
        what: "decode, one text, Q8_0, context 4,096, keys and values in 8 bits by 16 bits",
        wanted: Wanted::AtLeast,
        gate: 0.9,
        target: 1.0,
        is: eight / half,
        behind: format!("{eight:.1} tokens a second, in 16 bits {half:.1}"),
    })
}

/// Measured in a fresh process after one prompt and some tokens.
fn memory(bench: &mut Bench<'_>) -> Result<Row> {
    let mut child = Child::ours(&bench.models.eight, bench.options.threads)?;
    child.ask("decode 1 512 16")?;
    let (held, kept) = (child.ask("memory")?, child.ask("kept")?);
    // KV cache blocks that were never written are not resident either.
    let kv_bytes = kept * 528.0;
    let weights = std::fs::metadata(&bench.models.eight)?.len() as f64;
    let llama = {
        let mut child = Child::llama(&bench.options.llama, &bench.models.eight, bench.options.threads)?;
        child.ask("decode 1 512 16")?;
        child.ask("memory")?
    };
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    Ok(Row {
        name: "memory",
        what: "memory of the process, Q8_0, by weights, keys and values of 528 tokens",
        wanted: Wanted::AtMost,
        gate: 1.1,
        target: 1.05,
        is: held / (weights + kv_bytes),
        behind: format!(
            "{:.0} MiB; weights {:.0} MiB, keys and values {:.0} MiB; llama.cpp {:.0} MiB, the mapped file included",
            mib(held),
            mib(weights),
            mib(kv_bytes),
            mib(llama)
        ),
    })
}

fn load(bench: &mut Bench<'_>) -> Result<Row> {
    let (mut ours, mut llama) = (Vec::new(), Vec::new());
    // The first round brings the file into the page cache.
    for round in 0..=bench.options.rounds {
        let seconds = (
            Child::ours(&bench.models.eight, bench.options.threads)?.load_seconds,
            Child::llama(&bench.options.llama, &bench.models.eight, bench.options.threads)?.load_seconds,
        );
        if round > 0 {
            ours.push(seconds.0);
            llama.push(seconds.1);
        }
    }
    let (ours, llama) = (median(ours), median(llama));
    Ok(Row {
        name: "G11",
        what: "seconds from the start to the first token, Q8_0, the file in the page cache",
        wanted: Wanted::AtMost,
        gate: 1.5,
        target: 0.5,
        is: ours,
        behind: format!("{ours:.2} s, llama.cpp {llama:.2} s"),
    })
}

fn trains(bench: &Bench<'_>, name: &'static str, what: &'static str, trained: Trained) -> Result<Row> {
    let peft = bench.options.peft.as_deref().context("no --peft")?;
    let [mut ours, mut theirs] = trained.children(bench.options, peft)?;
    let losses = [ours.ask_all("train 1")?, theirs.ask_all("train 1")?];
    match losses.each_ref().map(Vec::as_slice) {
        [[_, ours], [_, theirs]] if (ours - theirs).abs() <= 1e-3 * theirs => {}
        losses => anyhow::bail!("the first step is not the same: seconds and loss are {losses:?}"),
    }
    let line = format!("train {}", trained.steps);
    let figures = medians(bench.options.rounds, || Ok(vec![ours.ask(&line)?, theirs.ask(&line)?]))?;
    let [ours, theirs] = figures.as_slice() else { anyhow::bail!("not two figures") };
    let tokens = (trained.steps * trained.tokens) as f64;
    Ok(Row {
        name,
        what,
        wanted: Wanted::AtLeast,
        gate: 0.5,
        target: 1.0,
        is: theirs / ours,
        behind: format!("{:.0} tokens a second, PEFT {:.0}", tokens / ours, tokens / theirs),
    })
}

fn trains_wide(bench: &mut Bench<'_>) -> Result<Row> {
    let what = "training of an adapter of rank 16, a text of 512 tokens a step, the shape of 0.6 billion in single precision, by PEFT";
    trains(bench, "G13", what, train::WIDE)
}

fn trains_small(bench: &mut Bench<'_>) -> Result<Row> {
    let what = "the same of a small model (3 layers, hidden 64), a text of 256 tokens a step, by PEFT";
    trains(bench, "G13 (small)", what, train::SMALL)
}
