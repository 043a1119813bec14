//! `make bench-layers`: what large models take on this machine, in memory and time, without having them. A few layers of
//! their shape are filled with random weights and measured, and the rest is counted.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use engine::Backend;
use kernels::{
    Architecture, Dense, KvCache, KvDtype, Layer, Linear, Matrix, Mixture, Model, Pair, QuantisedMatrix,
    Rows, made,
};
use weights::synthetic::Packing;

use crate::models;
use crate::ours::{Child, Holds, resident};
use crate::report::machine;

const USAGE: &str = "bench-engine layers [--rounds 3] [--only NAME,NAME] [--save FILE]";

/// Tokens of the prompt before one text is decoded, of those before several are, and of the prompt that is read.
const PROMPT: usize = 256;
const SHORT: usize = 64;
const LONG: usize = 512;
/// Tokens that are decoded, and texts that are decoded at once.
const DECODED: usize = 32;
const TEXTS: usize = 8;
/// Rows that are filled with random weights at once.
const ROWS: usize = 256;

/// The command line.
struct Options {
    rounds: usize,
    only: Option<Vec<String>>,
    save: Option<PathBuf>,
}

/// A published model's shape, and how many of its layers are measured beside one.
struct Published {
    name: &'static str,
    shape: Architecture,
    layers: usize,
    /// All layers are measured, too.
    is_whole: bool,
}

/// The shapes, by the `config.json` of each model.
fn published() -> Vec<Published> {
    let small = models::shape();
    let large = |hidden, layers, heads, inner| Architecture {
        hidden,
        layers,
        heads,
        inner,
        context: 40_960,
        is_tied: false,
        ..models::shape()
    };
    let mixture = Mixture { experts: 128, chosen: 8, inner: 768, is_normed: true, dense_layers: Vec::new() };
    let experts = Architecture { kv_heads: 4, mixture: Some(mixture), ..large(2_048, 48, 32, 6_144) };
    let of = |name, shape, layers| Published { name, shape, layers, is_whole: false };
    vec![
        Published { name: "Qwen3-0.6B", shape: small, layers: 9, is_whole: true },
        of("Qwen3-8B", large(4_096, 36, 32, 12_288), 5),
        of("Qwen3-14B", large(5_120, 40, 40, 17_408), 4),
        of("Qwen3-30B-A3B", experts, 4),
    ]
}

/// Random bytes, for weights of which only the size matters.
struct Bytes(u64);

impl Bytes {
    fn fill(&mut self, into: &mut [u8]) {
        for piece in into.chunks_mut(8) {
            // Marsaglia's xorshift.
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let bytes = self.0.to_le_bytes();
            piece.iter_mut().zip(bytes).for_each(|(into, byte)| *into = byte);
        }
    }
}

/// A block's scales in half precision, which make the weights about as large as published ones are.
const fn scales(kind: Packing) -> &'static [u8] {
    // 2^-12, and 2^-13 with the 2^-10 that is subtracted.
    if matches!(kind, Packing::Q8_0) { &[0x00, 0x0c] } else { &[0x00, 0x08, 0x00, 0x14] }
}

fn rounded(kind: Packing, width: usize, outputs: usize, seed: u64) -> Result<Arc<QuantisedMatrix>> {
    let mut matrix =
        QuantisedMatrix::new(kind, width, outputs).context("a width that this kind does not take")?;
    let row = width / kind.block_size() * kind.type_size();
    let (mut random, mut bytes) = (Bytes(seed * 2 + 1), vec![0; ROWS * row]);
    for first in (0..outputs).step_by(ROWS) {
        random.fill(&mut bytes);
        for block in bytes.chunks_exact_mut(kind.type_size()) {
            block.iter_mut().zip(scales(kind)).for_each(|(into, byte)| *into = *byte);
        }
        matrix.pack(first, &bytes);
    }
    Ok(Arc::new(matrix))
}

fn linear(kind: Packing, width: usize, outputs: usize, seed: u64) -> Result<Linear> {
    Ok(Linear::Rounded(rounded(kind, width, outputs, seed)?))
}

fn pair(kind: Packing, hidden: usize, inner: usize, seed: u64) -> Result<Pair> {
    Ok(Pair {
        up: linear(kind, hidden, 2 * inner, seed)?,
        down: linear(kind, inner, hidden, seed + 1)?,
        inner,
    })
}

