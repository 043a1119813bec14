//! `tidegate node`: a model runtime on this machine behind the OpenAI dialect.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use gateway::{GatewaySettings, Times};
use node::{Echo, NodeSettings, Service};
use world::World;

use crate::hardening;
use crate::logging;
use crate::output::{self, Failure};
use crate::signals::{Stop, ended};

/// The one runtime of this version.
const ECHO: &str = "echo";

#[derive(Debug, clap::Args)]
pub struct Options {
    /// What to run. This version has the runtime `echo`, which is no model and says so.
    #[arg(long)]
    model: String,
    /// Where to listen; an address other than loopback needs a key, which this version can't make yet.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// A directory of adapters, for runtimes that take them.
    #[arg(long)]
    adapters: Option<PathBuf>,
    /// A file with the node's own settings, for topologies that need one.
    #[arg(long)]
    config: Option<PathBuf>,
}

pub fn run(options: &Options) -> Result<(), Failure> {
    refuse_what_is_not_there(options)?;
    logging::start("info", false)?;
    hardening::raise_descriptor_limit();
    let service = Service::new(
        Arc::new(Echo),
        NodeSettings { world: World::system(), keys: Vec::new(), runtime_name: ECHO },
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let settings = GatewaySettings { listen: options.listen, workers: 1, times: Times::default() };
    runtime.block_on(async {
        let mut stop = Stop::listen()?;
        let running = gateway::serve_node(service, settings)?;
        eprintln!(
            "node {} listens on http://{} (echo is no model: it repeats what it is told)",
            options.model,
            running.address()
        );
        stop.wanted().await;
        running.drain();
        tokio::select! {
            () = ended(&running) => {}
            () = stop.wanted() => running.stop(),
        }
        Ok(())
    })
}

fn refuse_what_is_not_there(options: &Options) -> Result<(), Failure> {
    if options.model != ECHO {
        return Err(Failure::new(
            output::NOT_FOUND,
            format!(
                "This version of Tidegate can't run {}: it has the runtime echo. Start `tidegate node --model echo`.",
                options.model
            ),
        ));
    }
    if options.adapters.is_some() || options.config.is_some() {
        return Err(Failure::new(
            output::USAGE,
            "echo takes no adapters and no configuration: leave --adapters and --config out.",
        ));
    }
    if !options.listen.ip().is_loopback() {
        return Err(Failure::new(
            output::USAGE,
            format!(
                "{} is not a loopback address, and node keys come with a later version. Listen on 127.0.0.1.",
                options.listen
            ),
        ));
    }
    Ok(())
}
