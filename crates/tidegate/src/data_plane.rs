//! A gateway that is the data plane of a control plane elsewhere: how it joins, and what it is composed of beside the usual.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use cli::api::{self as client, Api};
use cli::output::Failure;
use dataplane::{
    ClosingSource, DELIVERED_KEPT, Follower, FollowerParts, Link, Membership, Outbox, RemoteCentre, Standing,
    Standings, WORKSPACES_MAX, open_key_hash, wire,
};
use domain::ports::NoAudit;
use domain::{CachePolicy, DataPlaneId, ProjectId, WorkspaceId};
use ledger::{LeaseCentre, RecordSink};
use proof::{PublicKey, SigningKey};
use reconcilers::Deps;
use serde_json::{Value, json};
use snapshot::{Source, WrappedKey};
use store::datadir::Making;
use store::{Act, Foundation, Founding, ProjectRow, Store, StoreError, WorkspaceRow};
use tasks::TaskSet;
use tokio::runtime::Handle;
use vault::{BoxKey, MasterKeyring, Vault, VaultRecords};
use world::World;

use crate::settings::Settings;
use crate::{data_dir, founding, server_state};

const DAY_S: u64 = 24 * 60 * 60;

/// The fact in a database that says which data plane it is of.
const OF: &str = "data_plane.id";

/// What a data plane has beside the parts of every gateway.
pub struct DataPlane {
    workspaces: Vec<JoinedWorkspace>,
    standings: Arc<Standings>,
    outbox: Arc<Outbox>,
    /// The connections of changes to the configuration, and the runtime that they are followed on.
    store: Store,
    runtime: Handle,
}

/// A workspace that it has joined.
struct JoinedWorkspace {
    workspace: WorkspaceId,
    membership: Membership,
    link: Link,
    standing: Arc<Standing>,
}

/// Keys of a data plane that has not joined yet.
struct Fresh {
    making: Making,
    wrap: Arc<MasterKeyring>,
    records: VaultRecords,
    vault: Vault,
    seed: domain::Secret,
    key: BoxKey,
    signing_key: PublicKey,
}

/// The memberships of the data plane whose directory it is; none where it is another gateway's.
///
/// # Errors
/// The file that says so can't be read.
pub fn memberships(settings: &Settings) -> anyhow::Result<Vec<Membership>> {
    Membership::read(&settings.data_dir)
        .with_context(|| format!("can't read {}", Membership::file(&settings.data_dir).display()))
}

