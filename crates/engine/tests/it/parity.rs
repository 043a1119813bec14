//! Compares the engine's output with the oracle's: in one step, in several, alone and in batches.

use kernels::{Architecture, BLOCK, KvCache, KvDtype, Model, SequenceChunk, StepBatch};
use weights::synthetic::{Packing, SyntheticModel};
use weights::{Source, load_model};

use crate::oracle::Oracle;
use crate::running::BOTH;
use crate::shapes;
use crate::training::loaded;

/// Maximum deviation from the oracle, relative to the spread of its logits.
const EXACT: f64 = 2e-5;
/// The same with a KV cache in half precision.
const HALF: f64 = 5e-3;
/// The same with a KV cache in eight bits: the largest deviation seen was 0.034.
const EIGHT: f64 = 5e-2;

pub struct Held {
    pub made: SyntheticModel,
    pub model: Model,
}

pub fn held(family: &str, shape: Architecture) -> Held {
    let made = SyntheticModel::new(family, shape, 7);
    let model = loaded(&made, None);
    Held { made, model }
}

pub fn text(length: usize, of: u32) -> Vec<u32> {
    (0..length as u32).map(|index| (index * 37 + index / 5 * 11 + of * 101) % 320).collect()
}

/// Blocks of the pool for one text, deliberately not in order.
pub fn blocks(first: u32, length: usize) -> Vec<u32> {
    let mut blocks: Vec<u32> = (first..first + length.div_ceil(BLOCK) as u32).collect();
    blocks.reverse();
    blocks
}

pub fn part(tokens: &[u32], start: usize, blocks: &[u32]) -> SequenceChunk {
    SequenceChunk { tokens: tokens.to_vec(), start, blocks: blocks.to_vec(), output_from: 0, adapter: None }
}

/// The logits of all tokens of a text that is computed in pieces of these lengths.
pub fn in_pieces(model: &Model, pool: &mut KvCache, tokens: &[u32], lengths: &[usize]) -> Vec<Vec<f32>> {
    let blocks = blocks(3, tokens.len());
    let (mut logits, mut at) = (Vec::new(), 0);
    for length in lengths.iter().cycle() {
        if at == tokens.len() {
            return logits;
        }
        let end = (at + length).min(tokens.len());
        let step = StepBatch { chunks: vec![part(&tokens[at..end], at, &blocks)] };
        let numbers = model.step(&step, pool).unwrap();
        logits.extend(numbers.chunks(model.shape().vocabulary).map(<[f32]>::to_vec));
        at = end;
    }
    logits
}

pub fn spread(rows: &[Vec<f64>]) -> f64 {
    let all: Vec<f64> = rows.iter().flatten().copied().collect();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    (all.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / all.len() as f64).sqrt()
}

pub fn furthest(logits: &[Vec<f32>], wanted: &[Vec<f64>]) -> f64 {
    assert_eq!(logits.len(), wanted.len());
    let each = logits.iter().zip(wanted).flat_map(|(logits, wanted)| logits.iter().zip(wanted));
    each.map(|(logits, wanted)| (f64::from(*logits) - wanted).abs()).fold(0.0, f64::max)
}

/// The deviation of each token's logits, relative to the spread of all.
fn off(held: &Held, length: usize, keeps: KvDtype) -> Vec<f64> {
    let tokens = text(length, 1);
    let wanted = Oracle { made: &held.made }.all(&tokens);
    let mut pool = KvCache::new(held.model.shape(), keeps, length.div_ceil(BLOCK) + 4);
    let logits = in_pieces(&held.model, &mut pool, &tokens, &[length]);
    let spread = spread(&wanted);
    let each = logits.chunks(1).zip(wanted.chunks(1));
    each.map(|(logits, wanted)| furthest(logits, wanted) / spread).collect()
}

fn check(held: &Held, length: usize, keeps: KvDtype, bound: f64) {
    let far = off(held, length, keeps).into_iter().fold(0.0, f64::max);
    assert!(far <= bound, "{far} at {length} tokens");
}

/// Like `check`. For mixtures, one token in twenty is exempt: rounding may change the choice between two
/// experts with nearly equal scores.
fn check_eight(held: &Held, length: usize) {
    let mut off = off(held, length, KvDtype::Q8);
    off.sort_by(f64::total_cmp);
    let checked = if held.made.shape.mixture.is_some() { length * 19 / 20 } else { length };
    assert!(off[checked - 1] <= EIGHT, "{} at {length} tokens", off[checked - 1]);
}

#[test]
fn every_family_says_what_the_oracle_says() {
    for (family, shape) in [
        ("qwen3", shapes::dense()),
        ("qwen3", Architecture { is_tied: false, ..shapes::dense() }),
        ("qwen3_moe", shapes::mixture()),
        ("llama", shapes::llama()),
    ] {
        let held = held(family, shape);
        check(&held, 32, KvDtype::F32, EXACT);
        check(&held, 300, KvDtype::F32, EXACT);
        check(&held, 300, KvDtype::F16, HALF);
        check_eight(&held, 300);
    }
}

