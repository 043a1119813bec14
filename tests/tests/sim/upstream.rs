//! Providers and nodes by script: each has moods that change with time, and answers as its mood is.

use std::collections::HashMap;

use domain::{FaultClass, Principal, Usage, UsageSource};

use crate::house::principals;

/// How an upstream is for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// One in three fails with a 500.
    Shaky,
    Overloaded,
    /// 429, sometimes with a time to wait.
    Limiting,
    /// 401.
    Refusing,
    /// 401 of a token before its time: another one is taken, one time in two.
    Stale,
    /// 500, and the word that a retry is pointless.
    Final,
    /// 402.
    Broke,
    /// Takes the request and says nothing.
    Silent,
    /// Streams end in the middle, or before they begin.
    Cutting,
    /// 429 to every second request, quickly and always with a time to wait. Of storms alone.
    Storming,
}

const MOODS: [Mood; 10] = [
    Mood::Well,
    Mood::Shaky,
    Mood::Overloaded,
    Mood::Limiting,
    Mood::Refusing,
    Mood::Stale,
    Mood::Final,
    Mood::Broke,
    Mood::Silent,
    Mood::Cutting,
];

/// What one request is answered with, decided when it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// After `after_us`: an error with a status.
    Refused {
        after_us: u64,
        status: u16,
        class: FaultClass,
        retry_after_ms: Option<u64>,
        should_retry: Option<bool>,
        token_refused: bool,
    },
    /// After `after_us`: the whole answer.
    Whole {
        after_us: u64,
        usage: Usage,
    },
    /// First byte after `after_us`, then a chunk every `gap_us`; broken after `cut_after` chunks where set.
    Streamed {
        after_us: u64,
        gap_us: u64,
        chunks: u32,
        cut_after: Option<u32>,
        usage: Usage,
    },
    Silent,
}

/// The script: for each principal, its moods with the time each begins.
pub struct Upstream {
    moods: HashMap<Principal, Vec<(u64, Mood)>>,
}

impl Upstream {
    /// Half of all time is well; `span_us` is how long things happen.
    pub fn script(span_us: u64, chance: &impl Fn(u64) -> u64) -> Self {
        let moods = principals().into_iter().map(|principal| {
            let mut plan = Vec::new();
            let mut at_us = 0;
            while at_us < span_us {
                let mood =
                    if chance(2) == 0 { Mood::Well } else { MOODS[usize::try_from(chance(10)).unwrap()] };
                plan.push((at_us, mood));
                at_us += 500_000 + chance(span_us / 3);
            }
            (principal, plan)
        });
        Self { moods: moods.collect() }
    }

    /// Everybody is well but who storms: each principal with the times from and until when.
    pub fn storm(storms: &[(Principal, u64, u64)]) -> Self {
        let moods = principals().into_iter().map(|principal| {
            let of = storms.iter().filter(|(who, ..)| *who == principal);
            (
                principal,
                of.flat_map(|(_, from, until)| [(*from, Mood::Storming), (*until, Mood::Well)]).collect(),
            )
        });
        Self { moods: moods.collect() }
    }

    pub fn reply(
        &self,
        principal: Principal,
        stream: bool,
        now_us: u64,
        chance: &impl Fn(u64) -> u64,
    ) -> Reply {
        let plan = &self.moods[&principal];
        let mood = plan.iter().rev().find(|(from, _)| *from <= now_us).map_or(Mood::Well, |(_, mood)| *mood);
        let after_us = match mood {
            Mood::Storming => 2_000 + chance(50_000),
            _ => 2_000 + chance(800_000),
        };
        let refused = |status, class, retry_after_ms| Reply::Refused {
            after_us,
            status,
            class,
            retry_after_ms,
            should_retry: (mood == Mood::Final).then_some(false),
            token_refused: mood == Mood::Stale,
        };
        match mood {
            Mood::Well => answer(stream, after_us, None, chance),
            Mood::Shaky if chance(3) == 0 => refused(500, FaultClass::Upstream, None),
            Mood::Shaky => answer(stream, after_us, None, chance),
            Mood::Overloaded => refused(503, FaultClass::Overloaded, None),
            Mood::Limiting => {
                let wait_ms = (chance(2) == 0).then(|| 200 + chance(20_000));
                refused(429, FaultClass::RateLimit, wait_ms)
            }
            Mood::Storming if chance(2) == 0 => refused(429, FaultClass::RateLimit, Some(100 + chance(900))),
            Mood::Storming => answer(stream, after_us, None, chance),
            Mood::Stale if chance(2) == 0 => answer(stream, after_us, None, chance),
            Mood::Final => refused(500, FaultClass::Upstream, None),
            Mood::Refusing | Mood::Stale => refused(401, FaultClass::UpstreamAuth, None),
            Mood::Broke => refused(402, FaultClass::UpstreamQuota, None),
            Mood::Silent => Reply::Silent,
            Mood::Cutting => answer(stream, after_us, Some(u32::try_from(chance(4)).unwrap()), chance),
        }
    }
}

fn answer(stream: bool, after_us: u64, cut_after: Option<u32>, chance: &impl Fn(u64) -> u64) -> Reply {
    let usage = Usage {
        input: 5 + chance(2_000),
        cached_read: chance(2) * chance(1_000),
        output: 1 + chance(500),
        source: UsageSource::Provider,
        ..Usage::default()
    };
    match (stream, cut_after) {
        (false, None) => Reply::Whole { after_us, usage },
        (false, Some(_)) => {
            let class = FaultClass::StreamBroken;
            let (retry_after_ms, should_retry) = (None, None);
            Reply::Refused {
                after_us,
                status: 200,
                class,
                retry_after_ms,
                should_retry,
                token_refused: false,
            }
        }
        (true, cut_after) => {
            let chunks = 4 + u32::try_from(chance(12)).unwrap();
            Reply::Streamed { after_us, gap_us: 1_000 + chance(400_000), chunks, cut_after, usage }
        }
    }
}
