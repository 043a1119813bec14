//! The tier that a try is served at, and the tools that its provider runs: what is asked for of it, and what was used.

use domain::{Grammar, HostedTool, HostedTools, PriceTerms, Tier, Usage};

/// What is asked for, less a tier that this provider is not asked for, and the tools that a translation leaves out.
pub(crate) fn sent(terms: PriceTerms, is_spoken: bool, dropped: &[String]) -> PriceTerms {
    let is_dropped = dropped.iter().any(|name| matches!(&**name, "service_tier" | "serviceTier"));
    let hosted = if is_spoken { terms.hosted } else { HostedTools::default() };
    PriceTerms { tier: terms.tier.filter(|_| !is_dropped), hosted }
}

/// At the tier that the answer names, in its body or in its head, else at the one that was asked for; with a call of each
/// tool that may have run and of which this grammar tells nothing.
pub(crate) fn used(mut usage: Usage, told: Option<Tier>, asked: PriceTerms, grammar: Grammar) -> Usage {
    let tier = usage.tier.or(told).or(asked.tier);
    usage.tier = tier.filter(|tier| *tier != Tier::Standard);
    let hosted = asked.hosted;
    if hosted.is_none() || usage.is_nothing() {
        return usage;
    }
    if hosted.has(HostedTool::WebSearchPreview) && !hosted.has(HostedTool::WebSearch) {
        let searches = std::mem::take(&mut usage.units.web_searches);
        usage.units.hosted_calls = usage.units.hosted_calls.saturating_add(searches);
    }
    let is_told = |tool| matches!(tool, HostedTool::WebSearch | HostedTool::FileSearch);
    if grammar != Grammar::Responses && hosted.iter().any(|tool| !is_told(tool)) {
        usage.units.hosted_calls = usage.units.hosted_calls.max(1);
    }
    usage
}
