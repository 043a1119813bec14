//! Measures the engine against itself: with and without adapters, under a JSON schema and unconstrained, with
//! and without speculative decoding.
#![allow(clippy::cast_possible_truncation, reason = "counts of tokens are small")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use engine::{
    AdapterId, Backend, CacheScope, Calls, ConstraintCompiler, ConstraintSpec, Group, Numbers,
    RegisterOptions, Request, Sampling, Scheduler, SchedulerLimits, StepEvent, Thinking, Tool,
};
use kernels::{KvCache, KvDtype};
use prompts::{Form, Vocabulary};
use serde_json::{Value as Json, json};
use weights::synthetic::SyntheticAdapter;

const TEXTS: usize = 8;
const PROMPT: u32 = 64;
const OUTPUT_TOKENS: usize = 48;
const ADAPTERS: u64 = 4;
const RANK: usize = 16;
const TARGETS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Vocabulary entries besides bytes and special tokens, so that the synthetic tokenizer has about as many
/// tokens as the model.
const WORDS: usize = 150_000;
/// The length of a repeated text, and how often one of its tokens differs.
const COPIED: u32 = 400;
const EDITED_EVERY: u32 = 20;
const DRAFT_TOKENS: usize = 12;

fn runner(model: &Backend, draft_tokens: usize) -> Result<Scheduler> {
    let bytes = 4_096 / kernels::BLOCK * KvCache::block_bytes(model.shape(), KvDtype::F16);
    let limits = SchedulerLimits {
        bytes,
        kv_dtype: KvDtype::F16,
        step_tokens: 512,
        sequences: TEXTS,
        waiting: TEXTS,
        draft_tokens,
    };
    Ok(Scheduler::new(model.clone(), limits)?)
}

pub fn request(prompt: Vec<u32>, max_tokens: usize) -> Request {
    Request {
        prompt,
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        max_tokens,
        stop_tokens: Vec::new(),
        constraint: None,
        adapter: None,
        adapter_switches: Vec::new(),
        cache_scope: CacheScope(1),
        group: Group(1),
    }
}

