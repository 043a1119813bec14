//! Keeps a tunnel to the control plane open, for nodes that it can't reach: the node dials, and then the gateway's
//! requests come over that connection.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use egress::{
    EgressSettings, Socket, TUNNEL_CORE_HEADER, TUNNEL_CORES_MAX, TUNNEL_HELLO_TIME_MAX, TUNNEL_PROTOCOL,
    TUNNEL_SPARE_HEADER, TUNNEL_SPARES_MAX, TUNNEL_VERSIONS, TUNNEL_VERSIONS_HEADER, read_line,
};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tasks::Task;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use world::World;

use super::control::{CallError, ControlPlane};
use super::{Gateways, Membership, Policy};
use crate::identity::NodeKey;
use crate::limits::{TUNNEL_RETRY_BASE, TUNNEL_RETRY_MAX, TUNNELS_RETIRING_MAX};

const TUNNEL: &str = "/v2/byoc/nodes/tunnel";

/// Opens tunnels, and has what comes through them served.
pub struct TunnelDialer {
    membership: Membership,
    settings: EgressSettings,
    key: Arc<NodeKey>,
    policy: Arc<Policy>,
    gateways: Arc<Gateways>,
    world: World,
}

/// A dialer of one gateway at work: its connections belong to the thread that runs it.
struct Dialing {
    control: ControlPlane,
    key: Arc<NodeKey>,
    policy: Arc<Policy>,
    world: World,
    /// How many cores serve at the gateway, as it says; each gets a tunnel.
    cores: watch::Sender<u32>,
}

/// A connection to a gateway on which it sends requests.
pub enum Dialled {
    /// Any number of requests at once, over HTTP/2.
    Tunnel(Socket, TunnelSignals),
    /// One request at a time, over HTTP/1.1. The other is true once no new ones are wanted.
    Spare(Socket, watch::Receiver<bool>),
}

/// What passes between a tunnel that is served and the one who opened it.
#[derive(Clone)]
pub struct TunnelSignals {
    /// The gateway leaves: another tunnel is wanted.
    pub leaving: Rc<Notify>,
    /// A request came through it that could have come over a spare connection.
    pub spare_wanted: Rc<Notify>,
    /// True once no new requests are wanted; those that run may finish.
    pub wind_down: watch::Receiver<bool>,
}

/// Ends with the number of its tunnel.
type Served = Pin<Box<dyn Future<Output = u64>>>;

/// The tunnels of one run.
struct Tunnels {
    served: FuturesUnordered<Served>,
    /// The one that requests come through.
    current: Option<(u64, watch::Sender<bool>)>,
    /// Whether its gateway takes spare connections.
    takes_spares: bool,
    /// Those that another takes over from; the gateway ends them.
    retiring: Vec<watch::Sender<bool>>,
    leaving: Rc<Notify>,
    last: u64,
    /// The spare connections, each ready when it has ended. The gateway closes them with the tunnel that they are of.
    spares: FuturesUnordered<Pin<Box<dyn Future<Output = ()>>>>,
    spare_wanted: Rc<Notify>,
    /// True once the spare connections are to take no more requests.
    spares_wind_down: watch::Sender<bool>,
}

/// What the gateway said when it opened a tunnel.
struct Opened {
    cores: u32,
    takes_spares: bool,
}

#[derive(Deserialize)]
struct Challenge {
    protocol: u32,
    nonce: String,
}

#[derive(Serialize)]
struct Hello<'a> {
    object: &'static str,
    certificate: Map<String, Value>,
    signature: String,
    version: &'a str,
    features: [&'static str; 1],
}

#[derive(Deserialize)]
struct Verdict {
    object: String,
    /// Older gateways want one tunnel.
    cores: Option<u32>,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    fix: String,
}

/// When to dial next.
struct Backoff {
    failures: u32,
    dial_at: Instant,
}

