//! The rules of a policy as `/v2` reads and shows them.

use std::collections::BTreeMap;

use api::failure::invalid;
use domain::{
    CheckAction, CheckedSide, ContentCheck, DataBoundary, Detector, Fault, FileKind, ModelPattern,
    ParameterRule, PolicySpec, Profile, RegionPolicy, RequestRules, Thousandths,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::agreement::{self, RetentionForm};
use crate::hook_forms::{self, HookForm};
use crate::limits::{POLICY_NAME_BYTES_MAX, POLICY_NAMES_MAX};

/// Bounds on a request; absent ones allow everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "PolicyLimits")]
pub struct LimitsForm {
    /// The most tokens that an answer may have. A conversation that sets no limit itself is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    /// The most tokens that a prompt may have, by an estimate.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_input_tokens: Option<u64>,
    /// The most that a request may cost, at the highest usage that it allows, in millionths of a dollar. What
    /// has no known price is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_cost_micros: Option<u64>,
    /// The longest that a request may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_duration_ms: Option<u64>,
}

impl LimitsForm {
    /// The lowest of each.
    pub fn strictest(specs: &[&PolicySpec]) -> Self {
        let least = |read: fn(&RequestRules) -> Option<u64>| {
            specs.iter().filter_map(|spec| read(&spec.request)).min()
        };
        Self {
            max_output_tokens: least(|rules| rules.output_tokens_max),
            max_input_tokens: least(|rules| rules.input_tokens_max),
            max_cost_micros: least(|rules| rules.cost_micros_max),
            max_duration_ms: least(|rules| rules.duration_ms_max),
        }
    }
}

/// The range of a numeric parameter, and its value where a request sets none.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "PolicyParameter")]
pub struct ParameterForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    /// A value outside is moved to the nearest one inside; otherwise the request is refused.
    clamp: bool,
}

/// What is looked for in the text of requests or answers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PolicyCheck")]
pub struct CheckForm {
    detect: DetectorName,
    /// The regular expression of `pattern`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    /// The words of `words`, found whole and whatever their case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    words: Vec<String>,
    action: ActionName,
    #[serde(default)]
    direction: DirectionName,
    /// What was masked in the request stands in the answer again.
    #[serde(default)]
    restore: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Detector")]
enum DetectorName {
    Secrets,
    Email,
    Phone,
    Iban,
    Card,
    NationalId,
    Pattern,
    Words,
}

/// `flag` counts, `mask` writes a placeholder in its place, `block` refuses the request or ends the answer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "CheckAction")]
enum ActionName {
    Flag,
    Mask,
    Block,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "CheckDirection")]
enum DirectionName {
    #[default]
    Input,
    Output,
    Both,
}

impl ParameterForm {
    fn of(rule: &ParameterRule) -> Self {
        let number = |bound: Option<Thousandths>| bound.map(Thousandths::as_f64);
        Self {
            default: number(rule.default),
            min: number(rule.least),
            max: number(rule.most),
            clamp: rule.clamps,
        }
    }

    fn read(&self, name: String) -> Result<ParameterRule, Box<Fault>> {
        let field = format!("parameters.{name}");
        let wrong =
            |what: &str| invalid(field.clone(), format!("{field} {what}."), "Correct it, or leave it out.");
        let number = |number: Option<f64>| {
            number.map(|number| Thousandths::of(number).ok_or_else(|| wrong("is too large"))).transpose()
        };
        let (default, least, most) = (number(self.default)?, number(self.min)?, number(self.max)?);
        let rule = ParameterRule { name, default, least, most, clamps: self.clamp };
        let is_inside = rule.default.is_none_or(|value| rule.fit(value) == Some(value));
        let is_range = rule.least.zip(rule.most).is_none_or(|(least, most)| least <= most);
        let is_name =
            rule.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        match (is_name && !rule.name.is_empty(), is_range, is_inside) {
            (false, ..) => Err(wrong("isn't a name in snake case")),
            (_, false, _) => Err(wrong("has a min above its max")),
            (.., false) => Err(wrong("has a default outside its range")),
            _ => Ok(rule),
        }
    }
}

