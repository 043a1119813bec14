//! Bounds of comparisons.

/// Keywords that are looked at for one value: some tenths of a second.
pub(crate) const KEYWORDS_MAX: u64 = 1_000_000;
/// How many parts of a schema can be inside of each other, through references and the value: each takes some of the stack.
pub(crate) const DEPTH_MAX: usize = 400;
/// Steps back in one match of a pattern with look-around or back-references.
pub(crate) const BACKTRACKS_MAX: usize = 10_000;
/// The size of a compiled pattern.
pub(crate) const PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// What a match of a pattern counts as: it may use up its steps.
pub(crate) const KEYWORDS_OF_PATTERN: u64 = 200;
/// Bytes of a text that count as one keyword, where they are read.
pub(crate) const BYTES_OF_KEYWORD: u64 = 64;
/// Brackets within each other of a value that is stored. A reader takes 127, and what is stored is within some more of them.
pub const STORED_DEPTH_MAX: usize = 100;
