//! Pairs tool results with calls: in Gemini both may lack an id, and then they are matched by order and name.

use std::collections::{HashSet, VecDeque};

#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Calls without a result so far, in order.
    open: VecDeque<Open>,
    ids: HashSet<String>,
    made_up: u64,
}

#[derive(Debug)]
struct Open {
    id: String,
    name: String,
    /// The client sent no id. An id on the result is then the client's own and refers to nothing.
    is_made_up: bool,
}

impl Calls {
    /// Registers a call. Returns its id, or one made from its position, so that it is the same each time the
    /// conversation is sent.
    pub(super) fn begin(&mut self, id: Option<String>, name: &str) -> String {
        let is_made_up = id.is_none();
        let id = id.unwrap_or_else(|| self.make_up());
        self.ids.insert(id.clone());
        self.open.push_back(Open { id: id.clone(), name: name.to_owned(), is_made_up });
        id
    }

    fn make_up(&mut self) -> String {
        loop {
            let id = format!("call_{}", self.made_up);
            self.made_up += 1;
            if !self.ids.contains(&id) {
                return id;
            }
        }
    }

    /// The id of the call that a result answers, or `None` if it has no id and there is no such call.
    pub(super) fn answer(&mut self, id: Option<String>, name: &str) -> Option<String> {
        let by_id = id.as_ref().and_then(|id| self.open.iter().position(|open| open.id == *id));
        let takes_any = id.is_none();
        let found = by_id.or_else(|| {
            self.open.iter().position(|open| open.name == name && (takes_any || open.is_made_up))
        });
        match found.and_then(|at| self.open.remove(at)) {
            Some(open) => Some(open.id),
            None => id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_without_id_answer_the_first_open_call_of_their_name() {
        let mut calls = Calls::default();
        assert_eq!(calls.begin(None, "a"), "call_0");
        assert_eq!(calls.begin(None, "a"), "call_1");
        assert_eq!(calls.begin(Some("x".to_owned()), "b"), "x");
        assert_eq!(calls.answer(None, "b").as_deref(), Some("x"));
        assert_eq!(calls.answer(None, "a").as_deref(), Some("call_0"));
        assert_eq!(calls.answer(None, "a").as_deref(), Some("call_1"));
        assert_eq!(calls.answer(None, "a"), None);
    }

    #[test]
    fn an_id_that_the_client_gave_only_the_result_finds_a_call_without_one() {
        let mut calls = Calls::default();
        calls.begin(Some("x".to_owned()), "a");
        calls.begin(None, "a");
        assert_eq!(calls.answer(Some("own-1".to_owned()), "a").as_deref(), Some("call_0"));
        assert_eq!(calls.answer(Some("stray".to_owned()), "a").as_deref(), Some("stray"));
        assert_eq!(calls.answer(Some("x".to_owned()), "a").as_deref(), Some("x"));
    }

    #[test]
    fn a_made_up_id_is_not_one_that_is_there() {
        let mut calls = Calls::default();
        calls.begin(Some("call_0".to_owned()), "a");
        assert_eq!(calls.begin(None, "a"), "call_1");
    }
}
