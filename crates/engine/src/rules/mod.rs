//! What a text must be where a request says so: JSON of a schema, an expression, a grammar, calls of tools. A rule is made
//! once for a request, before anything is computed, so that what can't be kept is refused and not found out on the way.

mod calls;
mod check;
mod following;
mod masks;
mod plain;
mod schema;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex};

use llguidance::api::{GrammarWithLexer, ParserLimits, TopLevelGrammar};
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value as Json, json};

pub use calls::{Calls, Tool};
pub(crate) use following::{Allowed, Following};
pub(crate) use masks::{Ahead, Masks};

use crate::{EngineError, Vocabulary};
use calls::quoted;

/// The longest expression, and the longest grammar that is written by hand.
const EXPRESSION_BYTES: usize = 8 << 10;
const GRAMMAR_BYTES: usize = 64 << 10;
/// What a rule may cost. An honest schema stays a hundred times below; at one of these a rule is refused, or ends its text.
const GRAMMAR_SIZE: usize = 200_000;
const FIRST_FUEL: u64 = 1_000_000;
const STEP_FUEL: u64 = 200_000;
const STEP_ITEMS: usize = 50_000;
const ROW_ITEMS: usize = 2_000;
const LEXER_STATES: usize = 20_000;
/// White space that a model may put between the parts of a JSON text: a space, or a line break and what indents the next
/// line. Without an end to it a model that is lost writes nothing else.
const SPACE: &str = r"(?: |\n[ ]{0,32}|\n\t{0,16})";
/// How strings may be escaped. Each of them can be written in one way alone: a name that is spelt otherwise is no second
/// name beside those that a schema has.
const ESCAPES: &str = "nrbtf\\\"";

/// Why a rule can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{at}\" {what}")]
pub struct RuleError {
    /// A JSON pointer to what is wrong, from what was given on; nothing where it is the whole.
    pub at: String,
    pub what: String,
}

/// What a text is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Says<'a> {
    /// Any JSON object.
    Object,
    /// JSON of a schema.
    Schema(&'a Json),
    /// Whatever a regular expression matches from its beginning to its end.
    Expression(&'a str),
    /// A text of a grammar in Lark's form.
    Grammar(&'a str),
    Calls(&'a Calls),
}

/// What may stand before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Thinking {
    #[default]
    No,
    /// The model may think first, and says so itself.
    May,
    /// The prompt ends where it begins to think.
    Begun,
}

/// Makes rules for the tokens of a model.
pub struct Rulebook {
    factory: ParserFactory,
    vocabulary: Arc<Vocabulary>,
}

/// What a text has to keep to. It is the same rule only as itself.
#[derive(Clone)]
pub struct Rule {
    made: Arc<Mutex<Matcher>>,
}

impl RuleError {
    fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self { at: at.into(), what: what.into() }
    }

    /// It was found in a part of what was given.
    fn within(self, place: &str) -> Self {
        Self { at: format!("{place}{}", self.at), ..self }
    }
}

impl fmt::Debug for Rulebook {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Rulebook").field("tokens", &self.vocabulary.size()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Rule")
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.made, &other.made)
    }
}

