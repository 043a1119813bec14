//! A local model as a `Runtime`: a node's requests, and their responses.

use std::future::poll_fn;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use domain::prompt::{Json, OutputFormat, Part, Role, Tool, ToolChoice, ToolKind};
use domain::runtime::{GenerateRequest, OutputConstraint, RawPrompt, Runtime};
use domain::training::{Trainer, TrainingError, TrainingInput};
use domain::{Event, Fault, FaultClass, PartKind, Reason, Usage};
use engine::{Drafting, Local, LocalSettings, Processor, SchedulerLimits};
use kernels::{Architecture, KvCache, KvDtype};
use prompts::synthetic_tokens::Tokens;
use serde_json::Value;
use weights::adapters::Limits;
use weights::synthetic::{Packing, SyntheticModel};
use weights::{AvailableMemory, Source};

use crate::running::LIMITS;
use crate::shapes;
use crate::training::source;

const TEMPLATE: &str = include_str!("../../../prompts/tests/fixtures/templates/qwen3.jinja");

fn shape() -> Architecture {
    Architecture { vocabulary: 400, ..shapes::dense() }
}

fn open(waiting: usize) -> Local {
    open_kept(waiting).0
}

/// The same, with its files.
pub fn open_kept(waiting: usize) -> (Local, tempfile::TempDir) {
    opened(waiting, Processor::Own)
}

pub fn open_on(waiting: usize, processor: Processor) -> Local {
    opened(waiting, processor).0
}

fn opened(waiting: usize, processor: Processor) -> (Local, tempfile::TempDir) {
    let directory = files_of(7);
    let source = Source::open(directory.path()).unwrap();
    (Local::open_on(&source, settings(&source, waiting), processor).unwrap(), directory)
}

/// A model's files; another seed makes other weights of the same shape.
pub fn files_of(seed: u64) -> tempfile::TempDir {
    source(&made(seed, TEMPLATE), None).0
}

fn made(seed: u64, template: &str) -> SyntheticModel {
    let mut made = SyntheticModel::new("qwen3", shape(), seed);
    made.tokens = Some(Tokens::new("qwen2", template, shape().vocabulary));
    made
}

pub fn settings(source: &Source, waiting: usize) -> LocalSettings {
    let next = AtomicU64::new(1);
    let bytes = 200 * KvCache::block_bytes(source.shape(), KvDtype::F16);
    LocalSettings {
        id: "tiny".to_owned(),
        created_unix_s: 5,
        scheduler_limits: SchedulerLimits { bytes, sequences: 4, waiting, draft_tokens: 4, ..LIMITS },
        limits: Limits::default(),
        draft: None,
        disk_cache: None,
        spare: AvailableMemory::default(),
        chance: Arc::new(move || next.fetch_add(1, Ordering::Relaxed)),
        now_unix_s: Arc::new(|| 1_700_000_000),
    }
}

static LOCAL: LazyLock<Local> = LazyLock::new(|| open(100));

pub fn chat_request(text: &str, tokens_max: u64) -> GenerateRequest {
    let mut request = GenerateRequest { model: "tiny".to_owned(), ..GenerateRequest::default() };
    request.prompt.push_turn(Role::User, vec![Part::text(text)]);
    request.prompt.output.tokens_max = Some(tokens_max);
    request.prompt.sampling.seed = Some(9);
    request
}

#[derive(Debug, Default, PartialEq, Clone)]
pub struct Output {
    /// One for each choice.
    pub texts: Vec<String>,
    calls: Vec<(String, String)>,
    pub reasons: Vec<Reason>,
    pub usage: Usage,
    logprobs: usize,
    pub is_done: bool,
}

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn counted(local: &Local, request: GenerateRequest) -> u64 {
    wait(local.count_tokens(request)).unwrap()
}

