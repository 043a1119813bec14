//! What a node that has joined a control plane does beside serving: it reports, and keeps a tunnel open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cli::api;
use cli::output::{self, Failure};
use gateway::{ServedTunnel, Times};
use node::{
    Accelerators, EnergyMeter, Gateways, Membership, NVML, NodeKey, Policy, Reporter, Service, TunnelDialer,
};
use tasks::Task;
use world::World;

/// A joined node's calls to its control plane.
pub struct JoinedNode {
    reporter: Reporter,
    dialer: Option<TunnelDialer>,
    membership: Membership,
}

/// They run until this is ended.
pub struct Reporting {
    _reports: Task,
    tunnel: Option<ServedTunnel>,
}

/// What the node's options say about it.
pub struct JoinedOptions<'a> {
    pub device: Option<String>,
    pub powercap: &'a Path,
    /// Requests come through a tunnel, whatever the node joined with.
    pub tunnel: bool,
}

impl JoinedNode {
    /// `None` if the node has not joined.
    ///
    /// # Errors
    /// The files of its data directory can't be used, or a tunnel is asked for and it has not joined.
    pub fn open(
        service: &Arc<Service>,
        data_dir: Option<PathBuf>,
        options: JoinedOptions<'_>,
    ) -> Result<Option<Self>, Failure> {
        let membership = data_dir.as_deref().map(Membership::read).transpose()?.flatten();
        let (Some(data_dir), Some(mut membership)) = (data_dir, membership) else {
            if options.tunnel {
                let message = "This node has not joined a control plane, so nothing could come through a tunnel. Run \
                               `tidegate node join --tunnel` first.";
                return Err(Failure::new(output::USAGE, message));
            }
            return Ok(None);
        };
        membership.tunnel |= options.tunnel;
        let world = World::system();
        let key = Arc::new(NodeKey::open_or_create(&data_dir)?);
        let policy = Policy::open(&data_dir, &membership, &key, world.clone())?;
        service.follow(Arc::clone(&policy));
        let settings = api::egress_settings()?;
        let known = (key, policy, Gateways::of(&membership.control));
        let dialer = membership
            .tunnel
            .then(|| TunnelDialer::new(membership.clone(), known.clone(), world, settings.clone()));
        let reporter = Reporter::new(
            Arc::clone(service),
            membership.clone(),
            data_dir,
            known,
            options.device,
            settings,
        )?;
        let reporter = reporter.measuring(
            EnergyMeter::open(options.powercap).with_accelerators(Accelerators::open(Path::new(NVML))),
        );
        Ok(Some(Self { reporter, dialer, membership }))
    }

    /// Use it inside a `LocalSet`.
    ///
    /// # Errors
    /// The operating system can't start a thread for the tunnel.
    pub fn start(self, service: &Arc<Service>, times: Times) -> Result<Reporting, Failure> {
        let Self { reporter, dialer, membership } = self;
        eprintln!("it says so at {reporter}");
        let Some(dialer) = dialer else {
            return Ok(Reporting { _reports: Task::spawn_local("reports", reporter.run()), tunnel: None });
        };
        eprintln!("requests of {} come through a tunnel", membership.control);
        let tunnel = ServedTunnel::start(Arc::clone(service), times, dialer)?;
        let reports = Task::spawn_local("reports", reporter.run());
        Ok(Reporting { _reports: reports, tunnel: Some(tunnel) })
    }
}

impl Reporting {
    /// Stops reporting, which continues after the next start, and returns once what came through the tunnel is answered.
    pub async fn end(self) {
        if let Some(tunnel) = self.tunnel {
            tunnel.end().await;
        }
    }
}
