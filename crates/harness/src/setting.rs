//! Numbers that larger editions of tests set in their environment.

use std::str::FromStr;

/// The number in this variable, where it is set.
///
/// # Panics
/// If it is no number: the test would run as small as usual, and say nothing of it.
#[must_use]
#[expect(clippy::panic, reason = "a test whose size is not known fails")]
pub fn number<N: FromStr>(name: &str) -> Option<N> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} isn't a number: {text}")))
}
