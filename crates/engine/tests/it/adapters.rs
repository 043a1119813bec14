//! LoRA adapters: the output with an adapter equals that of the model with the adapter merged into its
//! weights, and other rows of the batch are not affected.
#![expect(clippy::cast_possible_truncation, reason = "small numbers, and weights of single precision")]

use std::sync::Arc;

use engine::Numbers;
use kernels::{Adapter, Architecture, KernelError, KvCache, KvDtype, Model, SequenceChunk, StepBatch};
use serde_json::{Value, json};
use weights::WeightsError;
use weights::adapters::{self, Limits};
use weights::synthetic::{Packing, SyntheticAdapter, SyntheticModel};

use crate::oracle::Oracle;
use crate::parity::{blocks, furthest, held, in_pieces, part, spread, text};
use crate::shapes;
use crate::training::loaded;

/// Maximum deviation from the merged model, relative to the spread of its logits.
const NEAR: f64 = 1e-4;
const ALL: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

fn open(made: &SyntheticAdapter, shape: &Architecture, kind: Numbers) -> Result<Arc<Adapter>, WeightsError> {
    let directory = tempfile::tempdir().unwrap();
    made.write(directory.path(), kind).unwrap();
    adapters::open(directory.path(), shape, &Limits::default()).map(Arc::new)
}

/// The model with an adapter merged into its weights, scaled by `scale` of each module's name and rank.
fn merged(
    made: &SyntheticModel,
    adapter: &SyntheticAdapter,
    scale: impl Fn(&str, usize) -> f64,
) -> SyntheticModel {
    let mut merged = made.clone();
    for (name, (shape, down)) in adapter.tensors.iter().filter(|(name, _)| name.contains(".lora_A.")) {
        let up = &adapter.tensors[&name.replace(".lora_A.", ".lora_B.")].1;
        let name = name.strip_prefix("base_model.model.").unwrap().replace(".lora_A.", ".");
        let (rank, inputs) = (shape[0], shape[1]);
        let scale = scale(&name, rank);
        let weights = &mut merged.tensors.get_mut(&name).unwrap().1;
        for (output, row) in weights.chunks_mut(inputs).enumerate() {
            for (input, weight) in row.iter_mut().enumerate() {
                let each = (0..rank)
                    .map(|step| f64::from(up[output * rank + step]) * f64::from(down[step * inputs + input]));
                *weight = (f64::from(*weight) + scale * each.sum::<f64>()) as f32;
            }
        }
    }
    merged
}

fn with(adapter: &Arc<Adapter>, part: SequenceChunk) -> SequenceChunk {
    SequenceChunk { adapter: Some(Arc::clone(adapter)), ..part }
}

/// The logits of all tokens of a text with an adapter, in one step.
fn logits_with(model: &Model, adapter: &Arc<Adapter>, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut pool = KvCache::new(model.shape(), KvDtype::F32, 32);
    let step = StepBatch { chunks: vec![with(adapter, part(tokens, 0, &blocks(3, tokens.len())))] };
    let logits = model.step(&step, &mut pool).unwrap();
    logits.chunks(model.shape().vocabulary).map(<[f32]>::to_vec).collect()
}

fn same_as_merged(
    family: &str,
    shape: Architecture,
    adapter: &SyntheticAdapter,
    kind: Numbers,
    scale: impl Fn(&str, usize) -> f64,
) {
    let held = held(family, shape);
    let tokens = text(70, 1);
    let rounded = adapter.rounded(kind).unwrap();
    let wanted = Oracle { made: &merged(&held.made, &rounded, scale) }.all(&tokens);
    let without = Oracle { made: &held.made }.all(&tokens);
    let logits = logits_with(&held.model, &open(adapter, held.model.shape(), kind).unwrap(), &tokens);
    let (far, spread) = (furthest(&logits, &wanted), spread(&wanted));
    assert!(far <= NEAR * spread, "{far} of {spread}");
    assert!(furthest(&logits, &without) > 0.1 * spread, "the adapter says nothing of its own");
}