/// The id of the data plane that the database belongs to, if any.
pub async fn owner(store: &Store) -> Result<Option<String>, StoreError> {
    let kept = store.meta().get(OF.to_owned()).await?;
    Ok(kept.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Joins a control plane, and makes the data directory. Keys come first: a data plane that can't store them must not use up
/// the token.
///
/// # Errors
/// The directory is not empty, or the control plane refuses; the directory is empty again then.
pub fn join(settings: &Settings, control: &str, token: &str) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let world = World::system();
    let had_key = founding::master_key_file(settings).exists();
    runtime.block_on(check_database(settings, &world)).map_err(Failure::from)?;
    let fresh = runtime.block_on(Fresh::make(settings, &world)).map_err(Failure::from)?;
    match exchange(settings, (control, token), (&fresh.key, &fresh.signing_key)) {
        Ok(joined) => {
            let finished = runtime.block_on(fresh.finish(settings, &world, (control, token), &joined));
            finished.map_err(Failure::from)
        }
        Err(failure) => {
            // Only what was made here: the key may have been there before.
            if !had_key {
                std::fs::remove_file(founding::master_key_file(settings)).ok();
            }
            fresh.making.abandon().map_err(anyhow::Error::from)?;
            Err(failure)
        }
    }
}

/// Exchanges a token for a credential.
fn exchange(
    settings: &Settings,
    (control, token): (&str, &str),
    (key, signing_key): (&BoxKey, &PublicKey),
) -> Result<Value, Failure> {
    let question = json!({
        "token": token,
        "sealed_for": proof::to_hex(&key.public().0),
        "signing_key": signing_key.to_string(),
        "program": env!("CARGO_PKG_VERSION"),
    });
    Api::without_key(control)?.trusting(settings.ca_file.clone()).post(wire::JOIN, &question)
}

/// Before a token is used up: a data plane shares its database with nobody.
async fn check_database(settings: &Settings, world: &World) -> anyhow::Result<()> {
    let Some(address) = &settings.database else { return Ok(()) };
    match Store::connect(address, founding::new_replica(world)).await {
        Err(StoreError::NotFounded { .. }) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(store) => {
            store.close().await;
            bail!(
                "{address} is in use already. A data plane shares its database with no other gateway: name an empty one."
            )
        }
    }
}

/// Adds the workspace of a token to a data plane that has joined for another one, at the same control plane.
///
/// # Errors
/// The token is of another control plane, or of a workspace that is there already; or a gateway uses the directory.
pub fn add(settings: &Settings, (control, token): (&str, &str)) -> Result<(), Failure> {
    let memberships = memberships(settings)?;
    if memberships.len() >= WORKSPACES_MAX {
        return Err(anyhow::anyhow!("a data plane serves at most {WORKSPACES_MAX} workspaces").into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let world = World::system();
    let lock = data_dir::lock(&settings.data_dir)?;
    let (store, vault) = runtime.block_on(server_state::open_vault(settings)).map_err(Failure::from)?;
    let seed = BoxKey::mint_seed(&*world.random);
    let key = BoxKey::from_seed(&seed).map_err(anyhow::Error::from)?;
    let signing_key = SigningKey::from_seed(vault.signing_seed.expose()).map_err(anyhow::Error::from)?;
    let joined = exchange(settings, (control, token), (&key, &signing_key.public()))?;
    let added = runtime.block_on(async {
        let joined = Joined::read((control, token), &seed, &joined)?;
        let added = joined.add(settings, memberships, (&store, &vault), (&key, &world)).await;
        store.close().await;
        added
    });
    drop(lock);
    added.map_err(Failure::from)
}

/// What a control plane answered to a token.
struct Joined {
    id: DataPlaneId,
    workspace: WorkspaceId,
    key_hash: String,
    membership: Membership,
}

impl Joined {
    fn read((control, token): (&str, &str), seed: &domain::Secret, joined: &Value) -> anyhow::Result<Self> {
        let text = |name| client::field(joined, name);
        let control_key: PublicKey = text("control_key")
            .parse()
            .map_err(|()| anyhow::anyhow!("{control} is not a control plane: its answer has no key"))?;
        let stated = token.rsplit_once('.').map(|(_, fingerprint)| fingerprint).unwrap_or_default();
        if stated != control_key.fingerprint() {
            bail!(
                "{control} has the key {}, and the token was made by {stated}: it is another installation, or something is \
                 between. Nothing of it is kept",
                control_key.fingerprint(),
            );
        }
        let id: DataPlaneId = text("data_plane_id").parse().context("the data plane's id can't be read")?;
        let workspace: WorkspaceId =
            text("workspace_id").parse().context("the workspace's id can't be read")?;
        let mut membership = Membership::new(control.to_owned(), seed, control_key);
        membership.data_plane_id = id.to_string();
        membership.name = text("name");
        membership.workspace_id = workspace.to_string();
        membership.credential = text("credential");
        membership.token_digest = Some(token_digest(token));
        Ok(Self { id, workspace, key_hash: text("key_hash"), membership })
    }

    async fn add(
        self,
        settings: &Settings,
        mut memberships: Vec<Membership>,
        (store, vault): (&Store, &Vault),
        (key, world): (&BoxKey, &World),
    ) -> anyhow::Result<()> {
        let Self { id, workspace, key_hash, mut membership } = self;
        let revoke = format!("revoke {id} there, and nothing of it is kept here");
        if memberships.iter().any(|known| known.control_key != membership.control_key) {
            bail!(
                "the token is from another control plane than the one that this data plane has joined: {revoke}"
            );
        }
        if let Some(known) = memberships.iter().find(|known| known.workspace_id == membership.workspace_id) {
            bail!("this data plane serves the workspace {workspace} already, as {}: {revoke}", known.name);
        }
        // All workspaces share one hash of API keys.
        if open_key_hash(key, id, &key_hash)?.expose() != vault.key_hash.expose() {
            bail!(
                "the control plane's key for hashing API keys has changed since this data plane joined: {revoke}"
            );
        }
        let founding = founding(vault, world, workspace).await?;
        match store.workspaces().get((), workspace).await {
            // An earlier process ended before it wrote the membership.
            Ok(_) => {}
            Err(StoreError::NotFound { .. }) => {
                store.workspaces().create(founding, Act::system(world)).await?;
            }
            Err(error) => return Err(error.into()),
        }
        membership.is_added = true;
        memberships.push(membership);
        Ok(Membership::write(&memberships, &settings.data_dir)?)
    }
}

impl Fresh {
    async fn make(settings: &Settings, world: &World) -> anyhow::Result<Self> {
        let making = Making::begin(&settings.data_dir)?;
        let wrap = founding::new_master_key(settings, world)?;
        let records = Vault::create(&*wrap, &*world.random).await?;
        let vault =
            Vault::open(Arc::<MasterKeyring>::clone(&wrap), &records, world, Arc::new(NoAudit)).await?;
        let signing_key = SigningKey::from_seed(vault.signing_seed.expose())?.public();
        let seed = BoxKey::mint_seed(&*world.random);
        let key = BoxKey::from_seed(&seed)?;
        Ok(Self { making, wrap, records, vault, seed, key, signing_key })
    }

    async fn finish(
        self,
        settings: &Settings,
        world: &World,
        (control, token): (&str, &str),
        joined: &Value,
    ) -> anyhow::Result<()> {
        let data_dir = settings.data_dir.display();
        let joined = Joined::read((control, token), &self.seed, joined)
            .with_context(|| format!("remove {data_dir} before you join again"))?;
        let key_hash = open_key_hash(&self.key, joined.id, &joined.key_hash)?;
        let records = self.records.with_key_hash(&*self.wrap, &key_hash).await?;
        let foundation = foundation(&self.vault, (&records, joined.id), world, joined.workspace).await?;
        let store = match &settings.database {
            None => Store::create(&self.making.database(), foundation).await?,
            Some(address) => {
                let replica = founding::new_replica(world);
                self.making.keep_replica(replica)?;
                Store::found(address, replica, foundation).await?
            }
        };
        store.close().await;
        data_dir::make_journal(&settings.data_dir)?;
        Membership::write(&[joined.membership], &settings.data_dir)?;
        Ok(self.making.finish()?)
    }
}

/// By which a data plane knows the token that it joined with. It is used up, and so is no secret.
pub fn token_digest(token: &str) -> String {
    proof::Digest::of(&[b"tidegate/data-plane-token/1\0", token.as_bytes()]).to_string()
}

/// A database with a workspace that has nothing in it.
async fn foundation(
    vault: &Vault,
    (records, id): (&VaultRecords, DataPlaneId),
    world: &World,
    workspace: WorkspaceId,
) -> anyhow::Result<Foundation> {
    let (key_id, wrapped) = vault.sealer.new_workspace_key(vault::OPERATOR).await?;
    let operator_key = WrappedKey { workspace: vault::OPERATOR, key_id, wrapped };
    let mut meta = records.to_meta();
    meta.push((OF.to_owned(), id.to_string().into_bytes()));
    let founding = founding(vault, world, workspace).await?;
    Ok(Foundation { meta, operator_key, founding, act: Act::system(world) })
}

/// A workspace with nothing in it: its control plane says what there is. Its key is made here, and never leaves.
async fn founding(vault: &Vault, world: &World, workspace: WorkspaceId) -> anyhow::Result<Founding> {
    let now = world.clock.unix_ms();
    let (key_id, wrapped) = vault.sealer.new_workspace_key(workspace).await?;
    Ok(Founding {
        workspace: WorkspaceRow {
            id: workspace,
            name: workspace.to_string(),
            caching: CachePolicy::default(),
            created_unix_ms: now,
            version: 0,
        },
        wrapped_key: WrappedKey { workspace, key_id, wrapped },
        project: ProjectRow {
            origins: String::new(),
            caching: CachePolicy::default(),
            id: ProjectId::new(now, world.id_bytes()),
            workspace,
            name: "before the first configuration".to_owned(),
            environment: "none".to_owned(),
            metadata: serde_json::Value::Null,
            created_unix_ms: now,
            version: 0,
        },
        keys: Vec::new(),
    })
}

impl DataPlane {
    /// `None` where the directory is that of a gateway with its own control plane. Configurations are applied on this
    /// runtime, over this store, as other gateways follow theirs: a revocation waits for no tenant's work.
    ///
    /// # Errors
    /// A membership, or what was applied last, can't be read; or the database is not this data plane's.
    pub async fn open(
        settings: &Settings,
        store: &Store,
        (world, egress): (&World, egress::EgressSettings),
        tasks: &mut TaskSet,
    ) -> anyhow::Result<Option<Self>> {
        let memberships = memberships(settings)?;
        let Some(first) = memberships.first() else { return Ok(None) };
        let owner = owner(store).await?;
        if settings.database.is_some() && owner.as_ref() != Some(&first.data_plane_id) {
            let owner =
                owner.map_or_else(|| "another gateway".to_owned(), |id| format!("the data plane {id}"));
            bail!("TIDEGATE_DATABASE_URL is the database of {owner}, and not of {}", first.data_plane_id);
        }
        // Its operator named the control plane, which may be in the same network.
        let egress = Arc::new(egress::EgressSettings { allow_private: true, ..egress });
        let control = first.control.clone();
        let mut workspaces = Vec::with_capacity(memberships.len());
        for membership in memberships {
            workspaces.push(JoinedWorkspace::open(membership, store, (world, &egress), tasks).await?);
        }
        let standing = |joined: &JoinedWorkspace| (joined.workspace, Arc::clone(&joined.standing));
        let standings =
            Arc::new(Standings { control, by_workspace: workspaces.iter().map(standing).collect() });
        let days = settings.records_keep_days.map(|days| Duration::from_secs(days.saturating_mul(DAY_S)));
        let kept = days.map_or(DELIVERED_KEPT, |kept| kept.min(DELIVERED_KEPT));
        let outbox =
            Outbox::open(store, workspaces.iter().map(|joined| joined.workspace), (world, kept)).await?;
        Ok(Some(Self { workspaces, standings, outbox, store: store.clone(), runtime: Handle::current() }))
    }

    /// The address of its control plane.
    pub fn control(&self) -> &str {
        &self.standings.control
    }

    pub fn sink(&self) -> Arc<dyn RecordSink> {
        Arc::clone(&self.outbox) as _
    }

    /// Call it once the journal of the last run is recovered.
    pub async fn centre(&self, store: &Store, world: &World) -> Result<Arc<dyn LeaseCentre>, StoreError> {
        let workspaces =
            self.workspaces.iter().map(|joined| (joined.workspace, joined.link.clone())).collect();
        let centre = RemoteCentre::open(workspaces, (Arc::clone(&self.outbox), store.clone()), world).await?;
        Ok(centre)
    }

    /// Among how many gateways rate limits are shared, as it was heard last.
    pub async fn sharers(&self, store: &Store) -> Result<u64, StoreError> {
        RemoteCentre::kept_replicas(store).await
    }

    pub fn source(&self, store: &Store) -> Arc<dyn Source> {
        ClosingSource::new(store.source(), Arc::clone(&self.standings))
    }

    /// Returns once requests are served with what is applied: before that every key would be unknown.
    async fn await_published(&self, deps: &Deps) -> anyhow::Result<()> {
        let mut published = deps.keeper.subscribe();
        deps.keeper.await_version(deps.store.feed().version().await?).await?;
        while deps.keeper.current().data_plane() != Some(&self.standings.facts()) {
            published.changed().await?;
        }
        Ok(())
    }

    /// Has the first configuration, and starts to follow it and to deliver.
    ///
    /// # Errors
    /// There is no configuration of any workspace yet, and the control plane gives none.
    pub async fn start(&self, deps: &Deps, data_dir: &Path, tasks: &mut TaskSet) -> anyhow::Result<()> {
        let (mut followers, mut failed) = (Vec::with_capacity(self.workspaces.len()), Vec::new());
        for joined in &self.workspaces {
            let follower = Follower::new(joined.parts(self, deps))
                .await
                .with_context(|| format!("can't use {}", Membership::file(data_dir).display()))?;
            if let Err(why) = follower.first().await {
                tracing::warn!(workspace = %joined.workspace, why, "there is no configuration of a workspace yet");
                failed.push(why);
            }
            followers.push(follower);
        }
        if let (true, Some(why)) = (failed.len() == self.workspaces.len(), failed.first()) {
            bail!("there is no configuration to serve with yet: {why}");
        }
        self.await_published(deps).await?;
        let following = async {
            for follower in followers {
                tasks.spawn("configuration of the control plane", Arc::clone(&follower).follow());
                tasks.spawn("records to the control plane", Arc::clone(&follower).deliver_records());
                tasks.spawn("evidence to the control plane", follower.deliver_evidence());
            }
            tasks.spawn("delivered records", Arc::clone(&self.outbox).tidy());
        };
        tasks::on(&self.runtime, following).await;
        Ok(())
    }
}

impl JoinedWorkspace {
    async fn open(
        membership: Membership,
        store: &Store,
        (world, egress): (&World, &Arc<egress::EgressSettings>),
        tasks: &mut TaskSet,
    ) -> anyhow::Result<Self> {
        let workspace = membership.workspace()?;
        let (link, thread) = Link::start(&membership, Arc::clone(egress))?;
        let closing = link.clone();
        tasks.add("control link", || async move {
            closing.stop().await;
            if let Ok(Err(_)) = tasks::blocking(move || thread.join()).await {
                tracing::error!("the link to the control plane ended by a panic");
            }
        });
        let standing = Standing::kept(&membership, store, world).await?;
        Ok(Self { workspace, membership, link, standing })
    }

    fn parts(&self, plane: &DataPlane, deps: &Deps) -> FollowerParts {
        FollowerParts {
            membership: self.membership.clone(),
            link: self.link.clone(),
            store: plane.store.clone(),
            vault: deps.vault.clone(),
            auditor: Arc::clone(&deps.auditor),
            outbox: Arc::clone(&plane.outbox),
            standing: Arc::clone(&self.standing),
            world: deps.world.clone(),
        }
    }
}
