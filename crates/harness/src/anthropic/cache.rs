//! `cache_control` breakpoints: where they are allowed, and how they change a prompt's cost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::checks::{self, Field, Need::*, Shape, join};
use super::error::Refusal;

const MARKS_MAX: usize = 4;
/// A breakpoint finds a cached prefix that ends at most this many blocks before it.
const LOOK_BACK_BLOCKS: usize = 20;
const CONTROL: &[Field] =
    &[("type", Shape::OneOf(&["ephemeral"]), Required), ("ttl", Shape::OneOf(&["5m", "1h"]), Optional)];

/// The TTL of a cached prefix. Nothing here runs long enough for the longer one to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ttl {
    FiveMinutes,
    Hour,
}

/// The prefixes that a key has cached for a model.
#[derive(Debug, Default)]
pub(crate) struct Cached(HashMap<u64, Instant>);

/// What is cached at the time of a request. A prefix expires unless it is read: each read gives it its whole TTL again.
pub(crate) struct CachedNow<'a> {
    cached: &'a mut Cached,
    /// How long the five minutes last.
    lifetime: Duration,
    now: Instant,
}

impl Cached {
    pub(crate) fn at(&mut self, now: Instant, lifetime: Duration) -> CachedNow<'_> {
        CachedNow { cached: self, lifetime, now }
    }
}

impl CachedNow<'_> {
    fn has(&self, prefix: u64) -> bool {
        self.cached.0.get(&prefix).is_some_and(|until| *until > self.now)
    }

    fn keep(&mut self, prefix: u64, ttl: Ttl) {
        let lifetime = match ttl {
            Ttl::FiveMinutes => self.lifetime,
            Ttl::Hour => 12 * self.lifetime,
        };
        let until = self.cached.0.entry(prefix).or_insert(self.now);
        *until = (*until).max(self.now + lifetime);
    }
}

/// One block of a prompt, with the prefix that ends at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Hash of everything up to and including this block.
    pub(crate) prefix: u64,
    /// Tokens up to and including this block.
    pub(crate) tokens: u64,
    pub(crate) mark: Option<Ttl>,
    /// Thinking blocks cannot carry a breakpoint.
    pub(crate) markable: bool,
}

/// The prompt's tokens, each counted in one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) input: u64,
    pub(crate) read: u64,
    pub(crate) written_5m: u64,
    pub(crate) written_1h: u64,
}

/// Collects a request's breakpoints in Anthropic's order; rejects too many, and shorter TTLs before longer
/// ones.
#[derive(Default)]
pub(crate) struct Marks(Vec<Ttl>);

impl Marks {
    /// The breakpoint of the object at this path, if it has one.
    pub(crate) fn read(
        &mut self,
        path: &str,
        object: &Map<String, Value>,
        also: &[String],
    ) -> Result<Option<Ttl>, Refusal> {
        let Some(control) = object.get("cache_control").filter(|control| !control.is_null()) else {
            return Ok(None);
        };
        let path = join(path, "cache_control");
        let control = checks::object(&path, control)?;
        checks::fields(&path, control, CONTROL, also)?;
        let hour = control.get("ttl").and_then(Value::as_str) == Some("1h");
        let ttl = if hour { Ttl::Hour } else { Ttl::FiveMinutes };
        if hour && self.0.contains(&Ttl::FiveMinutes) {
            return Err(Refusal::at(
                &join(&path, "ttl"),
                "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks \
                 are processed in the following order: `tools`, `system`, `messages`.",
            ));
        }
        self.0.push(ttl);
        Ok(Some(ttl))
    }

    pub(crate) fn check_count(&self) -> Result<(), Refusal> {
        let found = self.0.len();
        if found <= MARKS_MAX {
            return Ok(());
        }
        Err(Refusal::bad(format!(
            "A maximum of {MARKS_MAX} blocks with cache_control may be provided. Found {found}."
        )))
    }
}

impl Counted {
    pub(crate) fn total(&self) -> u64 {
        self.input + self.read + self.write_tokens()
    }

    pub(crate) fn write_tokens(&self) -> u64 {
        self.written_5m + self.written_1h
    }
}

/// The cost of a prompt with what is cached; adds its own breakpoints' prefixes.
pub(crate) fn count(segments: &[Segment], tokens_min: u64, mut cached: CachedNow<'_>) -> Counted {
    let total = segments.last().map_or(0, |segment| segment.tokens);
    let found = longest_cached(segments, tokens_min, &cached);
    let read = found.map_or(0, |segment| segment.tokens);
    if let Some(segment) = found {
        cached.keep(segment.prefix, Ttl::FiveMinutes);
    }
    let mut counted = Counted { read, ..Counted::default() };
    let mut upto = read;
    for segment in segments.iter().filter(|segment| segment.tokens >= tokens_min) {
        let Some(ttl) = segment.mark else { continue };
        let written = segment.tokens.saturating_sub(upto);
        match ttl {
            Ttl::FiveMinutes => counted.written_5m += written,
            Ttl::Hour => counted.written_1h += written,
        }
        upto = upto.max(segment.tokens);
        cached.keep(segment.prefix, ttl);
    }
    counted.input = total.saturating_sub(upto);
    counted
}