fn layer(shape: &Architecture, kind: Packing, index: usize) -> Result<Layer> {
    let seed = 1_000 * (index as u64 + 1);
    let dense = match &shape.mixture {
        None => Dense::One(pair(kind, shape.hidden, shape.inner, seed)?),
        Some(mixture) => {
            let expert = |expert: usize| pair(kind, shape.hidden, mixture.inner, seed + 2 * expert as u64);
            let mut random = Bytes(seed + 7);
            let mut bytes = vec![0; mixture.experts * shape.hidden];
            random.fill(&mut bytes);
            // Published files have the router in single precision.
            let numbers = bytes.into_iter().map(|byte| (f32::from(byte) - 127.5) / 4_096.0).collect();
            let (width, outputs) = (shape.hidden, mixture.experts);
            Dense::Mixture {
                router: Linear::Dense { matrix: Arc::new(Matrix::Single(numbers)), width, outputs },
                experts: made(mixture.experts, expert).into_iter().collect::<Result<_>>()?,
                chosen: mixture.chosen,
                is_normed: mixture.is_normed,
            }
        }
    };
    let ones = |count| vec![1.0; count];
    Ok(Layer {
        before_attention: ones(shape.hidden),
        qkv: linear(kind, shape.hidden, shape.query_width() + 2 * shape.kv_width(), seed + 500)?,
        head_norms: Some((ones(shape.head_dim), ones(shape.head_dim))),
        answers: linear(kind, shape.query_width(), shape.hidden, seed + 501)?,
        before_dense: ones(shape.hidden),
        dense,
    })
}

/// The tables of a shape, which models of any number of layers share.
struct Tables {
    embedding: Arc<QuantisedMatrix>,
    head: Linear,
}

impl Tables {
    fn new(shape: &Architecture, kind: Packing) -> Result<Self> {
        // Published files have a tied table in eight bits.
        let kind = if shape.is_tied { Packing::Q8_0 } else { kind };
        let embedding = rounded(kind, shape.hidden, shape.vocabulary, 1)?;
        let head = if shape.is_tied {
            Linear::Rounded(Arc::clone(&embedding))
        } else {
            linear(kind, shape.hidden, shape.vocabulary, 2)?
        };
        Ok(Self { embedding, head })
    }

    /// The bytes of both.
    fn bytes(shape: &Architecture, kind: Packing) -> f64 {
        let (kind, tables) = if shape.is_tied { (Packing::Q8_0, 1) } else { (kind, 2) };
        (tables * shape.vocabulary * shape.hidden / kind.block_size() * kind.type_size()) as f64
    }
}

/// A model of some layers, and the bytes that each of them takes in the memory of this process.
fn model(shape: &Architecture, kind: Packing, tables: &Tables, layers: usize) -> Result<(Child, f64)> {
    let shape = Architecture { layers, ..shape.clone() };
    let before = resident()?;
    let all = made(layers, |index| layer(&shape, kind, index));
    let all = all.into_iter().collect::<Result<Vec<_>>>()?;
    let bytes = resident()?.saturating_sub(before) as f64 / layers as f64;
    let embedding = Rows::Rounded { matrix: Arc::clone(&tables.embedding), width: shape.hidden };
    let norm = vec![1.0; shape.hidden];
    let model: Backend = Arc::new(Model::new(shape, embedding, all, norm, tables.head.clone())).into();
    let context = TEXTS * (PROMPT + DECODED + crate::ours::PROMPT_STEPS_MAX + kernels::BLOCK);
    let child = Child::of(model, &Holds { context, step_tokens: LONG, texts: TEXTS, keeps: KvDtype::F16 })?;
    Ok((child, bytes))
}

/// Seconds for a token of one text, for one of each of eight texts, and for the prompt.
#[derive(Debug, Clone, Copy)]
struct Times {
    one: f64,
    eight: f64,
    prompt: f64,
}

impl Times {
    const NONE: Self = Self { one: f64::INFINITY, eight: f64::INFINITY, prompt: f64::INFINITY };

    fn with(self, other: Self, with: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            one: with(self.one, other.one),
            eight: with(self.eight, other.eight),
            prompt: with(self.prompt, other.prompt),
        }
    }

    fn measured(child: &mut Child) -> Result<Self> {
        Ok(Self {
            one: child.decode(1, PROMPT, DECODED)? / DECODED as f64,
            eight: child.decode(TEXTS, SHORT, DECODED)? / DECODED as f64,
            prompt: child.prefill(LONG)?,
        })
    }
}

