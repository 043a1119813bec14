//! Documents from one store, applied to another.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{KeyWrap, NoAudit};
use domain::{Agreement, CachePolicy, CredentialId, DataPlaneId, ProjectId, ServerFacts};
use proof::{PublicKey, SigningKey};
use snapshot::{CredentialState, WrappedKey};
use store::{
    CredentialRow, Foundation, Founding, NewSecret, Page, ProjectRow, SealedSecret, Store, StoreError,
    WorkspaceRow,
};
use vault::{BoxKey, LocalKeyWrap, MasterKey};
use world::SystemRandom;

use super::*;
use crate::builder::{DocumentBuilder, secrets_context};
use crate::document::Expected;
use crate::planes::{DataPlaneRow, Progress};
use crate::sent::SentRows;
use crate::wire::{Document, Question, from_base64};

const NONCE: &str = "n";
const SECRET: &[u8] = b"sk-not-to-be-read-on-the-way";

/// An installation: a store, and the vault that seals it.
struct Place {
    store: Store,
    vault: Vault,
    _directory: tempfile::TempDir,
}

fn workspace() -> WorkspaceId {
    WorkspaceId::new(1, [1; 10])
}

fn project(number: u8, name: &str) -> ProjectRow {
    ProjectRow {
        origins: String::new(),
        id: ProjectId::new(1, [number; 10]),
        workspace: workspace(),
        name: name.into(),
        environment: "production".into(),
        caching: CachePolicy::default(),
        metadata: store::Json::Null,
        created_unix_ms: 1,
        version: 0,
    }
}

async fn place(first: ProjectRow) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let mut seed = [0; 32];
    world::Random::fill(&SystemRandom, &mut seed);
    let text = Secret::from_text(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, seed));
    let master = MasterKey::all_from_base64(&text).unwrap().remove(0);
    let wrap = Arc::new(LocalKeyWrap::new(&master, Arc::new(SystemRandom)).unwrap());
    let records = Vault::create(&*wrap, &SystemRandom).await.unwrap();
    let world = World::system();
    let vault = Vault::open(Arc::clone(&wrap) as Arc<dyn KeyWrap>, &records, &world, Arc::new(NoAudit))
        .await
        .unwrap();
    let key = async |workspace| {
        let (key_id, wrapped) = vault.sealer.new_workspace_key(workspace).await.unwrap();
        WrappedKey { workspace, key_id, wrapped }
    };
    let foundation = Foundation {
        meta: records.to_meta(),
        operator_key: key(vault::OPERATOR).await,
        founding: Founding {
            workspace: WorkspaceRow {
                id: workspace(),
                name: "ours".into(),
                caching: CachePolicy::default(),
                created_unix_ms: 1,
                version: 0,
            },
            wrapped_key: key(workspace()).await,
            project: first,
            keys: Vec::new(),
        },
        act: Act::system(&world),
    };
    let store = Store::create(&directory.path().join("t.db"), foundation).await.unwrap();
    Place { store, vault, _directory: directory }
}

fn sealed(place: &Place, object: &str, version: u32, secret: &[u8]) -> SealedSecret {
    let sealed =
        place.vault.sealer.seal(workspace(), object, version, &Secret::new(secret.to_vec())).unwrap();
    SealedSecret { sealed: sealed.sealed, floor: sealed.floor, fingerprint: sealed.fingerprint }
}

async fn learn(place: &Place) {
    let change = place.store.source().load().await.unwrap();
    let floors = change
        .minimum_versions
        .iter()
        .map(|floor| (floor.workspace, floor.object.clone(), floor.sealed.clone()));
    let keys = change.wrapped_keys.iter().map(|key| (key.workspace, key.key_id.clone(), key.wrapped.clone()));
    let lesson = vault::KeyUpdate { keys: keys.collect(), floors: floors.collect(), current: Vec::new() };
    assert_eq!(place.vault.opener.learn(lesson).await, vault::UpdateFailures::default());
}

