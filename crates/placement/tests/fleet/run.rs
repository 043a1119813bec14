//! One run: the traffic, the nodes and the gateway on a virtual clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::node::{Event, Node};
use crate::placing::{Gateway, Policy, Sent};
use crate::traffic::{Chance, Conversation, Piece, Request, conversations};

#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    pub nodes: usize,
    /// Every fourth node computes half as fast.
    pub is_mixed: bool,
    pub seconds: u64,
    pub seed: u64,
    /// Gateways that share the nodes and know nothing of each other's requests. Each turn of a conversation comes to any of them,
    /// and what a node says comes to all.
    pub gateways: usize,
}

/// How often a node says how busy it is.
const REPORT_US: u64 = 5_000_000;
const SLOW_EVERY: usize = 4;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    first_us: Vec<u64>,
    whole_us: Vec<u64>,
    request_us: Vec<u64>,
    prompt_tokens: u64,
    cached_tokens: u64,
}

impl Figures {
    pub fn requests(&self) -> usize {
        self.first_us.len()
    }

    pub fn hit_rate(&self) -> f64 {
        self.cached_tokens as f64 / self.prompt_tokens as f64
    }

    pub fn first_token_ms(&self, percent: usize) -> u64 {
        percentile(&self.first_us, percent) / 1_000
    }

    pub fn whole_ms(&self, percent: usize) -> u64 {
        percentile(&self.whole_us, percent) / 1_000
    }

    /// Jain's index of the nodes' loads, which are the requests that are there on the average: one where all are alike, and one
    /// in as many as there are where one node has them all.
    pub fn fairness(&self) -> f64 {
        let loads = || self.request_us.iter().map(|us| *us as f64);
        let sum: f64 = loads().sum();
        sum * sum / (self.request_us.len() as f64 * loads().map(|us| us * us).sum::<f64>())
    }

    /// The share of requests with a first token within so many milliseconds.
    pub fn within(&self, ms: u64) -> f64 {
        let at = self.first_us.partition_point(|us| *us <= ms * 1_000);
        at as f64 / self.first_us.len() as f64
    }
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    StepEnds(usize),
    Report(usize),
    Arrives(usize),
}

struct Talk {
    conversation: Conversation,
    pieces: Vec<Piece>,
    turn: usize,
}

impl Talk {
    /// The next request, with a new piece of what the user said, and of what was answered before.
    fn request(&mut self, now_us: u64) -> Request {
        let turn = &self.conversation.turns[self.turn];
        let answered =
            self.turn.checked_sub(1).map_or(0, |before| self.conversation.turns[before].answer_tokens);
        let id = self.conversation.session << 16 | (1 << 15) | self.turn as u64;
        self.pieces.push(Piece { id, tokens: turn.user_tokens + answered });
        self.turn += 1;
        let (session, answer_tokens) = (self.conversation.session, turn.answer_tokens);
        Request { session, at_us: now_us, pieces: self.pieces.clone(), answer_tokens }
    }
}

/// A request: its conversation, the gateway that it came to, and where that sent it.
#[derive(Clone, Copy)]
struct Journey {
    talk: usize,
    gateway: usize,
    sent: Sent,
    at_us: u64,
}

struct World {
    due: BinaryHeap<Reverse<(u64, Due)>>,
    nodes: Vec<Node>,
    gateways: Vec<Gateway>,
    /// Which gateway a request comes to.
    comes_to: Chance,
    talks: Vec<Talk>,
    sent: Vec<Journey>,
    figures: Figures,
}

