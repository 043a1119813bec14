//! Sessions of clients: each belongs to one key, and is bounded in number, age and in what it remembers.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use admit::Caller;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{KeyId, TaskId, WorkspaceId};
use rmcp::model::{ProgressToken, RequestId};
use tokio::sync::Notify;
use world::World;

use crate::level::Level;
use crate::limits::{
    CALLS_OPEN_MAX, SESSION_IDLE_TIME_MAX, SESSION_TIME_MAX, SESSIONS_MAX, SESSIONS_OF_KEY_MAX,
    SESSIONS_OF_WORKSPACE_MAX, STREAMS_KEPT_MAX,
};
use crate::revision::Revision;

/// The sessions of all clients of this process.
#[derive(Debug, Default)]
pub struct Sessions {
    of_keys: Mutex<HashMap<KeyId, OfKey>>,
}

#[derive(Debug)]
struct OfKey {
    workspace: WorkspaceId,
    open: Vec<Arc<Session>>,
}

/// No further session may begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManySessions;

#[derive(Debug)]
pub(crate) struct Session {
    pub id: String,
    pub revision: Revision,
    began_unix_ms: u64,
    used_unix_ms: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    level: Option<Level>,
    streams: VecDeque<CallStream>,
    streams_made: u64,
    calls: Vec<(RequestId, Arc<Notify>)>,
}

/// A stream that answers a call by following its task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallStream {
    pub number: u64,
    pub request: RequestId,
    pub token: Option<ProgressToken>,
    pub task: TaskId,
    /// Its client said that it does not want the answer any more.
    pub is_cancelled: bool,
}

/// A call in progress, until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenCall {
    session: Arc<Session>,
    cancelled: Arc<Notify>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Sessions {
    /// Begins a session of the caller's key.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn begin(
        &self,
        world: &World,
        caller: &Caller,
        revision: Revision,
    ) -> Result<Arc<Session>, TooManySessions> {
        let key = caller.key().ok_or(TooManySessions)?.id;
        let mut bytes = [0_u8; 24];
        world.random.fill(&mut bytes);
        let session = Session::new(URL_SAFE_NO_PAD.encode(bytes), revision, world.clock.unix_ms());
        self.add(key, caller.workspace().id, session)
    }

    fn add(
        &self,
        key: KeyId,
        workspace: WorkspaceId,
        session: Session,
    ) -> Result<Arc<Session>, TooManySessions> {
        let now_unix_ms = session.began_unix_ms;
        let mut of_keys = lock(&self.of_keys);
        let own = of_keys.entry(key).or_insert_with(|| OfKey { workspace, open: Vec::new() });
        own.open.retain(|session| session.lives(now_unix_ms));
        if own.open.len() >= SESSIONS_OF_KEY_MAX {
            own.end_oldest();
        }
        let counted = |of_keys: &HashMap<KeyId, OfKey>| {
            let of_workspace = of_keys.values().filter(|one| one.workspace == workspace);
            let of_all = of_keys.values().map(|one| one.open.len()).sum::<usize>();
            (of_workspace.map(|one| one.open.len()).sum::<usize>(), of_all)
        };
        let is_full =
            |(of_workspace, of_all)| of_workspace >= SESSIONS_OF_WORKSPACE_MAX || of_all >= SESSIONS_MAX;
        if is_full(counted(&of_keys)) {
            of_keys.retain(|other, sessions| {
                sessions.open.retain(|session| session.lives(now_unix_ms));
                *other == key || !sessions.open.is_empty()
            });
            if is_full(counted(&of_keys)) {
                of_keys.retain(|_, sessions| !sessions.open.is_empty());
                return Err(TooManySessions);
            }
        }
        let session = Arc::new(session);
        if let Some(own) = of_keys.get_mut(&key) {
            own.open.push(Arc::clone(&session));
        }
        Ok(session)
    }

    /// A session of the caller's key; of another's there is none.
    pub(crate) fn find(&self, caller: &Caller, id: &str, now_unix_ms: u64) -> Option<Arc<Session>> {
        let key = caller.key()?.id;
        let of_keys = lock(&self.of_keys);
        let session = of_keys.get(&key)?.open.iter().find(|session| session.id == id)?;
        if !session.lives(now_unix_ms) {
            return None;
        }
        session.used_unix_ms.fetch_max(now_unix_ms, Ordering::Relaxed);
        Some(Arc::clone(session))
    }

    /// Ends a session; `false` where the caller's key has none of this id.
    pub(crate) fn end(&self, caller: &Caller, id: &str) -> bool {
        let Some(key) = caller.key() else { return false };
        let mut of_keys = lock(&self.of_keys);
        let Some(own) = of_keys.get_mut(&key.id) else { return false };
        let before = own.open.len();
        own.open.retain(|session| session.id != id);
        let is_ended = own.open.len() < before;
        if own.open.is_empty() {
            of_keys.remove(&key.id);
        }
        is_ended
    }
}

