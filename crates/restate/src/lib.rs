//! Runs of flows on a Restate server: the service that it calls, how it learns of that, and how it is sent runs. Which run is driven
//! where, when it is tried again and when it wakes is Restate's; what a run is and what its steps made is the store's.

mod client;
mod limits;
mod listening;
mod sending;
mod service;
mod settings;

use std::sync::Arc;

use flowruns::{FlowEngine, StoredRuns};
use line::LiveTasks;
use reconcilers::{Deps, EngineDoor, FlowDriver};
use tasks::Task;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use client::Client;
use sending::Sender;

pub use settings::{RestateError, RestateSettings};

/// The engine of this process.
pub struct RestateEngine {
    listening: Task,
    sending: Task,
}

/// Whether new runs may go to the server at these addresses.
pub fn door(settings: &RestateSettings, deps: &Deps) -> Arc<dyn EngineDoor> {
    Arc::new(Client::new(settings, Arc::clone(&deps.outbound)))
}

impl RestateEngine {
    /// Listens, and then has the server know that: it calls back to learn what is served here.
    ///
    /// # Errors
    /// The address is taken, or the key is no key.
    pub async fn start(
        settings: &RestateSettings,
        deps: Deps,
        of_tasks: (Arc<Notify>, Arc<LiveTasks>),
        at_once_of_workspace: u64,
    ) -> Result<Self, RestateError> {
        let (driver, costs) = FlowDriver::new(FlowEngine::Restate, deps.clone(), of_tasks);
        let endpoint = service::endpoint(driver, settings.identity_key.as_deref())?;
        let address = settings.listen;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| RestateError::Listen { address, source })?;
        let listening = Task::spawn_until_signal("serve Restate", |stopped| {
            listening::serve(listener, endpoint, stopped)
        });
        let client = Client::new(settings, Arc::clone(&deps.outbound));
        let sender = Sender { runs: StoredRuns::of(&deps.store), deps, client, at_once_of_workspace };
        let sending = Task::spawn_until_signal("send runs to Restate", |stopped| sender.work(costs, stopped));
        Ok(Self { listening, sending })
    }

    /// Sends no more runs, and drops those that are driven here: the server has them driven elsewhere, or here later.
    pub async fn stop(self) {
        for task in [self.sending, self.listening] {
            if task.end().await.is_err() {
                tracing::error!("a task of the Restate engine ended by a panic");
            }
        }
    }
}