async fn add_credential(control: &Place) -> CredentialId {
    let id = CredentialId::new(1, [7; 10]);
    let row = CredentialRow {
        id,
        workspace: workspace(),
        provider: "acme".into(),
        display_name: "ours".into(),
        auth: "api_key".into(),
        secret: sealed(control, &id.to_string(), 1, SECRET),
        base_url: None,
        region: None,
        config: store::Json::Null,
        pricing: Vec::new(),
        agreement: Agreement::default(),
        metadata: store::Json::Null,
        project: None,
        environment: None,
        state: CredentialState::Active,
        expires_unix_ms: None,
        last_verified_unix_ms: None,
        last_error: None,
        server: ServerFacts::default(),
        subscription: None,
        created_unix_ms: 1,
        version: 0,
    };
    let world = World::system();
    control.store.credentials().create(row, Act::system(&world)).await.unwrap();
    id
}

/// A data plane that nobody invited: what the control plane tells depends on its workspace and keys alone.
fn plane(key: &BoxKey) -> DataPlaneRow {
    DataPlaneRow {
        id: DataPlaneId::new(1, [9; 10]),
        workspace: workspace(),
        name: "fra-1".into(),
        replica: 1,
        token_digest: [0; 32],
        token_expires_unix_ms: 0,
        joined_unix_ms: Some(1),
        sealed_for: key.public().0,
        signing_key: [0; 32],
        revoked_unix_ms: None,
        seen_unix_ms: None,
        applied_version: None,
        applied_history: None,
        delivered_place: None,
        program: None,
        created_unix_ms: 1,
        version: 1,
    }
}

async fn signed_document(control: &Place, key: &BoxKey) -> Document {
    let world = World::system();
    let Place { store, vault, .. } = control;
    let sent = SentRows::default();
    let builder = DocumentBuilder { store, vault, world: &world, sent: &sent, life: Duration::from_secs(60) };
    let question =
        Question { after: None, history: None, nonce: NONCE.into(), base: None, program: String::new() };
    let signed_document = builder.build(&plane(key), &question).await.unwrap();
    assert!(!signed_document.document.contains("secret_sealed"), "{}", signed_document.document);
    let key: PublicKey = SigningKey::from_seed(vault.signing_seed.expose()).unwrap().public();
    let data_plane = DataPlaneId::new(1, [9; 10]);
    let expected =
        Expected { key, data_plane, workspace: workspace(), nonce: NONCE, applied: None, history: None };
    expected.read(&signed_document).unwrap()
}

/// Carries what the control plane has to the data plane; returns the version that it has then.
async fn carry(control: &Place, there: &Place) -> u64 {
    let key = BoxKey::from_seed(&BoxKey::mint_seed(&SystemRandom)).unwrap();
    let document = signed_document(control, &key).await;
    let boxed = from_base64(document.secrets.as_deref().unwrap(), "secrets").unwrap();
    let opened = key.open(&secrets_context(&document.data_plane, NONCE), &boxed).unwrap();
    let secrets = postcard::from_bytes(opened.expose()).unwrap();
    let new = NewRows::seal(workspace(), document.rows.unwrap(), secrets, &there.vault).unwrap();
    let applied = Applied { version: Some(document.version), life_ms: 1, ..Applied::default() };
    let version = new.write(&there.store, (applied.clone(), APPLIED), &World::system()).await.unwrap();
    assert_eq!(Applied::of(&there.store, APPLIED).await.unwrap(), applied);
    learn(there).await;
    version
}

async fn projects(place: &Place) -> Vec<(ProjectId, String)> {
    let listed = place.store.projects().list(workspace(), Page::default()).await.unwrap();
    listed.rows.into_iter().map(|row| (row.id, row.name)).collect()
}

async fn rename(place: &Place, id: ProjectId, name: &str) {
    let row = place.store.projects().get(workspace(), id).await.unwrap();
    let act = Act::system(&World::system());
    place.store.projects().replace(ProjectRow { name: name.into(), ..row }, None, act).await.unwrap();
}

