//! The tensor backend gives the same output as the CPU kernels: in one step, in several, in batches, with
//! adapters, and for whole generations through a host. The device is the CPU; code for accelerators only is
//! not run here.

use std::sync::Arc;

use domain::prompt::Json;
use domain::runtime::RawPrompt;
use engine::{
    Backend, CacheScope, DeviceModel, EngineError, Host, Numbers, Processor, Request, Sampling, Scheduler,
    SchedulerLimits, SequenceEvent,
};
use kernels::{
    Adapter, Architecture, BLOCK, KernelError, KvCache, KvDtype, RopeScaling, SequenceChunk, StepBatch,
};
use weights::Source;
use weights::adapters::{self, Limits};
use weights::synthetic::{Packing, SyntheticAdapter, SyntheticModel};

use crate::local;
use crate::oracle::Oracle;
use crate::parity::{apart, blocks, exact, furthest, part, spread, text};
use crate::running::{self, LIMITS, run_out};
use crate::shapes;
use crate::training::source;

/// Maximum deviation between the backends, relative to the spread of the logits.
const NEAR: f64 = 1e-4;
/// The same with a KV cache in half precision, where a number may be rounded the other way.
const HALF: f64 = 5e-3;

/// A model in both backends.
struct Both {
    made: SyntheticModel,
    own: Backend,
    tensors: Backend,
}

fn both_of(source: &Source, made: SyntheticModel) -> Both {
    let load = |processor| Backend::load(source, processor).unwrap();
    Both { made, own: load(Processor::Own), tensors: load(Processor::Tensors) }
}

fn both(family: &str, shape: Architecture) -> Both {
    written(family, shape, None)
}

fn packed(family: &str, shape: Architecture, kind: Packing) -> Both {
    written(family, shape, Some(kind))
}

fn written(family: &str, shape: Architecture, packing: Option<Packing>) -> Both {
    let made = SyntheticModel::new(family, shape, 7);
    let (_directory, source) = source(&made, packing);
    both_of(&source, made)
}

/// The logits of all tokens of a text that is computed in pieces of these lengths.
fn in_pieces(machine: &Backend, keeps: KvDtype, tokens: &[u32], lengths: &[usize]) -> Vec<Vec<f32>> {
    let mut memory = machine.allocate_cache(keeps, tokens.len().div_ceil(BLOCK) + 4).unwrap();
    let blocks = blocks(3, tokens.len());
    let (mut logits, mut at) = (Vec::new(), 0);
    for length in lengths.iter().cycle() {
        if at == tokens.len() {
            break;
        }
        let end = (at + length).min(tokens.len());
        let step = StepBatch { chunks: vec![part(&tokens[at..end], at, &blocks)] };
        let numbers = machine.step(&step, &mut memory).unwrap();
        logits.extend(numbers.chunks(machine.shape().vocabulary).map(<[f32]>::to_vec));
        at = end;
    }
    logits
}

fn check(both: &Both, length: usize, keeps: KvDtype, bound: f64) {
    let tokens = text(length, 1);
    let own = exact(&in_pieces(&both.own, keeps, &tokens, &[length]));
    let logits = in_pieces(&both.tensors, keeps, &tokens, &[length]);
    let (far, spread) = (furthest(&logits, &own), spread(&own));
    assert!(far <= bound * spread, "{far} of {spread} at {length} tokens of {:?}", both.made.shape);
}

#[test]
fn every_family_says_by_tensors_what_it_says() {
    let mut ramp = shapes::stretched().rope.stretch;
    if let RopeScaling::Ramp { original, .. } = &mut ramp {
        *original = 256.0;
    }
    let ramp = kernels::Rope { stretch: ramp, ..shapes::dense().rope };
    for (family, shape) in [
        ("qwen3", shapes::dense()),
        ("qwen3", Architecture { is_tied: false, heads: 6, kv_heads: 1, ..shapes::dense() }),
        ("qwen3", Architecture { rope: ramp, ..shapes::dense() }),
        ("qwen3_moe", shapes::mixture()),
        ("qwen3_moe", Architecture { mixture: some_dense(), ..shapes::mixture() }),
        ("llama", shapes::llama()),
    ] {
        let both = both(family, shape);
        check(&both, 32, KvDtype::F32, NEAR);
        check(&both, 300, KvDtype::F32, NEAR);
        check(&both, 300, KvDtype::F16, HALF);
    }
}

