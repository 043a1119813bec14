//! Prints a model's output, for `scripts/verify-model.py` to compare with that of transformers on the same
//! files.
//!
//! `verify_model make DIRECTORY` writes a small synthetic model. `verify_model ask DIRECTORY [--device cpu]
//! [--tokens 64]` reads conversations from stdin, as a list of lists of messages, and prints a line for each:
//! the rendered prompt, its tokens, and the model's output with greedy decoding.

use std::error::Error;
use std::io::Read;
use std::path::Path;

use engine::{
    Backend, CacheScope, FinishReason, Group, Processor, Request, Sampling, Scheduler, SchedulerLimits,
    StepEvent,
};
use kernels::{Architecture, KvCache, KvDtype, Pairs, Rope, RopeScaling};
use prompts::synthetic_tokens::Tokens;
use prompts::{Conversation, Last, SpecialTokens};
use serde_json::{Value, json};
use weights::synthetic::SyntheticModel;
use weights::{ModelAssets, Source};

/// How many of the most likely tokens are printed with each token.
const LIKELIEST: usize = 5;
/// The longest supported conversation.
const CONTEXT: usize = 4_096;
const TEMPLATE: &str = include_str!("../../prompts/tests/fixtures/templates/qwen3.jinja");

fn make(directory: &Path) -> Result<(), Box<dyn Error>> {
    let shape = Architecture {
        vocabulary: 400,
        hidden: 64,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        inner: 128,
        norm_epsilon: 1e-6,
        rope: Rope { theta: 1_000_000.0, stretch: RopeScaling::None },
        context: CONTEXT,
        is_tied: true,
        norms_heads: true,
        pairs: Pairs::Halves,
        mixture: None,
    };
    let mut made = SyntheticModel::new("qwen3", shape.clone(), 7);
    made.tokens = Some(Tokens::new("qwen2", TEMPLATE, shape.vocabulary));
    Ok(made.write_plain(directory, false)?)
}

/// Renders a conversation with the model's chat template.
fn render(messages: Vec<Value>, beside: &ModelAssets) -> Result<String, Box<dyn Error>> {
    let template = beside.template.as_ref().ok_or("the model has no chat template")?;
    let mut conversation = Conversation::new(messages, None, Last::Answer);
    for (name, token) in [
        ("bos_token", &beside.generation_defaults.bos_token),
        ("eos_token", &beside.generation_defaults.eos_token),
    ] {
        conversation.set_own(name, token.clone().unwrap_or_default());
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    // The input is trusted, so that special tokens in user text are not neutralised.
    Ok(conversation.open(template, &SpecialTokens::default(), &|| 0, now)?.text)
}

fn say(
    runner: &mut Scheduler,
    prompt: Vec<u32>,
    ends: &[u32],
    max_tokens: usize,
) -> Result<Vec<Value>, Box<dyn Error>> {
    let sampling = Sampling { temperature: 0.0, logprobs: Some(LIKELIEST), ..Sampling::default() };
    let (share, group) = (CacheScope(1), Group(1));
    let request = Request {
        prompt,
        sampling,
        max_tokens,
        stop_tokens: ends.to_vec(),
        constraint: None,
        cache_scope: share,
        group,
        adapter: None,
        adapter_switches: Vec::new(),
    };
    runner.submit(request).map_err(|refused| format!("{refused:?}"))?;
    let mut sampled = Vec::new();
    while !runner.is_idle() {
        for happened in runner.step()? {
            match happened {
                StepEvent::Token { drawn, .. } => {
                    sampled.push(json!({"token": drawn.token, "likeliest": drawn.others}))
                }
                StepEvent::End { end: end @ (FinishReason::Broken | FinishReason::NoAdapter), .. } => {
                    return Err(format!("{end:?}").into());
                }
                _ => {}
            }
        }
    }
    Ok(sampled)
}

fn ask(directory: &Path, processor: Processor, tokens: usize) -> Result<(), Box<dyn Error>> {
    let source = Source::open(directory)?;
    let beside = source.assets()?;
    let machine = Backend::load(&source, processor)?;
    // For the smallest rounding error: transformers computes in single precision, too.
    let keeps = KvDtype::F32;
    let bytes = (CONTEXT + tokens).div_ceil(kernels::BLOCK) * KvCache::block_bytes(machine.shape(), keeps);
    let limits = SchedulerLimits {
        bytes,
        kv_dtype: keeps,
        step_tokens: processor.step_tokens(),
        sequences: 1,
        waiting: 1,
        draft_tokens: 0,
    };
    let mut runner = Scheduler::new(machine, limits)?;
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    let conversations: Vec<Vec<Value>> = serde_json::from_str(&input)?;
    for messages in conversations {
        let text = render(messages, &beside)?;
        let prompt = beside.vocabulary.tokens(&text)?;
        let output = say(&mut runner, prompt.clone(), &beside.generation_defaults.ends, tokens)?;
        println!("{}", json!({"text": text, "prompt": prompt, "said": output}));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(String::as_str)
    };
    match arguments.as_slice() {
        [verb, directory] if verb == "make" => make(Path::new(directory)),
        [verb, directory, ..] if verb == "ask" => {
            let processor = value("--device").unwrap_or("cpu").parse()?;
            ask(Path::new(directory), processor, value("--tokens").unwrap_or("64").parse()?)
        }
        _ => Err("say what to do: make DIRECTORY, or ask DIRECTORY [--device cpu] [--tokens 64]".into()),
    }
}
