//! What a worker's own node says: whether it is there, and whether it answered requests since it was last asked.

use egress::{Client, Request, TargetKind};
use http::{Method, StatusCode, Uri};
use tokio::time::timeout;

use crate::limits::{CALL_BYTES_MAX, CALL_TIME_MAX};

const REQUESTS: &str = "tidegate_node_requests_total{";
const OPEN: &str = "tidegate_node_requests_open ";

/// The requests that a node has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Requests {
    pub ended: u64,
    pub open: u64,
}

/// How long a worker has had no requests.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    last: Requests,
    since_us: Option<u64>,
}

impl Idle {
    /// For how long it has had none, in microseconds.
    pub(crate) fn seen(&mut self, now: Requests, now_us: u64) -> u64 {
        let is_used = now.open > 0 || now.ended != self.last.ended;
        self.last = now;
        if is_used {
            self.since_us = Some(now_us);
        }
        now_us.saturating_sub(*self.since_us.get_or_insert(now_us))
    }
}

async fn get(client: &Client, address: &str, path: &str) -> Option<(StatusCode, Vec<u8>)> {
    let url = Uri::try_from(format!("{}{path}", address.trim_end_matches('/'))).ok()?;
    let whole = async {
        let request = Request::new(Method::GET, url);
        let answer = client.send(&request, TargetKind::System).await.ok()?;
        let status = answer.status;
        Some((status, answer.body.read_to_end(CALL_BYTES_MAX).await.ok()?.to_vec()))
    };
    timeout(CALL_TIME_MAX, whole).await.ok().flatten()
}

/// Whether its node answers. One that wants a key is there.
pub(crate) async fn is_healthy(client: &Client, address: &str) -> bool {
    let answer = get(client, address, "/v1/health").await;
    answer.is_some_and(|(status, _)| status.is_success() || status == StatusCode::UNAUTHORIZED)
}

/// What its node has answered. `None` if it does not say: then nobody knows whether it is idle.
pub(crate) async fn requests(client: &Client, address: &str) -> Option<Requests> {
    let (status, page) = get(client, address, "/metrics").await?;
    status.is_success().then(|| read(&String::from_utf8_lossy(&page)))
}

fn read(page: &str) -> Requests {
    let mut found = Requests::default();
    for line in page.lines() {
        let number = || line.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        if line.starts_with(REQUESTS) {
            found.ended = found.ended.saturating_add(number());
        } else if line.starts_with(OPEN) {
            found.open = number();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_node_is_added_up() {
        let page = "# HELP x\ntidegate_node_requests_total{end=\"whole\"} 3\ntidegate_node_requests_total{end=\"left\"} 1\n\
                    tidegate_node_requests_open 2\ntidegate_node_tokens_total{kind=\"prompt\"} 9\n";
        assert_eq!(read(page), Requests { ended: 4, open: 2 });
        assert_eq!(read(""), Requests::default());
    }

    #[test]
    fn it_is_idle_from_the_end_of_its_last_request_on() {
        let mut idle = Idle::default();
        let at = |ended: u64, open: u64| Requests { ended, open };
        assert_eq!(idle.seen(at(0, 0), 1_000), 0, "it counts from the first look");
        assert_eq!(idle.seen(at(0, 0), 1_500), 500);
        assert_eq!(idle.seen(at(0, 1), 2_000), 0);
        assert_eq!(idle.seen(at(1, 0), 2_500), 0);
        assert_eq!(idle.seen(at(1, 0), 4_000), 1_500);
        assert_eq!(idle.seen(at(0, 0), 4_100), 0, "its node was started again");
    }
}
