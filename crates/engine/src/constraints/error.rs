//! Why a constraint is refused, and where.

/// Why a constraint was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{at}\" {what}")]
pub struct ConstraintError {
    /// The JSON pointer to the fault within the input; empty for the whole.
    pub at: String,
    pub what: String,
}

impl ConstraintError {
    pub(super) fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self { at: at.into(), what: what.into() }
    }

    /// Prefixes the place of an error found in a part.
    pub(super) fn within(self, path: &str) -> Self {
        Self { at: format!("{path}{}", self.at), ..self }
    }
}