/// At far positions the bounds are the same as near the start; there, rounding errors of RoPE angles show
/// first. `others`: how many tokens may exceed the bound in half precision, because another expert with a
/// nearly equal score was chosen.
fn check_far(family: &str, shape: Architecture, length: usize, others: usize) {
    let held = held(family, shape);
    let tokens = text(length, 1);
    let wanted = Oracle { made: &held.made }.all(&tokens);
    let spread = spread(&wanted);
    for (keeps, bound, others) in [(KvDtype::F32, EXACT, 0), (KvDtype::F16, HALF, others)] {
        let mut pool = KvCache::new(held.model.shape(), keeps, length.div_ceil(BLOCK) + 4);
        let logits = in_pieces(&held.model, &mut pool, &tokens, &[512]);
        let each = logits.chunks(1).zip(wanted.chunks(1));
        let far = each.map(|(logits, wanted)| furthest(logits, wanted));
        let beyond: Vec<f64> = far.filter(|far| *far > bound * spread).collect();
        assert!(beyond.len() <= others, "{family}: {beyond:?} of {spread} with {keeps:?}");
    }
}

#[test]
fn thousands_of_tokens_in_it_says_what_the_oracle_says() {
    check_far("qwen3", shapes::dense(), 4_096, 0);
}

#[test]
fn thousands_of_tokens_in_it_says_with_experts_what_the_oracle_says() {
    check_far("qwen3_moe", shapes::mixture(), 4_096, 4);
}

#[test]
fn angles_of_far_places_are_exact() {
    let shape = Architecture { layers: 1, heads: 2, kv_heads: 1, ..shapes::dense() };
    check_far("qwen3", shape, 8_192, 0);
}

#[test]
fn the_likeliest_again_and_again_is_the_oracles() {
    for (family, shape) in [("qwen3", shapes::dense()), ("qwen3_moe", shapes::mixture())] {
        let held = held(family, Architecture { is_tied: false, ..shape });
        let likeliest =
            |row: &[f64]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as u32;
        let mut tokens = text(32, 3);
        for _ in 0..64 {
            let wanted = likeliest(Oracle { made: &held.made }.all(&tokens).last().unwrap());
            let mut pool = KvCache::new(held.model.shape(), KvDtype::F16, 16);
            let logits = in_pieces(&held.model, &mut pool, &tokens, &[tokens.len()]);
            let logits: Vec<f64> = logits.last().unwrap().iter().map(|x| f64::from(*x)).collect();
            assert_eq!(likeliest(&logits), wanted, "{family} after {} tokens", tokens.len());
            tokens.push(wanted);
        }
        let mut generated = tokens.split_off(32);
        generated.sort_unstable();
        generated.dedup();
        assert!(generated.len() > 1, "{family} says one thing alone: this shows little");
    }
}

#[test]
fn a_text_in_pieces_is_the_text() {
    for keeps in BOTH {
        let held = held("qwen3", shapes::dense());
        let tokens = text(150, 2);
        let mut pool = KvCache::new(held.model.shape(), keeps, 32);
        let whole = in_pieces(&held.model, &mut pool, &tokens, &[150]);
        // Prompts in pieces, single tokens, and a prompt after single tokens: a second turn.
        for lengths in [&[1][..], &[7], &[16], &[17], &[23, 1, 1, 40], &[64, 1, 1, 1]] {
            let pieces = in_pieces(&held.model, &mut pool, &tokens, lengths);
            assert_eq!(pieces, whole, "{lengths:?}");
        }
    }
}

#[test]
fn a_text_beside_others_is_the_text_alone() {
    for keeps in BOTH {
        for (family, shape) in [("qwen3", shapes::dense()), ("qwen3_moe", shapes::mixture())] {
            let held = held(family, shape);
            let lengths = [5, 40, 1, 17, 64, 33, 2, 16];
            let texts: Vec<Vec<u32>> =
                lengths.iter().zip(1..).map(|(length, of)| text(*length, of)).collect();
            let parts =
                texts.iter().zip(0..).map(|(tokens, of)| part(tokens, 0, &blocks(of * 8, tokens.len())));
            let mut pool = KvCache::new(held.model.shape(), keeps, 64);
            let all = held.model.step(&StepBatch { chunks: parts.collect() }, &mut pool).unwrap();
            let mut beside = all.chunks(held.model.shape().vocabulary);
            for tokens in &texts {
                let mut pool = KvCache::new(held.model.shape(), keeps, 64);
                for alone in in_pieces(&held.model, &mut pool, tokens, &[tokens.len()]) {
                    assert_eq!(beside.next().unwrap(), alone);
                }
            }
            assert!(beside.next().is_none());
        }
    }
}

#[test]
fn only_what_is_to_be_told_is_told() {
    let held = held("qwen3", shapes::dense());
    let tokens = text(20, 1);
    let mut pool = KvCache::new(held.model.shape(), KvDtype::F16, 8);
    let whole = in_pieces(&held.model, &mut pool, &tokens, &[20]);
    let step = |output_from| StepBatch {
        chunks: vec![SequenceChunk { output_from, ..part(&tokens, 0, &blocks(3, 20)) }],
    };
    assert_eq!(held.model.step(&step(19), &mut pool).unwrap(), whole[19]);
    assert!(held.model.step(&step(20), &mut pool).unwrap().is_empty());
}