/// The longest cached prefix that a breakpoint finds.
fn longest_cached<'a>(
    segments: &'a [Segment],
    tokens_min: u64,
    cached: &CachedNow<'_>,
) -> Option<&'a Segment> {
    let marks = segments.iter().enumerate().rev().filter(|(_, segment)| segment.mark.is_some());
    let found = marks.filter_map(|(at, _)| {
        let first = (at + 1).saturating_sub(LOOK_BACK_BLOCKS);
        let near = segments.get(first..=at)?;
        near.iter().rev().find(|segment| segment.tokens >= tokens_min && cached.has(segment.prefix))
    });
    found.max_by_key(|segment| segment.tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Option<Ttl> = Some(Ttl::Hour);
    const SHORT: Option<Ttl> = Some(Ttl::FiveMinutes);

    fn segments(list: &[(u64, u64, Option<Ttl>)]) -> Vec<Segment> {
        let one = |&(prefix, tokens, mark)| Segment { prefix, tokens, mark, markable: true };
        list.iter().map(one).collect()
    }

    const LIFETIME: Duration = Duration::from_secs(300);

    fn check(cached: &mut Cached, list: &[(u64, u64, Option<Ttl>)], expected: [u64; 4]) {
        check_at(cached, Instant::now(), list, expected);
    }

    fn check_at(cached: &mut Cached, now: Instant, list: &[(u64, u64, Option<Ttl>)], expected: [u64; 4]) {
        let counted = count(&segments(list), 1024, cached.at(now, LIFETIME));
        let found = [counted.input, counted.read, counted.written_5m, counted.written_1h];
        assert_eq!(found, expected, "{list:?}");
    }

    #[test]
    fn a_prefix_is_written_once_and_read_after() {
        let mut cached = Cached::default();
        let talk = [(1, 2000, HOUR), (2, 2500, None), (3, 3000, SHORT), (4, 3100, None)];
        check(&mut cached, &talk, [100, 0, 1000, 2000]);
        check(&mut cached, &talk, [100, 3000, 0, 0]);
        let longer = [(1, 2000, HOUR), (2, 2500, None), (3, 3000, None), (4, 3100, None), (5, 4000, SHORT)];
        check(&mut cached, &longer, [0, 3000, 1000, 0]);
        check(&mut cached, &[(1, 2000, HOUR), (9, 2100, None)], [100, 2000, 0, 0]);
        check(&mut cached, &[(1, 2000, None)], [2000, 0, 0, 0]);
    }

    #[test]
    fn a_prefix_expires_unless_it_is_read() {
        let (mut cached, start) = (Cached::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        let talk = [(1, 2000, SHORT)];
        check_at(&mut cached, at(0), &talk, [0, 0, 2000, 0]);
        check_at(&mut cached, at(299), &talk, [0, 2000, 0, 0]);
        check_at(&mut cached, at(598), &talk, [0, 2000, 0, 0]);
        check_at(&mut cached, at(898), &talk, [0, 0, 2000, 0]);
        check_at(&mut cached, at(0), &[(2, 2000, HOUR)], [0, 0, 0, 2000]);
        check_at(&mut cached, at(3_599), &[(2, 2000, HOUR)], [0, 2000, 0, 0]);
    }

    #[test]
    fn a_short_prefix_is_neither_written_nor_read() {
        let mut cached = Cached::default();
        for _ in 0..2 {
            check(&mut cached, &[(1, 1000, SHORT), (2, 1010, None)], [1010, 0, 0, 0]);
        }
    }

    proptest! {
        /// No token is lost or counted twice, and what one request writes to the cache the next one reads.
        #[test]
        fn every_token_is_in_one_class(
            blocks in prop::collection::vec((0_u64..2000, prop::option::of(prop::bool::ANY)), 1..30),
            tokens_min in 0_u64..4096,
        ) {
            let mut tokens = 0;
            let list: Vec<_> = blocks.iter().zip(1_u64..).map(|((size, mark), prefix)| {
                tokens += size;
                (prefix, tokens, mark.map(|hour| if hour { Ttl::Hour } else { Ttl::FiveMinutes }))
            }).collect();
            let segments = segments(&list);
            let (mut cached, now) = (Cached::default(), Instant::now());
            let first = count(&segments, tokens_min, cached.at(now, LIFETIME));
            let second = count(&segments, tokens_min, cached.at(now, LIFETIME));
            prop_assert_eq!((first.total(), first.read), (tokens, 0));
            prop_assert_eq!((second.total(), second.write_tokens()), (tokens, 0));
            prop_assert_eq!((second.read, second.input), (first.write_tokens(), first.input));
        }
    }

    #[test]
    fn a_mark_looks_back_over_twenty_blocks() {
        let talk = |blocks: u64| {
            let plain = (2..=blocks).map(|at| (at, 2000 + at, if at == blocks { SHORT } else { None }));
            std::iter::once((1, 2000, None)).chain(plain).collect::<Vec<_>>()
        };
        let cached = || Cached(HashMap::from([(1, Instant::now() + LIFETIME)]));
        check(&mut cached(), &talk(20), [0, 2000, 20, 0]);
        check(&mut cached(), &talk(21), [0, 0, 2021, 0]);
    }
}