fn some_dense() -> Option<kernels::Mixture> {
    shapes::mixture().mixture.map(|mixture| kernels::Mixture {
        dense_layers: vec![1],
        is_normed: false,
        ..mixture
    })
}

#[test]
fn halves_of_a_file_are_the_same_numbers() {
    for kind in [Numbers::F16, Numbers::BF16] {
        let made = SyntheticModel::new("qwen3", shapes::dense(), 7);
        let directory = tempfile::tempdir().unwrap();
        made.write_plain(directory.path(), false).unwrap();
        let path = directory.path().join("model.safetensors");
        let tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
        let halved = tensors.into_iter().map(|(name, tensor)| (name, tensor.to_dtype(kind).unwrap()));
        candle_core::safetensors::save(&halved.collect(), &path).unwrap();
        check(&both_of(&Source::open(directory.path()).unwrap(), made), 100, KvDtype::F32, NEAR);
    }
}

#[test]
fn a_packed_file_says_by_tensors_what_it_says() {
    for (family, shape) in [
        ("qwen3", shapes::dense()),
        ("qwen3_moe", shapes::mixture()),
        // In GGUF files its RoPE pairs are neighbours.
        ("llama", Architecture { rope: shapes::dense().rope, ..shapes::llama() }),
    ] {
        for kind in [Packing::F32, Packing::F16, Packing::BF16] {
            check(&packed(family, shape.clone(), kind), 60, KvDtype::F32, NEAR);
        }
    }
}

#[test]
fn stacked_experts_of_plain_files_are_the_experts_by_tensors() {
    let made = SyntheticModel::new("qwen3_moe", shapes::mixture(), 7);
    let load = |made: &SyntheticModel| Backend::load(&source(made, None).1, Processor::Tensors);
    let tokens = text(60, 1);
    let logits = |made: &SyntheticModel| in_pieces(&load(made).unwrap(), KvDtype::F32, &tokens, &[60]);
    assert!(logits(&made) == logits(&made.stacked()));
    let mut turned = made.stacked();
    let (shape, _) = turned.tensors.get_mut("model.layers.1.mlp.experts.down_proj").unwrap();
    *shape = vec![4, 64, 128];
    let error = load(&turned).unwrap_err().to_string();
    assert!(error.contains("experts.down_proj"), "{error}");
}

#[test]
fn a_rounded_model_says_by_tensors_what_its_rounded_weights_say() {
    let tokens = text(48, 1);
    let made = SyntheticModel::new("qwen3", shapes::wide(), 7);
    let exact_ones = Oracle { made: &made }.all(&tokens);
    // The CPU kernels also quantise the activations to eight bits, which changes the output as much as 8-bit
    // weights would.
    let eight = Oracle { made: &made.rounded(Packing::Q8_0).unwrap() }.all(&tokens);
    let bound = 2.0 * apart(&eight, &exact_ones);
    for kind in [Packing::Q8_0, Packing::Q6K, Packing::Q4K, Packing::Q5K, Packing::Q4_0] {
        let both = packed("qwen3", shapes::wide(), kind);
        let wanted = Oracle { made: &made.rounded(kind).unwrap() }.all(&tokens);
        let far = apart(&exact(&in_pieces(&both.tensors, KvDtype::F32, &tokens, &[48])), &wanted);
        assert!(far <= bound, "{kind:?}: {far} of {bound}");
    }
}

#[test]
fn a_text_in_pieces_is_the_text_by_tensors() {
    for (family, shape) in [("qwen3", shapes::dense()), ("qwen3_moe", shapes::mixture())] {
        let both = both(family, shape);
        let tokens = text(150, 2);
        let whole = exact(&in_pieces(&both.tensors, KvDtype::F32, &tokens, &[150]));
        // Prompts in pieces, single tokens, and a prompt after single tokens: a second turn.
        for lengths in [&[1][..], &[7], &[16], &[17], &[23, 1, 1, 40], &[64, 1, 1, 1]] {
            let pieces = in_pieces(&both.tensors, KvDtype::F32, &tokens, lengths);
            let far = furthest(&pieces, &whole);
            assert!(far <= NEAR * spread(&whole), "{far} {lengths:?}");
        }
    }
}