/// What was measured of a shape.
struct Found {
    name: &'static str,
    kind: &'static str,
    shape: Architecture,
    /// Of a layer, and of everything beside the layers.
    layer: Times,
    beside: Times,
    layer_bytes: f64,
    table_bytes: f64,
    whole: Option<Times>,
}

impl Found {
    /// What all layers take together.
    fn all(&self) -> Times {
        let layers = self.shape.layers as f64;
        self.layer.with(self.beside, |layer, beside| layers * layer + beside)
    }

    fn bytes(&self) -> f64 {
        self.shape.layers as f64 * self.layer_bytes + self.table_bytes
    }
}

/// The fastest of some rounds of each model, in turns: what else runs on a machine only ever makes a round slower.
fn fastest(children: &mut [&mut Child], rounds: usize) -> Result<Vec<Times>> {
    let mut best = vec![Times::NONE; children.len()];
    for round in 0..=rounds {
        for (child, best) in children.iter_mut().zip(&mut best) {
            let times = Times::measured(child)?;
            // The first round is a warm-up.
            if round > 0 {
                *best = best.with(times, f64::min);
            }
        }
    }
    Ok(best)
}

fn measure(of: &Published, kind: Packing, name: &'static str, rounds: usize) -> Result<Found> {
    eprintln!("{}, {name}", of.name);
    let tables = Tables::new(&of.shape, kind)?;
    let (mut several, layer_bytes) = model(&of.shape, kind, &tables, of.layers)?;
    let (mut one, _) = model(&of.shape, kind, &tables, 1)?;
    let mut whole =
        if of.is_whole { Some(model(&of.shape, kind, &tables, of.shape.layers)?.0) } else { None };
    let mut children = vec![&mut one, &mut several];
    children.extend(whole.as_mut());
    let times = fastest(&mut children, rounds)?;
    let [one, several, whole @ ..] = times.as_slice() else { bail!("not two models") };
    let more = (of.layers - 1) as f64;
    let layer = several.with(*one, |several, one| (several - one) / more);
    Ok(Found {
        name: of.name,
        kind: name,
        shape: of.shape.clone(),
        layer,
        beside: one.with(layer, |one, layer| one - layer),
        layer_bytes,
        table_bytes: Tables::bytes(&of.shape, kind),
        whole: whole.first().copied(),
    })
}

fn options(flags: &[&str]) -> Result<Options> {
    let mut options = Options { rounds: 3, only: None, save: None };
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        let mut value = || flags.next().with_context(|| format!("{flag} wants a value\n{USAGE}"));
        match *flag {
            "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
            "--only" => options.only = Some(value()?.split(',').map(str::to_owned).collect()),
            "--save" => options.save = Some(PathBuf::from(value()?)),
            other => bail!("{other} is not known\n{USAGE}"),
        }
    }
    if options.rounds == 0 {
        bail!("{USAGE}");
    }
    Ok(options)
}

pub fn run(flags: &[&str]) -> Result<()> {
    let options = options(flags)?;
    let mut all = Vec::new();
    let is_selected =
        |name: &str| options.only.as_ref().is_none_or(|only| only.iter().any(|only| only == name));
    for of in published().iter().filter(|of| is_selected(of.name)) {
        for (kind, name) in [(Packing::Q8_0, "Q8_0"), (Packing::Q4K, "Q4_K")] {
            all.push(measure(of, kind, name, options.rounds)?);
        }
    }
    let text = text(&options, &all);
    print!("{text}");
    match &options.save {
        Some(path) => std::fs::write(path, text).with_context(|| path.display().to_string()),
        None => Ok(()),
    }
}

/// Writing to a string can't fail, so that the results of the writes are dropped.
fn text(options: &Options, all: &[Found]) -> String {
    let mut text = format!(
        "# Large models, layer by layer\n\n`make bench-layers`: layers with the shapes of published models, made of random \
         weights, and the embedding and the output head beside them. One layer and several are measured in turns, each {} times \
         after one time that does not count, and the fastest counts. A layer is their difference by the number of layers between \
         them; what remains of the one is everything beside the layers. The whole model is that and all of its layers: \
         **extrapolated, not measured**. A decoded token follows {PROMPT} others, or {SHORT} where eight texts are decoded at once; a prompt has {LONG} tokens. Which experts \
         a token gets is random.\n\n{}\n\n",
        options.rounds,
        machine(),
    );
    layers(&mut text, all);
    wholes(&mut text, all);
    checks(&mut text, all);
    text
}

