//! Bounds of what an app takes.

/// Files that one field of an input names.
pub const INPUT_FILES_MAX: usize = 16;
/// Texts of an input.
pub const INPUT_TEXTS_MAX: usize = 2_048;
