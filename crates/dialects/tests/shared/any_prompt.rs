//! Strategies for arbitrary prompts that Anthropic's dialect can express.

use domain::Grammar;
use domain::prompt::{
    CacheLifetime, CacheMark, Caching, Content, Effort, Instruction, Json, Output, OutputFormat, Part,
    Prompt, Reasoning, Role, Sampling, ServiceTier, Signature, Source, ThinkingVisibility, Thought, Tool,
    ToolCall, ToolChoice, ToolKind, ToolResult, Turn,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z é\"\\\\\n\u{1f600}]{0,12}[a-z]"
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_-]{1,12}"
}

fn json() -> impl Strategy<Value = String> {
    select(vec![
        r#"{}"#,
        r#"{"n":9007199254740993,"n":1}"#,
        r#"{ "a" : [1.0, "\u00e9", null] }"#,
        "{\"b\":\n{\"c\":true}}",
    ])
    .prop_map(str::to_owned)
}

/// Whether there is a breakpoint: all of a prompt's breakpoints get one lifetime.
fn mark() -> impl Strategy<Value = Option<CacheMark>> {
    option::weighted(0.1, Just(CacheMark { lifetime: None }))
}

fn with_mark(content: impl Strategy<Value = Content>) -> impl Strategy<Value = Part> {
    (content, mark()).prop_map(|(content, cache)| Part { cache, ..Part::of(content) })
}

fn plain_text() -> impl Strategy<Value = Content> {
    text().prop_map(|text| Content::Text { text, citations: Vec::new() })
}

fn file() -> impl Strategy<Value = Source> {
    word().prop_map(|id| Source::File { id: format!("file_{id}"), media_type: None })
}

fn url() -> impl Strategy<Value = Source> {
    word().prop_map(|name| Source::Url { url: format!("https://example.com/{name}"), media_type: None })
}

fn inline(media_type: &'static str) -> impl Strategy<Value = Source> {
    word().prop_map(move |base64| Source::Inline { media_type: media_type.to_owned(), base64 })
}

fn user_content() -> impl Strategy<Value = Content> {
    let image = prop_oneof![inline("image/png"), url(), file()]
        .prop_map(|source| Content::Image { source, detail: None });
    let source = prop_oneof![inline("application/pdf"), text().prop_map(Source::Text), url(), file()];
    let document = (source, option::of(text()), option::of(text()), any::<bool>())
        .prop_map(|(source, name, context, cite)| Content::Document { source, name, context, cite });
    prop_oneof![plain_text(), image, document]
}

