//! What a request loses where a dialect can't express it: dropped and reported, or refused.

use std::collections::HashSet;

use domain::prompt::{Aliases, ToolKind, ValuePath};
use domain::{Fault, FaultClass, Grammar, Prompt};

use crate::calls::Declared;
use crate::features::{Droppable, Feature, FeatureNames};

/// Extension fields of Chat Completions servers that are not in the table, and that the answer is as good
/// without.
const ADDED_HINTS: &[&str] = &[
    "min_p",
    "typical_p",
    "repetition_penalty",
    "chat_template_kwargs",
    "reasoning_format",
    "reasoning_history",
    "include_reasoning",
    // OpenRouter's request for usage in the answer: every answer reports it.
    "usage",
];

/// Letters that are wrong, missing, added or swapped in a field that somebody mistyped.
const TYPING_ERRORS: usize = 2;

/// The names of a cache breakpoint.
const MARKS: &[&str] = &["cache_control", "prompt_cache_breakpoint", "cachePoint"];

/// Whether it is a cache breakpoint: wherever it is, the answer is the same without it.
pub fn is_mark(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    MARKS.contains(&last)
}

/// The tool kind that stands for web search in Chat Completions, where it is a field and not a tool.
pub const WEB_SEARCH: &str = "web_search_options";

/// Whether dropping a Chat Completions field that is not in the table changes the answer.
pub fn is_meaning(name: &str) -> bool {
    !ADDED_HINTS.contains(&name)
}

/// The names of a dialect's features.
pub type NamesOf = fn(Grammar) -> FeatureNames;

/// The dropped fields of one request, under the client's names for them.
#[derive(Debug, Clone)]
pub struct DroppedFields {
    client: Grammar,
    names_of: NamesOf,
    aliases: Aliases,
    by: By,
    may_lose_tools: bool,
    lost: Vec<Loss>,
    /// The names in `lost`: a body may hold as many as fit into it, so lookups must be fast.
    names: HashSet<String>,
}

/// One dropped field.
#[derive(Debug, Clone)]
struct Loss {
    name: String,
    sort: Droppable,
    feature: Option<Feature>,
    /// The type of a tool, which its place among the tools doesn't tell.
    tool: Option<String>,
}

/// Why something is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The upstream's dialect can't express it.
    Grammar(Grammar),
    /// The vendor's own format can't express it.
    Vendor,
    /// The dialect can, but this server does not accept it.
    Server,
}

impl DroppedFields {
    /// For an upstream that speaks another dialect.
    pub fn new(client: Grammar, upstream: Grammar, names_of: NamesOf) -> Self {
        Self { by: By::Grammar(upstream), ..Self::of_server(client, names_of) }
    }

    /// Sets the names that the client used where its dialect has several.
    pub fn with_aliases(mut self, aliases: &Aliases) -> Self {
        self.aliases.clone_from(aliases);
        self
    }

    /// For an upstream that takes requests in a format of its vendor's own.
    pub fn of_vendor(client: Grammar, names_of: NamesOf) -> Self {
        Self { by: By::Vendor, ..Self::of_server(client, names_of) }
    }

    /// For a server that supports only part of its dialect.
    pub fn of_server(client: Grammar, names_of: NamesOf) -> Self {
        let aliases = Aliases::default();
        Self {
            client,
            names_of,
            aliases,
            by: By::Server,
            may_lose_tools: false,
            lost: Vec::new(),
            names: HashSet::new(),
        }
    }

    /// Tools of a provider's own may be dropped though that changes the answer.
    pub const fn allow_lost_tools(&mut self) {
        self.may_lose_tools = true;
    }

