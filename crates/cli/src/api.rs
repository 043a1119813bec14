//! The command line's client of `/v2` and `/v1`: one request at a time, JSON responses, failures with an exit
//! code.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use egress::{Client, EgressSettings, OutBody, Request, TargetKind};
use http::{HeaderValue, Method, Uri, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::task::LocalSet;

use crate::limits::{ANSWER_BYTES_MAX, ANSWER_TIME_MAX, STREAM_SILENCE_MAX};
use crate::output::{self, Failure};
use crate::shared::Shared;

/// A successful response.
struct SuccessResponse {
    body: Bytes,
    etag: Option<String>,
}

/// A client of one gateway.
pub struct Api {
    base: String,
    key: Option<String>,
    /// Further roots for TLS; else those of `TIDEGATE_CA_FILE`.
    ca_file: Option<PathBuf>,
    /// Has the gateway check writes, and do none (`--dry-run`).
    dry_run: bool,
    runtime: tokio::runtime::Runtime,
}

impl Api {
    /// Connects with the key of the environment, or of `tidegate login`.
    ///
    /// # Errors
    /// There is no key.
    pub fn connect(shared: &Shared) -> Result<Self, Failure> {
        let (base, key) = shared.gateway()?;
        let key = key.ok_or_else(|| {
            Failure::new(
                output::AUTHENTICATION,
                "No API key: run `tidegate login`, or set TIDEGATE_API_KEY. `tidegate init`, and the first `tidegate up` or \
                 `tidegate serve`, print one; managing needs the admin key.",
            )
        })?;
        Ok(Self { dry_run: shared.dry_run, ..Self::with_key(&base, &key)? })
    }

    /// Like `connect`, but calls an address that was given without a key if there is none: a node on this
    /// machine may need no key, and a gateway says that it wants one.
    ///
    /// # Errors
    /// There is no key, and no address was given.
    pub fn connect_open(shared: &Shared) -> Result<Self, Failure> {
        match (shared.gateway()?, &shared.url) {
            ((base, None), Some(_)) => Self::without_key(&base),
            _ => Self::connect(shared),
        }
    }

    /// # Errors
    /// The runtime can't be created.
    pub fn with_key(base: &str, key: &str) -> Result<Self, Failure> {
        Ok(Self { key: Some(key.to_owned()), ..Self::without_key(base)? })
    }

    /// # Errors
    /// The runtime can't be created.
    pub fn without_key(base: &str) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { base: base.to_owned(), key: None, ca_file: None, dry_run: false, runtime })
    }

    /// Trusts the roots in this file, too.
    pub fn trusting(self, ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, ..self }
    }

    /// The user chose the address, so it may be a private one.
    fn client(&self) -> Result<Client, Failure> {
        let mut settings = egress_settings()?;
        if let Some(path) = &self.ca_file {
            settings.extra_roots_pem = Some(std::fs::read(path)?);
        }
        Ok(Client::new(Arc::new(settings))?)
    }

    pub fn address(&self) -> &str {
        &self.base
    }

    /// Sleeps.
    pub fn pause(&self, duration: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(duration).await });
    }

    /// All rows of a list, page by page.
    pub fn get_all(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        let join = if path.contains('?') { '&' } else { '?' };
        loop {
            let mut page = self.get(&format!("{path}{join}limit=1000{cursor}"))?;
            if let Some(Value::Array(more)) = page.get_mut("data").map(Value::take) {
                rows.extend(more);
            }
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(rows),
            }
        }
    }

    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(Method::POST, path, Some(body))
    }

    /// As `post`, for what takes the gateway longer than an answer may take otherwise.
    ///
    /// # Errors
    /// The gateway can't be reached, refuses, or takes longer.
    pub fn post_within(&self, path: &str, body: &Value, time_max: Duration) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path, Some(body))?;
        self.answer_within(&request, time_max).map(|answer| self.read_for(&request, &answer.body))
    }

    pub fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(Method::PATCH, path, Some(body))
    }

    pub fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::DELETE, path, None)
    }

    pub fn text(&self, path: &str) -> Result<String, Failure> {
        let answer = self.answer(&self.request(Method::GET, path, None)?)?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    pub fn bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        Ok(self.answer(&self.request(Method::GET, path, None)?)?.body.to_vec())
    }

    pub fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(Method::PUT, path, Some(body))
    }

    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let request = self.request(method, path, body)?;
        self.answer(&request).map(|answer| self.read_for(&request, &answer.body))
    }

    /// An object with its ETag, for a write that must not overwrite another client's change.
    pub fn get_versioned(&self, path: &str) -> Result<(Value, Option<String>), Failure> {
        let answer = self.answer(&self.request(Method::GET, path, None)?)?;
        Ok((read(&answer.body), answer.etag))
    }

    /// Writes only if the object is still at this version (`If-Match`).
    ///
    /// # Errors
    /// The gateway can't be reached, or refuses; a conflict if the object has changed.
    pub fn call_if(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Value, Failure> {
        let mut request = self.request(method, path, body)?;
        if let Some(tag) = etag.and_then(|tag| HeaderValue::from_str(tag).ok()) {
            request.headers.push((header::IF_MATCH, tag));
        }
        self.answer(&request).map(|answer| self.read_for(&request, &answer.body))
    }

    /// An answer's document. After a dry run it has no secrets: nothing was made that they would open.
    fn read_for(&self, request: &Request, body: &[u8]) -> Value {
        let mut document = read(body);
        if self.dry_run && request.method != Method::GET {
            leave_out_secrets(&mut document);
        }
        document
    }

    fn answer(&self, request: &Request) -> Result<SuccessResponse, Failure> {
        self.answer_within(request, ANSWER_TIME_MAX)
    }

    fn answer_within(&self, request: &Request, time_max: Duration) -> Result<SuccessResponse, Failure> {
        LocalSet::new().block_on(&self.runtime, async {
            let whole = async {
                let answer =
                    self.client()?.send(request, TargetKind::System).await.map_err(|e| self.away(&e))?;
                let status = answer.status.as_u16();
                let etag = answer.headers.text("etag").map(str::to_owned);
                // Whatever else listens at an address: all that a gateway answers has this header.
                if answer.headers.text("agent-trace-id").is_none() && request.url.path().starts_with("/v2/") {
                    return Err(self.is_another());
                }
                let body = answer.body.read_to_end(ANSWER_BYTES_MAX).await.map_err(|e| self.away(&e))?;
                if (200..300).contains(&status) {
                    Ok(SuccessResponse { body, etag })
                } else {
                    Err(refused(status, &body))
                }
            };
            tokio::time::timeout(time_max, whole).await.map_err(|_| {
                let seconds = time_max.as_secs();
                Failure::new(output::UNAVAILABLE, format!("{} has not answered for {seconds} s.", self.base))
            })?
        })
    }

    /// Sends a part of a file to the address that it has for its content, which is all that allows it.
    pub fn put_part(&self, url: &str, range: Option<&str>, bytes: Bytes) -> Result<PartAnswer, Failure> {
        let wrong = || Failure::new(output::FAILED, "The gateway told an address that is none.");
        let mut request = Request::new(Method::PUT, Uri::try_from(url).map_err(|_| wrong())?);
        if let Some(range) = range {
            let range = HeaderValue::from_str(range).map_err(|_| wrong())?;
            request.headers.push((header::CONTENT_RANGE, range));
        }
        request.body = OutBody::from(bytes);
        LocalSet::new().block_on(&self.runtime, async {
            let whole = async {
                let answer =
                    self.client()?.send(&request, TargetKind::System).await.map_err(|e| self.away(&e))?;
                let status = answer.status.as_u16();
                let received = answer.headers.text("range").map(str::to_owned);
                let body = answer.body.read_to_end(ANSWER_BYTES_MAX).await.map_err(|e| self.away(&e))?;
                match status {
                    200..300 | 308 => Ok(PartAnswer { is_complete: status < 300, received }),
                    _ => Err(refused(status, &body)),
                }
            };
            let late = || Failure::new(output::UNAVAILABLE, format!("{} does not answer.", self.base));
            tokio::time::timeout(ANSWER_TIME_MAX, whole).await.map_err(|_| late())?
        })
    }

    /// Sends a streaming chat request and calls `on_data` with each event as it arrives; returns the response
    /// headers.
    ///
    /// # Errors
    /// The gateway can't be reached, refuses, or breaks off the stream.
    pub fn stream(
        &self,
        path: &str,
        body: &Value,
        mut on_data: impl FnMut(&Value),
    ) -> Result<http::HeaderMap, Failure> {
        let request = self.request(Method::POST, path, Some(body))?;
        LocalSet::new().block_on(&self.runtime, async {
            let answer =
                self.client()?.send(&request, TargetKind::System).await.map_err(|e| self.away(&e))?;
            let egress::Answer { status, headers, mut body } = answer;
            if !status.is_success() {
                let body = body.read_to_end(ANSWER_BYTES_MAX).await.map_err(|e| self.away(&e))?;
                return Err(refused(status.as_u16(), &body));
            }
            let mut pending = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|e| self.away(&e))?;
                pending.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                while let Some(end) = pending.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    if let Some(event) = event_of(&line)? {
                        on_data(&event);
                    }
                }
            }
            Ok(headers.to_map())
        })
    }

    /// Reads a stream of JSON, line by line, until it is over or the user interrupts it.
    ///
    /// # Errors
    /// The gateway can't be reached, refuses, breaks off the stream, or says nothing for long.
    pub fn lines(&self, path: &str, mut on_line: impl FnMut(&Value)) -> Result<StreamEnd, Failure> {
        let mut request = self.request(Method::GET, path, None)?;
        request.headers.push((header::ACCEPT, HeaderValue::from_static("application/x-ndjson")));
        LocalSet::new().block_on(&self.runtime, async {
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => Ok(StreamEnd::Interrupted),
                read = self.read_lines(&request, &mut on_line) => read.map(|()| StreamEnd::Over),
            }
        })
    }

    async fn read_lines(&self, request: &Request, on_line: &mut impl FnMut(&Value)) -> Result<(), Failure> {
        let silent = |_| {
            let seconds = STREAM_SILENCE_MAX.as_secs();
            Failure::new(output::UNAVAILABLE, format!("{} has said nothing for {seconds} s.", self.base))
        };
        let sending =
            async { self.client()?.send(request, TargetKind::System).await.map_err(|e| self.away(&e)) };
        let answer = tokio::time::timeout(STREAM_SILENCE_MAX, sending).await.map_err(silent)??;
        let egress::Answer { status, mut body, .. } = answer;
        if !status.is_success() {
            let body = body.read_to_end(ANSWER_BYTES_MAX).await.map_err(|e| self.away(&e))?;
            return Err(refused(status.as_u16(), &body));
        }
        let mut pending = Vec::new();
        while let Some(frame) =
            tokio::time::timeout(STREAM_SILENCE_MAX, body.frame()).await.map_err(silent)?
        {
            let frame = frame.map_err(|e| self.away(&e))?;
            pending.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                if let Ok(message) = serde_json::from_slice(&line) {
                    on_line(&message);
                }
            }
        }
        Ok(())
    }

    /// Sleeps; `false` where the user interrupts that.
    pub fn rest(&self, duration: Duration) -> bool {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => false,
                () = tokio::time::sleep(duration) => true,
            }
        })
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Request, Failure> {
        let wrong = |error: http::Error| {
            if self.base.contains("://") {
                let message = format!("{}{path} isn't an address: {error}.", self.base);
                return Failure::new(output::USAGE, message);
            }
            let message =
                format!("{} isn't an address: it doesn't begin with http:// or https://.", self.base);
            Failure::new(output::USAGE, message).fix(format!("Write it as http://{}.", self.base))
        };
        let tried = self.dry_run && method != Method::GET;
        if tried && !path.starts_with("/v2/") {
            let message = format!("{method} {path} can't be tried without doing it: leave --dry-run out.");
            return Err(Failure::new(output::USAGE, message));
        }
        let join = if path.contains('?') { '&' } else { '?' };
        let dry_run = if tried { format!("{join}dry_run=true") } else { String::new() };
        let url =
            Uri::try_from(format!("{}{path}{dry_run}", self.base)).map_err(|error| wrong(error.into()))?;
        let agent = HeaderValue::from_static(concat!("tidegate-cli/", env!("CARGO_PKG_VERSION")));
        let mut request = Request::new(method, url);
        request.headers.push((header::USER_AGENT, agent));
        if let Some(key) = &self.key {
            let key = HeaderValue::try_from(format!("Bearer {key}")).map_err(|error| wrong(error.into()))?;
            request.headers.push((header::AUTHORIZATION, key));
        }
        if let Some(body) = body {
            let json = HeaderValue::from_static("application/json");
            request.headers.push((header::CONTENT_TYPE, json));
            request.body = OutBody::from(Bytes::from(body.to_string()));
        }
        Ok(request)
    }

    fn away(&self, error: &egress::EgressError) -> Failure {
        Failure::new(
            output::UNAVAILABLE,
            format!(
                "{} can't be reached: {}. Is `tidegate serve` running there? --url or TIDEGATE_URL names another.",
                self.base,
                error.to_string().trim_end_matches('.')
            ),
        )
    }

    fn is_another(&self) -> Failure {
        let message = format!(
            "{} answered, but it isn't a Tidegate gateway. --url or TIDEGATE_URL names another.",
            self.base
        );
        Failure::new(output::UNAVAILABLE, message)
    }
}

