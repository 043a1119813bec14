//! Which endpoints a pool has: those that the command line names, those in a file, and the addresses behind a name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;

use egress::{Client, EgressErrorKind, Request, TargetKind};
use http::{Method, Uri};
use placement::metrics::{LoadSource, ServerLoad};
use tasks::Task;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::adapters;
use crate::endpoint::Endpoint;
use crate::limits::{
    FILE_BYTES_MAX, LOOKUP_EVERY, LOOKUP_KEPT_TIME_MAX, METRICS_BYTES_MAX, POLL_TIME_MAX, POLLS_MISSED_MAX,
};
use crate::pool::Pool;
use crate::settings::{EndpointSource, PickerSettings};

/// The addresses of a name, and when they were found.
type Known = BTreeMap<EndpointSource, (Vec<SocketAddr>, u64)>;

impl EndpointSource {
    async fn addresses(&self) -> Vec<SocketAddr> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return vec![SocketAddr::new(ip, self.port)];
        }
        match tokio::net::lookup_host((self.host.as_str(), self.port)).await {
            Ok(found) => found.collect(),
            Err(error) => {
                tracing::debug!(host = %self.host, %error, "the name has no address");
                Vec::new()
            }
        }
    }
}

/// The endpoints of a file, one a line; `#` begins a comment.
///
/// # Errors
/// It can't be read, or a line is no endpoint.
pub(crate) fn read_file(path: &Path) -> Result<Vec<EndpointSource>, String> {
    let at = path.display();
    let unreadable = |error: std::io::Error| format!("The endpoints can't be read from {at}: {error}.");
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(format!("{at} is longer than {FILE_BYTES_MAX} bytes: list one endpoint a line."));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            EndpointSource::read(line).map_err(|error| format!("{at}, line {}: {error}", number + 1))
        })
        .collect()
}

/// Keeps the pool's endpoints as the settings have them, until the task is dropped.
pub(crate) async fn follow(
    pool: Rc<Pool>,
    settings: Rc<PickerSettings>,
    client: Client,
    synced: watch::Sender<bool>,
) {
    let mut known = Known::new();
    let mut listed = Vec::new();
    loop {
        if let Some(path) = &settings.endpoints_file {
            match read_file(path) {
                Ok(read) => listed = read,
                Err(error) => tracing::warn!(%error, "the endpoints stay as they were"),
            }
        }
        let wanted = look_up(&pool, settings.endpoints.iter().chain(&listed), &mut known).await;
        pool.replace(&wanted, |endpoint| {
            let polling = poll(Rc::clone(&pool), endpoint, Rc::clone(&settings), client.clone());
            Task::spawn_local("polls of an endpoint", polling)
        });
        synced.send_replace(true);
        tokio::time::sleep(LOOKUP_EVERY).await;
    }
}

async fn look_up(
    pool: &Pool,
    sources: impl Iterator<Item = &EndpointSource>,
    known: &mut Known,
) -> BTreeSet<SocketAddr> {
    let now_us = pool.world.clock.monotonic_us();
    let kept_us = u64::try_from(LOOKUP_KEPT_TIME_MAX.as_micros()).unwrap_or(u64::MAX);
    let sources: Vec<&EndpointSource> = sources.collect();
    let found = futures_util::future::join_all(sources.iter().map(|source| source.addresses())).await;
    let mut wanted = BTreeSet::new();
    for (source, addresses) in sources.into_iter().zip(found) {
        // A name without addresses may be a server of names that is away: polls tell which endpoints are.
        if !addresses.is_empty() {
            known.insert(source.clone(), (addresses, now_us));
        }
        if let Some((addresses, found_us)) = known.get(source)
            && now_us.saturating_sub(*found_us) <= kept_us
        {
            wanted.extend(addresses);
        }
    }
    known.retain(|_, (_, found_us)| now_us.saturating_sub(*found_us) <= kept_us);
    wanted
}

/// Reads what an endpoint publishes of its load again and again.
async fn poll(pool: Rc<Pool>, endpoint: Rc<Endpoint>, settings: Rc<PickerSettings>, client: Client) {
    let at = SocketAddr::new(endpoint.address.ip(), settings.metrics_port.unwrap_or(endpoint.address.port()));
    let get =
        |path: &str| Uri::try_from(format!("http://{at}{path}")).map(|url| Request::new(Method::GET, url));
    let slots = format!("/{}", LoadSource::Slots.path());
    let (Ok(metrics), Ok(slots)) = (get(&settings.metrics_path), get(&slots)) else { return };
    let every = settings.poll_every;
    let lasts = every.saturating_add(POLL_TIME_MAX).saturating_mul(POLLS_MISSED_MAX);
    loop {
        let before = endpoint.is_ready(pool.world.clock.monotonic_us());
        match timeout(POLL_TIME_MAX, read_load(&client, &metrics, &slots)).await {
            Ok(Ok((page, load))) => {
                let now_us = pool.world.clock.monotonic_us();
                let until_us = now_us.saturating_add(u64::try_from(lasts.as_micros()).unwrap_or(u64::MAX));
                let adapters = str::from_utf8(&page).map(adapters::read).unwrap_or_default();
                endpoint.note_answer(load, &adapters, now_us, until_us);
            }
            Ok(Err(nothing_listens)) => endpoint.note_silence(nothing_listens),
            Err(_) => endpoint.note_silence(false),
        }
        let after = endpoint.is_ready(pool.world.clock.monotonic_us());
        if before != after {
            tracing::info!(endpoint = %endpoint.address, ready = after, "an endpoint changed");
        }
        tokio::time::sleep(every).await;
    }
}

/// The page of metrics, and the load that it has or that the slots have; neither where the server publishes none.
///
/// # Errors
/// It failed, and whether nothing listens there or the server says that it doesn't serve.
async fn read_load(
    client: &Client,
    metrics: &Request,
    slots: &Request,
) -> Result<(bytes::Bytes, Option<ServerLoad>), bool> {
    let page = read_page(client, metrics).await?;
    if let Some(load) = LoadSource::Metrics.read(&page) {
        return Ok((page, Some(load)));
    }
    let load = read_page(client, slots).await.ok().and_then(|slots| LoadSource::Slots.read(&slots));
    Ok((page, load))
}

/// A page, empty where the server doesn't have it.
async fn read_page(client: &Client, request: &Request) -> Result<bytes::Bytes, bool> {
    let answer = match client.send(request, TargetKind::System).await {
        Ok(answer) => answer,
        Err(error) => return Err(matches!(error.kind, EgressErrorKind::Connect)),
    };
    match answer.status.as_u16() {
        200 => answer.body.read_to_end(METRICS_BYTES_MAX).await.map_err(|_| false),
        // llama.cpp's server says so of what it was started without.
        501 => Ok(bytes::Bytes::new()),
        500.. => Err(true),
        _ => Ok(bytes::Bytes::new()),
    }
}
