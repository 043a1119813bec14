//! A node: continuous batching with chunked prefill, a KV cache of a size, and a prefix cache in what running sequences leave
//! of it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::traffic::{Piece, Request};

/// Sequences that run at once.
pub const SLOTS: usize = 16;
/// Prompt tokens that one step computes at most.
const CHUNK: u64 = 1_024;
const KV_TOKENS: u64 = 96_000;
/// A step takes this, and for each prompt token and each decoding sequence this much more, at a speed of one.
const STEP_US: f64 = 9_000.0;
const PROMPT_TOKEN_US: f64 = 95.0;
const DECODE_US: f64 = 320.0;

/// A prefix cache by least recent use.
#[derive(Debug, Default)]
struct Prefixes {
    by_piece: HashMap<u64, (u64, u64)>,
    by_use: BTreeMap<u64, u64>,
    tokens: u64,
    uses: u64,
}

impl Prefixes {
    /// The tokens of the longest cached beginning.
    fn cached(&self, pieces: &[Piece]) -> u64 {
        let held = pieces.iter().take_while(|piece| self.by_piece.contains_key(&piece.id));
        held.map(|piece| piece.tokens).sum()
    }

    /// Keeps a prompt's pieces, the head as the one that was used last, and drops what has no room.
    fn keep(&mut self, pieces: &[Piece], room: u64) {
        for piece in pieces.iter().rev() {
            self.uses += 1;
            if let Some((_, before)) = self.by_piece.insert(piece.id, (piece.tokens, self.uses)) {
                self.by_use.remove(&before);
            } else {
                self.tokens += piece.tokens;
            }
            self.by_use.insert(self.uses, piece.id);
        }
        self.shrink(room);
    }

    fn shrink(&mut self, room: u64) {
        while self.tokens > room {
            let Some((_, id)) = self.by_use.pop_first() else { return };
            if let Some((tokens, _)) = self.by_piece.remove(&id) {
                self.tokens -= tokens;
            }
        }
    }
}

#[derive(Debug)]
struct Sequence {
    number: usize,
    pieces: Vec<Piece>,
    fresh_left: u64,
    answer_left: u64,
    kv_tokens: u64,
    is_answering: bool,
}

/// What became of a request at the end of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    FirstToken(usize),
    Ended(usize),
}

#[derive(Debug, Default)]
pub struct Node {
    speed: f64,
    waiting: VecDeque<(usize, Request)>,
    running: Vec<Sequence>,
    prefixes: Prefixes,
    /// When the step ends that runs now.
    step_ends_us: Option<u64>,
    /// Prompt tokens that this step computes, by sequence.
    chunk: Vec<(usize, u64)>,
    /// The requests that are here, over time.
    pub request_us: u64,
    since_us: u64,
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
}

impl Node {
    pub fn new(speed: f64) -> Self {
        Self { speed, ..Self::default() }
    }

    pub fn running(&self) -> u32 {
        u32::try_from(self.running.len()).unwrap()
    }

    pub fn waiting(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap()
    }

    fn kv_used(&self) -> u64 {
        self.running.iter().map(|one| one.kv_tokens).sum()
    }

    pub fn kv_permille(&self) -> u16 {
        u16::try_from(self.kv_used().min(KV_TOKENS) * 1_000 / KV_TOKENS).unwrap()
    }

    pub const fn step_ends_us(&self) -> Option<u64> {
        self.step_ends_us
    }

    fn count(&mut self, now_us: u64) {
        let here = u64::from(self.running() + self.waiting());
        self.request_us += here * (now_us - self.since_us);
        self.since_us = now_us;
    }

    /// A request arrives. `now_us` is when.
    pub fn take(&mut self, number: usize, request: Request, now_us: u64) {
        self.count(now_us);
        self.waiting.push_back((number, request));
        if self.step_ends_us.is_none() {
            self.begin_step(now_us);
        }
    }

    fn admit(&mut self) {
        while self.running.len() < SLOTS
            && let Some((_, request)) = self.waiting.front()
        {
            let tokens = request.prompt_tokens() + request.answer_tokens;
            if !self.running.is_empty() && self.kv_used() + tokens > KV_TOKENS {
                return;
            }
            let Some((number, request)) = self.waiting.pop_front() else { return };
            let prompt = request.prompt_tokens();
            // The last token is computed in any case.
            let cached = self.prefixes.cached(&request.pieces).min(prompt - 1);
            self.prompt_tokens += prompt;
            self.cached_tokens += cached;
            self.running.push(Sequence {
                number,
                fresh_left: prompt - cached,
                answer_left: request.answer_tokens,
                kv_tokens: tokens,
                pieces: request.pieces,
                is_answering: false,
            });
            let room = KV_TOKENS.saturating_sub(self.kv_used());
            self.prefixes.shrink(room);
        }
    }

    fn begin_step(&mut self, now_us: u64) {
        self.admit();
        if self.running.is_empty() {
            self.step_ends_us = None;
            return;
        }
        let mut left = CHUNK;
        self.chunk.clear();
        for (at, one) in self.running.iter().enumerate().filter(|(_, one)| one.fresh_left > 0) {
            let tokens = one.fresh_left.min(left);
            if tokens == 0 {
                break;
            }
            left -= tokens;
            self.chunk.push((at, tokens));
        }
        let decoding = self.running.iter().filter(|one| one.fresh_left == 0).count();
        let took =
            (STEP_US + (CHUNK - left) as f64 * PROMPT_TOKEN_US + decoding as f64 * DECODE_US) / self.speed;
        self.step_ends_us = Some(now_us + took as u64);
    }

    /// The step that ends now.
    pub fn end_step(&mut self, now_us: u64) -> Vec<Event> {
        self.count(now_us);
        let mut events = Vec::new();
        let mut computed = vec![0; self.running.len()];
        for (at, tokens) in &self.chunk {
            computed[*at] = *tokens;
        }
        for (one, computed) in self.running.iter_mut().zip(computed) {
            if one.fresh_left > 0 {
                one.fresh_left -= computed;
                if one.fresh_left > 0 || computed == 0 {
                    continue;
                }
            }
            one.answer_left -= 1;
            if !one.is_answering {
                one.is_answering = true;
                events.push(Event::FirstToken(one.number));
            }
            if one.answer_left == 0 {
                events.push(Event::Ended(one.number));
            }
        }
        let (ended, running): (Vec<Sequence>, Vec<Sequence>) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|one| one.is_answering && one.answer_left == 0);
        self.running = running;
        for one in ended {
            let room = KV_TOKENS.saturating_sub(self.kv_used());
            self.prefixes.keep(&one.pieces, room);
        }
        self.begin_step(now_us);
        events
    }
}
