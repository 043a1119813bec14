//! Which rows are resources: their ids, their owners, and what only writing them needs.

use domain::{
    AccountId, BudgetId, CredentialId, KeyId, Nanos, NodeId, PolicyId, ProjectId, RouteId, Sealed, WebhookId,
    WorkspaceId,
};

use crate::accounts::AccountRow;
use crate::api_keys::ApiKeyRow;
use crate::budgets::BudgetRow;
use crate::credentials::{CredentialRow, NewSecret};
use crate::nodes::NodeRow;
use crate::policies::PolicyRow;
use crate::projects::ProjectRow;
use crate::resource::ResourceRow;
use crate::routes::RouteRow;
use crate::webhooks::WebhookRow;

macro_rules! resource_rows {
    ($($row:ty { id: $id:ty, owner: $owner:ty = $of:expr, new: $new:ty, change: $change:ty })*) => {$(
        impl ResourceRow for $row {
            type Id = $id;
            type Owner = $owner;
            type New = $new;
            type Change = $change;

            fn id(&self) -> $id {
                self.id
            }

            fn owner(&self) -> $owner {
                let of: fn(&Self) -> $owner = $of;
                of(self)
            }

            fn version(&self) -> u64 {
                self.version
            }

            fn set_version(&mut self, version: u64) {
                self.version = version;
            }
        }
    )*};
}

resource_rows! {
    ProjectRow { id: ProjectId, owner: WorkspaceId = |row| row.workspace, new: Self, change: Self }
    PolicyRow { id: PolicyId, owner: WorkspaceId = |row| row.workspace, new: Self, change: Self }
    RouteRow { id: RouteId, owner: WorkspaceId = |row| row.workspace, new: Self, change: Self }
    WebhookRow { id: WebhookId, owner: WorkspaceId = |row| row.workspace, new: Self, change: Self }
    ApiKeyRow { id: KeyId, owner: WorkspaceId = |row| row.workspace, new: (Self, Option<Sealed>), change: Self }
    BudgetRow { id: BudgetId, owner: WorkspaceId = |row| row.workspace, new: (Self, Nanos), change: Self }
    AccountRow { id: AccountId, owner: () = |_| (), new: Self, change: (Self, Option<NewSecret>) }
    CredentialRow {
        id: CredentialId, owner: WorkspaceId = |row| row.workspace, new: Self, change: (Self, Option<NewSecret>)
    }
    NodeRow {
        id: NodeId, owner: WorkspaceId = |row| row.workspace, new: Self, change: (Self, Option<Option<NewSecret>>)
    }
}
