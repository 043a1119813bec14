//! Gemini request paths: the API names the model and the operation there.

use conversation::address::unescape;
use conversation::fields::checked_model;
use conversation::request::Addressed;
use domain::{Fault, FaultClass, Operation};
use json::refusal::wrong_value;

const HOW: &str = "Name a model and what to do with it, as in models/openai/gpt-4o-mini:generateContent.";

domain::words! {
    /// An operation on a model, which paths name after the colon.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Verb {
        Generate = "generateContent",
        Stream = "streamGenerateContent",
        Count = "countTokens",
        Embed = "embedContent",
        BatchEmbed = "batchEmbedContents",
        BatchGenerate = "batchGenerateContent",
    }
}

impl Verb {
    /// What the pipeline does for it.
    pub const fn operation(self) -> Operation {
        match self {
            Self::Generate | Self::Stream => Operation::Chat,
            Self::Count => Operation::Count,
            Self::Embed | Self::BatchEmbed => Operation::Embed,
            Self::BatchGenerate => Operation::Batch,
        }
    }
}

/// Reads what follows `/v1beta/` or `/v1/`, as it was sent: `models/NAME:VERB`. Names with a slash are also
/// accepted without `models/`, and their slashes and colons raw or escaped; the last colon separates the
/// verb.
///
/// # Errors
/// The path has no model or no known verb, or the name escapes its folder.
pub fn read_address(rest: &str, query: &str) -> Result<(Addressed, Verb), Box<Fault>> {
    let path = unescape(rest).ok_or_else(|| bad_path("is not UTF-8 when its escapes are resolved"))?;
    let (name, verb) = path.rsplit_once(':').ok_or_else(|| unknown(&path))?;
    if name.split(['/', '\\']).any(|segment| matches!(segment, ".." | ".")) {
        return Err(bad_path("has a path segment of dots alone"));
    }
    let verb = Verb::ALL.into_iter().find(|known| known.as_str() == verb).ok_or_else(|| unknown(&path))?;
    let model = checked_model(model_of(name))?;
    let stream = verb == Verb::Stream;
    let as_array = stream && !requests_events(query);
    let is_batch = verb == Verb::BatchEmbed;
    Ok((Addressed { model, stream, as_array, is_batch, ..Addressed::default() }, verb))
}

/// Reads what follows `/v1beta/` or `/v1/models/`.
///
/// # Errors
/// It names no model, or no operation of this dialect.
pub(crate) fn read_model_address(rest: &str, query: &str) -> Result<(Addressed, Operation), Box<Fault>> {
    // No model has such a name, and dot segments must not reach another path.
    if rest.split('/').any(|part| matches!(part, "." | "..")) {
        let message = "There is nothing at this path.";
        return Err(Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(HOW)));
    }
    let (addressed, verb) = read_address(rest.strip_prefix("models/").unwrap_or(rest), query)?;
    Ok((addressed, verb.operation()))
}

/// The model's bare name: without `models/`, and without the project and publisher of a Vertex AI path.
pub(super) fn model_of(name: &str) -> &str {
    if let Some(model) = name.strip_prefix("models/") {
        return model;
    }
    let in_cloud = name.starts_with("projects/") || name.starts_with("publishers/");
    name.split_once("/models/").filter(|_| in_cloud).map_or(name, |(_, model)| model)
}

/// Whether the query has `alt=sse`: server-sent events instead of one JSON array that grows.
fn requests_events(query: &str) -> bool {
    query.split('&').filter_map(|pair| pair.split_once('=')).any(|(name, value)| {
        let (name, value) = (unescape(name), unescape(value));
        matches!(name.as_deref(), Some("alt" | "$alt"))
            && value.is_some_and(|value| value.eq_ignore_ascii_case("sse"))
    })
}

fn bad_path(what: &str) -> Box<Fault> {
    let fix = "Send the id of a model as GET /v1/models lists it, after models/.".to_owned();
    wrong_value("model".to_owned(), what, fix)
}

fn unknown(path: &str) -> Box<Fault> {
    let printable: String = path.chars().filter(|character| !character.is_control()).take(128).collect();
    let message = format!("There is no \"{printable}\" here.");
    let verbs: Vec<&str> = Verb::ALL.into_iter().map(Verb::as_str).collect();
    let fix = format!("Send models/NAME:VERB, where VERB is one of {}.", verbs.join(", "));
    Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(fix))
}