#[test]
fn both_spellings_of_its_angles_make_the_same_model() {
    let directory = tempfile::tempdir().unwrap();
    let made = SyntheticModel::new("llama", shapes::llama(), 7);
    let tokens = text(40, 1);
    let logits = [false, true].map(|is_older| {
        let path = directory.path().join(if is_older { "older" } else { "newer" });
        made.write_plain(&path, is_older).unwrap();
        let model = load_model(&Source::open(&path).unwrap()).unwrap();
        let mut pool = KvCache::new(model.shape(), KvDtype::F32, 8);
        in_pieces(&model, &mut pool, &tokens, &[40])
    });
    assert_eq!(logits[0], logits[1]);
}

#[test]
fn a_packed_file_is_the_same_model() {
    for (family, shape) in [
        ("qwen3", shapes::dense()),
        ("qwen3_moe", shapes::mixture()),
        ("qwen3", shapes::stretched()),
        // GGUF files of this family have no llama3 settings, but a tensor of RoPE frequency divisors.
        ("llama", shapes::llama()),
    ] {
        let held = held(family, shape);
        let model = loaded(&held.made, Some(Packing::F32));
        let tokens = text(60, 1);
        let mut pool = KvCache::new(model.shape(), KvDtype::F32, 8);
        let one = in_pieces(&held.model, &mut pool, &tokens, &[60]);
        let other = in_pieces(&model, &mut pool, &tokens, &[60]);
        let far = one.iter().flatten().zip(other.iter().flatten()).map(|(a, b)| (a - b).abs());
        let far = far.fold(0.0, f32::max);
        assert!(far <= 1e-5, "{family}: {far}");
    }
}

/// The quantisation types.
const ROUNDED: [Packing; 10] = {
    use Packing::{Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    [Q8_0, Q6K, Q4K, Q5K, Q5_0, Q5_1, Q4_0, Q4_1, Q3K, Q2K]
};

#[test]
fn a_text_of_a_rounded_model_is_the_same_in_pieces_and_beside_others() {
    for keeps in BOTH {
        let made = SyntheticModel::new("qwen3", shapes::wide(), 7);
        let (tokens, other) = (text(40, 1), text(23, 2));
        for kind in ROUNDED {
            let model = loaded(&made, Some(kind));
            let mut pool = KvCache::new(model.shape(), keeps, 8);
            let whole = in_pieces(&model, &mut pool, &tokens, &[40]);
            for lengths in [&[1][..], &[7, 1, 3], &[33, 1]] {
                assert!(in_pieces(&model, &mut pool, &tokens, lengths) == whole, "{kind:?} {lengths:?}");
            }
            let parts = vec![part(&other, 0, &blocks(6, 23)), part(&tokens, 0, &blocks(3, 40))];
            let both = model.step(&StepBatch { chunks: parts }, &mut pool).unwrap();
            assert!(both[23 * model.shape().vocabulary..] == whole.concat(), "{kind:?}");
        }
    }
}

pub fn exact(rows: &[Vec<f32>]) -> Vec<Vec<f64>> {
    rows.iter().map(|row| row.iter().map(|number| f64::from(*number)).collect()).collect()
}

/// The overall difference between two outputs.
pub fn apart(one: &[Vec<f64>], other: &[Vec<f64>]) -> f64 {
    let each = one.iter().flatten().zip(other.iter().flatten());
    let sum: f64 = each.map(|(one, other)| (one - other) * (one - other)).sum();
    (sum / one.iter().flatten().count() as f64).sqrt()
}

#[test]
fn a_rounded_model_says_what_its_rounded_weights_say() {
    let made = SyntheticModel::new("qwen3", shapes::wide(), 7);
    let tokens = text(48, 1);
    let unrounded = Oracle { made: &made }.all(&tokens);
    // The activations are quantised, too: to eight bits, as weights may be.
    let eight = Oracle { made: &made.rounded(Packing::Q8_0).unwrap() }.all(&tokens);
    let bound = 2.0 * apart(&eight, &unrounded);
    // Two and three bits leave too little of random weights. Their products are covered by the kernels' own
    // tests.
    let are_many = |kind: &Packing| !matches!(kind, Packing::Q3K | Packing::Q2K);
    for kind in ROUNDED.into_iter().filter(are_many) {
        let wanted = Oracle { made: &made.rounded(kind).unwrap() }.all(&tokens);
        let model = loaded(&made, Some(kind));
        let mut pool = KvCache::new(model.shape(), KvDtype::F32, 8);
        let logits = exact(&in_pieces(&model, &mut pool, &tokens, &[48]));
        let (far, own) = (apart(&logits, &wanted), apart(&wanted, &unrounded));
        assert!(far <= bound, "{kind:?}: {far} of {bound}; its weights' own rounding makes {own}");
        assert!(own <= 0.5 * spread(&unrounded), "{kind:?}: {own}");
    }
}