fn assistant_part() -> impl Strategy<Value = Part> {
    let citation = select(vec![
        Json(r#"{"type":"char_location","cited_text":"x","document_index":0}"#.to_owned()),
        Json(r#"{ "type": "web_search_result_location", "url": "u" }"#.to_owned()),
    ]);
    let cited = (text(), vec(citation, 0..2)).prop_map(|(text, citations)| Content::Text { text, citations });
    let used = r#"{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"x"}}"#;
    let foreign = Just(Content::Foreign { kind: "server_tool_use".to_owned(), json: Json(used.to_owned()) });
    let seal = word().prop_map(|value| Some(Signature { grammar: Grammar::Anthropic, value }));
    let thought = (text(), seal, any::<bool>()).prop_map(|(text, signature, is_redacted)| {
        let text = if is_redacted { String::new() } else { text };
        Content::Thought(Thought { text, signature, is_redacted, ..Thought::default() })
    });
    prop_oneof![with_mark(cited), foreign.prop_map(Part::of), thought.prop_map(Part::of)]
}

/// A turn, or a turn with tool calls and the turn of their results.
#[derive(Debug, Clone)]
enum Step {
    Turn(Turn),
    Calls(Vec<Part>, Vec<Called>),
}

/// A call's tool and arguments, and its result: the parts, whether it failed, and its cache breakpoint.
type Called = (String, String, Vec<Part>, bool, Option<CacheMark>);

fn step() -> impl Strategy<Value = Step> {
    let turn = |role: Role| move |parts: Vec<Part>| Step::Turn(Turn { role, name: None, parts });
    let call = (word(), json(), vec(with_mark(user_content()), 0..3), any::<bool>(), mark());
    prop_oneof![
        vec(with_mark(user_content()), 1..4).prop_map(turn(Role::User)),
        vec(assistant_part(), 1..4).prop_map(turn(Role::Assistant)),
        vec(with_mark(plain_text()), 1..3).prop_map(turn(Role::System)),
        (vec(assistant_part(), 0..2), vec(call, 1..4)).prop_map(|(parts, calls)| Step::Calls(parts, calls)),
    ]
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    (vec(with_mark(user_content()), 1..3), vec(step(), 0..6)).prop_map(|(first, steps)| {
        let mut turns = vec![Turn { role: Role::User, name: None, parts: first }];
        let mut count = 0;
        for step in steps {
            let (mut parts, calls) = match step {
                Step::Turn(turn) => {
                    turns.push(turn);
                    continue;
                }
                Step::Calls(parts, calls) => (parts, calls),
            };
            let mut results = Vec::new();
            for (name, arguments, inside, is_error, cache) in calls {
                count += 1;
                let id = format!("toolu_{count}");
                let result =
                    ToolResult { id: id.clone(), name: None, parts: inside, is_error, is_custom: false };
                results.push(Part { cache, ..Part::of(Content::ToolResult(result)) });
                let call = ToolCall { id, name, arguments, is_custom: false, signature: None };
                parts.push(Part::of(Content::ToolCall(call)));
            }
            turns.push(Turn { role: Role::Assistant, name: None, parts });
            turns.push(Turn { role: Role::Tool, name: None, parts: results });
        }
        turns
    })
}

fn tool() -> impl Strategy<Value = Tool> {
    let spaced =
        r#"{ "properties": {"a": {"type": "string"}}, "type": "object", "additionalProperties": false }"#;
    let schema = select(vec![
        Json(r#"{"type":"object","properties":{},"additionalProperties":false}"#.to_owned()),
        Json(spaced.to_owned()),
    ]);
    let function = (word(), option::of(text()), schema, option::of(any::<bool>())).prop_map(
        |(name, description, schema, strict)| ToolKind::Function {
            name,
            description,
            schema: Some(schema),
            strict,
        },
    );
    let hosted = Just(ToolKind::Hosted {
        kind: "web_search_20250305".to_owned(),
        json: Json(r#"{"type":"web_search_20250305","name":"web_search","max_uses":3}"#.to_owned()),
    });
    prop_oneof![
        4 => (function, mark()).prop_map(|(kind, cache)| Tool { kind, cache }),
        1 => hosted.prop_map(|kind| Tool { kind, cache: None }),
    ]
}

fn reasoning() -> impl Strategy<Value = Reasoning> {
    let visibility =
        select(vec![ThinkingVisibility::Summary, ThinkingVisibility::Unasked, ThinkingVisibility::Nothing])
            .prop_map(Some);
    let effort =
        option::of(select(vec![Effort::Low, Effort::Medium, Effort::High, Effort::XHigh, Effort::Max]));
    prop_oneof![
        Just(Reasoning::default()),
        Just(Reasoning { effort: Some(Effort::None), ..Reasoning::default() }),
        (visibility.clone(), effort.clone(), 1024_u64..4000).prop_map(|(visibility, effort, budget)| {
            Reasoning { budget_tokens: Some(budget), effort, visibility, ..Reasoning::default() }
        }),
        (visibility, effort).prop_map(|(visibility, effort)| Reasoning {
            is_adaptive: true,
            effort,
            visibility,
            ..Reasoning::default()
        }),
    ]
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let number = |words: &'static [&'static str]| option::of(select(words).prop_map(|w| Json(w.to_owned())));
    (number(&["0", "0.50", "1", "1e-1"]), number(&["0.95", "1.0"]), option::of(0..100_u64), vec(text(), 0..3))
        .prop_map(|(temperature, top_p, top_k, stop)| Sampling {
            // Claude takes one of the two.
            top_p: top_p.filter(|_| temperature.is_none()),
            temperature,
            top_k,
            stop,
            ..Sampling::default()
        })
}

fn output() -> impl Strategy<Value = Output> {
    // What Claude takes as it is.
    let schema =
        select(vec![r#"{ "type": "boolean" }"#, r#"{"enum":["a",1.50]}"#, "{}"]).prop_map(|schema| {
            let (name, description, strict) = (None, None, None);
            OutputFormat::JsonSchema { name, description, schema: Json(schema.to_owned()), strict }
        });
    (4000..100_000_u64, option::of(schema)).prop_map(|(tokens_max, format)| Output {
        tokens_max: Some(tokens_max),
        format,
        ..Output::default()
    })
}

fn choice() -> impl Strategy<Value = (Option<ToolChoice>, Option<bool>)> {
    let parallel = || option::of(any::<bool>());
    prop_oneof![
        Just((None, None)),
        Just((Some(ToolChoice::None), None)),
        parallel().prop_map(|parallel| (Some(ToolChoice::Auto), parallel)),
        parallel().prop_map(|parallel| (Some(ToolChoice::Required), parallel)),
        parallel().prop_map(|parallel| {
            (Some(ToolChoice::Named { name: String::new(), is_custom: false }), parallel)
        }),
    ]
}

pub(crate) fn prompt() -> impl Strategy<Value = Prompt> {
    let instruction =
        (text(), mark()).prop_map(|(text, cache)| Instruction { is_developer: false, text, cache });
    let lifetime = option::of(select(vec![CacheLifetime::Minutes5, CacheLifetime::Hour1]));
    let tier = option::of(select(vec![ServiceTier::Auto, ServiceTier::Default]));
    let conversation = (vec(instruction, 0..3), turns(), vec(tool(), 0..4), choice());
    let how = (sampling(), output(), reasoning(), tier, option::of(text()), any::<bool>(), mark(), lifetime);
    (conversation, how).prop_map(|((instructions, turns, tools, choice), how)| {
        let (sampling, output, reasoning, service_tier, end_user, stream, automatic, lifetime) = how;
        let (tool_choice, parallel_tools) = choice;
        let mut prompt = Prompt {
            instructions,
            turns,
            tools,
            tool_choice,
            parallel_tools,
            sampling,
            output,
            reasoning,
            caching: Caching { automatic, ..Caching::default() },
            stream,
            service_tier,
            end_user,
            ..Prompt::default()
        };
        settle_choice(&mut prompt);
        settle_thinking(&mut prompt);
        settle_marks(&mut prompt, lifetime);
        prompt
    })
}

/// Keeps only a tool choice that the tools allow.
fn settle_choice(prompt: &mut Prompt) {
    let named = prompt.tools.iter().find_map(|tool| match &tool.kind {
        ToolKind::Function { name, .. } => Some(name.clone()),
        _ => None,
    });
    match (&mut prompt.tool_choice, named) {
        (Some(ToolChoice::Named { name, .. }), Some(known)) => *name = known,
        (_, None) => (prompt.tool_choice, prompt.parallel_tools) = (None, None),
        _ => {}
    }
}

/// Enables thinking only where Anthropic would accept it.
fn settle_thinking(prompt: &mut Prompt) {
    let is_forced = matches!(prompt.tool_choice, Some(ToolChoice::Required | ToolChoice::Named { .. }));
    let mut since = prompt.turns.iter().rev().take_while(|turn| turn.role != Role::Assistant);
    let is_loop = since.any(|turn| turn.role == Role::Tool);
    let thinks = prompt.reasoning.is_adaptive || prompt.reasoning.budget_tokens.is_some();
    if is_forced || is_loop {
        prompt.reasoning = Reasoning::default();
    } else if thinks {
        prompt.sampling.temperature = None;
        prompt.sampling.top_k = None;
    }
}

/// At most four breakpoints, all of one lifetime.
fn settle_marks(prompt: &mut Prompt, lifetime: Option<CacheLifetime>) {
    let mut left = 4;
    let mut settle = |mark: &mut Option<CacheMark>| {
        if left == 0 {
            *mark = None;
        }
        if let Some(mark) = mark {
            left -= 1;
            mark.lifetime = lifetime;
        }
    };
    settle(&mut prompt.caching.automatic);
    prompt.tools.iter_mut().for_each(|tool| settle(&mut tool.cache));
    prompt.instructions.iter_mut().for_each(|instruction| settle(&mut instruction.cache));
    for part in prompt.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        if let Content::ToolResult(result) = &mut part.content {
            result.parts.iter_mut().for_each(|inner| settle(&mut inner.cache));
        }
        settle(&mut part.cache);
    }
}
