//! The composition of a serving process: what is opened in which order, and how it is closed.

use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use catalogue::Catalogue;
use domain::ports::{
    AnswerStore, AuditSink, ContentStore, KeyHash, NoAudit, ObjectStore, ResponseStore, SessionStore,
    TurnStore,
};
use domain::purge::{Purgeable, Remembers};
use domain::{AgentStore, BatchStore, FileStore, FlowStore, TaskStore, ToolStore};
use egress::EgressSettings;
use evidence::Auditor;
use files::Files;
use gateway::Readiness;
use ledger::{
    CoreAllowances, Drainer, Durability, Journal, JournalDamage, JournalSettings, JournalShared, LeaseClient,
    LimitState, RecordSink, RecoveryReport,
};
use proof::{PublicKey, SigningKey};
use reconcilers::purging::HeldPrompts;
use reconcilers::{AuditQueue, Deps, Outbound};
use sessions::{
    AgentState, Answers, AnswersSettings, Batches, Contents, Objects, Responses, RunTasks, SessionLookups,
    SpoolSettings, Turns,
};
use snapshot::{BeforePublish, Change, Keeper, KeeperSettings, KeyChange, Source};
use store::datadir::DataDir;
use store::{ReplicaId, Store};
use tasks::{Task, TaskSet};
use tokio::runtime::Handle;
use vault::{KeyUpdate, MasterKeyring, MasterState, Opener, Vault, VaultRecords};
use world::World;

use crate::data_plane::DataPlane;
use crate::settings::Settings;
use crate::upkeep::{self, KeepDays};
use crate::{data_dir, founding};

/// The configuration is polled at least this often, even without the change feed: a write of another process
/// takes effect within a second.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// How soon a data plane asks for leases again that its control plane did not give.
const LEASES_AGAIN: Duration = Duration::from_secs(1);

/// After this time without the database, readiness reports degraded.
const DRAIN_DEGRADED_AFTER: Duration = Duration::from_secs(60);

/// The process-wide state that all cores share.
pub struct ServerState {
    pub world: World,
    pub workers: usize,
    /// The id of this process among those on the same database.
    pub replica: ReplicaId,
    pub store: Store,
    pub keeper: Arc<Keeper>,
    pub secrets: Secrets,
    pub upstreams: Upstreams,
    pub sessions: Sessions,
    /// The files of projects.
    pub files: Arc<Files>,
    pub books: Books,
    /// Set on a data plane.
    pub plane: Option<DataPlane>,
    /// Held for the life of the process.
    _lock: File,
}

/// The vault, and the master keys that open it.
pub struct Secrets {
    pub vault: Vault,
    pub masters: Arc<MasterKeyring>,
}

/// What the cores learn of providers, and how they reach them.
pub struct Upstreams {
    pub egress: Arc<EgressSettings>,
    pub board: Arc<board::Shared>,
    ratios: Arc<estimates::Ratios>,
    tokens: Arc<execute::SharedTokens>,
}

/// The stores of what outlives a request.
pub struct Sessions {
    pub answers: Arc<Answers>,
    /// Answers that are given again to the same request.
    pub cached: Arc<line::ResponseMemory>,
    /// Answers that are made in the background.
    background: Arc<line::Background>,
    turns: Arc<Turns>,
    responses: Arc<Responses>,
    objects: Arc<Objects>,
    lookups: Arc<SessionLookups>,
    batches: Arc<Batches>,
    /// Runs of apps.
    pub tasks: Arc<RunTasks>,
    /// Those that this process works on.
    pub live_tasks: Arc<line::LiveTasks>,
    contents: Arc<Contents>,
    state: Arc<AgentState>,
    tools: Arc<tools::ToolBox>,
    agents: Arc<agents::AgentBook>,
    flows: Arc<reconcilers::FlowBook>,
}

/// The journal, and what brings its records into the store.
pub struct Books {
    pub recovered: RecoveryReport,
    /// Damage of journals that was noted, now or earlier, and that the operator has not removed.
    pub damage: Vec<JournalDamage>,
    /// Limits and budgets.
    pub allowances: Arc<LimitState>,
    journal: Arc<JournalShared>,
    dir: PathBuf,
    settings: JournalSettings,
    drainer: Arc<Drainer>,
}

