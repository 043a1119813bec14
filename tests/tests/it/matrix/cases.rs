//! The cases of the SDK matrix: what each client sends, what the emulator answers, and what the client must
//! then see.

use harness::{At, Behaviour, ToolMode};

use super::parties::{Cell, Client, Seller};

named! {
    /// The requests that the SDKs send; their texts are in `tests/sdk/matrix.json`.
    Case, name:
    Text "text", System "instructions and history", Length "length", Stop "stop words", Image "image",
    Schema "schema", Tools "tools", Thinking "thinking", ThinkingTools "thinking with tools",
    Cached "cached prompt", NotFound "404", RateLimit "429", Failing "500", Cut "broken off",
}

/// How one model call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Stop,
    Length,
    StopSequence,
    Tools,
}

/// The expected result of one model call.
#[derive(Debug, Clone)]
pub struct Expected {
    pub text: String,
    /// The names of the tools that it calls.
    pub calls: Vec<&'static str>,
    pub ended: Ended,
    /// Its reasoning tokens.
    pub reasoning: u64,
}

/// How a failure surfaces in the SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The exception's class and HTTP status, in Python and in Node.
    pub seen: [(&'static str, Option<u16>); 2],
    /// The gateway's own attempts.
    pub tries: usize,
}

pub const UNICODE: &str = "né 漢字 🙂";
pub const WEATHER: (&str, &str) = ("get_weather", "{\"city\":\"né 漢字 \\\"🙂\\\"\\n\"}");
pub const TIDE: (&str, &str) = ("get_tide", r#"{"harbour":"value","day":1}"#);
const BEFORE_STOP: &str = "up to the ";
const WITH_STOP: &str = "up to the lighthouse and on";
/// The first sixteen tokens of a longer answer.
const SIXTEEN: &str = "You said: Tell me about tides, né 漢字 🙂 the tide comes in and lifts every";
const SCHEMA: &str = r#"{"harbour":"value","high":true}"#;
/// Reasoning tokens of the three model calls in a tool conversation, fewer each time.
const THOUGHT: [u64; 3] = [9, 7, 3];

impl Case {
    /// The case's name in the drivers.
    pub const fn driver_name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Stop => "stop",
            Self::ThinkingTools => "thinking_tools",
            Self::Cached | Self::NotFound | Self::RateLimit | Self::Failing | Self::Cut => "text",
            _ => self.name(),
        }
    }

    pub const fn thinks(self) -> bool {
        matches!(self, Self::Thinking | Self::ThinkingTools)
    }

    pub const fn fails(self) -> bool {
        matches!(self, Self::NotFound | Self::RateLimit | Self::Failing | Self::Cut)
    }

    /// The emulator's behaviour, call by call.
    pub fn script(self, stream: bool) -> Vec<Behaviour> {
        let say = |text: &str| Behaviour::ok().reasoning(0).text(text);
        match self {
            Self::Text | Self::Image => vec![say("unicode")],
            Self::System | Self::Schema => vec![Behaviour::ok().reasoning(0)],
            Self::Length => vec![Behaviour::ok().reasoning(0).tokens(24)],
            Self::Stop => vec![say(WITH_STOP)],
            Self::Tools => calling([0; 3]),
            Self::Thinking => vec![Behaviour::ok().reasoning(THOUGHT[0]).text("unicode")],
            Self::ThinkingTools => calling(THOUGHT),
            Self::Cached => {
                vec![Behaviour { prompt_tokens: Some(2000), cached_tokens: Some(1024), ..say("unicode") }]
            }
            Self::NotFound => vec![Behaviour::status(404).always()],
            Self::RateLimit => vec![Behaviour::status(429).retry_after_ms(1).always()],
            Self::Failing => vec![Behaviour::status(500).always()],
            Self::Cut if stream => vec![Behaviour::ok().reasoning(0).chunks(20).cut(At::Middle).always()],
            Self::Cut => vec![Behaviour::ok().reasoning(0).cut(1).always()],
        }
    }

    /// Strings that must reach the model, in any wire format.
    pub fn needles(self) -> Vec<&'static str> {
        let question = "Tell me about tides, né 漢字 🙂";
        match self {
            Self::System => vec![
                "Answer like an old harbour master, and never in verse.",
                "Which harbour is the oldest?",
                "The one behind the breakwater.",
                "And the youngest?",
            ],
            Self::Stop => vec![question, "lighthouse"],
            Self::Image => vec![question, "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAE0lEQVR4nGMQ"],
            Self::Schema => vec![question, "harbour", "high", "boolean"],
            Self::Tools | Self::ThinkingTools => {
                let weather = [question, "get_weather", "The weather of a city.", "Aveiro"];
                let tide = ["get_tide", "The tide of a harbour on a day.", "sunny, né 21°", "high at"];
                [weather, tide].concat()
            }
            _ => vec![question],
        }
    }
}

/// Two parallel tool calls, one more, and then a text.
fn calling(reasoning: [u64; 3]) -> Vec<Behaviour> {
    let [first, second, third] = reasoning;
    vec![
        Behaviour::ok().reasoning(first).tools(ToolMode::Parallel),
        Behaviour::ok().reasoning(second).tools(ToolMode::Single),
        Behaviour::ok().reasoning(third).tools(ToolMode::None).text("unicode"),
    ]
}