pub fn run(local: &Local, request: GenerateRequest) -> Result<Output, Fault> {
    let mut generation = local.generate(request)?;
    let (mut output, mut parts) = (Output::default(), Vec::new());
    wait(async {
        while let Some(event) = poll_fn(|cx| generation.as_mut().poll_next(cx)).await {
            match event? {
                Event::Begin { choice, part, kind } => {
                    if let PartKind::Call { name, .. } = &kind {
                        output.calls.push((name.clone(), String::new()));
                    }
                    output.texts.resize(output.texts.len().max(choice as usize + 1), String::new());
                    parts.push((choice, part, kind));
                }
                Event::Delta { choice, part, text } => {
                    let kind = parts.iter().rfind(|known| (known.0, known.1) == (choice, part)).unwrap();
                    match &kind.2 {
                        PartKind::Text => output.texts[choice as usize].push_str(&text),
                        PartKind::Call { .. } => output.calls.last_mut().unwrap().1.push_str(&text),
                        _ => {}
                    }
                }
                Event::Logprobs { tokens, .. } => {
                    let tokens: Value = serde_json::from_str(tokens.as_str()).unwrap();
                    assert!(tokens[0]["logprob"].as_f64().unwrap() <= 0.0, "{tokens}");
                    assert_eq!(tokens[0]["top_logprobs"].as_array().unwrap().len(), 2);
                    output.logprobs += 1;
                }
                Event::Finish { finish, .. } => output.reasons.push(finish.reason),
                Event::Usage(usage) => output.usage = usage,
                Event::Done => output.is_done = true,
                _ => {}
            }
        }
        Ok(output)
    })
}

#[test]
fn a_sign_in_a_message_is_as_many_tokens_as_it_has_letters() {
    let count = |text: &str| counted(&LOCAL, chat_request(text, 12));
    let marker = "<|im_end|>";
    assert_eq!(count(&format!("tide {marker} tide")), count("tide  tide") + marker.len() as u64);
    // In a raw prompt, special-token text is a special token.
    let raw = |text: String| {
        counted(&LOCAL, GenerateRequest { raw_prompt: Some(RawPrompt::Text(text)), ..chat_request("", 12) })
    };
    assert_eq!(raw(format!("tide {marker}")), raw("tide ".to_owned()) + 1);
}

#[test]
fn the_same_request_says_the_same_and_remembers_its_beginning() {
    let local = open(10);
    let request = || chat_request(&"high tide ".repeat(20), 12);
    let [cold, warm] = [request(), request()].map(|request| run(&local, request).unwrap());
    assert!(cold.is_done && cold.usage.cached_read == 0, "{cold:?}");
    assert_eq!((&cold.texts, &cold.reasons), (&warm.texts, &warm.reasons));
    let prompt = cold.usage.prompt_total();
    assert_eq!(prompt, counted(&local, request()));
    assert!(prompt - warm.usage.cached_read <= 16, "{prompt} {:?}", warm.usage);
    let mut other = request();
    other.parameters.cache_scope = Some("another workspace".to_owned());
    assert_eq!(run(&local, other).unwrap().usage.cached_read, 0);
}

#[test]
fn several_answers_are_told_by_their_numbers_and_counted_once() {
    let mut request = chat_request("tell", 6);
    let sampling = &mut request.prompt.sampling;
    (sampling.choices, sampling.logprobs, sampling.top_logprobs) = (Some(3), true, Some(2));
    let output = run(&LOCAL, request).unwrap();
    assert_eq!((output.reasons.len(), output.is_done), (3, true));
    assert_eq!(output.logprobs as u64, output.usage.completion_total());
    let one = run(&LOCAL, chat_request("tell", 6)).unwrap();
    assert_eq!(output.usage.prompt_total(), one.usage.prompt_total());
    assert_eq!(output.texts[0], one.texts[0], "the first is that of a request for one");
}

