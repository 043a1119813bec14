//! Requests that a peer serves: which peer, and what is checked of its answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use iroh::endpoint::RecvStream;
use serde_json::Value;
use tokio::time::timeout;

use crate::choose::{PeerState, Wanted, digest_of_most};
use crate::frames::{AnswerHead, RequestHead, broken, read_head, write_head};
use crate::limits::{ANSWER_TIMEOUT, STREAM_WINDOW_BYTES};
use crate::members::Member;
use crate::mesh::{Mesh, PeerBody, PeerView, Traffic};
use crate::usage::{RequestSize, UsageReader};

/// Says that tokens are estimated, and not counted by a model.
const USAGE: &str = "x-tidegate-usage";
/// The fields by which dialects bound an answer.
const OUTPUT_LIMITS: [&str; 3] = ["max_completion_tokens", "max_output_tokens", "max_tokens"];
/// How much shorter the wait at a peer must be, in seconds, before a request leaves a node that could serve it.
const GAIN_MIN_S: f64 = 0.25;

/// Where a request goes.
pub enum Routed {
    /// It stays here.
    Local,
    /// A peer's answer, which has begun.
    Served { peer: String, answer: Response<PeerBody> },
    /// This node can't serve it, and the peers that could did not; each with the reason.
    Failed(Vec<(String, String)>),
}

/// An answer while it is relayed.
struct Relay {
    mesh: Arc<Mesh>,
    member: Member,
    stream: RecvStream,
    traffic: Arc<Traffic>,
    reader: Option<UsageReader>,
    request: Request<Bytes>,
    /// Whether this node could count the prompt itself.
    has_model: bool,
}

impl Mesh {
    /// Chooses who serves a request, and passes it on. `own` is this node's description if it could serve the request itself.
    pub async fn route(
        self: &Arc<Self>,
        wanted: &Wanted,
        own: Option<&PeerState>,
        request: &Request<Bytes>,
    ) -> Routed {
        if own.is_some() && !self.is_balanced {
            return Routed::Local;
        }
        let (candidates, mut reasons) = self.candidates(wanted, own);
        for peer in candidates {
            match self.try_peer(&peer.member, request, own.is_some()).await {
                Ok(answer) => return Routed::Served { peer: peer.member.name, answer },
                Err(error) => reasons.push((peer.member.name, error.to_string())),
            }
        }
        if own.is_some() || reasons.is_empty() { Routed::Local } else { Routed::Failed(reasons) }
    }

    /// The peers that may serve a request, the best first; and why others that have the model may not.
    fn candidates(&self, wanted: &Wanted, own: Option<&PeerState>) -> (Vec<PeerView>, Vec<(String, String)>) {
        let (mut serving, mut reasons) = (Vec::new(), Vec::new());
        for peer in self.peers() {
            if let Some(state) = peer.state.clone().filter(|_| peer.is_connected && peer.ejection.is_none()) {
                if state.has(wanted) {
                    serving.push((state, peer));
                }
                continue;
            }
            let known = self.last_state(peer.member.public_key.as_bytes());
            let is_there =
                known.is_some_and(|state| state.has(wanted)) || peer.member.models.contains(&wanted.name());
            if is_there {
                let why = match (&peer.ejection, &peer.last_error) {
                    (Some(ejection), _) => format!("it is ejected: {}", ejection.why),
                    (None, Some(error)) => format!("it can't be reached: {error}"),
                    (None, None) => "it can't be reached".to_owned(),
                };
                reasons.push((peer.member.name, why));
            }
        }
        let serving = with_the_same_files(wanted, own, serving, &mut reasons);
        let wait_max_s = own.map(|own| own.expected_wait_s(wanted, 0.0) - GAIN_MIN_S);
        let mut ranked: Vec<(f64, PeerView)> = serving
            .into_iter()
            .map(|(state, peer)| (state.expected_wait_s(wanted, rtt_ms(&peer)), peer))
            .filter(|(wait_s, _)| wait_max_s.is_none_or(|most| *wait_s < most))
            .collect();
        ranked.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        (ranked.into_iter().map(|(_, peer)| peer).collect(), reasons)
    }

