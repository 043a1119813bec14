//! The answers that a process holds in memory, and the requests that are being answered for the first time: of
//! concurrent requests that are the same, one leads and the others wait.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::limits::{RESPONSE_CACHE_BYTES_MAX, RESPONSE_CACHE_ENTRIES_MAX};
use domain::ports::PortFuture;
use domain::purge::{Place, PurgeError, PurgeScope, Purgeable, Purged, Remembers};
use domain::{IdMap, ProjectId, TraceId, WorkspaceId};
use tokio::sync::watch;

use super::entry::Entry;
use super::meaning::{Meaning, Meanings, Partition};

const SHARDS: usize = 16;

/// What a request is known by: its workspace and project, and itself in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// Of all that follows, keyed: it is computed once, and clients can't aim at a bucket.
    digest: u64,
    /// The requests that it is compared with by meaning, which are kept in one shard with it.
    partition: Option<Partition>,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    /// Raised by a purge, in the workspace and in the project.
    pub generations: (u64, u64),
    pub request: Arc<str>,
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest);
    }
}

/// Shared by all cores. Only requests of projects that keep answers come here.
#[derive(Debug)]
pub struct ResponseMemory {
    hasher: RandomState,
    /// A second key, since partitions are told apart by their hashes alone.
    other_hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    entries: IdMap<Name, Held>,
    flights: IdMap<Name, watch::Receiver<Verdict>>,
    /// Of those entries that have one.
    meanings: Meanings,
    bytes: usize,
    /// Counts what was asked for, so that the least recent can be told.
    tick: u64,
}

#[derive(Debug)]
struct Held {
    entry: Arc<Entry>,
    meaning: Option<Arc<Meaning>>,
    bytes: usize,
    used: u64,
}

/// An answer that is held, as the data path of its request tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldAnswer {
    pub project: ProjectId,
    /// The request that it answered first.
    pub request: TraceId,
    pub made_unix_ms: u64,
}

/// What the others learn of the request that leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Open,
    /// It was answered, but the answer may not be given again: nobody need wait.
    NotKept,
}

/// What a request finds.
pub(crate) enum Turn {
    Found(Arc<Entry>),
    /// It answers for those that are the same and come meanwhile.
    Lead(Lead),
    /// Another one leads; this ends when that one does.
    Wait(Flight),
}

/// The wait for the request that leads.
pub(crate) struct Flight(watch::Receiver<Verdict>);

impl Flight {
    /// Whether it is worth looking again.
    pub(crate) async fn landed(mut self) -> bool {
        // An error says that the request that led is gone: answered, failed or hung up.
        let verdict = self.0.wait_for(|verdict| *verdict != Verdict::Open).await;
        verdict.is_err()
    }
}

/// The right to answer; dropped unused, the next one leads.
#[derive(Debug)]
pub struct Lead {
    memory: Arc<ResponseMemory>,
    name: Name,
    tell: watch::Sender<Verdict>,
}

impl Lead {
    pub(crate) fn keep(self, entry: Arc<Entry>, meaning: Option<Arc<Meaning>>) {
        self.memory.insert(self.name.clone(), entry, meaning);
    }

    pub(crate) fn keep_nothing(self) {
        self.tell.send_replace(Verdict::NotKept);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.memory.shard(&self.name).flights.remove(&self.name);
    }
}

