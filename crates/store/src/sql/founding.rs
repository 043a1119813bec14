//! Founding a database: its first workspace and the facts of the installation, in one transaction.

use database::error::StoreError;
use database::handle::Database;
use database::meta::{self, COMPLETE};

use crate::founding::Foundation;
use crate::sql::{resource, workspaces};
use crate::workspaces::WorkspaceRow;

/// Writes the foundation, unless another process was first.
pub(crate) async fn lay(store: &Database, foundation: Foundation, name: String) -> Result<(), StoreError> {
    let work = store.write(move |writing| {
        Box::pin(async move {
            if meta::find(writing.connection(), COMPLETE.to_owned()).await?.is_some() {
                return Err(StoreError::AlreadyFounded { database: name });
            }
            let mut facts = foundation.meta;
            facts.push((COMPLETE.to_owned(), b"1".to_vec()));
            meta::put(writing, facts).await?;
            workspaces::insert_key(writing, &foundation.operator_key).await?;
            resource::create::<WorkspaceRow>(writing, foundation.founding, foundation.act).await
        })
    });
    work.await.map(|_| ())
}