impl CheckForm {
    fn of(check: &ContentCheck) -> Self {
        let (pattern, words) = match &check.detect {
            Detector::Pattern(pattern) => (Some(pattern.clone()), Vec::new()),
            Detector::Words(words) => (None, words.clone()),
            _ => (None, Vec::new()),
        };
        Self {
            detect: match check.detect {
                Detector::Secrets => DetectorName::Secrets,
                Detector::Email => DetectorName::Email,
                Detector::Phone => DetectorName::Phone,
                Detector::Iban => DetectorName::Iban,
                Detector::Card => DetectorName::Card,
                Detector::NationalId => DetectorName::NationalId,
                Detector::Pattern(_) => DetectorName::Pattern,
                Detector::Words(_) => DetectorName::Words,
            },
            pattern,
            words,
            action: match check.action {
                CheckAction::Flag => ActionName::Flag,
                CheckAction::Mask => ActionName::Mask,
                CheckAction::Block => ActionName::Block,
            },
            direction: match check.side {
                CheckedSide::Input => DirectionName::Input,
                CheckedSide::Output => DirectionName::Output,
                CheckedSide::Both => DirectionName::Both,
            },
            restore: check.restores,
        }
    }

    fn read(self, at: usize) -> Result<ContentCheck, Box<Fault>> {
        let wrong = |field: &str, what: String| {
            let field = format!("checks[{at}].{field}");
            invalid(field.clone(), format!("{field} {what}."), "Correct it.")
        };
        match (self.detect, &self.pattern, self.words.is_empty()) {
            (DetectorName::Pattern, None, _) => return Err(wrong("pattern", "is missing".to_owned())),
            (DetectorName::Words, _, true) => return Err(wrong("words", "is missing".to_owned())),
            (detect, Some(_), _) if detect != DetectorName::Pattern => {
                return Err(wrong("pattern", "belongs to another detector".to_owned()));
            }
            (detect, _, false) if detect != DetectorName::Words => {
                return Err(wrong("words", "belongs to another detector".to_owned()));
            }
            _ => {}
        }
        let detect = match self.detect {
            DetectorName::Secrets => Detector::Secrets,
            DetectorName::Email => Detector::Email,
            DetectorName::Phone => Detector::Phone,
            DetectorName::Iban => Detector::Iban,
            DetectorName::Card => Detector::Card,
            DetectorName::NationalId => Detector::NationalId,
            DetectorName::Pattern => Detector::Pattern(self.pattern.unwrap_or_default()),
            DetectorName::Words => Detector::Words(names(self.words, "words", |word| word)?),
        };
        if let Err(why) = guardrails::check_detector(&detect) {
            return Err(wrong(if matches!(detect, Detector::Words(_)) { "words" } else { "pattern" }, why));
        }
        Ok(ContentCheck {
            detect,
            action: match self.action {
                ActionName::Flag => CheckAction::Flag,
                ActionName::Mask => CheckAction::Mask,
                ActionName::Block => CheckAction::Block,
            },
            side: match self.direction {
                DirectionName::Input => CheckedSide::Input,
                DirectionName::Output => CheckedSide::Output,
                DirectionName::Both => CheckedSide::Both,
            },
            restores: self.restore,
        })
    }
}

/// What a policy allows. Omitted fields are unrestricted, or as in the workspace's policy.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Policy")]
pub struct PolicyForm {
    /// The project whose policy it is.
    pub project_id: Option<String>,
    /// In place of `project_id`: the policy holds for all projects of the workspace, whose own policies may
    /// only tighten it.
    pub workspace: bool,
    /// Sellers; `byoc` stands for the workspace's own nodes. Empty allows all.
    pub allowed_providers: Vec<String>,
    /// Full names of models. A name is exact, unless it ends in `*` or `/`: then it matches every name with that prefix
    /// (`openai/gpt-4o*`, `anthropic/`). Empty allows all.
    pub allowed_models: Vec<String>,
    /// Regions, as credentials, accounts and the node label `region=` name them, whatever their case; empty allows all. A target
    /// of unknown region is not allowed.
    pub allowed_regions: Vec<String>,
    /// The part of the world in which requests may be processed. A target of unknown region is in none.
    #[schemars(with = "Option<RegionPolicyName>")]
    pub region_policy: Option<String>,
    /// `strict` and `no_openrouter` forbid the provider that serves in emergencies; `project` leaves it to the routes.
    #[schemars(with = "Option<DataBoundaryName>")]
    pub data_boundary: Option<String>,
    /// Values of `Agent-Execution-Profile`; empty allows all.
    pub profiles: Vec<String>,
    /// The longest time that a provider may retain requests, by its agreement: `"zero"` or `{"days": 1 to 3650}`.
    /// The workspace's own nodes retain nothing elsewhere. With `"zero"`, what would stay at the provider or here is refused.
    #[schemars(with = "Option<RetentionForm>")]
    pub retention: Value,
    /// Tags that the credential or account must all have. The workspace's own nodes need none.
    pub compliance: Vec<String>,
    pub limits: LimitsForm,
    /// Keys that the request's metadata must have; `tag` is its tag in `Agent-Hints`, `end_user` its end user.
    pub required_metadata: Vec<String>,
    /// Functions that requests may offer the model, by name or prefix (`search_*`); null allows all, and an empty list none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_tools: Option<Vec<String>>,
    /// Tools that the provider runs, by kind or prefix (`web_search*`); null allows all, and an empty list none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_hosted_tools: Option<Vec<String>>,
    /// Kinds of files that requests may carry; null allows all, and an empty list none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<FileKindName>>")]
    pub allowed_file_kinds: Option<Vec<String>>,
    /// Numeric parameters by their names in snake case, such as `temperature`.
    pub parameters: BTreeMap<String, ParameterForm>,
    /// What is looked for in the text of requests and answers. Those of the workspace hold beside the project's.
    pub checks: Vec<CheckForm>,
    /// Servers that decide on each request or answer. The workspace's are called in addition to the project's.
    pub hooks: Vec<HookForm>,
}

