//! Which peer serves a request: one that has the model and the adapter, with the least expected wait.

use std::collections::BTreeMap;

use proof::Digest;
use serde::{Deserialize, Serialize};

use crate::prefixes::{PromptBlocks, Sketch};

/// What a request needs.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub model: String,
    pub adapter: Option<String>,
    pub prompt: PromptBlocks,
}

/// What a node tells its peers of itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PeerState {
    pub version: String,
    /// Models, and `model:adapter` for registered adapters.
    pub models: Vec<String>,
    /// Those of the adapters that are in memory.
    pub adapters_loaded: Vec<String>,
    /// Answers in progress, and the ones that wait.
    pub running: u64,
    pub waiting: u64,
    /// Output tokens per second of one answer; 0 if not known.
    pub tokens_per_s: f64,
    /// The sketch of cached prefixes, in hexadecimal digits.
    pub prefixes: String,
    /// What can be fetched, as `model/NAME` and `adapter/NAME`.
    pub shares: Vec<String>,
    /// The digests of the files behind the names in `models`; `None` while they are computed. A name without files is absent, and
    /// so are all in the descriptions of earlier versions.
    #[serde(default)]
    pub digests: BTreeMap<String, Option<Digest>>,
    /// The device that computes, if there is one.
    #[serde(default)]
    pub device: Option<String>,
}

/// Output tokens of an answer whose length nobody knows.
const ANSWER_TOKENS: f64 = 200.0;
/// The rate that is assumed of a node which has generated nothing yet.
const TOKENS_PER_S: f64 = 20.0;
/// How much faster a prompt is read than an answer is generated.
const READING_SPEED: f64 = 20.0;
/// Tokens of a prompt's block, at about four bytes a token.
const BLOCK_TOKENS: f64 = 128.0;
/// Loading an adapter that is registered and not in memory.
const ADAPTER_LOAD_S: f64 = 0.5;

impl PeerState {
    /// Whether requests for this can be served there.
    pub fn has(&self, wanted: &Wanted) -> bool {
        self.models.contains(&wanted.name())
    }

    /// Whether both have the same files behind a name. What is not known yet is not the same.
    pub fn is_same_model(&self, other: &Self, name: &str) -> bool {
        match (self.digests.get(name), other.digests.get(name)) {
            (None, None) => true,
            (Some(Some(one)), Some(Some(other))) => one == other,
            _ => false,
        }
    }

    /// The seconds until a request's first token, as far as they can be told.
    pub fn expected_wait_s(&self, wanted: &Wanted, rtt_ms: f64) -> f64 {
        let rate = if self.tokens_per_s > 0.0 { self.tokens_per_s } else { TOKENS_PER_S };
        // Running answers share the rate; a waiting one holds the request up for its whole length.
        let queue_s = (self.waiting as f64 + self.running as f64 * 0.25) * ANSWER_TOKENS / rate;
        let cached = Sketch::read(&self.prefixes).map_or(0, |sketch| sketch.covers(&wanted.prompt));
        let uncached = wanted.prompt.len().saturating_sub(cached) as f64;
        let prompt_s = uncached * BLOCK_TOKENS / (rate * READING_SPEED);
        let is_cold = wanted.adapter.is_some() && !self.adapters_loaded.contains(&wanted.name());
        let adapter_s = if is_cold { ADAPTER_LOAD_S } else { 0.0 };
        queue_s + prompt_s + adapter_s + rtt_ms / 1_000.0
    }
}

/// Which files a name means to a node that does not have it: those that most of the peers which serve it have. Peers whose digest
/// is not known count where nobody's is.
pub(crate) fn digest_of_most<'s>(
    name: &str,
    states: impl Iterator<Item = &'s PeerState>,
) -> Result<Option<Digest>, Vec<Digest>> {
    let mut votes: BTreeMap<String, (usize, Digest)> = BTreeMap::new();
    for digest in states.filter_map(|state| state.digests.get(name).copied().flatten()) {
        votes.entry(digest.to_string()).or_insert((0, digest)).0 += 1;
    }
    let most = votes.values().map(|(count, _)| *count).max().unwrap_or_default();
    let leading: Vec<Digest> =
        votes.into_values().filter(|(count, _)| *count == most).map(|(_, digest)| digest).collect();
    match leading.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(*only)),
        _ => Err(leading),
    }
}

