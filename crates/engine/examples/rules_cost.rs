//! What rules and guesses cost and save: the time of a token with each of them and without, on a model made up on the spot.
//!
//! `cargo run --release -p engine --example rules_cost -- [hidden] [layers]`
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, clippy::cast_precision_loss)]

use std::sync::Arc;
use std::time::Instant;

use engine::made::Made;
use engine::{
    Group, Happened, Keeps, Model, Pairs, Pool, Request, Room, Rope, Rulebook, Runner, Sampling, Says, Shape,
    Share, Source, Stretch, Thinking, Vocabulary,
};
use serde_json::json;

const RUNS: usize = 3;
const WORDS: usize = 31_000;

fn shape(hidden: usize, layers: usize) -> Shape {
    Shape {
        vocabulary: 32_000,
        hidden,
        layers,
        heads: hidden / 64,
        kv_heads: hidden / 128,
        head_dim: 64,
        inner: hidden * 3,
        norm_epsilon: 1e-6,
        rope: Rope { theta: 1_000_000.0, stretch: Stretch::None },
        context: 8_192,
        is_tied: false,
        norms_heads: true,
        pairs: Pairs::Halves,
        mixture: None,
    }
}

fn load(made: &Made) -> Arc<Model> {
    let directory = tempfile::tempdir().unwrap();
    made.write_plain(directory.path(), false).unwrap();
    Arc::new(Model::load(&Source::open(directory.path()).unwrap()).unwrap())
}

/// The milliseconds of a token behind the prompt.
fn time(model: &Arc<Model>, request: &Request, guesses: usize) -> (f64, usize) {
    let bytes = 128 * Pool::block_bytes(model.shape(), Keeps::Half);
    let room = Room { bytes, keeps: Keeps::Half, tokens: 512, texts: 4, waiting: 4, guesses };
    let mut runner = Runner::new(Arc::clone(model), room).unwrap();
    runner.submit(request.clone()).unwrap();
    let mut tokens = 0;
    let mut begun = None;
    while !runner.is_idle() {
        let happened = runner.step().unwrap();
        if begun.is_some() {
            tokens += happened.iter().filter(|happened| matches!(happened, Happened::Token { .. })).count();
        } else {
            begun = Some(Instant::now());
        }
    }
    (begun.unwrap().elapsed().as_secs_f64() * 1e3 / tokens as f64, tokens)
}

/// The middle one of several runs of each, one after the other in turn.
fn compare(runs: [&dyn Fn() -> (f64, usize); 2]) -> [(f64, usize); 2] {
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        for (all, run) in all.iter_mut().zip(runs) {
            all.push(run());
        }
    }
    all.map(|mut times| {
        times.sort_by(|one, other| one.0.total_cmp(&other.0));
        times[RUNS / 2]
    })
}

fn main() {
    let mut sizes = std::env::args().skip(1).map(|size| size.parse::<usize>().unwrap());
    let shape = shape(sizes.next().unwrap_or(512), sizes.next().unwrap_or(4));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokenizer.json");
    std::fs::write(&path, engine::spelling::tokenizer_with(WORDS).to_string()).unwrap();
    let vocabulary = Arc::new(Vocabulary::open(&path).unwrap());
    let rules = Rulebook::new(Arc::clone(&vocabulary)).unwrap();

    let item = json!({
        "type": "object", "required": ["name", "count", "tags"], "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "minLength": 8, "maxLength": 40}, "count": {"type": "integer", "minimum": 0, "maximum": 5_000},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 4},
        },
    });
    let list = json!({"type": "array", "items": item, "minItems": 12, "maxItems": 20});
    let free = Request {
        prompt: vocabulary.tokens(&"A list of things: ".repeat(8)).unwrap(),
        sampling: Sampling { seed: 1, ..Sampling::default() },
        max_tokens: 100,
        ends: vec![],
        rule: None,
        adapter: None,
        share: Share(1),
        group: Group(1),
    };
    let model = load(&Made::new("qwen3", shape.clone(), 1));
    // One in which every token is drawn, and one in which many have no choice.
    let text = json!({"type": "string", "minLength": 1_000});
    for (name, schema) in [("a text", text), ("a list", list)] {
        let rule = rules.rule(Says::Schema(&schema), Thinking::No).unwrap();
        let ruled = Request { rule: Some(rule), ..free.clone() };
        let [off, on] = compare([&|| time(&model, &free, 0), &|| time(&model, &ruled, 0)]);
        println!("{name}: {:.3} ms a token free, {:.3} under its schema: {:.3}x", off.0, on.0, on.0 / off.0);
    }

    let model = load(&Made::new("qwen3", shape, 1).counting());
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let copies = Request { prompt: (0..400).chain([0]).collect(), sampling, ..free };
    let [off, on] = compare([&|| time(&model, &copies, 0), &|| time(&model, &copies, 12)]);
    println!("copying: {:.3} ms a token, {:.3} with guesses: {:.2}x as fast", off.0, on.0, off.0 / on.0);
}