/// The books of the last run, closed: nothing that it leased is needed any more.
struct RecoveredBooks {
    dir: PathBuf,
    report: RecoveryReport,
    damage: Vec<JournalDamage>,
    allowances: Arc<LimitState>,
    leases: Arc<LeaseClient>,
    sink: Arc<dyn RecordSink>,
    /// Whether the leases of an earlier life are still to be given back: the control plane of a data plane may be away.
    must_begin: bool,
}

impl ServerState {
    /// Opens an initialised data directory: unseals the vault, recovers the ledger from the journal, compiles
    /// the configuration. Tabs that a dead process left open are closed before this returns. Each part
    /// registers its end with `tasks`: the store ends last, because the others write to it until they end.
    /// The tasks that follow the configuration, lease and drain are on this runtime and have separate connections; the other
    /// tasks are on `control`.
    ///
    /// # Errors
    /// Another process has the directory, the master key is a different one, or a file can't be used.
    pub async fn open(
        settings: &Settings,
        world: World,
        control: &Handle,
        tasks: &mut TaskSet,
    ) -> anyhow::Result<Arc<Self>> {
        if store::datadir::inspect(&settings.data_dir)? == DataDir::Empty {
            anyhow::bail!("{} is empty: `tidegate init` makes it", settings.data_dir.display());
        }
        let lock = data_dir::lock(&settings.data_dir)?;
        let store = data_dir::open_store(settings).await?;
        let vital = store.apart();
        let closing = (vital.clone(), store.clone());
        // Tasks of the control plane's runtime hold connections, and give none back while its thread is held up.
        tasks::on(control, async { tasks.add("store", || close(closing)) }).await;
        store.audit().link_all().await?;
        let audit = AuditQueue::start(store.clone(), world.clone());
        let sink = Arc::clone(&audit) as Arc<dyn AuditSink>;
        tasks.add("audit", || async move { audit.stop().await });
        let last_counts = upkeep::count_last(store.clone(), world.clone(), settings.data_dir.clone());
        tasks.add("audit counts", || last_counts);
        let counted = (store.clone(), world.clone(), settings.data_dir.clone());
        let counting = async { tasks.add_task(upkeep::start_counting(counted.0, counted.1, counted.2)) };
        tasks::on(control, counting).await;
        let secrets = unseal(settings, &store, &world, sink).await?;
        let plane = DataPlane::open(settings, &vital, (&world, outbound(settings)?), tasks).await?;
        let recovered = RecoveredBooks::recover(settings, &vital, &world, plane.as_ref()).await?;
        let replica = store::datadir::replica(&settings.data_dir)?.unwrap_or(ReplicaId::ALONE);
        evidence::audit_emergency(&store, &world, &replica.to_string(), settings.emergency).await?;
        let source = plane.as_ref().map_or_else(|| vital.source(), |plane| plane.source(&vital));
        let keeper = follow(settings, source, &secrets.vault).await?;
        let closing = Arc::clone(&keeper);
        tasks.add("configuration", || async move { closing.stop() });
        let kept = AnswersSettings { body_bytes_max: settings.answer_bytes_max, holder: replica };
        let dir = settings.data_dir.join(store::datadir::TASKS_DIR);
        // Who wants records synced wants to find an answered task after a power failure, too.
        let spool = SpoolSettings { dir, is_on: !settings.durability_synced };
        let sessions = Sessions::start(&store, &secrets.vault, &world, (kept, spool), tasks);
        let sessions = tasks::on(control, sessions).await?;
        let books = Books::start(recovered, settings, &world, tasks)?;
        let keep = KeepDays { records: settings.records_keep_days, minutes: settings.minutes_keep_days };
        let upkeep = async { tasks.add_task(upkeep::start(store.clone(), world.clone(), keep)) };
        tasks::on(control, upkeep).await;
        let upstreams = Upstreams {
            egress: Arc::new(outbound(settings)?),
            board: board::Shared::among(books.allowances.live_replicas()),
            ratios: Arc::default(),
            tokens: Arc::default(),
        };
        let files =
            async { start_files(settings, (&store, &secrets.vault, &world), &upstreams.egress, tasks) };
        let files = tasks::on(control, files).await?;
        let workers = settings.workers;
        Ok(Arc::new(Self {
            world,
            workers,
            replica,
            store,
            keeper,
            secrets,
            upstreams,
            sessions,
            files,
            books,
            plane,
            _lock: lock,
        }))
    }

