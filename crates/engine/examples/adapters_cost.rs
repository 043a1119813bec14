//! What adapters cost: eight texts with four adapters, against eight without, on a made model as wide as the smallest
//! published one. Its layers are few, and its vocabulary is as much smaller, so that their parts of the work are the same.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::made::{Made, MadeAdapter};
use engine::{
    AdapterId, Group, Happened, Keeps, Model, Numbers, Packing, Pairs, Registering, Request, Room, Rope,
    Runner, Sampling, Shape, Share, Source, Stretch,
};

const TEXTS: u32 = 8;
const PROMPT: u32 = 64;
const SAID: usize = 48;
const ROUNDS: usize = 5;
const ALL: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

fn shape() -> Shape {
    Shape {
        vocabulary: 10_848,
        hidden: 1_024,
        layers: 2,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        inner: 3_072,
        norm_epsilon: 1e-6,
        rope: Rope { theta: 1_000_000.0, stretch: Stretch::None },
        context: 4_096,
        is_tied: true,
        norms_heads: true,
        pairs: Pairs::Halves,
        mixture: None,
    }
}

fn runner(model: &Arc<Model>, directory: &Path, adapters: u64) -> Result<Runner, Box<dyn Error>> {
    let room = Room { bytes: 256 << 20, keeps: Keeps::Half, tokens: 256, texts: 16, waiting: 16, guesses: 0 };
    let mut runner = Runner::new(Arc::clone(model), room)?;
    for seed in 0..adapters {
        let path = directory.join(seed.to_string());
        let reading = runner.reading(name(seed), &path, Registering::default())?;
        runner.settle(reading.read())?;
    }
    Ok(runner)
}

fn name(seed: u64) -> AdapterId {
    AdapterId::from(seed.to_string().as_str())
}

/// How long the prompts take, and what is said after the first token of the last text.
fn time(runner: &mut Runner, adapters: u64, round: usize) -> Result<[Duration; 2], Box<dyn Error>> {
    for of in 0..TEXTS {
        let request = Request {
            prompt: (0..PROMPT).map(|place| (place * 37 + of * 101) % 10_000).collect(),
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
            max_tokens: SAID,
            ends: Vec::new(),
            rule: None,
            // Nothing of the round before is remembered.
            share: Share(round as u128),
            group: Group(0),
            adapter: (adapters > 0).then(|| name(u64::from(of) % adapters)),
        };
        runner.submit(request).map_err(|refused| format!("{refused:?}"))?;
    }
    let (start, mut begun, mut first) = (Instant::now(), 0, Instant::now());
    let mut last = Vec::new();
    while !runner.is_idle() {
        for happened in runner.step()? {
            if let Happened::Token { text, .. } = happened
                && !last.contains(&text)
            {
                last.push(text);
                begun += 1;
            }
        }
        if begun < TEXTS {
            first = Instant::now();
        }
    }
    Ok([first - start, first.elapsed()])
}

/// Median and best, in seconds.
fn summed(mut times: Vec<Duration>) -> [f64; 2] {
    times.sort();
    [times.len() / 2, 0].map(|at| times.get(at).copied().unwrap_or_default().as_secs_f64())
}

/// What eight texts make with no, one and four adapters, of such a rank.
fn cost(model: &Arc<Model>, directory: &Path, rank: usize, numbers: Numbers) -> Result<(), Box<dyn Error>> {
    for seed in 0..4 {
        MadeAdapter::new(&shape(), &ALL, rank, seed).write(&directory.join(seed.to_string()), numbers)?;
    }
    let mut runners = Vec::new();
    for adapters in [0, 1, 4] {
        runners.push((adapters, runner(model, directory, adapters)?, [Vec::new(), Vec::new()]));
    }
    // One round to warm up; the others take turns, so that all of them meet the same machine.
    for round in 0..=ROUNDS {
        for (adapters, runner, all) in &mut runners {
            let times = time(runner, *adapters, round)?;
            if round > 0 {
                all.iter_mut().zip(times).for_each(|(all, time)| all.push(time));
            }
        }
    }
    let mut all = runners.into_iter().map(|(adapters, _, times)| (adapters, times.map(summed)));
    let Some((_, base)) = all.next() else { return Ok(()) };
    for (adapters, times) in all {
        for (part, (base, with)) in ["prompts", "answers"].into_iter().zip(base.iter().zip(&times)) {
            let [median, best] =
                [0, 1].map(|of| base.get(of).zip(with.get(of)).map_or(0.0, |(base, with)| base / with));
            println!("  {part}, {adapters} adapters: {median:.2} of what is made without (best: {best:.2})");
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let made = Made::new("qwen3", shape(), 1);
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("model.gguf");
    for (packing, ranks) in [
        (Packing::Q8_0, &[(16, Numbers::BF16), (16, Numbers::F32), (64, Numbers::BF16)][..]),
        (Packing::BF16, &[(16, Numbers::BF16)]),
    ] {
        made.write_packed(&path, packing)?;
        let model = Arc::new(Model::load(&Source::open(&path)?)?);
        for (rank, numbers) in ranks {
            println!("a model of {packing:?}, adapters of rank {rank} in {numbers:?}, {TEXTS} texts:");
            cost(&model, directory.path(), *rank, *numbers)?;
        }
    }
    Ok(())
}
