//! A kept answer: what the client is given again, and the facts that decide whether it may be.

use std::sync::Arc;

use bytes::Bytes;
use domain::ports::StoredAnswer;
use domain::{CachedAnswer, Principal, TraceId, Usage};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use plan::{Attempt, Planned};

/// The facts travel in front of the headers, under a name that no header has.
const FACTS: &str = " facts";
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// What a header says of the exchange that made the answer, and not of the answer.
const OF_THE_EXCHANGE: [&str; 8] = [
    "agent-trace-id",
    "agent-attempts",
    "agent-cache",
    "agent-cache-semantic",
    "agent-cache-similarity",
    "agent-idempotent-replay",
    "agent-idempotency-kept",
    "agent-qos-target-met",
];

/// Room for the headers of each exchange that is given the answer, so that no copy of the map has to grow.
const OWN_HEADERS: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub(crate) made_unix_ms: u64,
    /// The request that it answered first.
    pub(crate) request: TraceId,
    pub(crate) resolved_model: Arc<str>,
    /// Who made it.
    pub(crate) principal: Principal,
    pub(crate) upstream_model: Arc<str>,
    pub(crate) usage: Usage,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Entry {
    pub(crate) const fn age_ms(&self, now_unix_ms: u64) -> u64 {
        now_unix_ms.saturating_sub(self.made_unix_ms)
    }

    pub(crate) fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        self.body.len() + headers
    }

    /// The attempt of a plan that could make this answer again: a plan without one may not give it either, so that a
    /// policy, a route or a credential that is gone holds for kept answers, too.
    pub fn maker<'p>(&self, planned: &'p Planned) -> Option<&'p Attempt> {
        if planned.resolved_model() != &*self.resolved_model {
            return None;
        }
        let is_maker = |attempt: &&Attempt| {
            attempt.principal() == self.principal && attempt.upstream_model() == &*self.upstream_model
        };
        planned.attempts().iter().find(is_maker)
    }

    /// What it would use and cost if `maker` made it again.
    pub fn worth(&self, maker: &Attempt) -> CachedAnswer {
        let rates = maker.rates_of(&self.usage);
        CachedAnswer::of(maker.profile(), rates.as_ref(), maker.markup_bps(), &self.usage)
    }

    /// As it is sealed and stored.
    pub(crate) fn stored(&self) -> StoredAnswer {
        let Usage { input, cached_read, cache_write, cache_write_long, output, reasoning, .. } = self.usage;
        let facts = format!(
            "{}\n{}\n{}\n{}\n{}\n{input} {cached_read} {cache_write} {cache_write_long} {output} {reasoning}",
            self.made_unix_ms, self.request, self.principal, self.resolved_model, self.upstream_model,
        );
        let headers = self.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        let facts = (FACTS.to_owned(), facts.into_bytes());
        StoredAnswer {
            status: 200,
            headers: std::iter::once(facts).chain(headers).collect(),
            body: self.body.clone(),
        }
    }

    /// The inverse; `None` for what another version wrote.
    pub(crate) fn of_stored(answer: StoredAnswer) -> Option<Self> {
        let mut headers = HeaderMap::with_capacity(answer.headers.len() + OWN_HEADERS);
        let mut facts = None;
        for (name, value) in answer.headers {
            if name == FACTS {
                facts = String::from_utf8(value).ok();
            } else if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.append(name, value);
            }
        }
        let facts = facts?;
        let mut lines = facts.split('\n');
        let made_unix_ms = lines.next()?.parse().ok()?;
        let request = lines.next()?.parse().ok()?;
        let (principal, resolved_model, upstream_model) = (lines.next()?, lines.next()?, lines.next()?);
        let mut counts = lines.next()?.split(' ').map(|count| count.parse().ok());
        let mut count = || counts.next().flatten();
        let usage = Usage {
            input: count()?,
            cached_read: count()?,
            cache_write: count()?,
            cache_write_long: count()?,
            output: count()?,
            reasoning: count()?,
            ..Usage::default()
        };
        Some(Self {
            made_unix_ms,
            request,
            resolved_model: resolved_model.into(),
            principal: principal.parse().ok()?,
            upstream_model: upstream_model.into(),
            usage,
            headers,
            body: answer.body,
        })
    }
}

/// The headers that are given again: what the answer is, and who made it.
pub(crate) fn kept_headers(headers: &HeaderMap) -> HeaderMap {
    let is_kept = |name: &HeaderName| {
        let of_answer = name.as_str().starts_with("agent-") && !OF_THE_EXCHANGE.contains(&name.as_str());
        of_answer || *name == CONTENT_TYPE || *name == BUFFERING
    };
    let mut kept = HeaderMap::with_capacity(headers.len() + OWN_HEADERS);
    for (name, value) in headers.iter().filter(|(name, _)| is_kept(name)) {
        kept.append(name, value.clone());
    }
    kept
}

#[cfg(test)]
mod tests {
    use domain::CredentialId;

    use super::*;

    #[test]
    fn an_entry_reads_back_and_says_nothing_of_the_exchange_that_made_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("agent-resolved-model", "openai/gpt-4o"),
            ("agent-trace-id", "trc_1"),
            ("agent-attempts", "2"),
            ("x-request-id", "trc_1"),
            ("x-ratelimit-remaining-requests", "7"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let entry = Entry {
            made_unix_ms: 7,
            request: TraceId::new(7, [3; 10]),
            resolved_model: "openai/gpt-4o".into(),
            principal: Principal::Credential(CredentialId::new(1, [1; 10])),
            upstream_model: "gpt-4o-2024".into(),
            usage: Usage { input: 1, cached_read: 2, output: 3, ..Usage::default() },
            headers: kept_headers(&headers),
            body: Bytes::from_static(b"{}"),
        };
        let names: Vec<_> = entry.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(Entry::of_stored(entry.stored()), Some(entry.clone()));
        let without = StoredAnswer { headers: Vec::new(), ..entry.stored() };
        assert_eq!(Entry::of_stored(without), None);
    }
}
