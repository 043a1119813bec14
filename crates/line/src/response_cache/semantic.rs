//! The search for an answer to a request that means the same: its last text is embedded by a request of our own, which is
//! held to everything that holds for the project's own embeddings, and compared with the texts of kept answers.

use std::rc::Rc;
use std::sync::Arc;

use admit::{Caller, admit};
use bytes::Bytes;
use decode::{Call, Inbound};
use dialects::{LastText, take_last_text};
use domain::limits::{
    SEMANTIC_CACHE_DIMENSIONS_MAX, SEMANTIC_CACHE_EMBEDDING_WAIT_MAX, SEMANTIC_CACHE_TEXT_BYTES_MAX,
    SEMANTIC_CACHE_VECTOR_BYTES_MAX,
};
use domain::semantic::{SemanticOutcome, SemanticSearch};
use domain::{
    CachedAnswer, Dialect, Operation, ResponseCacheMode, SemanticCache, SideCall, SideCallPurpose, TraceId,
};
use execute::execute;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use likeness::{Literals, UnitVector};
use plan::Planned;
use serde_json::Value;
use tokio::time::timeout;

use super::entry::Entry;
use super::meaning::Meaning;
use super::memory::Name;
use crate::stop::EarlyExit;
use crate::{Core, hooks, reading, settle};

const OUTCOME: HeaderName = HeaderName::from_static("agent-cache-semantic");
const SIMILARITY: HeaderName = HeaderName::from_static("agent-cache-similarity");

/// What a project wants to be searched, and what of the request's headers holds for its embedding, too: its hints may
/// say where its text must not go.
pub(super) struct Wanted {
    setting: SemanticCache,
    headers: HeaderMap,
}

impl Wanted {
    /// `None` for a project that wants exact answers alone.
    pub(super) fn of(caller: &Caller, headers: &HeaderMap) -> Option<Self> {
        let (own, wider) = (&caller.project().caching, &caller.workspace().caching);
        if own.responses.or(wider.responses) != Some(ResponseCacheMode::Semantic) {
            return None;
        }
        let setting = own.or(wider).semantic()?;
        let ours = headers.iter().filter(|(name, _)| name.as_str().starts_with("agent-"));
        let mut headers: HeaderMap = ours.map(|(name, value)| (name.clone(), value.clone())).collect();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Some(Self { setting, headers })
    }

    /// The request without its last text. `None` where more than a text would have to mean the same.
    pub(super) fn take(&self, call: &Call) -> Option<LastText> {
        let request = call.request();
        let facts = call.spec().facts();
        let is_text = facts.is_conversation || call.operation() == Operation::Complete;
        if !is_text || request.has_tools || request.choices > 1 {
            return None;
        }
        let last = take_last_text(call.dialect().grammar(), call.operation(), call.body())?;
        (last.text.len() <= SEMANTIC_CACHE_TEXT_BYTES_MAX).then_some(last)
    }

    /// Vectors of two models can't be compared.
    pub(super) fn model(&self) -> &str {
        &self.setting.model
    }
}

/// The text that is searched for, and how old an answer may be.
pub(super) struct Sought<'a> {
    pub wanted: &'a Wanted,
    pub text: &'a str,
    pub name: &'a Name,
    /// Zero where the answer is to be made anew: its text is embedded all the same, so that others find it.
    pub age_ms_max: u64,
}

/// How the search ended.
pub(super) struct Searched {
    pub search: SemanticSearch,
    pub hit: Option<(Arc<Entry>, CachedAnswer)>,
    /// To be kept with the answer that is made.
    pub meaning: Option<Arc<Meaning>>,
}

/// Searches, once the request is planned: what may not be served is not embedded.
pub(super) async fn search(core: &Rc<Core>, planned: &Planned, sought: Sought<'_>) -> Searched {
    let trace = core.new_trace();
    let parent = planned.admitted().call().trace();
    let ended = |outcome, similarity_bps| Searched {
        search: SemanticSearch { outcome, similarity_bps, embedding: trace },
        hit: None,
        meaning: None,
    };
    let embedding = embed(core, planned.admitted().caller().clone(), &sought, (trace, parent));
    let made = match timeout(SEMANTIC_CACHE_EMBEDDING_WAIT_MAX, Box::pin(embedding)).await {
        Ok(Some(made)) => made,
        Ok(None) => return ended(SemanticOutcome::EmbeddingFailed, None),
        Err(_) => return ended(SemanticOutcome::EmbeddingLate, None),
    };
    let (space, vector) = made;
    let meaning = Arc::new(Meaning { space, vector, literals: Literals::of(sought.text) });
    if sought.age_ms_max == 0 {
        return Searched { meaning: Some(meaning), ..ended(SemanticOutcome::Renewed, None) };
    }
    let found = meaning.compare(core.cached.meanings(sought.name), sought.wanted.setting.similarity_bps_min);
    let mut outcome = if found.is_guarded { SemanticOutcome::Guarded } else { SemanticOutcome::NoneAlike };
    for alike in found.alike {
        let entry = core.cached.held(&alike.name, core.now_unix_ms(), sought.age_ms_max);
        let Some(entry) = entry else { continue };
        outcome = SemanticOutcome::NotAllowed;
        let Some(maker) = entry.maker(planned) else { continue };
        if hooks::of_repeat(core, planned.admitted(), &entry.body).await.is_none() {
            let worth = entry.worth(maker);
            let hit = Some((entry, worth));
            return Searched { hit, ..ended(SemanticOutcome::Hit, Some(alike.similarity_bps)) };
        }
    }
    Searched { meaning: Some(meaning), ..ended(outcome, found.best_bps) }
}

