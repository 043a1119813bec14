//! Founding in one transaction: a workspace with everything it needs, or a database with its first workspace.

use database::act::{Act, Written};
use database::error::{StoreError, StoreFuture};
use database::handle::Database;
use database::meta::{self, COMPLETE};
use database::writing::Writing;

use crate::founding::{Foundation, Founder, Founding};
use crate::sql::{api_keys, projects, workspaces};

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
            found(writing, foundation.founding, foundation.act).await
        })
    });
    work.await.map(|_| ())
}

async fn found(writing: &mut Writing, founding: Founding, act: Act) -> Result<(), StoreError> {
    workspaces::insert(writing, &founding.workspace).await?;
    workspaces::insert_key(writing, &founding.wrapped_key).await?;
    projects::insert(writing, &founding.project).await?;
    for key in &founding.keys {
        api_keys::insert(writing, key).await?;
    }
    let workspace = founding.workspace.id;
    let detail = format!("with project {} and {} keys", founding.project.id, founding.keys.len());
    writing.audit(&act, Some(workspace), "workspace.create", workspace, detail).await
}

impl Founder for Database {
    fn found(&self, founding: Founding, act: Act) -> StoreFuture<'_, Written<()>> {
        Box::pin(self.write(move |writing| Box::pin(found(writing, founding, act))))
    }
}
