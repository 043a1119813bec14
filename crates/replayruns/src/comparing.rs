//! Two answers to one request, compared by their words, and by the models that the run names: an embedding model, and a judge. Both
//! get the texts as requests of the project whose content they are, so that its policies, routes and budgets hold for them.

use std::time::Duration;

use bytes::Bytes;
use domain::{Dialect, ObjectOwner, Operation, TraceId};
use line::{ItemAnswer, ItemCall};
use proof::Digest;
use reconcilers::Deps;
use replay::{Agreement, Random, agreement, cosine_bps, is_as_good, judge_body};
use reports::contents::message_of;
use serde_json::{Value, json};

use crate::limits::{COMPARISON_TIME_MAX, COMPARISON_WAIT_MAX};
use crate::rows::ReplayRunRow;
use crate::sending::{item, text_of};

/// A request with its kept answer, and what the candidate said.
pub struct Answers<'a> {
    pub messages: &'a [Value],
    pub kept: &'a str,
    pub reply: &'a str,
}

/// Whose requests the comparisons are, and what they belong to.
#[derive(Clone, Copy)]
pub struct Comparing<'a> {
    pub deps: &'a Deps,
    pub run: &'a ReplayRunRow,
    pub owner: ObjectOwner,
    /// The request that is replayed.
    pub parent: TraceId,
    /// The candidate's exchange.
    pub exchange: TraceId,
}

impl Comparing<'_> {
    /// Compares two answers. What a model could not be brought to say is left out.
    pub async fn compare(self, answers: &Answers<'_>) -> Agreement {
        let mut found = agreement(answers.kept, answers.reply);
        let comparison = &self.run.spec.comparison;
        if let Some(model) = &comparison.embedding_model {
            found.similarity_bps = self.similarity(model, answers).await;
        }
        if let Some(model) = &comparison.judge_model {
            found.is_as_good = self.judged(model, answers).await;
        }
        found
    }

    async fn similarity(self, model: &str, answers: &Answers<'_>) -> Option<u32> {
        let (kept, reply) = (answers.kept.trim(), answers.reply.trim());
        // Embedding models refuse empty texts.
        if kept.is_empty() || reply.is_empty() || kept == reply {
            return Some(if kept == reply { 10_000 } else { 0 });
        }
        let body = json!({"model": model, "input": [kept, reply]});
        let answer = self.ask(Operation::Embed, "embedding", &body).await?;
        let answer: Value = serde_json::from_slice(&answer).ok()?;
        cosine_bps(&vector(&answer, 0)?, &vector(&answer, 1)?)
    }

    async fn judged(self, model: &str, answers: &Answers<'_>) -> Option<bool> {
        if answers.kept.trim() == answers.reply.trim() {
            return Some(true);
        }
        let candidate_is_a =
            Random::of(self.run.spec.seed, &self.parent.to_string()).next().is_multiple_of(2);
        let (a, b) =
            if candidate_is_a { (answers.reply, answers.kept) } else { (answers.kept, answers.reply) };
        let body = judge_body(model, answers.messages, a, b);
        let answer = self.ask(Operation::Chat, "judge", &body).await?;
        let completion = dialects::answer_as_chat(Dialect::Chat.grammar(), &answer)?;
        is_as_good(&text_of(&message_of(&completion)?), candidate_is_a)
    }

    /// The answer; `None` where it failed. A limit without room is waited for.
    async fn ask(self, operation: Operation, what: &str, body: &Value) -> Option<Bytes> {
        let body = Bytes::from(serde_json::to_vec(body).ok()?);
        let asking = async {
            loop {
                let call = self.call(operation, what, body.clone());
                match self.deps.outbound.run_item(call).await {
                    ItemAnswer::Succeeded { body, .. } => return Some(body),
                    ItemAnswer::Failed { status, .. } => {
                        tracing::debug!(run = %self.run.id, what, status, "two answers could not be compared");
                        return None;
                    }
                    ItemAnswer::Postponed { wait_ms } => {
                        tokio::time::sleep(Duration::from_millis(wait_ms).min(COMPARISON_WAIT_MAX)).await;
                    }
                }
            }
        };
        tokio::time::timeout(COMPARISON_TIME_MAX, asking).await.ok().flatten()
    }

    fn call(self, operation: Operation, what: &str, body: Bytes) -> ItemCall {
        let hash = Digest::of(&[self.exchange.to_string().as_bytes(), what.as_bytes()]);
        let now_unix_ms = self.deps.world.clock.unix_ms();
        let trace = TraceId::new(now_unix_ms, hash.0.first_chunk().copied().unwrap_or_default());
        ItemCall { operation, ..item(self.owner, self.parent, trace, body) }
    }
}

/// The vector with this index, wherever it stands.
fn vector(answer: &Value, index: u64) -> Option<Vec<f64>> {
    let data = answer.get("data")?.as_array()?;
    let one = data.iter().find(|one| one.get("index").and_then(Value::as_u64) == Some(index))?;
    one.get("embedding")?.as_array()?.iter().map(Value::as_f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_found_by_their_index() {
        let answer =
            json!({"data": [{"index": 1, "embedding": [1, 0.5]}, {"index": 0, "embedding": [0, 1]}]});
        assert_eq!(vector(&answer, 0), Some(vec![0.0, 1.0]));
        assert_eq!(vector(&answer, 1), Some(vec![1.0, 0.5]));
        assert_eq!(vector(&answer, 2), None);
        assert_eq!(vector(&json!({"data": [{"index": 0, "embedding": "AAAA"}]}), 0), None);
    }
}
