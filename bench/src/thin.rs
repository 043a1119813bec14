//! A minimal pass-through proxy on hyper: the practical limit of a proxy in Rust. Bodies are passed
//! untouched, and nothing is counted.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::serve;

type Pool = Rc<RefCell<Vec<SendRequest<Incoming>>>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Passes everything on to `upstream` until the process is killed.
pub fn run(listen: &str, upstream: &str) -> anyhow::Result<()> {
    let upstream = Rc::new(Upstream {
        address: upstream.to_owned(),
        host: HeaderValue::from_str(upstream)?,
        pool: Pool::default(),
    });
    serve::on_one_thread(listen, move |stream| client(stream, Rc::clone(&upstream)))?;
    Ok(())
}

struct Upstream {
    address: String,
    host: HeaderValue,
    pool: Pool,
}

async fn client(stream: TcpStream, upstream: Rc<Upstream>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request| pass(request, Rc::clone(&upstream)));
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A client that disconnects ends only its own connection.
    let _gone = served.await;
}

async fn pass(
    mut request: Request<Incoming>,
    upstream: Rc<Upstream>,
) -> Result<Response<Returning>, Failure> {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    request.headers_mut().insert(HOST, upstream.host.clone());
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer sk-upstream"));
    let mut sender = upstream.sender().await?;
    let response = sender.send_request(request).await?;
    let pool = Rc::clone(&upstream.pool);
    Ok(response.map(|body| Returning { body, back: Some((sender, pool)) }))
}

impl Upstream {
    async fn sender(&self) -> Result<SendRequest<Incoming>, Failure> {
        loop {
            let pooled = self.pool.borrow_mut().pop();
            let Some(mut sender) = pooled else { break };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            // It is normal that the upstream closes an idle connection; `ready` notices.
            let _closed = connection.await;
        });
        Ok(sender)
    }
}

/// A body that returns its connection to the pool at its end. A body of known length is not polled past its
/// last byte, so the end is checked after each frame.
struct Returning {
    body: Incoming,
    back: Option<(SendRequest<Incoming>, Pool)>,
}

impl Body for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let ended = matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
        if ended && let Some((sender, pool)) = self.back.take() {
            pool.borrow_mut().push(sender);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
