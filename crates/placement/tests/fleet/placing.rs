//! The placements that are compared, each from what a gateway knows: its own requests, and reports that are some seconds old.

use placement::{CachedAt, LoadReport, NodeLoad, PrefixHolders, expected, order, rendezvous, usual_us};

use crate::traffic::Request;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    ExpectedTime,
    RoundRobin,
    FewestConnections,
    ConsistentHashing,
}

impl Policy {
    pub const ALL: [Self; 4] =
        [Self::ExpectedTime, Self::RoundRobin, Self::FewestConnections, Self::ConsistentHashing];

    pub const fn name(self) -> &'static str {
        match self {
            Self::ExpectedTime => "least expected time (ours)",
            Self::RoundRobin => "round robin",
            Self::FewestConnections => "fewest connections",
            Self::ConsistentHashing => "consistent hashing of the session",
        }
    }
}

/// What the gateway knows of a node.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    load: NodeLoad,
    alone_us: u64,
    whole_us: u64,
}

pub struct Gateway {
    policy: Policy,
    seen: Vec<Seen>,
    holders: PrefixHolders,
    turn: usize,
    /// Whether clients name their conversations, so that gateways which know nothing of each other choose the same node.
    has_sessions: bool,
}

/// What the gateway remembers of a request that it sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub node: usize,
    ahead: u32,
    at_us: u64,
}

impl Gateway {
    pub fn new(policy: Policy, nodes: usize, has_sessions: bool) -> Self {
        let seen = vec![Seen::default(); nodes];
        Self { policy, seen, holders: PrefixHolders::default(), turn: 0, has_sessions }
    }

    pub fn place(&mut self, request: &Request, now_us: u64) -> Sent {
        let nodes = 0..self.seen.len();
        let node = match self.policy {
            Policy::RoundRobin => self.turn % self.seen.len(),
            Policy::FewestConnections => {
                let by_turn = |node: &usize| rendezvous(self.turn as u64, *node as u64);
                nodes.min_by_key(|node| (self.seen[*node].load.in_flight, by_turn(node))).unwrap()
            }
            Policy::ConsistentHashing => {
                nodes.min_by_key(|node| rendezvous(request.session, *node as u64)).unwrap()
            }
            Policy::ExpectedTime => self.soonest(request, now_us),
        };
        self.turn += 1;
        let load = &mut self.seen[node].load;
        let sent = Sent { node, ahead: load.unanswered, at_us: now_us };
        load.in_flight += 1;
        load.unanswered += 1;
        sent
    }

    fn soonest(&self, request: &Request, now_us: u64) -> usize {
        let ends = request.ends();
        let cached = CachedAt::of(&ends, &self.holders, now_us / 1_000_000);
        let at = |node: usize| NodeLoad { cached_tokens: cached.length(node as u64), ..self.seen[node].load };
        let usual = usual_us((0..self.seen.len()).map(at));
        let times: Vec<_> =
            (0..self.seen.len()).map(|node| expected(request.prompt_tokens(), &at(node), usual)).collect();
        let soonest_us = times.iter().map(|one| one.total_us()).min().unwrap();
        let key = if self.has_sessions { request.session } else { ends[0].0 };
        let node = (0..times.len())
            .min_by_key(|node| order(&times[*node], soonest_us, 0, (key, *node as u64)))
            .unwrap();
        for (fingerprint, _) in [ends.first(), ends.last()].into_iter().flatten() {
            self.holders.note(*fingerprint, node as u64, now_us / 1_000_000);
        }
        node
    }

    pub fn first_token(&mut self, sent: Sent, now_us: u64) {
        let seen = &mut self.seen[sent.node];
        seen.load.unanswered -= 1;
        let each_us = (now_us - sent.at_us) / u64::from(sent.ahead + 1);
        seen.alone_us = average(seen.alone_us, each_us);
        seen.load.alone_us = Some(seen.alone_us);
    }

    pub fn ended(&mut self, sent: Sent, now_us: u64) {
        let seen = &mut self.seen[sent.node];
        seen.load.in_flight -= 1;
        seen.whole_us = average(seen.whole_us, now_us - sent.at_us);
        seen.load.whole_us = Some(seen.whole_us);
    }

    pub fn report(&mut self, node: usize, running: u32, waiting: u32, kv_permille: u16) {
        let load = &mut self.seen[node].load;
        let in_flight_then = load.in_flight;
        let (kv_permille, token_us) = (Some(kv_permille), None);
        load.report = Some(LoadReport { running, waiting, kv_permille, token_us, in_flight_then });
    }
}

const fn average(old: u64, new: u64) -> u64 {
    if old == 0 { new } else { old - old / 8 + new / 8 }
}
