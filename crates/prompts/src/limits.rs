//! What a chat template and a vocabulary may have, and what is read of a model's output: templates come from
//! third parties, and outputs from clients' prompts.

/// Length of a chat template; published ones have a tenth of this.
pub(crate) const TEMPLATE_BYTES_MAX: usize = 256 * 1024;
/// Products in a template. Constant ones are evaluated when it is parsed, where the library allows strings of
/// up to a hundred million bytes each.
pub(crate) const TEMPLATE_PRODUCTS_MAX: usize = 16;
/// What a template may write in all, to the output or to variables: twice the largest request.
pub(crate) const WRITTEN_BYTES_MAX: usize = 2 * domain::limits::BODY_BYTES_MAX;
/// What a rendering may build in all. A template copies its input a few times.
pub(crate) const BUILT_BYTES_MAX: usize = 8 * WRITTEN_BYTES_MAX;

/// Length of a token; published ones have at most a quarter of this.
pub(crate) const TOKEN_BYTES_MAX: usize = 512;
/// Bytes of all tokens; published vocabularies have at most half of this, and a trie has room for so many.
pub(crate) const VOCABULARY_BYTES_MAX: usize = 1 << 22;

/// How deep the arguments of a tool call may be nested to be repaired; no tool's are nested deeper.
pub(crate) const ARGUMENTS_DEPTH_MAX: usize = 128;
/// Length of a number or literal in them; the longest numbers that a double has are shorter.
pub(crate) const ARGUMENT_WORD_BYTES_MAX: usize = 400;
/// Length of a tool's name in a tag; a longer text is no call.
pub(crate) const TAGGED_NAME_BYTES_MAX: usize = 256;
/// Schemas that are read for one parameter, since references may be circular.
pub(crate) const SCHEMAS_MAX: usize = 200;
