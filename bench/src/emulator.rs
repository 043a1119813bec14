//! An emulated provider with OpenAI's chat completions API, whose answers say how long it held the request.
//!
//! Every text carries `t=RECEIVED,SENT;` (19 digits each), so that the client can compute exactly how much
//! time the proxy in between added. Any model name is accepted; the request's `user` field selects the
//! behaviour.

use std::io;
use std::time::Duration;

use anyhow::Context;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use crate::behaviour::Behaviour;
use crate::clock::now_ns;
use crate::http1::{Chunked, head_end, header, json_value, number};
use crate::serve;

const ID: &str = "chatcmpl-emu0000000000000001";
const MODEL: &str = "gpt-4o-mini-2024-07-18";
const USAGE: &str = r#"{"prompt_tokens":31,"completion_tokens":97,"total_tokens":128,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#;
const PADDING: &str = "Tides are the rise and fall of sea levels caused by the combined effects of the gravitational forces exerted by the Moon and the Sun and by the rotation of the Earth. A tide gate opens on the ebb and closes on the flood, so that water leaves and does not return. The measured text is padded here to the size of a short chat answer, near one kibibyte in all, with its usage block, as a provider would send it for a small prompt of thirty or so tokens.";
const MODELS: &str = r#"{"object":"list","data":[{"id":"gpt-4o-mini","object":"model","created":1721172741,"owned_by":"system"}]}"#;
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-request-id: req_emu\r\ntransfer-encoding: chunked\r\n\r\n";

/// Serves until the process is killed.
pub fn run(listen: &str) -> anyhow::Result<()> {
    serve::on_one_thread(listen, |stream| async move {
        // A peer that disconnects is ignored; the next connection is served.
        let _gone = connection(stream).await;
    })
    .context("serving the emulator")
}

/// A parsed request.
struct Request {
    behaviour: Behaviour,
    stream: bool,
    include_usage: bool,
    is_post: bool,
    is_last: bool,
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let answers = Answers::new();
    let mut buffer = Vec::with_capacity(16 << 10);
    let mut out = Vec::with_capacity(4 << 10);
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        answer(&mut stream, &answers, &request, now_ns(), &mut out).await?;
        if request.is_last {
            break;
        }
    }
    Ok(())
}

async fn answer(
    stream: &mut TcpStream,
    answers: &Answers,
    request: &Request,
    received_ns: u64,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    if !request.is_post {
        return stream.write_all(&answers.models).await;
    }
    if request.behaviour.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(request.behaviour.latency_ms)).await;
    }
    if request.stream {
        return write_stream(stream, answers, request, received_ns, out).await;
    }
    out.clear();
    answers.whole.fill(received_ns, out);
    stream.write_all(out).await
}