    /// What the control plane and its reconcilers work with.
    ///
    /// # Errors
    /// The vault has no key to sign the audit with.
    pub fn deps(&self, outbound: Arc<dyn Outbound>) -> anyhow::Result<Deps> {
        let auditor = Auditor::new(self.store.clone(), &self.secrets.vault, self.world.clone());
        let records = self.plane.as_ref().map_or_else(|| self.store.record_sink(), DataPlane::sink);
        Ok(Deps {
            store: self.store.clone(),
            records,
            keeper: Arc::clone(&self.keeper),
            vault: self.secrets.vault.clone(),
            masters: Arc::clone(&self.secrets.masters),
            auditor: Arc::new(auditor?),
            board: Arc::clone(&self.upstreams.board),
            outbound,
            mail: None,
            tasks: Arc::clone(&self.sessions.tasks) as Arc<dyn TaskStore>,
            flows: Arc::default(),
            world: self.world.clone(),
            replica: self.replica.to_string(),
        })
    }

    /// The places of this process that hold content.
    pub fn places(&self) -> Vec<Arc<dyn Purgeable>> {
        let mut places = self.sessions.places();
        places.push(Arc::clone(&self.files) as _);
        places.push(Arc::new(flowruns::StoredRuns::of(&self.store)) as _);
        places
    }

    /// What this process remembers of content, and forgets when another one purges it.
    pub fn memories(&self) -> Vec<Arc<dyn Remembers>> {
        let prompts = Arc::new(HeldPrompts(Arc::clone(&self.upstreams.board)));
        vec![Arc::clone(&self.sessions.turns) as _, Arc::clone(&self.sessions.cached) as _, prompts]
    }

    /// The state of one core. Called on the core's own thread, inside its `LocalSet`.
    ///
    /// # Errors
    /// The journal can't be written, or the extra root certificates can't be read.
    pub fn core(&self, number: u32) -> anyhow::Result<Rc<line::Core>> {
        let journal = Journal::open(
            &self.books.dir,
            number,
            self.world.clone(),
            self.books.settings,
            Arc::clone(&self.books.journal),
        )
        .with_context(|| format!("the journal of core {number} can't be opened"))?;
        let cores = u32::try_from(self.workers).unwrap_or(u32::MAX);
        let deps = execute::Deps {
            world: self.world.clone(),
            egress: Rc::new(egress::Client::new(Arc::clone(&self.upstreams.egress))?),
            opener: Arc::clone(&self.secrets.vault.opener),
            board: board::Cell::new(Arc::clone(&self.upstreams.board), cores),
            timers: Rc::default(),
            estimates: Rc::new(estimates::Estimator::new(Arc::clone(&self.upstreams.ratios))),
            tokens: Rc::new(execute::Tokens::new(Arc::clone(&self.upstreams.tokens))),
            turns: Arc::clone(&self.sessions.turns) as Arc<dyn TurnStore>,
            responses: Arc::clone(&self.sessions.responses) as Arc<dyn ResponseStore>,
            objects: Arc::clone(&self.sessions.objects) as Arc<dyn ObjectStore>,
        };
        let counters = Rc::new(line::Counters::default());
        let answers = Arc::clone(&self.sessions.answers) as Arc<dyn AnswerStore>;
        let allowances = CoreAllowances::new(Arc::clone(&self.books.allowances));
        let snapshot = self.keeper.reader();
        let cached = Arc::clone(&self.sessions.cached);
        Ok(Rc::new(line::Core {
            number,
            snapshot,
            deps,
            journal,
            allowances,
            counters,
            answers,
            cached,
            overload: Rc::default(),
            in_background: Default::default(),
            background: Arc::clone(&self.sessions.background),
            sessions: Arc::clone(&self.sessions.lookups) as Arc<dyn SessionStore>,
            contents: Arc::clone(&self.sessions.contents) as Arc<dyn ContentStore>,
            batches: Arc::clone(&self.sessions.batches) as Arc<dyn BatchStore>,
            tasks: Arc::clone(&self.sessions.tasks) as Arc<dyn TaskStore>,
            apps: run::APPS,
            live_tasks: Arc::clone(&self.sessions.live_tasks),
            files: Arc::clone(&self.files) as Arc<dyn FileStore>,
            tools: Arc::clone(&self.sessions.tools) as Arc<dyn ToolStore>,
            agents: Arc::clone(&self.sessions.agents) as Arc<dyn AgentStore>,
            flows: Arc::clone(&self.sessions.flows) as Arc<dyn FlowStore>,
        }))
    }

