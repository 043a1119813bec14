//! What a model accepts at one provider, as far as a request must be written differently for it. A property
//! that was never looked up has the default: the usual behaviour of the wire format.

/// How a request asks the model to think (reason).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Thinking {
    /// Not known whether it thinks: a requested effort is passed on unchanged.
    #[default]
    Unknown,
    /// It does not think and accepts no thinking parameter.
    Never,
    /// Thinking is set by a token budget.
    Budget,
    /// Thinking is set by an effort level.
    Effort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    pub output_tokens_max: Option<u64>,
    pub thinking: Thinking,
    /// Rejects `temperature` and the other sampling parameters.
    pub refuses_sampling: bool,
    /// The output limit is called `max_tokens`, where the wire format has a newer name.
    pub uses_max_tokens: bool,
    /// Instructions go under the role `developer` instead of `system`.
    pub developer_role: bool,
    /// The prompt cache is controlled by explicit marks in the prompt.
    pub cache_marks: bool,
    /// An instruction may stand between other turns, under its own role; elsewhere it goes into the user's
    /// next turn.
    pub system_turns: bool,
}
