//! Serves the server's requests: HTTP/2, whose streams stay open as long as a run is driven.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use restate_sdk::endpoint::Endpoint;
use restate_sdk::hyper::HyperEndpoint;
use tasks::RuntimeTasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::limits::CONNECTIONS_MAX;

/// A peer that is gone is noticed by this, so that what it had driven here ends.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const GOODBYE: Duration = Duration::from_secs(2);

/// Where connections and their streams run, until the listener ends.
#[derive(Clone)]
struct UntilStopped {
    running: RuntimeTasks,
    stopped: watch::Receiver<bool>,
}

impl<F> Executor<F> for UntilStopped
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let mut stopped = self.stopped.clone();
        drop(self.running.run(async move {
            tokio::select! {
                _ = future => {}
                _ = stopped.wait_for(|is_stopped| *is_stopped) => {}
            }
        }));
    }
}

pub(crate) async fn serve(listener: TcpListener, endpoint: Endpoint, mut stopped: watch::Receiver<bool>) {
    let running = RuntimeTasks::on_this_runtime("requests of Restate");
    let executor = UntilStopped { running: running.clone(), stopped: stopped.clone() };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: others are given back.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (endpoint, streams) = (endpoint.clone(), executor.clone());
        executor.execute(async move {
            connection(stream, endpoint, streams).await;
            drop(place);
        });
    }
    running.finish(GOODBYE).await;
}

async fn connection(stream: TcpStream, endpoint: Endpoint, streams: UntilStopped) {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_EVERY);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), HyperEndpoint::new(endpoint)).await {
        tracing::debug!(%error, "a connection of Restate ended");
    }
}
