//! Fireworks: chat completions and responses.

use bytes::Bytes;
use chat::SupportedFields;
use domain::{Fault, FaultClass, Grammar, Operation};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::{
    CacheHelp, Classified, KeyOf, KeyPlace, ModelRequest, Outgoing, Provider, ServerFacts, Target, classify,
    compatible,
};

/// It also speaks the Messages format, but accepts cache marks in few places, so it would refuse requests
/// that Anthropic's clients send.
const NATIVE: &[Grammar] = &[Grammar::Chat, Grammar::Responses];
/// Prompts with the same key share a cache that no other key can reach.
const ISOLATION: HeaderName = HeaderName::from_static("x-prompt-cache-isolation-key");
/// The status for every call of an account that has not paid or has reached its monthly limit.
const SUSPENDED: u16 = 412;

/// The rerank parameters; unknown ones are refused.
const RANKING: SupportedFields = SupportedFields {
    fields: &["model", "query", "documents", "top_n", "return_documents", "user"],
    ..SupportedFields::COMMON
};

pub(crate) struct FireworksAi;

impl Provider for FireworksAi {
    fn grammars(&self, operation: Operation, _upstream_model: &str) -> &'static [Grammar] {
        match operation {
            Operation::Rerank => &[Grammar::Chat],
            _ => compatible::grammars(operation, NATIVE),
        }
    }

    fn cache_help(&self, _grammar: Grammar) -> Option<CacheHelp> {
        Some(CacheHelp::Key { place: KeyPlace::Header("x-session-affinity"), of: KeyOf::Conversation })
    }

    fn facts(&self) -> &'static ServerFacts {
        const FACTS: ServerFacts = ServerFacts { isolates_tenants: true, ..ServerFacts::USUAL };
        &FACTS
    }

    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        let supported = if ask.operation == Operation::Rerank { &RANKING } else { &SupportedFields::COMMON };
        let mut outgoing = compatible::generate_for(
            target,
            ask,
            self.grammars(ask.operation, target.upstream_model),
            supported,
        )?;
        let key = ask.shared_by.and_then(|workspace| HeaderValue::try_from(workspace.to_string()).ok());
        outgoing.headers.extend(key.map(|key| (ISOLATION, key)));
        Ok(outgoing)
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        let mut classified = classify::classify(status, headers, body, provider);
        if status == SUSPENDED {
            classified.class = FaultClass::UpstreamQuota;
        }
        classified
    }
}

#[cfg(test)]
mod tests {
    use domain::WorkspaceId;

    use super::*;

    #[test]
    fn workspaces_of_one_account_have_caches_of_their_own() {
        let body = Bytes::from_static(br#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#);
        let request = chat::decode_request(&body).unwrap();
        let target = Target {
            base_url: "http://host",
            upstream_model: "m",
            abilities: &Default::default,
            hosting: &domain::hosting::PLAIN,
            quirks: domain::MissingFeatures::default(),
        };
        let sent = |shared_by| {
            let ask = ModelRequest {
                operation: Operation::Chat,
                grammar: Grammar::Chat,
                request: &request,
                body: &body,
                native_headers: &[],
                is_lenient: false,
                drops_hosted_tools: false,
                shared_by,
                inserts: &[],
                prompt: None,
            };
            let headers = FireworksAi.generate(&target, &ask).unwrap().headers;
            headers.into_iter().find(|(name, _)| *name == ISOLATION).map(|(_, value)| value)
        };
        let (one, other) = (WorkspaceId::new(1, [1; 10]), WorkspaceId::new(1, [2; 10]));
        assert!(sent(Some(one)).is_some());
        assert_ne!(sent(Some(one)), sent(Some(other)));
        assert_eq!(sent(None), None, "a customer's own account keeps its caches as they are");
    }

    #[test]
    fn a_suspended_account_has_no_credit() {
        let body = Bytes::from_static(
            br#"{"error":{"object":"error","type":"invalid_request_error","code":"PRECONDITION_FAILED","message":"Account emulator is suspended."}}"#,
        );
        let class = |status| FireworksAi.classify(status, &HeaderMap::new(), &body, "x").class;
        assert_eq!(class(412), FaultClass::UpstreamQuota);
        assert_eq!(class(400), FaultClass::BadRequest);
    }
}
