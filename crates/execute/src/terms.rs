//! The service tier of an attempt, and the tools that its provider runs: what
//! is requested, and what was used.

use dialects::face;
use domain::{Grammar, HostedTool, HostedTools, PriceTerms, Tier, Usage};

/// The requested terms, without a tier that this provider is not sent and the tools that a translation drops.
pub(crate) fn sent(terms: PriceTerms, is_spoken: bool, dropped: &[String]) -> PriceTerms {
    let is_dropped = dropped.iter().any(|name| matches!(&**name, "service_tier" | "serviceTier"));
    let hosted = if is_spoken { terms.hosted } else { HostedTools::default() };
    PriceTerms { tier: terms.tier.filter(|_| !is_dropped), hosted }
}

/// Sets the tier that the answer's body or head names, else the requested one, and counts at least one hosted
/// call if a tool may have run that this dialect does not report.
pub(crate) fn used(
    mut usage: Usage,
    reported: Option<Tier>,
    requested: PriceTerms,
    grammar: Grammar,
) -> Usage {
    let tier = usage.tier.or(reported).or(requested.tier);
    usage.tier = tier.filter(|tier| *tier != Tier::Standard);
    let hosted = requested.hosted;
    if hosted.is_none() || usage.is_nothing() {
        return usage;
    }
    if hosted.has(HostedTool::WebSearchPreview) && !hosted.has(HostedTool::WebSearch) {
        let searches = std::mem::take(&mut usage.units.web_searches);
        usage.units.hosted_calls = usage.units.hosted_calls.saturating_add(searches);
    }
    let is_reported = |tool| matches!(tool, HostedTool::WebSearch | HostedTool::FileSearch);
    if !face(grammar).facts().reports_hosted_calls && hosted.iter().any(|tool| !is_reported(tool)) {
        usage.units.hosted_calls = usage.units.hosted_calls.max(1);
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    use domain::Units;

    fn tools(tools: &[HostedTool]) -> HostedTools {
        let mut all = HostedTools::default();
        tools.iter().for_each(|tool| all.add(*tool));
        all
    }

    #[test]
    fn a_tier_that_was_dropped_and_tools_that_a_translation_drops_are_not_sent() {
        let asked = PriceTerms { tier: Some(Tier::Flex), hosted: tools(&[HostedTool::WebSearch]) };
        let without_tier = PriceTerms { tier: None, ..asked };
        let without_tools = PriceTerms { hosted: HostedTools::default(), ..asked };
        for (is_spoken, dropped, expected) in [
            (true, &[][..], asked),
            (true, &["seed"][..], asked),
            (true, &["service_tier"][..], without_tier),
            (true, &["serviceTier"][..], without_tier),
            (false, &[][..], without_tools),
        ] {
            let dropped: Vec<String> = dropped.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(sent(asked, is_spoken, &dropped), expected, "{is_spoken} {dropped:?}");
        }
    }

    #[test]
    fn a_hosted_tool_that_the_dialect_does_not_report_counts_as_one_call() {
        let answer = |web_searches| Usage {
            output: 5,
            units: Units { web_searches, ..Units::default() },
            ..Usage::default()
        };
        let calls = |grammar, usage: Usage, offered: &[HostedTool]| {
            let terms = PriceTerms { tier: None, hosted: tools(offered) };
            let units = used(usage, None, terms, grammar).units;
            (units.web_searches, units.hosted_calls)
        };
        use HostedTool::{CodeExecution, WebSearch, WebSearchPreview};
        assert_eq!(calls(Grammar::Chat, answer(0), &[CodeExecution]), (0, 1));
        assert_eq!(calls(Grammar::Responses, answer(0), &[CodeExecution]), (0, 0), "it reports them");
        assert_eq!(calls(Grammar::Chat, answer(2), &[WebSearch]), (2, 0), "searches are reported everywhere");
        assert_eq!(
            calls(Grammar::Responses, answer(2), &[WebSearchPreview]),
            (0, 2),
            "priced as a hosted call"
        );
        assert_eq!(calls(Grammar::Chat, Usage::default(), &[CodeExecution]), (0, 0), "nothing was answered");
        assert_eq!(calls(Grammar::Chat, answer(0), &[]), (0, 0));
    }
}