impl OfKey {
    fn end_oldest(&mut self) {
        let oldest = self
            .open
            .iter()
            .enumerate()
            .min_by_key(|(_, session)| session.used_unix_ms.load(Ordering::Relaxed));
        if let Some((place, _)) = oldest {
            self.open.remove(place);
        }
    }
}

impl Session {
    fn new(id: String, revision: Revision, now_unix_ms: u64) -> Self {
        let used_unix_ms = AtomicU64::new(now_unix_ms);
        Self { id, revision, began_unix_ms: now_unix_ms, used_unix_ms, state: Mutex::default() }
    }

    fn lives(&self, now_unix_ms: u64) -> bool {
        let used_unix_ms = self.used_unix_ms.load(Ordering::Relaxed);
        now_unix_ms.saturating_sub(used_unix_ms) < milliseconds(SESSION_IDLE_TIME_MAX)
            && now_unix_ms.saturating_sub(self.began_unix_ms) < milliseconds(SESSION_TIME_MAX)
    }

    pub(crate) fn set_level(&self, level: Level) {
        lock(&self.state).level = Some(level);
    }

    /// Whether its client wants log messages of this level. Nobody gets some who has not set a level.
    pub(crate) fn logs(&self, level: Level) -> bool {
        lock(&self.state).level.is_some_and(|least| level >= least)
    }

    /// Remembers a stream, and returns its number.
    pub(crate) fn note_stream(&self, request: RequestId, token: Option<ProgressToken>, task: TaskId) -> u64 {
        let mut state = lock(&self.state);
        state.streams_made += 1;
        let number = state.streams_made;
        if state.streams.len() >= STREAMS_KEPT_MAX {
            state.streams.pop_front();
        }
        state.streams.push_back(CallStream { number, request, token, task, is_cancelled: false });
        number
    }

    pub(crate) fn stream(&self, number: u64) -> Option<CallStream> {
        lock(&self.state).streams.iter().find(|stream| stream.number == number).cloned()
    }

    /// Notes a call that has no task; `None` where too many are in progress.
    pub(crate) fn open_call(self: &Arc<Self>, request: RequestId) -> Option<OpenCall> {
        let mut state = lock(&self.state);
        if state.calls.len() >= CALLS_OPEN_MAX {
            return None;
        }
        let cancelled = Arc::new(Notify::new());
        state.calls.push((request, Arc::clone(&cancelled)));
        Some(OpenCall { session: Arc::clone(self), cancelled })
    }

    /// Ends a call by the id of its request, and returns the task that is to be cancelled with it.
    pub(crate) fn cancel(&self, request: &RequestId) -> Option<TaskId> {
        let mut state = lock(&self.state);
        for (_, cancelled) in state.calls.iter().filter(|(id, _)| id == request) {
            cancelled.notify_one();
        }
        let stream = state.streams.iter_mut().rev().find(|stream| stream.request == *request)?;
        stream.is_cancelled = true;
        Some(stream.task)
    }
}