fn adapters(shape: &Architecture) -> Vec<Arc<Adapter>> {
    const ALL: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let targets = [&ALL[..4], &ALL[..], &ALL[1..3]];
    let kinds = [Numbers::F32, Numbers::BF16, Numbers::F16];
    let open = |((targets, kind), seed): ((&[&str], Numbers), u64)| {
        // Experts can't have adapters.
        let around = &targets[..targets.len().min(if shape.mixture.is_some() { 4 } else { 7 })];
        let directory = tempfile::tempdir().unwrap();
        let made = SyntheticAdapter::new(shape, around, 3 + 5 * seed as usize, seed);
        made.write(directory.path(), kind).unwrap();
        Arc::new(adapters::open(directory.path(), shape, &Limits::default()).unwrap())
    };
    targets.into_iter().zip(kinds).zip(0..).map(open).collect()
}

#[test]
fn many_texts_with_adapters_say_by_tensors_what_they_say() {
    let families = [("qwen3", shapes::dense()), ("qwen3_moe", shapes::mixture()), ("llama", shapes::llama())];
    for (family, shape) in families {
        let both = both(family, shape);
        let adapters = adapters(&both.made.shape);
        let lengths = [1, 1, 5, 40, 1, 17, 17, 64, 33, 2, 16];
        let whose = [None, Some(0), Some(1), None, Some(0), Some(2), Some(1), None, Some(1), Some(0), None];
        for whose in [whose.to_vec(), vec![Some(1); 11], vec![None; 11]] {
            let one = |of: usize| {
                let adapter = whose[of].map(|which: usize| Arc::clone(&adapters[which]));
                let (tokens, blocks) = (text(lengths[of], of as u32), blocks(of as u32 * 5, lengths[of]));
                SequenceChunk { adapter, ..part(&tokens, 0, &blocks) }
            };
            let batch = StepBatch { chunks: (0..lengths.len()).map(one).collect() };
            let [own, tensors] = [&both.own, &both.tensors].map(|machine| {
                let mut memory = machine.allocate_cache(KvDtype::F32, 64).unwrap();
                // Twice: by the second step the adapters are on the device, and the KV cache is overwritten
                // with the same values.
                let first = machine.step(&batch, &mut memory).unwrap();
                assert_eq!(first, machine.step(&batch, &mut memory).unwrap());
                [first]
            });
            let own = exact(&own);
            let (far, spread) = (furthest(&tensors, &own), spread(&own));
            assert!(far <= NEAR * spread, "{family}: {far} of {spread}");
        }
    }
}

#[test]
fn only_what_is_to_be_told_is_told_by_tensors() {
    let both = both("qwen3", shapes::dense());
    let tokens = text(20, 1);
    let whole = exact(&in_pieces(&both.tensors, KvDtype::F32, &tokens, &[20]));
    let mut memory = both.tensors.allocate_cache(KvDtype::F32, 8).unwrap();
    let mut step = |output_from| {
        let part = SequenceChunk { output_from, ..part(&tokens, 0, &blocks(3, 20)) };
        both.tensors.step(&StepBatch { chunks: vec![part] }, &mut memory).unwrap()
    };
    assert!(furthest(&[step(19)], &whole[19..]) <= NEAR);
    assert!(step(20).is_empty());
    assert!(both.tensors.step(&StepBatch::default(), &mut memory).unwrap().is_empty());
}

#[test]
fn what_is_not_there_is_refused_by_tensors() {
    let both = both("qwen3", shapes::dense());
    let machine = &both.tensors;
    let mut memory = machine.allocate_cache(KvDtype::F16, 4).unwrap();
    let mut refused = |part: SequenceChunk| {
        let refused = machine.step(&StepBatch { chunks: vec![part] }, &mut memory);
        assert!(matches!(refused, Err(EngineError::Kernel(KernelError::Step(_)))), "{refused:?}");
    };
    refused(part(&[512], 0, &[0]));
    refused(part(&[1], 16, &[0]));
    refused(part(&[1], 0, &[4]));
    refused(part(&[1], 16_384, &[0; 1025]));
    let mut other = both.own.allocate_cache(KvDtype::F16, 4).unwrap();
    let step = StepBatch { chunks: vec![part(&[1], 0, &[0])] };
    assert!(matches!(machine.step(&step, &mut other), Err(EngineError::Kernel(KernelError::Step(_)))));
    let refused = machine.allocate_cache(KvDtype::Q8, 4).unwrap_err().to_string();
    assert!(refused.contains("\"cpu-tensors\"") && refused.contains("q8"), "{refused}");
}

