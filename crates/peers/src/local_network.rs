//! Discovery on the local network, on request: nodes announce their keys and addresses by multicast DNS (RFC 6762, over IPv4). It makes
//! nobody a member: an address is dialled only for a key that a list names, and whoever answers there must prove to have that key.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use domain::timeline::micros;
use proof::{PublicKey, to_hex};
use simple_dns::rdata::{A, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::limits::{
    ANNOUNCE_EVERY, ANNOUNCED_ADDRESSES_MAX, ANNOUNCED_FOR, ANSWERS_EVERY, DATAGRAM_BYTES_MAX, MEMBERS_MAX,
};
use crate::mesh::Mesh;

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;
const SERVICE: &str = "_tidegate._udp.local";
/// The text record of a node's public key, in hexadecimal digits.
const KEY: &str = "key=";

/// A node's announcements of itself, and what others announce.
pub struct LocalNetwork {
    mesh: Arc<Mesh>,
    socket: UdpSocket,
    /// The interfaces that take part, by their addresses.
    joined: Vec<Ipv4Addr>,
    /// Until when an announced key is remembered, by the monotonic clock.
    until_us: BTreeMap<[u8; 32], u64>,
    answered_us: Option<u64>,
}

/// What one packet says of a node.
#[derive(Debug, PartialEq, Eq)]
struct Announcement {
    key: PublicKey,
    addresses: Vec<SocketAddr>,
    /// The node goes.
    is_farewell: bool,
}

impl LocalNetwork {
    /// Binds the port of multicast DNS beside whoever else uses it on this machine.
    ///
    /// # Errors
    /// It can't be bound.
    pub fn bind(mesh: Arc<Mesh>) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.set_multicast_ttl_v4(255)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { mesh, socket, joined: Vec::new(), until_us: BTreeMap::new(), answered_us: None })
    }

    /// Announces this node and notes what others announce, until `stop` is true; then it says that this node goes.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut ticks = interval(ANNOUNCE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
        let mut stopped = pin!(async { drop(stop.wait_for(|stop| *stop).await) });
        loop {
            tokio::select! {
                () = &mut stopped => break,
                _ = ticks.tick() => {
                    self.forget();
                    self.join();
                    self.send(&query()).await;
                    self.announce().await;
                }
                received = self.socket.recv_from(&mut bytes) => {
                    // A socket that fails is tried again with the next tick.
                    let Ok((length, _)) = received else {
                        ticks.tick().await;
                        continue;
                    };
                    self.take(bytes.get(..length).unwrap_or_default()).await;
                }
            }
        }
        self.say(Duration::ZERO).await;
    }

    fn interfaces(&self) -> Vec<SocketAddrV4> {
        let bound = self.mesh.addresses().into_iter();
        let local = bound.filter_map(|address| match address {
            SocketAddr::V4(address) if is_local(*address.ip()) => Some(address),
            _ => None,
        });
        local.take(ANNOUNCED_ADDRESSES_MAX).collect()
    }

    /// Takes part on interfaces that are new.
    fn join(&mut self) {
        for address in self.interfaces() {
            let host = *address.ip();
            if self.joined.contains(&host) {
                continue;
            }
            match self.socket.join_multicast_v4(GROUP, host) {
                Ok(()) => self.joined.push(host),
                Err(error) => tracing::debug!(%host, %error, "this interface has no multicast"),
            }
        }
    }

    async fn announce(&mut self) {
        if self.say(ANNOUNCED_FOR).await {
            self.answered_us = Some(self.mesh.world.clock.monotonic_us());
        }
    }

    /// Says where this node is, and for how long; false if there is nowhere to say it.
    async fn say(&self, lasts: Duration) -> bool {
        let Some(packet) = announcement(&self.mesh.public_key(), &self.interfaces(), lasts) else {
            return false;
        };
        self.send(&packet).await;
        true
    }

    async fn send(&self, packet: &[u8]) {
        for host in &self.joined {
            let sent = match SockRef::from(&self.socket).set_multicast_if_v4(host) {
                Ok(()) => self.socket.send_to(packet, (GROUP, PORT)).await.map(|_| ()),
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                tracing::debug!(%host, %error, "nothing could be announced on the local network");
            }
        }
    }

    async fn take(&mut self, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else { return };
        let now_us = self.mesh.world.clock.monotonic_us();
        if !packet.has_flags(PacketFlag::RESPONSE) {
            let pause_us = micros(ANSWERS_EVERY);
            let may_answer = self.answered_us.is_none_or(|at| now_us.saturating_sub(at) >= pause_us);
            if may_answer && asks(&packet) {
                self.announce().await;
            }
            return;
        }
        let Some(announcement) =
            read(&packet).filter(|announcement| announcement.key != self.mesh.public_key())
        else {
            return;
        };
        let key = *announcement.key.as_bytes();
        if announcement.is_farewell {
            self.until_us.remove(&key);
            self.mesh.roster().announced(key, Vec::new());
            return;
        }
        if self.until_us.len() >= MEMBERS_MAX && !self.until_us.contains_key(&key) {
            let oldest = self.until_us.iter().min_by_key(|(_, until_us)| **until_us).map(|(key, _)| *key);
            if let Some(oldest) = oldest.filter(|_| self.mesh.admits(&key)) {
                self.until_us.remove(&oldest);
                self.mesh.roster().announced(oldest, Vec::new());
            } else {
                return;
            }
        }
        let lasts_us = micros(ANNOUNCED_FOR);
        self.until_us.insert(key, now_us.saturating_add(lasts_us));
        self.mesh.roster().announced(key, announcement.addresses);
    }

    fn forget(&mut self) {
        let now_us = self.mesh.world.clock.monotonic_us();
        let over = self.until_us.extract_if(.., |_, until_us| *until_us <= now_us);
        for (key, _) in over {
            self.mesh.roster().announced(key, Vec::new());
        }
    }
}

