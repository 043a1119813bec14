//! A small HTTP client for tests: one connection per call, with a buffered response or a stream that can be
//! dropped.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::{contract, sse};

/// Makes calls to one origin with a common set of headers.
#[derive(Clone)]
pub struct Client {
    origin: String,
    headers: Vec<(String, String)>,
    tls: Option<Arc<ClientConfig>>,
    http2: bool,
    within: Duration,
    is_other_version: bool,
}

/// A buffered response.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A response whose body is still arriving; dropping it closes the connection.
pub struct Streaming {
    pub status: u16,
    pub headers: HeaderMap,
    body: Incoming,
    connection: Connection,
    events: sse::Parser,
    within: Duration,
}

/// The task that drives a connection; it is aborted with its response.
struct Connection(JoinHandle<()>);

impl Client {
    /// `origin` is scheme, host and port, such as `http://127.0.0.1:8080`.
    pub fn new(origin: impl Into<String>) -> Self {
        let origin = origin.into().trim_end_matches('/').to_owned();
        let within = Duration::from_secs(30);
        Self { origin, headers: Vec::new(), tls: None, http2: false, within, is_other_version: false }
    }

    /// The server may be another version, so its responses are not checked against this version's OpenAPI
    /// document.
    pub fn other_version(mut self) -> Self {
        self.is_other_version = true;
        self
    }

    /// Sends this header with each call.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn bearer(self, key: &str) -> Self {
        self.header("authorization", format!("Bearer {key}"))
    }

    /// Uses HTTP/2, with prior knowledge where there is no TLS.
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Sets the timeout of a call, or of one piece of a stream.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Trusts the certificate authorities in this PEM.
    pub fn trust(mut self, pem: &str) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        self.tls = Some(Arc::new(config));
        Ok(self)
    }

    pub async fn get(&self, path: &str) -> io::Result<Answer> {
        self.call(Method::GET, path, &[], Bytes::new()).await
    }

    pub async fn delete(&self, path: &str) -> io::Result<Answer> {
        self.call(Method::DELETE, path, &[], Bytes::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> io::Result<Answer> {
        self.call(Method::POST, path, &[JSON], Bytes::from(body.to_string())).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> io::Result<Answer> {
        self.call(Method::PUT, path, &[JSON], Bytes::from(body.to_string())).await
    }

    /// Sends a request with any method, further headers and any body; waits for the complete response and
    /// checks it against the OpenAPI document.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> io::Result<Answer> {
        let sent = body.into();
        let mut streaming = self.open(method.clone(), path, headers, sent.clone()).await?;
        let body = streaming.rest().await?;
        let answer =
            Answer { status: streaming.status, headers: std::mem::take(&mut streaming.headers), body };
        if !self.is_other_version {
            contract::check(&method, path, &sent, &answer).map_err(io::Error::other)?;
        }
        Ok(answer)
    }

    /// Posts JSON and returns as soon as the response head has arrived.
    pub async fn stream(&self, path: &str, body: &Value) -> io::Result<Streaming> {
        self.open(Method::POST, path, &[JSON], Bytes::from(body.to_string())).await
    }

    /// Sends a request and returns as soon as the response head has arrived.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> io::Result<Streaming> {
        let sent = self.send(method, path, headers, body);
        let (response, connection) = with_timeout(self.within, Box::pin(sent)).await?;
        let (head, body) = response.into_parts();
        Ok(Streaming {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            connection,
            events: sse::Parser::default(),
            within: self.within,
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> io::Result<(http::Response<Incoming>, Connection)> {
        let uri: Uri = format!("{}{path}", self.origin).parse().map_err(io::Error::other)?;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let target = if self.http2 { uri.clone() } else { origin_form(&uri)? };
        let mut request = Request::builder().method(method).uri(target);
        if !self.http2 {
            request = request.header(HOST, &authority);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(io::Error::other)?;
        let socket = TcpStream::connect(&authority).await?;
        socket.set_nodelay(true)?;
        match &self.tls {
            None => exchange(socket, request, self.http2).await,
            Some(config) => {
                let mut config = ClientConfig::clone(config);
                config.alpn_protocols = vec![if self.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
                let host = uri.host().unwrap_or_default().to_owned();
                let name = ServerName::try_from(host).map_err(io::Error::other)?;
                let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
                exchange(stream, request, self.http2).await
            }
        }
    }
}

impl Answer {
    /// Expects this status, and shows the body if it is another one.
    #[track_caller]
    pub fn must_be(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// The body as JSON; null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Streaming {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The next bytes; `None` at a clean end, an error if the transfer broke off.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let next = async {
                match self.body.frame().await {
                    None => Ok(None),
                    Some(frame) => frame.map(Some).map_err(io::Error::other),
                }
            };
            match with_timeout(self.within, next).await? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The next event's data; `None` at a clean end.
    pub async fn event(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(event) = self.events.next_event() {
                return Ok(Some(event));
            }
            match self.chunk().await? {
                Some(bytes) => self.events.push(&bytes),
                None => return Ok(None),
            }
        }
    }

    /// All remaining events, and whether the transfer ended cleanly.
    pub async fn events(&mut self) -> (Vec<String>, io::Result<()>) {
        let mut events = Vec::new();
        loop {
            match self.event().await {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, Ok(())),
                Err(error) => return (events, Err(error)),
            }
        }
    }

    /// All remaining bytes.
    pub async fn rest(&mut self) -> io::Result<Bytes> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.chunk().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }

    /// Closes the connection immediately and returns when.
    pub fn hang_up(self) -> Instant {
        self.connection.0.abort();
        Instant::now()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    http2: bool,
) -> io::Result<(http::Response<Incoming>, Connection)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    if http2 {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .map_err(io::Error::other)?;
        // How the connection ended is reported by the response's body.
        let connection = Connection(tokio::spawn(async move { drop(connection.await) }));
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        return Ok((response, connection));
    }
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(io::Error::other)?;
    let connection = Connection(tokio::spawn(async move { drop(connection.await) }));
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok((response, connection))
}

fn origin_form(uri: &Uri) -> io::Result<Uri> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    target.parse().map_err(io::Error::other)
}

async fn with_timeout<T>(within: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(within, future).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
}
