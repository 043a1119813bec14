//! Policies: what a project's requests may reach and contain, whatever a route says.

mod boundary;
mod content_check;
mod loosening;
mod policy_hook;
mod request_rules;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, FaultClass, Refuser};
use crate::ids::{PolicyId, ProjectId};
use crate::pattern::ModelPattern;
use crate::profile::Profile;
use crate::retention::Retention;
use crate::secret::Sealed;

pub use boundary::{DataBoundary, RegionPolicy};
pub use content_check::{CheckAction, CheckCount, CheckedSide, ContentCheck, Detector};
pub use loosening::{Loosening, narrowed_models, narrowed_names};
pub use policy_hook::{HookCall, HookOutcome, HookPoint, HookServer, OnSilence, PolicyHook, host_of};
pub use request_rules::{FileKind, ParameterRule, RequestRules, Thousandths};

/// The restrictions of a policy. One that is not set allows everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicySpec {
    pub providers: Vec<String>,
    /// Patterns of full model names: exact unless they end in `*` or `/`.
    pub models: Vec<String>,
    pub regions: Vec<String>,
    pub region_policy: RegionPolicy,
    pub data_boundary: DataBoundary,
    pub profiles: Vec<Profile>,
    /// The longest data retention by the provider, as the agreement with it states.
    pub retention: Option<Retention>,
    /// Compliance regimes that the agreement with a credential's or account's provider must include, all of
    /// them.
    pub compliance: Vec<String>,
    /// What a request may ask for.
    pub request: RequestRules,
    /// What is looked for in the text of requests and answers.
    pub checks: Vec<ContentCheck>,
    /// Servers of the customer that are asked about each request or answer.
    pub hooks: Vec<PolicyHook>,
}

/// The policy of a project, or of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub id: PolicyId,
    /// `None` for the workspace's, which holds for all of its projects.
    pub project: Option<ProjectId>,
    pub spec: PolicySpec,
    /// What signs the calls of its hooks; `None` before it first had one.
    pub hook_secret: Option<HookSecret>,
}

/// The sealed secret of a policy's hooks: the newest signing key and the one before it, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSecret {
    pub sealed: Sealed,
    /// When the newest key was made.
    pub made_unix_ms: u64,
}

/// The policies that hold for a project's requests, each of them: the workspace's, then its own. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    layers: Vec<Arc<Policy>>,
}

crate::words! {
    /// The rule of a policy that refused a request, under the name that its owner knows. Records store the
    /// variant's number: append new ones at the end.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum PolicyRule {
        Providers = "allowed_providers",
        Models = "allowed_models",
        Regions = "allowed_regions",
        Profiles = "profiles",
        Retention = "retention",
        Compliance = "compliance",
        RegionPolicy = "region_policy",
        DataBoundary = "data_boundary",
        OutputTokens = "max_output_tokens",
        InputTokens = "max_input_tokens",
        Cost = "max_cost_micros",
        Duration = "max_duration_ms",
        Metadata = "required_metadata",
        Parameters = "parameters",
        Tools = "allowed_tools",
        HostedTools = "allowed_hosted_tools",
        FileKinds = "allowed_file_kinds",
        Checks = "checks",
        Hooks = "hooks",
    }
}

impl Policy {
    /// Whose policy it is, in a sentence.
    pub const fn owner(&self) -> &'static str {
        if self.project.is_some() { "project" } else { "workspace" }
    }
}

impl Policies {
    /// `None` if there is neither.
    pub fn of(workspace: Option<Arc<Policy>>, project: Option<Arc<Policy>>) -> Option<Arc<Self>> {
        let layers: Vec<_> = workspace.into_iter().chain(project).collect();
        (!layers.is_empty()).then(|| Arc::new(Self { layers }))
    }

    /// The workspace's comes first.
    pub fn each(&self) -> impl Iterator<Item = &Arc<Policy>> + Clone {
        self.layers.iter()
    }