/// Why a stream is not read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    Over,
    Interrupted,
}

/// How far a file is after a part of it.
pub struct PartAnswer {
    is_complete: bool,
    /// `bytes=0-LAST`
    received: Option<String>,
}

impl PartAnswer {
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// How many bytes have arrived.
    ///
    /// # Errors
    /// The gateway tells it in a way that is not known here.
    pub fn received(&self) -> Result<u64, Failure> {
        let Some(range) = &self.received else { return Ok(0) };
        let last = range.strip_prefix("bytes=0-").and_then(|last| last.parse::<u64>().ok());
        let unknown = || Failure::new(output::FAILED, format!("The gateway has received \"{range}\"?"));
        last.map(|last| last + 1).ok_or_else(unknown)
    }
}

/// The egress settings for addresses that the user named.
///
/// # Errors
/// The file of extra root certificates can't be read.
pub fn egress_settings() -> Result<EgressSettings, Failure> {
    let extra_roots_pem = match std::env::var_os("TIDEGATE_CA_FILE").filter(|path| !path.is_empty()) {
        Some(path) => Some(std::fs::read(path)?),
        None => None,
    };
    Ok(EgressSettings { allow_private: true, extra_roots_pem, ..EgressSettings::default() })
}

fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

/// The fields that an answer has only once, when something is made.
const ONE_TIME_FIELDS: [&str; 8] =
    ["key", "admin_key", "api_key", "secret", "secret_access_key", "token", "invite_link", "sign_in_link"];

