//! What is kept of answers: a store that outlives the process, and what the oracle knows of who may be given what.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use domain::ports::{AnswerStore, Claim, Claimed, KeyedRequest, PortFuture, StoredAnswer};
use domain::{CacheTier, MeterRecord, Nanos, Outcome, Principal, ProjectId, TraceId, Usage, WorkspaceId};

/// For this long a request waits for the one that leads.
const WAITS_FOR_US: u64 = 120_000_000;

/// What a client asks for. The same is given again where the same client asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub workspace: usize,
    /// Of the workspace's two projects.
    pub project: usize,
    pub model: String,
    pub user: Option<u64>,
    pub prompt: u64,
    pub stream: bool,
}

impl Wanted {
    pub fn body(&self) -> Bytes {
        let Self { model, prompt, stream, .. } = self;
        let user = self.user.map_or_else(String::new, |user| format!(r#", "user": "user-{user}""#));
        let text = format!(
            r#"{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello {prompt}"}}], "stream": {stream}{user}}}"#
        );
        Bytes::from(text)
    }
}

/// The answer to a request, which says whose it is; one that was cut is not given again.
pub fn answer(trace: TraceId, stream: bool, is_cut: bool) -> Bytes {
    let finish = if is_cut { "length" } else { "stop" };
    let head = format!(r#""id": "{trace}", "created": 1, "model": "m""#);
    let text = if stream {
        format!(
            "data: {{{head}, \"object\": \"chat.completion.chunk\", \"choices\": [{{\"index\": 0, \"delta\": {{\"role\": \"assistant\", \"content\": \"Hello.\"}}, \"finish_reason\": null}}]}}\n\n\
             data: {{{head}, \"object\": \"chat.completion.chunk\", \"choices\": [{{\"index\": 0, \"delta\": {{}}, \"finish_reason\": \"{finish}\"}}]}}\n\n\
             data: [DONE]\n\n"
        )
    } else {
        format!(
            r#"{{{head}, "object": "chat.completion", "choices": [{{"index": 0, "message": {{"role": "assistant", "content": "Hello."}}, "finish_reason": "{finish}"}}]}}"#
        )
    };
    Bytes::from(text)
}

/// Whose answer this is.
fn maker(body: &[u8]) -> TraceId {
    let text = std::str::from_utf8(body).expect("a text");
    let (_, rest) = text.split_once(r#""id": ""#).expect("an id");
    rest.split('"').next().and_then(|id| id.parse().ok()).expect("the id of a request")
}

/// Both halves of the name of a stored answer: whose it is, and of what.
type Place = (WorkspaceId, ProjectId, String, String);

enum Row {
    Claimed(TraceId),
    Kept(StoredAnswer),
}

/// Answers in the central database, which outlive the process and may be out of reach.
#[derive(Default)]
pub struct SimulatedAnswers {
    rows: Mutex<BTreeMap<Place, Row>>,
    places: Mutex<BTreeMap<TraceId, Place>>,
    is_away: Mutex<bool>,
}

impl SimulatedAnswers {
    /// While it is away nothing is found and nothing changes; so it is for a process that dies.
    pub fn set_away(&self, is_away: bool) {
        *self.is_away.lock().unwrap() = is_away;
    }

    fn rows(&self) -> Option<MutexGuard<'_, BTreeMap<Place, Row>>> {
        (!*self.is_away.lock().unwrap()).then(|| self.rows.lock().unwrap())
    }

    fn place(&self, request: TraceId) -> Place {
        self.places.lock().unwrap()[&request].clone()
    }
}

fn is_held(rows: &BTreeMap<Place, Row>, place: &Place, request: TraceId) -> bool {
    matches!(rows.get(place), Some(Row::Claimed(holder)) if *holder == request)
}

fn place_of(request: &KeyedRequest) -> Place {
    (request.workspace, request.project, request.path.to_string(), request.key.clone())
}

impl AnswerStore for SimulatedAnswers {
    fn body_bytes_max(&self) -> usize {
        1 << 20
    }

    fn claim(&self, request: KeyedRequest) -> PortFuture<'static, Claimed> {
        let Some(mut rows) = self.rows() else { return Box::pin(ready(Claimed::StoreUnavailable)) };
        let place = place_of(&request);
        let claimed = match rows.get(&place) {
            Some(Row::Claimed(_)) => Claimed::InFlight,
            Some(Row::Kept(answer)) => Claimed::Answered(answer.clone()),
            None => {
                self.places.lock().unwrap().insert(request.request, place.clone());
                rows.insert(place, Row::Claimed(request.request));
                Claimed::Acquired(Claim {
                    digest: [0; 32],
                    workspace: request.workspace,
                    project: request.project,
                    request: request.request,
                    lifetime: request.lifetime,
                })
            }
        };
        Box::pin(ready(claimed))
    }

    fn keep(&self, claim: Claim, answer: StoredAnswer) -> PortFuture<'static, ()> {
        if let Some(mut rows) = self.rows() {
            let place = self.place(claim.request);
            assert!(is_held(&rows, &place, claim.request), "only who holds the claim keeps an answer");
            rows.insert(place, Row::Kept(answer));
        }
        Box::pin(ready(()))
    }

    fn release(&self, claim: Claim) {
        if let Some(mut rows) = self.rows() {
            let place = self.place(claim.request);
            assert!(is_held(&rows, &place, claim.request), "only who holds a claim gives it up");
            rows.remove(&place);
        }
    }

    fn forget(&self, request: KeyedRequest) -> PortFuture<'static, ()> {
        if let Some(mut rows) = self.rows()
            && matches!(rows.get(&place_of(&request)), Some(Row::Kept(_)))
        {
            rows.remove(&place_of(&request));
        }
        Box::pin(ready(()))
    }
}