/// No announcement makes a node send packets to the Internet.
fn is_local(host: Ipv4Addr) -> bool {
    host.is_private() || host.is_link_local() || host.is_loopback()
}

/// Who is there?
fn query() -> Vec<u8> {
    let mut packet = Packet::new_query(0);
    let (kind, class) = (QTYPE::TYPE(TYPE::PTR), QCLASS::CLASS(CLASS::IN));
    packet.questions.push(Question::new(Name::new_unchecked(SERVICE), kind, class, false));
    packet.build_bytes_vec().unwrap_or_default()
}

fn asks(packet: &Packet<'_>) -> bool {
    let service = Name::new_unchecked(SERVICE);
    packet.questions.iter().any(|question| {
        question.qname == service && matches!(question.qtype, QTYPE::TYPE(TYPE::PTR) | QTYPE::ANY)
    })
}

/// All that others need of this node, in one packet.
fn announcement(key: &PublicKey, addresses: &[SocketAddrV4], lasts: Duration) -> Option<Vec<u8>> {
    let port = addresses.first()?.port();
    let lasts_s = u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX);
    let text = format!("{KEY}{}", to_hex(key.as_bytes()));
    // A label has up to 63 bytes, and a key 64 digits.
    let label = to_hex(key.as_bytes().first_chunk::<16>()?);
    let (instance, host) = (format!("{label}.{SERVICE}"), format!("tidegate-{label}.local"));
    let (service, instance, host) =
        (Name::new(SERVICE).ok()?, Name::new(&instance).ok()?, Name::new(&host).ok()?);
    let record =
        |name: &Name<'_>, data| ResourceRecord::new(name.clone().into_owned(), CLASS::IN, lasts_s, data);
    let mut packet = Packet::new_reply(0);
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    packet.answers.push(record(&service, RData::PTR(PTR(instance.clone()))));
    let place = SRV { priority: 0, weight: 0, port, target: host.clone() };
    packet.answers.push(record(&instance, RData::SRV(place)).with_cache_flush(true));
    let text = TXT::new().with_string(&text).ok()?.into_owned();
    packet.answers.push(record(&instance, RData::TXT(text)).with_cache_flush(true));
    for address in addresses {
        let at = A { address: u32::from(*address.ip()) };
        packet.answers.push(record(&host, RData::A(at)).with_cache_flush(true));
    }
    packet.build_bytes_vec_compressed().ok()
}