#[tokio::test]
async fn rows_arrive_as_they_are_and_secrets_under_another_key() {
    let (control, there) = (place(project(1, "first")).await, place(project(8, "before")).await);
    let act = || Act::system(&World::system());
    control.store.projects().create(project(2, "second"), act()).await.unwrap();
    let credential = add_credential(&control).await;
    learn(&control).await;
    let version = carry(&control, &there).await;
    assert_eq!(projects(&there).await, projects(&control).await, "what was there before is gone");
    let (ours, theirs) = (
        control.store.credentials().get(workspace(), credential).await.unwrap(),
        there.store.credentials().get(workspace(), credential).await.unwrap(),
    );
    assert_eq!(
        (&ours.display_name, &ours.secret.fingerprint),
        (&theirs.display_name, &theirs.secret.fingerprint)
    );
    assert_ne!(ours.secret.sealed.bytes, theirs.secret.sealed.bytes);
    let name = credential.to_string();
    assert_eq!(there.vault.opener.open(workspace(), &name, &theirs.secret.sealed).unwrap().expose(), SECRET);
    assert!(there.vault.opener.open(workspace(), &name, &ours.secret.sealed).is_err());
    // The same again changes nothing: nobody is told of a new version.
    assert_eq!(carry(&control, &there).await, version);

    // Names are exchanged, a secret is replaced, and a project goes.
    let (first, second) = (ProjectId::new(1, [1; 10]), ProjectId::new(1, [2; 10]));
    for (id, name) in [(first, "away"), (second, "first"), (first, "second")] {
        rename(&control, id, name).await;
    }
    let secret: NewSecret = sealed(&control, &name, 2, b"sk-next");
    let row = control.store.credentials().get(workspace(), credential).await.unwrap();
    control.store.credentials().replace((row, Some(secret)), None, act()).await.unwrap();
    learn(&control).await;
    assert!(carry(&control, &there).await > version);
    assert_eq!(projects(&there).await, [(first, "second".into()), (second, "first".into())]);
    let theirs = there.store.credentials().get(workspace(), credential).await.unwrap();
    assert_eq!(
        there.vault.opener.open(workspace(), &name, &theirs.secret.sealed).unwrap().expose(),
        b"sk-next"
    );
    control.store.projects().delete(workspace(), second, None, act()).await.unwrap();
    control.store.credentials().delete(workspace(), credential, None, act()).await.unwrap();
    carry(&control, &there).await;
    assert_eq!(projects(&there).await, [(first, "second".into())]);
    let gone = there.store.credentials().get(workspace(), credential).await.unwrap_err();
    assert!(matches!(gone, StoreError::NotFound { .. }), "{gone}");
}

#[tokio::test]
async fn a_row_that_does_not_fit_leaves_everything_as_it_was() {
    let (control, there) = (place(project(1, "first")).await, place(project(8, "before")).await);
    let key = BoxKey::from_seed(&BoxKey::mint_seed(&SystemRandom)).unwrap();
    let mut rows = signed_document(&control, &key).await.rows.unwrap();
    let later = rows.get_mut("projects").unwrap().first_mut().unwrap();
    later.insert("of_a_later_version".to_owned(), Some(Cell::Number(1)));
    let new = NewRows::seal(workspace(), rows.clone(), Vec::new(), &there.vault).unwrap();
    let applied = Applied { version: Some(9), ..Applied::default() };
    new.write(&there.store, (applied.clone(), APPLIED), &World::system()).await.unwrap_err();
    let named = rows.get_mut("projects").unwrap().first_mut().unwrap();
    named.remove("of_a_later_version");
    named.insert("name) SELECT 1 --".to_owned(), Some(Cell::Number(1)));
    let new = NewRows::seal(workspace(), rows, Vec::new(), &there.vault).unwrap();
    new.write(&there.store, (applied, APPLIED), &World::system()).await.unwrap_err();
    assert_eq!(projects(&there).await, [(ProjectId::new(1, [8; 10]), "before".into())]);
    assert_eq!(Applied::of(&there.store, APPLIED).await.unwrap(), Applied::default());
}

#[tokio::test]
async fn who_is_revoked_has_no_seats_left() {
    let (control, there) = (place(project(1, "first")).await, place(project(8, "before")).await);
    let credential = add_credential(&control).await;
    learn(&control).await;
    carry(&control, &there).await;
    let local = local_rows(&there.store, workspace()).await.unwrap();
    let applied = Applied { is_revoked: true, ..Applied::of(&there.store, APPLIED).await.unwrap() };
    NewRows::without_seats(local, workspace())
        .write(&there.store, (applied, APPLIED), &World::system())
        .await
        .unwrap();
    there.store.credentials().get(workspace(), credential).await.unwrap_err();
    assert_eq!(projects(&there).await, projects(&control).await);
    assert!(Applied::of(&there.store, APPLIED).await.unwrap().is_revoked);
}