impl OpenCall {
    /// Resolves once its client does not want the answer any more.
    pub(crate) async fn cancelled(&self) {
        self.cancelled.notified().await;
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        lock(&self.session.state).calls.retain(|(_, cancelled)| !Arc::ptr_eq(cancelled, &self.cancelled));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> KeyId {
        KeyId::new(1, [number; 10])
    }

    fn workspace(number: u8) -> WorkspaceId {
        WorkspaceId::new(1, [number; 10])
    }

    fn session(id: impl Into<String>, unix_ms: u64) -> Session {
        Session::new(id.into(), Revision::LATEST, unix_ms)
    }

    fn ids(sessions: &Sessions, key: KeyId) -> Vec<String> {
        lock(&sessions.of_keys)[&key].open.iter().map(|session| session.id.clone()).collect()
    }

    #[test]
    fn a_further_session_of_a_key_ends_its_oldest() {
        let sessions = Sessions::default();
        for number in 0..=SESSIONS_OF_KEY_MAX as u64 {
            sessions.add(key(1), workspace(1), session(number.to_string(), 1_000 + number)).unwrap();
        }
        let open = ids(&sessions, key(1));
        assert_eq!((open.len(), open[0].as_str()), (SESSIONS_OF_KEY_MAX, "1"));
    }

    #[test]
    fn a_workspace_does_not_take_the_room_of_others() {
        let sessions = Sessions::default();
        let per_key = SESSIONS_OF_KEY_MAX;
        let mut refused = 0;
        for number in 0..SESSIONS_OF_WORKSPACE_MAX + 100 {
            let one = session(number.to_string(), 1_000);
            let of = KeyId::new(number as u64 / per_key as u64, [1; 10]);
            refused += usize::from(sessions.add(of, workspace(1), one).is_err());
        }
        assert_eq!(refused, 100);
        assert!(sessions.add(key(9), workspace(2), session("other", 1_000)).is_ok());
        // Those that are too old make room.
        let later = 1_000 + milliseconds(SESSION_IDLE_TIME_MAX);
        assert!(sessions.add(key(77), workspace(1), session("new", later)).is_ok());
        assert_eq!(lock(&sessions.of_keys).len(), 1);
    }

    #[test]
    fn a_session_ends_unused_and_at_its_age() {
        let one = session("a", 0);
        let (idle, whole) = (milliseconds(SESSION_IDLE_TIME_MAX), milliseconds(SESSION_TIME_MAX));
        assert!(one.lives(idle - 1) && !one.lives(idle));
        one.used_unix_ms.store(whole - 1, Ordering::Relaxed);
        assert!(one.lives(whole - 1) && !one.lives(whole));
    }

    #[test]
    fn a_session_remembers_so_many_streams_and_calls() {
        let one = Arc::new(session("a", 0));
        for number in 0..=STREAMS_KEPT_MAX as u64 {
            let task = TaskId::new(number, [1; 10]);
            assert_eq!(one.note_stream(RequestId::Number(number as i64), None, task), number + 1);
        }
        assert!(one.stream(1).is_none() && one.stream(2).is_some());
        let task = one.cancel(&RequestId::Number(5)).unwrap();
        assert_eq!(task, TaskId::new(5, [1; 10]));
        assert!(one.stream(6).unwrap().is_cancelled && !one.stream(7).unwrap().is_cancelled);
        assert_eq!(one.cancel(&RequestId::String("5".into())), None);
        let open: Vec<_> =
            (0..CALLS_OPEN_MAX).map(|_| one.open_call(RequestId::Number(1)).unwrap()).collect();
        assert!(one.open_call(RequestId::Number(2)).is_none());
        drop(open);
        assert!(one.open_call(RequestId::Number(2)).is_some());
    }

    #[test]
    fn log_messages_come_from_the_level_that_is_set() {
        let one = session("a", 0);
        assert!(!one.logs(Level::Emergency));
        one.set_level(Level::Warning);
        assert!(one.logs(Level::Error) && one.logs(Level::Warning) && !one.logs(Level::Info));
    }
}
