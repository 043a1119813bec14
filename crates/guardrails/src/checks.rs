//! Checks, compiled, and what they find in a text.

use std::ops::Range;

use domain::{CheckAction, CheckedSide, ContentCheck, Detector};

use crate::detect::Matcher;
use crate::needs::Needs;

/// The checks of all policies that hold for a request.
#[derive(Debug)]
pub struct Checks {
    checks: Vec<Check>,
    /// What a text has if a check of requests matches in it, and one of answers.
    input_needs: Needs,
    output_needs: Needs,
}

#[derive(Debug)]
struct Check {
    name: &'static str,
    action: CheckAction,
    side: CheckedSide,
    restores: bool,
    matcher: Matcher,
}

/// A place in a text where a check matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub range: Range<usize>,
    /// The check's place among the checks.
    pub check: usize,
    /// The name of what was found: `email`.
    pub name: &'static str,
    pub action: CheckAction,
    pub restores: bool,
}

/// How often each check matched, without what it matched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(Vec<(&'static str, CheckAction, u64)>);

/// Whether a detector can be used: one of a customer's may not compile.
pub fn check_detector(detector: &Detector) -> Result<(), String> {
    Matcher::of(detector).map(drop)
}

impl Tally {
    pub fn add(&mut self, found: &Found) {
        match self.0.iter_mut().find(|(name, action, _)| (*name, *action) == (found.name, found.action)) {
            Some((_, _, count)) => *count += 1,
            None => self.0.push((found.name, found.action, 1)),
        }
    }

    /// Each check with its action and its count.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, CheckAction, u64)> {
        self.0.iter().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Checks {
    /// # Errors
    /// A pattern does not compile; it was refused when it was saved, unless a later version accepts fewer.
    pub fn compile<'c>(checks: impl IntoIterator<Item = &'c ContentCheck>) -> Result<Self, String> {
        let compile = |check: &ContentCheck| {
            Ok::<_, String>(Check {
                name: check.detect.as_str(),
                action: check.action,
                side: check.side,
                restores: check.restores,
                matcher: Matcher::of(&check.detect)?,
            })
        };
        let checks = checks.into_iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        let needs = |is_covered: fn(CheckedSide) -> bool| {
            let covered = checks.iter().filter(|check| is_covered(check.side));
            covered.fold(Needs::NEVER, |needs, check| needs.or(check.matcher.needs()))
        };
        let (input_needs, output_needs) =
            (needs(CheckedSide::covers_input), needs(CheckedSide::covers_output));
        Ok(Self { input_needs, output_needs, checks })
    }

    pub fn covers_input(&self) -> bool {
        self.checks.iter().any(|check| check.side.covers_input())
    }

    pub fn covers_output(&self) -> bool {
        self.checks.iter().any(|check| check.side.covers_output())
    }

    /// Whether a check masks or blocks in requests, so that one that can't be read must not pass.
    pub fn enforces_input(&self) -> bool {
        self.checks.iter().any(|check| check.side.covers_input() && check.action != CheckAction::Flag)
    }

    pub fn enforces_output(&self) -> bool {
        self.checks.iter().any(|check| check.side.covers_output() && check.action != CheckAction::Flag)
    }

    /// Whether the checks of a side may find something in a text.
    pub(crate) fn may_find(&self, text: &[u8], is_input: bool) -> bool {
        if is_input { self.input_needs.are_met(text) } else { self.output_needs.are_met(text) }
    }

    /// What the checks of a side find, in order and apart: of what overlaps, the strictest action counts, then
    /// the longest match.
    pub fn find(&self, text: &str, is_input: bool, is_opaque: bool) -> Vec<Found> {
        let mut found = Vec::new();
        if !self.may_find(text.as_bytes(), is_input) {
            return found;
        }
        for (at, check) in self.checks.iter().enumerate() {
            if is_input && !check.side.covers_input() || !is_input && !check.side.covers_output() {
                continue;
            }
            found.extend(check.matcher.find(text, is_opaque).into_iter().map(|range| Found {
                range,
                check: at,
                name: check.name,
                action: check.action,
                restores: check.restores,
            }));
        }
        if found.is_empty() { found } else { apart(found) }
    }
}

fn apart(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|one| {
        (std::cmp::Reverse(one.action), std::cmp::Reverse(one.range.len()), one.range.start)
    });
    let mut kept: Vec<Found> = Vec::with_capacity(found.len());
    for one in found {
        let overlaps = |other: &Found| one.range.start < other.range.end && other.range.start < one.range.end;
        if !kept.iter().any(overlaps) {
            kept.push(one);
        }
    }
    kept.sort_by_key(|one| one.range.start);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(detect: Detector, action: CheckAction) -> ContentCheck {
        ContentCheck { detect, action, side: CheckedSide::Both, restores: false }
    }

    #[test]
    fn of_matches_that_overlap_the_strictest_counts() {
        let checks = Checks::compile(&[
            check(Detector::Email, CheckAction::Flag),
            check(Detector::Words(vec!["example".into()]), CheckAction::Block),
        ])
        .unwrap();
        let found = checks.find("ann@example.com and bob@mail.org", true, false);
        let short: Vec<_> = found.iter().map(|one| (one.range.clone(), one.name, one.action)).collect();
        assert_eq!(short, [(4..11, "words", CheckAction::Block), (20..32, "email", CheckAction::Flag)]);
        let mut tally = Tally::default();
        found.iter().chain(&found).for_each(|one| tally.add(one));
        assert_eq!(
            tally.rows().map(|(name, _, count)| (name, count)).collect::<Vec<_>>(),
            [("words", 2), ("email", 2)]
        );
    }
}
