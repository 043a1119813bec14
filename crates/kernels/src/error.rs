//! What a forward pass refuses.

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The model's `config.json` (or GGUF metadata) describes an impossible architecture.
    #[error("the model's description is wrong: \"{field}\" {what}")]
    Shape { field: &'static str, what: String },
    /// The engine built an invalid step: a bug of ours.
    #[error("a step was asked for that can't be made: {0}")]
    Step(&'static str),
}