    /// The client's name for a feature; `None` where its dialect can't express it.
    pub fn own_name(&self, feature: Feature) -> Option<&'static str> {
        let alias = feature.aliased().and_then(|aliased| self.aliases.name(aliased));
        alias.or_else(|| feature.name((self.names_of)(self.client)))
    }

    /// The dialect whose names are reported.
    pub const fn client(&self) -> Grammar {
        self.client
    }

    /// The target can't express the feature.
    pub fn drop_feature(&mut self, feature: Feature) {
        let name = self.own_name(feature).unwrap_or("this");
        self.drop_at(feature, name);
    }

    /// Drops those features that the request uses.
    pub fn drop_used(&mut self, rows: impl IntoIterator<Item = (bool, Feature)>) {
        rows.into_iter().filter(|(is_used, _)| *is_used).for_each(|(_, feature)| self.drop_feature(feature));
    }

    /// The target can't express the feature, which the client used at this path: `messages[2].content[0]`.
    pub fn drop_at(&mut self, feature: Feature, name: impl Into<String>) {
        self.push(name.into(), feature.droppable(), Some(feature), None);
    }

    /// The target can't express a feature used in a part, whose place may be known.
    pub fn drop_in(&mut self, feature: Feature, path: &ValuePath) {
        match (path.as_str(), self.own_name(feature)) {
            (Some(path), Some(name)) => self.drop_at(feature, format!("{path}.{name}")),
            _ => self.drop_feature(feature),
        }
    }

    /// The target does not have this tool.
    pub fn drop_tool(&mut self, index: usize, tool: &ToolKind) {
        let ToolKind::Hosted { kind, .. } = tool else { return };
        let feature = Feature::HostedTool;
        // In the client's dialect web search is a field, not a tool.
        let (name, kind) = match kind == WEB_SEARCH {
            true => (WEB_SEARCH.to_owned(), None),
            false => (format!("tools[{index}]"), Some(kind.chars().take(64).collect())),
        };
        self.push(name, feature.droppable(), Some(feature), kind);
    }

    /// Reports a custom tool's grammar constraint, where it is only described in prose.
    pub fn drop_custom_format(&mut self, index: usize, declared: &Declared<'_>) {
        if declared.loses_format {
            let name = self.own_name(Feature::CustomFormat).unwrap_or("format");
            self.drop_at(Feature::CustomFormat, format!("tools[{index}].{name}"));
        }
    }

    /// Calls and results of hosted tools in earlier turns, and other parts that only their own provider can
    /// read. A long history has many, so each kind is reported once.
    pub fn drop_foreign(&mut self, kind: &str) {
        self.push(kind.to_owned(), Droppable::Hint, Some(Feature::HostedTool), None);
    }

    /// The target can't express one aspect of the feature, and the answer is as good without it: always a
    /// hint.
    pub fn drop_aspect(&mut self, feature: Feature) {
        let name = self.own_name(feature).unwrap_or("this");
        self.push(name.to_owned(), Droppable::Hint, Some(feature), None);
    }

    /// A field that no table has.
    pub fn drop_unknown(&mut self, name: impl Into<String>, is_meaning: bool) {
        self.push(name.into(), if is_meaning { Droppable::Meaning } else { Droppable::Hint }, None, None);
    }

    fn push(&mut self, name: String, sort: Droppable, feature: Option<Feature>, tool: Option<String>) {
        if self.names.insert(name.clone()) {
            self.lost.push(Loss { name, sort, feature, tool });
        }
    }

    /// The dropped fields, under the client's names.
    ///
    /// # Errors
    /// A field that changes the answer would be dropped, and the client has not allowed that: the fault names
    /// it.
    pub fn finish(self, is_lenient: bool) -> Result<Vec<String>, Box<Fault>> {
        let may_lose = |loss: &Loss| {
            is_lenient || (self.may_lose_tools && matches!(loss.feature, Some(Feature::HostedTool)))
        };
        let needed = self.lost.iter().find(|loss| loss.sort == Droppable::Meaning && !may_lose(loss));
        if let Some(loss) = needed {
            if let (None, Some(meant)) = (loss.feature, meant_by(&loss.name, (self.names_of)(self.client))) {
                return Err(mistyped(&loss.name, meant));
            }
            return Err(match self.by {
                By::Grammar(upstream) => {
                    self.unsupported_by_format(loss, &format!("in the {} format", upstream.as_str()))
                }
                By::Vendor => self.unsupported_by_format(loss, "in its vendor's format"),
                By::Server => unsupported_by_server(&loss.name),
            });
        }
        Ok(self.lost.into_iter().map(|loss| loss.name).collect())
    }

    fn unsupported_by_format(&self, loss: &Loss, format: &str) -> Box<Fault> {
        let name = &loss.name;
        let tool = loss.tool.as_ref().map(|kind| format!(", the tool {kind}")).unwrap_or_default();
        let message = format!(
            "The model chosen for this request takes requests {format}, which can't express \"{name}\"{tool}."
        );
        // Of the tools of providers each dialect has others: the client's own has this one.
        let is_able = |grammar: Grammar, feature: Feature| match feature {
            Feature::HostedTool => grammar == self.client,
            _ => feature.name((self.names_of)(grammar)).is_some(),
        };
        let able: Vec<&str> = Grammar::ALL
            .into_iter()
            .filter(|grammar| loss.feature.is_some_and(|feature| is_able(*grammar, feature)))
            .map(Grammar::as_str)
            .collect();
        let other = if able.is_empty() {
            String::new()
        } else {
            format!(
                " use a model whose provider speaks {} (GET /v2/capabilities lists them),",
                able.join(" or ")
            )
        };
        let fix = format!("Leave it out,{other} or send \"Agent-Lenient: true\" to have it dropped.");
        let fault = Fault::new(FaultClass::Unsupported, "unsupported_parameter", message);
        Box::new(fault.fix(fix).param(name.clone()))
    }
}

