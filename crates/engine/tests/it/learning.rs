//! Training runs: reading the data, training, the written result, and resuming runs that were killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use kernels::Architecture;
use prompts::{Template, Vocabulary};
use serde_json::{Value, json};
use training::{
    BadLine, DatasetReader, Example, Job, LoraConfig, Precision, Progress, RunInputs, Schedule, Settings,
    StepOutcome, Target, Trains,
};
use weights::adapters::{InitialAdapter, Limits};
use weights::synthetic::{Packing, SyntheticModel};
use weights::{Source, load_model};

use crate::shapes;
use crate::training::{loaded, served, small, source};

/// A cycle of eight tokens, repeated.
fn cycle(length: usize) -> Example {
    let tokens = (0..length).map(|index| [17, 4, 301, 88, 250, 9, 133, 64][index % 8]).collect();
    Example { tokens, is_learned: vec![true; length] }
}

fn quick() -> Settings {
    let low = LoraConfig { rank: 8, alpha: 16.0, ..LoraConfig::default() };
    let batches = Settings { epochs: 60, batch_tokens: 64, checkpoint_every: 10, ..Settings::default() };
    Settings { trains: Trains::Adapter(low), rate: 1e-2, warmup_steps: 2, ..batches }
}

fn run(job: &mut Job) -> Vec<Progress> {
    let mut all = Vec::new();
    loop {
        match job.step(&mut || true).unwrap() {
            StepOutcome::Step(progress) => all.push(progress),
            StepOutcome::CalledOff => panic!("nobody called it off"),
            StepOutcome::End => return all,
        }
    }
}

#[test]
fn a_cycle_is_learned_and_served() {
    let shape = Architecture { layers: 2, ..shapes::dense() };
    let made = SyntheticModel::new("qwen3", shape, 7);
    let (base, source) = source(&made, None);
    let work = tempfile::tempdir().unwrap();
    let text = cycle(63);
    for (trains, rate) in [(quick().trains, 1e-2), (Trains::Whole, 3e-3)] {
        let directory = work.path().join(format!("{rate}"));
        let settings = Settings { trains: trains.clone(), rate, ..quick() };
        let mut job = Job::open(&source, vec![text.clone()], settings, &directory).unwrap();
        let progress = run(&mut job);
        let (first, last) = (&progress[0], &progress[59]);
        assert!(first.loss > 512f64.ln(), "{first:?}");
        assert!(last.loss < 0.1, "{last:?}");
        assert_eq!((last.step, last.of, last.tokens), (60, 60, 60 * 63));
        let result = directory.join("result");
        job.write(base.path(), &result, Precision::Single).unwrap();
        // The trained model predicts the next token of the cycle.
        let model = match &trains {
            Trains::Whole => load_model(&Source::open(&result).unwrap()).unwrap(),
            Trains::Adapter(low) => loaded(&merged(&made, low, &result), None),
        };
        let logits = served(&model, &text.tokens);
        let trained = job.network().scores(&text.tokens).unwrap();
        let far = logits.iter().zip(&trained).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        assert!(far < 1e-3, "{far}");
        let likeliest = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
        let next: Vec<u32> = logits.chunks(512).map(|row| likeliest(row) as u32).collect();
        assert_eq!(next[..62], text.tokens[1..]);
    }
}

