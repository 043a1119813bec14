//! The echo runtime: not a model, and it says so. It repeats the prompt, so that everything around a model
//! can be tried.

use std::collections::VecDeque;
use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};

use chat::estimate;
use conversation::prompt_text::each_text;
use domain::adapters::RuntimeFuture;
use domain::prompt::{Content, Role, Turn};
use domain::runtime::{BoxedGeneration, GenerateRequest, Generation, RawPrompt, Runtime, RuntimeModel};
use domain::{Event, Fault, FaultClass, Finish, PartKind, Reason, Usage};

const NAME: &str = "echo";
const PREAMBLE: &str =
    "This is the echo runtime of Tidegate. It isn't a model: it repeats what it was sent. You said: ";
/// Words that one poll may return before other tasks on the core get a turn.
const BURST: u32 = 32;

/// Repeats the user's last message, word by word. Deterministic.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

struct Echoing {
    events: VecDeque<Event>,
    usage: Usage,
    burst: u32,
}

impl Runtime for Echo {
    fn models(&self) -> Vec<RuntimeModel> {
        vec![RuntimeModel { id: NAME.to_owned(), owned_by: "tidegate".to_owned(), ..RuntimeModel::default() }]
    }

    fn generate(&self, request: GenerateRequest) -> Result<BoxedGeneration, Fault> {
        check(&request)?;
        let (words, reason) = compose(&request);
        let usage = estimate(prompt_bytes(&request), words.iter().map(|word| word.len() as u64).sum());
        Ok(Box::pin(Echoing { events: events(words, reason, usage), usage, burst: BURST }))
    }

    fn count_tokens(&self, request: GenerateRequest) -> RuntimeFuture<'_, u64> {
        let counted = check(&request).map(|()| estimate(prompt_bytes(&request), 0).prompt_total());
        Box::pin(ready(counted))
    }
}

fn check(request: &GenerateRequest) -> Result<(), Fault> {
    if request.model != NAME {
        let truncated: String = request.model.chars().take(128).collect();
        let message = format!("This node has no model \"{truncated}\"; it runs \"{NAME}\".");
        return Err(Fault::new(FaultClass::NotFound, "model_not_found", message)
            .param("model")
            .fix("Ask for \"echo\", or list the models at /v1/models."));
    }
    if request.prompt.sampling.choices.is_some() {
        let fault = Fault::new(
            FaultClass::Unsupported,
            "unsupported_parameter",
            "This runtime returns one choice per request.",
        );
        return Err(fault.fix("Leave \"n\" out, or send 1.").param("n"));
    }
    Ok(())
}

fn prompt_bytes(request: &GenerateRequest) -> u64 {
    let mut bytes = 0;
    each_text(&request.prompt, &mut |text| bytes += text.len() as u64);
    match &request.raw_prompt {
        Some(RawPrompt::Text(text)) => bytes + text.len() as u64,
        Some(RawPrompt::Tokens(_)) | None => bytes,
    }
}

