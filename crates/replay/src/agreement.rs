//! How much two answers have in common, by their words.

use std::collections::HashMap;

use crate::limits::COMPARED_WORDS_MAX;

/// The comparison of two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// Word for word the same.
    pub is_same: bool,
    /// Words that both have, as a share of the words of both (F1), in hundredths of a per cent.
    pub overlap_bps: u32,
}

#[must_use]
pub fn agreement(one: &str, other: &str) -> Agreement {
    let words = |text: &str| -> Vec<String> {
        text.split_whitespace().take(COMPARED_WORDS_MAX).map(str::to_lowercase).collect()
    };
    let (mine, theirs) = (words(one), words(other));
    let mut left: HashMap<&str, u64> = HashMap::new();
    for word in &mine {
        *left.entry(word).or_default() += 1;
    }
    let mut shared = 0_u64;
    for word in &theirs {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    let all = (mine.len() + theirs.len()) as u64;
    let overlap = (shared * 20_000).checked_div(all).unwrap_or(10_000);
    Agreement { is_same: one.trim() == other.trim(), overlap_bps: u32::try_from(overlap).unwrap_or(10_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_as_often_as_both_have_them() {
        for (one, other, is_same, overlap_bps) in [
            ("", "", true, 10_000),
            ("the tide", "the tide\n", true, 10_000),
            ("The tide", "the tide", false, 10_000),
            ("a a b", "a b b", false, 6_666),
            ("a", "b", false, 0),
            ("a", "", false, 0),
        ] {
            assert_eq!(agreement(one, other), Agreement { is_same, overlap_bps }, "{one} {other}");
        }
    }
}