/// A model with an adapter's files merged into its weights.
fn merged(made: &SyntheticModel, low: &LoraConfig, result: &Path) -> SyntheticModel {
    let config = std::fs::read(result.join("adapter_config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!((&config["r"], &config["lora_alpha"]), (&json!(low.rank), &json!(low.alpha)));
    assert_eq!(config["target_modules"].as_array().unwrap().len(), 7);
    let path = result.join("adapter_model.safetensors");
    let tensors = candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap();
    let numbers = |name: &str| -> Option<Vec<f32>> {
        Some(tensors.get(&format!("base_model.model.{name}"))?.flatten_all().unwrap().to_vec1().unwrap())
    };
    let (mut made, mut used) = (made.clone(), 0);
    for (name, (shape, weights)) in &mut made.tensors {
        let bare = name.trim_end_matches(".weight");
        let first = numbers(&format!("{bare}.lora_A.weight"));
        let second = numbers(&format!("{bare}.lora_B.weight"));
        let (Some(first), Some(second)) = (first, second) else { continue };
        used += 2;
        for (row, weights) in weights.chunks_mut(shape[1]).enumerate() {
            for (column, weight) in weights.iter_mut().enumerate() {
                let each =
                    (0..low.rank).map(|at| second[row * low.rank + at] * first[at * shape[1] + column]);
                *weight += low.alpha / low.rank as f32 * each.sum::<f32>();
            }
        }
    }
    assert_eq!(used, tensors.len());
    made
}

#[test]
fn rounded_weights_can_stay_and_be_trained_beside() {
    let made = SyntheticModel::new("qwen3", Architecture { layers: 2, ..shapes::wide() }, 7);
    for kind in [Packing::Q8_0, Packing::Q4K] {
        let (_base, source) = source(&made, Some(kind));
        let (_plain, rounded) = crate::training::source(&made.rounded(kind).unwrap(), None);
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let texts = || vec![cycle(40)];
        let settings = || Settings { epochs: 8, rate: 3e-3, ..quick() };
        let mut packed = Job::open(&source, texts(), settings(), one.path()).unwrap();
        let mut plain = Job::open(&rounded, texts(), settings(), other.path()).unwrap();
        for (one, other) in run(&mut packed).iter().zip(run(&mut plain)) {
            assert!((one.loss - other.loss).abs() < 1e-3, "{kind:?}: {one:?} {other:?}");
            assert!((one.slope_length - other.slope_length).abs() < 1e-2 * other.slope_length);
        }
    }
}

#[test]
fn what_training_goes_on_from_is_what_was_left_whatever_the_files_of_the_model() {
    let made = SyntheticModel::new("llama", Architecture { layers: 2, ..shapes::llama() }, 7);
    for packing in [None, Some(Packing::Q8_0)] {
        let (base, source) = source(&made, packing);
        let work = tempfile::tempdir().unwrap();
        let text = || vec![cycle(40)];
        let settings = || Settings { epochs: 3, ..quick() };
        let mut first = Job::open(&source, text(), settings(), &work.path().join("first")).unwrap();
        run(&mut first);
        let left = |job: &Job, name: &str| {
            let result = work.path().join(name).join("result");
            job.write(base.path(), &result, Precision::Single).unwrap();
            (std::fs::read(result.join("adapter_model.safetensors")).unwrap(), result)
        };
        let (numbers, result) = left(&first, "first");
        let started = InitialAdapter::open(&result, source.shape(), &Limits::default()).unwrap();
        assert_eq!((started.rank, started.alpha, started.targets.len()), (8, 16.0, 7));
        assert!(!started.is_rank_stable);
        let inputs = RunInputs { examples: text(), adapter: Some(started), ..RunInputs::default() };
        let path = work.path().join("second");
        let second = Job::begin(&source, inputs, settings(), &path, &|| true).unwrap().unwrap();
        assert_eq!(second.network().parameters(), first.network().parameters(), "{packing:?}");
        assert!(left(&second, "second").0 == numbers, "{packing:?}: other numbers than were read");
    }
}

/// Many short texts, some of which are held out for validation.
fn many() -> Vec<Example> {
    (10..40).map(cycle).collect()
}

fn long() -> Settings {
    Settings { epochs: 4, held_back: 3, held_back_every: 3, accumulation: 2, checkpoint_every: 4, ..quick() }
}

/// A directory with a model in `base`.
fn based() -> (tempfile::TempDir, Source) {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().join("base");
    SyntheticModel::new("qwen3", small(), 7).write_plain(&base, false).unwrap();
    (directory, Source::open(&base).unwrap())
}

const KILLED_IN: &str = "TIDEGATE_TEST_TRAINS_IN";
const KILLED_AFTER: &str = "TIDEGATE_TEST_TRAINS_UNTIL";

/// Trains this many steps, and then blocks in the middle of the next.
fn train_and_wait(directory: &Path, steps: usize) {
    let source = Source::open(&directory.join("base")).unwrap();
    let mut job = Job::open(&source, many(), long(), &directory.join("run")).unwrap();
    loop {
        let (is_last, mut polls) = (job.done() == steps, 0);
        let went = job.step(&mut || {
            polls += 1;
            if is_last && polls == 3 {
                println!("halfway");
                std::io::stdin().read_line(&mut String::new()).unwrap();
            }
            true
        });
        assert!(matches!(went.unwrap(), StepOutcome::Step(_)), "it was to be killed");
    }
}

#[test]
fn a_run_that_is_killed_ends_as_one_that_is_not() {
    // The test starts itself as the process that is killed; these variables say where and when.
    if let (Some(directory), Ok(steps)) = (std::env::var_os(KILLED_IN), std::env::var(KILLED_AFTER)) {
        return train_and_wait(Path::new(&directory), steps.parse().unwrap());
    }
    let (directory, source) = based();
    let mut whole = Job::open(&source, many(), long(), &directory.path().join("whole")).unwrap();
    let progress = run(&mut whole);
    assert!(progress.len() > 16, "{}", progress.len());
    assert!(progress[2].held_back_loss > progress.last().unwrap().held_back_loss);
    for steps in [2, 6, 11] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "learning::a_run_that_is_killed_ends_as_one_that_is_not", "--nocapture"])
            .env(KILLED_IN, directory.path())
            .env(KILLED_AFTER, steps.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.ends_with("halfway")), "it ended before it was killed");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut rest = Job::open(&source, many(), long(), &directory.path().join("run")).unwrap();
    let done = rest.done();
    assert_eq!(done, 8, "the last checkpoint before the eleventh step");
    assert_eq!(run(&mut rest), progress[done..]);
    let results = [("whole", &whole), ("run", &rest)].map(|(name, job)| {
        let result = directory.path().join(name).join("result");
        job.write(&directory.path().join("base"), &result, Precision::Single).unwrap();
        let read = |name: &str| std::fs::read(result.join(name)).unwrap();
        (read("adapter_model.safetensors"), read("adapter_config.json"))
    });
    assert!(results[0] == results[1], "the same steps made other weights");
}

