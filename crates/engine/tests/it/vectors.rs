//! Embeddings and reranking: alone and in batches, from every file format, and refusals.

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;

use domain::Fault;
use domain::inference_task::{BoxedInferenceTask, EmbedRequest, ModelUses, RankRequest};
use domain::runtime::{GenerateRequest, RawPrompt, Runtime};
use engine::{
    EmbeddingInput, FinishReason, Group, Local, LocalSettings, Refused, Scheduler, SchedulerLimits,
    SharedPrefix, StepEvent,
};
use kernels::{Architecture, BLOCK, KvCache, KvDtype, Model, StepBatch, StepOutput};
use prompts::synthetic_tokens::Tokens;
use serde_json::json;
use weights::synthetic::{Packing, SyntheticModel, SyntheticPurpose};
use weights::{Purpose, RerankHead, Source, load_model};

use crate::local;
use crate::parity::{blocks, part, text};
use crate::running::{BOTH, LIMITS, model, request, runner, runner_that};
use crate::shapes;
use crate::training::source;

fn input(length: usize, of: u32) -> EmbeddingInput {
    let (tokens, group) = (text(length, of), Group(u128::from(of)));
    EmbeddingInput { tokens, group, adapter: None, shared_prefix: None }
}

fn state_of(keeps: KvDtype, model: &Model, tokens: &[u32]) -> Vec<f32> {
    let mut pool = KvCache::new(model.shape(), keeps, tokens.len().div_ceil(BLOCK) + 4);
    let output_from = tokens.len() - 1;
    let one = kernels::SequenceChunk { output_from, ..part(tokens, 0, &blocks(3, tokens.len())) };
    model.step_with_outputs(&StepBatch { chunks: vec![one] }, &[StepOutput::HiddenState], &mut pool).unwrap()
}

fn run(runner: &mut Scheduler) -> Vec<StepEvent> {
    let mut all = Vec::new();
    while !runner.is_idle() {
        all.extend(runner.step().unwrap());
    }
    all
}

#[test]
fn a_passage_is_what_it_is_alone_beside_texts_that_are_told() {
    for keeps in BOTH {
        let model = model();
        // Little memory: prompts are computed in pieces, and some sequences are preempted.
        let mut runner = runner_that(keeps, &model, 24);
        let lengths = [1, 17, 200, 64, 33, 5];
        let read = |(length, of): (usize, u32)| {
            runner.submit(request(40, of + 10, 20)).unwrap();
            runner.read(input(length, of)).unwrap()
        };
        let ids: Vec<_> = lengths.into_iter().zip(1..).map(read).collect();
        let happened = run(&mut runner);
        for ((id, length), of) in ids.iter().zip(lengths).zip(1..) {
            let state = happened.iter().find_map(|happened| match happened {
                StepEvent::State { sequence: text, state } if text == id => Some(state.clone()),
                _ => None,
            });
            assert_eq!(state.unwrap(), state_of(keeps, &model, &text(length, of)), "{length}");
            let end = StepEvent::End { sequence: *id, end: FinishReason::Stop };
            assert_eq!(happened.iter().filter(|happened| **happened == end).count(), 1);
            let is_token = |happened: &StepEvent| matches!(happened, StepEvent::Token { sequence, .. } if sequence == id);
            assert!(!happened.iter().any(is_token));
        }
        let is_token = |happened: &&StepEvent| matches!(happened, StepEvent::Token { .. });
        let token_count = happened.iter().filter(is_token).count();
        assert_eq!((token_count, runner.free_blocks()), (lengths.len() * 20, 24));
    }
}