    /// The process can serve as long as it can write its journal. If the database takes no records, it serves
    /// on and is degraded: another replica could do no better, and nothing is lost meanwhile.
    pub fn readiness(&self) -> Readiness {
        let failing = self.books.drainer.failing_for();
        if self.books.journal.is_failing() {
            Readiness::Not("the journal can't be written".to_owned())
        } else if failing >= DRAIN_DEGRADED_AFTER {
            let seconds = failing.as_secs();
            Readiness::Degraded(format!("the database has taken no record for {seconds} s; see the log"))
        } else {
            self.books.damage_readiness(&self.world)
        }
    }

    /// The readiness, for those who see it on a page.
    pub fn degraded(self: &Arc<Self>) -> Box<dyn Fn() -> Option<String> + Send + Sync> {
        let state = Arc::clone(self);
        Box::new(move || match state.readiness() {
            Readiness::Ready => None,
            Readiness::Degraded(reason) | Readiness::Not(reason) => Some(reason),
        })
    }
}

impl RecoveredBooks {
    async fn recover(
        settings: &Settings,
        store: &Store,
        world: &World,
        plane: Option<&DataPlane>,
    ) -> anyhow::Result<Self> {
        evidence::floor::keep(&settings.data_dir, store, world).await;
        let dir = data_dir::make_journal(&settings.data_dir)?;
        let sink = plane.map_or_else(|| store.record_sink(), DataPlane::sink);
        let report = ledger::recover(&dir, world, &*sink).await?;
        let damage = ledger::damage_notes(&*world.disk, &dir)?;
        let allowances: Arc<LimitState> = Arc::default();
        let centre = match plane {
            Some(plane) => plane.centre(store, world).await?,
            None => store.lease_centre(),
        };
        if let Some(plane) = plane {
            allowances.set_replicas(plane.sharers(store).await?);
        }
        let leases = LeaseClient::new(Arc::clone(&allowances), centre, world.clone());
        let must_begin = plane.is_some();
        if !must_begin {
            leases.begin().await?;
        }
        Ok(Self { dir, report, damage, allowances, leases, sink, must_begin })
    }
}

impl Books {
    /// Starts the journal's threads, and the tasks that drain it and lease budgets.
    fn start(
        recovered: RecoveredBooks,
        settings: &Settings,
        world: &World,
        tasks: &mut TaskSet,
    ) -> anyhow::Result<Self> {
        let RecoveredBooks { dir, report, damage, allowances, leases, sink, must_begin } = recovered;
        let durability = if settings.durability_synced { Durability::Synced } else { Durability::Written };
        let settings = JournalSettings { durability, ..JournalSettings::default() };
        let journal = JournalShared::start(world, settings)?;
        damage.iter().for_each(|damage| journal.count_damage(damage));
        let closing = Arc::clone(&journal);
        tasks.add("journal", || async move { closing.stop() });
        let drainer = Drainer::new(Arc::clone(&journal), sink);
        let (drains, renews) = (Arc::clone(&drainer), Arc::clone(&leases));
        let draining = Task::spawn("drain", async move { drains.run().await });
        let leasing = Task::spawn("leases", async move {
            while must_begin && let Err(error) = renews.begin().await {
                tracing::debug!(%error, "what an earlier process leased can't be given back yet");
                tokio::time::sleep(LEASES_AGAIN).await;
            }
            renews.run().await;
        });
        let last = Arc::clone(&drainer);
        tasks.add("ledger", || drain((last, draining), (leases, leasing)));
        Ok(Self { recovered: report, damage, allowances, journal, dir, settings, drainer })
    }
}