fn request(length: u32, of: u32, max_tokens: usize) -> Request {
    Request {
        prompt: (0..length).map(|index| (index * 37 + of * 101) % 400).collect(),
        sampling: Sampling { temperature: 0.0, seed: u64::from(of), ..Sampling::default() },
        ..running::request(0, of, max_tokens)
    }
}

fn limits(shape: &Architecture, blocks: usize) -> SchedulerLimits {
    let bytes = blocks * KvCache::block_bytes(shape, KvDtype::F32);
    SchedulerLimits { bytes, kv_dtype: KvDtype::F32, draft_tokens: 4, ..LIMITS }
}

#[test]
fn whole_texts_are_the_same_by_tensors() {
    let both = both("qwen3", shapes::dense());
    let lengths = [5, 100, 1, 17, 64, 33, 200, 16].into_iter().zip(1..);
    let requests: Vec<Request> = lengths.map(|(length, of)| request(length, of, 40)).collect();
    // With enough memory for all, and with so little that sequences are preempted.
    for blocks in [128, 24] {
        let [own, tensors] = [&both.own, &both.tensors].map(|machine| {
            let host = Host::start(machine.clone(), limits(machine.shape(), blocks)).unwrap();
            let receivers: Vec<_> = requests.iter().map(|request| host.generate(request.clone())).collect();
            let outputs = receivers.into_iter().map(|mut receiver| {
                let mut tokens = Vec::new();
                while let Some(event) = receiver.blocking_recv() {
                    match event {
                        SequenceEvent::Token(drawn) => tokens.push(drawn.token),
                        SequenceEvent::Refused(refused) => panic!("{refused:?}"),
                        _ => {}
                    }
                }
                tokens
            });
            outputs.collect::<Vec<_>>()
        });
        assert!(own.iter().all(|tokens| tokens.len() == 40));
        assert_eq!(own, tensors, "with {blocks} blocks");
    }
}

#[test]
fn what_is_forgotten_by_tensors_is_computed_anew() {
    let both = both("qwen3", shapes::dense());
    let mut runner = Scheduler::new(both.tensors.clone(), limits(both.tensors.shape(), 32)).unwrap();
    let rows = |runner: &mut Scheduler| {
        runner.submit(request(100, 1, 4)).unwrap();
        let before = runner.counts().rows;
        run_out(runner);
        runner.counts().rows - before
    };
    for expected in [103, 7] {
        assert_eq!((rows(&mut runner), runner.forget(CacheScope(2)).wiped), (expected, 0));
    }
    assert_eq!(runner.forget(CacheScope(1)).cached_blocks, 6);
    assert_eq!(rows(&mut runner), 103);
}

#[test]
fn a_model_answers_by_tensors_as_it_answers() {
    let [own, tensors] = [Processor::Own, Processor::Tensors].map(|processor| local::open_on(10, processor));
    for words in ["high tide ", "the harbour "] {
        let mut chat = local::chat_request("", 24);
        chat.raw_prompt = Some(RawPrompt::Text(words.repeat(20)));
        chat.parameters.ignore_eos = true;
        chat.prompt.sampling.temperature = Some(Json("0".to_owned()));
        let answers = [&own, &tensors].map(|local| local::run(local, chat.clone()).unwrap());
        assert!(answers[0].is_done && !answers[0].texts[0].is_empty(), "{answers:?}");
        assert_eq!(answers[0].texts, answers[1].texts);
    }
}

#[test]
fn a_model_can_be_drawn_where_it_is_computed() {
    let model = DeviceModel::drawn(shapes::dense(), Numbers::BF16, Processor::Tensors).unwrap();
    let mut pool = model.pool(KvDtype::F16, 4).unwrap();
    let step = StepBatch { chunks: vec![part(&text(20, 1), 0, &blocks(0, 20))] };
    let logits = model.step(&step, &mut pool).unwrap();
    assert_eq!(logits.len(), 20 * model.shape().vocabulary);
    assert!(logits.iter().all(|score| score.is_finite()) && spread(&exact(&[logits])) > 0.0);
    let shape = model.shape();
    let layer = shape.hidden * (2 * shape.query_width() + 2 * shape.kv_width() + 3 * shape.inner);
    assert_eq!(model.read_bytes(), 4 * (shape.layers * layer + shape.hidden * shape.vocabulary) as u64);
}