/// The head and the first chunk are sent together, then one TCP segment per chunk, as providers do.
async fn write_stream(
    stream: &mut TcpStream,
    answers: &Answers,
    request: &Request,
    received_ns: u64,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    out.clear();
    out.extend_from_slice(STREAM_HEAD);
    answers.first.fill(received_ns, out);
    stream.write_all(out).await?;
    let mut ticks = tokio::time::interval(Duration::from_millis(request.behaviour.interval_ms.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    for _ in 1..request.behaviour.chunk_count {
        if request.behaviour.interval_ms > 0 {
            ticks.tick().await;
        } else {
            tokio::task::yield_now().await;
        }
        out.clear();
        answers.next.fill(received_ns, out);
        stream.write_all(out).await?;
    }
    stream.write_all(if request.include_usage { &answers.end_with_usage } else { &answers.end }).await
}

/// Reads one complete request; `None` when the peer has closed the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let head = loop {
        if let Some(end) = head_end(buffer) {
            break end;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let mut joined = Vec::new();
    let head_bytes = buffer.get(..head).unwrap_or_default();
    let length = header(head_bytes, b"content-length").map(number);
    let chunked = header(head_bytes, b"transfer-encoding").is_some();
    let end = if chunked {
        match read_chunked(stream, buffer, head, &mut joined).await? {
            Some(end) => end,
            None => return Ok(None),
        }
    } else {
        let end = head + usize::try_from(length.unwrap_or(0)).unwrap_or(usize::MAX - head);
        while buffer.len() < end {
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        }
        end
    };
    let body = if chunked { joined.as_slice() } else { buffer.get(head..end).unwrap_or_default() };
    let request = understand(buffer, body);
    buffer.drain(..end);
    Ok(Some(request))
}

async fn read_chunked(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    head: usize,
    joined: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    let (mut reader, mut at) = (Chunked::default(), head);
    loop {
        let unread = buffer.get(at..).unwrap_or_default();
        let (taken, ended) = reader.feed(unread, |piece| joined.extend_from_slice(piece));
        at += taken;
        if ended {
            return Ok(Some(at));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn understand(head: &[u8], body: &[u8]) -> Request {
    let is_true = |key: &[u8]| json_value(body, key).is_some_and(|value| value.starts_with(b"true"));
    let user = json_value(body, b"\"user\"").and_then(|value| value.strip_prefix(b"\""));
    let word = user.and_then(|value| value.split(|byte| *byte == b'"').next()).unwrap_or_default();
    Request {
        behaviour: Behaviour::parse(word),
        stream: is_true(b"\"stream\""),
        include_usage: is_true(b"\"include_usage\""),
        is_post: head.starts_with(b"POST "),
        is_last: header(head, b"connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close")),
    }
}

/// An answer with space for the two timestamps.
struct Template {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Template {
    fn new(text: &[u8]) -> Self {
        let at = memmem::find(text, b"t=;").map_or(text.len(), |at| at + 2);
        let (before, after) = text.split_at(at);
        Self { before: before.to_vec(), after: after.to_vec() }
    }

    fn fill(&self, received_ns: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.before);
        out.extend_from_slice(&digits(received_ns));
        out.push(b',');
        out.extend_from_slice(&digits(now_ns()));
        out.extend_from_slice(&self.after);
    }
}

fn digits(mut value: u64) -> [u8; crate::clock::STAMP_DIGITS] {
    let mut out = [b'0'; crate::clock::STAMP_DIGITS];
    for digit in out.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
    }
    out
}

struct Answers {
    whole: Template,
    first: Template,
    next: Template,
    end: Vec<u8>,
    end_with_usage: Vec<u8>,
    models: Vec<u8>,
}

/// The length of the timestamps, which the chunk and content lengths include although the template lacks
/// them.
const STAMPS_LEN: usize = 2 * crate::clock::STAMP_DIGITS + 1;

impl Answers {
    fn new() -> Self {
        let whole = format!(
            r#"{{"id":"{ID}","object":"chat.completion","created":1750000000,"model":"{MODEL}","choices":[{{"index":0,"message":{{"role":"assistant","content":"t=;{PADDING}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{USAGE},"service_tier":"default","system_fingerprint":"fp_emu"}}"#
        );
        let finish = event(r#"[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]"#, "null", 0);
        let usage = event("[]", USAGE, 0);
        let done = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n".as_slice();
        let delta = |delta: &str| {
            let choices =
                format!(r#"[{{"index":0,"delta":{{{delta}}},"logprobs":null,"finish_reason":null}}]"#);
            Template::new(&event(&choices, "null", STAMPS_LEN))
        };
        Self {
            whole: Template::new(&json_answer(&whole, STAMPS_LEN)),
            first: delta(r#""role":"assistant","content":"t=;""#),
            next: delta(r#""content":"t=;""#),
            end: [&finish, done].concat(),
            end_with_usage: [&finish, usage.as_slice(), done].concat(),
            models: json_answer(MODELS, 0),
        }
    }
}

fn json_answer(body: &str, added: usize) -> Vec<u8> {
    let length = body.len() + added;
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_emu\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// One event in one HTTP chunk.
fn event(choices: &str, usage: &str, added: usize) -> Vec<u8> {
    let data = format!(
        r#"data: {{"id":"{ID}","object":"chat.completion.chunk","created":1750000000,"model":"{MODEL}","service_tier":"default","system_fingerprint":"fp_emu","choices":{choices},"usage":{usage}}}"#
    );
    format!("{:x}\r\n{data}\n\n\r\n", data.len() + 2 + added).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::{Answers, understand};
    use crate::http1::{Chunked, head_end, header, number};

    #[test]
    fn a_whole_answer_is_as_long_as_it_says() {
        let mut out = Vec::new();
        Answers::new().whole.fill(7, &mut out);
        let head = head_end(&out).unwrap();
        assert_eq!(header(&out, b"content-length").map(number), Some((out.len() - head) as u64));
        let body: serde_json::Value = serde_json::from_slice(&out[head..]).unwrap();
        assert_eq!(body["usage"]["total_tokens"], 128);
        assert!(
            body["choices"][0]["message"]["content"].as_str().unwrap().starts_with("t=0000000000000000007,")
        );
    }

    #[test]
    fn a_stream_is_framed_and_ends_with_usage_when_asked() {
        let answers = Answers::new();
        let mut out = Vec::new();
        answers.first.fill(7, &mut out);
        answers.next.fill(7, &mut out);
        out.extend_from_slice(&answers.end_with_usage);
        let mut text = Vec::new();
        let (taken, ended) = Chunked::default().feed(&out, |piece| text.extend_from_slice(piece));
        assert_eq!((taken, ended), (out.len(), true));
        let text = String::from_utf8(text).unwrap();
        let events: Vec<&str> = text.split_terminator("\n\n").collect();
        assert_eq!(events.len(), 5);
        for event in &events[..4] {
            let json = event.strip_prefix("data: ").unwrap();
            serde_json::from_str::<serde_json::Value>(json).unwrap();
        }
        assert!(events[3].contains("\"choices\":[]"));
        assert_eq!(events[4], "data: [DONE]");
    }

    #[test]
    fn a_request_is_understood() {
        let body = br#"{"model":"any","messages":[{"role":"user"}],"user":"emu-l5-c6-i7","stream": true,"stream_options":{"include_usage":true}}"#;
        let request = understand(b"POST / HTTP/1.1\r\n", body);
        assert!(request.stream && request.include_usage && request.is_post);
        assert_eq!(request.behaviour.word(), "emu-l5-c6-i7");
        let plain = understand(b"GET /v1/models HTTP/1.1\r\n", b"");
        assert!(!plain.stream && !plain.include_usage && !plain.is_post);
    }
}