#[test]
fn a_run_goes_on_only_as_itself() {
    let (directory, source) = based();
    let run = directory.path().join("run");
    let mut job = Job::open(&source, many(), long(), &run).unwrap();
    for _ in 0..5 {
        job.step(&mut || true).unwrap();
    }
    let refused = |texts: Vec<Example>, settings: Settings| {
        Job::open(&source, texts, settings, &run).unwrap_err().to_string()
    };
    let other = refused(many(), Settings { rate: 1e-3, ..long() });
    assert!(other.ends_with("checkpoint.safetensors: it belongs to a run with other settings"), "{other}");
    let other = refused(many()[1..].to_vec(), long());
    assert!(other.ends_with("it belongs to a run with other texts"), "{other}");
    assert_eq!(Job::open(&source, many(), long(), &run).unwrap().done(), 4);
    let path = run.join("checkpoint.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    assert!(refused(many(), long()).contains("the file ends before the tensor does"));
    let none = refused(many(), Settings { held_back: 30, ..long() });
    assert_eq!(none, "a training setting is invalid: \"held_back\" leaves none of 30 texts to learn");
    assert!(refused(many(), Settings { batch_tokens: 12, ..long() }).contains("\"batch_tokens\""));
}

#[test]
fn a_step_is_called_off_between_layers_and_done_again() {
    let (directory, source) = based();
    let open = |name: &str| Job::open(&source, many(), long(), &directory.path().join(name)).unwrap();
    let (mut one, mut other) = (open("one"), open("other"));
    let first = one.step(&mut || true).unwrap();
    for stops_at in [0, 1, 3, 6] {
        let mut polls = 0;
        let went = other.step(&mut || {
            polls += 1;
            polls <= stops_at
        });
        assert_eq!((went.unwrap(), polls), (StepOutcome::CalledOff, stops_at + 1));
    }
    assert_eq!(other.step(&mut || true).unwrap(), first);
    assert_eq!(one.network().parameters(), other.network().parameters());
}

#[test]
fn less_memory_and_more_pieces_come_to_the_same() {
    let (directory, source) = based();
    let run = |name: &str, settings: Settings| {
        let mut job = Job::open(&source, many(), settings, &directory.path().join(name)).unwrap();
        let losses: Vec<f64> = run(&mut job).iter().map(|progress| progress.loss).collect();
        (losses, job.network().parameters().to_vec())
    };
    let usual = run("usual", long());
    assert_eq!(run("less", Settings { saves_memory: true, ..long() }), usual);
    // All texts in one step: as one batch, and as several.
    let all = Settings { epochs: 5, held_back: 0, ..long() };
    let (one, _) = run("one", Settings { batch_tokens: 1_000, ..all.clone() });
    let (many, _) = run("many", Settings { accumulation: 100, ..all });
    assert_eq!((one.len(), many.len()), (5, 5));
    assert!(one.iter().zip(&many).all(|(one, many)| (one - many).abs() < 1e-3), "{one:?} {many:?}");
}

#[test]
fn a_rate_that_is_too_high_is_told() {
    let (directory, source) = based();
    let (trains, schedule) = (Trains::Whole, Schedule::Constant);
    let settings = Settings { trains, rate: 1e30, warmup_steps: 0, schedule, ..long() };
    let mut job = Job::open(&source, many(), settings, &directory.path().join("run")).unwrap();
    let error = (0..10).find_map(|_| job.step(&mut || true).err()).unwrap().to_string();
    assert!(error.starts_with("training diverged at step"), "{error}");
    let low = LoraConfig { targets: vec![Target::Gate], ..LoraConfig::default() };
    let settings = Settings { trains: Trains::Adapter(low), ..long() };
    let job = Job::open(&source, many(), settings, &directory.path().join("gates")).unwrap();
    assert!(job.network().slots().iter().all(|slot| slot.name.contains("gate_proj")));
}

/// A byte-level tokenizer with two special tokens.
fn vocabulary(directory: &Path) -> Vocabulary {
    let is_itself = |byte: u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..256u32).filter(|byte| !is_itself(*byte)).zip(256..);
    let all = (0..256).filter(|byte| is_itself(*byte)).map(|byte| (byte, byte)).chain(others);
    let vocabulary: serde_json::Map<String, Value> =
        all.map(|(byte, code)| (char::from_u32(code).unwrap().to_string(), json!(byte))).collect();
    let added_token = |(text, id): (&str, u32)| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let added_tokens = [("<|im_start|>", 256), ("<|im_end|>", 257)].map(added_token);
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": added_tokens,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                  "vocab": vocabulary, "merges": []},
    });
    let path = directory.join("tokenizer.json");
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    Vocabulary::open(&path).unwrap()
}

