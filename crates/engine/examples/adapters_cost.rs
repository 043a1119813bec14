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
        vocabulary: 21_696,
        hidden: 1_024,
        layers: 4,
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
            prompt: (0..PROMPT).map(|place| (place * 37 + of * 101) % 20_000).collect(),
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

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn main() -> Result<(), Box<dyn Error>> {
    let made = Made::new("qwen3", shape(), 1);
    let directory = tempfile::tempdir()?;
    for packing in [Packing::Q8_0, Packing::BF16] {
        let path = directory.path().join("model.gguf");
        made.write_packed(&path, packing)?;
        let model = Arc::new(Model::load(&Source::open(&path)?)?);
        for (rank, numbers) in
            [(8, Numbers::F32), (16, Numbers::F32), (16, Numbers::BF16), (64, Numbers::BF16)]
        {
            for seed in 0..4 {
                let adapter = MadeAdapter::new(&shape(), &ALL, rank, seed);
                adapter.write(&directory.path().join(seed.to_string()), numbers)?;
            }
            let mut runners = [
                (0, runner(&model, directory.path(), 0)?),
                (1, runner(&model, directory.path(), 1)?),
                (4, runner(&model, directory.path(), 4)?),
            ];
            let mut times = [[const { Vec::new() }; 2], [const { Vec::new() }; 2], [const { Vec::new() }; 2]];
            // One round to warm up.
            for round in 0..=ROUNDS {
                for ((adapters, runner), times) in runners.iter_mut().zip(&mut times) {
                    let [prompts, said] = time(runner, *adapters, round)?;
                    if round > 0 {
                        let [all_prompts, all_said] = times;
                        all_prompts.push(prompts);
                        all_said.push(said);
                    }
                }
            }
            let [base, one, four] =
                times.map(|times| times.map(|mut times| median(&mut times).as_secs_f64()));
            println!("{packing:?}, rank {rank} of {numbers:?}: of what eight texts without adapters make,");
            for (name, with) in [("one adapter", one), ("four adapters", four)] {
                let [prompts, said] = [base[0] / with[0], base[1] / with[1]];
                println!(
                    "  eight with {name} make {said:.2} while they are told, {prompts:.2} of their prompts"
                );
            }
        }
    }
    Ok(())
}