fn leave_out_secrets(made: &mut Value) {
    let Some(fields) = made.as_object_mut() else { return };
    fields.retain(|name, value| !(value.is_string() && ONE_TIME_FIELDS.contains(&name.as_str())));
    if let Some(pair) = fields.get_mut("aws") {
        leave_out_secrets(pair);
    }
}

fn refused(status: u16, body: &[u8]) -> Failure {
    let document = read(body);
    let detail = document
        .get("detail")
        .or_else(|| document.pointer("/error/message"))
        .and_then(Value::as_str)
        .map_or_else(|| String::from_utf8_lossy(body.get(..200).unwrap_or(body)).into_owned(), str::to_owned);
    let message = if detail.is_empty() { format!("The gateway answered {status}.") } else { detail };
    let problem = ["/code", "/error/code"].iter().find_map(|pointer| document.pointer(pointer)?.as_str());
    let failure = Failure::new(output::code_of(status, problem), message);
    Failure { document: Some(document), ..failure }
}

fn event_of(line: &[u8]) -> Result<Option<Value>, Failure> {
    let Some(data) = line.strip_prefix(b"data:") else { return Ok(None) };
    let event: Value = read(data);
    match event.get("error") {
        Some(error) => {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("The stream failed.");
            Err(Failure { document: Some(event.clone()), ..Failure::new(output::UPSTREAM, message) })
        }
        None => Ok(Some(event).filter(Value::is_object)),
    }
}

