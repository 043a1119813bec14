//! Scripted providers and nodes: each has moods that change over time, and answers according to the current
//! one.

use std::collections::HashMap;

use domain::{FaultClass, Principal, Usage, UsageSource};

use crate::fixture::{index, other_account, principals};

/// The behaviour of an upstream for a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// One request in three fails with a 500.
    Shaky,
    Overloaded,
    /// 429, sometimes with a retry time.
    Limiting,
    /// 401.
    Refusing,
    /// 401 for a token that was revoked early: a new one is accepted half of the time.
    Stale,
    /// 500, with the hint that a retry is pointless.
    Final,
    /// 402.
    Broke,
    /// 400: the prompt is longer than the model's context.
    TooLong,
    /// 400: its policy refuses the content.
    Prudish,
    /// Accepts the request and never answers.
    Silent,
    /// Streams end in the middle, or before they start.
    Cutting,
    /// 429 to every second request, quickly and always with a retry time. Used in storms only.
    Storming,
    /// 500 or 503 to three requests in ten, quickly. Used in brown-outs only.
    BrownedOut,
}

const MOODS: [Mood; 12] = {
    use Mood::{
        Broke, Cutting, Final, Limiting, Overloaded, Prudish, Refusing, Shaky, Silent, Stale, TooLong, Well,
    };
    [Well, Shaky, Overloaded, Limiting, Refusing, Stale, Final, Broke, Silent, Cutting, TooLong, Prudish]
};

/// The answer to one request, decided when it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// After `after_us`: an error status.
    Refused {
        after_us: u64,
        status: u16,
        class: FaultClass,
        retry_after_ms: Option<u64>,
        should_retry: Option<bool>,
        token_refused: bool,
    },
    /// After `after_us`: the buffered answer.
    Whole {
        after_us: u64,
        usage: Usage,
    },
    /// First byte after `after_us`, then a chunk every `gap_us`; cut off after `cut_after` chunks if set.
    Streamed {
        after_us: u64,
        gap_us: u64,
        chunks: u32,
        cut_after: Option<u32>,
        usage: Usage,
    },
    Silent,
}

/// The script: for each principal, its moods and when each starts.
pub struct Upstream {
    moods: HashMap<Principal, Vec<(u64, Mood)>>,
    /// A time in which all have one mood, but for the account that sells another provider's models.
    tide: Option<(u64, u64, Mood)>,
}

impl Upstream {
    /// Half of all moods are healthy; `span_us` is the length of the script.
    pub fn script(span_us: u64, chance: &impl Fn(u64) -> u64) -> Self {
        let moods = principals().into_iter().map(|principal| {
            let mut plan = Vec::new();
            let mut at_us = 0;
            while at_us < span_us {
                let is_well = chance(2) == 0;
                plan.push((at_us, if is_well { Mood::Well } else { MOODS[index(chance(12))] }));
                at_us += 500_000 + chance(span_us / 3);
            }
            (principal, plan)
        });
        let moods = moods.collect();
        let tide = (chance(3) == 0).then(|| {
            let from_us = chance(span_us);
            let mood = [Mood::Limiting, Mood::Overloaded][index(chance(2))];
            (from_us, from_us + 2_000_000 + chance(span_us / 3), mood)
        });
        Self { moods, tide }
    }

    /// Everything is healthy, except that principals have this mood from a start to an end.
    pub fn storm(mood: Mood, storms: &[(Principal, u64, u64)]) -> Self {
        let moods = principals().into_iter().map(|principal| {
            let of = storms.iter().filter(|(who, ..)| *who == principal);
            (principal, of.flat_map(|(_, from, until)| [(*from, mood), (*until, Mood::Well)]).collect())
        });
        Self { moods: moods.collect(), tide: None }
    }

    pub fn reply(
        &self,
        principal: Principal,
        stream: bool,
        now_us: u64,
        chance: &impl Fn(u64) -> u64,
    ) -> Reply {
        let plan = &self.moods[&principal];
        let own = plan.iter().rev().find(|(from, _)| *from <= now_us).map_or(Mood::Well, |(_, mood)| *mood);
        let tide = self.tide.filter(|(from, until, _)| (*from..*until).contains(&now_us));
        let mood = tide.filter(|_| principal != other_account()).map_or(own, |(_, _, mood)| mood);
        let after_us = match mood {
            Mood::Storming | Mood::BrownedOut => 2_000 + chance(50_000),
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
            Mood::BrownedOut if chance(10) >= 3 => answer(stream, after_us, None, chance),
            Mood::BrownedOut if chance(2) == 0 => refused(503, FaultClass::Overloaded, None),
            Mood::BrownedOut => refused(500, FaultClass::Upstream, None),
            Mood::Stale if chance(2) == 0 => answer(stream, after_us, None, chance),
            Mood::Final => refused(500, FaultClass::Upstream, None),
            Mood::Refusing | Mood::Stale => refused(401, FaultClass::UpstreamAuth, None),
            Mood::Broke => refused(402, FaultClass::UpstreamQuota, None),
            Mood::TooLong => refused(400, FaultClass::ContextLength, None),
            Mood::Prudish => refused(400, FaultClass::ContentPolicy, None),
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
            let (status, class, token_refused) = (200, FaultClass::StreamBroken, false);
            let (retry_after_ms, should_retry) = (None, None);
            Reply::Refused { after_us, status, class, retry_after_ms, should_retry, token_refused }
        }
        (true, cut_after) => {
            let chunks = 4 + u32::try_from(chance(12)).unwrap();
            Reply::Streamed { after_us, gap_us: 1_000 + chance(400_000), chunks, cut_after, usage }
        }
    }
}
