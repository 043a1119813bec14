//! A link between two networks that loses datagrams and delays them, as a kernel with netem does: a relay of UDP. Which ones are lost
//! follows from a seed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// The largest datagram of UDP.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// What a link does to datagrams, in each direction.
#[derive(Debug, Clone, Copy)]
pub struct LinkConditions {
    /// Lost ones in a thousand.
    pub lost_per_mille: u64,
    /// How long each is on its way.
    pub delay: Duration,
    pub seed: u64,
}

/// A link; dropping it ends it.
pub struct DatagramLink {
    /// Where it takes datagrams.
    pub address: SocketAddr,
    link: Arc<Link>,
    _running: JoinSet<()>,
}

/// Datagrams, and when each arrives.
type Queue = mpsc::UnboundedSender<(Instant, Vec<u8>)>;

struct Link {
    near: UdpSocket,
    far: SocketAddr,
    /// The link's address on the far side.
    from: IpAddr,
    conditions: LinkConditions,
    chance: Mutex<u64>,
    is_cut: AtomicBool,
    passed: AtomicU64,
    lost: AtomicU64,
    running: Mutex<JoinSet<()>>,
    /// The socket on the far side of each who sends on the near side.
    callers: Mutex<HashMap<SocketAddr, Queue>>,
}

impl DatagramLink {
    /// Passes on what arrives at `near` to `far`, from the address `from`, and the replies back.
    ///
    /// # Errors
    /// No socket can be bound.
    pub async fn start(
        near: IpAddr,
        from: IpAddr,
        far: SocketAddr,
        conditions: LinkConditions,
    ) -> io::Result<Self> {
        let near = UdpSocket::bind((near, 0)).await?;
        let address = near.local_addr()?;
        let link = Arc::new(Link {
            near,
            far,
            from,
            conditions,
            chance: Mutex::new(conditions.seed | 1),
            is_cut: AtomicBool::new(false),
            passed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            running: Mutex::default(),
            callers: Mutex::default(),
        });
        let mut running = JoinSet::new();
        running.spawn(Arc::clone(&link).take());
        Ok(Self { address, link, _running: running })
    }

    /// From now on nothing passes.
    pub fn cut(&self) {
        self.link.is_cut.store(true, Ordering::SeqCst);
    }

    pub fn mend(&self) {
        self.link.is_cut.store(false, Ordering::SeqCst);
    }

    /// Datagrams that passed, and those that were lost.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.link.passed.load(Ordering::SeqCst), self.link.lost.load(Ordering::SeqCst))
    }
}

impl Drop for DatagramLink {
    fn drop(&mut self) {
        self.link.running.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Link {
    async fn take(self: Arc<Self>) {
        let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            // A refused datagram before is no reason to end.
            let Ok((length, caller)) = self.near.recv_from(&mut bytes).await else { continue };
            let Some(arrives) = self.arrives() else { continue };
            let Some(queue) = self.queue_of(caller).await else { continue };
            let _ = queue.send((arrives, bytes.get(..length).unwrap_or_default().to_vec()));
        }
    }

    /// When a datagram arrives at the other end; `None` if it does not.
    fn arrives(&self) -> Option<Instant> {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        // Marsaglia's xorshift.
        *chance ^= *chance << 13;
        *chance ^= *chance >> 7;
        *chance ^= *chance << 17;
        let is_lost = *chance % 1_000 < self.conditions.lost_per_mille || self.is_cut.load(Ordering::SeqCst);
        let counted = if is_lost { &self.lost } else { &self.passed };
        counted.fetch_add(1, Ordering::SeqCst);
        (!is_lost).then(|| Instant::now() + self.conditions.delay)
    }

    /// The way to the far side for one caller.
    async fn queue_of(self: &Arc<Self>, caller: SocketAddr) -> Option<Queue> {
        if let Some(known) = self.callers.lock().unwrap_or_else(PoisonError::into_inner).get(&caller) {
            return Some(known.clone());
        }
        let socket = Arc::new(UdpSocket::bind((self.from, 0)).await.ok()?);
        socket.connect(self.far).await.ok()?;
        let (sender, mut queue) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
        let (replies, mut back) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
        let (out, receiving, link, sending) =
            (Arc::clone(&socket), socket, Arc::clone(self), Arc::clone(self));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.spawn(async move {
            while let Some((arrives, bytes)) = queue.recv().await {
                sleep_until(arrives).await;
                let _ = out.send(&bytes).await;
            }
        });
        running.spawn(async move {
            let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
            loop {
                let Ok(length) = receiving.recv(&mut bytes).await else { continue };
                let Some(arrives) = link.arrives() else { continue };
                let _ = replies.send((arrives, bytes.get(..length).unwrap_or_default().to_vec()));
            }
        });
        running.spawn(async move {
            while let Some((arrives, bytes)) = back.recv().await {
                sleep_until(arrives).await;
                let _ = sending.near.send_to(&bytes, caller).await;
            }
        });
        self.callers.lock().unwrap_or_else(PoisonError::into_inner).insert(caller, sender.clone());
        Some(sender)
    }
}