/// Reads a secret from the terminal without echo, or from standard input; never from the command line.
pub fn ask_secret(shared: &Shared, what: &str) -> Result<String, Failure> {
    let text = if std::io::stdin().is_terminal() {
        if shared.no_input {
            return Err(Failure::new(
                output::USAGE,
                format!("The secret of {what} must come on standard input."),
            ));
        }
        rpassword::prompt_password(format!("Secret of {what} (not shown): "))?
    } else {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    };
    let secret = text.trim();
    if secret.is_empty() {
        return Err(Failure::new(output::USAGE, format!("No secret was given for {what}."))
            .fix("Pipe it in, or run the command in a terminal and type it."));
    }
    Ok(secret.to_owned())
}

/// A string field of a JSON object; empty if there is none.
pub fn field(object: &Value, name: &str) -> String {
    object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What an id can't have as a segment of a path: what parts paths, and what no address takes.
const NO_SEGMENT: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b'/')
    .add(b'?')
    .add(b'#')
    .add(b'%')
    .add(b'\\')
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The path of what is below a path under this id. Whatever the id is, it stays one segment.
pub fn at(path: &str, id: &str) -> String {
    let segment = percent_encoding::utf8_percent_encode(id, NO_SEGMENT);
    match id {
        // These lead out of the path, also where a proxy unescapes them once; there is no such id.
        "." | ".." => format!("{path}/{}", id.replace('.', "%252E")),
        _ => format!("{path}/{segment}"),
    }
}