#[test]
fn nothing_of_a_passage_is_remembered_and_who_leaves_frees_its_room() {
    let model = model();
    let mut runner = runner(&model, 64);
    for _ in 0..2 {
        let rows = runner.counts().rows;
        runner.read(input(200, 1)).unwrap();
        run(&mut runner);
        assert_eq!((runner.counts().rows - rows, runner.counts().cached_tokens), (200, 0));
    }
    // A generation with the same prompt doesn't find it either.
    let mut generation = request(1, 1, 1);
    generation.prompt = text(200, 1);
    runner.submit(generation).unwrap();
    run(&mut runner);
    assert_eq!(runner.counts().cached_tokens, 0);
    let left = runner.read(input(200, 1)).unwrap();
    runner.step().unwrap();
    assert!(runner.free_blocks() < 64 && !runner.is_idle());
    runner.cancel(left);
    assert_eq!((runner.free_blocks(), runner.is_idle()), (64, true));
}

#[test]
fn a_passage_may_be_as_long_as_the_room_and_no_longer() {
    let model = model();
    let mut runner = runner(&model, 4);
    let most = 4 * BLOCK;
    assert_eq!(runner.longest(), most);
    runner.read(input(most, 1)).unwrap();
    assert!(run(&mut runner).iter().any(|happened| matches!(happened, StepEvent::State { .. })));
    assert_eq!(runner.read(input(most + 1, 1)), Err(Refused::TooLong { tokens: most + 1, most }));
    assert_eq!(runner.read(input(0, 1)), Err(Refused::Empty));
}

#[test]
fn what_passages_begin_with_is_read_once_for_their_request_alone() {
    let model = model();
    let mut runner = runner(&model, 64);
    let common = 7 * BLOCK;
    // Longer than a step, so that it is computed in pieces; its last block is partial.
    let started = |of: u32| [text(common + 5, 50), text(20 + of as usize, of)].concat();
    let mut read = |of: u32, group: u128, reading: u64| {
        let (tokens, before) = (started(of), runner.counts().rows);
        let shared_prefix = Some(SharedPrefix { embedding_request: reading, tokens: common });
        let group = Group(group);
        let id = runner.read(EmbeddingInput { tokens, group, adapter: None, shared_prefix }).unwrap();
        let state = run(&mut runner).into_iter().find_map(|happened| match happened {
            StepEvent::State { sequence: text, state } if text == id => Some(state),
            _ => None,
        });
        assert_eq!(state.unwrap(), state_of(KvDtype::F16, &model, &started(of)), "{of}");
        started(of).len() - usize::try_from(runner.counts().rows - before).unwrap()
    };
    let left_out = [read(1, 1, 1), read(2, 1, 1), read(3, 1, 1)];
    assert_eq!(left_out, [0, common, common]);
    assert_eq!(read(4, 1, 2), 0, "another request of the same workspace");
    assert_eq!(read(5, 2, 1), 0, "another workspace");
    runner.submit(engine::Request { prompt: started(6), ..request(1, 1, 1) }).unwrap();
    let before = runner.counts().cached_tokens;
    run(&mut runner);
    assert_eq!(runner.counts().cached_tokens, before, "a text that is told finds none of it");
    runner.end_reading(1);
    let before = runner.counts().rows;
    let (tokens, shared_prefix) = (started(2), Some(SharedPrefix { embedding_request: 1, tokens: common }));
    runner.read(EmbeddingInput { tokens, group: Group(1), adapter: None, shared_prefix }).unwrap();
    run(&mut runner);
    assert_eq!(runner.counts().rows - before, started(2).len() as u64, "it is over");
}

const TEMPLATE: &str = include_str!("../../../prompts/tests/fixtures/templates/qwen3.jinja");
const WORDS: [(&str, &str); 3] = [("y", "e"), ("ye", "s"), ("n", "o")];

fn shape() -> Architecture {
    Architecture { vocabulary: 400, ..shapes::dense() }
}

fn made(makes: SyntheticPurpose) -> SyntheticModel {
    let mut made = SyntheticModel::new("qwen3", shape(), 7);
    let tokens = Tokens::with_merges("qwen2", TEMPLATE, shape().vocabulary, &WORDS);
    made.tokens = Some(if makes == SyntheticPurpose::Vectors { tokens.closing() } else { tokens });
    made.makes = makes;
    made
}