    fn specs(&self) -> impl Iterator<Item = &PolicySpec> {
        self.layers.iter().map(|policy| &policy.spec)
    }

    /// Whether nothing of a request may be retained, by its provider or by us.
    pub fn retains_nothing(&self) -> bool {
        self.zero_retention().is_some()
    }

    /// The policy that lets nothing be retained.
    pub fn zero_retention(&self) -> Option<&Policy> {
        self.each().map(|policy| &**policy).find(|policy| policy.spec.retention == Some(Retention::Zero))
    }

    /// The refusal of what could only be served if something were kept here, where a policy lets nothing be retained.
    pub fn refuse_to_keep(&self, what_is_kept: &str, fix: &'static str) -> Option<Fault> {
        let policy = self.zero_retention()?;
        let message = format!(
            "The policy {} of this {} lets nothing be retained, and {what_is_kept} (retention).",
            policy.id,
            policy.owner()
        );
        let fault = Fault::new(FaultClass::Forbidden, "policy_forbids", message).fix(fix);
        Some(fault.should_retry(false).refused_by(Refuser::PolicyRule(policy.id, PolicyRule::Retention)))
    }

    /// The most days that anything may be retained, where a policy says so.
    pub fn retention_days_max(&self) -> Option<u32> {
        let days = |spec: &PolicySpec| match spec.retention {
            Some(Retention::Days(days)) => Some(days),
            Some(Retention::Zero) | None => None,
        };
        self.specs().filter_map(days).min()
    }

    /// Whether a provider may store what it is sent: not where nothing may be retained, and not where a check masks or
    /// blocks, since what is stored is not checked again.
    pub fn let_providers_store(&self) -> bool {
        !self.retains_nothing() && !self.checks().any(|(_, check)| check.is_enforced())
    }

    /// Whether some models alone are allowed.
    pub fn names_models(&self) -> bool {
        self.specs().any(|spec| !spec.models.is_empty())
    }

    /// Whether some rule is about what a request contains, and not only about where it goes.
    pub fn reads_requests(&self) -> bool {
        self.specs().any(|spec| spec.request.reads_requests())
    }

    /// The longest that a request may take.
    pub fn duration_ms_max(&self) -> Option<u64> {
        self.specs().filter_map(|spec| spec.request.duration_ms_max).min()
    }

    /// All checks, with the policy of each.
    pub fn checks(&self) -> impl Iterator<Item = (&Arc<Policy>, &ContentCheck)> {
        self.layers.iter().flat_map(|policy| policy.spec.checks.iter().map(move |check| (policy, check)))
    }

    /// All hooks, with the policy of each and their places in it.
    pub fn hooks(&self) -> impl Iterator<Item = (&Arc<Policy>, usize, &PolicyHook)> {
        self.layers.iter().flat_map(|policy| {
            policy.spec.hooks.iter().enumerate().map(move |(place, hook)| (policy, place, hook))
        })
    }
}

impl PolicySpec {
    pub fn allows_model(&self, name: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| ModelPattern::read(pattern).matches(name))
    }

    /// Whether it restricts regions, so that they must be known.
    pub fn restricts_regions(&self) -> Option<PolicyRule> {
        if !self.regions.is_empty() {
            Some(PolicyRule::Regions)
        } else if self.region_policy.is_restriction() {
            Some(PolicyRule::RegionPolicy)
        } else {
            None
        }
    }

    /// The rule that keeps a request out of a region, if one does. Names of regions are compared whatever
    /// their case.
    pub fn forbids_region(&self, region: &str) -> Option<PolicyRule> {
        if !self.region_policy.allows(region) {
            Some(PolicyRule::RegionPolicy)
        } else if !self.regions.is_empty() && !self.regions.iter().any(|one| one.eq_ignore_ascii_case(region))
        {
            Some(PolicyRule::Regions)
        } else {
            None
        }
    }
}