fn layers(text: &mut String, all: &[Found]) {
    text.push_str(
        "| shape | weights | a layer in memory | decode, a layer | eight texts | a prompt, a layer | decode, beside the layers |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for found in all {
        let Found { name, kind, layer, beside, layer_bytes, .. } = found;
        let _ = writeln!(
            text,
            "| {name} | {kind} | {:.0} MiB | {:.2} ms | {:.2} ms | {:.0} ms | {:.1} ms |",
            layer_bytes / f64::from(1 << 20),
            layer.one * 1e3,
            layer.eight * 1e3,
            layer.prompt * 1e3,
            beside.one * 1e3,
        );
    }
}

fn wholes(text: &mut String, all: &[Found]) {
    text.push_str(
        "\nExtrapolated to all layers:\n\n\
         | shape | weights | layers | memory of the weights | KV cache of 1,000 tokens in `f16` and `q8` | decode | eight texts | prompt |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for found in all {
        let Found { name, kind, shape, .. } = found;
        let all = found.all();
        let kept = |keeps| 1_000.0 * KvCache::block_bytes(shape, keeps) as f64 / kernels::BLOCK as f64 / 1e6;
        let _ = writeln!(
            text,
            "| {name} | {kind} | {} | {:.1} GiB | {:.0} and {:.0} MB | {:.1} tokens/s | {:.1} tokens/s | {:.0} tokens/s |",
            shape.layers,
            found.bytes() / f64::from(1 << 30),
            kept(KvDtype::F16),
            kept(KvDtype::Q8),
            1.0 / all.one,
            TEXTS as f64 / all.eight,
            LONG as f64 / all.prompt,
        );
    }
}

fn checks(text: &mut String, all: &[Found]) {
    text.push_str("\nThe check: models that were measured whole, too.\n\n| shape | weights | | extrapolated | measured | extrapolated by measured |\n|---|---|---|---|---|---|\n");
    for (found, whole) in all.iter().filter_map(|found| Some((found, found.whole?))) {
        let all = found.all();
        for (what, counted, is) in [
            ("decode", all.one, whole.one),
            ("eight texts", all.eight, whole.eight),
            ("prompt", all.prompt, whole.prompt),
        ] {
            let Found { name, kind, .. } = found;
            let _ = writeln!(
                text,
                "| {name} | {kind} | {what} | {:.1} ms | {:.1} ms | {:.2} |",
                counted * 1e3,
                is * 1e3,
                counted / is
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_small_dense_model_and_a_mixture_are_measured() {
        let shape = Architecture {
            vocabulary: 512,
            hidden: 256,
            inner: 512,
            heads: 4,
            kv_heads: 2,
            layers: 3,
            ..models::shape()
        };
        let mixture =
            Mixture { experts: 8, chosen: 2, inner: 256, is_normed: true, dense_layers: Vec::new() };
        let mixture = Architecture { mixture: Some(mixture), is_tied: false, ..shape.clone() };
        for shape in [shape, mixture] {
            for (kind, name) in [(Packing::Q8_0, "Q8_0"), (Packing::Q4K, "Q4_K")] {
                let of = Published { name: "small", shape: shape.clone(), layers: 2, is_whole: true };
                let found = measure(&of, kind, name, 1).unwrap();
                let whole = found.whole.unwrap();
                // One and eight tokens take about as long each, so that a busy neighbour decides which takes longer.
                assert!(whole.one > 0.0 && whole.eight > 0.0 && whole.prompt > whole.one, "{whole:?}");
                let text = text(&Options { rounds: 1, only: None, save: None }, &[found]);
                assert!(text.contains(&format!("| small | {name} | 3 |")), "{text}");
            }
        }
    }

    #[test]
    fn what_is_counted_is_what_published_models_have() {
        // Parameters in billions, as the names and cards of the models state them.
        for (of, billions) in published().iter().zip([0.6, 8.2, 14.8, 30.5]) {
            let shape = &of.shape;
            let attention = shape.hidden * 2 * (shape.query_width() + shape.kv_width());
            let dense = shape.mixture.as_ref().map_or(shape.inner, |mixture| mixture.experts * mixture.inner);
            let tables = if shape.is_tied { 1 } else { 2 } * shape.vocabulary * shape.hidden;
            let all = shape.layers * (attention + 3 * shape.hidden * dense) + tables;
            assert!((all as f64 / 1e9 - billions).abs() < 0.06, "{} has {all}", of.name);
        }
    }
}
