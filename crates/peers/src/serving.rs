//! What runs for as long as the mesh does: incoming connections and their requests, and the upkeep of the connections to all members.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use iroh::endpoint::{Connection, Incoming, RecvStream, SendStream};
use tokio::time::{sleep, timeout};

use crate::choose::PeerState;
use crate::frames::{AnswerHead, RequestHead, broken, read_body, read_head, write_head};
use crate::limits::{
    BODY_BYTES_MAX, HANDSHAKE_TIMEOUT, REQUEST_TIMEOUT, STATE_BYTES_MAX, STATE_EVERY, STATE_TIMEOUT,
};
use crate::members::Member;
use crate::mesh::{BLOCKS, INFER, Mesh, dial};
use crate::transport::{BROKEN, code, refuse};

/// The path at which peers describe themselves.
const STATE: &str = "/tidegate/state";

impl Mesh {
    /// Serves peers and keeps connections to them, until the task is stopped.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.accept(), self.keep());
    }

    /// Closes all connections.
    pub async fn close(&self, time_max: Duration) {
        let _ = timeout(time_max, self.endpoint.close()).await;
        self.tasks.finish(time_max).await;
    }

    async fn accept(self: &Arc<Self>) {
        while let Some(incoming) = self.endpoint.accept().await {
            let Ok(permit) = Arc::clone(&self.connections_left).try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let mesh = Arc::clone(self);
            self.tasks.run(async move {
                if let Err(error) = mesh.greet(incoming).await {
                    tracing::debug!(%error, "a connection of a peer ended");
                }
                drop(permit);
            });
        }
    }

    /// A key that is in no list is refused before it may open a stream.
    async fn greet(self: &Arc<Self>, incoming: Incoming) -> io::Result<()> {
        let accepting = incoming.accept().map_err(broken)?;
        let late = |_| broken("the handshake took too long");
        let connection = timeout(HANDSHAKE_TIMEOUT, accepting).await.map_err(late)?.map_err(broken)?;
        let key = *connection.remote_id().as_bytes();
        if !self.admits(&key) {
            tracing::warn!(public_key = %proof::to_hex(&key), "a connection of an unknown or ejected key was refused");
            refuse(&connection);
            return Ok(());
        }
        self.add_connection(key, connection.clone());
        self.serve(key, connection).await
    }

    /// Serves the streams that a peer opens, until the connection is closed.
    async fn serve(self: &Arc<Self>, key: [u8; 32], connection: Connection) -> io::Result<()> {
        loop {
            let (send, receive) = connection.accept_bi().await.map_err(broken)?;
            let (mesh, is_chunks) = (Arc::clone(self), connection.alpn() == BLOCKS);
            self.tasks.run(async move {
                let served = if is_chunks {
                    mesh.library.serve(send, receive, &mesh.traffic(key)).await
                } else {
                    mesh.serve_request(key, send, receive).await
                };
                if let Err(error) = served {
                    tracing::debug!(%error, "a request of a peer was not answered to its end");
                }
            });
        }
    }

    async fn serve_request(
        &self,
        key: [u8; 32],
        mut send: SendStream,
        mut receive: RecvStream,
    ) -> io::Result<()> {
        let late = |_| broken("the request took too long to arrive");
        let read = async {
            let (method, uri, headers) = read_head::<RequestHead>(&mut receive).await?.read()?;
            let body = read_body(&mut receive, BODY_BYTES_MAX).await?;
            let mut request = Request::builder().method(method).uri(uri).body(body).map_err(broken)?;
            *request.headers_mut() = headers;
            Ok::<_, io::Error>(request)
        };
        let request = timeout(REQUEST_TIMEOUT, read).await.map_err(late)??;
        let traffic = self.traffic(key);
        traffic.received.fetch_add(request.body().len() as u64, Ordering::Relaxed);
        if request.uri().path() == STATE {
            return self.send_state(&mut send).await;
        }
        let gone = send.stopped();
        let answering = async {
            let answer = self.service.answer(request).await;
            send_answer(&mut send, answer, |bytes| {
                traffic.sent.fetch_add(bytes, Ordering::Relaxed);
            })
            .await
        };
        // Dropping the answer cancels its generation.
        tokio::select! {
            answered = answering => answered,
            _ = gone => Ok(()),
        }
    }

    async fn send_state(&self, send: &mut SendStream) -> io::Result<()> {
        let state = self.service.state().await;
        write_head(send, &AnswerHead::new(StatusCode::OK, &HeaderMap::new())).await?;
        send.write_all(&serde_json::to_vec(&state)?).await.map_err(broken)?;
        send.finish().map_err(broken)
    }

    /// Dials members without a connection, and asks the others what they serve.
    async fn keep(self: &Arc<Self>) {
        loop {
            self.ejections.merge();
            self.close_refused();
            let members = self.roster.members().into_iter().map(|(member, _)| member);
            let admitted = members.filter(|member| self.admits(member.public_key.as_bytes()));
            let mut rounds: FuturesUnordered<_> = admitted.map(|member| self.refresh(member)).collect();
            while rounds.next().await.is_some() {}
            drop(rounds);
            tokio::select! {
                () = sleep(STATE_EVERY) => {}
                () = self.roster.changed.notified() => {}
            }
        }
    }

    async fn refresh(self: &Arc<Self>, member: Member) {
        let key = *member.public_key.as_bytes();
        let connection = match self.connection(&key) {
            Some(connection) => connection,
            None if member.addresses.is_empty() && self.relays.is_empty() => return,
            None => match dial(&self.endpoint, &member, INFER, &self.relays).await {
                Ok(connection) => {
                    self.add_connection(key, connection.clone());
                    let (mesh, served) = (Arc::clone(self), connection.clone());
                    self.tasks.run(async move {
                        let _ = mesh.serve(key, served).await;
                    });
                    connection
                }
                Err(error) => {
                    self.heard(key, Err(error.to_string()));
                    return;
                }
            },
        };
        let heard = timeout(STATE_TIMEOUT, ask_state(&connection)).await;
        let late =
            |_| Err(broken(format!("it did not describe itself within {} s", STATE_TIMEOUT.as_secs())));
        self.heard(key, heard.unwrap_or_else(late).map_err(|error: io::Error| error.to_string()));
    }
}

async fn ask_state(connection: &Connection) -> io::Result<PeerState> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(broken)?;
    write_head(&mut send, &RequestHead::get(STATE)).await?;
    send.finish().map_err(broken)?;
    let (status, _) = read_head::<AnswerHead>(&mut receive).await?.read()?;
    if !status.is_success() {
        return Err(broken(format!("it answered {status}")));
    }
    let body: Bytes = read_body(&mut receive, STATE_BYTES_MAX).await?;
    serde_json::from_slice(&body).map_err(broken)
}

async fn send_answer(
    send: &mut SendStream,
    answer: Response<crate::mesh::PeerBody>,
    sent: impl Fn(u64),
) -> io::Result<()> {
    let (head, mut body) = answer.into_parts();
    write_head(send, &AnswerHead::new(head.status, &head.headers)).await?;
    while let Some(frame) = body.frame().await {
        let bytes = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) => {
                let _ = send.reset(code(BROKEN));
                return Err(error);
            }
        };
        let length = bytes.len() as u64;
        send.write_chunk(bytes).await.map_err(broken)?;
        sent(length);
    }
    send.finish().map_err(broken)
}