fn open_as(path: &Path, id: &str) -> Result<Local, engine::EngineError> {
    let source = Source::open(path)?;
    let bytes = 100 * KvCache::block_bytes(source.shape(), KvDtype::F16);
    let settings = LocalSettings {
        id: id.to_owned(),
        scheduler_limits: SchedulerLimits { bytes, sequences: 8, waiting: 12, ..LIMITS },
        chance: Arc::new(|| 7),
        ..local::settings(&source, 0)
    };
    Local::open(&source, settings)
}

fn plain(made: &SyntheticModel, id: &str) -> Local {
    open_as(source(made, None).0.path(), id).unwrap()
}

fn packed(made: &SyntheticModel, id: &str) -> Local {
    let (directory, _) = source(made, Some(Packing::F32));
    open_as(&directory.path().join("model.gguf"), id).unwrap()
}

fn wait<T>(mut work: BoxedInferenceTask<T>) -> Result<(T, u64), Fault> {
    let output = local::wait(poll_fn(|cx| work.as_mut().poll_output(cx)))?;
    Ok((output, work.as_ref().usage().prompt_total()))
}

fn texts(texts: &[&str]) -> EmbedRequest {
    let texts = texts.iter().map(|text| RawPrompt::Text((*text).to_owned())).collect();
    EmbedRequest { model: "tiny".to_owned(), texts, ..EmbedRequest::default() }
}

fn embed(local: &Local, request: EmbedRequest) -> Result<(Vec<Vec<f32>>, u64), Fault> {
    wait(local.embed(request)?)
}