    async fn try_peer(
        self: &Arc<Self>,
        member: &Member,
        request: &Request<Bytes>,
        has_model: bool,
    ) -> io::Result<Response<PeerBody>> {
        let key = *member.public_key.as_bytes();
        let connection = self.connection(&key).ok_or_else(|| broken("the connection is closed"))?;
        let (mut send, mut receive) = connection.open_bi().await.map_err(broken)?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        write_head(&mut send, &RequestHead::new(request.method(), path, request.headers())).await?;
        send.write_chunk(request.body().clone()).await.map_err(broken)?;
        send.finish().map_err(broken)?;
        let traffic = self.traffic(key);
        traffic.sent.fetch_add(request.body().len() as u64, Ordering::Relaxed);
        let late = |_| broken("it did not begin its answer in time");
        let head = timeout(ANSWER_TIMEOUT, read_head::<AnswerHead>(&mut receive));
        let (status, headers) = head.await.map_err(late)??.read()?;
        if is_for_another(status) {
            return Err(broken(format!("it answered {status}")));
        }
        let reader =
            (status.is_success() && is_measured(&headers)).then(|| UsageReader::new(is_stream(&headers)));
        let relay = Relay {
            mesh: Arc::clone(self),
            member: member.clone(),
            stream: receive,
            traffic,
            reader,
            request: request.clone(),
            has_model,
        };
        let body = StreamBody::new(stream::unfold(Some(relay), Relay::next));
        let mut answer = Response::new(PeerBody::new(body));
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }
}

impl Relay {
    /// The next piece. Dropping the relay stops the peer's stream, which cancels its generation.
    async fn next(relay: Option<Self>) -> Option<(io::Result<Frame<Bytes>>, Option<Self>)> {
        let mut relay = relay?;
        match relay.stream.read_chunk(STREAM_WINDOW_BYTES as usize).await {
            Ok(Some(bytes)) => {
                relay.traffic.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                if let Some(reader) = &mut relay.reader {
                    reader.read(&bytes);
                }
                Some((Ok(Frame::data(bytes)), Some(relay)))
            }
            Ok(None) => {
                relay.judge();
                None
            }
            Err(error) => Some((Err(broken(error)), None)),
        }
    }

    /// Checks the claimed usage, after the client has its answer.
    fn judge(self) {
        let Self { mesh, member, reader, request, has_model, .. } = self;
        let Some(reader) = reader else { return };
        let running = Arc::clone(&mesh);
        running.tasks.run(async move {
            let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
            let size = RequestSize {
                body_bytes: request.body().len() as u64,
                output_max: OUTPUT_LIMITS.iter().find_map(|name| body.get(name)?.as_u64()),
                prompt_tokens: None,
            };
            let counted = if has_model { mesh.service.count_prompt(request).await } else { None };
            if let Some(lie) = reader.judge(RequestSize { prompt_tokens: counted, ..size }) {
                mesh.eject(&member, &lie);
            }
        });
    }
}

/// A name may stand for other files at another node. The peers that have the ones which this node has under it, or, if it has none,
/// the ones which most peers have.
fn with_the_same_files(
    wanted: &Wanted,
    own: Option<&PeerState>,
    serving: Vec<(PeerState, PeerView)>,
    reasons: &mut Vec<(String, String)>,
) -> Vec<(PeerState, PeerView)> {
    let name = wanted.name();
    if let Some(own) = own {
        return serving.into_iter().filter(|(state, _)| state.is_same_model(own, &name)).collect();
    }
    let agreed = digest_of_most(&name, serving.iter().map(|(state, _)| state));
    let mut same = Vec::new();
    for (state, peer) in serving {
        let has = state.digests.get(&name).copied().flatten();
        let why = match (&agreed, has) {
            (Ok(None), _) => None,
            (Ok(Some(agreed)), Some(has)) if *agreed == has => None,
            (Ok(Some(agreed)), Some(has)) => Some(format!(
                "it has other files under this name, with the digest {has}; most peers have {agreed}"
            )),
            (Ok(Some(_)), None) => Some("the digest of its files is not known yet".to_owned()),
            (Err(_), Some(has)) => Some(format!(
                "its files have the digest {has}, and as many peers have others under this name: rename one with --name"
            )),
            (Err(_), None) => Some("the digest of its files is not known yet".to_owned()),
        };
        match why {
            None => same.push((state, peer)),
            Some(why) => reasons.push((peer.member.name, why)),
        }
    }
    same
}

fn rtt_ms(peer: &PeerView) -> f64 {
    peer.rtt.map_or(0.0, |rtt| rtt.as_secs_f64() * 1_000.0)
}

/// Answers after which another peer may do better. A peer that has unloaded a model says 404.
fn is_for_another(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::NOT_FOUND | StatusCode::TOO_MANY_REQUESTS)
}

fn is_measured(headers: &HeaderMap) -> bool {
    headers.get(USAGE).is_none()
}

fn is_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}
