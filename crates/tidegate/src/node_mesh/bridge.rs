//! Peers' requests, served on the thread that the node's service lives on: its answers don't move between threads, and a mesh's
//! connections do.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{FuturesUnordered, unfold};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use node::Service;
use peers::PeerBody;
use tokio::sync::{mpsc, oneshot};

use crate::limits::{PEER_PIECES_MAX, PEER_REQUESTS_WAITING_MAX};

type Piece = io::Result<Bytes>;

/// A request and where its answer goes.
struct Job {
    request: Request<Bytes>,
    answer: oneshot::Sender<Response<mpsc::Receiver<Piece>>>,
}

/// Hands requests to the thread of the service.
#[derive(Clone)]
pub struct Bridge(mpsc::Sender<Job>);

/// Serves what is handed over.
pub struct BridgeEnd(mpsc::Receiver<Job>);

/// A bridge and its end at the service.
pub fn bridge() -> (Bridge, BridgeEnd) {
    let (sender, receiver) = mpsc::channel(PEER_REQUESTS_WAITING_MAX);
    (Bridge(sender), BridgeEnd(receiver))
}

impl Bridge {
    /// Has a request served. Dropping the answer, or this future, cancels it.
    pub async fn serve(&self, request: Request<Bytes>) -> Response<PeerBody> {
        let (sender, answer) = oneshot::channel();
        let handed = self.0.send(Job { request, answer: sender }).await;
        let answered = if handed.is_ok() { answer.await.ok() } else { None };
        match answered {
            Some(answer) => answer.map(|pieces| PeerBody::new(StreamBody::new(unfold(pieces, next)))),
            None => closing(),
        }
    }
}

async fn next(
    mut pieces: mpsc::Receiver<Piece>,
) -> Option<(io::Result<Frame<Bytes>>, mpsc::Receiver<Piece>)> {
    let piece = pieces.recv().await?;
    Some((piece.map(Frame::data), pieces))
}

/// The node is shutting down.
fn closing() -> Response<PeerBody> {
    let mut answer = Response::new(PeerBody::new(Empty::new().map_err(|never| match never {})));
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer
}

impl BridgeEnd {
    /// Runs until all bridges are gone. Use it inside a `LocalSet`.
    pub async fn run(mut self, service: Arc<Service>) {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                job = self.0.recv() => match job {
                    Some(job) => running.push(answer(Arc::clone(&service), job)),
                    None => break,
                },
                Some(()) = running.next() => {}
            }
        }
        while running.next().await.is_some() {}
    }
}

async fn answer(service: Arc<Service>, job: Job) {
    let Job { request, answer: mut sender } = job;
    let answering = service.call_for_peer(request, service.mint());
    let answered = {
        let mut answering = pin!(answering);
        tokio::select! {
            answered = &mut answering => answered,
            // The peer has left.
            () = sender.closed() => return,
        }
    };
    let (head, mut body) = answered.into_parts();
    let (pieces, received) = mpsc::channel(PEER_PIECES_MAX);
    if sender.send(Response::from_parts(head, received)).is_err() {
        return;
    }
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = pieces.closed() => return,
        };
        let Some(frame) = frame else { return };
        let piece = frame.map(|frame| frame.into_data().unwrap_or_default()).map_err(io::Error::other);
        if pieces.send(piece).await.is_err() {
            return;
        }
    }
}