/// The names of `region_policy`.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "its schema alone is used")]
pub enum RegionPolicyName {
    UsOnly,
    EuOnly,
    Global,
    Any,
}

/// The names of `data_boundary`.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "its schema alone is used")]
pub enum DataBoundaryName {
    Project,
    Strict,
    NoOpenrouter,
}

/// The names of `allowed_file_kinds`.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "its schema alone is used")]
enum FileKindName {
    Image,
    Audio,
    Video,
    Pdf,
    Document,
}

impl PolicyForm {
    pub fn of(spec: &PolicySpec) -> Self {
        let request = &spec.request;
        Self {
            project_id: None,
            workspace: false,
            allowed_providers: spec.providers.clone(),
            allowed_models: spec.models.clone(),
            allowed_regions: spec.regions.clone(),
            region_policy: Some(spec.region_policy.as_str().to_owned()),
            data_boundary: Some(spec.data_boundary.as_str().to_owned()),
            profiles: spec.profiles.iter().map(|profile| profile.as_str().to_owned()).collect(),
            retention: json!(agreement::show_retention(spec.retention)),
            compliance: spec.compliance.clone(),
            limits: LimitsForm {
                max_output_tokens: request.output_tokens_max,
                max_input_tokens: request.input_tokens_max,
                max_cost_micros: request.cost_micros_max,
                max_duration_ms: request.duration_ms_max,
            },
            required_metadata: request.required_metadata.clone(),
            allowed_tools: request.tools.clone(),
            allowed_hosted_tools: request.hosted_tools.clone(),
            allowed_file_kinds: request.file_kinds.as_ref().map(|kinds| texts(kinds)),
            parameters: parameter_forms(&request.parameters),
            checks: spec.checks.iter().map(CheckForm::of).collect(),
            hooks: spec.hooks.iter().map(HookForm::of).collect(),
        }
    }

