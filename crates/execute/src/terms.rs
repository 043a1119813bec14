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
