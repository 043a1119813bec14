//! Fuzzes the files of models, adapters and training data, which anybody may publish: whatever they contain,
//! they are rejected with an error or give a model that generates.

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use bolero::check;
use engine::{
    AdapterId, CacheScope, ConstraintCompiler, ConstraintSpec, Group, Numbers, RegisterOptions, Request,
    Sampling, Scheduler, SchedulerLimits, Thinking,
};
use kernels::{KvCache, KvDtype};
use prompts::{Template, Vocabulary};
use tempfile::TempDir;
use training::DatasetReader;
use weights::synthetic::{Packing, SyntheticAdapter, SyntheticModel, TEMPLATE};
use weights::{ModelAssets, Source, load_model};

use crate::material::{Bends, bent, bent_bytes};

/// Fewer than usual, because each iteration reads or runs a model.
const ITERATIONS: usize = 300;
/// Above this context length, a model that the parser accepts is not run: it may need more memory than this
/// machine has.
const CONTEXT_MAX: usize = 1 << 16;

/// A valid model, in both file formats.
struct Good {
    directory: TempDir,
    packed: Vec<u8>,
}

impl Good {
    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.path().join(name)).expect("written")
    }

    /// A copy of its safetensors directory with one file replaced.
    fn with(&self, changed: &str, bytes: &[u8]) -> TempDir {
        let copy = tempfile::tempdir().expect("room");
        for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
            let path = copy.path().join(name);
            let written = if name == changed {
                std::fs::write(path, bytes)
            } else {
                std::fs::write(path, self.file(name))
            };
            written.expect("room");
        }
        copy
    }
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("room");
    let made = SyntheticModel::smallest(1);
    made.write_plain(directory.path(), false).expect("room");
    let path = directory.path().join("model.gguf");
    made.write_packed(&path, Packing::Q8_0).expect("room");
    let packed = std::fs::read(path).expect("written");
    Good { directory, packed }
});

// Statics, because these types are not `UnwindSafe` (a panic ends the test anyway).
static BESIDE: LazyLock<ModelAssets> =
    LazyLock::new(|| Source::open(GOOD.directory.path()).and_then(|source| source.assets()).expect("good"));
static RULES: LazyLock<ConstraintCompiler> = LazyLock::new(|| {
    let path = GOOD.directory.path().join("tokenizer.json");
    ConstraintCompiler::new(Arc::new(Vocabulary::open(&path).expect("good"))).expect("good")
});

/// Loads a model and generates with it, if it is valid; returns whether it was.
fn answers(path: &Path) -> bool {
    let Ok(source) = Source::open(path) else { return false };
    let beside = source.assets();
    let Ok(model) = load_model(&source) else { return false };
    if model.shape().context > CONTEXT_MAX {
        return false;
    }
    let bytes = 8 * KvCache::block_bytes(model.shape(), KvDtype::F16);
    let limits = SchedulerLimits {
        bytes,
        kv_dtype: KvDtype::F16,
        step_tokens: 8,
        sequences: 1,
        waiting: 1,
        draft_tokens: 0,
    };
    let Ok(mut runner) = Scheduler::new(Arc::new(model), limits) else { return false };
    let request = Request {
        prompt: vec![1, 2, 3],
        sampling: Sampling::default(),
        max_tokens: 2,
        stop_tokens: Vec::new(),
        constraint: None,
        cache_scope: CacheScope(1),
        group: Group(1),
        adapter: None,
        adapter_switches: Vec::new(),
    };
    if runner.submit(request).is_err() {
        return false;
    }
    while !runner.is_idle() {
        if runner.step().is_err() {
            return false;
        }
    }
    beside.is_ok()
}

#[test]
fn fuzz_model_files_are_good_unbent() {
    let path = GOOD.directory.path();
    assert!(answers(path), "{:?}", Source::open(path).and_then(|source| load_model(&source).map(drop)));
    assert!(answers(&path.join("model.gguf")));
}

#[test]
fn fuzz_packed_models() {
    let directory = tempfile::tempdir().expect("room");
    let path = directory.path().join("model.gguf");
    check!().with_iterations(ITERATIONS).with_type::<(bool, Bends)>().for_each(|(is_head, bends)| {
        // Most of a file is weights; what can go wrong precedes them.
        let (head, rest) = GOOD.packed.split_at(GOOD.packed.len().min(4_096));
        let bytes = if *is_head {
            [bent_bytes(head.to_vec(), bends), rest.to_vec()].concat()
        } else {
            bent_bytes(GOOD.packed.clone(), bends)
        };
        std::fs::write(&path, bytes).expect("room");
        answers(&path);
    });
}

#[test]
fn fuzz_plain_models() {
    let (config, weights) = (GOOD.file("config.json"), GOOD.file("model.safetensors"));
    check!().with_iterations(ITERATIONS).with_type::<(bool, Bends)>().for_each(|(is_config, bends)| {
        let copy = if *is_config {
            GOOD.with("config.json", &bent_bytes(config.clone(), bends))
        } else {
            GOOD.with("model.safetensors", &bent_bytes(weights.clone(), bends))
        };
        answers(copy.path());
    });
}

