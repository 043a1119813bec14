//! `tidegate serve`: the gateway, its control plane and its ledger in one process.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use api::planner::Planner;
use api::server::Server;
use api::site::Site;
use api::state::{Control, Planes, Web};
use cli::output::{self, Failure};
use control::{DataExportHandler, Founded, ReplayRunHandler};
use domain::limits::{CLOSING_TIME_MAX, STORE_CLOSING_TIME_MAX};
use domain::ports::AnswerStore;
use gateway::{AskReadiness, ControlHandle, GatewaySettings, MakeCore, Proxies, Running, Times};
use http::HeaderMap;
use jobs::Handlers;
use mail::MailSettings;
use reconcilers::purging::{HeldStep, PurgeHandler, Purger, follow_generations};
use reconcilers::{
    AuditCopies, BatchRunner, Deps, FlowRunner, Heads, Mailing, Nodes, TaskRunner, TellOfTask,
};
use store::Store;
use store::datadir::DataDir;
use tasks::{RuntimeTasks, TaskSet, Thread};
use tokio::runtime::Handle;
use world::World;

use super::greeting;
use crate::audit_sink::Reach;
use crate::limits::HELD_POLL_EVERY;
use crate::server_state::ServerState;
use crate::settings::variables::unread_here;
use crate::settings::{DEFINITIONS, Layers, Settings, USUAL_DATA_DIR};
use crate::signals::{Stop, ended};
use crate::system_core::SystemCore;
use crate::{founding, hardening, logging};

#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    settings: SettingFlags,
}

/// The settings that may be flags; each is also a line of the file and a name in the environment.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingFlags {
    /// A settings file (TOML); by default `tidegate.toml` in the data directory.
    #[arg(long, env = "TIDEGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Directory of the database, the journal and the master key file.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// A PostgreSQL database that several gateways share. Other users of this machine can read a command line, so
    /// prefer `TIDEGATE_DATABASE_URL`.
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// Address and port to listen on.
    #[arg(long)]
    pub listen: Option<String>,
    /// Serving threads, one core each.
    #[arg(long)]
    pub workers: Option<usize>,
    /// The log level: error, warn, info, debug, trace, or a filter.
    #[arg(long)]
    pub log: Option<String>,
}

impl SettingFlags {
    /// Every setting in force, with its origin.
    ///
    /// # Errors
    /// The settings file can't be used.
    pub fn layers(&self) -> Result<Layers, Failure> {
        let given = [
            ("data_dir", self.data_dir.as_ref().map(|path| path.display().to_string())),
            ("database", self.database.clone()),
            ("listen", self.listen.clone()),
            ("workers", self.workers.map(|n| n.to_string())),
            ("log", self.log.clone()),
        ];
        let flags: Vec<_> =
            given.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect();
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let data_dir = self.data_dir.clone().or_else(|| environment("TIDEGATE_DATA_DIR").map(PathBuf::from));
        let usual = data_dir.unwrap_or_else(|| PathBuf::from(USUAL_DATA_DIR)).join("tidegate.toml");
        let file = self.config.clone().or_else(|| Some(usual).filter(|path| path.is_file()));
        debug_assert!(flags.iter().all(|(key, _)| DEFINITIONS.iter().any(|d| d.key == *key)));
        Layers::resolve(file.as_deref(), &environment, &flags)
            .map_err(|error| Failure::new(output::USAGE, error.to_string()))
    }
}

/// A gateway that listens, as whoever started it needs it.
pub struct Opened<'a> {
    pub settings: &'a Settings,
    pub address: SocketAddr,
    pub console: ConsoleAddress,
    /// The keys of a new installation.
    pub founded: Option<Founded>,
    pub started: Instant,
    pub control: &'a Control,
}

/// Where the console is.
pub struct ConsoleAddress {
    pub url: String,
    pub remark: String,
}

/// What a command does beside the gateway that it runs.
pub trait Companion {
    /// Runs from when the gateway listens until it is stopped. If it returns, the gateway ends too, with this error.
    async fn run(&mut self, opened: Opened<'_>) -> anyhow::Error;
    /// Ends what it started, once the gateway has drained.
    async fn end(&mut self);
}

/// `serve` and `gateway` only greet.
struct Alone {
    /// Whether models are connected here, and not at a control plane.
    has_models: bool,
}

impl Companion for Alone {
    async fn run(&mut self, opened: Opened<'_>) -> anyhow::Error {
        // Not into the log of each start.
        let suggests = self.has_models && (opened.founded.is_some() || std::io::stdout().is_terminal());
        let model = if suggests { greeting::first_model(opened.control) } else { None };
        greeting::welcome(&opened);
        if suggests {
            greeting::suggest(&opened, model.as_deref());
        }
        std::future::pending().await
    }