fn furthest(one: &[Vec<f32>], other: &[Vec<f32>]) -> f32 {
    assert_eq!(one.len(), other.len());
    let each = one.iter().flatten().zip(other.iter().flatten());
    each.map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

#[test]
fn vectors_are_the_same_out_of_every_file_and_alone() {
    let made = made(SyntheticPurpose::Vectors);
    let local = plain(&made, "tiny");
    assert_eq!(local.models()[0].operations, ModelUses { answers: false, vectors: true, ranks: false });
    // More than may run at once.
    let text = |number: usize| format!("the tide of day {number} ").repeat(number + 1);
    let many: Vec<String> = (0..40).map(text).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (all, tokens) = embed(&local, texts(&many)).unwrap();
    let mut alone = 0;
    for (text, vector) in many.iter().zip(&all) {
        let (own, tokens) = embed(&local, texts(&[text])).unwrap();
        assert_eq!(own[0], *vector, "{text}");
        let length: f32 = vector.iter().map(|number| number * number).sum();
        assert!((length - 1.0).abs() < 1e-5 && vector.len() == 64);
        alone += tokens;
    }
    assert_eq!(tokens, alone);
    for other in [packed(&made, "tiny"), plain(&made.bare(), "tiny")] {
        assert_eq!(other.models()[0].operations.operation_names(), ["embeddings"]);
        let (vectors, counted) = embed(&other, texts(&many)).unwrap();
        assert!(furthest(&vectors, &all) <= 1e-5 && counted == tokens);
    }
}

#[test]
fn a_vector_is_the_state_behind_the_sign_that_ends_a_text() {
    let made = made(SyntheticPurpose::Vectors);
    let (directory, source) = source(&made, None);
    let vocabulary = source.assets().unwrap().vocabulary;
    let mut tokens = vocabulary.tokens("high tide").unwrap();
    tokens.push(vocabulary.special_token_id("<|endoftext|>").unwrap());
    assert_eq!(vocabulary.tokens_with_bos_eos("high tide", 8).unwrap(), tokens);
    let state = state_of(KvDtype::F16, &load_model(&source).unwrap(), &tokens);
    let length = state.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    let local = open_as(directory.path(), "tiny").unwrap();
    let (vectors, counted) = embed(&local, texts(&["high tide"])).unwrap();
    assert_eq!(counted, tokens.len() as u64);
    for (number, state) in vectors[0].iter().zip(&state) {
        assert!((f64::from(*number) - f64::from(*state) / length).abs() < 1e-6);
    }
    // Inputs may be token ids; here, the same text.
    let as_tokens = EmbedRequest { texts: vec![RawPrompt::Tokens(tokens)], ..texts(&[]) };
    assert_eq!(embed(&local, as_tokens).unwrap().0, vectors);
    // Fewer dimensions are a prefix of the vector, normalised again.
    let short = EmbedRequest { dimensions: Some(8), ..texts(&["high tide"]) };
    let short = embed(&local, short).unwrap().0.remove(0);
    let scale = vectors[0][0] / short[0];
    assert_eq!(short.len(), 8);
    assert!(short.iter().zip(&vectors[0]).all(|(short, long)| (short * scale - long).abs() < 1e-6));
    // A prompt from the model's files is put before the text.
    let named = EmbedRequest { prompt_name: Some("query".to_owned()), ..texts(&["high tide"]) };
    let written = texts(&["Instruct: find it\nQuery:high tide"]);
    assert_eq!(embed(&local, named).unwrap(), embed(&local, written).unwrap());
}

fn wrong<T>(result: Result<T, Fault>) -> (&'static str, String) {
    let fault = result.err().unwrap();
    assert!(fault.fix.is_some(), "{fault}");
    (fault.code, fault.param.clone().unwrap_or_default().into_string())
}

#[test]
fn a_text_that_the_tokenizer_refuses_is_refused_by_its_place() {
    let (directory, _) = source(&made(SyntheticPurpose::Vectors), None);
    local::refuse_tilde(directory.path());
    let local = open_as(directory.path(), "tiny").unwrap();
    let refused = wrong(embed(&local, texts(&["high tide", "low ~ tide"])));
    assert_eq!(refused, ("unreadable_text", "input[1]".to_owned()));
}

#[test]
fn what_is_wrong_with_a_request_is_told_with_its_place() {
    let local = plain(&made(SyntheticPurpose::Vectors), "tiny");
    let of = |texts: Vec<RawPrompt>| EmbedRequest { texts, ..self::texts(&[]) };
    let expected = |code: &'static str, param: &str| (code, param.to_owned());
    let long = "tide ".repeat(2_000);
    let too_long = embed(&local, texts(&["a", &long]));
    assert_eq!(wrong(too_long), expected("context_length_exceeded", "input[1]"));
    let none = of(vec![RawPrompt::Tokens(vec![])]);
    assert_eq!(wrong(embed(&local, none)), expected("empty_prompt", "input[0]"));
    let unknown = of(vec![RawPrompt::Tokens(vec![1]), RawPrompt::Tokens(vec![1, 400])]);
    assert_eq!(wrong(embed(&local, unknown)), expected("invalid_value", "input[1][1]"));
    for dimensions in [0, 65] {
        let sized = EmbedRequest { dimensions: Some(dimensions), ..texts(&["a"]) };
        assert_eq!(wrong(embed(&local, sized)), expected("invalid_value", "dimensions"));
    }
    let named = |name: &str| EmbedRequest { prompt_name: Some(name.to_owned()), ..texts(&["a"]) };
    assert_eq!(wrong(embed(&local, named("poem"))), expected("invalid_value", "prompt_name"));
    let before = EmbedRequest { texts: vec![RawPrompt::Tokens(vec![1])], ..named("query") };
    assert_eq!(wrong(embed(&local, before)), expected("invalid_value", "input"));
    let other = EmbedRequest { model: "other".to_owned(), ..texts(&["a"]) };
    assert_eq!(wrong(embed(&local, other)), expected("model_not_found", "model"));
    let adapter = EmbedRequest { adapter: Some("law".to_owned()), ..texts(&["a"]) };
    assert_eq!(wrong(embed(&local, adapter)), expected("adapter_not_found", "model"));
    let answer = GenerateRequest { model: "tiny".to_owned(), ..GenerateRequest::default() };
    assert_eq!(wrong(local.generate(answer).map(drop)), expected("unsupported_operation", "model"));
    assert_eq!(wrong(local.rank(question(&["a"])).map(drop)), expected("unsupported_operation", "model"));
    let speaks = plain(&made(SyntheticPurpose::Answers), "tiny");
    assert_eq!(wrong(embed(&speaks, texts(&["a"]))), expected("unsupported_operation", "model"));
}

fn question(documents: &[&str]) -> RankRequest {
    let documents = documents.iter().map(|document| (*document).to_owned()).collect();
    let (model, query) = ("tiny".to_owned(), "When is high tide?".to_owned());
    RankRequest { model, query, documents, ..RankRequest::default() }
}

fn rank(local: &Local, request: RankRequest) -> Result<(Vec<f64>, u64), Fault> {
    wait(local.rank(request)?)
}

const DOCUMENTS: [&str; 3] = ["At noon.", "The moon is made of cheese, and tides of water.", "no"];

#[test]
fn documents_are_judged_by_what_would_be_said_of_them() {
    let made = made(SyntheticPurpose::Answers);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Tiny-Reranker");
    made.write_plain(&path, false).unwrap();
    let local = open_as(&path, "tiny").unwrap();
    assert_eq!(local.models()[0].operations.operation_names(), ["chat", "rerank"]);
    let (scores, tokens) = rank(&local, question(&DOCUMENTS)).unwrap();
    let source = Source::open(&path).unwrap();
    let (model, vocabulary) = (load_model(&source).unwrap(), source.assets().unwrap().vocabulary);
    let [yes, no] = ["yes", "no"].map(|word| vocabulary.special_token_id(word).unwrap() as usize);
    let mut counted = 0;
    for (document, score) in DOCUMENTS.iter().zip(&scores) {
        let prompt = format!(
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n<Query>: When is high tide?\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        );
        let tokens = vocabulary.tokens(&prompt).unwrap();
        let mut pool = KvCache::new(model.shape(), KvDtype::F16, 64);
        let output_from = tokens.len() - 1;
        let one = kernels::SequenceChunk { output_from, ..part(&tokens, 0, &blocks(3, tokens.len())) };
        let row = model.step(&StepBatch { chunks: vec![one] }, &mut pool).unwrap();
        let [yes, no] = [yes, no].map(|word| f64::from(row[word]).exp());
        assert!((score - yes / (yes + no)).abs() < 1e-5, "{score}");
        counted += tokens.len() as u64;
    }
    assert_eq!(tokens, counted);
    // Detected by the name of the model, in a GGUF file.
    let other = RankRequest { model: "a-reranker".to_owned(), ..question(&DOCUMENTS) };
    let (packed, _) = rank(&packed(&made, "a-reranker"), other).unwrap();
    assert!(packed.iter().zip(&scores).all(|(packed, score)| (packed - score).abs() < 1e-5));
    let instructed = RankRequest { instruction: Some("Find lies.".to_owned()), ..question(&DOCUMENTS) };
    assert_ne!(rank(&local, instructed).unwrap().0, scores);
    // A document can't end its own message with a special token.
    let [plain, signed] = ["xy", "x<|im_end|>y"].map(|text| rank(&local, question(&[text])).unwrap().1);
    assert_eq!(signed, plain + "<|im_end|>".len() as u64);
}

/// The filled templates of all documents together would take 400 GB.
#[test]
fn a_long_question_is_refused_before_it_stands_beside_every_document() {
    let local = plain(&made(SyntheticPurpose::Answers), "a-reranker");
    let (model, query) = ("a-reranker".to_owned(), "tide ".repeat(800_000));
    let request = RankRequest { model, query, ..question(&["no"; 100_000]) };
    assert_eq!(wrong(rank(&local, request)), ("context_length_exceeded", "documents[0]".to_owned()));
}

#[test]
fn what_documents_have_in_common_is_read_once() {
    let local = plain(&made(SyntheticPurpose::Answers), "a-reranker");
    let ask = |documents: &[&str]| {
        let request = RankRequest { model: "a-reranker".to_owned(), ..question(documents) };
        let mut work = local.rank(request).unwrap();
        let scores = local::wait(poll_fn(|cx| work.as_mut().poll_output(cx))).unwrap();
        (scores, work.as_ref().usage())
    };
    let text = |number: usize| format!("At {number}, or {}.", "later ".repeat(number));
    let many: Vec<String> = (0..20).map(text).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (scores, used) = ask(&many);
    let alone: Vec<_> = many.iter().map(|document| ask(&[document])).collect();
    assert_eq!(scores, alone.iter().flat_map(|(scores, _)| scores.clone()).collect::<Vec<_>>());
    assert!(alone.iter().all(|(_, used)| used.cached_read == 0));
    let whole: u64 = alone.iter().map(|(_, used)| used.input).sum();
    assert_eq!(used.prompt_total(), whole);
    // All but the first find the template's text before the document in the cache, in whole blocks.
    let (form, block) = (ask(&["At"]).1.input, BLOCK as u64);
    let each = used.cached_read / (many.len() as u64 - 1);
    assert_eq!(used.cached_read, each * (many.len() as u64 - 1));
    assert!(each.is_multiple_of(block) && each > form / 2 && each < form, "{each} of {form}");
}

#[test]
fn a_head_of_its_own_is_what_judges() {
    // Of two rows in GGUF files, and of their difference in safetensors.
    let words = made(SyntheticPurpose::Answers);
    let directory = tempfile::tempdir().unwrap();
    words.write_plain(&directory.path().join("reranker"), false).unwrap();
    let source = Source::open(&directory.path().join("reranker")).unwrap();
    let vocabulary = source.assets().unwrap().vocabulary;
    let table = &words.tensors["model.embed_tokens.weight"].1;
    let [yes, no] = ["yes", "no"].map(|word| {
        let at = vocabulary.special_token_id(word).unwrap() as usize * 64;
        table[at..at + 64].to_vec()
    });
    let mut one = made(SyntheticPurpose::Ranks);
    let mut two = one.clone();
    let lead = yes.iter().zip(&no).map(|(yes, no)| yes - no).collect();
    one.tensors.insert("score.weight".to_owned(), (vec![1, 64], lead));
    two.tensors.insert("score.weight".to_owned(), (vec![2, 64], [yes, no].concat()));
    let wanted = open_as(&directory.path().join("reranker"), "tiny").unwrap();
    let (wanted, _) = rank(&wanted, question(&DOCUMENTS)).unwrap();
    for local in [plain(&one, "tiny"), packed(&one, "tiny"), packed(&two, "tiny")] {
        assert_eq!(local.models()[0].operations.operation_names(), ["rerank"]);
        let (scores, _) = rank(&local, question(&DOCUMENTS)).unwrap();
        let near = scores.iter().zip(&wanted).all(|(score, wanted)| (score - wanted).abs() < 1e-5);
        assert!(near, "{scores:?} {wanted:?}");
    }
    let answer = GenerateRequest { model: "tiny".to_owned(), ..GenerateRequest::default() };
    assert_eq!(wrong(plain(&one, "tiny").generate(answer).map(drop)).0, "unsupported_operation");
    // Unknown labels.
    let plain_two = tempfile::tempdir().unwrap();
    two.write_plain(plain_two.path(), false).unwrap();
    let error = open_as(plain_two.path(), "tiny").unwrap_err().to_string();
    assert!(error.contains("a head of one row"), "{error}");
}

#[test]
fn a_model_without_the_words_is_not_taken_for_one_that_ranks() {
    let mut made = made(SyntheticPurpose::Answers);
    made.tokens = Some(Tokens::new("qwen2", TEMPLATE, shape().vocabulary));
    let (directory, _) = source(&made, None);
    assert!(open_as(directory.path(), "tiny").is_ok());
    let error = open_as(directory.path(), "tiny-reranker").unwrap_err().to_string();
    assert!(error.contains("\"yes\"") && error.contains("no such token"), "{error}");
}

#[test]
fn files_say_what_a_model_is_for() {
    let (directory, _) = source(&made(SyntheticPurpose::Vectors), None);
    let at = |name: &str| directory.path().join(name);
    let purpose = || Source::open(directory.path()).unwrap().purpose("tiny");
    let Purpose::Vectors(vectors) = purpose().unwrap() else { panic!("vectors") };
    assert_eq!(vectors.prompts["query"], "Instruct: find it\nQuery:");
    let write = |name: &str, json: serde_json::Value| std::fs::write(at(name), json.to_string()).unwrap();
    // Newer settings, and a flat directory.
    write("1_Pooling/config.json", json!({"pooling_mode": "lasttoken"}));
    assert!(matches!(purpose().unwrap(), Purpose::Vectors(_)));
    std::fs::rename(at("1_Pooling/config.json"), at("1_Pooling.json")).unwrap();
    std::fs::remove_file(at("modules.json")).unwrap();
    assert!(matches!(purpose().unwrap(), Purpose::Vectors(_)));
    write("1_Pooling.json", json!({"pooling_mode_mean_tokens": true, "pooling_mode_lasttoken": false}));
    let error = purpose().unwrap_err().to_string();
    assert!(error.contains("\"mean_tokens\""), "{error}");
    std::fs::remove_file(at("1_Pooling.json")).unwrap();
    write("modules.json", json!([{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]));
    let error = purpose().unwrap_err().to_string();
    assert!(error.contains("Dense"), "{error}");
    write("modules.json", json!([{"type": "sentence_transformers.cross_encoder.modules.LogitScore"}]));
    let Purpose::Ranks(ranks) = purpose().unwrap() else { panic!("ranks") };
    assert_eq!(ranks.judge, RerankHead::Words("yes".to_owned(), "no".to_owned()));
    std::fs::remove_file(at("modules.json")).unwrap();
    assert_eq!(purpose().unwrap(), Purpose::Answers);
}

#[test]
fn stacked_experts_are_the_experts() {
    let made = SyntheticModel::new("qwen3_moe", shapes::mixture(), 7);
    let load = |made: &SyntheticModel| load_model(&source(made, None).1);
    let tokens = text(40, 1);
    let state = |made: &SyntheticModel| state_of(KvDtype::F16, &load(made).unwrap(), &tokens);
    assert_eq!(state(&made), state(&made.stacked()));
    let mut turned = made.stacked();
    let (shape, _) = turned.tensors.get_mut("model.layers.1.mlp.experts.down_proj").unwrap();
    *shape = vec![4, 64, 128];
    let error = load(&turned).unwrap_err().to_string();
    assert!(error.contains("experts.down_proj"), "{error}");
}

#[test]
fn a_model_without_a_head_says_nothing() {
    let mut made = made(SyntheticPurpose::Vectors);
    made.shape.is_tied = false;
    let mut bare = made.bare();
    assert_eq!(plain(&bare, "tiny").models()[0].operations.operation_names(), ["embeddings"]);
    let directory = tempfile::tempdir().unwrap();
    bare.makes = SyntheticPurpose::Answers;
    bare.write_plain(directory.path(), false).unwrap();
    let error = open_as(directory.path(), "tiny").unwrap_err().to_string();
    assert!(error.contains("lm_head.weight"), "{error}");
}

#[test]
fn models_are_told_apart() {
    let digest = |seed, context, packing| {
        let made = SyntheticModel::new("qwen3", Architecture { context, ..shapes::dense() }, seed);
        let (_directory, source) = source(&made, packing);
        source.digest().unwrap()
    };
    for packing in [None, Some(Packing::F32)] {
        assert_eq!(digest(7, 512, packing), digest(7, 512, packing));
        assert_ne!(digest(7, 512, packing), digest(8, 512, packing));
        assert_ne!(digest(7, 512, packing), digest(7, 256, packing));
    }
}
