//! The hooks of a policy as `/v2` reads and shows them.

use api::failure::invalid;
use domain::limits::{POLICY_HOOK_TIME_MAX, POLICY_HOOKS_MAX};
use domain::{Fault, HookPoint, OnSilence, PolicyHook};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The time that a hook has where its policy does not say.
const TIMEOUT_MS: u64 = 1_000;

/// A server of yours that decides about each request or answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PolicyHook")]
pub struct HookForm {
    at: PointName,
    /// The https address that is called, on port 443 or 8443.
    url: String,
    /// The longest that it may take; by default 1000.
    #[serde(default = "timeout_ms")]
    #[schemars(range(min = 1, max = 10_000))]
    timeout_ms: u64,
    /// What happens if it gives no decision in time.
    on_silence: SilenceName,
    /// It is sent the text of the request or of the answer, and not only the facts.
    #[serde(default)]
    content: bool,
}

/// `pre`: before a request is sent; `post`: before its answer is passed on, or at the end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "HookPoint")]
enum PointName {
    Pre,
    Post,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "OnSilence")]
enum SilenceName {
    Allow,
    Refuse,
}

const fn timeout_ms() -> u64 {
    TIMEOUT_MS
}

impl HookForm {
    pub fn of(hook: &PolicyHook) -> Self {
        Self {
            at: match hook.at {
                HookPoint::Pre => PointName::Pre,
                HookPoint::Post => PointName::Post,
            },
            url: hook.url.clone(),
            timeout_ms: hook.timeout_ms,
            on_silence: match hook.on_silence {
                OnSilence::Allow => SilenceName::Allow,
                OnSilence::Refuse => SilenceName::Refuse,
            },
            content: hook.reads_content,
        }
    }

    fn read(self, place: usize) -> Result<PolicyHook, Box<Fault>> {
        let most = u64::try_from(POLICY_HOOK_TIME_MAX.as_millis()).unwrap_or(u64::MAX);
        if !(1..=most).contains(&self.timeout_ms) {
            let field = format!("hooks[{place}].timeout_ms");
            let message = format!("{field} is {}.", self.timeout_ms);
            return Err(invalid(field, message, format!("Give 1 to {most}.")));
        }
        Ok(PolicyHook {
            at: match self.at {
                PointName::Pre => HookPoint::Pre,
                PointName::Post => HookPoint::Post,
            },
            url: self.url.trim().to_owned(),
            timeout_ms: self.timeout_ms,
            on_silence: match self.on_silence {
                SilenceName::Allow => OnSilence::Allow,
                SilenceName::Refuse => OnSilence::Refuse,
            },
            reads_content: self.content,
        })
    }
}

/// The hooks of a policy; whether their addresses may be called is not looked at here.
pub fn read_all(given: Vec<HookForm>) -> Result<Vec<PolicyHook>, Box<Fault>> {
    if given.len() > POLICY_HOOKS_MAX {
        let message = format!("hooks has {} entries.", given.len());
        return Err(invalid("hooks", message, format!("Give at most {POLICY_HOOKS_MAX}.")));
    }
    given.into_iter().enumerate().map(|(place, form)| form.read(place)).collect()
}
