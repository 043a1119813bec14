//! The words of a command line before they are read: the other names of commands, and secrets where none belongs.

mod misplaced;
mod other_names;

pub use misplaced::secret;
pub use other_names::{as_defined, with_other_names};
