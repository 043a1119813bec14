//! A core of our own for trips that no client asked for: verifying credentials, asking nodes.

use std::sync::Arc;
use std::thread::JoinHandle;

use control::Trips;
use domain::ports::PortFuture;
use domain::{Fault, FaultClass};
use line::{VerifyReport, VerifyTarget};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::house::House;

type Job = (VerifyTarget, oneshot::Sender<VerifyReport>);

/// The sending side of the system core. The core ends when the last of these is dropped.
pub struct SystemCore {
    jobs: mpsc::Sender<Job>,
}

/// Verifications that wait for the core; more callers than that wait themselves.
const JOBS_MAX: usize = 64;

impl SystemCore {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to give, or the core can't be opened.
    pub fn start(house: Arc<House>, number: u32) -> anyhow::Result<(Arc<Self>, JoinHandle<()>)> {
        let (jobs, receiver) = mpsc::channel(JOBS_MAX);
        let thread = std::thread::Builder::new().name("system-core".into()).spawn(move || {
            if let Err(error) = work(&house, number, receiver) {
                tracing::error!(%error, "the system core could not be started; nothing can be verified");
            }
        })?;
        Ok((Arc::new(Self { jobs }), thread))
    }
}

fn work(house: &House, number: u32, mut jobs: mpsc::Receiver<Job>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let core = house.core(number)?;
        while let Some((target, answer)) = jobs.recv().await {
            let core = std::rc::Rc::clone(&core);
            tokio::task::spawn_local(async move {
                let report = line::verify(&core, target).await;
                // Whoever asked may have gone away; the report is then nobody's.
                let _ = answer.send(report);
            });
        }
        core.journal.close()?;
        Ok(())
    })
}

impl Trips for SystemCore {
    fn verify(&self, target: VerifyTarget) -> PortFuture<'_, VerifyReport> {
        Box::pin(async move {
            let (answer, report) = oneshot::channel();
            let not_made = not_made(&target);
            if self.jobs.send((target, answer)).await.is_err() {
                return not_made;
            }
            report.await.unwrap_or(not_made)
        })
    }
}

/// Says nothing about the credential: the call was not made.
fn not_made(target: &VerifyTarget) -> VerifyReport {
    let fault = Fault::new(FaultClass::Unavailable, "not_verified", "The gateway could not make the call.")
        .fix("Its log says why; try again.");
    VerifyReport {
        principal: target.seat.principal(),
        checked_unix_ms: 0,
        latency_ms: 0,
        fault: Some(Box::new(fault)),
        models: None,
    }
}
