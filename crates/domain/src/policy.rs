//! Policies: what a project's requests may reach, whatever a route says.

use crate::agreement::Retention;
use crate::ids::PolicyId;
use crate::pattern::ModelPattern;
use crate::profile::Profile;

/// The restrictions of a policy. One that is not set allows everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicySpec {
    pub providers: Vec<String>,
    /// Patterns of full model names: exact unless they end in `*` or `/`.
    pub models: Vec<String>,
    pub regions: Vec<String>,
    pub profiles: Vec<Profile>,
    /// The longest data retention by the provider, as the agreement with it states.
    pub retention: Option<Retention>,
    /// Compliance regimes that the agreement with a credential's or account's provider must include, all of
    /// them.
    pub compliance: Vec<String>,
}

/// The policy of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub id: PolicyId,
    pub spec: PolicySpec,
}

/// The rule of a policy that refused a request, under the name that its owner knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyRule {
    Providers,
    Models,
    Regions,
    Profiles,
    Retention,
    Compliance,
}

impl PolicyRule {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Providers => "allowed_providers",
            Self::Models => "allowed_models",
            Self::Regions => "allowed_regions",
            Self::Profiles => "profiles",
            Self::Retention => "retention",
            Self::Compliance => "compliance",
        }
    }
}

impl PolicySpec {
    #[must_use]
    pub fn allows_model(&self, name: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| ModelPattern::read(pattern).matches(name))
    }
}

impl Retention {
    /// Whether a provider with the agreed retention meets this bound. An unknown retention does not.
    #[must_use]
    pub fn is_kept_by(self, agreed: Option<Self>) -> bool {
        match (self, agreed) {
            (_, Some(Self::Zero)) => true,
            (Self::Days(most), Some(Self::Days(days))) => days <= most,
            (Self::Zero, Some(Self::Days(_))) | (_, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_agreed_to_less_keeps_it() {
        for (most, agreed, is_kept) in [
            (Retention::Zero, Some(Retention::Zero), true),
            (Retention::Zero, Some(Retention::Days(1)), false),
            (Retention::Zero, None, false),
            (Retention::Days(7), Some(Retention::Zero), true),
            (Retention::Days(7), Some(Retention::Days(7)), true),
            (Retention::Days(7), Some(Retention::Days(8)), false),
            (Retention::Days(7), None, false),
        ] {
            assert_eq!(most.is_kept_by(agreed), is_kept, "{most:?} {agreed:?}");
        }
    }

    #[test]
    fn a_model_is_allowed_by_its_name_or_a_pattern_of_it() {
        let spec = |models: &[&str]| PolicySpec {
            models: models.iter().map(|model| (*model).to_owned()).collect(),
            ..PolicySpec::default()
        };
        assert!(spec(&[]).allows_model("openai/gpt-4o"));
        assert!(spec(&["anthropic/", "openai/gpt-4o*"]).allows_model("openai/gpt-4o-mini"));
        assert!(spec(&["anthropic/"]).allows_model("anthropic/claude-haiku-4-5"));
        assert!(!spec(&["anthropic/", "openai/gpt-4o"]).allows_model("openai/gpt-4o-mini"));
        assert!(!spec(&["anthropic/"]).allows_model("openai/gpt-4o"));
    }
}