    async fn end(&mut self) {}
}

pub fn run(options: &Options) -> Result<(), Failure> {
    let started = Instant::now();
    let settings = Settings::check(&options.settings.layers()?)
        .map_err(|error| Failure::new(output::USAGE, error.to_string()))?;
    prepare(&settings)?;
    if store::datadir::inspect(&settings.data_dir).map_err(anyhow::Error::from)? == DataDir::Empty {
        check_is_meant(&settings)?;
    }
    run_until_stopped(&settings, started, &mut Alone { has_models: true })
}

/// Serves as a data plane, with settings that are checked already.
///
/// # Errors
/// The gateway can't start.
pub fn start(settings: &Settings) -> Result<(), Failure> {
    start_with(settings, &mut Alone { has_models: false })
}

/// Serves with settings that are checked already, beside what the caller runs.
///
/// # Errors
/// The gateway can't start, or its companion failed.
pub fn start_with(settings: &Settings, companion: &mut impl Companion) -> Result<(), Failure> {
    let started = Instant::now();
    prepare(settings)?;
    run_until_stopped(settings, started, companion)
}

fn prepare(settings: &Settings) -> Result<(), Failure> {
    logging::start(&settings.log, settings.log_json)?;
    for remark in hardening::harden().into_iter().chain(unread_here()) {
        tracing::warn!("{remark}");
    }
    hardening::raise_descriptor_limit();
    Ok(())
}

fn run_until_stopped(
    settings: &Settings,
    started: Instant,
    companion: &mut impl Companion,
) -> Result<(), Failure> {
    // Following the configuration, leases, the drain and revocations wait for no computation of a tenant's.
    let (vital, control) = (tasks::runtime("vital")?, tasks::runtime("control")?);
    let served = vital.block_on(serve(settings, started, companion, control.handle()));
    // All parts are closed by now; a thread that still blocks or computes is not awaited.
    control.shutdown_background();
    vital.shutdown_background();
    served.map_err(Failure::from)
}

/// A first start creates an installation in the default directory, and wherever it joins others on a shared
/// database. Any other empty directory was more likely mistyped.
fn check_is_meant(settings: &Settings) -> Result<(), Failure> {
    let data_dir = settings.data_dir.display();
    if settings.database.is_some() || settings.data_dir == Path::new(USUAL_DATA_DIR) {
        return Ok(());
    }
    Err(Failure::new(
        output::USAGE,
        format!("There is no installation in {data_dir}; `tidegate init --data-dir {data_dir}` makes one."),
    ))
}

/// `runtime` is the control plane's; everything else is on the one that polls this.
async fn serve(
    settings: &Settings,
    started: Instant,
    companion: &mut impl Companion,
    runtime: &Handle,
) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let world = World::system();
    let founded = match store::datadir::inspect(&settings.data_dir)? {
        DataDir::Empty => founding::create_or_join(settings, &world, control::OWNER_EMAIL).await?,
        DataDir::Ready => None,
    };
    let mut tasks = TaskSet::default();
    let state = Box::pin(ServerState::open(settings, world.clone(), runtime, &mut tasks)).await?;
    report_recovery(&state);
    let system_number = u32::try_from(state.workers)?;
    let (system, system_thread) = SystemCore::start(Arc::clone(&state), system_number)?;
    // Tasks on the control plane's runtime have handles to it, so that it ends no sooner.
    tasks::on(runtime, async { tasks.add("system-core", || join(system_thread)) }).await;
    let starting = Box::pin(start_control(settings, &state, system, &mut tasks));
    let control = tasks::on(runtime, starting).await?;
    let api = Arc::clone(control.control());
    tasks.spawn("delay", tasks::watch_delay("vital"));
    let running = open_door(settings, &state, (control, runtime), &mut tasks).await?;
    let address = running.address();
    let console = match &state.plane {
        None => console(&state, &world, &settings.site()?.at(address), settings).await?,
        Some(plane) => ConsoleAddress {
            url: plane.control().to_owned(),
            remark: "of the control plane that this data plane joined".to_owned(),
        },
    };
    let opened = Opened { settings, address, console, founded, started, control: &api };
    let failed = tokio::select! {
        () = stop.received() => None,
        error = tasks::on(runtime, companion.run(opened)) => Some(error),
    };
    drop(api);
    eprintln!("draining: no new requests; running ones finish. A second signal ends them.");
    running.drain();
    state.books.allowances.drain();
    tokio::select! {
        () = ended(&running) => {}
        () = stop.received() => running.stop(),
    }
    tasks::blocking(move || running.join()).await?;
    companion.end().await;
    tasks.drain(CLOSING_TIME_MAX).await;
    failed.map_or(Ok(()), Err)
}