impl Backoff {
    fn failed(&mut self, below: impl FnOnce(u64) -> u64) {
        let ceiling = (TUNNEL_RETRY_BASE * 2_u32.pow(self.failures.min(10))).min(TUNNEL_RETRY_MAX);
        self.failures += 1;
        let ceiling_us = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX);
        let wait_us = ceiling_us / 4 + below(ceiling_us * 3 / 4);
        self.dial_at = Instant::now() + Duration::from_micros(wait_us);
    }
}

impl TunnelDialer {
    pub fn new(
        membership: Membership,
        (key, policy, gateways): (Arc<NodeKey>, Arc<Policy>, Arc<Gateways>),
        world: World,
        settings: EgressSettings,
    ) -> Self {
        Self { membership, settings, key, policy, gateways, world }
    }

    /// Runs until `stop` is true and what came before is answered. Use it inside a `LocalSet`.
    ///
    /// # Errors
    /// The TLS root certificates can't be read.
    pub async fn run<F, S>(self, serve: S, mut stop: watch::Receiver<bool>) -> std::io::Result<()>
    where
        F: Future<Output = ()> + 'static,
        S: Fn(Dialled) -> F,
    {
        let (mut gateways, serve) = (self.gateways.watch(), &serve);
        let mut dialed = BTreeMap::<String, watch::Sender<bool>>::new();
        let mut running = FuturesUnordered::new();
        loop {
            let wanted = gateways.borrow_and_update().clone();
            for (_, old) in dialed.extract_if(.., |url, _| !wanted.contains(url)) {
                old.send_replace(true);
            }
            for url in wanted {
                if let Entry::Vacant(place) = dialed.entry(url) {
                    let (dialing, (stop, stopped)) = (self.dialing(place.key())?, watch::channel(false));
                    running.push(async move { dialing.keep_all_open(serve, stopped).await });
                    place.insert(stop);
                }
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Ok(()) = gateways.changed() => {}
                Some(()) = running.next() => {}
            }
        }
        for stop in dialed.values() {
            stop.send_replace(true);
        }
        while running.next().await.is_some() {}
        Ok(())
    }

    fn dialing(&self, url: &str) -> std::io::Result<Dialing> {
        let membership = Membership { control: url.to_owned(), ..self.membership.clone() };
        Ok(Dialing {
            control: ControlPlane::new(membership, self.settings.clone())?,
            key: Arc::clone(&self.key),
            policy: Arc::clone(&self.policy),
            world: self.world.clone(),
            cores: watch::channel(1).0,
        })
    }
}

impl Dialing {
    /// Keeps a tunnel open for each core of the gateway that it wants one for, until `stop` is true and what came before is
    /// answered, or the credential is no longer valid.
    async fn keep_all_open<F, S>(&self, serve: &S, stop: watch::Receiver<bool>)
    where
        F: Future<Output = ()> + 'static,
        S: Fn(Dialled) -> F,
    {
        join_all((0..TUNNEL_CORES_MAX).map(|core| self.keep_open(core, serve, stop.clone()))).await;
    }

