//! Which usage of an attempt is booked: one pure function of what is known, and a table of its cases.

use conversation::prompt_text::is_counted;
use domain::limits::ANSWER_UNITS_MAX;
use domain::{Grammar, PriceTerms, Tier, Units, Usage, UsageSource};
use operations::{Booking, Subject};

use crate::terms;

/// How an attempt ended, as far as its usage goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// The upstream sent content, or a whole answer.
    Answered { reported: Option<Usage>, content_bytes: u64 },
    /// The attempt failed before any content.
    Silent {
        /// The billed units that the failure reports, in millionths.
        billed: Option<u64>,
        /// The request was sent and the gateway stopped waiting, so the provider may bill the prompt.
        may_bill: bool,
    },
}

/// What is known of an attempt beside its outcome.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub booking: Booking,
    pub subject: Subject,
    /// The upstream marks its own counts as estimates.
    pub is_upstream_estimate: bool,
    /// Of the request: characters to be spoken.
    pub characters: u64,
    /// Billed units in the response head, in millionths.
    pub head_units: Option<u64>,
    /// The model has a price per billed unit.
    pub is_sold_by_units: bool,
    /// The service tier that the response head names.
    pub head_tier: Option<Tier>,
    pub terms: PriceTerms,
    pub grammar: Grammar,
}

/// The usage of an attempt, as far as this exchange has to book it. `estimate` is called only where it counts.
pub(crate) fn usage(known: &Known, outcome: Outcome, estimate: impl FnOnce() -> Usage) -> Usage {
    match outcome {
        Outcome::Silent { .. } if known.subject != Subject::NewAnswer => Usage::default(),
        Outcome::Silent { billed: Some(billed), .. } if billed <= ANSWER_UNITS_MAX => {
            let units = Units { billed, ..Units::default() };
            Usage { units, source: UsageSource::Provider, ..Usage::default() }
        }
        Outcome::Silent { may_bill: true, .. } => estimate(),
        Outcome::Silent { .. } => Usage::default(),
        Outcome::Answered { reported, content_bytes } => {
            let reported = reported.filter(Usage::is_possible);
            let counted = match known.booking {
                Booking::Own => own(known, reported, content_bytes, estimate),
                Booking::Once { is_granted: true } => reported.unwrap_or_default(),
                // It is known where that is counted: in another record.
                Booking::Once { is_granted: false } => {
                    Usage { source: UsageSource::Provider, ..Usage::default() }
                }
                Booking::Never => Usage::default(),
            };
            match known.subject {
                Subject::StoredObject(_) => counted,
                Subject::NewAnswer | Subject::StoredAnswer => with_head(known, counted),
            }
        }
    }
}

/// The upstream's counts if it sent any, else an estimate; with what the request itself tells.
fn own(
    known: &Known,
    reported: Option<Usage>,
    content_bytes: u64,
    estimate: impl FnOnce() -> Usage,
) -> Usage {
    let usage = match reported.filter(|usage| is_counted(Some(usage), content_bytes)) {
        Some(usage) if known.is_upstream_estimate => Usage { source: UsageSource::Estimate, ..usage },
        Some(usage) => usage,
        None => estimate(),
    };
    Usage { units: Units { characters: known.characters, ..usage.units }, ..usage }
}

/// With the tier and the billed units of the response head. Units that were estimated from the answer count only where the
/// model is sold by them, and are marked as an estimate.
fn with_head(known: &Known, usage: Usage) -> Usage {
    let usage = terms::used(usage, known.head_tier, known.terms, known.grammar);
    let with = |billed| Usage { units: Units { billed, ..usage.units }, ..usage };
    match (known.head_units.filter(|billed| *billed <= ANSWER_UNITS_MAX), usage.units.billed) {
        (Some(billed), _) => with(billed),
        (None, 0) => usage,
        (None, _) if known.is_sold_by_units => Usage { source: UsageSource::Estimate, ..usage },
        (None, _) => with(0),
    }
}

#[cfg(test)]
mod tests {
    use operations::ObjectFacts;

    use super::*;

    const ESTIMATED: u64 = 77;

    fn known() -> Known {
        Known {
            booking: Booking::Own,
            subject: Subject::NewAnswer,
            is_upstream_estimate: false,
            characters: 0,
            head_units: None,
            is_sold_by_units: false,
            head_tier: None,
            terms: PriceTerms::default(),
            grammar: Grammar::Chat,
        }
    }

    fn tokens(output: u64) -> Usage {
        Usage { output, source: UsageSource::Provider, ..Usage::default() }
    }

    fn units(output: u64, billed: u64) -> Usage {
        Usage { units: Units { billed, ..Units::default() }, ..tokens(output) }
    }

    fn answered(reported: Option<Usage>, content_bytes: u64) -> Outcome {
        Outcome::Answered { reported, content_bytes }
    }

    fn silent(billed: Option<u64>, may_bill: bool) -> Outcome {
        Outcome::Silent { billed, may_bill }
    }

    /// Output tokens, billed units, characters, and whether it is an estimate.
    fn counts(known: &Known, outcome: Outcome) -> (u64, u64, u64, bool) {
        let estimated = || Usage { source: UsageSource::Estimate, ..tokens(ESTIMATED) };
        let usage = usage(known, outcome, estimated);
        (usage.output, usage.units.billed, usage.units.characters, usage.is_estimated())
    }

