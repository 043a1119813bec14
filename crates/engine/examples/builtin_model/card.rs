//! Writes the model card: purpose, training data, evaluation results and limitations.

use std::error::Error;
use std::path::Path;

use training::Job;

use crate::examination::Marks;
use crate::text::{Fact, Script};
use crate::{PASSES, RATE, SEED};

pub fn write(
    builtin: &Path,
    facts: &[Fact],
    scripts: &[Script],
    job: &Job,
    marks: &Marks,
) -> Result<(), Box<dyn Error>> {
    let network = job.network();
    let shape = network.shape();
    let questions: usize = facts.iter().map(|fact| fact.questions.len()).sum();
    let (right, question_count) = (marks.right(), marks.answers.len());
    let wrong: String = marks
        .answers
        .iter()
        .filter(|answer| !answer.is_right)
        .map(|answer| format!("- {}\n", answer.question))
        .collect();
    let (facts, scripts, steps) = (facts.len(), scripts.len(), job.of());
    let parameters = network.parameters().len();
    let (layers, hidden, heads, kv_heads) = (shape.layers, shape.hidden, shape.heads, shape.kv_heads);
    let (inner, vocabulary) = (shape.inner, shape.vocabulary);
    let card = format!(
        "# The built-in model

**A demonstration.** A very small language model that answers short questions about Tidegate, so that a fresh `make run` says
something sensible without any other model. It decodes its answers token by token, as every model here does; nothing is looked up.

| | |
|---|---|
| held-back questions answered rightly | **{right} of {question_count}** (`text/held_back.jsonl`; never trained on; the likeliest token each time) |
| shape | Qwen3: {layers} layers of {hidden}, {heads} heads on {kv_heads}, inner width {inner}, {vocabulary} tokens, head tied to the embedding |
| parameters | {parameters}, in bfloat16 |
| text | {facts} facts with {questions} questions, and {scripts} short conversations, all written by this project (`text/README.md`) |
| training | whole, from random numbers, by the trainer in `crates/training`: {steps} steps, {PASSES} passes, rate {RATE}, seed {SEED} |
| licence | that of this project |

`make builtin-model` makes it anew from `text/` and writes this card; `make builtin-model ARGS=examine` asks the held-back questions again.
An answer counts as right where it holds the words that its line names, in lower case.
The recipe was changed once after a first run had been asked these questions.

## What it is not

- It is no assistant: it knows what its text says about Tidegate and nothing else. To most other questions it says that it is a demonstration.
- It is not reliable: it takes one fact for another, as the figure above says, and invents where nothing fits. The documentation is right where they differ.
- It says nothing of how good models are that run here. It reads system messages and tools not at all: its template leaves them out.
- It was trained on English alone, and on short questions.

## What it got wrong

{wrong}"
    );
    Ok(std::fs::write(builtin.join("README.md"), card)?)
}
