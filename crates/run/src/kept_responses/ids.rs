//! Ids of answers and conversations, which are those of their requests and sessions under the dialect's prefixes.

use domain::{SessionId, TraceId};

use crate::session_turn::Named;

/// The field that names a conversation.
pub(super) const PARAM: &str = "conversation";
const PREFIX: &str = "conv_";

/// The id of the answer of a request, as its writer makes it.
pub(super) fn id_of(request: TraceId) -> String {
    let text = request.to_string();
    format!("resp_{}", text.rsplit('_').next().unwrap_or_default())
}

/// The request whose answer has this id, if the gateway made it.
pub(super) fn request_of(id: &str) -> Option<TraceId> {
    let stem = id.strip_prefix("resp_")?;
    format!("{}_{stem}", TraceId::PREFIX).parse().ok()
}

pub(super) fn conversation_id_of(session: SessionId) -> String {
    let text = session.to_string();
    format!("{PREFIX}{}", text.rsplit('_').next().unwrap_or_default())
}

/// The session of a conversation that the gateway has.
pub(super) fn conversation_named(id: &str) -> Option<Named> {
    let stem = id.strip_prefix(PREFIX)?;
    let session = format!("{}_{stem}", SessionId::PREFIX).parse().ok()?;
    Some(Named { session, branch: None, param: PARAM })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_s_id_names_its_request() {
        let request = TraceId::new(1_700_000_000_000, [7; 10]);
        assert_eq!(request_of(&id_of(request)), Some(request));
        for other in ["resp_67cb32528d6881909eb2859a55e18a85", "resp_1", "rsp_", ""] {
            assert!(request_of(other).is_none_or(|read| id_of(read) == other), "{other}");
        }
    }

    #[test]
    fn a_conversation_s_id_names_its_session() {
        let session = SessionId::new(1_700_000_000_000, [7; 10]);
        let id = conversation_id_of(session);
        assert_eq!(conversation_named(&id).map(|named| named.session), Some(session));
        for other in ["conv_1", "ses_018bcfe5680070078707070707070707", ""] {
            assert_eq!(conversation_named(other), None, "{other}");
        }
    }
}
