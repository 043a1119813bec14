//! A gateway that is the data plane of a control plane elsewhere: how it joins, and what it is composed of beside the usual.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use cli::api::{self as client, Api};
use cli::output::Failure;
use dataplane::{
    ClosingSource, Follower, FollowerParts, Link, Membership, Outbox, RemoteCentre, Standing, open_key_hash,
    wire,
};
use domain::ports::NoAudit;
use domain::{CachePolicy, DataPlaneId, ProjectId, WorkspaceId};
use ledger::{LeaseCentre, RecordSink};
use proof::{PublicKey, SigningKey};
use reconcilers::Deps;
use serde_json::json;
use snapshot::{Source, WrappedKey};
use store::datadir::Making;
use store::{Act, Foundation, Founding, ProjectRow, Store, StoreError, WorkspaceRow};
use tasks::TaskSet;
use vault::{BoxKey, MasterKeyring, Vault, VaultRecords};
use world::World;

use crate::settings::Settings;
use crate::{data_dir, founding};

/// What a data plane has beside the parts of every gateway.
pub struct DataPlane {
    pub membership: Membership,
    pub outbox: Arc<Outbox>,
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

/// Whether the directory is that of a data plane.
///
/// # Errors
/// The file that says so can't be read.
pub fn membership(settings: &Settings) -> anyhow::Result<Option<Membership>> {
    let found = Membership::read(&settings.data_dir)
        .with_context(|| format!("can't read {}", Membership::file(&settings.data_dir).display()))?;
    if found.is_some() && settings.database.is_some() {
        bail!("a data plane has its database in its data directory: leave TIDEGATE_DATABASE_URL out");
    }
    Ok(found)
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
    let fresh = runtime.block_on(Fresh::make(settings, &world)).map_err(Failure::from)?;
    let question = json!({
        "token": token,
        "sealed_for": proof::to_hex(&fresh.key.public().0),
        "signing_key": fresh.signing_key.to_string(),
        "program": env!("CARGO_PKG_VERSION"),
    });
    let api = Api::without_key(control)?.trusting(settings.ca_file.clone());
    match api.post(wire::JOIN, &question) {
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
        joined: &serde_json::Value,
    ) -> anyhow::Result<()> {
        let text = |name| client::field(joined, name);
        let control_key: PublicKey = text("control_key")
            .parse()
            .map_err(|()| anyhow::anyhow!("{control} is no control plane: its answer has no key"))?;
        let stated = token.rsplit_once('.').map(|(_, fingerprint)| fingerprint).unwrap_or_default();
        if stated != control_key.fingerprint() {
            bail!(
                "{control} has the key {}, and the token was made by {stated}: it is another installation, or something is \
                 between. Nothing is kept; remove {} before you join again",
                control_key.fingerprint(),
                settings.data_dir.display()
            );
        }
        let id: DataPlaneId = text("data_plane_id").parse().context("the data plane's id can't be read")?;
        let workspace: WorkspaceId =
            text("workspace_id").parse().context("the workspace's id can't be read")?;
        let key_hash = open_key_hash(&self.key, id, &text("key_hash"))?;
        let records = self.records.with_key_hash(&*self.wrap, &key_hash).await?;
        let foundation = foundation(&self.vault, &records, world, workspace).await?;
        let store = Store::create(&self.making.database(), foundation).await?;
        store.close().await;
        data_dir::make_journal(&settings.data_dir)?;
        let mut membership = Membership::new(control.to_owned(), &self.seed, control_key);
        membership.data_plane_id = id.to_string();
        membership.name = text("name");
        membership.workspace_id = workspace.to_string();
        membership.credential = text("credential");
        membership.token_digest = Some(token_digest(token));
        membership.write(&settings.data_dir)?;
        Ok(self.making.finish()?)
    }
}

/// By which a data plane knows the token that it joined with. It is used up, and so is no secret.
pub fn token_digest(token: &str) -> String {
    proof::Digest::of(&[b"tidegate/data-plane-token/1\0", token.as_bytes()]).to_string()
}

/// The workspace with nothing in it: its control plane says what there is. Its key is made here, and never leaves.
async fn foundation(
    vault: &Vault,
    records: &VaultRecords,
    world: &World,
    workspace: WorkspaceId,
) -> anyhow::Result<Foundation> {
    let now = world.clock.unix_ms();
    let (key_id, wrapped) = vault.sealer.new_workspace_key(vault::OPERATOR).await?;
    let operator_key = WrappedKey { workspace: vault::OPERATOR, key_id, wrapped };
    let (key_id, wrapped) = vault.sealer.new_workspace_key(workspace).await?;
    let founding = Founding {
        workspace: WorkspaceRow {
            id: workspace,
            name: workspace.to_string(),
            caching: CachePolicy::default(),
            created_unix_ms: now,
            version: 0,
        },
        wrapped_key: WrappedKey { workspace, key_id, wrapped },
        project: ProjectRow {
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
    };
    Ok(Foundation { meta: records.to_meta(), operator_key, founding, act: Act::system(world) })
}

impl DataPlane {
    /// `None` where the directory is that of a gateway with a control plane of its own.
    ///
    /// # Errors
    /// The membership, or what was applied last, can't be read.
    pub async fn open(
        settings: &Settings,
        store: &Store,
        (world, egress): (&World, egress::EgressSettings),
        tasks: &mut TaskSet,
    ) -> anyhow::Result<Option<Self>> {
        let Some(membership) = membership(settings)? else { return Ok(None) };
        // Its operator named the control plane, which may be in the same network.
        let egress = egress::EgressSettings { allow_private: true, ..egress };
        let (link, thread) = Link::start(&membership, Arc::new(egress))?;
        let closing = link.clone();
        tasks.add("control link", || async move {
            closing.stop().await;
            if let Ok(Err(_)) = tasks::blocking(move || thread.join()).await {
                tracing::error!("the link to the control plane ended by a panic");
            }
        });
        let standing = Standing::kept(store, world).await?;
        Ok(Some(Self { membership, outbox: Outbox::new(store), link, standing }))
    }

    #[must_use]
    pub fn sink(&self) -> Arc<dyn RecordSink> {
        Arc::clone(&self.outbox) as _
    }

    #[must_use]
    pub fn centre(&self, store: &Store, world: &World) -> Arc<dyn LeaseCentre> {
        RemoteCentre::new(self.link.clone(), (Arc::clone(&self.outbox), store.clone()), world)
    }

    /// Among how many gateways rate limits are shared, as it was heard last.
    ///
    /// # Errors
    /// Of the store.
    pub async fn sharers(&self, store: &Store) -> Result<u64, StoreError> {
        RemoteCentre::kept_replicas(store).await
    }

    #[must_use]
    pub fn source(&self, store: &Store) -> Arc<dyn Source> {
        ClosingSource::new(store.source(), Arc::clone(&self.standing))
    }

    /// Returns once requests are served with what is applied: before that every key would be unknown.
    async fn await_published(&self, deps: &Deps) -> anyhow::Result<()> {
        let mut published = deps.keeper.subscribe();
        deps.keeper.await_version(deps.store.feed().version().await?).await?;
        while self.standing.closed() != deps.keeper.current().closed() {
            published.changed().await?;
        }
        Ok(())
    }

    /// Has the first configuration, and starts to follow it and to deliver.
    ///
    /// # Errors
    /// There is no configuration yet, and the control plane gives none.
    pub async fn start(&self, deps: &Deps, data_dir: &Path, tasks: &mut TaskSet) -> anyhow::Result<()> {
        let parts = FollowerParts {
            membership: self.membership.clone(),
            link: self.link.clone(),
            store: deps.store.clone(),
            vault: deps.vault.clone(),
            auditor: Arc::clone(&deps.auditor),
            outbox: Arc::clone(&self.outbox),
            standing: Arc::clone(&self.standing),
            world: deps.world.clone(),
        };
        let follower = Follower::new(parts)
            .await
            .with_context(|| format!("can't use {}", Membership::file(data_dir).display()))?;
        let first = follower.first().await;
        first.map_err(|why| anyhow::anyhow!("there is no configuration to serve with yet: {why}"))?;
        self.await_published(deps).await?;
        tasks.spawn("configuration of the control plane", Arc::clone(&follower).follow());
        tasks.spawn("records to the control plane", Arc::clone(&follower).deliver_records());
        tasks.spawn("evidence to the control plane", follower.deliver_evidence());
        Ok(())
    }
}