/// Waits for the system core. It ends when the last handle to it is dropped, so the tasks that hold handles
/// are closed first.
async fn join(system_core: Thread) {
    if let Ok(Err(_)) = tasks::blocking(move || system_core.join()).await {
        tracing::error!("the system core ended by a panic");
    }
}

/// Where copies of the audit go outside the database, as far as it is configured.
fn audit_copies(
    settings: &Settings,
    state: &ServerState,
    outbound: &Arc<SystemCore>,
) -> anyhow::Result<AuditCopies> {
    let (egress, gateway) = (&state.upstreams.egress, state.replica.to_string());
    let outbound = || Arc::<SystemCore>::clone(outbound);
    let mut copies = AuditCopies::default();
    if let Some(destination) = &settings.heads {
        let keeper = destination.keeper(egress, outbound(), &gateway)?;
        copies.heads = Some(Heads { keeper, again: settings.heads_again });
    }
    let reach = Reach { egress, outbound: outbound(), world: &state.world, gateway: &gateway };
    copies.entries = settings.audit_sink.open(reach, &settings.audit_storage)?;
    Ok(copies)
}

/// How mail is sent, where a server is set.
fn mailing(settings: &Settings, state: &ServerState) -> anyhow::Result<Option<Mailing>> {
    let Some(mail) = settings.mail.clone() else { return Ok(None) };
    let extra_roots_pem = state.upstreams.egress.extra_roots_pem.clone();
    let console = settings.site()?.base_url(&HeaderMap::new());
    Ok(Some(Mailing::new(MailSettings { extra_roots_pem, ..mail }, console)))
}

/// The file by which a test holds something up; no release has one.
fn held_by(variable: &str) -> Option<PathBuf> {
    let file = || std::env::var_os(variable).filter(|file| !file.is_empty());
    if cfg!(debug_assertions) { file().map(PathBuf::from) } else { None }
}

/// Watches how late the control plane's runtime is, and lets a test hold it up.
fn watch(tasks: &mut TaskSet, store: &Store) {
    tasks.spawn("delay", tasks::watch_delay("control"));
    if let Some(file) = held_by("TIDEGATE_HELD_CONTROL") {
        tasks.spawn("held", hold_up(file, store.clone()));
    }
}

/// Holds its thread up while the file is there, as a computation would, in the middle of a read from the store.
async fn hold_up(file: PathBuf, store: Store) {
    loop {
        tokio::time::sleep(HELD_POLL_EVERY).await;
        let hold = async {
            while file.exists() {
                std::thread::sleep(HELD_POLL_EVERY);
            }
        };
        if file.exists() {
            let (_, ()) = tokio::join!(store.feed().version(), hold);
        }
    }
}

