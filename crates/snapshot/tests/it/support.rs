//! Entries, a hash without a secret, and a scripted source.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use catalogue::Catalogue;
use domain::ports::{KeyHash, PortFuture};
use domain::{KeyId, ProjectId, WorkspaceId, api_key};
use snapshot::{Change, KeyEntry, Parts, Scopes, Snapshot, Source, SourceError, WorkspaceEntry};
use tokio::sync::watch;

/// Spreads a string over 32 bytes; good enough to look keys up by.
pub struct Plain;

impl KeyHash for Plain {
    fn digest(&self, presented: &str) -> [u8; 32] {
        let mut digest = [0_u8; 32];
        for (index, byte) in presented.bytes().enumerate() {
            digest[index % 32] = digest[index % 32].rotate_left(3) ^ byte;
        }
        digest
    }
}

pub fn text(number: u8) -> String {
    let mut bytes = [number % 62; 32];
    bytes[0] = number / 62;
    api_key::encode(true, &bytes)
}

pub fn workspace_id(number: u8) -> WorkspaceId {
    WorkspaceId::new(1, [number; 10])
}

pub fn key(number: u8, revoked: bool) -> ([u8; 32], Arc<KeyEntry>) {
    let entry = KeyEntry {
        origins: format!("https://key{number}.example").into(),
        id: KeyId::new(1, [number; 10]),
        workspace: workspace_id(1),
        project: ProjectId::new(1, [1; 10]),
        environment: "production".into(),
        scopes: Scopes { inference: true, ..Scopes::default() },
        expires_unix_ms: None,
        revoked,
        ip_allowlist: Vec::new(),
        priority: None,
        access_secret: None,
    };
    (Plain.digest(&text(number)), Arc::new(entry))
}

pub fn workspace(number: u8, name: &str) -> Arc<WorkspaceEntry> {
    Arc::new(WorkspaceEntry {
        id: workspace_id(number),
        name: name.into(),
        projects: Vec::new(),
        credentials: Vec::new(),
        nodes: Vec::new(),
        routes: Vec::new(),
        aliases: Vec::new(),
        hints: Vec::new(),
        terms: None,
        caching: domain::CachePolicy::default(),
    })
}

pub fn catalogue() -> Arc<Catalogue> {
    Arc::new(Catalogue::embedded().unwrap())
}

pub fn snapshot(keys: Vec<([u8; 32], Arc<KeyEntry>)>) -> Snapshot {
    Snapshot::assemble(Parts {
        version: 1,
        keys,
        workspaces: vec![workspace(1, "one")],
        accounts: Vec::new(),
        catalogue: catalogue(),
        key_hash: Arc::new(Plain),
    })
}

/// Gives its scripted answers, then reports no changes.
pub struct Scripted {
    first: Change,
    answers: Mutex<VecDeque<Result<Change, SourceError>>>,
    pub polls: watch::Sender<u64>,
    woken: watch::Sender<u64>,
}

impl Scripted {
    pub fn new(first: Change) -> Arc<Self> {
        let (polls, woken) = (watch::channel(0).0, watch::channel(0).0);
        Arc::new(Self { first, answers: Mutex::default(), polls, woken })
    }

    pub fn say(&self, answers: impl IntoIterator<Item = Result<Change, SourceError>>) {
        self.answers.lock().unwrap().extend(answers);
        self.woken.send_modify(|version| *version += 1);
    }
}

impl Source for Scripted {
    fn load(&self) -> PortFuture<'_, Result<Change, SourceError>> {
        Box::pin(async move { Ok(self.first.clone()) })
    }

    fn changes_since(&self, version: u64) -> PortFuture<'_, Result<Change, SourceError>> {
        let answer = self.answers.lock().unwrap().pop_front();
        self.polls.send_modify(|polls| *polls += 1);
        Box::pin(async move { answer.unwrap_or(Ok(Change { version, ..Change::default() })) })
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.woken.subscribe()
    }
}
