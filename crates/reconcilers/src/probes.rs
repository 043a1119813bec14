//! Probes compatible servers for what they support, and stores what was found.

use domain::{Fault, ProbeResult};
use plan::Seat;
use store::{Act, CredentialRow, NodeRow};

use crate::Deps;
use crate::failure::of_store;

impl Deps {
    /// Probes a credential's server and stores the result; providers in the catalogue are not probed.
    ///
    /// # Errors
    /// Store errors. A server that can't be reached is not an error here: the stored result records it.
    pub async fn probe_credential(
        &self,
        act: Act,
        row: CredentialRow,
        model: Option<String>,
    ) -> Result<CredentialRow, Box<Fault>> {
        if !line::is_probed(&row.provider) {
            return Ok(row);
        }
        let snapshot = self.keeper.current();
        let entry = snapshot
            .workspace(row.workspace)
            .and_then(|workspace| workspace.credentials.iter().find(|entry| entry.id == row.id).cloned());
        let Some(entry) = entry else { return Ok(row) };
        let probed = self.probe(Seat::Byok(entry), model.into_iter().collect()).await?;
        let credentials = self.store.credentials();
        let written = credentials.record_probe(row.workspace, row.id, row.base_url, probed, act);
        let written = written.await.map_err(of_store)?;
        self.await_published(written.version).await?;
        Ok(written.row)
    }

    /// Like `probe_credential`, for a node.
    pub async fn probe_node(
        &self,
        act: Act,
        row: NodeRow,
        model: Option<String>,
    ) -> Result<NodeRow, Box<Fault>> {
        let snapshot = self.keeper.current();
        let entry = snapshot
            .workspace(row.workspace)
            .and_then(|workspace| workspace.nodes.iter().find(|entry| entry.id == row.id).cloned());
        let Some(entry) = entry else { return Ok(row) };
        let models = model.map_or_else(|| row.models().to_vec(), |model| vec![model]);
        let probed = self.probe(Seat::Byoc(entry), models).await?;
        let written = self.store.nodes().record_probe(row.workspace, row.id, row.base_url, probed, act);
        let written = written.await.map_err(of_store)?;
        self.await_published(written.version).await?;
        Ok(written.row)
    }

    async fn probe(&self, seat: Seat, models: Vec<String>) -> Result<ProbeResult, Box<Fault>> {
        Ok(self.outbound.probe(self.target(seat)?, models).await)
    }
}