/// Starts the API and the reconcilers. Each that holds a handle to the system core ends before the core.
async fn start_control(
    settings: &Settings,
    state: &Arc<ServerState>,
    system: Arc<SystemCore>,
    tasks: &mut TaskSet,
) -> anyhow::Result<Arc<Server>> {
    watch(tasks, &state.store);
    let audit = audit_copies(settings, state, &system)?;
    let planner = Arc::<SystemCore>::clone(&system) as Arc<dyn Planner>;
    let mut deps = state.deps(system)?;
    choose_flow_engine(settings, &mut deps);
    deps.mail = mailing(settings, state)?.map(Arc::new);
    let nodes = Nodes::new(deps.clone(), settings.beat_every, settings.node_terms.clone());
    let held = HeldStep::named_in(held_by("TIDEGATE_HELD_PURGE_STEP"));
    let purger = Purger::new(deps.clone(), state.places(), held);
    let web = Web {
        site: settings.site()?,
        egress: Arc::clone(&state.upstreams.egress),
        answers: Arc::clone(&state.sessions.answers) as Arc<dyn AnswerStore>,
        planner,
        cached: Arc::clone(&state.sessions.cached),
        records_days: settings.records_keep_days,
        pounds: settings.pounds.clone(),
        files: Arc::clone(&state.files) as _,
        purger: Arc::clone(&purger),
        degraded: state.degraded(),
        planes: Planes {
            life: settings.data_plane_life,
            sent: Arc::default(),
            managed_by: state.plane.as_ref().map(|plane| plane.control().to_owned()),
        },
    };
    let started = control::start(deps.clone(), Arc::clone(&nodes), web).await;
    let control = Arc::new(started.map_err(anyhow::Error::msg)?);
    tasks.spawn("nodes", Arc::clone(&nodes).watch_nodes());
    tasks.spawn("node-loads", Arc::clone(&nodes).watch_loads());
    if settings.subscriptions {
        tasks.spawn("subscriptions", reconcilers::subscriptions::watch_use(deps.clone()));
    }
    tasks.spawn("heartbeats", Arc::clone(&nodes).watch_heartbeats());
    tasks.spawn("joined-nodes", nodes.watch_joined());
    tasks.spawn("tunnels", fleet::tunnels::watch(Arc::clone(control.control())));
    let (api, leaving) = (Arc::clone(&control), deps.clone());
    tasks.add("control", || async move {
        api.finish().await;
        leaving.withdraw().await;
    });
    tasks.spawn("keys", deps.clone().keep_keys());
    tasks.spawn("generations", follow_generations(deps.clone(), state.memories()));
    let ours: Handlers = vec![
        Arc::new(PurgeHandler(purger)),
        Arc::new(DataExportHandler::new(Arc::clone(&control), deps.clone())),
        Arc::new(ReplayRunHandler::new(deps.clone())),
        Arc::new(BatchRunner::new(deps.clone())),
        Arc::new(TellOfTask(deps.clone())),
    ];
    let arrivals = state.sessions.tasks.arrivals();
    let live = Arc::clone(&state.sessions.live_tasks);
    let runner = TaskRunner::new(deps.clone(), arrivals, live, settings.tasks_at_once_of_workspace).start();
    tasks.add("run tasks", || runner.stop());
    let of_tasks = (state.sessions.tasks.arrivals(), Arc::clone(&state.sessions.live_tasks));
    let runner = FlowRunner::new(deps.clone(), of_tasks, settings.tasks_at_once_of_workspace).start();
    tasks.add("run flows", || runner.stop());
    start_restate(settings, state, &deps, tasks).await?;
    let worker = start_worker(settings, &deps, audit, ours).await?;
    tasks.add("jobs", || worker.stop());
    if let Some(plane) = &state.plane {
        plane.start(&deps, &settings.data_dir, tasks).await?;
    }
    Ok(control)
}

/// Has new runs of flows go to the engine that the settings name.
#[cfg_attr(
    not(feature = "restate"),
    expect(clippy::missing_const_for_fn, reason = "with the feature it can't be")
)]
fn choose_flow_engine(settings: &Settings, deps: &mut Deps) {
    #[cfg(feature = "restate")]
    if let Some(server) = settings.flows.restate.as_ref().filter(|_| settings.flows.is_restate) {
        deps.flows = Arc::new(reconcilers::FlowSignals::to(restate::door(server, deps)));
    }
    #[cfg(not(feature = "restate"))]
    let _ = (settings.flows.is_restate, deps);
}

/// Runs of flows on Restate, where the settings say where it is: also those that began before new runs got another engine.
#[cfg(feature = "restate")]
async fn start_restate(
    settings: &Settings,
    state: &ServerState,
    deps: &Deps,
    tasks: &mut TaskSet,
) -> anyhow::Result<()> {
    if let Some(server) = &settings.flows.restate {
        let of_tasks = (state.sessions.tasks.arrivals(), Arc::clone(&state.sessions.live_tasks));
        let at_once = settings.tasks_at_once_of_workspace;
        let engine = restate::RestateEngine::start(server, deps.clone(), of_tasks, at_once).await?;
        tasks.add("run flows on Restate", || engine.stop());
    }
    Ok(())
}

#[cfg(not(feature = "restate"))]
#[expect(clippy::unused_async, reason = "with the feature it waits")]
async fn start_restate(_: &Settings, _: &ServerState, _: &Deps, _: &mut TaskSet) -> anyhow::Result<()> {
    Ok(())
}