    #[test]
    fn what_counts_of_an_attempt() {
        let granted = |is_granted| Known { booking: Booking::Once { is_granted }, ..known() };
        let never = Known { booking: Booking::Never, ..known() };
        let stored = Known { subject: Subject::StoredAnswer, ..known() };
        let polled =
            Known { booking: Booking::Never, subject: Subject::StoredObject(&ObjectFacts::FILE), ..known() };
        let node = Known { is_upstream_estimate: true, ..known() };
        let speech = Known { characters: 40, ..known() };
        let head = |units| Known { head_units: Some(units), ..known() };
        let by_units = Known { is_sold_by_units: true, ..known() };
        let cases = [
            ("the upstream's count", known(), answered(Some(tokens(5)), 20), (5, 0, 0, false)),
            ("no report", known(), answered(None, 20), (ESTIMATED, 0, 0, true)),
            (
                "zeros for a text are no report",
                known(),
                answered(Some(tokens(0)), 20),
                (ESTIMATED, 0, 0, true),
            ),
            ("zeros for nothing are one", known(), answered(Some(tokens(0)), 0), (0, 0, 0, false)),
            ("a node that estimates", node, answered(Some(tokens(5)), 20), (5, 0, 0, true)),
            ("speech", speech, answered(Some(tokens(5)), 20), (5, 0, 40, false)),
            ("speech without a report", speech, answered(None, 20), (ESTIMATED, 0, 40, true)),
            ("units in the head", head(9), answered(Some(tokens(5)), 20), (5, 9, 0, false)),
            (
                "the head's units before the answer's",
                head(9),
                answered(Some(units(5, 3)), 20),
                (5, 9, 0, false),
            ),
            ("the head's zero", head(0), answered(Some(units(5, 3)), 20), (5, 0, 0, false)),
            ("units by the answer alone", by_units, answered(Some(units(5, 3)), 20), (5, 3, 0, true)),
            ("units that have no price", known(), answered(Some(units(5, 3)), 20), (5, 0, 0, false)),
            (
                "a stored answer, and the right to book it",
                granted(true),
                answered(Some(tokens(5)), 20),
                (5, 0, 0, false),
            ),
            ("the right, and no report", granted(true), answered(None, 20), (0, 0, 0, false)),
            (
                "another request has the right",
                granted(false),
                answered(Some(tokens(5)), 20),
                (0, 0, 0, false),
            ),
            ("booked elsewhere", never, answered(Some(tokens(5)), 20), (0, 0, 0, false)),
            ("a poller's object", polled, answered(Some(units(5, 3)), 20), (0, 0, 0, false)),
            ("refused", known(), silent(None, false), (0, 0, 0, false)),
            ("given up after the request was sent", known(), silent(None, true), (ESTIMATED, 0, 0, true)),
            ("a failure that reports units", known(), silent(Some(4), true), (0, 4, 0, false)),
            ("a failure about a stored object", stored, silent(Some(4), true), (0, 0, 0, false)),
        ];
        for (case, known, outcome, expected) in cases {
            assert_eq!(counts(&known, outcome), expected, "{case}");
        }
    }

    #[test]
    fn a_report_of_more_than_an_answer_can_have_counts_as_none() {
        let most = domain::limits::ANSWER_TOKENS_MAX;
        let by_units = Known { is_sold_by_units: true, ..known() };
        let head = |units| Known { head_units: Some(units), ..known() };
        let cases = [
            (
                "more than an answer can have",
                known(),
                answered(Some(tokens(u64::MAX)), 20),
                (ESTIMATED, 0, 0, true),
            ),
            ("as much as it can have", known(), answered(Some(tokens(most)), 20), (most, 0, 0, false)),
            ("impossible units", by_units, answered(Some(units(5, u64::MAX)), 20), (ESTIMATED, 0, 0, true)),
            ("impossible units in the head", head(u64::MAX), answered(Some(tokens(5)), 20), (5, 0, 0, false)),
            (
                "a failure that reports impossible units",
                known(),
                silent(Some(u64::MAX), false),
                (0, 0, 0, false),
            ),
        ];
        for (case, known, outcome, expected) in cases {
            assert_eq!(counts(&known, outcome), expected, "{case}");
        }
    }

    #[test]
    fn the_tier_of_the_answer_counts_before_that_of_the_head_and_of_the_request() {
        let requested =
            Known { terms: PriceTerms { tier: Some(Tier::Flex), ..PriceTerms::default() }, ..known() };
        let headed = Known { head_tier: Some(Tier::Priority), ..requested };
        let reported = Usage { tier: Some(Tier::Standard), ..tokens(5) };
        let tier = |known: &Known, reported| usage(known, answered(Some(reported), 20), Usage::default).tier;
        assert_eq!(tier(&requested, tokens(5)), Some(Tier::Flex));
        assert_eq!(tier(&headed, tokens(5)), Some(Tier::Priority));
        assert_eq!(tier(&headed, reported), None, "standard is the price without a tier");
    }
}