const PLAIN: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// A template that drops earlier reasoning.
const THINKING: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n\
{% if message.role == 'assistant' and not loop.last %}{{ message.content.split('</think>')[-1] }}\
{% else %}{{ message.content }}{% endif %}<|im_end|>\n{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn learned(vocabulary: &Vocabulary, text: &Example) -> (String, Vec<String>) {
    let decode = |tokens: &[u32]| {
        let bytes = tokens.iter().map(|token| match token {
            256 => b"{".as_slice(),
            257 => b"}",
            token => vocabulary.bytes(*token),
        });
        String::from_utf8(bytes.collect::<Vec<_>>().concat()).unwrap()
    };
    let pieces = text.is_learned.chunk_by(|one, other| one == other);
    let (mut at, mut learned) = (0, Vec::new());
    for piece in pieces {
        if piece[0] {
            learned.push(decode(&text.tokens[at..at + piece.len()]));
        }
        at += piece.len();
    }
    (decode(&text.tokens), learned)
}

#[test]
fn what_the_assistant_says_is_learned() {
    let directory = tempfile::tempdir().unwrap();
    let vocabulary = vocabulary(directory.path());
    let lines = json!({"messages": [
        {"role": "system", "content": "Be kind."}, {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "a</think>Two."}, {"role": "user", "content": "Then?"},
        {"role": "assistant", "content": "No.", "weight": 0}, {"role": "user", "content": "Né?"},
        {"role": "assistant", "content": "b</think>Oui."}, {"role": "user", "content": "Left out."},
    ]});
    let read = |template: &str| {
        let template = Template::new(template).unwrap();
        let reading = DatasetReader { template: &template, vocabulary: &vocabulary, longest: 500 };
        let texts = reading.read(format!("\n{lines}\n\n").as_bytes()).unwrap();
        texts.iter().map(|text| learned(&vocabulary, text)).collect::<Vec<_>>()
    };
    let whole = read(PLAIN);
    let (text, answers) = &whole[0];
    assert_eq!(whole.len(), 1);
    assert_eq!(*answers, ["a</think>Two.}\n", "b</think>Oui.}\n"]);
    let start = "{system\nBe kind.}\n{user\nOne?}\n{assistant\na</think>Two.}\n{user\nThen?}\n";
    assert!(text.starts_with(start), "{text}");
    assert!(text.ends_with("{user\nNé?}\n{assistant\nb</think>Oui.}\n"), "{text}");
    let apart = read(THINKING);
    let answers: Vec<_> = apart.iter().map(|(_, answers)| answers.concat()).collect();
    assert_eq!(answers, ["a</think>Two.}\n", "b</think>Oui.}\n"]);
    assert!(apart[1].0.contains("{assistant\nTwo.}\n"), "{}", apart[1].0);
}

#[test]
fn every_line_that_can_not_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let vocabulary = vocabulary(directory.path());
    let refuses = "{% if messages[0].content == 'refuse' %}{{ raise_exception('not that') }}{% endif %}";
    let template = Template::new(&[refuses, PLAIN].concat()).unwrap();
    let reading = DatasetReader { template: &template, vocabulary: &vocabulary, longest: 60 };
    let user = r#"{"role": "user", "content": "x"}"#;
    let answer = r#"{"role": "assistant", "content": "y"}"#;
    let long = user.replace('x', &"z".repeat(60));
    let calls = r#"{"messages": [{"role": "user", "content": "", "tool_calls": [{}]}]}"#;
    let judge = r#"{"messages": [{"role": "judge", "content": ""}]}"#;
    let weighed = r#"{"role": "assistant", "content": "", "weight": 2}"#;
    let refused = r#"{"role": "user", "content": "refuse"}"#;
    let messages = |one: &str, other: &str| format!(r#"{{"messages": [{one}, {other}]}}"#);
    let cases = [
        ("{", "", "isn't JSON"),
        ("[]", "", "isn't a JSON object"),
        (r#"{"message": []}"#, "message", "isn't a known field"),
        ("{}", "messages", "is missing or isn't a list"),
        (r#"{"messages": [], "tools": 3}"#, "tools", "isn't a list"),
        (&messages(user, "4"), "messages[1]", "isn't a JSON object"),
        (judge, "messages[0].role", "isn't one of system, user"),
        (&messages(user, r#"{"role": "assistant"}"#), "messages[1].content", "isn't text"),
        (calls, "messages[0].tool_calls", "isn't a list of"),
        (&messages(user, weighed), "messages[1].weight", "is neither"),
        (&format!(r#"{{"messages": [{user}]}}"#), "messages", "have no assistant message"),
        (&messages(refused, answer), "messages", "are refused by the template: not that"),
        (&messages(&long, answer), "messages", "make 82 tokens, and at most 60 are allowed"),
    ];
    let good = messages(user, answer);
    let mut lines = good.clone();
    for (line, _, _) in cases {
        lines = format!("{lines}\n{line}\n{good}");
    }
    let bad = reading.read(lines.as_bytes()).unwrap_err();
    assert_eq!((bad.lines.len(), bad.more), (cases.len(), 0));
    for (index, (BadLine { line, field, why }, (_, at, wanted))) in bad.lines.iter().zip(cases).enumerate() {
        assert_eq!((*line, field.as_str()), (2 * index + 2, at), "{why}");
        assert!(why.starts_with(wanted), "{why}");
    }
    assert!(bad.to_string().contains("; line 6: message isn't a known field; "), "{bad}");
    let many = reading.read("{\n".repeat(130).as_bytes()).unwrap_err();
    assert_eq!((many.lines.len(), many.more), (100, 30));
    assert!(many.to_string().ends_with("; and 30 more"));
}