/// Starts the job worker. A directory is used by one process at a time, so the worker has the name of its
/// dead predecessor.
async fn start_worker(
    settings: &Settings,
    deps: &Deps,
    audit: AuditCopies,
    ours: Handlers,
) -> anyhow::Result<jobs::WorkerHandle> {
    // A data plane keeps no books, and its control plane judges what it configures.
    let keeps_books = crate::data_plane::memberships(settings)?.is_empty();
    reconcilers::schedule(deps, &audit, keeps_books).await?;
    let replica = store::datadir::replica(&settings.data_dir)?;
    let name = replica.map_or_else(|| "solo".to_owned(), |replica| replica.to_string());
    let mut handlers = reconcilers::handlers(deps, settings.invoice_grace, audit);
    handlers.extend(ours);
    Ok(jobs::Runner::new(deps.store.clone(), deps.world.clone(), name, handlers).start())
}

fn report_recovery(state: &ServerState) {
    let report = &state.books.recovered;
    if report.interrupted > 0 || report.applied > 0 {
        tracing::info!(
            settled = report.applied,
            interrupted = report.interrupted,
            "the books of the last run were closed"
        );
    }
    for damage in &state.books.damage {
        tracing::warn!(
            records_missing = damage.records_missing,
            entries_missing = damage.entries_missing,
            "{damage}; `tidegate doctor` says where its files are and what to do"
        );
    }
}

async fn open_door(
    settings: &Settings,
    state: &Arc<ServerState>,
    (control, runtime): (Arc<Server>, &Handle),
    tasks: &mut TaskSet,
) -> anyhow::Result<Running> {
    let ready = Arc::clone(state);
    let cores = Arc::clone(state);
    let make_core: MakeCore = Arc::new(move |number| {
        let state = Arc::clone(&cores);
        Box::pin(
            async move { state.core(number).map_err(|error| std::io::Error::other(format!("{error:#}"))) },
        )
    });
    let readiness: AskReadiness = Arc::new(move || ready.readiness());
    let calls = RuntimeTasks::new("control-calls", runtime.clone());
    let urgent = RuntimeTasks::on_this_runtime("revocations");
    let control = ControlHandle { service: control, tasks: calls.clone(), urgent: urgent.clone() };
    tasks.add("control-calls", move || async move { calls.finish(STORE_CLOSING_TIME_MAX).await });
    tasks.add("revocations", move || async move { urgent.finish(STORE_CLOSING_TIME_MAX).await });
    let door = GatewaySettings {
        listen: settings.listen,
        workers: u32::try_from(settings.workers)?,
        times: Times::default(),
        proxies: Proxies {
            trusted: settings.trusted_proxies.clone(),
            is_fronted: settings.public_url.is_some(),
        },
        origins: settings.cors_origins.clone(),
        connections_max: hardening::connections_max(settings.workers),
        queue_delay_max: settings.queue_delay_max,
        in_flight_max: settings.in_flight_max,
        body_bytes_max: settings.body_mib_max * 1024 * 1024,
    };
    gateway::start(door, make_core, Some(control), readiness, state.store.settled_counts())
        .await
        .with_context(|| format!("can't serve on {}", settings.listen))
}

/// The console's address, and how its owner signs in. Until someone has used one, a link is shown: once where
/// output may be stored, for example in a container's log, and at each start in a terminal.
async fn console(
    state: &ServerState,
    world: &World,
    site: &Site,
    settings: &Settings,
) -> anyhow::Result<ConsoleAddress> {
    let base = site.base_url(&http::HeaderMap::new());
    let owner = control::first_owner(&state.store, world, control::OWNER_EMAIL).await?;
    let known = state.store.sign_ins().traces(owner).await?;
    if known.signed_in || (known.has_link && !std::io::stdout().is_terminal()) {
        let data_dir = settings.data_dir.display();
        let remark = format!("`tidegate login --link --data-dir {data_dir}` makes a link that signs in");
        return Ok(ConsoleAddress { url: base, remark });
    }
    let link = control::owners_link(&state.store, &state.secrets.vault, world, control::OWNER_EMAIL).await?;
    let remark = "signs the owner in; once, within ten minutes".to_owned();
    Ok(ConsoleAddress { url: format!("{base}{link}"), remark })
}
