//! A sequence's position in its grammar constraint, and the token masks there.

use llguidance::Matcher;

pub(crate) struct ConstraintState {
    matcher: Matcher,
}

/// A token mask: the tokens that may come next, a bit for each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TokenMask(Vec<u32>);

domain::brief_debug!(ConstraintState as "Following");

impl TokenMask {
    /// End tokens are allowed exactly where the text may end, whatever the mask says of them.
    fn new(mut words: Vec<u32>, ends: &[u32], may_end: bool) -> Self {
        for end in ends {
            let (word, bit) = (*end as usize / 32, 1 << (end % 32));
            if may_end && word >= words.len() {
                words.resize(word + 1, 0);
            }
            if let Some(word) = words.get_mut(word) {
                *word = if may_end { *word | bit } else { *word & !bit };
            }
        }
        Self(words)
    }

    pub(crate) fn words(&self) -> &[u32] {
        &self.0
    }
}

impl ConstraintState {
    pub(super) const fn new(matcher: Matcher) -> Self {
        Self { matcher }
    }

    /// Advances by a token. `false` if the constraint does not allow it or exceeded its cost limits.
    pub(crate) fn take(&mut self, token: u32) -> bool {
        self.matcher.try_consume_tokens(&[token]).is_ok_and(|taken| taken == 1)
    }

    /// Advances by the tokens that are forced (fast-forward tokens), and returns them.
    pub(crate) fn forced_tokens(&mut self) -> Vec<u32> {
        if self.is_over() { Vec::new() } else { self.matcher.consume_ff_tokens() }
    }

    /// The constraint is complete; nothing may follow.
    pub(crate) fn is_over(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// The constraint exceeded a cost limit and can't continue.
    pub(crate) fn is_broken(&self) -> bool {
        self.matcher.is_error()
    }

    /// The mask for the next token.
    fn token_mask(&mut self, ends: &[u32]) -> Option<TokenMask> {
        let may_end = self.matcher.is_accepting().ok()?;
        let mask = self.matcher.compute_mask_or_eos();
        match mask {
            Ok(mask) => Some(TokenMask::new(mask.as_slice().to_vec(), ends, may_end)),
            Err(_) => None,
        }
    }

    /// The masks for the next token and for the position after each draft token that can be accepted. Does
    /// not advance the sequence.
    pub(crate) fn draft_masks(&mut self, drafts: &[u32], ends: &[u32]) -> Vec<Option<TokenMask>> {
        let mut ahead = vec![self.token_mask(ends)];
        if drafts.is_empty() {
            return ahead;
        }
        ahead.resize(drafts.len() + 1, None);
        // An error after a draft token affects only this copy.
        let mut speculative = Self::new(self.matcher.clone());
        let mut at = 0;
        while let Some(token) = drafts.get(at) {
            if ends.contains(token) || !speculative.take(*token) {
                break;
            }
            let forced = speculative.forced_tokens();
            at += 1;
            let is_drafted = drafts.get(at..).is_some_and(|rest| rest.starts_with(&forced));
            at += forced.len();
            if !is_drafted || speculative.is_over() {
                break;
            }
            if let Some(slot) = ahead.get_mut(at) {
                *slot = speculative.token_mask(ends);
            }
        }
        ahead
    }
}
