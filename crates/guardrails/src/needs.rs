//! What a text has if a detector matches in it: most texts lack it, so that no pattern is tried on them.

use memchr::memchr;

/// What a text has at least, by one count or another, if one of several detectors matches in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Any text may match.
    pub nothing: bool,
    pub at: bool,
    pub digits: usize,
    pub dashes: usize,
    /// Bytes of a run of letters, digits and the signs that keys and tokens have.
    pub run: usize,
}

impl Needs {
    /// No detector: no text has it.
    pub(crate) const NEVER: Self =
        Self { nothing: false, at: false, digits: usize::MAX, dashes: usize::MAX, run: usize::MAX };
    pub(crate) const ALWAYS: Self = Self { nothing: true, ..Self::NEVER };
    pub(crate) const AT: Self = Self { at: true, ..Self::NEVER };

    pub(crate) const fn digits(least: usize) -> Self {
        Self { digits: least, ..Self::NEVER }
    }

    /// Those of either.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            nothing: self.nothing || other.nothing,
            at: self.at || other.at,
            digits: self.digits.min(other.digits),
            dashes: self.dashes.min(other.dashes),
            run: self.run.min(other.run),
        }
    }

    pub(crate) fn are_met(self, text: &[u8]) -> bool {
        self.nothing
            || text.len() >= self.digits && count(text, |byte| byte.is_ascii_digit()) >= self.digits
            || text.len() >= self.dashes && count(text, |byte| byte == b'-') >= self.dashes
            || has_run(text, self.run)
            || self.at && memchr(b'@', text).is_some()
    }
}

#[inline]
fn count(text: &[u8], is_it: impl Fn(u8) -> bool) -> usize {
    text.iter().filter(|byte| is_it(**byte)).count()
}

/// Whether a text has a run of this length. One that is long enough has a byte at one of the places that are as far apart, so
/// that most others are not looked at.
pub(crate) fn has_run(text: &[u8], least: usize) -> bool {
    let (mut from, mut at) = (0, least.saturating_sub(1));
    while let Some(window) = text.get(from..=at) {
        match window.iter().rposition(|byte| !is_in_run(*byte)) {
            None => return true,
            // The run starts behind it.
            Some(gap) => from += gap + 1,
        }
        at = from + least.saturating_sub(1);
    }
    false
}

const fn is_in_run(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'/' | b'=')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn needs_of_several_are_those_of_any() {
        let needs = Needs::AT.or(Needs::digits(3)).or(Needs { dashes: 4, ..Needs::NEVER });
        for (text, expected) in
            [("a@b", true), ("a1b2c3", true), ("a1b2", false), ("--x--", true), ("", false)]
        {
            assert_eq!(needs.are_met(text.as_bytes()), expected, "{text}");
        }
        assert!(Needs::ALWAYS.are_met(b"") && !Needs::NEVER.are_met(b"a@b 123456 ----------"));
    }

    proptest! {
        #[test]
        fn a_run_is_found_wherever_it_is(text in "[a-c ß.]{0,60}", least in 1_usize..12) {
            let longest = text.as_bytes().split(|byte| !is_in_run(*byte)).map(<[u8]>::len).max().unwrap_or(0);
            prop_assert_eq!(has_run(text.as_bytes(), least), longest >= least);
        }
    }
}
