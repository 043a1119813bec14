//! What the hooks of policies are sent, and what they answer.

use admit::Caller;
use bytes::Bytes;
use decode::Call;
use domain::{HookOutcome, HookPoint, PolicyHook, PolicyId, Usage, WorkspaceId};
use execute::Served;
use serde_json::{Map, Value, json};

use crate::limits::HOOK_REASON_CHARS_MAX;

/// What a hook decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Allowed,
    /// With its reason, which may be empty.
    Refused(String),
    Silent(HookOutcome),
}

impl Decision {
    /// No body allows; else it is `{"decision": "allow"}` or `{"decision": "refuse", "reason": "…"}`.
    pub(super) fn read(answer: &[u8]) -> Self {
        if answer.is_empty() {
            return Self::Allowed;
        }
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        match text("decision") {
            Some("allow") => Self::Allowed,
            Some("refuse") => {
                let reason = text("reason").unwrap_or_default();
                let printable = reason.chars().filter(|letter| !letter.is_control());
                let reason: String = printable.take(HOOK_REASON_CHARS_MAX).collect();
                Self::Refused(reason.trim().trim_end_matches('.').to_owned())
            }
            _ => Self::Silent(HookOutcome::Malformed),
        }
    }

    pub(super) const fn outcome(&self) -> HookOutcome {
        match self {
            Self::Allowed => HookOutcome::Allowed,
            Self::Refused(_) => HookOutcome::Refused,
            Self::Silent(outcome) => *outcome,
        }
    }
}

/// Why a decision refuses, for the message of its fault.
pub(super) fn why(hook: &PolicyHook, decision: &Decision) -> String {
    let host = hook.host();
    let what = match decision {
        Decision::Refused(reason) if !reason.is_empty() => {
            return format!("its hook at {host} says: {reason}");
        }
        Decision::Refused(_) | Decision::Allowed => "refuses it".to_owned(),
        Decision::Silent(HookOutcome::Timeout) => format!("did not answer within {} ms", hook.timeout_ms),
        Decision::Silent(HookOutcome::Unreachable) => "could not be reached".to_owned(),
        Decision::Silent(HookOutcome::Skipped) => {
            "is not called now, since it failed or has too many open calls".to_owned()
        }
        Decision::Silent(HookOutcome::Unreadable) => {
            "reads the text, and the message has no text to send".to_owned()
        }
        Decision::Silent(_) => "did not answer with a decision".to_owned(),
    };
    format!("its hook at {host} {what}")
}

/// The facts of a request.
pub(super) fn of_request(call: &Call, caller: &Caller) -> Map<String, Value> {
    let request = call.request();
    let mut facts = shared(call, caller);
    let metadata = call.prompt().map(|prompt| prompt.metadata).unwrap_or_default();
    let metadata: Map<String, Value> =
        metadata.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
    facts.insert("metadata".to_owned(), Value::Object(metadata));
    facts.insert("end_user".to_owned(), request.end_user(call.body()).into());
    facts.insert("size_bytes".to_owned(), call.body().len().into());
    facts
}

/// What is known of an answer.
pub(super) struct AnswerFacts<'a> {
    /// `None` for one that the response cache gives again.
    pub served: Option<&'a Served>,
    pub usage: Usage,
    pub is_stream: bool,
}

/// The facts of an answer, beside those of its request.
pub(super) fn of_answer(call: &Call, caller: &Caller, answer: &AnswerFacts<'_>) -> Map<String, Value> {
    let mut facts = shared(call, caller);
    let served = answer.served;
    let usage = &answer.usage;
    let own = json!({
        "status": 200,
        "is_decided": !answer.is_stream,
        "from_response_cache": served.is_none(),
        "resolved_model": served.map(|served| &*served.resolved_model),
        "provider": served.map(|served| &*served.provider),
        "profile": served.map(|served| served.profile.as_str()),
        "region": served.and_then(|served| served.region.as_deref()),
        "fallback_used": served.is_some_and(|served| served.fallback_used),
        "usage": {
            "prompt_tokens": usage.prompt_total(),
            "completion_tokens": usage.completion_total(),
        },
    });
    if let Value::Object(own) = own {
        facts.extend(own);
    }
    facts
}

fn shared(call: &Call, caller: &Caller) -> Map<String, Value> {
    let facts = json!({
        "request_id": call.trace().to_string(),
        "project_id": caller.project().id.to_string(),
        "key_id": caller.key().map(|key| key.id.to_string()),
        "environment": &**caller.environment(),
        "model": call.request().model,
        "operation": call.operation().as_str(),
        "dialect": call.dialect().as_str(),
        "stream": call.request().stream,
        "tag": call.tag(),
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

/// The body of one message.
pub(super) fn body(
    id: &str,
    at: HookPoint,
    (workspace, policy): (WorkspaceId, PolicyId),
    facts: &Map<String, Value>,
    content: Option<&str>,
) -> Bytes {
    let mut data = facts.clone();
    if let Some(content) = content {
        data.insert("content".to_owned(), content.into());
    }
    let body = json!({
        "id": id,
        "type": format!("policy.{}", at.as_str()),
        "workspace_id": workspace.to_string(),
        "policy_id": policy.to_string(),
        "data": data,
    });
    Bytes::from(body.to_string())
}

#[cfg(test)]
mod tests {
    use domain::OnSilence;

    use super::*;

    #[test]
    fn an_answer_is_a_decision_or_none() {
        let refused = |reason: &str| Decision::Refused(reason.to_owned());
        for (answer, decision) in [
            ("", Decision::Allowed),
            (r#"{"decision": "allow"}"#, Decision::Allowed),
            (r#"{"decision": "refuse", "reason": "Not on\u000a Sundays."}"#, refused("Not on Sundays")),
            (r#"{"decision": "refuse"}"#, refused("")),
            (r#"{"decision": "maybe"}"#, Decision::Silent(HookOutcome::Malformed)),
            ("{}", Decision::Silent(HookOutcome::Malformed)),
            ("allow", Decision::Silent(HookOutcome::Malformed)),
        ] {
            assert_eq!(Decision::read(answer.as_bytes()), decision, "{answer}");
        }
        let long = format!(r#"{{"decision": "refuse", "reason": "{}"}}"#, "x".repeat(1_000));
        assert_eq!(Decision::read(long.as_bytes()), refused(&"x".repeat(HOOK_REASON_CHARS_MAX)));
    }

    #[test]
    fn a_refusal_says_which_server_and_why_and_no_more_of_its_address() {
        let hook = PolicyHook {
            at: HookPoint::Pre,
            url: "https://hooks.example:8443/secret-path".to_owned(),
            timeout_ms: 250,
            on_silence: OnSilence::Refuse,
            reads_content: false,
        };
        for (decision, text) in [
            (Decision::Refused("Not today".into()), "its hook at hooks.example:8443 says: Not today"),
            (Decision::Refused(String::new()), "its hook at hooks.example:8443 refuses it"),
            (
                Decision::Silent(HookOutcome::Timeout),
                "its hook at hooks.example:8443 did not answer within 250 ms",
            ),
        ] {
            assert_eq!(why(&hook, &decision), text);
        }
    }
}
