//! Constrained decoding (structured output): the answer has to match a JSON Schema, a regular expression, a
//! grammar or a set of tool calls. A constraint is compiled once for a request, before anything is computed,
//! so that an unsupported one is refused up front.

mod calls;
mod check;
mod error;
mod following;
mod masks;
mod plain;
mod schema;
mod spelling;
mod table;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use llguidance::api::{GrammarWithLexer, ParserLimits, TopLevelGrammar};
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory};
use prompts::{PromptError, Vocabulary};
use serde_json::{Value as Json, json};

pub use calls::{Calls, Tool};
pub use error::ConstraintError;
pub(crate) use following::{ConstraintState, TokenMask};
pub(crate) use masks::{MaskRequest, MaskWorker};

use crate::EngineError;
use calls::quote;
use spelling::with_spelling;

/// The longest regular expression and the longest Lark grammar in a request.
const EXPRESSION_BYTES: usize = 8 << 10;
const GRAMMAR_BYTES: usize = 64 << 10;
/// Cost limits. Real schemas stay a hundred times below; beyond them a constraint is refused, or its answer
/// ends.
const GRAMMAR_SIZE: usize = 200_000;
const FIRST_FUEL: u64 = 1_000_000;
const STEP_FUEL: u64 = 200_000;
const STEP_ITEMS: usize = 50_000;
const ROW_ITEMS: usize = 2_000;
const LEXER_STATES: usize = 20_000;

/// What an answer must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ConstraintSpec<'a> {
    /// Any JSON object.
    Object,
    /// JSON that is valid against a schema.
    Schema(&'a Json),
    /// Text that a regular expression matches in full.
    Expression(&'a str),
    /// A text of a Lark grammar.
    Grammar(&'a str),
    Calls(&'a Calls),
}

/// Whether reasoning may precede the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Thinking {
    #[default]
    No,
    /// The model may reason first, and opens the reasoning itself.
    May,
    /// The prompt ends inside the reasoning.
    Open,
}

/// Compiles constraints for a model's vocabulary (with llguidance).
pub struct ConstraintCompiler {
    factory: ParserFactory,
    vocabulary: Arc<Vocabulary>,
}

/// A compiled constraint. Two are equal only if they are the same object.
#[derive(Clone)]
pub struct Constraint {
    made: Arc<Mutex<Matcher>>,
}

domain::brief_debug!(ConstraintCompiler, |it| tokens = it.vocabulary.size());

domain::brief_debug!(Constraint as "Rule");

impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.made, &other.made)
    }
}