    /// The spec, with the names of providers that `canonical` knows.
    pub fn spec(self, canonical: impl Fn(String) -> String) -> Result<PolicySpec, Box<Fault>> {
        let pattern = |name: String| ModelPattern::read(&name).as_text().into_owned();
        let same = |name| name;
        let has_kinds = self.allowed_file_kinds.is_some();
        let file_kinds = self.allowed_file_kinds.unwrap_or_default();
        let kinds = file_kinds
            .iter()
            .map(|name| {
                one_of("allowed_file_kinds", name, FileKind::from_name, &FileKind::ALL.map(FileKind::as_str))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let request = RequestRules {
            output_tokens_max: positive("limits.max_output_tokens", self.limits.max_output_tokens)?,
            input_tokens_max: positive("limits.max_input_tokens", self.limits.max_input_tokens)?,
            cost_micros_max: self.limits.max_cost_micros,
            duration_ms_max: positive("limits.max_duration_ms", self.limits.max_duration_ms)?,
            required_metadata: names(self.required_metadata, "required_metadata", same)?,
            tools: maybe_names(self.allowed_tools, "allowed_tools")?,
            hosted_tools: maybe_names(self.allowed_hosted_tools, "allowed_hosted_tools")?,
            parameters: parameters(self.parameters)?,
            ..RequestRules::default()
        };
        let checks = counted(self.checks, "checks")?.into_iter().enumerate();
        let (regions, boundaries) =
            (RegionPolicy::ALL.map(RegionPolicy::as_str), DataBoundary::ALL.map(DataBoundary::as_str));
        let region_policy = self.region_policy.as_deref();
        let boundary = self.data_boundary.as_deref();
        Ok(PolicySpec {
            providers: names(self.allowed_providers, "allowed_providers", canonical)?,
            models: names(self.allowed_models, "allowed_models", pattern)?,
            regions: names(self.allowed_regions, "allowed_regions", same)?,
            region_policy: region_policy
                .map(|name| one_of("region_policy", name, RegionPolicy::from_name, &regions))
                .transpose()?
                .unwrap_or_default(),
            data_boundary: boundary
                .map(|name| one_of("data_boundary", name, DataBoundary::from_name, &boundaries))
                .transpose()?
                .unwrap_or_default(),
            profiles: self.profiles.iter().map(|name| profile(name)).collect::<Result<_, _>>()?,
            retention: agreement::retention(&self.retention)?,
            compliance: agreement::compliance(&self.compliance)?,
            request: RequestRules { file_kinds: has_kinds.then_some(kinds), ..request },
            checks: checks.map(|(at, check)| check.read(at)).collect::<Result<_, _>>()?,
            hooks: hook_forms::read_all(self.hooks)?,
        })
    }
}

pub fn texts(kinds: &[FileKind]) -> Vec<String> {
    kinds.iter().map(|kind| kind.as_str().to_owned()).collect()
}

/// The forms of rules for parameters, by name.
pub fn parameter_forms(rules: &[ParameterRule]) -> BTreeMap<String, ParameterForm> {
    rules.iter().map(|rule| (rule.name.clone(), ParameterForm::of(rule))).collect()
}

/// Rules for parameters, checked.
pub fn parameters(given: BTreeMap<String, ParameterForm>) -> Result<Vec<ParameterRule>, Box<Fault>> {
    let given: Vec<_> = counted(given.into_iter().collect(), "parameters")?;
    given.into_iter().map(|(name, form)| form.read(name)).collect()
}

fn counted<T>(given: Vec<T>, field: &'static str) -> Result<Vec<T>, Box<Fault>> {
    if given.len() <= POLICY_NAMES_MAX {
        return Ok(given);
    }
    let message = format!("{field} has {} entries.", given.len());
    Err(invalid(field, message, format!("Give at most {POLICY_NAMES_MAX}.")))
}

fn profile(name: &str) -> Result<Profile, Box<Fault>> {
    name.parse::<Profile>().map_err(|error| {
        invalid("profiles", error, "Use byok for your keys, byoc for your nodes, managed or subscription.")
    })
}

fn one_of<T>(
    field: &'static str,
    name: &str,
    read: impl Fn(&str) -> Option<T>,
    known: &[&str],
) -> Result<T, Box<Fault>> {
    let fix = format!("Use {}.", known.join(", "));
    read(name).ok_or_else(|| invalid(field, format!("{field} can't be \"{name}\"."), fix))
}

fn positive(field: &'static str, amount: Option<u64>) -> Result<Option<u64>, Box<Fault>> {
    match amount {
        Some(0) => Err(invalid(field, format!("{field} is 0."), "Give 1 or more, or leave it out.")),
        amount => Ok(amount),
    }
}

fn maybe_names(given: Option<Vec<String>>, field: &'static str) -> Result<Option<Vec<String>>, Box<Fault>> {
    given.map(|given| names(given, field, |name| name)).transpose()
}

fn names(
    given: Vec<String>,
    field: &'static str,
    read: impl Fn(String) -> String,
) -> Result<Vec<String>, Box<Fault>> {
    if given.len() > POLICY_NAMES_MAX {
        let message = format!("{field} has {} names.", given.len());
        return Err(invalid(field, message, format!("Give at most {POLICY_NAMES_MAX}.")));
    }
    let read: Vec<String> = given.into_iter().map(read).collect();
    match read.iter().position(|name| name.trim().is_empty() || name.len() > POLICY_NAME_BYTES_MAX) {
        Some(at) => Err(invalid(
            format!("{field}[{at}]"),
            format!("{field}[{at}] is empty or too long."),
            format!("Give 1 to {POLICY_NAME_BYTES_MAX} bytes; an empty list allows all."),
        )),
        None => Ok(read),
    }
}
