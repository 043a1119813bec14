//! What a model at a seller takes, so far as a request must be written otherwise for it. What nobody read is the default:
//! the grammar's common case.

/// How a model is told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Thinking {
    /// Nobody read whether it thinks: an effort is passed on as it is.
    #[default]
    Unknown,
    /// It does not think, and takes no word about it.
    Never,
    /// By a budget of tokens.
    Budget,
    /// By an effort.
    Effort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    pub output_tokens_max: Option<u64>,
    pub thinking: Thinking,
    /// It refuses temperature and its like.
    pub refuses_sampling: bool,
    /// Its answer's length is asked for as `max_tokens`, where its grammar has a newer name.
    pub old_length_name: bool,
    /// Instructions are the developer's and not the system's.
    pub developer_role: bool,
    /// Marks in the prompt say what is cached.
    pub cache_marks: bool,
}
