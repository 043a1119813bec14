//! The traffic: conversations that begin in bursts, each from one of a few families with the same head, and grow turn by turn.

/// SplitMix64, with the draws that traffic needs.
pub struct Chance(u64);

impl Chance {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Between zero and one, neither of which it is.
    pub fn fraction(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.fraction().ln()
    }

    pub fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        let normal = (-2.0 * self.fraction().ln()).sqrt() * (std::f64::consts::TAU * self.fraction()).cos();
        median * (sigma * normal).exp()
    }
}

/// A piece of a prompt that is cached as a whole: a family's head, or what a turn added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub id: u64,
    pub tokens: u64,
}

/// One request: its prompt as pieces, the head first, and the length of its answer.
#[derive(Debug, Clone)]
pub struct Request {
    pub session: u64,
    pub at_us: u64,
    pub pieces: Vec<Piece>,
    pub answer_tokens: u64,
}

impl Request {
    pub fn prompt_tokens(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.tokens).sum()
    }

    /// The fingerprint and the length of each prefix, the shortest first.
    pub fn ends(&self) -> Vec<(u64, u64)> {
        let (mut fingerprint, mut length) = (0_u64, 0);
        let mut ends = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            fingerprint = (fingerprint ^ piece.id).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
            length += piece.tokens;
            ends.push((fingerprint, length));
        }
        ends
    }
}

/// What is to follow in a conversation, after the answer to its last turn.
#[derive(Debug, Clone)]
pub struct Turn {
    pub think_us: u64,
    pub user_tokens: u64,
    pub answer_tokens: u64,
}

#[derive(Debug, Clone)]
pub struct Conversation {
    pub session: u64,
    pub begins_us: u64,
    pub head: Piece,
    pub turns: Vec<Turn>,
}

const FAMILIES: u64 = 120;
/// Conversations of a node and second, on the average.
const PER_NODE_AND_SECOND: f64 = 0.55;
/// A burst and the calm after it, in seconds; in the burst three times as many begin.
const BURST_S: f64 = 20.0;
const CALM_S: f64 = 40.0;

/// All conversations that begin within so many seconds at a fleet of so many nodes.
pub fn conversations(nodes: usize, seconds: u64, seed: u64) -> Vec<Conversation> {
    let mut chance = Chance::new(seed);
    let heads: Vec<Piece> = (0..FAMILIES)
        .map(|family| Piece {
            id: 1 + family,
            tokens: (chance.lognormal(1_400.0, 0.7) as u64).clamp(64, 12_000),
        })
        .collect();
    // Zipf's law with exponent 1.05.
    let weights: Vec<f64> = (1..=FAMILIES).map(|rank| (rank as f64).powf(-1.05)).collect();
    let all: f64 = weights.iter().sum();
    let mut found = Vec::new();
    let (mut at_s, mut session) = (0.0, 0);
    // The mean over burst and calm is the stated rate.
    let calm_rate = nodes as f64 * PER_NODE_AND_SECOND * (BURST_S + CALM_S) / (3.0 * BURST_S + CALM_S);
    loop {
        let is_burst = at_s % (BURST_S + CALM_S) < BURST_S;
        at_s += chance.exponential(1.0 / (calm_rate * if is_burst { 3.0 } else { 1.0 }));
        if at_s >= seconds as f64 {
            return found;
        }
        session += 1;
        let mut rest = chance.fraction() * all;
        let family = weights.iter().position(|weight| {
            rest -= weight;
            rest < 0.0
        });
        let head = heads[family.unwrap_or(0)];
        let turns = 1 + chance.exponential(4.0) as usize;
        let turns = (0..turns.min(24)).map(|number| Turn {
            think_us: if number == 0 { 0 } else { (chance.exponential(9.0) * 1e6) as u64 },
            user_tokens: (chance.lognormal(70.0, 1.0) as u64).clamp(4, 6_000),
            answer_tokens: (chance.lognormal(120.0, 0.8) as u64).clamp(1, 1_500),
        });
        found.push(Conversation { session, begins_us: (at_s * 1e6) as u64, head, turns: turns.collect() });
    }
}