/// A control plane that was restored gives the numbers of changes that it lost to others.
#[tokio::test]
async fn the_same_number_of_another_history_is_not_the_same_configuration() {
    let (control, restored) = (place(project(1, "first")).await, place(project(1, "first")).await);
    let key = BoxKey::from_seed(&BoxKey::mint_seed(&SystemRandom)).unwrap();
    let (id, world) = (ProjectId::new(1, [1; 10]), World::system());
    rename(&control, id, "lost").await;
    let document = signed_document(&control, &key).await;
    let progress = async |place: &Place, after: u64, history: Option<&str>| {
        let Place { store, vault, .. } = place;
        let sent = SentRows::default();
        let builder =
            DocumentBuilder { store, vault, world: &world, sent: &sent, life: Duration::from_secs(60) };
        builder.progress(&plane(&key), after, history).await.unwrap()
    };
    let (after, history) = (document.version, document.history.as_deref());
    assert_eq!(progress(&control, after, history).await, Progress::Current);
    assert_eq!(progress(&restored, after, history).await, Progress::Ahead, "its number is lower");
    rename(&restored, id, "other").await;
    assert_eq!(restored.store.feed().version().await.unwrap(), after);
    assert_eq!(progress(&restored, after, history).await, Progress::Ahead, "its number is the same");
    assert_eq!(progress(&restored, after, Some("no history")).await, Progress::Ahead);
    assert_eq!(progress(&restored, after, None).await, Progress::Current, "an older program names none");
    rename(&restored, id, "newer").await;
    assert_eq!(progress(&restored, after, history).await, Progress::Behind, "its number is beyond");
    // What it has itself is known, whatever was changed since then.
    rename(&control, id, "later").await;
    assert_eq!(progress(&control, after, history).await, Progress::Behind);
    let document = signed_document(&control, &key).await;
    assert_eq!(progress(&control, document.version, document.history.as_deref()).await, Progress::Current);
}

/// A data plane as it follows its control plane: with what it has, and what the control plane remembers of that.
struct Following<'a> {
    control: &'a Place,
    there: &'a Place,
    key: BoxKey,
    sent: SentRows,
    applied: Applied,
    questions: u32,
}

impl Following<'_> {
    /// Asks once, and applies the answer; returns its bytes, and whether it was whole.
    async fn turn(&mut self) -> (usize, bool) {
        self.questions += 1;
        let (world, nonce) = (World::system(), format!("n{}", self.questions));
        let Place { store, vault, .. } = self.control;
        let life = Duration::from_secs(60);
        let builder = DocumentBuilder { store, vault, world: &world, sent: &self.sent, life };
        let Applied { version: after, history, base, .. } = self.applied.clone();
        let question = Question { after, history, nonce: nonce.clone(), base, program: String::new() };
        let signed_document = builder.build(&plane(&self.key), &question).await.unwrap();
        let document: Document = serde_json::from_str(&signed_document.document).unwrap();
        let boxed = from_base64(document.secrets.as_deref().unwrap(), "secrets").unwrap();
        let opened = self.key.open(&secrets_context(&document.data_plane, &nonce), &boxed).unwrap();
        let secrets = postcard::from_bytes(opened.expose()).unwrap();
        let (rows, is_whole) = (document.rows.unwrap(), document.base.is_none());
        let rows = if is_whole {
            rows
        } else {
            merge(local_rows(&self.there.store, workspace()).await.unwrap(), rows, &document.gone)
        };
        let new = NewRows::seal(workspace(), rows, secrets, &self.there.vault).unwrap();
        let (version, history, base) = (Some(document.version), document.history, Some(nonce));
        self.applied = Applied { version, history, base, life_ms: 1, ..Applied::default() };
        new.write(&self.there.store, (self.applied.clone(), APPLIED), &world).await.unwrap();
        learn(self.there).await;
        (signed_document.document.len(), is_whole)
    }
}

