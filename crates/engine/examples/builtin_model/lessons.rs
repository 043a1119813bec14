//! Generates the training data: every question many times, with different noise each time, and some of them
//! after another exchange.

use std::error::Error;
use std::path::Path;

use prompts::{Template, Vocabulary};
use serde_json::json;
use training::{DatasetReader, Example};

use crate::SEED;
use crate::noise::Noise;
use crate::text::{Fact, Line, Script};
use crate::tokens::TEMPLATE;

/// Percentage of examples that are cut after the first answer tokens: those decide which answer it will be,
/// and so deserve the most practice.
const SHORT: usize = 85;
const SHORT_TOKENS: usize = 3;
/// Percentage of questions that are mixed from two questions with the same answer, so that the answer does
/// not depend on the phrasing.
const MIXED: usize = 35;
/// Percentage of examples that come after another question and its answer.
const BEHIND: usize = 6;
/// How often each dialogue is repeated per pass.
const SCRIPTS: usize = 1;

pub fn write(
    base: &Path,
    facts: &[Fact],
    scripts: &[Script],
    passes: usize,
) -> Result<Vec<Example>, Box<dyn Error>> {
    let template = Template::new(TEMPLATE)?;
    let vocabulary = Vocabulary::open(&base.join("tokenizer.json"))?;
    let reading = DatasetReader { template: &template, vocabulary: &vocabulary, longest: 1_024 };
    let read = |lines: &[Line]| {
        let line = json!({"messages": lines}).to_string();
        Ok::<_, Box<dyn Error>>(reading.read(line.as_bytes())?)
    };
    let mut noise = Noise::new(SEED);
    let mut lessons = Vec::new();
    for _ in 0..passes {
        for fact in facts {
            for question in &fact.questions {
                let mut lines = Vec::new();
                if noise.happens(BEHIND)
                    && let Some(other) = facts.get(noise.below(facts.len()))
                    && let Some(before) = other.questions.get(noise.below(other.questions.len()))
                {
                    lines.extend(turn(&noise.question(before), &other.answer));
                }
                let other = fact.questions.get(noise.below(fact.questions.len()));
                let phrased = match other.filter(|_| noise.happens(MIXED)) {
                    Some(other) => noise.mixed(question, other),
                    None => question.clone(),
                };
                lines.extend(turn(&noise.question(&phrased), &fact.answer));
                let is_short = noise.happens(SHORT);
                lessons
                    .extend(read(&lines)?.into_iter().map(|text| if is_short { short(text) } else { text }));
            }
        }
        for script in scripts.iter().flat_map(|script| [script; SCRIPTS]) {
            let mut lines = script.messages.clone();
            for line in lines.iter_mut().filter(|line| line.role == "user") {
                line.content = noise.question(&line.content);
            }
            lessons.extend(read(&lines)?);
        }
    }
    Ok(lessons)
}

fn turn(question: &str, answer: &str) -> [Line; 2] {
    [Line::new("user", question), Line::new("assistant", answer)]
}

/// Truncates a text after the first tokens of its last answer.
fn short(mut text: Example) -> Example {
    let first = text.is_learned.iter().rposition(|is_learned| !is_learned).map_or(0, |last| last + 1);
    text.tokens.truncate(first + SHORT_TOKENS);
    text.is_learned.truncate(first + SHORT_TOKENS);
    text
}