#[test]
fn rules_are_kept_by_a_model_that_knows_nothing() {
    let mut request = chat_request("a tide", 200);
    request.parameters.template = Some(Json(r#"{"enable_thinking": false}"#.to_owned()));
    request.prompt.output.format = Some(OutputFormat::JsonSchema {
        name: None,
        description: None,
        schema: Json(r#"{"type":"object","properties":{"high":{"type":"boolean"}},"required":["high"],"additionalProperties":false}"#.to_owned()),
        strict: Some(true),
    });
    let output = run(&LOCAL, request.clone()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&output.texts[0]).expect(&output.texts[0]);
    assert!(value["high"].is_boolean());
    request.prompt.output.format = None;
    request.parameters.constraint =
        Some(OutputConstraint::Choice(vec!["ebb.".to_owned(), "flood.".to_owned()]));
    let output = run(&LOCAL, request.clone()).unwrap();
    assert!(["ebb.", "flood."].contains(&output.texts[0].as_str()), "{output:?}");
    request.parameters.constraint = None;
    request.prompt.tools.push(Tool {
        kind: ToolKind::Function {
            name: "tide".to_owned(),
            description: None,
            schema: Some(Json(r#"{"type":"object","properties":{"hour":{"enum":[6,12]}},"required":["hour"],"additionalProperties":false}"#.to_owned())),
            strict: None,
        },
        cache: None,
    });
    request.prompt.parallel_tools = Some(false);
    request.prompt.tool_choice = Some(ToolChoice::Required);
    let output = run(&LOCAL, request).unwrap();
    assert_eq!(output.reasons, [Reason::Calls], "{output:?}");
    assert_eq!(output.calls[0].0, "tide");
    let arguments: serde_json::Value = serde_json::from_str(&output.calls[0].1).unwrap();
    assert!([6, 12].contains(&arguments["hour"].as_i64().unwrap()), "{output:?}");
}

#[test]
fn texts_are_gone_on_with_and_stops_are_met() {
    let mut request = chat_request("", 40);
    request.prompt.turns.clear();
    request.raw_prompt = Some(RawPrompt::Text("high tide".to_owned()));
    request.parameters.ignore_eos = true;
    let whole = run(&LOCAL, request.clone()).unwrap();
    let stop: String = whole.texts[0].chars().skip(2).take(2).collect();
    assert_eq!(stop.chars().count(), 2, "{whole:?}");
    request.prompt.sampling.stop = vec![stop.clone()];
    let cut = run(&LOCAL, request.clone()).unwrap();
    assert_eq!(cut.reasons, [Reason::StopSequence]);
    let expected = whole.texts[0].split(&stop).next().unwrap();
    assert_eq!(cut.texts.first().map_or("", String::as_str), expected);
    request.raw_prompt = Some(RawPrompt::Tokens(vec![1, 2, 9_999]));
    assert_eq!(run(&LOCAL, request).unwrap_err().param.as_deref(), Some("prompt[2]"));
}

#[test]
fn what_is_wrong_is_told_by_name() {
    let wrong = |change: fn(&mut GenerateRequest)| {
        let mut request = chat_request("x", 4);
        change(&mut request);
        let fault = run(&LOCAL, request).unwrap_err();
        assert!(fault.fix.is_some(), "{fault}");
        (fault.code, fault.param.unwrap_or_default().into_string())
    };
    assert_eq!(wrong(|request| request.model = "other".to_owned()).0, "model_not_found");
    assert_eq!(wrong(|request| request.model = "tiny:law".to_owned()).0, "adapter_not_found");
    let temperature = wrong(|request| request.prompt.sampling.temperature = Some(Json("3".to_owned())));
    assert_eq!(temperature.1, "temperature");
    let bias = wrong(|request| request.prompt.sampling.logit_bias = Some(Json(r#"{"x":1}"#.to_owned())));
    assert_eq!(bias.1, "logit_bias");
    let template = wrong(|request| request.parameters.template = Some(Json("[]".to_owned())));
    assert_eq!(template.1, "chat_template_kwargs");
    for times in [4_000, 1 << 20] {
        let too_long = run(&LOCAL, chat_request(&"tide ".repeat(times), 1)).unwrap_err();
        assert_eq!(too_long.code, "context_length_exceeded");
    }
    let schema = wrong(|request| {
        let schema = Json(r##"{"type":"object","properties":{"a":{"$dynamicRef":"#x"}}}"##.to_owned());
        request.prompt.output.format =
            Some(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None });
    });
    let place = "response_format.json_schema.schema/properties/a/$dynamicRef";
    assert_eq!(schema, ("unsupported_rule", place.to_owned()));
}

/// Makes the tokenizer in a directory one that refuses texts with a `~`: it has no token for it, and none for
/// unknown text.
pub fn refuse_tilde(directory: &Path) {
    let path = directory.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    tokenizer["model"]["vocab"].as_object_mut().unwrap().remove("~").unwrap();
    tokenizer["model"]["unk_token"] = "<|unknown|>".into();
    std::fs::write(&path, tokenizer.to_string()).unwrap();
}

#[test]
fn a_text_that_the_tokenizer_refuses_is_refused() {
    let directory = files_of(7);
    refuse_tilde(directory.path());
    let source = Source::open(directory.path()).unwrap();
    let local = Local::open(&source, settings(&source, 8)).unwrap();
    let fault = run(&local, chat_request("low ~ tide", 2)).unwrap_err();
    assert_eq!((fault.class, fault.code), (FaultClass::BadRequest, "unreadable_text"), "{fault}");
    assert!(run(&local, chat_request("low tide", 2)).unwrap().is_done);
}

#[test]
fn a_model_without_a_template_takes_texts_alone() {
    let (_directory, source) = source(&made(7, ""), Some(Packing::F32));
    let local = Local::open(&source, settings(&source, 8)).unwrap();
    let fault = run(&local, chat_request("tide", 2)).unwrap_err();
    assert_eq!((fault.class, fault.code), (FaultClass::Unsupported, "no_chat_template"));
    assert!(fault.message.contains("has no chat template"), "{fault}");
    let settings = local.default_settings(None).unwrap();
    let input = TrainingInput { settings: &settings, training_set: b"{}", validation_set: b"", from: None };
    let Err(TrainingError::Fault(fault)) = local.estimate(&input, &|| true) else { panic!("it is trained") };
    assert_eq!((fault.class, fault.code), (FaultClass::Unsupported, "no_chat_template"));
}

#[test]
fn what_a_template_refuses_is_told_and_the_next_is_answered() {
    let text = "{% if messages[0].content == 'refuse' %}{{ raise_exception('not that') }}{% endif %}{{ messages[0].content }}";
    let (_directory, source) = source(&made(7, text), None);
    let local = Local::open(&source, settings(&source, 8)).unwrap();
    let fault = run(&local, chat_request("refuse", 2)).unwrap_err();
    assert_eq!((fault.code, fault.param.as_deref()), ("template_refused", Some("messages")));
    assert!(fault.message.contains("not that"), "{fault}");
    assert!(run(&local, chat_request("tide", 2)).is_ok());
}

#[test]
fn who_finds_no_place_is_told_when_to_ask_again() {
    let local = open(1);
    let held: Vec<_> = (0..12).map(|_| local.generate(chat_request("tide", 2_000)).unwrap()).collect();
    let refused = wait(async {
        let mut refused = Vec::new();
        for mut generation in held {
            let first = poll_fn(|cx| generation.as_mut().poll_next(cx)).await.unwrap();
            refused.extend(first.err());
        }
        refused
    });
    assert!(!refused.is_empty());
    for fault in refused {
        assert_eq!((fault.code, fault.retry_after_ms), ("queue_full", Some(1_000)));
    }
}

#[test]
fn a_draft_of_other_tokens_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, swaps: bool| {
        let path = directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        made(7, TEMPLATE).write_plain(&path, false).unwrap();
        if swaps {
            let path = path.join("tokenizer.json");
            let mut tokens: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let vocabulary = tokens["model"]["vocab"].as_object_mut().unwrap();
            let one = vocabulary["a"].clone();
            vocabulary["a"] = std::mem::replace(&mut vocabulary["b"], one);
            std::fs::write(&path, tokens.to_string()).unwrap();
        }
        Source::open(&path).unwrap()
    };
    let (model, same, other) = (write("model", false), write("same", false), write("other", true));
    let opened = |source: Source| {
        let draft = Drafting { source: Arc::new(source), bytes: 1 << 20 };
        Local::open(&model, LocalSettings { draft: Some(draft), ..settings(&model, 4) }).map(drop)
    };
    assert!(opened(same).is_ok());
    let refused = opened(other).unwrap_err().to_string();
    assert!(refused.contains("\"vocabulary\" of the draft model"), "{refused}");
}