impl ConstraintCompiler {
    /// # Errors
    /// The vocabulary is too large or otherwise unusable for constraints.
    pub fn new(vocabulary: Arc<Vocabulary>) -> Result<Self, EngineError> {
        let table = table::Table::of(&vocabulary)?;
        let abilities = InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
        let factory = ParserFactory::new(
            &table.environment(&vocabulary),
            abilities,
            &llguidance::earley::SlicedBiasComputer::general_slices(),
        );
        let mut factory = factory.map_err(|error| PromptError::Text(first_line(&error.to_string())))?;
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
    /// The input is invalid, not supported, satisfied by nothing, or too costly; the error has the place.
    pub fn compile(
        &self,
        spec: ConstraintSpec<'_>,
        thinking: Thinking,
    ) -> Result<Constraint, ConstraintError> {
        let answer = match spec {
            ConstraintSpec::Object => named_schema(json!({"type": "object"})),
            ConstraintSpec::Schema(schema) => named_schema(self.check_schema(schema)?),
            ConstraintSpec::Expression(expression) => self.expression(expression)?,
            ConstraintSpec::Grammar(grammar) => self.grammar(grammar)?,
            ConstraintSpec::Calls(calls) => self.calls(calls)?,
        };
        self.make(&answer, thinking).map_err(|what| ConstraintError::new("", what))
    }

    /// Validates a schema, and compiles it by itself to find the part at fault.
    fn check_schema(&self, schema: &Json) -> Result<Json, ConstraintError> {
        let checked = schema::Checked::of(schema)?;
        let fails = |part: &Json| self.make(&named_schema(part.clone()), Thinking::No).err();
        match fails(&checked.whole()) {
            None => Ok(checked.whole()),
            Some(what) => Err(checked.blame(what, &fails)),
        }
    }

    fn expression(&self, expression: &str) -> Result<GrammarWithLexer, ConstraintError> {
        if expression.len() > EXPRESSION_BYTES {
            return Err(ConstraintError::new(
                "",
                format!("is an expression of more than {EXPRESSION_BYTES} bytes"),
            ));
        }
        Ok(GrammarWithLexer::from_regex(expression))
    }

    fn grammar(&self, grammar: &str) -> Result<GrammarWithLexer, ConstraintError> {
        if grammar.len() > GRAMMAR_BYTES {
            return Err(ConstraintError::new("", format!("is a grammar of more than {GRAMMAR_BYTES} bytes")));
        }
        // It would let embedded schemas change how they are read.
        if grammar.contains("x-guidance") {
            return Err(ConstraintError::new("", "has \"x-guidance\", which is not known here"));
        }
        Ok(GrammarWithLexer::from_lark(grammar.to_owned()))
    }

    fn calls(&self, calls: &Calls) -> Result<GrammarWithLexer, ConstraintError> {
        for (index, tool) in calls.tools.iter().enumerate() {
            if let Some(schema) = &tool.schema {
                let of_tool = |error: ConstraintError| error.within(&format!("/tools/{index}/parameters"));
                self.check_schema(schema).map_err(of_tool)?;
            }
        }
        let tag = |text: &str| self.tag(text);
        Ok(GrammarWithLexer::from_lark(calls.grammar(&tag)?))
    }

    /// How a grammar refers to a tag: by its special token if there is one, otherwise as text.
    fn tag(&self, text: &str) -> String {
        match self.vocabulary.special_token_id(text).filter(|token| self.vocabulary.is_mark(*token)) {
            Some(token) => format!("<[{token}]>"),
            None => quote(text),
        }
    }

    fn make(&self, answer: &GrammarWithLexer, thinking: Thinking) -> Result<Constraint, String> {
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
                Ok(Constraint { made: Arc::new(Mutex::new(made)) })
            }
            None => Err("allows nothing".to_owned()),
        }
    }

    /// The grammar of an answer that may or must begin with reasoning.
    fn before(&self, thinking: Thinking) -> Option<String> {
        let (open, close) = (self.tag("<think>"), self.tag("</think>"));
        // A tag that is a special token can't occur inside the text; one that is not ends it at its first
        // occurrence.
        let thought = if close.starts_with('"') {
            format!("thought[suffix={close}]: /(?s:.*)/\n")
        } else {
            format!("thought: /(?s:.*)/ {close}\n")
        };
        let start = match thinking {
            Thinking::No => return None,
            Thinking::May => format!("start: ({open} thought /\\n{{0,2}}/)? @answer\n"),
            Thinking::Open => "start: thought /\\n{0,2}/ @answer\n".to_owned(),
        };
        Some(start + &thought)
    }
}

impl Constraint {
    /// A new sequence's position, at the start of the constraint.
    pub(crate) fn follow(&self) -> ConstraintState {
        // The matcher is never changed under the lock, so it is valid even if a thread panicked.
        let made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ConstraintState::new(made.deep_clone())
    }
}

fn named_schema(schema: Json) -> GrammarWithLexer {
    GrammarWithLexer::from_json_schema(with_spelling(schema))
}

/// The message of a library error: its first line, shortened.
fn first_line(error: &str) -> String {
    let message = error.lines().find_map(|line| line.strip_prefix("error: "));
    message.or_else(|| error.lines().next()).unwrap_or_default().chars().take(200).collect()
}