impl Books {
    /// Neither a damaged journal nor an older database keeps anybody from serving. Degraded until the notes are removed.
    fn damage_readiness(&self, world: &World) -> Readiness {
        if let Some((found, _)) = self.dir.parent().and_then(evidence::floor::rolled_back) {
            return Readiness::Degraded(format!("{found}; `tidegate doctor` says more"));
        }
        if self.journal.damage_counts().0 == 0 {
            return Readiness::Ready;
        }
        match ledger::damage_notes(&*world.disk, &self.dir) {
            Ok(notes) if notes.is_empty() => Readiness::Ready,
            Ok(notes) => {
                let missing: u64 = notes.iter().map(|damage| damage.records_missing).sum();
                Readiness::Degraded(format!(
                    "the journal was damaged and {missing} records are known to be missing; `tidegate doctor` says more"
                ))
            }
            Err(error) => {
                Readiness::Degraded(format!("the journal was damaged, and its notes can't be read: {error}"))
            }
        }
    }
}

/// Closes both handles on the store, the one that follows the configuration first.
async fn close((vital, store): (Store, Store)) {
    vital.close().await;
    store.close().await;
}

/// Drains settled records after the last core has ended, and gives the leases back.
async fn drain((drainer, draining): (Arc<Drainer>, Task), (leases, leasing): (Arc<LeaseClient>, Task)) {
    drainer.stop();
    let drained = drainer.drain_all().await;
    leasing.stop();
    match drained {
        Ok(_) => leases.close().await,
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the journal was not drained; the next start does it, and gives the leases back"
        ),
    }
    draining.stop();
}

impl Sessions {
    fn places(&self) -> Vec<Arc<dyn Purgeable>> {
        let answers = Arc::clone(&self.answers) as Arc<dyn Purgeable>;
        vec![
            answers,
            Arc::clone(&self.turns) as _,
            Arc::clone(&self.state) as _,
            Arc::clone(&self.batches) as _,
            Arc::clone(&self.tasks) as _,
            Arc::clone(&self.contents) as _,
            Arc::clone(&self.cached) as _,
        ]
    }

    async fn start(
        store: &Store,
        vault: &Vault,
        world: &World,
        (kept, spool): (AnswersSettings, SpoolSettings),
        tasks: &mut TaskSet,
    ) -> anyhow::Result<Self> {
        let poll = Box::new(reconcilers::polling_job_of);
        let objects = Objects::start(store.clone(), vault.clone(), world.clone(), poll);
        let closing = Arc::clone(&objects);
        tasks.add("objects", || async move { closing.stop().await });
        let poll = reconcilers::response_polling_job_of;
        let responses = Responses::start(store.clone(), vault.clone(), world.clone(), poll);
        let closing = Arc::clone(&responses);
        tasks.add("responses", || async move { closing.stop().await });
        let lookups = SessionLookups::start(store.clone(), vault.clone(), world.clone());
        let closing = Arc::clone(&lookups);
        tasks.add("session lookups", || async move { closing.stop().await });
        let batches = Batches::start(store, vault.clone(), world.clone(), reconcilers::batch_jobs_of);
        let closing = Arc::clone(&batches);
        tasks.add("batches", || async move { closing.stop().await });
        let tell = reconcilers::task_webhook_job_of;
        let dir = spool.dir.clone();
        let run_tasks = RunTasks::start(store, vault.clone(), world.clone(), tell, spool)
            .with_context(|| format!("can't use the directory of finished tasks, {}", dir.display()))?;
        let closing = Arc::clone(&run_tasks);
        tasks.add("tasks", || async move { closing.stop().await });
        let contents = Contents::start(store, vault.clone(), world.clone());
        let closing = Arc::clone(&contents);
        tasks.add("contents", || async move { closing.stop().await });
        let (tools, agents, flows) = start_declared(store, vault, world, tasks);
        let state = Arc::new(AgentState(store.clone()));
        let turns = Turns::start(store.clone(), vault.clone(), world.clone());
        let closing = Arc::clone(&turns);
        tasks.add("turns", || async move { closing.stop().await });
        let answers = Answers::start(store.clone(), vault.clone(), world.clone(), kept).await?;
        let closing = Arc::clone(&answers);
        tasks.add("answers", || async move { closing.stop().await });
        Ok(Self {
            answers,
            turns,
            responses,
            objects,
            lookups,
            batches,
            tasks: run_tasks,
            live_tasks: Arc::default(),
            contents,
            state,
            flows,
            tools,
            agents,
            cached: Arc::default(),
            background: Arc::default(),
        })
    }
}

