//! Resources: rows with an id, an owner and a version, all of them listed, read, written and deleted alike.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use database::act::{Act, Written};
use database::error::StoreFuture;
use database::page::{Listed, Page};
use domain::WorkspaceId;

/// JSON that is stored as given: configuration that the gateway does not read.
pub type Json = serde_json::Value;

/// Whose rows are: a workspace's or, as `()`, the operator's.
pub trait Owner: Copy + Debug + Send + Sync + 'static {
    fn workspace(self) -> Option<WorkspaceId>;
}

impl Owner for WorkspaceId {
    fn workspace(self) -> Option<WorkspaceId> {
        Some(self)
    }
}

impl Owner for () {
    fn workspace(self) -> Option<WorkspaceId> {
        None
    }
}

/// A row to be written, alone or with what only its writing needs.
pub trait Carries<R>: Send + Sync + 'static {
    fn row(&self) -> &R;
    fn row_mut(&mut self) -> &mut R;
    fn into_row(self) -> R;
}

impl<R: ResourceRow> Carries<R> for R {
    fn row(&self) -> &R {
        self
    }

    fn row_mut(&mut self) -> &mut R {
        self
    }

    fn into_row(self) -> R {
        self
    }
}

impl<R: ResourceRow, With: Send + Sync + 'static> Carries<R> for (R, With) {
    fn row(&self) -> &R {
        &self.0
    }

    fn row_mut(&mut self) -> &mut R {
        &mut self.0
    }

    fn into_row(self) -> R {
        self.0
    }
}

/// The row of a resource.
pub trait ResourceRow: Clone + Send + Sync + 'static {
    type Id: Copy + Display + FromStr + Send + Sync + 'static;
    type Owner: Owner;
    type New: Carries<Self> + Clone;
    type Change: Carries<Self> + Clone;

    fn id(&self) -> Self::Id;
    fn owner(&self) -> Self::Owner;
    /// The version of its last change.
    fn version(&self) -> u64;
    fn set_version(&mut self, version: u64);
}

/// The rows of one kind.
pub trait Resource<R: ResourceRow>: Send + Sync {
    fn create(&self, new: R::New, act: Act) -> StoreFuture<'_, Written<R>>;
    fn get(&self, owner: R::Owner, id: R::Id) -> StoreFuture<'_, R>;
    fn list(&self, owner: R::Owner, page: Page<R::Id>) -> StoreFuture<'_, Listed<R, R::Id>>;
    /// Refused unless the row is at the expected version. What can't change is taken from the present row.
    fn replace(&self, change: R::Change, expected: Option<u64>, act: Act) -> StoreFuture<'_, Written<R>>;
    /// Returns the row as it was or, where its kind stays when it ends, as it is.
    fn delete(
        &self,
        owner: R::Owner,
        id: R::Id,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<R>>;
}