/// Sampling settings that only chat dialects can express.
pub fn of_sampling(prompt: &Prompt) -> [(bool, Feature); 6] {
    let sampling = &prompt.sampling;
    [
        (sampling.choices.is_some_and(|choices| choices > 1), Feature::Choices),
        (sampling.logprobs || sampling.top_logprobs.is_some(), Feature::Logprobs),
        (sampling.seed.is_some(), Feature::Seed),
        (sampling.presence_penalty.is_some(), Feature::PresencePenalty),
        (sampling.frequency_penalty.is_some(), Feature::FrequencyPenalty),
        (sampling.logit_bias.is_some(), Feature::LogitBias),
    ]
}

/// Output, reasoning and caching settings that Messages-like dialects (Anthropic, Converse) can't express.
pub fn of_messages(prompt: &Prompt) -> [(bool, Feature); 8] {
    let Prompt { output, caching, .. } = prompt;
    [
        (output.modalities.iter().any(|modality| modality != "text"), Feature::Modalities),
        (output.audio.is_some(), Feature::SpokenAudio),
        (output.verbosity.is_some(), Feature::Verbosity),
        (output.prediction.is_some(), Feature::Prediction),
        (prompt.reasoning.wants_encrypted, Feature::EncryptedReasoning),
        (caching.key.is_some(), Feature::CacheKey),
        (caching.retention.is_some(), Feature::CacheRetention),
        (caching.content.is_some(), Feature::CachedContent),
    ]
}

/// The field of the client's dialect that an unknown one is a typing error of.
fn meant_by(name: &str, known: FeatureNames) -> Option<&'static str> {
    let near = known.iter().map(|(_, known)| (strsim::damerau_levenshtein(name, known), *known));
    near.filter(|(edits, known)| *edits <= TYPING_ERRORS && known.len() > 3 * TYPING_ERRORS)
        .min()
        .map(|(_, known)| known)
}

fn mistyped(name: &str, meant: &str) -> Box<Fault> {
    let message = format!("Unknown field \"{name}\"; did you mean \"{meant}\"?");
    let fix = format!("Write \"{meant}\", or send \"Agent-Lenient: true\" to have \"{name}\" dropped.");
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_parameter", message);
    Box::new(fault.fix(fix).param(name.to_owned()))
}

fn unsupported_by_server(name: &str) -> Box<Fault> {
    let message = format!("The server chosen for this request doesn't support \"{name}\".");
    let fix = "Leave it out, use another model, or send \"Agent-Lenient: true\" to have it dropped. If the server does support it, \
               probe it again or state so on its credential or node.";
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_parameter", message);
    Box::new(fault.fix(fix).param(name.to_owned()))
}
