//! Compares a project's policy with its workspace's: a project may only tighten.

use crate::pattern::ModelPattern;
use crate::policy::{ParameterRule, PolicyRule, PolicySpec, RequestRules, Thousandths};
use crate::retention::Retention;

/// A rule of a project's policy that allows what its workspace's does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loosening {
    pub rule: PolicyRule,
    /// What is allowed too much.
    pub excess: String,
    /// What the workspace allows.
    pub bound: String,
}

/// The names that both lists allow, where an empty list allows all; `None` allows all.
pub fn narrowed_names(one: &[String], other: &[String]) -> Option<Vec<String>> {
    match (one, other) {
        ([], []) => None,
        ([], listed) | (listed, []) => Some(listed.to_vec()),
        (one, other) => {
            let is_shared = |name: &&String| other.iter().any(|same| same.eq_ignore_ascii_case(name));
            Some(one.iter().filter(is_shared).cloned().collect())
        }
    }
}

/// The same of patterns of models.
pub fn narrowed_models(one: &[String], other: &[String]) -> Option<Vec<String>> {
    if one.is_empty() || other.is_empty() {
        return narrowed_names(one, other);
    }
    let mut found: Vec<String> = Vec::new();
    for (first, second) in one.iter().flat_map(|first| other.iter().map(move |second| (first, second))) {
        let both = if covers(first, second) {
            second
        } else if covers(second, first) {
            first
        } else {
            continue;
        };
        if !found.contains(both) {
            found.push(both.clone());
        }
    }
    Some(found)
}

/// Whether a pattern matches everything that another one matches.
fn covers(wider: &str, own: &str) -> bool {
    match (ModelPattern::read(wider), ModelPattern::read(own)) {
        (ModelPattern::Exact(wider), ModelPattern::Exact(own)) => wider == own,
        (ModelPattern::Exact(_), ModelPattern::Prefix(_)) => false,
        (ModelPattern::Prefix(prefix), own) => own.fixed().starts_with(prefix),
    }
}

impl PolicySpec {
    /// The first rule that allows what `wider` does not. What is not set is inherited, and loosens nothing.
    pub fn loosens(&self, wider: &Self) -> Option<Loosening> {
        let same = |wider: &str, own: &str| wider.eq_ignore_ascii_case(own);
        let profiles = |spec: &Self| -> Vec<String> {
            spec.profiles.iter().map(|profile| profile.as_str().to_owned()).collect()
        };
        names(PolicyRule::Providers, &self.providers, &wider.providers, same)
            .or_else(|| names(PolicyRule::Models, &self.models, &wider.models, covers))
            .or_else(|| names(PolicyRule::Regions, &self.regions, &wider.regions, same))
            .or_else(|| self.region_outside(wider))
            .or_else(|| names(PolicyRule::Profiles, &profiles(self), &profiles(wider), same))
            .or_else(|| retention(self.retention, wider.retention))
            .or_else(|| self.request.loosens(&wider.request))
    }

    fn region_outside(&self, wider: &Self) -> Option<Loosening> {
        let outside = self.regions.iter().find(|region| !wider.region_policy.allows(region));
        let loosening = |rule, excess: &str| Loosening {
            rule,
            excess: excess.to_owned(),
            bound: wider.region_policy.as_str().to_owned(),
        };
        match outside {
            Some(region) => Some(loosening(PolicyRule::Regions, region)),
            None if self.region_policy.is_restriction()
                && !self.region_policy.is_within(wider.region_policy) =>
            {
                Some(loosening(PolicyRule::RegionPolicy, self.region_policy.as_str()))
            }
            None => None,
        }
    }
}

impl RequestRules {
    fn loosens(&self, wider: &Self) -> Option<Loosening> {
        let same = |wider: &str, own: &str| wider == own;
        let kinds = |rules: &Self| -> Option<Vec<String>> {
            Some(rules.file_kinds.as_ref()?.iter().map(|kind| kind.as_str().to_owned()).collect())
        };
        amount(PolicyRule::OutputTokens, self.output_tokens_max, wider.output_tokens_max)
            .or_else(|| amount(PolicyRule::InputTokens, self.input_tokens_max, wider.input_tokens_max))
            .or_else(|| amount(PolicyRule::Cost, self.cost_micros_max, wider.cost_micros_max))
            .or_else(|| amount(PolicyRule::Duration, self.duration_ms_max, wider.duration_ms_max))
            .or_else(|| self.parameters.iter().find_map(|own| parameter(own, &wider.parameters)))
            .or_else(|| listed(PolicyRule::Tools, self.tools.as_ref(), wider.tools.as_ref(), covers))
            .or_else(|| {
                listed(
                    PolicyRule::HostedTools,
                    self.hosted_tools.as_ref(),
                    wider.hosted_tools.as_ref(),
                    covers,
                )
            })
            .or_else(|| listed(PolicyRule::FileKinds, kinds(self).as_ref(), kinds(wider).as_ref(), same))
    }
}

type Covers = fn(&str, &str) -> bool;

fn names(rule: PolicyRule, own: &[String], wider: &[String], covers: Covers) -> Option<Loosening> {
    if wider.is_empty() {
        return None;
    }
    let excess = own.iter().find(|name| !wider.iter().any(|allowed| covers(allowed, name)))?;
    Some(Loosening { rule, excess: excess.clone(), bound: wider.join(", ") })
}

/// Here an empty list allows nothing.
fn listed(
    rule: PolicyRule,
    own: Option<&Vec<String>>,
    wider: Option<&Vec<String>>,
    covers: Covers,
) -> Option<Loosening> {
    let (own, wider) = (own?, wider?);
    let excess = own.iter().find(|name| !wider.iter().any(|allowed| covers(allowed, name)))?;
    let bound = if wider.is_empty() { "nothing".to_owned() } else { wider.join(", ") };
    Some(Loosening { rule, excess: excess.clone(), bound })
}

fn amount(rule: PolicyRule, own: Option<u64>, wider: Option<u64>) -> Option<Loosening> {
    let (own, wider) = (own?, wider?);
    (own > wider).then(|| Loosening { rule, excess: own.to_string(), bound: format!("at most {wider}") })
}

fn retention(own: Option<Retention>, wider: Option<Retention>) -> Option<Loosening> {
    let (own, wider) = (own?, wider?);
    let text = |retention| match retention {
        Retention::Zero => "zero".to_owned(),
        Retention::Days(days) => format!("{days} days"),
    };
    let loosening = Loosening {
        rule: PolicyRule::Retention,
        excess: text(own),
        bound: format!("at most {}", text(wider)),
    };
    (!wider.is_kept_by(Some(own))).then_some(loosening)
}

/// A range that is open where the workspace's is bounded is inherited there.
fn parameter(own: &ParameterRule, wider: &[ParameterRule]) -> Option<Loosening> {
    let wider = wider.iter().find(|rule| rule.name == own.name)?;
    let below = own.least.zip(wider.least).filter(|(own, least)| own < least);
    let above = own.most.zip(wider.most).filter(|(own, most)| own > most);
    let excess = below.or(above).map(|(own, _)| own).or_else(|| {
        own.default.filter(|value| {
            wider.least.is_some_and(|least| *value < least) || wider.most.is_some_and(|most| *value > most)
        })
    })?;
    let bound =
        |bound: Option<Thousandths>| bound.map_or_else(|| "any".to_owned(), |bound| bound.to_string());
    Some(Loosening {
        rule: PolicyRule::Parameters,
        excess: format!("{} {excess}", own.name),
        bound: format!("{} to {}", bound(wider.least), bound(wider.most)),
    })
}