impl Default for ResponseMemory {
    fn default() -> Self {
        let (hasher, other_hasher) = (RandomState::new(), RandomState::new());
        Self { hasher, other_hasher, shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl ResponseMemory {
    /// The name of a request in this process.
    pub(crate) fn name(
        &self,
        (workspace, project): (WorkspaceId, ProjectId),
        generations: (u64, u64),
        request: Arc<str>,
        partition: Option<Partition>,
    ) -> Name {
        let digest = self.hasher.hash_one((workspace, project, generations, &*request));
        Name { digest, partition, workspace, project, generations, request }
    }

    /// Where a request belongs that is `rest` beside one text: workspace and project are part of it.
    pub(crate) fn partition(
        &self,
        owner: (WorkspaceId, ProjectId),
        generations: (u64, u64),
        rest: &str,
    ) -> Partition {
        let of = |hasher: &RandomState| hasher.hash_one((owner, generations, rest));
        Partition(of(&self.hasher), of(&self.other_hasher))
    }

    /// The texts that a request is compared with, newest last.
    pub(crate) fn meanings(&self, name: &Name) -> Vec<(Name, Arc<Meaning>)> {
        let Some(partition) = name.partition else { return Vec::new() };
        let of_owner = |other: &Name| {
            (other.workspace, other.project, other.generations)
                == (name.workspace, name.project, name.generations)
        };
        let shard = self.shard(name);
        shard.meanings.of(partition).iter().filter(|(other, _)| of_owner(other)).cloned().collect()
    }

    /// The answer to a request, if it is not older than `age_ms_max`.
    pub(crate) fn held(&self, name: &Name, now_unix_ms: u64, age_ms_max: u64) -> Option<Arc<Entry>> {
        let mut shard = self.shard(name);
        shard.tick += 1;
        let tick = shard.tick;
        let held = shard.entries.get_mut(name)?;
        held.used = tick;
        Some(Arc::clone(&held.entry)).filter(|entry| entry.age_ms(now_unix_ms) <= age_ms_max)
    }

    /// Looks for an answer that is not older than `age_ms_max`, or else takes the lead or its place behind it.
    pub(crate) fn turn(self: &Arc<Self>, name: &Name, now_unix_ms: u64, age_ms_max: u64) -> Turn {
        let mut shard = self.shard(name);
        shard.tick += 1;
        let tick = shard.tick;
        let held = shard.entries.get_mut(name);
        if let Some(held) = held.filter(|held| held.entry.age_ms(now_unix_ms) <= age_ms_max) {
            held.used = tick;
            return Turn::Found(Arc::clone(&held.entry));
        }
        if let Some(flight) = shard.flights.get(name) {
            return Turn::Wait(Flight(flight.clone()));
        }
        let (tell, flight) = watch::channel(Verdict::Open);
        shard.flights.insert(name.clone(), flight);
        Turn::Lead(Lead { memory: Arc::clone(self), name: name.clone(), tell })
    }

    /// Drops the answer to a request.
    pub(crate) fn forget(&self, name: &Name) {
        self.shard(name).remove(name);
    }

    /// The answers that are held of a workspace.
    pub fn answers_of(&self, workspace: WorkspaceId) -> Vec<HeldAnswer> {
        let mut found = Vec::new();
        for shard in self.shards() {
            let own = shard.entries.iter().filter(|(name, _)| name.workspace == workspace);
            found.extend(own.map(|(name, held)| HeldAnswer {
                project: name.project,
                request: held.entry.request,
                made_unix_ms: held.entry.made_unix_ms,
            }));
        }
        found
    }

    fn insert(&self, name: Name, entry: Arc<Entry>, meaning: Option<Arc<Meaning>>) {
        let of_meaning = meaning.as_ref().map_or(0, |meaning| meaning.bytes());
        let bytes = name.request.len() + entry.bytes() + of_meaning;
        let mut shard = self.shard(&name);
        shard.remove(&name);
        let used = shard.tick;
        shard.bytes += bytes;
        if let (Some(meaning), Some(partition)) = (&meaning, name.partition) {
            let surplus = shard.meanings.add(partition, name.clone(), Arc::clone(meaning));
            if let Some(surplus) = surplus {
                shard.remove(&surplus);
            }
        }
        shard.entries.insert(name, Held { entry, meaning, bytes, used });
        while shard.entries.len() > RESPONSE_CACHE_ENTRIES_MAX / SHARDS
            || shard.bytes > RESPONSE_CACHE_BYTES_MAX / SHARDS
        {
            let oldest = shard.entries.iter().min_by_key(|(_, held)| held.used);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { break };
            shard.remove(&oldest);
        }
    }

    fn shard(&self, name: &Name) -> MutexGuard<'_, Shard> {
        let number = name.partition.map_or(name.digest, |partition| partition.0) % SHARDS as u64;
        let shard = usize::try_from(number).ok().and_then(|number| self.shards.get(number));
        // A shard is consistent between any two statements that can't panic.
        let [first, ..] = &self.shards;
        shard.unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shard {
    fn remove(&mut self, name: &Name) {
        if let Some(held) = self.entries.remove(name) {
            self.bytes = self.bytes.saturating_sub(held.bytes);
            if let (Some(_), Some(partition)) = (&held.meaning, name.partition) {
                self.meanings.remove(partition, name);
            }
        }
    }

    fn purge(&mut self, scope: &PurgeScope) -> u64 {
        let purged = self.entries.iter().filter(|(name, held)| is_of(scope, name, held));
        let purged: Vec<Name> = purged.map(|(name, _)| name.clone()).collect();
        for name in &purged {
            self.remove(name);
        }
        purged.len() as u64
    }
}

fn is_of(scope: &PurgeScope, name: &Name, held: &Held) -> bool {
    scope.covers(name.workspace, name.project, held.entry.request)
}

impl Purgeable for ResponseMemory {
    fn place(&self) -> Place {
        Place::ResponseCache
    }

    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { Ok(self.shards().map(|mut shard| shard.purge(&scope)).sum()) })
    }

    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move {
            let left = self.shards().map(|shard| {
                shard.entries.iter().filter(|(name, held)| is_of(&scope, name, held)).count() as u64
            });
            Ok(left.sum())
        })
    }
}

