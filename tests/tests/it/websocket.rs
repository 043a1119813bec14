//! A WebSocket client for tests, which sends exactly what it is given, valid or not.

use framing::websocket::{Kind, Scanner, Seen, Sender, accept, close_frame, text_frame};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::WITHIN;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const MASK: [u8; 4] = [3, 141, 59, 26];

/// What a server sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Event(Value),
    Ping,
    Pong,
    Close(Option<u16>),
    /// The connection ended.
    End,
}

/// The head of the handshake's answer.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub fn trace(&self) -> String {
        self.header("agent-trace-id").expect("a request id").to_owned()
    }
}

pub struct Socket {
    stream: TcpStream,
    scanner: Scanner,
    input: Vec<u8>,
}

/// Performs the handshake with these headers in addition to the usual ones.
pub async fn shake(origin: &str, path: &str, headers: &[(&str, &str)]) -> (Head, Socket) {
    let upgrade = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];
    raw(origin, "GET", path, &[&upgrade, headers].concat()).await
}

/// Sends a request with these headers only.
pub async fn raw(origin: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> (Head, Socket) {
    let address = origin.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut input = Vec::new();
    let end = loop {
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let count = tokio::time::timeout(WITHIN, stream.read_buf(&mut input)).await.unwrap().unwrap();
        assert!(count > 0, "no head: {}", String::from_utf8_lossy(&input));
    };
    let mut rest = input.split_off(end + 4);
    let text = String::from_utf8(input).unwrap();
    let mut lines = text.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers: Vec<_> = lines.filter_map(pair).collect();
    let mut head = Head { status, headers, body: Value::Null };
    if status == 101 {
        assert_eq!(head.header("sec-websocket-accept"), Some(&*accept(KEY)), "{head:?}");
    } else if let Some(length) = head.header("content-length").and_then(|length| length.parse::<usize>().ok())
    {
        while rest.len() < length {
            assert!(stream.read_buf(&mut rest).await.unwrap() > 0);
        }
        head.body = serde_json::from_slice(&rest[..length]).unwrap_or_default();
    }
    let socket = Socket { stream, scanner: Scanner::new(Sender::Server, 1 << 30, 1 << 24), input: rest };
    (head, socket)
}

impl Socket {
    pub async fn say(&mut self, event: &Value) {
        self.send(&text_frame(event.to_string().as_bytes(), Some(MASK))).await;
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// As `send`, when the server may have closed the connection.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        tokio::time::timeout(WITHIN, self.stream.write_all(bytes)).await.is_ok_and(|sent| sent.is_ok())
    }

    pub async fn close(&mut self) {
        self.send(&close_frame(1000, "", Some(MASK))).await;
    }

    /// The next message or control frame from the server.
    pub async fn hear(&mut self) -> Heard {
        loop {
            let read = self.scanner.read(&self.input).unwrap();
            self.input.drain(..read.used);
            match read.seen {
                Some(Seen::Message(Kind::Text)) => {
                    return Heard::Event(serde_json::from_slice(self.scanner.text()).unwrap());
                }
                Some(Seen::Message(Kind::Binary)) => panic!("bytes, and no event"),
                Some(Seen::Ping) => return Heard::Ping,
                Some(Seen::Pong) => return Heard::Pong,
                Some(Seen::Close(code)) => return Heard::Close(code),
                None => {}
            }
            let read = tokio::time::timeout(WITHIN, self.stream.read_buf(&mut self.input)).await;
            match read.expect("silence") {
                Ok(count) if count > 0 => {}
                _ => return Heard::End,
            }
        }
    }

    /// The events up to and including one of this kind.
    pub async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            match self.hear().await {
                Heard::Event(event) => {
                    let is_last = event["type"] == kind;
                    events.push(event);
                    if is_last {
                        return events;
                    }
                }
                other => panic!("{other:?} in the place of {kind}, after {events:?}"),
            }
        }
    }

    pub async fn one(&mut self, kind: &str) -> Value {
        self.until(kind).await.pop().unwrap()
    }

    /// The remaining events, and the end: a close frame or the end of the connection.
    pub async fn last(&mut self) -> (Vec<Value>, Heard) {
        let mut events = Vec::new();
        loop {
            match self.hear().await {
                Heard::Event(event) => events.push(event),
                Heard::Ping | Heard::Pong => {}
                other => return (events, other),
            }
        }
    }

    /// Sends a text to the model, and requests a response.
    pub async fn ask(&mut self, text: &str) {
        let content = json!([{"type": "input_text", "text": text}]);
        let item = json!({"type": "message", "role": "user", "content": content});
        self.say(&json!({"type": "conversation.item.create", "item": item})).await;
        self.say(&json!({"type": "response.create", "event_id": "mine"})).await;
    }

    /// The response to this text, once it is done.
    pub async fn answered(&mut self, text: &str) -> Value {
        self.ask(text).await;
        self.one("response.done").await
    }

    /// Closes the session; returns its end.
    pub async fn ended(&mut self) -> Heard {
        self.close().await;
        self.last().await.1
    }
}