/// What changed is sent, and what is gone named; where nobody remembers what was sent, everything is.
#[tokio::test]
async fn a_document_has_what_changed_since_the_one_before() {
    let (control, there) = (place(project(1, "first")).await, place(project(8, "before")).await);
    let act = || Act::system(&World::system());
    for number in 2..200 {
        control.store.projects().create(project(number, &format!("project {number}")), act()).await.unwrap();
    }
    let credential = add_credential(&control).await;
    learn(&control).await;
    let key = BoxKey::from_seed(&BoxKey::mint_seed(&SystemRandom)).unwrap();
    let (sent, applied) = (SentRows::default(), Applied::default());
    let mut following = Following { control: &control, there: &there, key, sent, applied, questions: 0 };
    let (whole, is_whole) = following.turn().await;
    assert!(is_whole);
    assert_eq!(projects(&there).await, projects(&control).await);

    let (second, third) = (ProjectId::new(1, [2; 10]), ProjectId::new(1, [3; 10]));
    rename(&control, second, "renamed").await;
    control.store.projects().delete(workspace(), third, None, act()).await.unwrap();
    let (part, is_whole) = following.turn().await;
    assert!(!is_whole && part * 20 < whole, "{part} of {whole} bytes");
    println!("{part} of {whole} bytes");
    assert_eq!(projects(&there).await, projects(&control).await);
    // Its secret is sealed again only where it changed, and opens as before.
    let name = credential.to_string();
    let theirs = there.store.credentials().get(workspace(), credential).await.unwrap();
    assert_eq!(there.vault.opener.open(workspace(), &name, &theirs.secret.sealed).unwrap().expose(), SECRET);
    let row = control.store.credentials().get(workspace(), credential).await.unwrap();
    let secret = sealed(&control, &name, 2, b"sk-next");
    control.store.credentials().replace((row, Some(secret)), None, act()).await.unwrap();
    learn(&control).await;
    let (part, is_whole) = following.turn().await;
    assert!(!is_whole && part * 20 < whole, "{part} of {whole} bytes");
    let theirs = there.store.credentials().get(workspace(), credential).await.unwrap();
    let opened = there.vault.opener.open(workspace(), &name, &theirs.secret.sealed).unwrap();
    assert_eq!(opened.expose(), b"sk-next");
    control.store.credentials().delete(workspace(), credential, None, act()).await.unwrap();
    following.turn().await;
    there.store.credentials().get(workspace(), credential).await.unwrap_err();

    // A document that was lost on the way is not what the next one changes.
    let before = following.applied.clone();
    rename(&control, second, "lost").await;
    following.turn().await;
    following.applied = before;
    rename(&control, second, "found").await;
    assert!(!following.turn().await.1);
    assert_eq!(projects(&there).await, projects(&control).await);
    following.sent = SentRows::default();
    assert!(following.turn().await.1, "the control plane was restarted");
    assert_eq!(projects(&there).await, projects(&control).await);
}

#[tokio::test]
async fn a_document_is_about_one_workspace() {
    let (control, there) = (place(project(1, "first")).await, place(project(8, "before")).await);
    let key = BoxKey::from_seed(&BoxKey::mint_seed(&SystemRandom)).unwrap();
    let document = signed_document(&control, &key).await;
    let mut rows = document.rows.unwrap();
    let strange = bytes_cell(&WorkspaceId::new(1, [7; 10]).bytes());
    rows.get_mut("projects").unwrap()[0].insert("workspace".to_owned(), strange);
    let new = NewRows::seal(workspace(), rows, Vec::new(), &there.vault).unwrap();
    let error = new.write(&there.store, (Applied::default(), APPLIED), &World::system()).await.unwrap_err();
    assert!(error.with_causes().contains("another workspace"), "{error}");
    // What is sealed for another data plane does not open here.
    let other = BoxKey::from_seed(&BoxKey::mint_seed(&SystemRandom)).unwrap();
    let boxed = from_base64(document.secrets.as_deref().unwrap(), "secrets").unwrap();
    let context = secrets_context(&document.data_plane, NONCE);
    assert!(other.open(&context, &boxed).is_err());
    assert!(key.open(&secrets_context(&document.data_plane, "another question"), &boxed).is_err());
    assert!(key.open(&context, &boxed).is_ok());
}