/// Escapes a value of a query string.
pub fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dry_run_shows_no_secrets() {
        let mut made = json!({"id": "key_1", "key": "tg_live_x", "secret": null, "aws": {"access_key_id": "A", "secret_access_key": "s"}});
        leave_out_secrets(&mut made);
        assert_eq!(made, json!({"id": "key_1", "secret": null, "aws": {"access_key_id": "A"}}));
    }

    #[test]
    fn what_is_no_address_is_told_with_one_that_is() {
        let failure = Api::without_key("localhost:8787").unwrap().get("/v2/me").unwrap_err();
        assert_eq!(failure.fix_text(), Some("Write it as http://localhost:8787."));
    }

    #[test]
    fn an_id_stays_one_segment_of_a_path() {
        for (id, path) in [
            ("tsk_01-a.b~c@2:x", "/v2/tasks/tsk_01-a.b~c@2:x"),
            ("../../v2/api-keys", "/v2/tasks/..%2F..%2Fv2%2Fapi-keys"),
            ("..", "/v2/tasks/%252E%252E"),
            (".", "/v2/tasks/%252E"),
            ("a?b#c d%2Fe", "/v2/tasks/a%3Fb%23c%20d%252Fe"),
            ("ü\\", "/v2/tasks/%C3%BC%5C"),
        ] {
            assert_eq!(at("/v2/tasks", id), path, "{id}");
        }
    }
}
