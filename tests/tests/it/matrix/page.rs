//! Generates `docs/matrix.md` from the cells and the unsupported-field cases.

use super::cases::Case;
use super::parties::{Client, Seller};
use super::unsaid::{Fate, SAYINGS, Saying};

/// How some cells differ from the others, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The client's wire format has no such field: nothing is sent.
    NoSuchField,
    /// The provider counts reasoning tokens within the answer's tokens.
    ThoughtsUncounted,
    /// The provider counts reasoning tokens separately from the answer's, and its usage is passed on
    /// unchanged.
    ThoughtsBeside,
    /// The client's wire format does not count reasoning tokens separately.
    ThoughtsUntold,
    /// The provider does not distinguish a stop sequence from a natural end.
    StopUntold,
}

const NOTES: &[(Note, &str)] = &[
    (Note::NoSuchField, "The client's grammar has no such field."),
    (
        Note::ThoughtsUncounted,
        "The seller counts thoughts among the answer's tokens and does not say how many they were.",
    ),
    (
        Note::ThoughtsBeside,
        "xAI counts thoughts beside the answer's tokens; where its bytes pass, the client reads it so.",
    ),
    (
        Note::ThoughtsUntold,
        "The client's format counts thoughts among the answer's tokens, and has no count of them.",
    ),
    (
        Note::StopUntold,
        "The seller doesn't tell a stop sequence from the end of a turn: the client reads `end_turn`.",
    ),
];

impl Note {
    /// The note on a cell.
    pub const fn of(client: Client, seller: Seller, case: Case) -> Option<Self> {
        match (client, case) {
            (Client::Responses, Case::Stop) => Some(Self::NoSuchField),
            (_, Case::Thinking | Case::ThinkingTools) => match (seller, seller.grammar(client)) {
                (Seller::Fireworks | Seller::Mistral, Client::Chat) => Some(Self::ThoughtsUncounted),
                (Seller::Bedrock, _) => Some(Self::ThoughtsUncounted),
                (Seller::Xai, Client::Chat) if matches!(client, Client::Chat) => Some(Self::ThoughtsBeside),
                (_, _) if matches!(client, Client::Converse) => Some(Self::ThoughtsUntold),
                _ => None,
            },
            (Client::Messages | Client::Converse, Case::Stop)
                if !matches!(seller.grammar(client), Client::Messages | Client::Converse) =>
            {
                Some(Self::StopUntold)
            }
            _ => None,
        }
    }

    fn number(self) -> usize {
        NOTES.iter().position(|(note, _)| *note == self).map_or(0, |at| at + 1)
    }
}

const HEAD: &str = "\
# The matrix

Every client's dialect against every provider's grammar, as the suite holds it with the official SDKs, unmodified, over
sockets: in Python `openai`, `anthropic`, `google-genai` and `boto3`, in Node `openai`, `@anthropic-ai/sdk` and `@google/genai`.
A ✓ stands for four runs: buffered and streamed, in both languages; from Converse for two, in Python. In each the client sees what the provider said: the
text, the thoughts, the calls' arguments (byte for byte, where the SDK shows their bytes), the end, and the usage as the
provider counted it; the provider was sent nothing that it refuses and everything that the model must know; and where
both speak one grammar, the body arrived byte for byte but for the model's name (Mistral and Together have words of
their own for a part of it). The tools are a whole conversation: two
calls at once, their results, one more, and the last word.

Made by `UPDATE_DOCS=1 cargo nextest run -p journeys matrix::page`.
";

const UNSAID: &str = "\
## What a target can't express

What would change the answer is refused with 400 `unsupported_parameter` and named; what would not is left out and named
in `Agent-Dropped-Params`. `Agent-Lenient: true` leaves out the former as well.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for client in Client::ALL {
        page.push_str(&format!("\n## From {}\n\n", client.as_str()));
        let heads = Seller::ALL.map(|seller| match seller {
            Seller::Compatible => "a compatible server".to_owned(),
            _ => format!("`{}`", seller.slug()),
        });
        page.push_str(&format!("| | {} |\n|---|{}\n", heads.join(" | "), ":-:|".repeat(heads.len())));
        for case in Case::ALL {
            let cells = Seller::ALL.map(|seller| cell(client, seller, case));
            page.push_str(&format!("| {} | {} |\n", case.name(), cells.join(" | ")));
        }
        let grammars = Seller::ALL.map(|seller| seller.grammar(client).as_str());
        page.push_str(&format!("| *format sent* | {} |\n", grammars.join(" | ")));
    }
    page.push('\n');
    for (note, text) in NOTES {
        page.push_str(&format!("{}. {text}\n", note.number()));
    }
    page.push_str(&format!("\n{UNSAID}\n| from | to | says | |\n|---|---|---|---|\n"));
    SAYINGS.iter().for_each(|saying| page.push_str(&row(saying)));
    page
}

fn cell(client: Client, seller: Seller, case: Case) -> String {
    match Note::of(client, seller, case) {
        None => "✓".to_owned(),
        Some(note @ Note::NoSuchField) => format!("– ({})", note.number()),
        Some(note) => format!("✓ ({})", note.number()),
    }
}

fn row(saying: &Saying) -> String {
    let fate = match saying.fate {
        Fate::Said => "passed on".to_owned(),
        Fate::Dropped(name) => format!("left out: `{name}`"),
        Fate::Refused(name) => format!("400: `{name}`"),
    };
    let lenient = if saying.lenient { ", leniently" } else { "" };
    let (client, seller) = (saying.client.as_str(), saying.seller.slug());
    format!("| {client}{lenient} | {seller} | `{}` | {fate} |\n", saying.said)
}

#[test]
fn the_page_is_up_to_date() {
    let path = harness::process::workspace().join("docs/matrix.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page(), "docs/matrix.md is old: run this test with UPDATE_DOCS=1");
}