impl Wanted {
    /// The name that requests use.
    pub fn name(&self) -> String {
        match &self.adapter {
            Some(adapter) => format!("{}:{adapter}", self.model),
            None => self.model.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::prefixes::PrefixSketch;

    #[test]
    fn the_least_wait_counts_queue_rate_prefix_adapter_and_distance() {
        let request = json!({"messages": [{"role": "user", "content": "word ".repeat(4_000)}]});
        let prompt = PromptBlocks::of("m", &request);
        let wanted = Wanted { model: "m".to_owned(), adapter: None, prompt: prompt.clone() };
        let idle = PeerState { models: vec!["m".to_owned()], tokens_per_s: 20.0, ..PeerState::default() };
        let sketch = PrefixSketch::default();
        sketch.insert(&prompt);
        let cached = PeerState { prefixes: sketch.to_text(), ..idle.clone() };
        let busy = PeerState { waiting: 3, running: 4, ..cached.clone() };
        let fast = PeerState { tokens_per_s: 200.0, ..idle.clone() };
        let wait = |state: &PeerState, rtt_ms| state.expected_wait_s(&wanted, rtt_ms);
        assert!(wait(&cached, 1.0) < wait(&fast, 1.0));
        assert!(wait(&fast, 1.0) < wait(&idle, 1.0));
        assert!(wait(&idle, 1.0) < wait(&busy, 1.0), "a queue outweighs a cached prefix");
        assert!(wait(&cached, 1.0) < wait(&cached, 80.0));
        let law = Wanted { adapter: Some("law".to_owned()), ..wanted.clone() };
        assert!(!idle.has(&law) && idle.has(&wanted));
        let warm = PeerState { adapters_loaded: vec!["m:law".to_owned()], ..idle.clone() };
        assert!(warm.expected_wait_s(&law, 1.0) < idle.expected_wait_s(&law, 1.0));
    }

    #[test]
    fn a_name_means_the_files_that_most_peers_have() {
        let digest = |text: &str| Digest::of(&[text.as_bytes()]);
        let with = |digest: Option<Option<Digest>>| PeerState {
            models: vec!["m".to_owned()],
            digests: digest.map(|digest| ("m".to_owned(), digest)).into_iter().collect(),
            ..PeerState::default()
        };
        let [one, other] = ["one", "other"].map(|text| with(Some(Some(digest(text)))));
        let (unknown, older) = (with(Some(None)), with(None));
        let most = |states: &[&PeerState]| digest_of_most("m", states.iter().copied());
        assert_eq!(most(&[&one, &other, &one]), Ok(Some(digest("one"))));
        assert_eq!(most(&[&unknown, &other, &older]), Ok(Some(digest("other"))));
        assert_eq!(most(&[&unknown, &older]), Ok(None));
        assert_eq!(most(&[&one, &other]).unwrap_err().len(), 2, "a tie is nobody's to decide");
        for (same, left, right) in [
            (true, &one, &one),
            (false, &one, &other),
            (false, &one, &unknown),
            (false, &unknown, &unknown),
            (false, &one, &older),
            (true, &older, &older),
        ] {
            assert_eq!(left.is_same_model(right, "m"), same);
        }
        let read: PeerState = serde_json::from_value(json!({
            "version": "0", "models": ["m"], "adapters_loaded": [], "running": 0, "waiting": 0, "tokens_per_s": 0.0, "prefixes": "", "shares": [],
        }))
        .unwrap();
        assert_eq!(read, PeerState { version: "0".to_owned(), ..older });
    }
}
