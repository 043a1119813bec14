//! The echo runtime: no model at all, and it says so; it repeats the prompt so that everything around it can be tried.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use dialects::chat::estimate;
use domain::runtime::{
    FinishReason, GenerateRequest, Generation, Runtime, RuntimeEvent, RuntimeMessage, RuntimeModel,
};
use domain::{Fault, FaultClass};

const NAME: &str = "echo";
const PREAMBLE: &str =
    "This is the echo runtime of Tidegate. It is no model: it repeats what it was sent. You said: ";
/// Words that one poll may hand out before the core's other work gets its turn.
const BURST: u32 = 32;

/// Repeats the last message of the user, word by word. The same request gets the same answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

struct Echoing {
    words: VecDeque<String>,
    finish: Option<RuntimeEvent>,
    burst: u32,
}

impl Runtime for Echo {
    fn models(&self) -> Vec<RuntimeModel> {
        vec![RuntimeModel {
            id: NAME.to_owned(),
            owned_by: "tidegate".to_owned(),
            created_unix_s: 0,
            is_model: false,
        }]
    }

    fn generate(&self, request: GenerateRequest) -> Result<Pin<Box<dyn Generation + Send>>, Fault> {
        if request.model != NAME {
            let shown: String = request.model.chars().take(128).collect();
            let message = format!("This node has no model \"{shown}\"; it runs \"{NAME}\".");
            return Err(Fault::new(FaultClass::NotFound, "model_not_found", message)
                .param("model")
                .fix("Ask for \"echo\", or list the models at /v1/models."));
        }
        let prompt_bytes = request.messages.iter().map(|message| message.text.len() as u64).sum();
        let (words, reason) = compose(&request);
        let content_bytes = words.iter().map(|word| word.len() as u64).sum();
        let finish = RuntimeEvent::Finish { reason, usage: estimate(prompt_bytes, content_bytes) };
        Ok(Box::pin(Echoing { words, finish: Some(finish), burst: BURST }))
    }
}

/// The answer's words, each with the space behind it, and why it ends.
fn compose(request: &GenerateRequest) -> (VecDeque<String>, FinishReason) {
    let is_user = |message: &&RuntimeMessage| message.role == "user";
    let said = request.messages.iter().rev().find(is_user).or(request.messages.last());
    let mut text = format!("{PREAMBLE}{}", said.map_or("", |message| message.text.as_str()));
    let stop = request.stop.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop)).min();
    if let Some(at) = stop {
        text.truncate(at);
    }
    let mut words: VecDeque<String> = text.split_inclusive(char::is_whitespace).map(str::to_owned).collect();
    let limit = request.max_tokens.and_then(|tokens| usize::try_from(tokens).ok());
    match limit {
        // A word stands for a token: what matters is that the limit is kept and said.
        Some(limit) if limit < words.len() => {
            words.truncate(limit);
            (words, FinishReason::Length)
        }
        _ => (words, FinishReason::Stop),
    }
}

impl Generation for Echoing {
    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<RuntimeEvent, Fault>>> {
        if self.burst == 0 {
            self.burst = BURST;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.burst -= 1;
        let next = self.words.pop_front().map(RuntimeEvent::Text).or_else(|| self.finish.take());
        Poll::Ready(next.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::UsageSource;

    fn run(request: GenerateRequest) -> (String, FinishReason) {
        let mut generation = Echo.generate(request).unwrap();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut text, mut end) = (String::new(), None);
        loop {
            match generation.as_mut().poll_next(&mut cx) {
                Poll::Pending => {}
                Poll::Ready(None) => return (text, end.unwrap()),
                Poll::Ready(Some(Ok(RuntimeEvent::Text(more)))) => text.push_str(&more),
                Poll::Ready(Some(Ok(RuntimeEvent::Finish { reason, usage }))) => {
                    assert_eq!(usage.source, UsageSource::Estimate);
                    assert!(usage.completion_total() > 0);
                    end = Some(reason);
                }
                Poll::Ready(Some(Err(fault))) => panic!("{fault}"),
            }
        }
    }

    fn request(text: &str) -> GenerateRequest {
        let message =
            |role: &str, text: &str| RuntimeMessage { role: role.to_owned(), text: text.to_owned() };
        GenerateRequest {
            model: NAME.to_owned(),
            messages: vec![message("user", "before"), message("assistant", "x"), message("user", text)],
            ..GenerateRequest::default()
        }
    }

    #[test]
    fn it_says_that_it_is_no_model_and_repeats_the_last_message() {
        let (text, end) = run(request("hello  there\nünïcode"));
        assert_eq!(text, format!("{PREAMBLE}hello  there\nünïcode"));
        assert!(text.contains("no model"));
        assert_eq!(end, FinishReason::Stop);
        assert_eq!(run(request("same")), run(request("same")));
        let long = "word ".repeat(5_000);
        assert!(run(request(&long)).0.ends_with(&long));
    }

    #[test]
    fn limit_and_stop_are_obeyed() {
        let limited = GenerateRequest { max_tokens: Some(3), ..request("hello") };
        assert_eq!(run(limited), ("This is the ".to_owned(), FinishReason::Length));
        let stopped =
            GenerateRequest { stop: vec!["You said".to_owned(), String::new()], ..request("hello") };
        let (text, end) = run(stopped);
        assert!(text.ends_with("sent. ") && end == FinishReason::Stop);
    }

    #[test]
    fn another_model_is_not_found() {
        let other = GenerateRequest { model: "gpt".to_owned(), ..request("x") };
        assert_eq!(Echo.generate(other).err().unwrap().code, "model_not_found");
    }
}
