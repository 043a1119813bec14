//! `tidegate endpoint-picker`: chooses the model server of a pool for an inference gateway of Kubernetes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cli::api;
use cli::output::{self, Failure};
use domain::limits::DRAIN_STREAMS_MAX;
use egress::Client;
use picker::{EndpointPicker, EndpointSource, PickerSettings, Security, Shedding};
use tokio::task::LocalSet;
use world::World;

use crate::hardening;
use crate::logging;
use crate::signals::Stop;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The address to listen on for the gateway's proxy (gRPC). It has no authentication: let only the gateway reach it.
    #[arg(long, default_value = "127.0.0.1:9002")]
    listen: SocketAddr,
    /// An address that answers gRPC health checks without TLS, for Kubernetes probes.
    #[arg(long, value_name = "ADDRESS")]
    health_listen: Option<SocketAddr>,
    /// A model server of the pool, such as http://10.0.0.7:8000; may be repeated. A host name, such as a headless service's,
    /// stands for all its addresses and is resolved again regularly.
    #[arg(long = "endpoint", value_name = "URL", value_parser = EndpointSource::read, required_unless_present = "endpoints_file", help_heading = "Endpoints")]
    endpoints: Vec<EndpointSource>,
    /// A file with one model server per line, which is read again when it changes.
    #[arg(long, value_name = "FILE", help_heading = "Endpoints")]
    endpoints_file: Option<PathBuf>,
    /// The path of the model servers' metrics.
    #[arg(long, value_name = "PATH", default_value = "/metrics", value_parser = read_path, help_heading = "Endpoints")]
    metrics_path: String,
    /// The metrics port, if it isn't the port that serves requests.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Endpoints")]
    metrics_port: Option<u16>,
    /// The interval between two reads of the metrics, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(50..=60_000), help_heading = "Endpoints")]
    poll_every_ms: u64,
    /// An objective (the header `x-gateway-inference-objective`) whose requests are refused with 429 when all endpoints are full;
    /// may be repeated.
    #[arg(long = "sheddable", value_name = "OBJECTIVE", help_heading = "Overload")]
    sheddable: Vec<String>,
    /// The number of waiting requests at which an endpoint counts as full.
    #[arg(long, value_name = "REQUESTS", default_value_t = 5, help_heading = "Overload")]
    full_waiting: u32,
    /// The use of its KV cache at which an endpoint counts as full, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..=100), help_heading = "Overload")]
    full_kv: u16,
    /// How many more endpoints the proxy gets, in order, for retries.
    #[arg(long, default_value_t = 0, help_heading = "Endpoints")]
    fallbacks: usize,
    /// The certificate chain for TLS (PEM); without it, one is generated at each start.
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "TLS")]
    tls_certificate: Option<PathBuf>,
    /// The private key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate", help_heading = "TLS")]
    tls_key: Option<PathBuf>,
    /// Listens without TLS.
    #[arg(long, conflicts_with_all = ["tls_certificate", "tls_key"], help_heading = "TLS")]
    plaintext: bool,
    /// The log level: error, warn, info, debug, trace, or a filter.
    #[arg(long, default_value = "info")]
    log: String,
}

fn read_path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && http::uri::PathAndQuery::try_from(text).is_ok();
    if is_path { Ok(text.to_owned()) } else { Err(format!("{text} isn't a path: it begins with a slash.")) }
}

impl Options {
    fn settings(&self) -> PickerSettings {
        let security = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                Security::Files { certificate: certificate.clone(), key: key.clone() }
            }
            _ if self.plaintext => Security::Plaintext,
            _ => Security::SelfSigned,
        };
        PickerSettings {
            listen: self.listen,
            health_listen: self.health_listen,
            security,
            endpoints: self.endpoints.clone(),
            endpoints_file: self.endpoints_file.clone(),
            metrics_path: self.metrics_path.clone(),
            metrics_port: self.metrics_port,
            poll_every: Duration::from_millis(self.poll_every_ms),
            sheddable: self.sheddable.clone(),
            shedding: Shedding { waiting: self.full_waiting, kv_permille: self.full_kv * 10 },
            fallbacks: self.fallbacks,
        }
    }
}

pub fn run(options: &Options) -> Result<(), Failure> {
    logging::start(&options.log, false)?;
    hardening::raise_descriptor_limit();
    let settings = options.settings();
    let words = match settings.security {
        Security::Plaintext => "without TLS",
        Security::SelfSigned => "TLS, with a certificate made at this start",
        Security::Files { .. } => "TLS",
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut stop = Stop::listen()?;
        let client = Client::new(Arc::new(api::egress_settings()?))?;
        let picker = EndpointPicker::start(settings, client, World::system())
            .await
            .map_err(|error| Failure::new(output::USAGE, error))?;
        eprintln!("endpoint picker listens on {} ({words})", picker.address());
        if let Some(address) = picker.health_address() {
            eprintln!("health checks are answered on {address}");
        }
        stop.received().await;
        tokio::select! {
            () = picker.drain() => {}
            () = tokio::time::sleep(DRAIN_STREAMS_MAX) => {}
            () = stop.received() => {}
        }
        Ok(())
    })
}