    /// Keeps the tunnel for one core of the gateway open.
    async fn keep_open<F, S>(&self, core: u32, serve: &S, mut stop: watch::Receiver<bool>)
    where
        F: Future<Output = ()> + 'static,
        S: Fn(Dialled) -> F,
    {
        let mut tunnels = Tunnels::new();
        let mut backoff = Backoff { failures: 0, dial_at: Instant::now() };
        let mut spare_at = backoff.dial_at;
        let mut issued = self.policy.issued();
        loop {
            let (leaving, spare_wanted) = (Rc::clone(&tunnels.leaving), Rc::clone(&tunnels.spare_wanted));
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Some(number) = tunnels.served.next() => if tunnels.lost(number) {
                    backoff.failed(|bound| self.world.random.below(bound));
                },
                () = leaving.notified() => tunnels.retire(),
                // The gateway closes a tunnel when the certificate that it was opened with expires.
                Ok(()) = issued.changed() => tunnels.retire(),
                Some(()) = tunnels.spares.next() => {}
                dialed = self.dial_spare(core, spare_wanted, spare_at), if tunnels.wants_spares() => match dialed {
                    Ok(socket) => tunnels.add_spare(socket, serve),
                    // What it was for goes through the tunnel, which says more of what is wrong.
                    Err(_) => spare_at = Instant::now() + TUNNEL_RETRY_MAX,
                },
                dialed = self.dial(core, backoff.dial_at), if tunnels.current.is_none() => match dialed {
                    Ok((socket, takes_spares)) => {
                        backoff.failures = 0;
                        tunnels.open(socket, takes_spares, serve);
                    }
                    Err(CallError::Over(why)) => {
                        tracing::warn!(%why, "no tunnel is opened any more");
                        break;
                    }
                    Err(error) => {
                        if backoff.failures == 0 {
                            self.warn(core, error);
                        }
                        backoff.failed(|bound| self.world.random.below(bound));
                    }
                },
            }
        }
        tunnels.end().await;
    }

    fn warn(&self, core: u32, error: CallError) {
        let why = match error {
            CallError::Away(why) => why,
            _ => "it is older than this node, and takes no tunnels".to_owned(),
        };
        let control = &self.control.membership.control;
        tracing::warn!(%control, core, %why, "no tunnel could be opened; it is tried again");
    }

    /// Opens a tunnel, once it is time, there is a certificate, and the gateway has that core. Also returns whether the gateway
    /// takes spare connections.
    async fn dial(&self, core: u32, at: Instant) -> Result<(Socket, bool), CallError> {
        drop(self.cores.subscribe().wait_for(|cores| core < *cores).await);
        sleep_until(at).await;
        // The sender lives as long as the policy.
        drop(self.policy.issued().wait_for(|issued| *issued > 0).await);
        let (socket, opened) = self.connect(core, None).await?;
        // The gateways behind one address may differ; the tunnel for the first core says what is wanted.
        if core == 0 {
            self.cores.send_replace(opened.cores);
        }
        Ok((socket, opened.takes_spares))
    }

    /// Opens a spare connection, once a request could have used one and it is time.
    async fn dial_spare(&self, core: u32, wanted: Rc<Notify>, at: Instant) -> Result<Socket, CallError> {
        wanted.notified().await;
        sleep_until(at).await;
        let header = (HeaderName::from_static(TUNNEL_SPARE_HEADER), HeaderValue::from_static("1"));
        self.connect(core, Some(header)).await.map(|(socket, _)| socket)
    }

    async fn connect(
        &self,
        core: u32,
        more: Option<(HeaderName, HeaderValue)>,
    ) -> Result<(Socket, Opened), CallError> {
        let versions = TUNNEL_VERSIONS.map(|version| version.to_string()).join(", ");
        let value = HeaderValue::try_from(versions).map_err(|error| CallError::Away(error.to_string()))?;
        let headers = [
            (HeaderName::from_static(TUNNEL_VERSIONS_HEADER), value),
            (HeaderName::from_static(TUNNEL_CORE_HEADER), HeaderValue::from(core)),
        ];
        let headers = headers.into_iter().chain(more);
        let mut socket = self.control.upgrade(TUNNEL, headers, TUNNEL_PROTOCOL).await?;
        match timeout(TUNNEL_HELLO_TIME_MAX, self.handshake(&mut socket)).await {
            Ok(Ok(opened)) => Ok((socket, opened)),
            Ok(Err(why)) => Err(CallError::Away(why)),
            Err(_) => Err(CallError::Away("it was silent during the handshake".to_owned())),
        }
    }

    async fn handshake(&self, socket: &mut Socket) -> Result<Opened, String> {
        let (line, rest) = read_line(socket).await.map_err(|error| error.to_string())?;
        socket.give_back(&rest);
        let Challenge { protocol, nonce } =
            serde_json::from_slice(&line).map_err(|error| format!("its challenge can't be read: {error}"))?;
        if !TUNNEL_VERSIONS.contains(&protocol) {
            return Err(format!(
                "it speaks version {protocol} of the tunnel, and this node {TUNNEL_VERSIONS:?}"
            ));
        }
        let certificate = self.policy.certificate().ok_or("this node has no certificate yet")?;
        let text = egress::tunnel_text(&nonce, &self.control.membership.node_id);
        let hello = Hello {
            object: "tunnel_hello",
            certificate,
            signature: self.key.sign(text.as_bytes()).to_string(),
            version: env!("CARGO_PKG_VERSION"),
            features: ["leaving"],
        };
        let mut line = serde_json::to_vec(&hello).map_err(|error| error.to_string())?;
        line.push(b'\n');
        socket.write_all(&line).await.map_err(|error| error.to_string())?;
        socket.flush().await.map_err(|error| error.to_string())?;
        let (line, rest) = read_line(socket).await.map_err(|error| error.to_string())?;
        socket.give_back(&rest);
        let Verdict { object, cores, features, detail, fix } =
            serde_json::from_slice(&line).map_err(|error| format!("its answer can't be read: {error}"))?;
        if object != "tunnel_open" {
            return Err(format!("{detail} {fix}"));
        }
        Ok(Opened { cores: cores.unwrap_or(1), takes_spares: features.iter().any(|name| name == "spares") })
    }
}