impl Rulebook {
    /// # Errors
    /// The vocabulary is none that texts can be ruled by.
    pub fn new(vocabulary: Arc<Vocabulary>) -> Result<Self, EngineError> {
        let table = table::Table::of(&vocabulary)?;
        let abilities = InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
        let factory = ParserFactory::new(
            &table.environment(&vocabulary),
            abilities,
            &llguidance::earley::SlicedBiasComputer::general_slices(),
        );
        let mut factory = factory.map_err(|error| EngineError::Text(first_line(&error.to_string())))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            max_items_in_row: ROW_ITEMS,
            initial_lexer_fuel: FIRST_FUEL,
            step_lexer_fuel: STEP_FUEL,
            step_max_items: STEP_ITEMS,
            max_lexer_states: LEXER_STATES,
            max_grammar_size: GRAMMAR_SIZE,
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Self { factory, vocabulary })
    }

    /// # Errors
    /// What is asked for is not valid, can't be kept, allows nothing, or would cost too much; told with its place.
    pub fn rule(&self, says: Says<'_>, thinking: Thinking) -> Result<Rule, RuleError> {
        let answer = match says {
            Says::Object => named_schema(json!({"type": "object"})),
            Says::Schema(schema) => named_schema(self.checked(schema)?),
            Says::Expression(expression) => self.expression(expression)?,
            Says::Grammar(grammar) => self.grammar(grammar)?,
            Says::Calls(calls) => self.calls(calls)?,
        };
        self.make(&answer, thinking).map_err(|what| RuleError::new("", what))
    }

    /// A schema that was looked through, and that is a rule by itself.
    fn checked(&self, schema: &Json) -> Result<Json, RuleError> {
        let checked = schema::Checked::of(schema)?;
        let fails = |part: &Json| self.make(&named_schema(part.clone()), Thinking::No).err();
        match fails(&checked.whole()) {
            None => Ok(checked.whole()),
            Some(what) => Err(checked.blame(what, &fails)),
        }
    }

    fn expression(&self, expression: &str) -> Result<GrammarWithLexer, RuleError> {
        if expression.len() > EXPRESSION_BYTES {
            return Err(RuleError::new(
                "",
                format!("is an expression of more than {EXPRESSION_BYTES} bytes"),
            ));
        }
        Ok(GrammarWithLexer::from_regex(expression))
    }

    fn grammar(&self, grammar: &str) -> Result<GrammarWithLexer, RuleError> {
        if grammar.len() > GRAMMAR_BYTES {
            return Err(RuleError::new("", format!("is a grammar of more than {GRAMMAR_BYTES} bytes")));
        }
        // Its schemas would say by it how they are to be read.
        if grammar.contains("x-guidance") {
            return Err(RuleError::new("", "has \"x-guidance\", which is not known here"));
        }
        Ok(GrammarWithLexer::from_lark(grammar.to_owned()))
    }

    fn calls(&self, calls: &Calls) -> Result<GrammarWithLexer, RuleError> {
        for (index, tool) in calls.tools.iter().enumerate() {
            if let Some(schema) = &tool.schema {
                let of_tool = |error: RuleError| error.within(&format!("/tools/{index}/parameters"));
                self.checked(schema).map_err(of_tool)?;
            }
        }
        let sign = |text: &str| self.sign(text);
        Ok(GrammarWithLexer::from_lark(calls.grammar(&sign)?))
    }

    /// How a grammar names a tag: by its token where it has one.
    fn sign(&self, text: &str) -> String {
        match self.vocabulary.sign(text).filter(|token| self.vocabulary.is_mark(*token)) {
            Some(token) => format!("<[{token}]>"),
            None => quoted(text),
        }
    }

    fn make(&self, answer: &GrammarWithLexer, thinking: Thinking) -> Result<Rule, String> {
        let mut answer = answer.clone();
        let grammars = match self.before(thinking) {
            None => vec![answer],
            Some(before) => {
                answer.name = Some("answer".to_owned());
                vec![GrammarWithLexer::from_lark(before), answer]
            }
        };
        let made = self.factory.create_parser(TopLevelGrammar { grammars, max_tokens: None });
        let mut made = Matcher::new(Ok(made.map_err(|error| first_line(&format!("{error:#}")))?));
        let may_begin = made.deep_clone().compute_mask_or_eos().is_ok_and(|mask| !mask.is_zero());
        let is_over = made.is_stopped() && !made.is_error();
        match made.get_error() {
            Some(error) => Err(first_line(&error)),
            None if may_begin || is_over || made.is_accepting().unwrap_or_default() => {
                Ok(Rule { made: Arc::new(Mutex::new(made)) })
            }
            None => Err("allows nothing".to_owned()),
        }
    }

    /// The grammar of a text in which something is thought first.
    fn before(&self, thinking: Thinking) -> Option<String> {
        let (open, close) = (self.sign("<think>"), self.sign("</think>"));
        // A tag that is a token of its own can't be within the text; one that is not ends it where it first comes.
        let thought = match close.starts_with('"') {
            true => format!("thought[suffix={close}]: /(?s:.*)/\n"),
            false => format!("thought: /(?s:.*)/ {close}\n"),
        };
        let start = match thinking {
            Thinking::No => return None,
            Thinking::May => format!("start: ({open} thought /\\n{{0,2}}/)? @answer\n"),
            Thinking::Begun => "start: thought /\\n{0,2}/ @answer\n".to_owned(),
        };
        Some(start + &thought)
    }
}

impl Rule {
    /// A text that keeps to it, at its beginning.
    pub(crate) fn follow(&self) -> Following {
        // Nothing is changed in it, wherever a thread was lost.
        let made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Following::new(made.deep_clone())
    }
}

fn named_schema(schema: Json) -> GrammarWithLexer {
    GrammarWithLexer::from_json_schema(spelt(schema))
}

/// A schema that says how its JSON is written.
fn spelt(mut schema: Json) -> Json {
    if let Some(schema) = schema.as_object_mut() {
        let spelling = json!({"whitespace_pattern": SPACE, "json_allowed_escapes": ESCAPES});
        schema.insert("x-guidance".to_owned(), spelling);
    }
    schema
}

/// What can be told of an error of somebody else's: the line that says it.
fn first_line(error: &str) -> String {
    let said = error.lines().find_map(|line| line.strip_prefix("error: "));
    said.or_else(|| error.lines().next()).unwrap_or_default().chars().take(200).collect()
}
