//! What a request may ask for: amounts, parameters, tools, files.

use serde::{Deserialize, Serialize};

use crate::pattern::ModelPattern;

/// Bounds on a request. One that is not set allows everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestRules {
    pub output_tokens_max: Option<u64>,
    /// Compared with an estimate: no provider has counted yet.
    pub input_tokens_max: Option<u64>,
    /// The most that a request may cost, at the highest usage that it allows.
    pub cost_micros_max: Option<u64>,
    pub duration_ms_max: Option<u64>,
    /// Keys of the request's metadata; `tag` is the request's tag, `end_user` its end user.
    pub required_metadata: Vec<String>,
    pub parameters: Vec<ParameterRule>,
    /// Names of functions, or patterns of them; `None` allows all.
    pub tools: Option<Vec<String>>,
    /// Kinds of tools that the provider runs.
    pub hosted_tools: Option<Vec<String>>,
    pub file_kinds: Option<Vec<FileKind>>,
}

/// A number in thousandths, so that it is compared exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Thousandths(pub i64);

/// The range of a numeric parameter, and its value where a request sets none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ParameterRule {
    /// As the field is written in snake case: `temperature`, `top_p`.
    pub name: String,
    pub default: Option<Thousandths>,
    pub least: Option<Thousandths>,
    pub most: Option<Thousandths>,
    /// Whether a value outside is moved to the nearest one inside; otherwise the request is refused.
    pub clamps: bool,
}

crate::words! {
    /// What a request carries beside text.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum FileKind by from_name {
        Image = "image",
        Audio = "audio",
        Video = "video",
        Pdf = "pdf",
        /// Any other document.
        Document = "document",
    }
}

impl RequestRules {
    /// Whether a rule is about what the request contains.
    pub fn reads_requests(&self) -> bool {
        let Self { duration_ms_max: _, output_tokens_max, input_tokens_max, cost_micros_max, .. } = self;
        [output_tokens_max, input_tokens_max, cost_micros_max].iter().any(|bound| bound.is_some())
            || self.reads_prompts()
            || !self.parameters.is_empty()
    }

    /// Whether a rule is about parts of the request that only reading it whole shows.
    pub fn reads_prompts(&self) -> bool {
        !self.required_metadata.is_empty()
            || self.tools.is_some()
            || self.hosted_tools.is_some()
            || self.file_kinds.is_some()
    }

    pub fn allows_tool(&self, name: &str) -> bool {
        self.tools.as_ref().is_none_or(|listed| is_listed(listed, name))
    }

    pub fn allows_hosted_tool(&self, kind: &str) -> bool {
        self.hosted_tools.as_ref().is_none_or(|listed| is_listed(listed, kind))
    }

    pub fn allows_file(&self, kind: FileKind) -> bool {
        self.file_kinds.as_ref().is_none_or(|listed| listed.contains(&kind))
    }
}

fn is_listed(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| ModelPattern::read(pattern).matches(name))
}

impl ParameterRule {
    /// The value that is sent in place of this one; `None` where it is refused.
    pub fn fit(&self, value: Thousandths) -> Option<Thousandths> {
        let fitted = self.least.map_or(value, |least| value.max(least));
        let fitted = self.most.map_or(fitted, |most| fitted.min(most));
        (fitted == value || self.clamps).then_some(fitted)
    }
}

impl Thousandths {
    /// The nearest one; `None` if it is no number or out of range.
    pub fn of(number: f64) -> Option<Self> {
        let scaled = (number * 1_000.0).round();
        // Both bounds are exact in an `f64`.
        #[expect(clippy::cast_possible_truncation, reason = "the bounds are checked")]
        (scaled.abs() < 9.0e15).then_some(Self(scaled as i64))
    }

    pub fn as_f64(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "`of` makes none that is not exact")]
        let number = self.0 as f64;
        number / 1_000.0
    }
}

impl std::fmt::Display for Thousandths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}