impl Tunnels {
    fn new() -> Self {
        Self {
            served: FuturesUnordered::new(),
            current: None,
            takes_spares: false,
            retiring: Vec::new(),
            leaving: Rc::default(),
            last: 0,
            spares: FuturesUnordered::new(),
            spare_wanted: Rc::default(),
            spares_wind_down: watch::channel(false).0,
        }
    }

    /// Has a new tunnel served. The gateway closes the others, once it uses this one and what runs there is answered.
    fn open<F: Future<Output = ()> + 'static>(
        &mut self,
        socket: Socket,
        takes_spares: bool,
        serve: &impl Fn(Dialled) -> F,
    ) {
        self.last += 1;
        let (number, (winding_down, wind_down)) = (self.last, watch::channel(false));
        let (leaving, spare_wanted) = (Rc::clone(&self.leaving), Rc::clone(&self.spare_wanted));
        let signals = TunnelSignals { leaving, spare_wanted, wind_down };
        // A task, so that a request wakes nothing but its connection.
        let serving = Task::spawn_local("tunnel", serve(Dialled::Tunnel(socket, signals)));
        self.served.push(Box::pin(async move {
            let _ = serving.ended().await;
            number
        }));
        self.current = Some((number, winding_down));
        self.takes_spares = takes_spares;
    }

    /// Whether more requests at once than there are spare connections would have another one opened.
    fn wants_spares(&self) -> bool {
        self.takes_spares && self.current.is_some() && self.spares.len() < TUNNEL_SPARES_MAX
    }

    /// Has a spare connection served.
    fn add_spare<F: Future<Output = ()> + 'static>(&self, socket: Socket, serve: &impl Fn(Dialled) -> F) {
        let dialled = Dialled::Spare(socket, self.spares_wind_down.subscribe());
        let serving = Task::spawn_local("spare connection", serve(dialled));
        self.spares.push(Box::pin(async move { drop(serving.ended().await) }));
    }

    /// Wants another tunnel; until it is open, requests may still come through this one.
    fn retire(&mut self) {
        if let Some((_, old)) = self.current.take() {
            self.retiring.push(old);
        }
        if self.retiring.len() > TUNNELS_RETIRING_MAX {
            self.retiring.remove(0).send_replace(true);
        }
    }

    /// A tunnel ended; whether it was the one in use.
    fn lost(&mut self, number: u64) -> bool {
        self.current.take_if(|(current, _)| *current == number).is_some()
    }

    /// Takes no more requests, and waits for those that run.
    async fn end(mut self) {
        self.retire();
        for old in self.retiring.drain(..) {
            old.send_replace(true);
        }
        while self.served.next().await.is_some() {}
        self.spares_wind_down.send_replace(true);
        while self.spares.next().await.is_some() {}
    }
}
