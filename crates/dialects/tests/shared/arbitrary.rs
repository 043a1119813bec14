//! Strategies for arbitrary prompts and responses that Gemini's dialect can express.

use domain::prompt::{
    Caching, Content, Effort, Instruction, Output, OutputFormat, Part, Reasoning, Role, Sampling,
    ServiceTier, Signature, Source, ThinkingVisibility, Thought, Tool, ToolCall, ToolChoice, ToolKind,
    ToolResult, Turn,
};
use domain::{Grammar, Json, Prompt};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub fn words() -> impl Strategy<Value = String> {
    "[ -~é\n\u{2028}\u{1F600}]{1,12}"
}

pub fn name() -> impl Strategy<Value = String> {
    "[a-z_]{1,8}"
}

/// Objects that a parser would change: numbers beyond 2^53, duplicate names, whitespace.
pub fn object() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{}".to_owned()),
        Just(r#"{"a":9007199254740993,"a":1.50}"#.to_owned()),
        name().prop_map(|name| format!(r#"{{"{name}":[1,{{"x":null}}]}}"#)),
        words().prop_map(|text| serde_json::json!({ "text": text, "n": 1e300 }).to_string()),
    ]
}

fn number() -> impl Strategy<Value = Json> {
    prop_oneof![Just("0.70"), Just("1"), Just("-2e-1")].prop_map(|text| Json(text.to_owned()))
}

fn signature() -> impl Strategy<Value = Option<Signature>> {
    let value = "[A-Za-z0-9+/]{4,8}=";
    option::of(value.prop_map(|value| Signature { grammar: Grammar::Gemini, value }))
}

fn source(media_type: &'static str, ending: &'static str) -> impl Strategy<Value = Source> {
    let media_type = media_type.to_owned();
    let web = media_type.clone();
    let file = media_type.clone();
    prop_oneof![
        "([A-Za-z0-9+/]{4}){1,3}"
            .prop_map(move |base64| Source::Inline { media_type: media_type.clone(), base64 }),
        name().prop_map(move |name| Source::Url {
            url: format!("https://x/{name}.{ending}"),
            media_type: Some(web.clone())
        }),
        name().prop_map(move |name| Source::File {
            id: format!("files/{name}"),
            media_type: Some(file.clone())
        }),
    ]
}

fn media() -> impl Strategy<Value = Content> {
    prop_oneof![
        source("image/png", "png").prop_map(|source| Content::Image { source, detail: None }),
        source("audio/wav", "wav").prop_map(|source| Content::Audio { source }),
        source("video/mp4", "mp4").prop_map(|source| Content::Video { source }),
        (source("application/pdf", "pdf"), option::of(name())).prop_map(|(source, name)| Content::Document {
            source,
            name,
            context: None,
            cite: false
        }),
    ]
}

fn text() -> impl Strategy<Value = Content> {
    words().prop_map(|text| Content::Text { text, citations: Vec::new() })
}

/// What an assistant says before its tool calls.
fn assistant_content() -> impl Strategy<Value = Content> {
    let thought = (words(), signature()).prop_map(|(text, signature)| {
        Content::Thought(Thought { text, is_summary: true, signature, ..Thought::default() })
    });
    let seal = "[a-z]{4}".prop_map(|value| {
        let signature = Some(Signature { grammar: Grammar::Gemini, value });
        Content::Thought(Thought { signature, is_redacted: true, ..Thought::default() })
    });
    let foreign =
        object().prop_map(|json| Content::Foreign { kind: "executableCode".to_owned(), json: Json(json) });
    prop_oneof![4 => text(), 2 => thought, 1 => seal, 1 => foreign, 1 => media()]
}

/// A tool's name, its arguments, the signature, and the result.
type Step = (String, String, Option<Signature>, ToolOutput);

#[derive(Debug, Clone)]
enum ToolOutput {
    Nothing,
    Words(String),
    Object(String),
    Broke(String),
    Media(String, Content),
}

fn tool_output() -> impl Strategy<Value = ToolOutput> {
    prop_oneof![
        Just(ToolOutput::Nothing),
        words().prop_map(ToolOutput::Words),
        object().prop_filter("says something", |json| json != "{}").prop_map(ToolOutput::Object),
        words().prop_map(ToolOutput::Broke),
        (words(), media()).prop_map(|(text, media)| ToolOutput::Media(text, media)),
    ]
}

fn result_of(id: String, name: String, tool_output: ToolOutput) -> Part {
    let (parts, is_error) = match tool_output {
        ToolOutput::Nothing => (Vec::new(), false),
        ToolOutput::Words(text) | ToolOutput::Object(text) => (vec![Part::text(text)], false),
        ToolOutput::Broke(text) => (vec![Part::text(text)], true),
        ToolOutput::Media(text, media) => (vec![Part::text(text), Part::of(media)], false),
    };
    Part::of(Content::ToolResult(ToolResult { id, name: Some(name), parts, is_error, is_custom: false }))
}

/// User content, assistant content, and perhaps calls with their results.
fn exchange() -> impl Strategy<Value = (Vec<Content>, Vec<Content>, Vec<Step>)> {
    let user = vec(prop_oneof![text(), media()], 1..3);
    let step = (name(), object(), signature(), tool_output());
    (user, vec(assistant_content(), 0..4), vec(step, 0..3))
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    vec(exchange(), 1..4).prop_map(|exchanges| {
        let mut turns = Vec::new();
        let mut count = 0;
        let mut push = |role, parts: Vec<Part>| {
            if !parts.is_empty() {
                turns.push(Turn { role, name: None, parts });
            }
        };
        for (user, contents, steps) in exchanges {
            push(Role::User, user.into_iter().map(Part::of).collect());
            let mut assistant: Vec<Part> = contents.into_iter().map(Part::of).collect();
            let mut results = Vec::new();
            for (name, arguments, signature, tool_output) in steps {
                count += 1;
                let id = format!("id-{count}");
                results.push(result_of(id.clone(), name.clone(), tool_output));
                let call = ToolCall { id, name, arguments, is_custom: false, signature };
                assistant.push(Part::of(Content::ToolCall(call)));
            }
            push(Role::Assistant, assistant);
            push(Role::Tool, results);
        }
        turns
    })
}

fn tool() -> impl Strategy<Value = Tool> {
    let schema = option::of(name().prop_map(|name| {
        Json(format!(r#"{{"type":"object","properties":{{"{name}":{{"type":["string","null"]}}}}}}"#))
    }));
    let function = (name(), option::of(words()), schema).prop_map(|(name, description, schema)| {
        ToolKind::Function { name, description, schema, strict: None }
    });
    let hosted =
        object().prop_map(|json| ToolKind::Hosted { kind: "googleSearch".to_owned(), json: Json(json) });
    prop_oneof![3 => function, 1 => hosted].prop_map(|kind| Tool { kind, cache: None })
}

fn choice() -> impl Strategy<Value = ToolChoice> {
    prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        Just(ToolChoice::Required),
        name().prop_map(|name| ToolChoice::Named { name, is_custom: false }),
        vec(name(), 2..4).prop_map(|names| ToolChoice::Allowed { names, is_required: true }),
        vec(name(), 1..4).prop_map(|names| ToolChoice::Allowed { names, is_required: false }),
    ]
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let drawn = (option::of(number()), option::of(number()), option::of(0_u64..99), option::of(any::<i64>()));
    let bent = (option::of(number()), option::of(number()), vec(words(), 0..=5));
    let counts = (any::<bool>(), option::of(0_u64..20), option::of(1_u32..9));
    (drawn, bent, counts).prop_map(|(drawn, bent, counts)| Sampling {
        temperature: drawn.0,
        top_p: drawn.1,
        top_k: drawn.2,
        seed: drawn.3,
        presence_penalty: bent.0,
        frequency_penalty: bent.1,
        logit_bias: None,
        stop: bent.2,
        logprobs: counts.0,
        top_logprobs: counts.1,
        choices: counts.2,
    })
}

fn output() -> impl Strategy<Value = Output> {
    let schema = object().prop_map(|schema| {
        let (name, description, strict) = (None, None, None);
        OutputFormat::JsonSchema { name, description, schema: Json(schema), strict }
    });
    let format = prop_oneof![Just(OutputFormat::Text), Just(OutputFormat::JsonObject), schema];
    let modalities =
        prop_oneof![Just(Vec::new()), Just(vec!["audio".to_owned()]), Just(vec!["image".to_owned()])];
    let audio = option::of(name().prop_map(|name| Json(format!(r#"{{"voice":"{name}"}}"#))));
    let parts = (option::of(0_u64..1 << 40), option::of(format), modalities, audio);
    parts.prop_map(|(tokens_max, format, modalities, audio)| Output {
        tokens_max,
        format,
        modalities,
        audio,
        ..Output::default()
    })
}

fn reasoning() -> impl Strategy<Value = Reasoning> {
    let base = prop_oneof![
        Just(Reasoning::default()),
        proptest::sample::select(&Effort::ALL[..6])
            .prop_map(|effort| Reasoning { effort: Some(effort), ..Reasoning::default() }),
        (1_u64..1 << 40).prop_map(|budget| Reasoning { budget_tokens: Some(budget), ..Reasoning::default() }),
        Just(Reasoning { is_adaptive: true, ..Reasoning::default() }),
    ];
    let visibility =
        option::of(prop_oneof![Just(ThinkingVisibility::Nothing), Just(ThinkingVisibility::Summary)]);
    (base, visibility).prop_map(|(base, visibility)| Reasoning { visibility, ..base })
}

const TIERS: [ServiceTier; 3] = [ServiceTier::Default, ServiceTier::Flex, ServiceTier::Priority];

pub fn prompt() -> impl Strategy<Value = Prompt> {
    let conversation = (vec(words(), 0..3), turns(), vec(tool(), 0..4), option::of(choice()));
    let how = (sampling(), output(), reasoning());
    let labels = vec((name().prop_filter("begins so", |name| !name.starts_with('_')), name()), 0..3);
    let tier = option::of(proptest::sample::select(&TIERS[..]));
    let around = (option::of(name()), option::of(any::<bool>()), tier, labels, any::<bool>());
    let instruction = |text| Instruction { is_developer: false, text, cache: None };
    (conversation, how, around).prop_map(move |(conversation, how, around)| Prompt {
        instructions: conversation.0.into_iter().map(instruction).collect(),
        turns: conversation.1,
        tools: conversation.2,
        tool_choice: conversation.3,
        sampling: how.0,
        output: how.1,
        reasoning: how.2,
        caching: Caching { content: around.0, ..Caching::default() },
        store: around.1,
        service_tier: around.2,
        metadata: around.3,
        stream: around.4,
        ..Prompt::default()
    })
}
