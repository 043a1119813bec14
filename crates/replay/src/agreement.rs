//! How much two answers have in common: by their words, by their embeddings, and by what a judge says.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::limits::COMPARED_WORDS_MAX;

/// The comparison of two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Word for word the same.
    pub is_same: bool,
    /// Words that both have, as a share of the words of both (F1), in hundredths of a per cent.
    pub overlap_bps: u32,
    /// The cosine of their embeddings, in hundredths of a per cent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub similarity_bps: Option<u32>,
    /// Whether a judge finds the candidate's at least as good.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub is_as_good: Option<bool>,
}

/// Compares words alone.
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
    Agreement {
        is_same: one.trim() == other.trim(),
        overlap_bps: u32::try_from(overlap).unwrap_or(10_000),
        similarity_bps: None,
        is_as_good: None,
    }
}

/// The cosine of two vectors in hundredths of a per cent, 0 where it is negative; `None` where there is none.
pub fn cosine_bps(one: &[f64], other: &[f64]) -> Option<u32> {
    if one.len() != other.len() {
        return None;
    }
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(one, other) / (dot(one, one) * dot(other, other)).sqrt();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10,000")]
    cosine.is_finite().then(|| (cosine.clamp(0.0, 1.0) * 10_000.0).round() as u32)
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
            let found = agreement(one, other);
            assert_eq!((found.is_same, found.overlap_bps), (is_same, overlap_bps), "{one} {other}");
        }
    }

    #[test]
    fn a_cosine_needs_two_directions() {
        for (one, other, expected) in [
            (&[1.0, 0.0][..], &[2.0, 0.0][..], Some(10_000)),
            (&[1.0, 1.0], &[1.0, 0.0], Some(7_071)),
            (&[1.0, 0.0], &[-1.0, 0.0], Some(0)),
            (&[1.0], &[1.0, 0.0], None),
            (&[0.0, 0.0], &[1.0, 0.0], None),
            (&[], &[], None),
            (&[f64::INFINITY], &[1.0], None),
        ] {
            assert_eq!(cosine_bps(one, other), expected, "{one:?} {other:?}");
        }
    }
}