/// The vector of a text and the model that made it, from the whole pipeline: its own limits, budgets, policies and record.
async fn embed(
    core: &Rc<Core>,
    caller: Caller,
    sought: &Sought<'_>,
    (trace, parent): (TraceId, TraceId),
) -> Option<(Arc<str>, UnitVector)> {
    let body = serde_json::json!({"model": sought.wanted.model(), "input": sought.text});
    let inbound = Inbound {
        trace,
        dialect: Dialect::Chat,
        operation: Operation::Embed,
        headers: sought.wanted.headers.clone(),
        addressed: None,
        body: Bytes::from(body.to_string()),
        form: None,
        received_us: core.now_us(),
        received_unix_ms: core.now_unix_ms(),
    };
    let side_call = SideCall { purpose: SideCallPurpose::SemanticCache, parent };
    match vector_of(core, inbound, caller.for_side_call(side_call)).await {
        Ok(made) => made,
        Err(exit) => {
            let code = exit.fault().code;
            tracing::debug!(request = %parent, embedding = %trace, code, "a text was not embedded");
            if let EarlyExit::AfterAdmission(response, code) = exit {
                core.counters.failed(code, response.fault());
                drop(settle(*response));
            }
            None
        }
    }
}

async fn vector_of(
    core: &Rc<Core>,
    inbound: Inbound,
    caller: Caller,
) -> Result<Option<(Arc<str>, UnitVector)>, EarlyExit> {
    let call = reading::read(inbound, &caller, core.now_us())?;
    let admitted = admit(call, caller, &core.journal, &core.allowances, core.now_us())?;
    let admitted = hooks::before(core, admitted).await;
    let answer = execute(crate::planned(core, admitted, core.now_us())?, &core.deps).await?;
    let space = Arc::clone(&answer.served().resolved_model);
    let vector = answer.whole().and_then(|(bytes, _)| read_vector(bytes));
    // A buffered answer is booked here, whoever reads it.
    let response = hooks::finish(core, answer).await?;
    Ok(vector.filter(|_| response.status().is_success()).map(|vector| (space, vector)))
}

fn read_vector(body: &Bytes) -> Option<UnitVector> {
    if body.len() > SEMANTIC_CACHE_VECTOR_BYTES_MAX {
        return None;
    }
    let answer: Value = serde_json::from_slice(body).ok()?;
    let numbers = answer.pointer("/data/0/embedding")?.as_array()?;
    if !(1..=SEMANTIC_CACHE_DIMENSIONS_MAX).contains(&numbers.len()) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "models compute in single precision at most")]
    let numbers: Option<_> =
        numbers.iter().map(|number| number.as_f64().map(|number| number as f32)).collect();
    UnitVector::of(numbers?)
}

/// What the client is told of a search.
pub(super) fn tell(headers: &mut HeaderMap, search: &SemanticSearch) {
    headers.insert(OUTCOME, HeaderValue::from_static(search.outcome.as_str()));
    if let Some(bps) = search.similarity_bps {
        headers.insert(SIMILARITY, HeaderValue::from(bps));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_read_from_a_whole_answer_alone() {
        for (body, expected) in [
            (r#"{"data":[{"embedding":[0.5,-1,2e-1]}]}"#, Some([0.5, -1.0, 0.2])),
            (r#"{"data":[{"embedding":[]}]}"#, None),
            (r#"{"data":[{"embedding":[0,0]}]}"#, None),
            (r#"{"data":[{"embedding":"AAAA"}]}"#, None),
            (r#"{"data":[{"embedding":[1,null]}]}"#, None),
            (r#"{"data":[]}"#, None),
            ("{", None),
        ] {
            let read = read_vector(&Bytes::from_static(body.as_bytes()));
            assert_eq!(read, expected.and_then(|numbers| UnitVector::of(numbers.into())), "{body}");
        }
    }
}
