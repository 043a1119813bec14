//! What a text is made of, counted in one pass: most texts lack what a detector needs, so that its pattern is never tried.

/// What a text is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Makeup {
    pub has_at: bool,
    pub digits: usize,
    pub dashes: usize,
    /// Bytes of the longest run of letters, digits and the signs that keys and tokens have.
    pub longest_run: usize,
}

/// What a text has at least, by one count or another, if one of several detectors matches in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Any text may match.
    pub nothing: bool,
    pub at: bool,
    pub digits: usize,
    pub dashes: usize,
    pub run: usize,
}

/// Counts a text byte by byte.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    seen: u8,
    digits: usize,
    dashes: usize,
    run: usize,
    longest_run: usize,
}

const IN_RUN: u8 = 1;
const DIGIT: u8 = 2;
const AT: u8 = 4;
const DASH: u8 = 8;

const fn kinds(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => IN_RUN | DIGIT,
        b'-' => IN_RUN | DASH,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'.' | b'+' | b'/' | b'=' => IN_RUN,
        b'@' => AT,
        _ => 0,
    }
}

impl Makeup {
    pub(crate) fn of(text: &str) -> Self {
        let mut counting = Counting::default();
        text.bytes().for_each(|byte| counting.count(byte));
        counting.makeup()
    }
}

impl Counting {
    #[inline]
    pub(crate) fn count(&mut self, byte: u8) {
        let kinds = kinds(byte);
        self.seen |= kinds;
        self.digits += usize::from(kinds & DIGIT != 0);
        self.dashes += usize::from(kinds & DASH != 0);
        self.run = if kinds & IN_RUN == 0 { 0 } else { self.run + 1 };
        self.longest_run = self.longest_run.max(self.run);
    }

    pub(crate) const fn makeup(&self) -> Makeup {
        Makeup {
            has_at: self.seen & AT != 0,
            digits: self.digits,
            dashes: self.dashes,
            longest_run: self.longest_run,
        }
    }
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

    pub(crate) const fn are_met(self, makeup: Makeup) -> bool {
        self.nothing
            || self.at && makeup.has_at
            || makeup.digits >= self.digits
            || makeup.dashes >= self.dashes
            || makeup.longest_run >= self.run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_counted_in_one_pass() {
        for (text, has_at, digits, dashes, longest_run) in [
            ("", false, 0, 0, 0),
            ("to be or not", false, 0, 0, 3),
            ("ann@example.com, 12 and 345", true, 5, 0, 11),
            ("-----BEGIN PRIVATE KEY-----", false, 0, 10, 10),
            ("größe 7", false, 1, 0, 2),
        ] {
            assert_eq!(Makeup::of(text), Makeup { has_at, digits, dashes, longest_run }, "{text}");
        }
    }

    #[test]
    fn needs_of_several_are_those_of_any() {
        let needs = Needs::AT.or(Needs::digits(3));
        for (text, expected) in [("a@b", true), ("a1b2c3", true), ("a1b2", false), ("", false)] {
            assert_eq!(needs.are_met(Makeup::of(text)), expected, "{text}");
        }
        assert!(Needs::ALWAYS.are_met(Makeup::default()) && !Needs::NEVER.are_met(Makeup::of("a@b 123456")));
    }
}
