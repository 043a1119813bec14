//! Why a catalogue file can't be used, with the line to fix.

use std::fmt;

/// One defect of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueError {
    /// The file, or `overlay`.
    pub file: String,
    /// Counted from one; zero if no single line is at fault.
    pub line: usize,
    /// The field, as in `model "openai/gpt-4o", offer "openai", source`; empty if the text is not TOML.
    pub field: String,
    pub message: String,
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for CatalogueError {}
