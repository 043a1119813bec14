//! What the policies of a workspace and of a project allow together, as `/v2` shows it.

use domain::{DataBoundary, Policies, PolicySpec, Retention, narrowed_models, narrowed_names};
use schemars::JsonSchema;
use serde::Serialize;
use snapshot::ProjectEntry;

use crate::agreement::{self, RetentionForm};
use crate::hook_forms::HookForm;
use crate::policy_forms::{LimitsForm, texts};

/// In its lists, null allows everything and an empty list nothing.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EffectivePolicy")]
pub struct EffectiveView {
    object: &'static str,
    project_id: String,
    /// The policies that it is made of, the workspace's first.
    policy_ids: Vec<String>,
    allowed_providers: Option<Vec<String>>,
    allowed_models: Option<Vec<String>>,
    /// Names of regions in lower case, with those of `region_policy`.
    allowed_regions: Option<Vec<String>>,
    data_boundary: &'static str,
    profiles: Option<Vec<String>>,
    retention: Option<RetentionForm>,
    compliance: Vec<String>,
    limits: LimitsForm,
    required_metadata: Vec<String>,
    allowed_tools: Option<Vec<String>>,
    allowed_hosted_tools: Option<Vec<String>>,
    allowed_file_kinds: Option<Vec<String>>,
    /// All of them are called.
    hooks: Vec<HookForm>,
}

impl EffectiveView {
    pub fn of(project: &ProjectEntry) -> Self {
        let policies = project.policy.as_deref();
        let specs: Vec<&PolicySpec> =
            policies.into_iter().flat_map(Policies::each).map(|policy| &policy.spec).collect();
        let each = |list: fn(&PolicySpec) -> &[String]| {
            specs.iter().filter_map(move |spec| Some(list(spec).to_vec()).filter(|list| !list.is_empty()))
        };
        let union = |list: fn(&PolicySpec) -> &[String]| {
            let mut all: Vec<String> = specs.iter().flat_map(|spec| list(spec)).cloned().collect();
            all.sort();
            all.dedup();
            all
        };
        let profiles = specs
            .iter()
            .filter(|spec| !spec.profiles.is_empty())
            .map(|spec| spec.profiles.iter().map(|profile| profile.as_str().to_owned()).collect::<Vec<_>>());
        let kinds = specs.iter().filter_map(|spec| Some(texts(spec.request.file_kinds.as_ref()?)));
        let tools = specs.iter().filter_map(|spec| spec.request.tools.clone());
        let hosted = specs.iter().filter_map(|spec| spec.request.hosted_tools.clone());
        Self {
            object: "effective_policy",
            project_id: project.id.to_string(),
            policy_ids: policies.into_iter().flat_map(Policies::each).map(|one| one.id.to_string()).collect(),
            allowed_providers: all_of(each(|spec| &spec.providers), narrowed_names),
            allowed_models: all_of(each(|spec| &spec.models), narrowed_models),
            allowed_regions: regions(&specs),
            data_boundary: specs
                .iter()
                .fold(DataBoundary::Project, |strictest, spec| strictest.or_stricter(spec.data_boundary))
                .as_str(),
            profiles: all_of(profiles, narrowed_names),
            retention: agreement::show_retention(strictest(&specs)),
            compliance: union(|spec| &spec.compliance),
            limits: LimitsForm::strictest(&specs),
            required_metadata: union(|spec| &spec.request.required_metadata),
            allowed_tools: all_of(tools, narrowed_models),
            allowed_hosted_tools: all_of(hosted, narrowed_models),
            allowed_file_kinds: all_of(kinds, narrowed_names),
            hooks: policies
                .into_iter()
                .flat_map(Policies::hooks)
                .map(|(_, _, hook)| HookForm::of(hook))
                .collect(),
        }
    }
}

type Narrow = fn(&[String], &[String]) -> Option<Vec<String>>;

/// What all lists allow; `None` if there is none. An empty list allows nothing.
fn all_of(mut lists: impl Iterator<Item = Vec<String>>, narrow: Narrow) -> Option<Vec<String>> {
    let first = lists.next()?;
    Some(lists.fold(first, |one, other| {
        if one.is_empty() || other.is_empty() { Vec::new() } else { narrow(&one, &other).unwrap_or_default() }
    }))
}

pub fn regions(specs: &[&PolicySpec]) -> Option<Vec<String>> {
    let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect::<Vec<_>>();
    let named = specs.iter().filter(|spec| !spec.regions.is_empty()).map(|spec| lower(&spec.regions));
    let parts = specs.iter().filter_map(|spec| spec.region_policy.regions());
    let parts = parts.map(|regions| regions.iter().map(|region| (*region).to_owned()).collect());
    all_of(named.chain(parts), narrowed_names)
}

fn strictest(specs: &[&PolicySpec]) -> Option<Retention> {
    let bounds = specs.iter().filter_map(|spec| spec.retention);
    bounds.reduce(|one, other| if one.is_kept_by(Some(other)) { other } else { one })
}
