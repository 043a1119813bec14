//! An endpoint picker for inference gateways of Kubernetes: a proxy asks it over Envoy's external processing which model server of a
//! pool a request goes to, as the Gateway API Inference Extension's endpoint picker protocol has it (proposal 004), and
//! our placement answers.

mod adapters;
mod endpoint;
mod exchange;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod framing;
mod limits;
mod lookup;
mod pool;
mod prefix;
mod secured;
mod server;
mod settings;
mod wire;

use std::net::SocketAddr;
use std::rc::Rc;

use egress::Client;
use tasks::Task;
use tokio::net::TcpListener;
use tokio::sync::watch;
use world::World;

pub use settings::{EndpointSource, PickerSettings, Security, Shedding};

use crate::exchange::Budget;
use crate::pool::Pool;
use crate::server::{Offer, Server};

/// A running endpoint picker. Dropped, it accepts nothing more; connections end with the `LocalSet`.
pub struct EndpointPicker {
    pool: Rc<Pool>,
    address: SocketAddr,
    health_address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    listening: Vec<Task>,
    _following: Task,
}

impl EndpointPicker {
    /// Use it inside a `LocalSet`.
    ///
    /// # Errors
    /// A file or a certificate can't be read, or an address is taken.
    pub async fn start(settings: PickerSettings, client: Client, world: World) -> Result<Self, String> {
        if let Some(path) = &settings.endpoints_file {
            lookup::read_file(path)?;
        }
        let tls = secured::acceptor(&settings.security)?;
        let (listener, address) = bind(settings.listen).await?;
        let health = match settings.health_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let pool = Rc::new(Pool::new(world, settings.shedding, settings.fallbacks));
        let settings = Rc::new(settings);
        let (synced_sender, synced) = watch::channel(false);
        let following = lookup::follow(Rc::clone(&pool), Rc::clone(&settings), client, synced_sender);
        let server = Rc::new(Server {
            pool: Rc::clone(&pool),
            sheddable: settings.sheddable.as_slice().into(),
            budget: Budget::default(),
            synced,
        });
        let (stop, stopped) = watch::channel(false);
        let picking = server::listen(listener, Rc::clone(&server), Offer::All, tls, stopped.clone());
        let mut listening = vec![Task::spawn_local("endpoint picker", picking)];
        let health_address = health.as_ref().map(|(_, address)| *address);
        if let Some((listener, _)) = health {
            let checks = server::listen(listener, server, Offer::Health, None, stopped);
            listening.push(Task::spawn_local("health checks", checks));
        }
        let following = Task::spawn_local("endpoints of the pool", following);
        Ok(Self { pool, address, health_address, stop, listening, _following: following })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub const fn health_address(&self) -> Option<SocketAddr> {
        self.health_address
    }

    /// How many endpoints it has, and how many of them are ready.
    pub fn counts(&self) -> (usize, usize) {
        self.pool.counts()
    }

    /// Takes no more requests, and returns when those that it has are over: a proxy fails a request whose stream breaks off.
    pub async fn drain(&self) {
        self.stop.send_replace(true);
        for task in &self.listening {
            let _ = task.ended().await;
        }
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), String> {
    let failed = |error: std::io::Error| format!("The endpoint picker can't listen on {address}: {error}.");
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