/// Starts to keep files.
fn start_files(
    settings: &Settings,
    (store, vault, world): (&Store, &Vault, &World),
    egress: &Arc<EgressSettings>,
    tasks: &mut TaskSet,
) -> anyhow::Result<Arc<Files>> {
    let kept = settings.files.clone();
    let files = Files::start(store, vault.clone(), world.clone(), egress, kept)?;
    let closing = Arc::clone(&files);
    tasks.add("files", || async move { closing.stop().await });
    Ok(files)
}

/// Starts to follow the configuration.
async fn follow(settings: &Settings, source: Arc<dyn Source>, vault: &Vault) -> anyhow::Result<Arc<Keeper>> {
    let settings = KeeperSettings {
        catalogue: Arc::new(read_catalogue(settings)?),
        key_hash: Arc::clone(&vault.hasher) as Arc<dyn KeyHash>,
        before_publish: key_update_hook(Arc::clone(&vault.opener)),
        poll_every: POLL_EVERY,
    };
    Ok(Keeper::start(source, settings).await?)
}

async fn unseal(
    settings: &Settings,
    store: &Store,
    world: &World,
    audit: Arc<dyn AuditSink>,
) -> anyhow::Result<Secrets> {
    let masters = founding::master_keys(settings, world)?;
    let facts = store.meta().starting_with(vault::META_PREFIX.to_owned()).await?;
    let records = VaultRecords::from_meta(&facts)?;
    let state = MasterState::from_meta(&facts);
    let given = masters.held_ids();
    masters.follow(state.clone());
    let held = masters.held_ids();
    if !held.contains(&state.current) {
        let (given, wanted) = (given.join(", "), state.current);
        return Err(vault::VaultError::WrongMasterKey { given, wanted }.into());
    }
    if !state.is_served_by(&held) {
        let next = state.next.unwrap_or_default();
        anyhow::bail!(
            "the master key is being replaced by {next}, which this gateway does not have: give it both keys, until \
             `tidegate vault status` says that the change is over"
        );
    }
    let vault = Vault::open(Arc::<MasterKeyring>::clone(&masters), &records, world, audit).await?;
    Ok(Secrets { vault, masters })
}

/// Checks that the master key is the one that sealed this directory's secrets.
///
/// # Errors
/// It is a different one, or the directory is not an installation.
pub async fn unseals(settings: &Settings) -> anyhow::Result<()> {
    opened(settings).await.map(|_| ())
}

/// The key that verifies what this installation signs.
///
/// # Errors
/// The directory is not an installation, or the master key is missing or a different one.
pub async fn public_key(settings: &Settings) -> anyhow::Result<PublicKey> {
    let seed = opened(settings).await?.signing_seed;
    Ok(SigningKey::from_seed(seed.expose())?.public())
}

async fn opened(settings: &Settings) -> anyhow::Result<Vault> {
    let (store, vault) = open_vault(settings).await?;
    store.close().await;
    Ok(vault)
}

/// The store of a directory that no gateway uses, and the vault that opens its secrets.
///
/// # Errors
/// The directory is not an installation, or the master key is missing or a different one.
pub async fn open_vault(settings: &Settings) -> anyhow::Result<(Store, Vault)> {
    let store = data_dir::open_store(settings).await?;
    match unseal(settings, &store, &World::system(), Arc::new(NoAudit)).await {
        Ok(secrets) => Ok((store, secrets.vault)),
        Err(error) => {
            store.close().await;
            Err(error)
        }
    }
}

/// A link that signs in the first owner; works while a gateway serves this directory.
///
/// # Errors
/// The directory is not an installation, or the master key is a different one.
pub async fn owners_link(settings: &Settings) -> anyhow::Result<String> {
    let world = World::system();
    let store = Store::open(&data_dir::database(&settings.data_dir)).await?;
    let Secrets { vault, .. } = unseal(settings, &store, &world, Arc::new(NoAudit)).await?;
    let path = control::owners_link(&store, &vault, &world, control::OWNER_EMAIL).await?;
    store.close().await;
    Ok(path)
}