#[test]
fn fuzz_tokenizers_and_templates() {
    let (tokenizer, about) = (GOOD.file("tokenizer.json"), GOOD.file("tokenizer_config.json"));
    check!().with_iterations(ITERATIONS).with_type::<(u8, Bends)>().for_each(|(which, bends)| {
        let copy = match which % 2 {
            0 => GOOD.with("tokenizer.json", &bent_bytes(tokenizer.clone(), bends)),
            _ => GOOD.with("tokenizer_config.json", &bent_bytes(about.clone(), bends)),
        };
        let read = Source::open(copy.path()).and_then(|source| source.assets());
        if let Ok(beside) = read {
            let _ = beside.vocabulary.tokens("The tide turns: {\"at\": 6}\n");
        }
        let conversation = serde_json::json!({"messages": [{"role": "user", "content": "High tide?"}], "add_generation_prompt": true});
        if let Ok(template) = Template::new(&String::from_utf8_lossy(&bent(&[TEMPLATE], 0, bends))) {
            let _ = template.render(&conversation, 0);
        }
    });
}

#[test]
fn fuzz_adapters() {
    let model = Arc::new(load_model(&Source::open(GOOD.directory.path()).expect("good")).expect("good"));
    let shape = model.shape().clone();
    let limits = SchedulerLimits {
        bytes: 8 * KvCache::block_bytes(&shape, KvDtype::F16),
        kv_dtype: KvDtype::F16,
        step_tokens: 8,
        sequences: 1,
        waiting: 1,
        draft_tokens: 0,
    };
    let runner = Mutex::new(Scheduler::new(model, limits).expect("room"));
    let directory = tempfile::tempdir().expect("room");
    SyntheticAdapter::new(&shape, &["q_proj", "down_proj"], 2, 1)
        .write(directory.path(), Numbers::F32)
        .expect("room");
    let take = |id: &str| {
        let mut runner = runner.lock().expect("one thread");
        let how = RegisterOptions { replaces: true, is_pinned: false };
        let reading = runner.reading(AdapterId::from(id), directory.path(), how).expect("a place");
        runner.settle(reading.read())
    };
    take("good").expect("what is not bent is taken");
    let names = ["adapter_config.json", "adapter_model.safetensors"];
    let good = names.map(|name| std::fs::read(directory.path().join(name)).expect("written"));
    check!().with_iterations(ITERATIONS).with_type::<(bool, Bends)>().for_each(|(is_config, bends)| {
        let [config, weights] = &good;
        let bent = |bytes: &Vec<u8>, is_meant: bool| {
            if is_meant { bent_bytes(bytes.clone(), bends) } else { bytes.clone() }
        };
        for (name, bytes) in names.iter().zip([bent(config, *is_config), bent(weights, !is_config)]) {
            std::fs::write(directory.path().join(name), bytes).expect("room");
        }
        let _ = take("bent");
    });
}

#[test]
fn fuzz_lines_of_training() {
    let lines = [
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\", \"weight\": 1}]}\n",
        "{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{\"id\": \"1\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": \"{}\"}}]},\
          {\"role\": \"tool\", \"tool_call_id\": \"1\", \"content\": \"x\"}], \"tools\": []}\n",
    ];
    check!().with_iterations(ITERATIONS * 4).with_type::<(u8, Bends)>().for_each(|(which, bends)| {
        let template = BESIDE.template.as_ref().expect("a template");
        let reading = DatasetReader { template, vocabulary: &BESIDE.vocabulary, longest: 60 };
        if let Ok(texts) = reading.read(&bent(&lines, *which, bends)) {
            assert!(texts.iter().all(|text| text.tokens.len() == text.is_learned.len()));
        }
    });
}

#[test]
fn fuzz_rules() {
    let schemas = [
        "{\"type\": \"object\", \"properties\": {\"a\": {\"enum\": [1, \"x\"]}, \"b\": {\"$ref\": \"#/$defs/c\"}}, \"required\": [\"a\"], \"$defs\": {\"c\": {\"type\": \"array\", \"items\": {\"type\": \"string\", \"pattern\": \"^[a-z]{1,3}$\"}, \"maxItems\": 2}}}",
        "{\"anyOf\": [{\"type\": \"integer\", \"minimum\": -5, \"maximum\": 90}, {\"const\": null}], \"additionalProperties\": false}",
    ];
    let texts = ["start: \"a\" | /[0-9]+/ WORD\nWORD: /x+/", "^(a|b){2,4}[^c-d]*$"];
    check!().with_iterations(ITERATIONS).with_type::<(u8, Bends)>().for_each(|(which, bends)| {
        if let Ok(schema) = serde_json::from_slice(&bent(&schemas, *which, bends)) {
            let _ = RULES.compile(ConstraintSpec::Schema(&schema), Thinking::No);
        }
        let text = bent(&texts, *which, bends);
        let text = String::from_utf8_lossy(&text);
        let _ = RULES.compile(ConstraintSpec::Grammar(&text), Thinking::No);
        let _ = RULES.compile(ConstraintSpec::Expression(&text), Thinking::No);
    });
}
