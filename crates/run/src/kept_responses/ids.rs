//! Ids of answers and conversations, which are those of their requests and sessions under the dialect's prefixes.

use domain::{SessionEventId, SessionId, TraceId};

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

/// Where the gateway keeps an item, as its id shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemPlace {
    /// In the output of the answer to a request.
    Output(TraceId),
    /// In the list of a request's new input.
    Input(TraceId),
    /// In a conversation.
    Event(SessionEventId),
}

/// The digits after the id of the request, of an item of its output and of one of its input.
const OUTPUT_DIGITS: usize = 2;
const INPUT_DIGITS: usize = 4;
const STEM_DIGITS: usize = 32;

/// Where an item of this id is kept, if the gateway made the id: those of others have another form.
pub(super) fn place_of(id: &str) -> Option<ItemPlace> {
    let (_, rest) = id.split_once('_')?;
    let (stem, digits) = rest.split_at_checked(STEM_DIGITS)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    // An id of ours is of its time, which the version in it says.
    let is_timed = matches!(stem.as_bytes().get(12), Some(b'7'))
        && matches!(stem.as_bytes().get(16), Some(b'8' | b'9' | b'a' | b'b'));
    if !is_timed || !rest.bytes().all(is_digit) {
        return None;
    }
    let request = || format!("{}_{stem}", TraceId::PREFIX).parse().ok();
    match digits.len() {
        0 => format!("{}_{stem}", SessionEventId::PREFIX).parse().ok().map(ItemPlace::Event),
        OUTPUT_DIGITS => request().map(ItemPlace::Output),
        INPUT_DIGITS => request().map(ItemPlace::Input),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_s_id_says_where_it_is_kept() {
        let request = TraceId::new(1_700_000_000_000, [7; 10]);
        let stem = id_of(request).replace("resp_", "");
        let event = SessionEventId::new(1_700_000_000_000, [7; 10]);
        for (id, place) in [
            (format!("msg_{stem}00"), Some(ItemPlace::Output(request))),
            (format!("fc_{stem}0a"), Some(ItemPlace::Output(request))),
            (format!("msg_{stem}0003"), Some(ItemPlace::Input(request))),
            (format!("msg_{}", event.to_string().replace("evt_", "")), Some(ItemPlace::Event(event))),
            (format!("msg_{stem}0"), None),
            (format!("msg_{stem}zz"), None),
            (stem, None),
            ("msg_67ccf18f64008190a39b619f4c8455ef087bb177ab789d5c".to_owned(), None),
            ("rs_1".to_owned(), None),
        ] {
            assert_eq!(place_of(&id), place, "{id}");
        }
    }

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
