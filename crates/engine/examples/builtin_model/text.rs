//! The built-in model's source texts, as they are in the files.

use std::error::Error;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
pub struct Fact {
    pub id: String,
    pub answer: String,
    pub questions: Vec<String>,
}

/// A short dialogue.
#[derive(Debug, Deserialize)]
pub struct Script {
    pub messages: Vec<Line>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    pub role: String,
    pub content: String,
}

/// A held-out question: it is never trained on. `right` is what a correct answer contains.
#[derive(Debug, Deserialize)]
pub struct HeldBack {
    pub fact: String,
    pub question: String,
    pub right: Vec<Vec<String>>,
}

impl Line {
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_owned(), content: content.to_owned() }
    }
}

pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Box<dyn Error>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let line = |(index, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| format!("{}:{}: {error}", path.display(), index + 1).into())
    };
    lines.map(line).collect()
}

/// Holds out a question of each fact for a trial run; the correct answer is the fact's.
pub fn hold_back(facts: &mut [Fact]) -> Vec<HeldBack> {
    let take = |(index, fact): (usize, &mut Fact)| {
        let which = (index * 7 + 3) % fact.questions.len().max(1);
        (fact.questions.len() > 1).then(|| HeldBack {
            fact: fact.id.clone(),
            question: fact.questions.remove(which),
            right: vec![vec![fact.answer.to_lowercase()]],
        })
    };
    facts.iter_mut().enumerate().filter_map(take).collect()
}