/// What a packet says of a node, if it says all of it.
fn read(packet: &Packet<'_>) -> Option<Announcement> {
    let records = || packet.answers.iter().chain(&packet.additional_records);
    let instance = records().find_map(|record| match &record.rdata {
        RData::PTR(PTR(instance)) if record.name == Name::new_unchecked(SERVICE) => {
            Some((instance, record.ttl))
        }
        _ => None,
    });
    let (instance, lasts_s) = instance?;
    let of_instance = || records().filter(|record| record.name == *instance);
    let key = of_instance().find_map(|record| match &record.rdata {
        RData::TXT(text) => text.iter_raw().find_map(|(name, value)| {
            let is_key = KEY.strip_suffix('=').is_some_and(|key| key.as_bytes() == name);
            let value = std::str::from_utf8(value?).ok()?;
            is_key.then(|| value.parse::<PublicKey>().ok()).flatten()
        }),
        _ => None,
    })?;
    let place = of_instance().find_map(|record| match &record.rdata {
        RData::SRV(place) => Some(place),
        _ => None,
    })?;
    let hosts =
        records().filter(|record| record.name == place.target).filter_map(|record| match &record.rdata {
            RData::A(at) => Some(Ipv4Addr::from(at.address)),
            _ => None,
        });
    let addresses: Vec<SocketAddr> = hosts
        .filter(|host| is_local(*host) && place.port != 0)
        .map(|host| SocketAddr::new(IpAddr::V4(host), place.port))
        .take(ANNOUNCED_ADDRESSES_MAX)
        .collect();
    let is_farewell = lasts_s == 0;
    (is_farewell || !addresses.is_empty()).then_some(Announcement { key, addresses, is_farewell })
}

/// The addresses that an announcement names; `None` where a packet is none.
#[cfg(feature = "fixtures")]
pub fn addresses_of(bytes: &[u8]) -> Option<Vec<SocketAddr>> {
    let packet = Packet::parse(bytes).ok()?;
    let _ = asks(&packet);
    read(&packet).map(|announcement| announcement.addresses)
}

#[cfg(test)]
mod tests {
    use proof::SigningKey;

    use super::*;

    fn read_bytes(bytes: &[u8]) -> Option<Announcement> {
        read(&Packet::parse(bytes).ok()?)
    }

    #[test]
    fn an_announcement_says_key_and_addresses_and_none_leads_to_the_internet() {
        let key = SigningKey::from_seed(&[7; 32]).unwrap().public();
        let at = |text: &str| text.parse::<SocketAddrV4>().unwrap();
        let packet = announcement(&key, &[at("10.1.2.3:7000"), at("8.8.8.8:7000")], ANNOUNCED_FOR).unwrap();
        let found = read_bytes(&packet).unwrap();
        assert_eq!((found.key, found.is_farewell), (key, false));
        assert_eq!(found.addresses, ["10.1.2.3:7000".parse::<SocketAddr>().unwrap()]);
        let abroad = announcement(&key, &[at("8.8.8.8:7000")], ANNOUNCED_FOR);
        assert_eq!(read_bytes(&abroad.unwrap()), None);
        let farewell = announcement(&key, &[at("10.1.2.3:7000")], Duration::ZERO);
        assert!(read_bytes(&farewell.unwrap()).unwrap().is_farewell);
        assert!(asks(&Packet::parse(&query()).unwrap()) && !asks(&Packet::parse(&packet).unwrap()));
        for length in 0..packet.len() {
            assert_eq!(read_bytes(&packet[..length]), None, "a packet that is cut off");
        }
    }
}