/// What projects declare, as the cores read it.
fn start_declared(
    store: &Store,
    vault: &Vault,
    world: &World,
    tasks: &mut TaskSet,
) -> (Arc<tools::ToolBox>, Arc<agents::AgentBook>, Arc<reconcilers::FlowBook>) {
    let tools = tools::ToolBox::start(store, vault.clone(), world.clone());
    let closing = Arc::clone(&tools);
    tasks.add("tools", || async move { closing.stop().await });
    let agents = agents::AgentBook::start(store, vault.clone());
    let closing = Arc::clone(&agents);
    tasks.add("agents", || async move { closing.stop().await });
    let flows = reconcilers::FlowBook::start(store, vault.clone(), world.clone());
    let closing = Arc::clone(&flows);
    tasks.add("flows as apps", || async move { closing.stop().await });
    (tools, agents, flows)
}

/// Passes a change's keys, anti-rollback minimum versions and current versions to the vault before it is
/// published.
fn key_update_hook(opener: Arc<Opener>) -> BeforePublish {
    Arc::new(move |change: &mut Change| {
        let opener = Arc::clone(&opener);
        let lesson = key_update_of(change);
        Box::pin(async move {
            // The vault audits each failure. One workspace's damaged key must not block the configuration of
            // all others: that workspace's secrets stay sealed, and its requests say so.
            for (workspace, key_id) in opener.learn(lesson).await.keys {
                tracing::error!(%workspace, key_id, "a sealing key does not unwrap; its secrets stay shut");
            }
            Ok(())
        })
    })
}

fn key_update_of(change: &Change) -> KeyUpdate {
    let mut current = Vec::new();
    let workspaces = || change.workspaces.iter().filter_map(|(_, entry)| entry.as_ref());
    for credential in workspaces().flat_map(|entry| &entry.credentials) {
        current.push((credential.workspace, credential.id.to_string(), credential.sealed.version));
    }
    for node in workspaces().flat_map(|entry| &entry.nodes).chain(change.changed_nodes()) {
        if let Some(sealed) = &node.sealed {
            current.push((node.workspace, node.id.to_string(), sealed.version));
        }
    }
    for key in &change.keys {
        if let KeyChange::Set(_, entry) = key
            && let Some(sealed) = &entry.access_secret
        {
            current.push((entry.workspace, entry.id.to_string(), sealed.version));
        }
    }
    for account in change.accounts.iter().flatten() {
        current.push((vault::OPERATOR, account.id.to_string(), account.sealed.version));
    }
    KeyUpdate {
        keys: change
            .wrapped_keys
            .iter()
            .map(|key| (key.workspace, key.key_id.clone(), key.wrapped.clone()))
            .collect(),
        floors: change
            .minimum_versions
            .iter()
            .map(|floor| (floor.workspace, floor.object.clone(), floor.sealed.clone()))
            .collect(),
        current,
    }
}

fn read_catalogue(settings: &Settings) -> anyhow::Result<Catalogue> {
    let catalogue = Catalogue::embedded()?
        .with_emergencies(settings.emergency)
        .with_subscriptions(settings.subscriptions);
    match &settings.price_file {
        None => Ok(catalogue),
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
            catalogue.with_overlay(&text).with_context(|| format!("{} can't be used", path.display()))
        }
    }
}

fn outbound(settings: &Settings) -> anyhow::Result<EgressSettings> {
    let extra_roots_pem = match &settings.ca_file {
        None => None,
        Some(path) => Some(std::fs::read(path).with_context(|| format!("can't read {}", path.display()))?),
    };
    Ok(EgressSettings {
        allow_private: settings.allow_private_upstreams,
        node_networks: settings.node_networks.clone(),
        extra_roots_pem,
        metadata_url: settings.metadata_url.clone(),
        host_identity: settings.host_identity.clone(),
        token_files: settings.token_files.clone(),
        programs: programs(settings)?,
        ..EgressSettings::default()
    })
}

fn programs(settings: &Settings) -> anyhow::Result<sandbox::Programs> {
    let Some(path) = &settings.stdio_file else { return Ok(sandbox::Programs::default()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    sandbox::Programs::read(&text)
        .map_err(|error| anyhow::anyhow!("{} can't be used: {error}", path.display()))
}
