//! Evaluates the model on questions that it was not trained on: runs it in the serving engine, and checks
//! whether the answers contain what is expected.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use engine::{CacheScope, Group, Request, Sampling, Scheduler, SchedulerLimits, SequenceId, StepEvent};
use kernels::KvDtype;
use prompts::{Detokenizer, Template, Vocabulary};
use serde_json::json;
use weights::{Source, load_model};

use crate::text::HeldBack;
use crate::tokens::TEMPLATE;

pub struct Examination {
    pub questions: Vec<HeldBack>,
}

/// The results of an evaluation.
pub struct Marks {
    pub answers: Vec<Answer>,
}

pub struct Answer {
    pub question: String,
    pub fact: String,
    pub answer: String,
    pub is_right: bool,
}

impl Examination {
    pub fn hold(&self, model: &Path) -> Result<Marks, Box<dyn Error>> {
        let vocabulary = Vocabulary::open(&model.join("tokenizer.json"))?;
        let template = Template::new(TEMPLATE)?;
        let end = vocabulary.special_token_id("<|im_end|>").ok_or("the end has no token")?;
        let model = Arc::new(load_model(&Source::open(model)?)?);
        let limits = SchedulerLimits {
            bytes: 1 << 28,
            kv_dtype: KvDtype::F16,
            step_tokens: 512,
            sequences: 16,
            waiting: 10_000,
            draft_tokens: 0,
        };
        let mut runner = Scheduler::new(model, limits)?;
        let mut open: Vec<(SequenceId, Vec<u8>)> = Vec::new();
        for HeldBack { question, .. } in &self.questions {
            let messages = json!([{"role": "user", "content": question}]);
            let prompt = template.render(&json!({"messages": messages, "add_generation_prompt": true}), 0)?;
            let request = Request {
                prompt: vocabulary.tokens(&prompt)?,
                sampling: Sampling { temperature: 0.0, ..Sampling::default() },
                max_tokens: 100,
                stop_tokens: vec![end],
                constraint: None,
                adapter: None,
                adapter_switches: Vec::new(),
                cache_scope: CacheScope(1),
                group: Group(1),
            };
            let text = runner.submit(request).map_err(|refused| format!("{question}: {refused:?}"))?;
            open.push((text, Vec::new()));
        }
        while !runner.is_idle() {
            for happened in runner.step()? {
                let StepEvent::Token { sequence: text, drawn } = happened else { continue };
                let output = open.iter_mut().find(|(open, _)| *open == text);
                output.ok_or("an answer to nothing")?.1.extend(vocabulary.bytes(drawn.token));
            }
        }
        let answers = self.questions.iter().zip(open).map(|(held_back, (_, bytes))| judge(held_back, &bytes));
        Ok(Marks { answers: answers.collect() })
    }
}

fn judge(held_back: &HeldBack, bytes: &[u8]) -> Answer {
    let mut detokenizer = Detokenizer::default();
    let answer = detokenizer.push(bytes) + &detokenizer.end();
    let lower = answer.to_lowercase();
    let is_right = held_back.right.iter().all(|any| any.iter().any(|text| lower.contains(text.as_str())));
    let HeldBack { question, fact, .. } = held_back;
    Answer { question: question.clone(), fact: fact.clone(), answer, is_right }
}

impl Marks {
    pub fn right(&self) -> usize {
        self.answers.iter().filter(|answer| answer.is_right).count()
    }

    pub fn print(&self) {
        for Answer { question, fact, answer, is_right } in &self.answers {
            println!("{} {fact}: {question}\n      {answer}", if *is_right { "right" } else { "WRONG" });
        }
        println!("{} of {} right", self.right(), self.answers.len());
    }
}
