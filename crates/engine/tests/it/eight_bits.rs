//! What a KV cache in eight bits changes, by a model that learnt something: the built-in one, on the conversations that it was
//! trained on. How far its numbers are from exact ones is in `parity`.

use std::path::Path;

use kernels::{BLOCK, KvCache, KvDtype, Model};
use prompts::{Template, Vocabulary};
use serde_json::{Value, json};
use weights::{Source, load_model};

use crate::parity::in_pieces;

/// What a model says of each token of a text: how unlikely the next one is, and which is the likeliest.
#[derive(Default)]
struct Predictions {
    unlikely: f64,
    likeliest: Vec<usize>,
}

impl Predictions {
    fn perplexity(&self) -> f64 {
        (self.unlikely / self.likeliest.len() as f64).exp()
    }

    /// How many of the likeliest tokens are the same, in percent.
    fn agrees(&self, other: &Self) -> f64 {
        let same = self.likeliest.iter().zip(&other.likeliest).filter(|(one, other)| one == other).count();
        100.0 * same as f64 / self.likeliest.len() as f64
    }
}

fn predictions(model: &Model, keeps: KvDtype, texts: &[Vec<u32>]) -> Predictions {
    let mut predictions = Predictions::default();
    for tokens in texts {
        let mut cache = KvCache::new(model.shape(), keeps, tokens.len().div_ceil(BLOCK) + 4);
        let rows = in_pieces(model, &mut cache, tokens, &[256]);
        for (row, next) in rows.iter().zip(&tokens[1..]) {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|score| f64::from(score - top).exp()).sum();
            predictions.unlikely += sum.ln() - f64::from(row[*next as usize] - top);
            predictions.likeliest.push((0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap());
        }
    }
    predictions
}

/// The model's conversations, each as it is rendered for it.
fn conversations(builtin: &Path) -> Vec<Vec<u32>> {
    let vocabulary = Vocabulary::open(&builtin.join("model/tokenizer.json")).unwrap();
    let config = std::fs::read(builtin.join("model/tokenizer_config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let template = Template::new(config["chat_template"].as_str().unwrap()).unwrap();
    let text = std::fs::read_to_string(builtin.join("text/dialogues.jsonl")).unwrap();
    let tokens = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let rendered = template.render(&json!({"messages": line["messages"].take()}), 0).unwrap();
        vocabulary.tokens(&rendered).unwrap()
    };
    text.lines().map(tokens).collect()
}

#[test]
fn eight_bits_predict_as_well_as_sixteen() {
    let builtin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../builtin");
    let model = load_model(&Source::open(&builtin.join("model")).unwrap()).unwrap();
    let texts = conversations(&builtin);
    let exact = predictions(&model, KvDtype::F32, &texts);
    assert!(exact.likeliest.len() > 5_000, "{}", exact.likeliest.len());
    // It learnt the answers, and no questions: of 1007 tokens, some twenty come into question.
    assert!(exact.perplexity() < 30.0, "{}", exact.perplexity());
    for (keeps, more, agreed) in [(KvDtype::F16, 0.05, 99.9), (KvDtype::Q8, 0.5, 99.0)] {
        let found = predictions(&model, keeps, &texts);
        let percent = 100.0 * (found.perplexity() / exact.perplexity() - 1.0);
        let agrees = found.agrees(&exact);
        println!("{keeps:?}: perplexity {percent:+.4} %, the likeliest token the same {agrees:.3} %");
        assert!(percent.abs() <= more && agrees >= agreed, "{keeps:?}: {percent} % {agrees} %");
    }
}
