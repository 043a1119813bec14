//! A small synthetic model whose tokens are pieces of words, so that its output is meaningless but real text,
//! and a runner for it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use engine::{
    ConstraintCompiler, FinishReason, Request, SampledToken, Sampling, Scheduler, SchedulerLimits,
    SequenceId, StepEvent,
};
use kernels::{KvDtype, Model};
use prompts::Vocabulary;
use weights::synthetic::SyntheticModel;
use weights::{Source, load_model};

use crate::running::{LIMITS, request, scheduler, submit_all};
use crate::shapes;

pub struct Words {
    pub model: Arc<Model>,
    pub vocabulary: Arc<Vocabulary>,
    pub rules: ConstraintCompiler,
}

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Output {
    pub drawn: Vec<SampledToken>,
    pub end: Option<FinishReason>,
}

pub static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    SyntheticModel::new("qwen3", shapes::dense(), 11).write_plain(directory.path(), false).unwrap();
    let path = directory.path().join("tokenizer.json");
    std::fs::write(&path, prompts::synthetic_tokenizer::tokenizer().to_string()).unwrap();
    let model = Arc::new(load_model(&Source::open(directory.path()).unwrap()).unwrap());
    let vocabulary = Arc::new(Vocabulary::open(&path).unwrap());
    let rules = ConstraintCompiler::new(Arc::clone(&vocabulary)).unwrap();
    Words { model, vocabulary, rules }
});

impl Words {
    pub fn request(&self, prompt: &str, seed: u64, max_tokens: usize) -> Request {
        Request {
            prompt: self.vocabulary.tokens(prompt).unwrap(),
            sampling: Sampling { seed, ..Sampling::default() },
            stop_tokens: vec![self.vocabulary.special_token_id("<|im_end|>").unwrap()],
            ..request(0, 0, max_tokens)
        }
    }

    pub fn runner(&self, blocks: usize, draft_tokens: usize) -> Scheduler {
        self.runner_that(KvDtype::F16, blocks, draft_tokens)
    }

    pub fn runner_that(&self, keeps: KvDtype, blocks: usize, draft_tokens: usize) -> Scheduler {
        let limits = SchedulerLimits { kv_dtype: keeps, waiting: 1_000, draft_tokens, ..LIMITS };
        scheduler(&self.model, blocks, limits)
    }

    /// The decoded output, without special tokens.
    pub fn text(&self, output: &Output) -> String {
        let bytes = output.drawn.iter().flat_map(|drawn| self.vocabulary.bytes(drawn.token));
        String::from_utf8(bytes.copied().collect()).unwrap()
    }
}

/// Runs until idle, and returns each output, in the order of the requests.
pub fn all(runner: &mut Scheduler, requests: &[Request]) -> Vec<Output> {
    let ids = submit_all(runner, requests);
    let mut outputs: HashMap<SequenceId, Output> = HashMap::new();
    while !runner.is_idle() {
        for happened in runner.step().unwrap() {
            match happened {
                StepEvent::Scheduled { sequence, .. } => {
                    assert!(outputs.insert(sequence, Output::default()).is_none())
                }
                StepEvent::Token { sequence, drawn } => outputs.get_mut(&sequence).unwrap().drawn.push(drawn),
                StepEvent::State { .. } => {}
                StepEvent::End { sequence, end } => {
                    assert!(outputs.get_mut(&sequence).unwrap().end.replace(end).is_none());
                }
            }
        }
    }
    ids.iter().map(|id| outputs.remove(id).unwrap()).collect()
}

/// The output of one request.
pub fn one(runner: &mut Scheduler, request: &Request) -> Output {
    all(runner, std::slice::from_ref(request)).remove(0)
}