/// The text to repeat.
fn echoed_text(request: &GenerateRequest) -> String {
    if let Some(RawPrompt::Text(text)) = &request.raw_prompt {
        return text.clone();
    }
    let is_user = |turn: &&Turn| turn.role == Role::User;
    let last_turn = request.prompt.turns.iter().rev().find(is_user).or(request.prompt.turns.last());
    let parts = last_turn.map(|turn| turn.parts.as_slice()).unwrap_or_default();
    let texts = parts.iter().filter_map(|part| match &part.content {
        Content::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// The answer's words, each with its trailing space, and the finish reason.
fn compose(request: &GenerateRequest) -> (Vec<String>, Reason) {
    let mut text = format!("{PREAMBLE}{}", echoed_text(request));
    let stops = request.prompt.sampling.stop.iter().filter(|stop| !stop.is_empty());
    let mut reason = Reason::Stop;
    if let Some(at) = stops.filter_map(|stop| text.find(stop)).min() {
        text.truncate(at);
        reason = Reason::StopSequence;
    }
    let mut words: Vec<String> = text.split_inclusive(char::is_whitespace).map(str::to_owned).collect();
    let limit = request.prompt.output.tokens_max.and_then(|tokens| usize::try_from(tokens).ok());
    match limit {
        // A word counts as a token: what matters is that the limit is enforced and reported.
        Some(limit) if limit < words.len() => {
            words.truncate(limit);
            (words, Reason::Length)
        }
        _ => (words, reason),
    }
}

fn events(words: Vec<String>, reason: Reason, usage: Usage) -> VecDeque<Event> {
    let mut events = VecDeque::from([Event::Begin { choice: 0, part: 0, kind: PartKind::Text }]);
    events.extend(words.into_iter().map(|text| Event::Delta { choice: 0, part: 0, text }));
    events.extend([
        Event::End { choice: 0, part: 0 },
        Event::Finish { choice: 0, finish: Finish::of(reason) },
        Event::Usage(usage),
        Event::Done,
    ]);
    events
}

impl Generation for Echoing {
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Fault>>> {
        if self.burst == 0 {
            self.burst = BURST;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.burst -= 1;
        Poll::Ready(self.events.pop_front().map(Ok))
    }

    fn usage(self: Pin<&Self>) -> Usage {
        self.usage
    }
}

#[cfg(test)]
mod tests {
    use domain::prompt::Part;

    use super::*;

    fn run(request: GenerateRequest) -> (String, Reason) {
        let mut generation = Echo.generate(request).unwrap();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut text, mut end) = (String::new(), None);
        loop {
            match generation.as_mut().poll_next(&mut cx) {
                Poll::Pending => {}
                Poll::Ready(None) => return (text, end.unwrap()),
                Poll::Ready(Some(Ok(Event::Delta { text: more, .. }))) => text.push_str(&more),
                Poll::Ready(Some(Ok(Event::Finish { finish, .. }))) => end = Some(finish.reason),
                Poll::Ready(Some(Ok(Event::Usage(usage)))) => {
                    assert!(usage.is_estimated() && usage.completion_total() > 0);
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(fault))) => panic!("{fault}"),
            }
        }
    }

    fn request(text: &str) -> GenerateRequest {
        let mut request = GenerateRequest { model: NAME.to_owned(), ..GenerateRequest::default() };
        for (role, text) in [(Role::User, "before"), (Role::Assistant, "x"), (Role::User, text)] {
            request.prompt.push_turn(role, vec![Part::text(text)]);
        }
        request
    }

    #[test]
    fn it_says_that_it_is_no_model_and_repeats_the_last_message() {
        let (text, end) = run(request("hello  there\nünïcode"));
        assert_eq!(text, format!("{PREAMBLE}hello  there\nünïcode"));
        assert!(text.contains("isn't a model"));
        assert_eq!(end, Reason::Stop);
        assert_eq!(run(request("same")), run(request("same")));
        let long = "word ".repeat(5_000);
        assert!(run(request(&long)).0.ends_with(&long));
        let text = Some(RawPrompt::Text("a tide".to_owned()));
        assert!(run(GenerateRequest { raw_prompt: text, ..request("x") }).0.ends_with("a tide"));
    }

    #[test]
    fn limit_and_stop_are_obeyed() {
        let mut limited = request("hello");
        limited.prompt.output.tokens_max = Some(3);
        assert_eq!(run(limited), ("This is the ".to_owned(), Reason::Length));
        let mut stopped = request("hello");
        stopped.prompt.sampling.stop = vec!["You said".to_owned(), String::new()];
        let (text, end) = run(stopped);
        assert!(text.ends_with("sent. ") && end == Reason::StopSequence);
    }

    #[test]
    fn another_model_is_not_found() {
        let other = GenerateRequest { model: "gpt".to_owned(), ..request("x") };
        assert_eq!(Echo.generate(other).err().unwrap().code, "model_not_found");
        let mut two = request("x");
        two.prompt.sampling.choices = Some(2);
        assert_eq!(Echo.generate(two).err().unwrap().param.as_deref(), Some("n"));
    }
}