impl Cell {
    /// The expected result of each model call; empty if the case fails.
    pub fn expected(&self) -> Vec<Expected> {
        let round =
            |text: &str, ended| Expected { text: text.to_owned(), calls: Vec::new(), ended, reasoning: 0 };
        let text_round = |text: &str| vec![round(text, Ended::Stop)];
        let calls = |calls: &[&'static str]| Expected { calls: calls.to_vec(), ..round("", Ended::Tools) };
        let looped =
            vec![calls(&["get_weather", "get_tide"]), calls(&["get_weather"]), round(UNICODE, Ended::Stop)];
        let thinking = |rounds: Vec<Expected>| {
            let rounds = rounds.into_iter().zip(THOUGHT);
            rounds.map(|(round, reasoning)| Expected { reasoning, ..round }).collect()
        };
        match self.case {
            Case::Text | Case::Image | Case::Cached => text_round(UNICODE),
            Case::System => text_round("You said: And the youngest?"),
            Case::Length => vec![round(SIXTEEN, Ended::Length)],
            Case::Stop => vec![round(BEFORE_STOP, Ended::StopSequence)],
            Case::Schema => text_round(SCHEMA),
            Case::Tools => looped,
            Case::Thinking => thinking(text_round(UNICODE)),
            Case::ThinkingTools => thinking(looped),
            Case::NotFound | Case::RateLimit | Case::Failing | Case::Cut => Vec::new(),
        }
    }

    /// The exception that the SDK must throw.
    pub fn failure(&self) -> Option<Failure> {
        let of = |status, openai: &'static str, gemini: &'static str, converse: &'static str, tries| {
            let seen = match self.client {
                Client::Gemini => [(gemini, Some(status)), ("ApiError", Some(status))],
                Client::Converse => [(converse, Some(status)); 2],
                _ => [(openai, Some(status)); 2],
            };
            Some(Failure { seen, tries })
        };
        let failing = of(502, "InternalServerError", "ServerError", "ModelErrorException", 3);
        match self.case {
            Case::NotFound => of(404, "NotFoundError", "ClientError", "ResourceNotFoundException", 1),
            Case::RateLimit => of(429, "RateLimitError", "ClientError", "ThrottlingException", 3),
            Case::Failing => failing,
            Case::Cut if !self.stream => failing,
            // The response head has been sent: the error is the stream's last event.
            Case::Cut => {
                let seen = match self.client {
                    Client::Chat | Client::Responses => [("APIError", None); 2],
                    Client::Messages => [("APIStatusError", Some(200)), ("APIError", None)],
                    Client::Gemini => [("ServerError", Some(502)), ("ApiError", Some(502))],
                    Client::Converse => [("EventStreamError", None); 2],
                };
                Some(Failure { seen, tries: 1 })
            }
            _ => None,
        }
    }
}

/// The emulators' reasoning text, repeated, one token per word.
const THOUGHTS: [&str; 8] = [" the", " tide", " comes", " in", " and", " lifts", " every", " boat"];
const GEMINI_THOUGHTS: [&str; 9] =
    ["Weighing", " what", " was", " asked", " before", " any", " word", " is", " said."];

impl Expected {
    /// The reasoning text that the client must read: all of it, if the upstream shows any.
    pub fn thought(&self, cell: &Cell) -> String {
        let words: &[&str] = match cell.seller.grammar(cell.client) {
            Client::Gemini => &GEMINI_THOUGHTS,
            Client::Chat if !matches!(cell.seller, Seller::Fireworks | Seller::Mistral) => &[],
            _ => &THOUGHTS,
        };
        let tokens = usize::try_from(self.reasoning).unwrap();
        words.iter().cycle().take(if words.is_empty() { 0 } else { tokens }).copied().collect()
    }
}

impl Ended {
    /// The finish reason in the client's wire format, for an answer in the upstream's.
    pub fn finish_reason(self, client: Client, seller: Seller) -> &'static str {
        match (client, self) {
            (Client::Chat, Self::Stop | Self::StopSequence) => "stop",
            (Client::Chat, Self::Length) => "length",
            (Client::Chat, Self::Tools) => "tool_calls",
            (Client::Responses, Self::Length) => "incomplete:max_output_tokens",
            (Client::Responses, _) => "completed",
            // Only this wire format distinguishes the two.
            (Client::Messages | Client::Converse, Self::StopSequence)
                if matches!(seller.grammar(client), Client::Messages | Client::Converse) =>
            {
                "stop_sequence"
            }
            (Client::Messages | Client::Converse, Self::Stop | Self::StopSequence) => "end_turn",
            (Client::Messages | Client::Converse, Self::Length) => "max_tokens",
            (Client::Messages | Client::Converse, Self::Tools) => "tool_use",
            (Client::Gemini, Self::Length) => "MAX_TOKENS",
            (Client::Gemini, _) => "STOP",
        }
    }
}
