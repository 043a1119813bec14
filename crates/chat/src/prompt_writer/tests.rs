//! Tests the written requests byte for byte, and that they read back.

use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use domain::prompt::*;
use domain::{Abilities, Grammar, Thinking};
use proptest::prelude::*;

use super::write_prompt;
use crate::prompt::read_prompt;

fn write_for(prompt: &Prompt, abilities: Abilities) -> (String, Vec<String>) {
    let mut losses = DroppedFields::new(Grammar::Anthropic, Grammar::Chat, dialects::feature_names);
    let body = write_prompt(prompt, &TargetModel { model: "m", abilities }, &mut losses).unwrap();
    (String::from_utf8(body).unwrap(), losses.finish(true).unwrap())
}

fn turn(role: Role, parts: Vec<Part>) -> Turn {
    Turn { role, name: None, parts }
}

fn prompt_of(turns: Vec<Turn>) -> Prompt {
    Prompt { turns, ..Prompt::default() }
}

fn user() -> Turn {
    turn(Role::User, vec![Part::text("Hi")])
}

/// The messages, and the dropped fields.
#[track_caller]
fn check(turns: Vec<Turn>, messages: &str, lost: &[&str]) {
    let (body, dropped) = write_for(&prompt_of(turns), Abilities::default());
    assert_eq!(body, format!(r#"{{"model":"m","messages":[{messages}]}}"#));
    assert_eq!(dropped, lost);
}

fn image() -> Content {
    let source = Source::Inline { media_type: "image/png".to_owned(), base64: "AA==".to_owned() };
    Content::Image { source, detail: None }
}

fn result(id: &str, parts: Vec<Part>, is_error: bool) -> Part {
    Part::of(Content::ToolResult(ToolResult {
        id: id.to_owned(),
        name: None,
        parts,
        is_error,
        is_custom: false,
    }))
}

fn call(id: &str, arguments: &str) -> ToolCall {
    ToolCall {
        id: id.to_owned(),
        name: "f".to_owned(),
        arguments: arguments.to_owned(),
        is_custom: false,
        signature: None,
    }
}

#[test]
fn no_longer_answer_is_asked_for_than_the_model_gives() {
    let prompt = Prompt {
        output: Output { tokens_max: Some(32_000), ..Output::default() },
        ..prompt_of(vec![user()])
    };
    for (most, old_length_name, expected) in [
        (None, false, r#""max_completion_tokens":32000"#),
        (Some(16_384), false, r#""max_completion_tokens":16384"#),
        (Some(16_384), true, r#""max_tokens":16384"#),
        (Some(64_000), true, r#""max_tokens":32000"#),
    ] {
        let abilities =
            Abilities { output_tokens_max: most, uses_max_tokens: old_length_name, ..Abilities::default() };
        let (body, lost) = write_for(&prompt, abilities);
        assert!(body.contains(expected) && lost.is_empty(), "{body}");
    }
}

#[test]
fn results_are_messages_of_their_own_and_their_media_go_to_the_user() {
    check(
        vec![
            turn(
                Role::Tool,
                vec![
                    result("1", vec![Part::text("seen"), Part::of(image())], false),
                    result("2", vec![Part::of(image())], true),
                    result("3", vec![], false),
                ],
            ),
            turn(Role::User, vec![Part::text("And?")]),
        ],
        concat!(
            r#"{"role":"tool","tool_call_id":"1","content":"seen"},"#,
            r#"{"role":"tool","tool_call_id":"2","content":"Error: The result follows in the next message of the user."},"#,
            r#"{"role":"tool","tool_call_id":"3","content":""},"#,
            r#"{"role":"user","content":[{"type":"text","text":"From the result of call 1:"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}},"#,
            r#"{"type":"text","text":"From the result of call 2:"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}},{"type":"text","text":"And?"}]}"#,
        ),
        &[],
    );
    // Without a following user message, they get a message of their own.
    check(
        vec![
            turn(Role::Tool, vec![result("1", vec![Part::of(image())], false)]),
            turn(Role::Assistant, vec![Part::text("a")]),
        ],
        concat!(
            r#"{"role":"tool","tool_call_id":"1","content":"The result follows in the next message of the user."},"#,
            r#"{"role":"user","content":[{"type":"text","text":"From the result of call 1:"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]},"#,
            r#"{"role":"assistant","content":"a"}"#,
        ),
        &[],
    );
}

#[test]
fn an_assistant_says_and_calls_in_one_message() {
    let thought = Part::of(Content::Thought(Thought { text: "hm".to_owned(), ..Thought::default() }));
    let mut sealed = call("2", "");
    sealed.signature = Some(Signature { grammar: Grammar::Anthropic, value: "s".to_owned() });
    check(
        vec![
            user(),
            turn(
                Role::Assistant,
                vec![
                    thought,
                    Part::text("a"),
                    Part::of(Content::ToolCall(call("1", "{\"n\":1e400}"))),
                    Part::of(Content::ToolCall(sealed)),
                ],
            ),
        ],
        concat!(
            r#"{"role":"user","content":"Hi"},{"role":"assistant","content":"a","tool_calls":["#,
            r#"{"type":"function","id":"1","function":{"name":"f","arguments":"{\"n\":1e400}"}},"#,
            r#"{"type":"function","id":"2","function":{"name":"f","arguments":"{}"}}]}"#,
        ),
        &["thinking"],
    );
    let mut custom = call("1", "free");
    custom.is_custom = true;
    check(
        vec![turn(Role::Assistant, vec![Part::of(Content::ToolCall(custom))])],
        r#"{"role":"assistant","content":null,"tool_calls":[{"type":"custom","id":"1","custom":{"name":"f","input":"free"}}]}"#,
        &[],
    );
    check(
        vec![
            turn(Role::Assistant, vec![Part::of(Content::Refusal { text: "no".to_owned() })]),
            turn(Role::Assistant, vec![]),
        ],
        r#"{"role":"assistant","content":null,"refusal":"no"},{"role":"assistant","content":""}"#,
        &[],
    );
}

#[test]
fn documents_are_files_or_text() {
    let document = |source, name: Option<&str>| {
        Part::of(Content::Document { source, name: name.map(str::to_owned), context: None, cite: false })
    };
    let pdf = Source::Inline { media_type: "application/pdf".to_owned(), base64: "AA==".to_owned() };
    check(
        vec![turn(
            Role::User,
            vec![
                document(pdf, None),
                document(Source::Text("words".to_owned()), Some("a.txt")),
                document(Source::Url { url: "https://a".to_owned(), media_type: None }, None),
                document(Source::File { id: "f".to_owned(), media_type: None }, None),
            ],
        )],
        concat!(
            r#"{"role":"user","content":[{"type":"file","file":{"file_data":"data:application/pdf;base64,AA==","filename":"document.pdf"}},"#,
            r#"{"type":"text","text":"a.txt\n\nwords"}]}"#,
        ),
        &["document", "file_id"],
    );
}

#[test]
fn instructions_are_one_message_of_whoever_gives_them_there() {
    let instruction = |text: &str, cache| Instruction { is_developer: false, text: text.to_owned(), cache };
    let mark = Some(CacheMark { lifetime: Some(CacheLifetime::Minutes5) });
    let prompt =
        Prompt { instructions: vec![instruction("a", None), instruction("b", mark)], ..prompt_of(vec![]) };
    let (body, lost) = write_for(&prompt, Abilities::default());
    assert_eq!(
        body,
        r#"{"model":"m","messages":[{"role":"system","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#
    );
    assert_eq!(lost, ["cache_control"]);
    let able = Abilities { developer_role: true, cache_marks: true, ..Abilities::default() };
    let (body, lost) = write_for(&prompt, able);
    let expected = r#"[{"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"b","prompt_cache_breakpoint":{"mode":"explicit","ttl":"30m"}}]}]"#;
    assert_eq!((body, lost), (format!(r#"{{"model":"m","messages":{expected}}}"#), vec![]));
}

/// The fields other than model and messages, and the dropped fields.
#[track_caller]
fn settings(prompt: &Prompt, abilities: Abilities, expected: &str, lost: &[&str]) {
    let (body, dropped) = write_for(prompt, abilities);
    let fields = body.strip_prefix(r#"{"model":"m","messages":[]"#).unwrap().strip_suffix('}').unwrap();
    assert_eq!(fields.trim_start_matches(','), expected);
    assert_eq!(dropped, lost);
}

#[test]
fn settings_are_said_as_the_model_takes_them() {
    let length =
        || Prompt { output: Output { tokens_max: Some(7), ..Output::default() }, ..Prompt::default() };
    let old = Abilities { uses_max_tokens: true, ..Abilities::default() };
    settings(&length(), Abilities::default(), r#""max_completion_tokens":7"#, &[]);
    settings(&length(), old, r#""max_tokens":7"#, &[]);
    let stream = Prompt { stream: true, ..Prompt::default() };
    settings(&stream, Abilities::default(), r#""stream":true,"stream_options":{"include_usage":true}"#, &[]);
    let drawn = Sampling {
        temperature: Some(Json("0.50".to_owned())),
        top_p: Some(Json("1".to_owned())),
        top_k: Some(3),
        ..Sampling::default()
    };
    let drawn = || Prompt { sampling: drawn.clone(), ..Prompt::default() };
    settings(&drawn(), Abilities::default(), r#""temperature":0.50,"top_p":1"#, &["top_k"]);
    let refuses = Abilities { refuses_sampling: true, ..Abilities::default() };
    settings(&drawn(), refuses, "", &["top_k", "temperature", "top_p"]);
    // Settings about tools are omitted where there are no tools.
    let single = Prompt { parallel_tools: Some(false), ..Prompt::default() };
    settings(&single, Abilities::default(), "", &[]);
    let idle = Prompt { tool_choice: Some(ToolChoice::Auto), ..Prompt::default() };
    settings(&idle, Abilities::default(), "", &[]);
    let needed = Prompt { tool_choice: Some(ToolChoice::Required), ..Prompt::default() };
    settings(&needed, Abilities::default(), r#""tool_choice":"required""#, &[]);
}

#[test]
fn an_effort_is_said_or_made_of_the_budget() {
    let thinks = |effort, budget_tokens| Prompt {
        reasoning: Reasoning { effort, budget_tokens, ..Reasoning::default() },
        ..Prompt::default()
    };
    let never = Abilities { thinking: Thinking::Never, ..Abilities::default() };
    let usual = Abilities::default();
    settings(&thinks(Some(Effort::Max), None), usual, r#""reasoning_effort":"max""#, &[]);
    settings(&thinks(None, Some(5000)), usual, r#""reasoning_effort":"medium""#, &[]);
    settings(
        &thinks(Some(Effort::Low), Some(5000)),
        usual,
        r#""reasoning_effort":"low""#,
        &["thinking.budget_tokens"],
    );
    settings(&thinks(Some(Effort::Low), None), never, "", &["thinking"]);
    settings(&thinks(Some(Effort::None), None), never, "", &[]);
}

#[test]
fn what_can_not_be_asked_is_a_fault_with_its_field() {
    let fault = |prompt: &Prompt| {
        let mut losses = DroppedFields::new(Grammar::Anthropic, Grammar::Chat, dialects::feature_names);
        let target = TargetModel { model: "m", abilities: Abilities::default() };
        write_prompt(prompt, &target, &mut losses).unwrap_err()
    };
    let mut prompt = Prompt::default();
    prompt.sampling.stop = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    assert_eq!(fault(&prompt).param.as_deref(), Some("stop_sequences"));
}

fn word() -> impl Strategy<Value = String> {
    "[a-z é\"\\\\\\n]{1,8}"
}

fn mark() -> impl Strategy<Value = Option<CacheMark>> {
    let lifetimes = [None, Some(CacheLifetime::Minutes30), Some(CacheLifetime::Hours12)];
    prop::option::of(prop::sample::select(lifetimes.to_vec()).prop_map(|lifetime| CacheMark { lifetime }))
}

fn text_part() -> impl Strategy<Value = Part> {
    (word(), mark()).prop_map(|(text, cache)| Part { cache, ..Part::text(text) })
}

fn inline(media_type: &'static str) -> impl Strategy<Value = Source> {
    "[A-Za-z0-9+/]{4,8}".prop_map(move |base64| Source::Inline { media_type: media_type.to_owned(), base64 })
}

fn user_part() -> impl Strategy<Value = Part> {
    let url = "https://[a-z]{1,5}".prop_map(|url| Source::Url { url, media_type: None });
    let images = (prop_oneof![inline("image/png"), url], prop::option::of("low|high|original"))
        .prop_map(|(source, detail)| Content::Image { source, detail });
    let audio =
        prop_oneof![inline("audio/wav"), inline("audio/mp3")].prop_map(|source| Content::Audio { source });
    let file = (inline("application/pdf"), word()).prop_map(|(source, name)| Content::Document {
        source,
        name: Some(name),
        context: None,
        cite: false,
    });
    let media = (prop_oneof![images, audio, file], mark())
        .prop_map(|(content, cache)| Part { cache, ..Part::of(content) });
    prop_oneof![text_part(), media]
}

fn calls() -> impl Strategy<Value = Vec<(String, String, bool)>> {
    prop::collection::vec((word(), prop_oneof![Just("{\"n\":1e99}".to_owned()), word()], any::<bool>()), 0..3)
}

/// An assistant turn with its calls, and the results of all of them.
fn exchange() -> impl Strategy<Value = Vec<Turn>> {
    let texts = prop::collection::vec(text_part(), 0..3);
    let refusal = prop::option::of(word());
    let results = prop::collection::vec(text_part(), 0..3);
    (texts, refusal, calls(), results, any::<u32>(), prop::option::of(word())).prop_map(
        |(mut parts, refusal, calls, result_parts, number, name)| {
            parts.extend(refusal.map(|text| Part::of(Content::Refusal { text })));
            let mut results = Vec::new();
            for (index, (name, arguments, is_custom)) in calls.into_iter().enumerate() {
                let id = format!("call{number}_{index}_{is_custom}");
                let arguments = if arguments.trim().is_empty() { "{}".to_owned() } else { arguments };
                let call = ToolCall { id: id.clone(), name, arguments, is_custom, signature: None };
                parts.push(Part::of(Content::ToolCall(call)));
                let result =
                    ToolResult { id, name: None, parts: result_parts.clone(), is_error: false, is_custom };
                results.push(Part::of(Content::ToolResult(result)));
            }
            let mut turns = vec![Turn { role: Role::Assistant, name, parts }];
            turns.extend((!results.is_empty()).then(|| turn(Role::Tool, results)));
            turns
        },
    )
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let one_turn = |role, part: BoxedStrategy<Part>| {
        (prop::collection::vec(part, 0..3), prop::option::of(word()))
            .prop_map(move |(parts, name)| vec![Turn { role, name, parts }])
    };
    let user = || one_turn(Role::User, user_part().boxed());
    let more = prop_oneof![user(), one_turn(Role::Developer, text_part().boxed()), exchange()];
    (user(), prop::collection::vec(more, 0..5))
        .prop_map(|(first, more)| first.into_iter().chain(more.into_iter().flatten()).collect())
}

fn tools() -> impl Strategy<Value = Vec<Tool>> {
    let schema = prop::option::of(Just(Json("{\"type\":\"object\",\"properties\":{}}".to_owned())));
    let function = (word(), prop::option::of(word()), schema, any::<Option<bool>>()).prop_map(
        |(name, description, schema, strict)| ToolKind::Function { name, description, schema, strict },
    );
    let format = prop::option::of(Just(Json("{\"type\":\"text\"}".to_owned())));
    let custom = (word(), prop::option::of(word()), format)
        .prop_map(|(name, description, format)| ToolKind::Custom { name, description, format });
    prop::collection::vec(prop_oneof![function, custom].prop_map(|kind| Tool { kind, cache: None }), 0..3)
}

fn tool_choice() -> impl Strategy<Value = Option<ToolChoice>> {
    prop::option::of(prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        Just(ToolChoice::Required),
        (word(), any::<bool>()).prop_map(|(name, is_custom)| ToolChoice::Named { name, is_custom }),
        (prop::collection::vec(word(), 1..3), any::<bool>())
            .prop_map(|(names, is_required)| ToolChoice::Allowed { names, is_required }),
    ])
}

fn number() -> impl Strategy<Value = Option<Json>> {
    prop::option::of("-?[1-9][0-9]{0,2}(\\.[0-9]{1,3})?(e-?[1-9])?".prop_map(Json))
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let counts =
        (any::<Option<i64>>(), any::<bool>(), prop::option::of(0_u64..20), prop::option::of(2_u32..128));
    let stop = prop::collection::vec(word(), 0..=4);
    (number(), number(), number(), number(), counts, stop).prop_map(
        |(
            temperature,
            top_p,
            presence_penalty,
            frequency_penalty,
            (seed, logprobs, top_logprobs, choices),
            stop,
        )| {
            Sampling {
                temperature,
                top_p,
                top_k: None,
                seed,
                presence_penalty,
                frequency_penalty,
                logit_bias: None,
                stop,
                logprobs,
                top_logprobs,
                choices,
            }
        },
    )
}

fn output() -> impl Strategy<Value = Output> {
    let schema =
        (word(), prop::option::of(word()), any::<Option<bool>>()).prop_map(|(name, description, strict)| {
            OutputFormat::JsonSchema {
                name: Some(name),
                description,
                schema: Json("{\"a\": [1]}".to_owned()),
                strict,
            }
        });
    let format = prop_oneof![Just(OutputFormat::Text), Just(OutputFormat::JsonObject), schema];
    let audio = prop::option::of(Just(Json("{\"voice\":\"v\",\"format\":\"wav\"}".to_owned())));
    let modalities = prop::collection::vec("audio|image", 0..2);
    (prop::option::of(1_u64..), prop::option::of(format), audio, modalities, prop::option::of("low|high"))
        .prop_map(|(tokens_max, format, audio, modalities, verbosity)| Output {
            tokens_max,
            format,
            modalities,
            audio,
            verbosity,
            prediction: None,
        })
}

fn caching() -> impl Strategy<Value = Caching> {
    (prop::option::of(word()), prop::option::of(word()), mark())
        .prop_map(|(key, retention, automatic)| Caching { key, automatic, retention, content: None })
}

/// Prompts that this format can express for a model that accepts all of it.
fn prompt() -> impl Strategy<Value = Prompt> {
    let instructions = prop::collection::vec(
        (word(), mark()).prop_map(|(text, cache)| Instruction { is_developer: true, text, cache }),
        0..3,
    );
    let tiers = [ServiceTier::Auto, ServiceTier::Default, ServiceTier::Flex, ServiceTier::Priority];
    let about = (
        prop::option::of(prop::sample::select(Effort::ALL.to_vec())),
        any::<Option<bool>>(),
        prop::option::of(prop::sample::select(tiers.to_vec())),
        prop::option::of(word()),
        prop::collection::btree_map(word(), word(), 0..3),
        any::<(bool, Option<bool>)>(),
    );
    let tools = (tools(), tool_choice());
    (instructions, turns(), tools, sampling(), output(), caching(), about).prop_map(
        |(instructions, turns, (tools, tool_choice), sampling, output, caching, about)| {
            let (effort, store, service_tier, end_user, metadata, (stream, parallel_tools)) = about;
            let idle = tools.is_empty();
            let thinks = effort.is_some_and(|effort| effort != Effort::None);
            let visibility = thinks.then_some(ThinkingVisibility::Unasked);
            let tool_choice =
                tool_choice.filter(|choice| !(idle && matches!(choice, ToolChoice::Auto | ToolChoice::None)));
            Prompt {
                instructions,
                turns,
                parallel_tools: parallel_tools.filter(|_| !tools.is_empty()),
                tools,
                tool_choice,
                sampling,
                output,
                reasoning: Reasoning { effort, visibility, ..Reasoning::default() },
                caching,
                stream,
                store,
                service_tier,
                end_user,
                metadata: metadata.into_iter().collect(),
                ..Prompt::default()
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back(prompt in prompt(), old_length_name: bool) {
        let abilities = Abilities { developer_role: true, cache_marks: true, uses_max_tokens: old_length_name, ..Abilities::default() };
        let (body, lost) = write_for(&prompt, abilities);
        prop_assert!(lost.is_empty(), "{lost:?}");
        prop_assert_eq!(read_prompt(body.as_bytes()).unwrap(), prompt, "{}", body);
    }
}
