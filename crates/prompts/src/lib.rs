//! The text side of a model: conversations rendered by chat templates, the tokenizer, and the parser of the
//! model's output. It knows no tensors.

mod conversation;
mod error;
mod limits;
mod output_parser;
mod special_tokens;
mod stops;
pub mod synthetic_tokenizer;
pub mod synthetic_tokens;
mod template;
mod vocabulary;

pub use conversation::{Conversation, Last, RenderedPrompt};
pub use error::PromptError;
pub use output_parser::{Begin, Ending, Form, ModelFormat, NewId, Offered, OutputParser};
pub use special_tokens::SpecialTokens;
pub use template::Template;
pub use vocabulary::{Detokenizer, Vocabulary, Words};
