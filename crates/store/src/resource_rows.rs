//! Which rows are resources: their ids, their owners, and what only writing them needs.

use std::convert::Infallible;

use domain::{
    AccountId, AlertRuleId, AliasId, BudgetId, CredentialId, HintsId, JoinTokenId, KeyId, MemberId, Nanos,
    NodeId, PolicyId, ProjectId, RouteId, Sealed, SubscriptionId, WebhookId, WorkspaceId,
};

use crate::accounts::AccountRow;
use crate::agent_hints::AgentHintsRow;
use crate::alerts::AlertRuleRow;
use crate::aliases::{AliasChange, AliasRow, NewAlias};
use crate::api_keys::ApiKeyRow;
use crate::budgets::BudgetRow;
use crate::credentials::{CredentialRow, NewSecret};
use crate::founding::Founding;
use crate::joins::JoinToken;
use crate::nodes::NodeRow;
use crate::people::{Invitation, MemberRow};
use crate::policies::PolicyRow;
use crate::projects::ProjectRow;
use crate::resource::{Carries, ResourceRow};
use crate::routes::RouteRow;
use crate::subscriptions::SubscriptionRow;
use crate::webhooks::WebhookRow;
use crate::workspaces::WorkspaceRow;

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
    WorkspaceRow { id: WorkspaceId, owner: () = |_| (), new: Founding, change: Self }
    ProjectRow { id: ProjectId, owner: WorkspaceId = |row| row.workspace, new: Self, change: Self }
    AlertRuleRow { id: AlertRuleId, owner: WorkspaceId = |row| row.workspace, new: Self, change: Self }
    AliasRow { id: AliasId, owner: WorkspaceId = |row| row.workspace, new: NewAlias, change: AliasChange }
    AgentHintsRow { id: HintsId, owner: WorkspaceId = |row| row.workspace, new: Self, change: Self }
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

impl ResourceRow for MemberRow {
    type Id = MemberId;
    type Owner = WorkspaceId;
    type New = Invitation;
    type Change = Self;

    fn id(&self) -> MemberId {
        self.person.id
    }

    fn owner(&self) -> WorkspaceId {
        self.workspace
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn set_version(&mut self, version: u64) {
        self.version = version;
    }
}

impl ResourceRow for SubscriptionRow {
    type Id = SubscriptionId;
    type Owner = WorkspaceId;
    type New = Self;
    type Change = (Self, Option<NewSecret>);

    fn id(&self) -> SubscriptionId {
        Self::id(self)
    }

    fn owner(&self) -> WorkspaceId {
        self.0.workspace
    }

    fn version(&self) -> u64 {
        self.0.version
    }

    fn set_version(&mut self, version: u64) {
        self.0.version = version;
    }
}

/// Tokens are created with `Joins::invite`, and change only when a node joins.
impl ResourceRow for JoinToken {
    type Id = JoinTokenId;
    type Owner = WorkspaceId;
    type New = Infallible;
    type Change = Infallible;

    fn id(&self) -> JoinTokenId {
        self.id
    }

    fn owner(&self) -> WorkspaceId {
        self.workspace
    }

    /// A token changes once, when it is used.
    fn version(&self) -> u64 {
        1 + u64::from(self.used_unix_ms.is_some())
    }

    fn set_version(&mut self, _: u64) {}
}

impl<R: ResourceRow> Carries<R> for Infallible {
    fn row(&self) -> &R {
        match *self {}
    }

    fn row_mut(&mut self) -> &mut R {
        match *self {}
    }

    fn into_row(self) -> R {
        match self {}
    }
}

impl Carries<WorkspaceRow> for Founding {
    fn row(&self) -> &WorkspaceRow {
        &self.workspace
    }

    fn row_mut(&mut self) -> &mut WorkspaceRow {
        &mut self.workspace
    }

    fn into_row(self) -> WorkspaceRow {
        self.workspace
    }
}

impl Carries<MemberRow> for Invitation {
    fn row(&self) -> &MemberRow {
        &self.member
    }

    fn row_mut(&mut self) -> &mut MemberRow {
        &mut self.member
    }

    fn into_row(self) -> MemberRow {
        self.member
    }
}
