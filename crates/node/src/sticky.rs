//! Sticky adapters: a session uses the adapter that it named last, until it names another.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use domain::{Fault, FaultClass};
use http::HeaderMap;
use http::header::HeaderName;

use crate::limits::{SESSION_ID_BYTES_MAX, SESSIONS_MAX};

pub(crate) const SESSION: HeaderName = HeaderName::from_static("x-hybrie-session-id");

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    adapters: HashMap<String, String>,
    order: VecDeque<String>,
}

impl Sessions {
    /// The adapter of a request: the one that it names, or the one that its session named last. With
    /// `names_none` the session's adapter is forgotten.
    ///
    /// # Errors
    /// The session id is too long or not a text.
    pub(crate) fn settle(
        &self,
        headers: &HeaderMap,
        named: Option<String>,
        names_none: bool,
    ) -> Result<Option<String>, Box<Fault>> {
        let Some(session) = headers.get(SESSION) else { return Ok(named) };
        let id = session.to_str().ok().filter(|id| !id.is_empty() && id.len() <= SESSION_ID_BYTES_MAX);
        let Some(id) = id else {
            let message =
                format!("x-hybrie-session-id must be 1 to {SESSION_ID_BYTES_MAX} plain characters.");
            let fault = Fault::new(FaultClass::BadRequest, "invalid_session_id", message);
            return Err(Box::new(
                fault.param("x-hybrie-session-id").fix("Send a shorter name, or leave it out."),
            ));
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match named {
            Some(adapter) => {
                known.keep(id, &adapter);
                Some(adapter)
            }
            None if names_none => {
                known.adapters.remove(id);
                None
            }
            None => known.adapters.get(id).cloned(),
        })
    }
}

impl Known {
    fn keep(&mut self, id: &str, adapter: &str) {
        if self.adapters.insert(id.to_owned(), adapter.to_owned()).is_none() {
            self.order.retain(|known| known != id);
            self.order.push_back(id.to_owned());
        }
        while self.order.len() > SESSIONS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.adapters.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(session: &str) -> HeaderMap {
        HeaderMap::from_iter([(SESSION, HeaderValue::try_from(session).unwrap())])
    }

    #[test]
    fn a_session_keeps_the_adapter_that_it_named_last() {
        let sessions = Sessions::default();
        let ask = |session: &str, named: Option<&str>, names_none| {
            sessions.settle(&of(session), named.map(str::to_owned), names_none).unwrap()
        };
        assert_eq!(ask("one", None, false), None);
        assert_eq!(ask("one", Some("law"), false).as_deref(), Some("law"));
        assert_eq!(ask("one", None, false).as_deref(), Some("law"));
        assert_eq!(ask("other", None, false), None, "another session has its own");
        assert_eq!(ask("one", Some("tides"), false).as_deref(), Some("tides"));
        assert_eq!(ask("one", None, false).as_deref(), Some("tides"));
        assert_eq!(ask("one", None, true), None);
        assert_eq!(ask("one", None, false), None);
        assert_eq!(sessions.settle(&HeaderMap::new(), None, false).unwrap(), None);
        let fault = sessions.settle(&of(&"x".repeat(129)), None, false).unwrap_err();
        assert_eq!(fault.code, "invalid_session_id");
    }

    #[test]
    fn the_oldest_sessions_make_place() {
        let sessions = Sessions::default();
        for number in 0..=SESSIONS_MAX {
            sessions.settle(&of(&number.to_string()), Some("law".to_owned()), false).unwrap();
        }
        let known = |id: &str| sessions.settle(&of(id), None, false).unwrap();
        assert_eq!(known("0"), None);
        assert_eq!(known(&SESSIONS_MAX.to_string()).as_deref(), Some("law"));
        assert_eq!(sessions.known.lock().unwrap().adapters.len(), SESSIONS_MAX);
    }
}