pub fn run(fleet: &Fleet, policy: Policy) -> Figures {
    let mut due = BinaryHeap::new();
    let begin = |conversation: Conversation| Talk { pieces: vec![conversation.head], conversation, turn: 0 };
    let conversations = conversations(fleet.nodes, fleet.seconds, fleet.seed);
    let talks: Vec<Talk> = conversations.into_iter().map(begin).collect();
    for (number, talk) in talks.iter().enumerate() {
        due.push(Reverse((talk.conversation.begins_us, Due::Arrives(number))));
    }
    for node in 0..fleet.nodes {
        // They don't report all at once.
        due.push(Reverse((REPORT_US * node as u64 / fleet.nodes as u64, Due::Report(node))));
    }
    let is_slow = |node: usize| fleet.is_mixed && node % SLOW_EVERY == SLOW_EVERY - 1;
    let speed = |node: usize| if is_slow(node) { 0.5 } else { 1.0 };
    let gateway = |_| Gateway::new(policy, fleet.nodes, fleet.gateways > 1);
    let mut world = World {
        due,
        nodes: (0..fleet.nodes).map(|node| Node::new(speed(node))).collect(),
        gateways: (0..fleet.gateways).map(gateway).collect(),
        comes_to: Chance::new(fleet.seed),
        talks,
        sent: Vec::new(),
        figures: Figures::default(),
    };
    let ends_us = fleet.seconds * 1_000_000;
    while let Some(Reverse((now_us, due))) = world.due.pop() {
        // What began is measured to its end; the reports end with the traffic.
        world.happens(due, now_us, now_us < ends_us);
    }
    let mut figures = world.figures;
    figures.first_us.sort_unstable();
    figures.whole_us.sort_unstable();
    figures.request_us = world.nodes.iter().map(|node| node.request_us).collect();
    figures.prompt_tokens = world.nodes.iter().map(|node| node.prompt_tokens).sum();
    figures.cached_tokens = world.nodes.iter().map(|node| node.cached_tokens).sum();
    figures
}

impl World {
    fn happens(&mut self, due: Due, now_us: u64, is_on: bool) {
        match due {
            Due::Arrives(talk) => self.arrives(talk, now_us),
            Due::Report(node) => {
                let seen = &self.nodes[node];
                for gateway in &mut self.gateways {
                    gateway.report(node, seen.running(), seen.waiting(), seen.kv_permille());
                }
                if is_on {
                    self.due.push(Reverse((now_us + REPORT_US, Due::Report(node))));
                }
            }
            Due::StepEnds(node) => {
                for event in self.nodes[node].end_step(now_us) {
                    self.answered(event, now_us, is_on);
                }
                self.follow(node);
            }
        }
    }

    fn arrives(&mut self, talk: usize, now_us: u64) {
        let request = self.talks[talk].request(now_us);
        let gateway = (self.comes_to.next() % self.gateways.len() as u64) as usize;
        let sent = self.gateways[gateway].place(&request, now_us);
        self.sent.push(Journey { talk, gateway, sent, at_us: request.at_us });
        let was_idle = self.nodes[sent.node].step_ends_us().is_none();
        self.nodes[sent.node].take(self.sent.len() - 1, request, now_us);
        if was_idle {
            self.follow(sent.node);
        }
    }

    fn follow(&mut self, node: usize) {
        if let Some(ends_us) = self.nodes[node].step_ends_us() {
            self.due.push(Reverse((ends_us, Due::StepEnds(node))));
        }
    }

    fn answered(&mut self, event: Event, now_us: u64, is_on: bool) {
        match event {
            Event::FirstToken(number) => {
                let Journey { gateway, sent, at_us, .. } = self.sent[number];
                self.figures.first_us.push(now_us - at_us);
                self.gateways[gateway].first_token(sent, now_us);
            }
            Event::Ended(number) => {
                let Journey { talk, gateway, sent, at_us } = self.sent[number];
                self.figures.whole_us.push(now_us - at_us);
                self.gateways[gateway].ended(sent, now_us);
                let talk_now = &self.talks[talk];
                if let Some(turn) = talk_now.conversation.turns.get(talk_now.turn)
                    && is_on
                {
                    self.due.push(Reverse((now_us + turn.think_us, Due::Arrives(talk))));
                }
            }
        }
    }
}