/// A request as the oracle tells it from others: what is wanted, how often its project was purged before, and the policy
/// that holds for it.
pub type Key = (Wanted, u64, String);

/// An answer that was given by an upstream.
struct Made {
    key: Key,
    at_unix_ms: u64,
    principal: Principal,
    /// Whose answer it is.
    model: String,
    usage: Usage,
    is_cut: bool,
    /// The process that kept it.
    life: u32,
}

/// Every answer of a run, and which requests are answered for those that are the same.
#[derive(Default)]
pub struct Kept {
    made: BTreeMap<TraceId, Made>,
    life: u32,
    /// Of this life of the process.
    leading: BTreeMap<Key, TraceId>,
    /// Of this life: what was answered, and the answer was not to be given again.
    cut: BTreeSet<Key>,
    /// Each request that was given an earlier answer, with what that used.
    again: BTreeMap<TraceId, Usage>,
}

impl Kept {
    /// A request goes upstream for all that are the same.
    pub fn leads(&mut self, key: Key, trace: TraceId) {
        if let Some(other) = self.leading.insert(key, trace) {
            panic!("{trace} is sent while {other} is answered, which wants the same");
        }
    }

    /// A request goes upstream beside the one that leads: never unless that one's answer may not be given again, or it
    /// has waited for long enough.
    pub fn passes(&self, key: &Key, trace: TraceId, waited_us: u64) {
        let is_patient = waited_us >= WAITS_FOR_US;
        assert!(is_patient || self.cut.contains(key), "{trace} is sent, although it could wait");
    }

    pub fn ended(&mut self, trace: TraceId) {
        self.leading.retain(|_, other| *other != trace);
    }

    /// An upstream has answered what leads.
    pub fn made(
        &mut self,
        key: Key,
        trace: TraceId,
        (principal, model, usage): (Principal, &str, Usage),
        is_cut: bool,
        at_unix_ms: u64,
    ) {
        if is_cut {
            self.cut.insert(key.clone());
        }
        let life = self.life;
        self.made
            .insert(trace, Made { key, at_unix_ms, principal, model: model.to_owned(), usage, is_cut, life });
    }

    /// An earlier answer is given to a request. Whether an earlier process kept it.
    pub fn again(
        &mut self,
        key: &Key,
        trace: TraceId,
        body: &[u8],
        (lifetime_ms, now_unix_ms): (u64, u64),
        may_ask: impl Fn(Principal, &str) -> bool,
    ) -> bool {
        let of = maker(body);
        let made = self.made.get(&of).unwrap_or_else(|| panic!("{trace} is given what nobody made: {of}"));
        assert_eq!(made.key, *key, "{trace} is given the answer to {of}");
        assert!(!made.is_cut, "{trace} is given a part of an answer");
        let age_ms = now_unix_ms.saturating_sub(made.at_unix_ms);
        assert!(age_ms <= lifetime_ms, "{trace} is given an answer that is {age_ms} ms old");
        let by = (made.principal, &made.model);
        assert!(may_ask(made.principal, &made.model), "{trace} is given an answer of {by:?}");
        assert!(self.again.insert(trace, made.usage).is_none(), "{trace} is given two answers");
        made.life < self.life
    }

    pub fn died(&mut self) {
        self.life += 1;
        self.leading.clear();
        self.cut.clear();
    }

    /// Nothing was sent or used for an answer that was given again, and the record says what that saved.
    pub fn check(&self, record: &MeterRecord) {
        let Some(made) = self.again.get(&record.trace) else {
            assert_ne!(record.cache_tier(), Some(CacheTier::Response), "{} was sent", record.trace);
            return;
        };
        if record.outcome == Outcome::Interrupted {
            return;
        }
        assert_eq!(record.outcome, Outcome::Completed, "{}", record.trace);
        assert!(record.attempts.is_empty() && record.drawn.is_empty(), "{record:?}");
        assert!(record.usage.is_nothing(), "{}: {:?}", record.trace, record.usage);
        assert_eq!((record.charge.cost, record.charge.provider_cost), (Nanos::ZERO, Nanos::ZERO));
        assert_eq!(record.cache_tier(), Some(CacheTier::Response), "{record:?}");
        let served = record.caching.and_then(|caching| caching.served).expect("it says what it saved");
        let tokens = (made.prompt_total(), made.completion_total());
        assert_eq!((served.input_tokens, served.output_tokens), tokens, "{}", record.trace);
    }
}