#[test]
fn it_says_what_the_merged_model_says() {
    let all = SyntheticAdapter::new(&shapes::dense(), &ALL, 8, 3);
    for kind in [Numbers::F32, Numbers::F16, Numbers::BF16] {
        same_as_merged("qwen3", shapes::dense(), &all, kind, |_, rank| 16.0 / rank as f64);
    }
    same_as_merged("llama", shapes::llama(), &all, Numbers::F32, |_, rank| 16.0 / rank as f64);
    for targets in [&["q_proj", "v_proj"][..], &["o_proj"], &["down_proj", "k_proj"], &["mlp.up_proj"]] {
        let some = SyntheticAdapter::new(&shapes::dense(), targets, 5, 3);
        same_as_merged("qwen3", shapes::dense(), &some, Numbers::F32, |_, rank| 16.0 / rank as f64);
    }
    // Experts can't have adapters, but attention can.
    let around = SyntheticAdapter::new(&shapes::mixture(), &ALL[..4], 8, 3);
    same_as_merged("qwen3_moe", shapes::mixture(), &around, Numbers::F32, |_, rank| 16.0 / rank as f64);
}

#[test]
fn a_stabilised_rank_is_scaled_by_its_root() {
    let mut stabilised = SyntheticAdapter::new(&shapes::dense(), &ALL, 16, 3);
    stabilised.config["use_rslora"] = json!(true);
    stabilised.config["lora_alpha"] = json!(2.5);
    same_as_merged("qwen3", shapes::dense(), &stabilised, Numbers::F32, |_, rank| 2.5 / (rank as f64).sqrt());
}

#[test]
fn patterns_and_layers_are_honoured() {
    let rank = |name: &str| match name {
        _ if name.contains("layers.2.") => None,
        _ if name.contains("layers.1.mlp") => Some(3),
        _ if name.ends_with("v_proj") => Some(12),
        _ => Some(6),
    };
    let mut adapter = SyntheticAdapter::of(&shapes::dense(), 3, rank);
    adapter.config["target_modules"] = json!(ALL);
    adapter.config["r"] = json!(6);
    adapter.config["layers_to_transform"] = json!([0, 1]);
    // The first pattern that matches a name applies.
    adapter.config["rank_pattern"] =
        json!({r"layers\.1\.mlp\..*": 3, "v_proj": 12, "layers.0.self_attn.v_proj": 1});
    adapter.config["alpha_pattern"] = json!({"(k|v)_proj": 30, "model.layers.0.mlp.up_proj": 4.5});
    let alpha = |name: &str| match name {
        _ if name.contains("k_proj") || name.contains("v_proj") => 30.0,
        "model.layers.0.mlp.up_proj.weight" => 4.5,
        _ => 16.0,
    };
    let scale = |name: &str, rank: usize| alpha(name) / rank as f64;
    same_as_merged("qwen3", shapes::dense(), &adapter, Numbers::F32, scale);
    // A full module name applies whatever `layers_to_transform` says.
    let mut named = adapter.clone();
    let whole = "model.layers.2.mlp.up_proj";
    let one = SyntheticAdapter::of(&shapes::dense(), 4, |name| (name == whole).then_some(6));
    named.tensors.extend(one.tensors);
    named.config["target_modules"] = json!([&ALL[..], &[whole]].concat());
    same_as_merged("qwen3", shapes::dense(), &named, Numbers::F32, scale);
    // The same targets as an expression.
    adapter.config["target_modules"] = json!(r"model\.layers\.[01]\..*_proj");
    adapter.config["layers_to_transform"] = json!(null);
    same_as_merged("qwen3", shapes::dense(), &adapter, Numbers::F32, scale);
    adapter.config["target_modules"] = json!("all-linear");
    adapter.config["exclude_modules"] = json!(r".*layers\.2\..*");
    same_as_merged("qwen3", shapes::dense(), &adapter, Numbers::F32, scale);
}

