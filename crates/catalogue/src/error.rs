//! Why a catalogue file can't be used, with the line to mend.

use std::fmt;

/// One defect of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueError {
    /// The file, or `overlay`.
    pub file: String,
    /// Counted from one; zero where no single line is at fault.
    pub line: usize,
    /// The field, such as `model "openai/gpt-4o", offer "openai", source`; empty where the text is no TOML.
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