impl Remembers for ResponseMemory {
    fn forget_remembered(&self, workspace: WorkspaceId, project: Option<ProjectId>) {
        let what = project.map_or(Purged::Everything, Purged::Project);
        for mut shard in self.shards() {
            shard.purge(&PurgeScope::of(workspace, what.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use domain::limits::SEMANTIC_CACHE_TEXTS_MAX;
    use domain::{CredentialId, Principal, Usage};
    use futures_util::FutureExt as _;

    fn named(memory: &ResponseMemory, workspace: u8, generations: (u64, u64), request: &str) -> Name {
        let owner = (WorkspaceId::new(1, [workspace; 10]), ProjectId::new(1, [workspace; 10]));
        memory.name(owner, generations, request.into(), None)
    }

    fn entry(made_unix_ms: u64, bytes: usize) -> Arc<Entry> {
        Arc::new(Entry {
            made_unix_ms,
            request: TraceId::new(made_unix_ms, [1; 10]),
            resolved_model: "openai/gpt-4o".into(),
            principal: Principal::Credential(CredentialId::new(1, [1; 10])),
            upstream_model: "gpt-4o".into(),
            usage: Usage::default(),
            headers: http::HeaderMap::new(),
            body: Bytes::from(vec![b'x'; bytes]),
        })
    }

    fn lead(memory: &Arc<ResponseMemory>, name: &Name) -> Lead {
        match memory.turn(name, 1_000, 60_000) {
            Turn::Lead(lead) => lead,
            Turn::Found(_) | Turn::Wait(_) => panic!("someone was here before"),
        }
    }

    fn is_found(memory: &Arc<ResponseMemory>, name: &Name, now_unix_ms: u64) -> bool {
        matches!(memory.turn(name, now_unix_ms, 60_000), Turn::Found(_))
    }

    #[test]
    fn what_is_kept_is_found_by_its_own_name_until_it_is_old() {
        let memory = Arc::new(ResponseMemory::default());
        let name = |workspace, request: &str| named(&memory, workspace, (0, 0), request);
        lead(&memory, &name(1, "a")).keep(entry(1_000, 10), None);
        assert!(is_found(&memory, &name(1, "a"), 61_000));
        assert!(!is_found(&memory, &name(1, "a"), 61_001));
        assert!(!is_found(&memory, &name(2, "a"), 1_000), "another workspace's");
        assert!(!is_found(&memory, &named(&memory, 1, (0, 1), "a"), 1_000), "purged");
        let owner = |of: u8| WorkspaceId::new(1, [of; 10]);
        assert_eq!(
            memory.answers_of(owner(1)).iter().map(|held| held.made_unix_ms).collect::<Vec<_>>(),
            [1_000]
        );
        assert_eq!(memory.answers_of(owner(2)), []);
        memory.forget(&name(1, "a"));
        assert!(!is_found(&memory, &name(1, "a"), 1_000));
        assert_eq!(memory.answers_of(owner(1)), []);
    }

    #[test]
    fn one_leads_and_the_others_wait_until_it_ends() {
        let memory = Arc::new(ResponseMemory::default());
        let name = named(&memory, 1, (0, 0), "a");
        for (end, again) in [(0, true), (1, true), (2, false)] {
            let first = lead(&memory, &name);
            let Turn::Wait(flight) = memory.turn(&name, 1_000, 60_000) else { panic!("it leads, too") };
            let mut landed = Box::pin(flight.landed());
            assert_eq!(landed.as_mut().now_or_never(), None);
            match end {
                0 => drop(first),
                1 => first.keep(entry(1_000, 1), None),
                _ => first.keep_nothing(),
            }
            assert_eq!(landed.now_or_never(), Some(again));
            memory.forget(&name);
        }
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_asked_for() {
        let memory = Arc::new(ResponseMemory::default());
        let name = |workspace, request: &str| named(&memory, workspace, (0, 0), request);
        let size = RESPONSE_CACHE_BYTES_MAX / SHARDS / 4;
        for number in 0..200 {
            lead(&memory, &name(1, &number.to_string())).keep(entry(1_000, size), None);
            let _ = memory.turn(&name(1, "0"), 1_000, 60_000);
        }
        assert!(is_found(&memory, &name(1, "0"), 1_000), "it is asked for all the time");
        let bytes: usize = memory.shards().map(|shard| shard.bytes).sum();
        assert!(bytes <= RESPONSE_CACHE_BYTES_MAX && bytes > RESPONSE_CACHE_BYTES_MAX / 4, "{bytes}");
    }

    #[test]
    fn a_purge_takes_what_is_in_its_scope_alone() {
        let memory = Arc::new(ResponseMemory::default());
        let name = |workspace, request: &str| named(&memory, workspace, (0, 0), request);
        let scope = |workspace: u8, what| PurgeScope::of(WorkspaceId::new(1, [workspace; 10]), what);
        let fill = || {
            lead(&memory, &name(1, "a")).keep(entry(1_000, 1), None);
            lead(&memory, &name(1, "b")).keep(entry(2_000, 1), None);
            lead(&memory, &name(2, "a")).keep(entry(3_000, 1), None);
        };
        let purge = |scope| memory.purge(scope).now_or_never().unwrap().unwrap();
        fill();
        let left = |scope| memory.remaining(scope).now_or_never().unwrap().unwrap();
        assert_eq!(purge(scope(1, Purged::Requests(vec![TraceId::new(2_000, [1; 10])]))), 1);
        assert_eq!((left(scope(1, Purged::Everything)), left(scope(2, Purged::Everything))), (1, 1));
        assert_eq!(purge(scope(1, Purged::Project(ProjectId::new(1, [2; 10])))), 0);
        assert_eq!(purge(scope(1, Purged::Everything)), 1);
        assert!(is_found(&memory, &name(2, "a"), 3_000));
    }

    fn meant(memory: &ResponseMemory, owner: (u8, u8), generation: u64, request: &str) -> Name {
        let owner = (WorkspaceId::new(1, [owner.0; 10]), ProjectId::new(1, [owner.1; 10]));
        let partition = memory.partition(owner, (0, generation), "the rest");
        memory.name(owner, (0, generation), request.into(), Some(partition))
    }

    fn meaning() -> Option<Arc<Meaning>> {
        let vector = likeness::UnitVector::of([1.0, 0.0].into()).unwrap();
        let space = "a/b".into();
        Some(Arc::new(Meaning { space, vector, literals: likeness::Literals::default() }))
    }

    #[test]
    fn meanings_are_compared_within_one_project_and_go_with_their_entries() {
        let memory = Arc::new(ResponseMemory::default());
        let name = |request: &str| meant(&memory, (1, 1), 0, request);
        lead(&memory, &name("a")).keep(entry(1_000, 1), meaning());
        lead(&memory, &name("b")).keep(entry(1_000, 1), None);
        let seen = |name: &Name| memory.meanings(name).len();
        assert_eq!(seen(&name("c")), 1);
        for other in [
            meant(&memory, (1, 2), 0, "c"),
            meant(&memory, (2, 1), 0, "c"),
            meant(&memory, (1, 1), 1, "c"),
            named(&memory, 1, (0, 0), "c"),
        ] {
            assert_eq!(seen(&other), 0, "{other:?}");
        }
        assert!(memory.held(&name("a"), 2_000, 1_000).is_some());
        assert!(memory.held(&name("a"), 2_001, 1_000).is_none(), "it is too old");
        memory.forget(&name("a"));
        assert_eq!(seen(&name("c")), 0);
        lead(&memory, &name("a")).keep(entry(1_000, 1), meaning());
        let scope = PurgeScope::of(name("a").workspace, Purged::Everything);
        assert_eq!(memory.purge(scope).now_or_never().unwrap().unwrap(), 2);
        assert_eq!(seen(&name("c")), 0);
    }

    #[test]
    fn a_partition_has_a_bounded_number_of_texts_and_its_bytes_are_counted() {
        let memory = Arc::new(ResponseMemory::default());
        let name = |number: usize| meant(&memory, (1, 1), 0, &number.to_string());
        for number in 0..SEMANTIC_CACHE_TEXTS_MAX + 3 {
            lead(&memory, &name(number)).keep(entry(1_000, 1), meaning());
        }
        let left = memory.meanings(&name(0));
        assert_eq!((left.len(), &left[0].0), (SEMANTIC_CACHE_TEXTS_MAX, &name(3)), "the newest");
        for number in 0..SEMANTIC_CACHE_TEXTS_MAX + 3 {
            memory.forget(&name(number));
        }
        assert_eq!(memory.shards().map(|shard| shard.bytes).sum::<usize>(), 0);
    }
}