#[test]
fn a_packed_model_takes_the_same_adapter() {
    let all = SyntheticAdapter::new(&shapes::dense(), &ALL, 8, 3);
    for (family, shape) in [
        ("qwen3", shapes::dense()),
        // Its query and key rows are permuted in GGUF files.
        ("llama", Architecture { rope: shapes::dense().rope, ..shapes::llama() }),
    ] {
        let plain = held(family, shape);
        let packed = loaded(&plain.made, Some(Packing::F32));
        let tokens = text(40, 1);
        let [one, other] = [&plain.model, &packed].map(|model| {
            logits_with(model, &open(&all, model.shape(), Numbers::F32).unwrap(), &tokens).concat()
        });
        let far = one.iter().zip(&other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        assert!(far <= 1e-4, "{family}: {far}");
    }
}

#[test]
fn nobody_beside_an_adapter_hears_of_it() {
    let held = held("qwen3", shapes::dense());
    let shape = held.model.shape();
    let adapters: Vec<Arc<Adapter>> = (0..3)
        .map(|seed| {
            let made = SyntheticAdapter::new(shape, &ALL[..4 + seed as usize], 4 + 5 * seed as usize, seed);
            open(&made, shape, Numbers::F32).unwrap()
        })
        .collect();
    let lengths = [5, 40, 1, 17, 64, 33, 2, 16];
    let whose = [None, Some(0), Some(1), None, Some(0), Some(2), Some(1), None];
    let one = |of: usize, blocks: &[u32]| {
        let part = part(&text(lengths[of], of as u32), 0, blocks);
        whose[of].map_or(part.clone(), |which: usize| with(&adapters[which], part))
    };
    let parts = (0..lengths.len()).map(|of| one(of, &blocks(of as u32 * 8, lengths[of])));
    let mut pool = KvCache::new(shape, KvDtype::F16, 64);
    let all = held.model.step(&StepBatch { chunks: parts.collect() }, &mut pool).unwrap();
    let mut beside = all.chunks(shape.vocabulary);
    for of in 0..lengths.len() {
        let mut pool = KvCache::new(shape, KvDtype::F16, 64);
        let alone = StepBatch { chunks: vec![one(of, &blocks(3, lengths[of]))] };
        for alone in held.model.step(&alone, &mut pool).unwrap().chunks(shape.vocabulary) {
            assert_eq!(beside.next().unwrap(), alone, "text {of}");
        }
        // A row without an adapter gets the base model's output, bit by bit.
        if whose[of].is_none() {
            let tokens = text(lengths[of], of as u32);
            let own = in_pieces(&held.model, &mut pool, &tokens, &[lengths[of]]);
            assert_eq!(own.concat(), held.model.step(&alone_of(&tokens), &mut pool).unwrap());
        }
    }
    assert!(beside.next().is_none());
}

fn alone_of(tokens: &[u32]) -> StepBatch {
    StepBatch { chunks: vec![part(tokens, 0, &blocks(3, tokens.len()))] }
}

#[test]
fn an_adapter_of_another_model_is_not_computed_with() {
    let held = held("qwen3", shapes::dense());
    let other = Architecture { hidden: 96, ..shapes::dense() };
    let adapter = open(&SyntheticAdapter::new(&other, &ALL, 4, 1), &other, Numbers::F32).unwrap();
    let mut pool = KvCache::new(held.model.shape(), KvDtype::F16, 8);
    let step = StepBatch { chunks: vec![with(&adapter, part(&text(5, 1), 0, &blocks(3, 5)))] };
    assert!(matches!(held.model.step(&step, &mut pool), Err(KernelError::Step(_))));
}

/// The file and the field that an adapter is refused for.
fn refused_by(made: &SyntheticAdapter, shape: &Architecture) -> (String, String) {
    match open(made, shape, Numbers::F32) {
        Err(WeightsError::Adapter { path, field, .. }) => {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), field)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_its_description_says_is_refused_by_the_field_that_says_it() {
    let made = SyntheticAdapter::new(&shapes::dense(), &ALL, 4, 1);
    let check = |field: &str, value: Value| {
        let mut wrong = made.clone();
        wrong.config[field] = value.clone();
        let wanted = ("adapter_config.json".to_owned(), field.to_owned());
        assert_eq!(refused_by(&wrong, &shapes::dense()), wanted, "{value}");
    };
    let endless = r"(?=.)((?:\w|\.)+)+\1!";
    // Among the targets are expressions that match nothing, are invalid, or backtrack without end.
    let wrong = json!({
        "bias": ["all", "lora_only", true], "peft_type": ["LOHA", "IA3", null, 3], "task_type": ["SEQ_CLS"],
        "modules_to_save": [["lm_head"]], "use_dora": [true], "fan_in_fan_out": [true], "use_rslora": ["yes"],
        "init_lora_weights": ["pissa_niter_4"], "layer_replication": [[[0, 2], [1, 3]]],
        "layers_pattern": ["blocks"],
        "target_modules": [["q_proj", "lm_head"], ["proj"], [7], null, 7, "v_proj", "(q_proj", endless],
        "rank_pattern": [[4], {"(q_proj": 4}], "alpha_pattern": [{"q_proj": 1e300}],
        "lora_alpha": [1e300, "16"], "layers_to_transform": ["all"], "exclude_modules": ["(q"],
        "use_qalora": [true], "something_new": [1], "alora_invocation_tokens": [[1]], "target_parameters": [[1]],
        "trainable_token_indices": [[1]],
    });
    for (field, values) in wrong.as_object().unwrap() {
        values.as_array().unwrap().iter().for_each(|value| check(field, value.clone()));
    }
    for value in [json!(0), json!(257), json!(-4), json!(4.5), json!("4"), json!(1e300)] {
        check("r", value.clone());
        check("rank_pattern", json!({"q_proj": value}));
    }
    let many: serde_json::Map<_, _> = (0..65).map(|key| (format!("(q|k{key})_proj"), json!(4))).collect();
    check("rank_pattern", Value::Object(many));
    let mut silent = made.clone();
    silent.config["something_new"] = json!(false);
    silent.config["runtime_config"] = json!({"ephemeral": true});
    assert!(open(&silent, &shapes::dense(), Numbers::F32).is_ok());
}

#[test]
fn its_tensors_are_refused_by_their_names() {
    let made = SyntheticAdapter::new(&shapes::dense(), &ALL, 4, 1);
    let name = |rest: &str| format!("base_model.model.{rest}.weight");
    let check = |wrong: &SyntheticAdapter, shape: &Architecture, rest: &str| {
        let wanted = ("adapter_model.safetensors".to_owned(), name(rest));
        assert_eq!(refused_by(wrong, shape), wanted);
    };
    let (down, up) = ("model.layers.1.mlp.up_proj.lora_A", "model.layers.1.self_attn.k_proj.lora_B");
    for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for rest in [down, up] {
            let mut wrong = made.clone();
            wrong.tensors.get_mut(&name(rest)).unwrap().1[7] = number;
            check(&wrong, &shapes::dense(), rest);
            for kind in [Numbers::F16, Numbers::BF16] {
                assert!(matches!(open(&wrong, &shapes::dense(), kind), Err(WeightsError::Adapter { .. })));
            }
        }
    }
    for rest in [down, up] {
        let mut wrong = made.clone();
        wrong.tensors.remove(&name(rest));
        check(&wrong, &shapes::dense(), rest);
    }
    let mut wrong = made.clone();
    wrong.config["rank_pattern"] = json!({"layers.2.self_attn.q_proj": 5});
    check(&wrong, &shapes::dense(), "model.layers.2.self_attn.q_proj.lora_A");
    check(&made, &Architecture { hidden: 96, ..shapes::dense() }, "model.layers.0.self_attn.q_proj.lora_A");
    check(&made, &Architecture { inner: 96, ..shapes::dense() }, "model.layers.0.mlp.gate_proj.lora_B");
    check(&made, &Architecture { layers: 4, ..shapes::dense() }, "model.layers.3.self_attn.q_proj.lora_A");
    for rest in [
        "lm_head.lora_A",
        "model.layers.3.self_attn.q_proj.lora_A",
        "model.layers.0.self_attn.q_proj.lora_magnitude_vector",
        "model.layers.0.mlp.experts.0.up_proj.lora_A",
    ] {
        let mut wrong = made.clone();
        wrong.tensors.insert(name(rest), (vec![2, 2], vec![0.0; 4]));
        check(&wrong, &shapes::dense(), rest);
    }
}

#[test]
fn files_that_are_none_of_an_adapters_are_refused_by_their_names() {
    let made = SyntheticAdapter::new(&shapes::dense(), &ALL, 4, 1);
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let open = || adapters::open(directory.path(), &shapes::dense(), &Limits::default());
    let names = |wanted: &str| match open() {
        Err(error) => assert!(error.to_string().contains(wanted), "{error}"),
        Ok(_) => panic!("{wanted} is taken"),
    };
    names("adapter_config.json");
    made.write(directory.path(), Numbers::F32).unwrap();
    assert!(open().is_ok());
    let whole = std::fs::read(at("adapter_model.safetensors")).unwrap();
    // Truncated files, and impossible lengths.
    for length in [0, 4, 8, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(at("adapter_model.safetensors"), &whole[..length]).unwrap();
        names("adapter_model.safetensors");
    }
    for length in [u64::MAX, u64::MAX - 8, 1 << 40, whole.len() as u64] {
        let bytes = [&length.to_le_bytes(), &whole[8..]].concat();
        std::fs::write(at("adapter_model.safetensors"), bytes).unwrap();
        names("adapter_model.safetensors");
    }
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    for (kind, shape, offsets) in [
        ("F32", json!([4, 64]), json!([0, u64::MAX])),
        ("F32", json!([4, 64]), json!([1024, 0])),
        ("F32", json!([4, u64::MAX]), json!([0, 1024])),
        ("F32", json!([-4, 64]), json!([0, 1024])),
        ("F64", json!([4, 32]), json!([0, 1024])),
        ("I8", json!([4, 64]), json!([0, 256])),
    ] {
        let head = json!({name: {"dtype": kind, "shape": shape, "data_offsets": offsets}}).to_string();
        let bytes = [&(head.len() as u64).to_le_bytes(), head.as_bytes(), &[0; 1024]].concat();
        std::fs::write(at("adapter_model.safetensors"), bytes).unwrap();
        names(name);
    }
    std::fs::remove_file(at("adapter_model.safetensors")).unwrap();
    std::fs::create_dir(at("adapter_model.safetensors")).unwrap();
    names("it isn't a file");
    std::fs::remove_dir(at("adapter_model.safetensors")).unwrap();
    names("adapter_model.safetensors");
    std::fs::write(at("adapter_model.bin"), b"\x80\x02.").unwrap();
    names("adapter_model.bin");
    std::fs::write(at("adapter_model.safetensors"), &whole).unwrap();
    for config in ["", "[]", "{", "{\"r\": NaN}"] {
        std::fs::write(at("adapter_config.json"), config).unwrap();
        names("adapter_config.json");
    }
    std::fs::write(at("adapter_config.json"), vec![b' '; 2 << 20]).unwrap();
    names("adapter_config.json");
}

#[test]
fn one_that_is_larger_than_all_may_be_is_not_read() {
    let made = SyntheticAdapter::new(&shapes::dense(), &ALL, 4, 1);
    let directory = tempfile::tempdir().unwrap();
    made.write(directory.path(), Numbers::F32).unwrap();
    let bytes = made.tensors.values().map(|(_, numbers)| 4 * numbers.len() as u64).sum();
    let open = |resident_bytes, rank| {
        let limits = Limits { resident_bytes, rank, ..Limits::default() };
        adapters::open(directory.path(), &shapes::dense(), &limits)
    };
    assert_eq!(open(bytes, 4).map(|adapter| (adapter.bytes(), adapter.rank())).unwrap(), (bytes, 4));
    let Err(WeightsError::AdapterLimit { wanted, most, .. }) = open(bytes - 1, 4) else {
        panic!("it is read")
    };
    assert_eq!((wanted, most), (bytes, bytes - 1));
    assert!(matches!(open(bytes, 3), Err(WeightsError::Adapter { field, .. }) if field == "r"));
}
