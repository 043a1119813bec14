//! Synthetic models that transformers can read, too, and inputs for them. `examples/made_models.rs` writes
//! them to disk.

use kernels::{Architecture, Rope, RopeScaling};
use weights::synthetic::{SyntheticModel, SyntheticPurpose};

use crate::shapes;

pub struct Case {
    pub name: &'static str,
    pub made: SyntheticModel,
    /// Its RoPE settings are written in the older format.
    pub is_older: bool,
    pub tokens: Vec<u32>,
    /// The positions at which states are compared.
    pub positions: &'static [usize],
}

pub fn cases() -> Vec<Case> {
    let text = |length: u32| (0..length).map(|index| (index * 37 + index / 5 * 11 + 101) % 320).collect();
    let case = |name, made, is_older, length, positions| {
        let tokens = text(length);
        Case { name, made, is_older, tokens, positions }
    };
    let (factor, original, fast, slow, attention) = (4.0, 64.0, 16.0, 2.0, Some(1.5));
    let stretch = RopeScaling::Ramp { factor, original, fast, slow, attention, truncates: false };
    let own = Architecture { rope: Rope { theta: 10_000.0, stretch }, ..shapes::stretched() };
    // Some positions within the original context length, and some beyond it.
    let beyond = &[20, 63, 64, 150, 239];
    let mut ranks = SyntheticModel::new("qwen3", shapes::dense(), 7);
    let row = ranks.tensors["model.embed_tokens.weight"].1[..shapes::dense().hidden].to_vec();
    ranks.tensors.insert("score.weight".to_owned(), (vec![1, row.len()], row));
    ranks.makes = SyntheticPurpose::Ranks;
    let mixture = SyntheticModel::new("qwen3_moe", shapes::mixture(), 7);
    vec![
        case("qwen3", SyntheticModel::new("qwen3", shapes::dense(), 7), false, 40, &[0, 1, 39]),
        case("yarn", SyntheticModel::new("qwen3", shapes::stretched(), 7), false, 240, beyond),
        case("yarn_older", SyntheticModel::new("qwen3", own, 7), true, 240, beyond),
        case("llama3", SyntheticModel::new("llama", shapes::llama(), 7), false, 300, &[0, 99, 299]),
        case("stacked", mixture.stacked(), false, 40, &[0, 1, 39]),
        case("ranks", ranks, false, 40, &[39]),
    ]
}
