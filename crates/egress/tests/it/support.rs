//! A small test server, over plain TCP or TLS, that counts its connections.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use domain::ports::PortFuture;
use egress::{Client, EgressSettings, OutBody, Resolver};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

pub type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;
pub type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

pub struct Server {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub root_pem: Option<String>,
}

impl Server {
    pub async fn plain<H>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> AnswerFuture + Send + Sync + 'static,
    {
        Self::start(handler, None).await
    }

    /// HTTP/2 and HTTP/1.1 by ALPN, at `localhost`.
    pub async fn tls<H>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> AnswerFuture + Send + Sync + 'static,
    {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::start(handler, Some((Arc::new(config), made.cert.pem()))).await
    }

    async fn start<H>(handler: H, tls: Option<(Arc<rustls::ServerConfig>, String)>) -> Self
    where
        H: Fn(Request<Incoming>) -> AnswerFuture + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (handler, count) = (Arc::new(handler), Arc::clone(&connections));
        let (config, root_pem) = tls.unzip();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (handler, config) = (Arc::clone(&handler), config.clone());
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let answer = handler(request);
                        async move { Ok::<_, io::Error>(answer.await) }
                    });
                    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    builder.http2().max_concurrent_streams(100);
                    let _ = match config {
                        None => builder.serve_connection(TokioIo::new(socket), service).await,
                        Some(config) => {
                            let stream =
                                tokio_rustls::TlsAcceptor::from(config).accept(socket).await.unwrap();
                            builder.serve_connection(TokioIo::new(stream), service).await
                        }
                    };
                });
            }
        });
        Self { address, connections, root_pem }
    }

    pub fn url(&self, path: &str) -> String {
        match self.root_pem {
            None => format!("http://{}{path}", self.address),
            Some(_) => format!("https://localhost:{}{path}", self.address.port()),
        }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// A client that may reach this server.
    pub fn client(&self) -> Client {
        let settings = EgressSettings {
            allow_private: true,
            extra_roots_pem: self.root_pem.clone().map(String::into_bytes),
            resolver: Arc::new(Scripted::new(vec![vec![self.address.ip()]])),
            ..EgressSettings::default()
        };
        Client::new(Arc::new(settings)).unwrap()
    }
}

pub fn whole(text: &str) -> Answer {
    use http_body_util::BodyExt;
    let body = http_body_util::Full::new(Bytes::from(text.to_owned()));
    Response::new(body.map_err(|never| match never {}).boxed_unsync())
}

pub fn get(url: &str) -> egress::Request {
    egress::Request::new(http::Method::GET, url.parse().unwrap())
}

pub fn post(url: &str, body: OutBody) -> egress::Request {
    egress::Request { body, ..egress::Request::new(http::Method::POST, url.parse().unwrap()) }
}

/// Returns the given lists in turn; the last one again and again.
pub struct Scripted {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    pub queries: AtomicUsize,
}

impl Scripted {
    pub fn new(mut answers: Vec<Vec<IpAddr>>) -> Self {
        answers.reverse();
        Self { answers: Mutex::new(answers), queries: AtomicUsize::new(0) }
    }
}

impl Resolver for Scripted {
    fn resolve<'a>(&'a self, _host: &'a str) -> PortFuture<'a, io::Result<Vec<IpAddr>>> {
        self.queries.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() };
        Box::pin(async move { Ok(answer.unwrap_or_default()) })
    }
}

/// Runs a test like a serving core: one thread, one `LocalSet`.
pub fn on_a_core<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}
