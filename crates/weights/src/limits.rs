//! What a model's or adapter's files may contain: they come from third parties.

/// Size of a tokenizer, configuration or chat template; the largest published tokenizers have half of it.
pub(crate) const TEXT_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Size of the header of a safetensors file, which the format limits, too. A longer one means that the file is
/// broken.
pub const SAFETENSORS_HEAD_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// Tensors of a GGUF file, and its metadata values; the largest models have a few thousand.
pub(crate) const GGUF_ENTRIES_MAX: u64 = 1 << 20;
/// Files that a GGUF model may be split into; the largest published ones have some dozens.
pub(crate) const GGUF_SHARDS_MAX: usize = 1_000;
/// How deep lists of its metadata may be nested.
pub(crate) const GGUF_DEPTH_MAX: usize = 2;
/// Rows of a tensor that is read whole as numbers, such as that of a classifier.
pub(crate) const SMALL_TENSOR_ROWS_MAX: usize = 16;

/// Size of an adapter's configuration.
pub(crate) const ADAPTER_CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Entries of a list or a pattern in it: one for each layer of a large model, several times over.
pub(crate) const ADAPTER_ENTRIES_MAX: usize = 4_096;
/// Entries of a pattern that are regular expressions: each is tried on every name.
pub(crate) const EXPRESSIONS_MAX: usize = 64;
/// Backtracking steps of an expression on one name, so that none can stall the server.
pub(crate) const BACKTRACKS_MAX: usize = 10_000;
/// Length of an expression.
pub(crate) const EXPRESSION_BYTES_MAX: usize = 4_096;
/// Memory of a compiled expression; repetitions make a short text large.
pub(crate) const EXPRESSION_SIZE_MAX: usize = 1 << 18;
/// Rank of a LoRA adapter that is served or trained; published ones seldom have more than 64.
pub const LORA_RANK_MAX: usize = 256;