/// The seconds after every sequence has its first token, and the number of tokens generated in them.
fn generate(runner: &mut Scheduler, requests: Vec<Request>) -> Result<(f64, usize)> {
    let mut silent = Vec::new();
    for request in requests {
        match runner.submit(request) {
            Ok(text) => silent.push(text),
            Err(refused) => bail!("the runner refuses: {refused:?}"),
        }
    }
    let (mut started, mut tokens) = (Instant::now(), 0);
    while !runner.is_idle() {
        let is_counted = silent.is_empty();
        for happened in runner.step()? {
            if let StepEvent::Token { sequence: text, .. } = happened {
                silent.retain(|silent| *silent != text);
                tokens += usize::from(is_counted);
            }
        }
        if !is_counted {
            started = Instant::now();
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    runner.forget(CacheScope(1));
    Ok((seconds, tokens))
}

/// Seconds per token of eight sequences without adapters, and with four of them.
pub fn adapters(model: &Backend) -> Result<[f64; 2]> {
    let directory = tempfile::tempdir()?;
    let name = |seed: u64| AdapterId::from(seed.to_string().as_str());
    let mut runner = runner(model, 0)?;
    for seed in 0..ADAPTERS {
        let path = directory.path().join(seed.to_string());
        SyntheticAdapter::new(model.shape(), &TARGETS, RANK, seed).write(&path, Numbers::BF16)?;
        let reading = runner.reading(name(seed), &path, RegisterOptions::default())?;
        runner.settle(reading.read())?;
    }
    let mut time = |has_adapters: bool| -> Result<f64> {
        let each = (0..TEXTS).map(|of| {
            let prompt = (0..PROMPT).map(|index| (index * 37 + of as u32 * 101) % 10_000).collect();
            let adapter = has_adapters.then(|| name(of as u64 % ADAPTERS));
            Request { adapter, ..request(prompt, OUTPUT_TOKENS) }
        });
        let (seconds, tokens) = generate(&mut runner, each.collect())?;
        Ok(seconds / tokens as f64)
    };
    Ok([time(false)?, time(true)?])
}

/// Constrained decoding for a model with random weights and a synthetic tokenizer.
pub struct Ruled {
    vocabulary: Arc<Vocabulary>,
    rules: ConstraintCompiler,
}

impl Ruled {
    pub fn new(directory: &Path) -> Result<Self> {
        let path = directory.join("tokenizer.json");
        std::fs::write(&path, prompts::synthetic_tokenizer::tokenizer_with(WORDS).to_string())?;
        let vocabulary = Arc::new(Vocabulary::open(&path)?);
        Ok(Self { rules: ConstraintCompiler::new(Arc::clone(&vocabulary))?, vocabulary })
    }

    /// Seconds per token: unconstrained, in a long JSON string, and in a list of objects.
    pub fn seconds(&self, model: &Backend) -> Result<[f64; 3]> {
        let (text, list) = (long_text(), list());
        let mut seconds = [0.0; 3];
        for (seconds, schema) in seconds.iter_mut().zip([None, Some(&text), Some(&list)]) {
            *seconds = self.each(model, schema.map(ConstraintSpec::Schema), 1)?;
        }
        Ok(seconds)
    }

    /// Seconds per token of eight texts at once: unconstrained, in a long JSON string, in a list of objects, and in the call
    /// of a tool.
    pub fn seconds_of_eight(&self, model: &Backend) -> Result<[f64; 4]> {
        let (text, list) = (long_text(), list());
        let schema = json!({
            "type": "object", "required": ["path", "text"], "additionalProperties": false,
            "properties": {"path": {"type": "string"}, "text": text},
        });
        let tools = ["write_file", "append_file"]
            .map(|name| Tool { name: name.to_owned(), schema: Some(schema.clone()) });
        let calls = Calls { form: Form::Json, tools: tools.to_vec(), several: true, or_text: false };
        let specs = [
            None,
            Some(ConstraintSpec::Schema(&text)),
            Some(ConstraintSpec::Schema(&list)),
            Some(ConstraintSpec::Calls(&calls)),
        ];
        let mut seconds = [0.0; 4];
        for (seconds, spec) in seconds.iter_mut().zip(specs) {
            *seconds = self.each(model, spec, TEXTS)?;
        }
        Ok(seconds)
    }

    /// Seconds per token of some texts at once, each under a constraint of its own that says the same.
    fn each(&self, model: &Backend, spec: Option<ConstraintSpec<'_>>, texts: usize) -> Result<f64> {
        let request = |seed: usize| {
            let rule = spec.map(|spec| self.rules.compile(spec, Thinking::No)).transpose();
            let rule = rule.map_err(|error| anyhow::anyhow!("{error:?}"))?;
            let prompt = self.vocabulary.tokens(&format!("{seed}. {}", "A list of things: ".repeat(8)))?;
            let sampling = Sampling { seed: seed as u64, ..Sampling::default() };
            Ok(Request { sampling, constraint: rule, ..request(prompt, OUTPUT_TOKENS) })
        };
        let requests = (1..=texts).map(request).collect::<Result<_>>()?;
        let (all, tokens) = generate(&mut runner(model, 0)?, requests)?;
        Ok(all / tokens as f64)
    }
}

fn long_text() -> Json {
    json!({"type": "string", "minLength": 1_000})
}

fn list() -> Json {
    let item = json!({
        "type": "object", "required": ["name", "count", "tags"], "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "minLength": 8, "maxLength": 40},
            "count": {"type": "integer", "minimum": 0, "maximum": 5_000},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 4},
        },
    });
    json!({"type": "array", "items": item, "minItems": 12, "maxItems": 20})
}

/// Seconds per token of a repeated text with some tokens changed, without and with speculative decoding. The
/// model predicts the next token from each token.
pub fn copies(model: &Backend) -> Result<[f64; 2]> {
    let edited = |position: u32| {
        if position % EDITED_EVERY == EDITED_EVERY - 1 { position + 10_000 } else { position }
    };
    let prompt: Vec<u32> = (0..COPIED).map(edited).chain([0]).collect();
    let mut seconds = [0.0; 2];
    for (seconds, draft_tokens) in seconds.iter_mut().zip([0, DRAFT_TOKENS]) {
        let (all, tokens) = generate(&mut runner(model, draft_tokens)?, vec![request(prompt.clone(), 200)])?;
        *seconds = all / tokens as f64;
    }
    Ok(seconds)
}
