//! Forward and backward pass of training: logits against the serving model, loss and gradients against the
//! oracle; and that training learns.

use std::collections::BTreeMap;

use kernels::{Architecture, BLOCK, KvCache, KvDtype, Model, StepBatch};
use training::{Batch, LoraConfig, Network, Slot, Trains};
use weights::synthetic::{Packing, SyntheticModel};
use weights::{Source, load_model};

use crate::oracle::Oracle;
use crate::parity::{part, text};
use crate::shapes;

pub fn source(made: &SyntheticModel, packing: Option<Packing>) -> (tempfile::TempDir, Source) {
    let directory = tempfile::tempdir().unwrap();
    let mut path = directory.path().to_owned();
    if let Some(kind) = packing {
        path.push("model.gguf");
        made.write_packed(&path, kind).unwrap();
    } else {
        made.write_plain(&path, false).unwrap();
    }
    let source = Source::open(&path).unwrap();
    (directory, source)
}

pub fn loaded(made: &SyntheticModel, packing: Option<Packing>) -> Model {
    load_model(&source(made, packing).1).unwrap()
}

pub fn small() -> Architecture {
    Architecture { vocabulary: 320, layers: 2, ..shapes::dense() }
}

fn families() -> [(&'static str, Architecture); 3] {
    [
        ("qwen3", small()),
        ("qwen3_moe", Architecture { vocabulary: 320, layers: 2, ..shapes::mixture() }),
        ("llama", Architecture { vocabulary: 320, layers: 2, ..shapes::llama() }),
    ]
}

pub fn served(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let count = tokens.len().div_ceil(BLOCK);
    let mut pool = KvCache::new(model.shape(), KvDtype::F32, count);
    let blocks: Vec<u32> = (0..count as u32).collect();
    model.step(&StepBatch { chunks: vec![part(tokens, 0, &blocks)] }, &mut pool).unwrap()
}

fn adapter() -> Trains {
    Trains::Adapter(LoraConfig { rank: 4, alpha: 6.0, ..LoraConfig::default() })
}

#[test]
fn what_is_trained_says_what_is_served() {
    for (family, shape) in families() {
        let made = SyntheticModel::new(family, shape, 7);
        let (_directory, source) = source(&made, None);
        let model = load_model(&source).unwrap();
        let tokens = text(150, 1);
        let wanted = served(&model, &tokens);
        for trains in [Trains::Whole, adapter()] {
            let logits = Network::load(&source, &trains, 1).unwrap().scores(&tokens).unwrap();
            let far = logits.iter().zip(&wanted).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
            assert!(logits.len() == wanted.len() && far <= 1e-4, "{family}: {far}");
        }
    }
}

/// Two texts and part of a third, with most tokens as targets.
fn batch() -> Batch {
    let mut batch = Batch::default();
    for tokens in [text(70, 1), text(5, 2), text(9, 3)] {
        let first = batch.tokens.len();
        let targets = tokens.iter().enumerate().skip(1).filter(|(position, _)| position % 3 != 0);
        batch.targets.extend(targets.map(|(position, token)| (first + position - 1, *token)));
        batch.tokens.extend(tokens);
        batch.sequences.push(first..batch.tokens.len());
    }
    batch
}

/// The oracle's loss for the model with these parameters.
fn loss(made: &SyntheticModel, trains: &Trains, slots: &[Slot], parameters: &[f32], batch: &Batch) -> f64 {
    let mut made = made.clone();
    let of = |name: &str| {
        let slot = slots.iter().find(|slot| slot.name == name)?;
        Some((slot.shape.clone(), parameters[slot.range.clone()].to_vec()))
    };
    for (name, tensor) in &mut made.tensors {
        if let (Trains::Whole, Some(numbers)) = (trains, of(name)) {
            *tensor = numbers;
        }
        let Trains::Adapter(low) = trains else { continue };
        let bare = name.trim_end_matches(".weight");
        let pair = (of(&format!("{bare}.lora_A.weight")), of(&format!("{bare}.lora_B.weight")));
        let (Some((_, first)), Some((_, second))) = pair else { continue };
        let scale = low.alpha / low.rank as f32;
        let width = tensor.0[1];
        for (row, numbers) in tensor.1.chunks_mut(width).enumerate() {
            for (column, number) in numbers.iter_mut().enumerate() {
                let more = (0..low.rank).map(|at| second[row * low.rank + at] * first[at * width + column]);
                *number += scale * more.sum::<f32>();
            }
        }
    }
    let of_text = |text: &std::ops::Range<usize>| Oracle { made: &made }.all(&batch.tokens[text.clone()]);
    let logits: Vec<Vec<f64>> = batch.sequences.iter().flat_map(of_text).collect();
    let one = |(row, token): &(usize, u32)| {
        let scores = &logits[*row];
        let top = scores.iter().copied().fold(f64::MIN, f64::max);
        scores.iter().map(|score| (score - top).exp()).sum::<f64>().ln() + top - scores[*token as usize]
    };
    batch.targets.iter().map(one).sum()
}

/// Adds noise to all parameters, so that those initialised to zero are not all equal.
fn shaken(network: &mut Network) {
    for (index, parameter) in network.parameters_mut().iter_mut().enumerate() {
        *parameter += ((index * 2_654_435_761) % 2_001) as f32 / 2e4 - 0.05;
    }
}

#[test]
fn slopes_are_what_a_small_change_makes() {
    let batch = batch();
    for (family, shape) in families() {
        let made = SyntheticModel::new(family, shape, 7);
        let (_directory, source) = source(&made, None);
        for trains in [Trains::Whole, adapter()] {
            let mut network = Network::load(&source, &trains, 1).unwrap();
            if trains != Trains::Whole {
                shaken(&mut network);
            }
            let mut slopes = vec![0.0; network.parameters().len()];
            let sum = network.accumulate_gradients(&batch, (1.0, false), &mut slopes, &mut || true);
            let sum = sum.unwrap().unwrap();
            let of = |parameters: &[f32]| loss(&made, &trains, network.slots(), parameters, &batch);
            let wanted = of(network.parameters());
            assert!((sum - wanted).abs() < 1e-3, "{family}: {sum} {wanted}");
            assert!((network.loss(&batch).unwrap() - sum).abs() < 1e-9);
            let mut seen = BTreeMap::new();
            for slot in network.slots() {
                // One of each kind of tensor of the last layer, and those outside of layers.
                let kind = slot.name.trim_start_matches(|c: char| !c.is_ascii_digit());
                let is_early = slot.name.contains("layers.0.") && !slot.name.contains("q_proj");
                let is_other = slot.name.contains("experts.") && !slot.name.contains("experts.3.");
                if is_early || is_other || seen.insert(kind.to_owned(), ()).is_some() {
                    continue;
                }
                // Gradient check: in the direction of this tensor's gradient, the loss rises at a rate of the
                // gradient's norm.
                let own = &slopes[slot.range.clone()];
                let length = own.iter().map(|slope| f64::from(*slope).powi(2)).sum::<f64>().sqrt();
                assert!(length > 0.0, "{family}: nothing changes with {}", slot.name);
                let step = 2e-3;
                let moved = |by: f64| {
                    let mut parameters = network.parameters().to_vec();
                    for (parameter, slope) in parameters[slot.range.clone()].iter_mut().zip(own) {
                        *parameter += (f64::from(*slope) / length * by) as f32;
                    }
                    of(&parameters)
                };
                let rise = (moved(step) - moved(-step)) / (2.0 * step);
                assert!((rise - length).abs() <= 0.01 * length, "{family} {}: {rise} {length}", slot.name);
                // The same for the element with the largest gradient, and for one in the middle.
                let most = (0..own.len()).max_by(|one, other| own[*one].abs().total_cmp(&own[*other].abs()));
                for index in [most.unwrap(), own.len() / 2] {
                    let moved = |by: f64| {
                        let mut parameters = network.parameters().to_vec();
                        parameters[slot.range.start + index] += by as f32;
                        of(&parameters)
                    };
                    let rise = (moved(step) - moved(-step)) / (2.0 * step);
                    let far = (rise - f64::from(own[index])).abs();
                    assert!(far <= 0.01 * length, "{family} {}: {rise} {}", slot.name, own[index]);
                }
            }
        }
    }
}
