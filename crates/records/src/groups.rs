//! Usage groups: each combination of reporting dimensions has a number, and a template that its records are
//! delta-encoded against.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use database::connection::Connection;
use database::error::StoreError;
use database::fields::Fields;
use database::statement::sql;
use domain::{MeterRecord, TraceId, WorkspaceId};
use ledger::delta::Template;

use crate::limits::GROUPS_CACHED_MAX;
use crate::packed::{Piece, unpack};

const TABLE: &str = "usage_groups";

/// The workspace, and the encoded dimensions that distinguish the group.
pub(crate) type GroupName = (WorkspaceId, Vec<u8>);

/// A group that is committed in the database.
#[derive(Debug)]
pub(crate) struct Group {
    pub number: i64,
    pub template: Template,
}

impl Group {
    pub(crate) fn new(number: i64, template: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { number, template: Template::new(template) })
    }
}

/// Groups that a transaction inserted or found; they enter the cache once it is committed.
pub(crate) type NewGroups = Vec<(GroupName, Arc<Group>)>;

#[derive(Default)]
struct Known {
    by_name: HashMap<GroupName, Arc<Group>>,
    by_number: HashMap<i64, Arc<Group>>,
}

/// This process's cache of groups.
#[derive(Default)]
pub(crate) struct Groups(Mutex<Known>);

impl Groups {
    pub(crate) fn remember(&self, groups: NewGroups) {
        let mut known = self.lock();
        if known.by_name.len() + groups.len() > GROUPS_CACHED_MAX {
            known.by_name.clear();
        }
        known.by_name.extend(groups.into_iter().take(GROUPS_CACHED_MAX));
    }

    pub(crate) fn by_name(&self, name: &GroupName) -> Option<Arc<Group>> {
        self.lock().by_name.get(name).cloned()
    }

    /// Decodes the record in a piece of a body.
    pub(crate) async fn read(
        &self,
        connection: &mut Connection,
        trace: TraceId,
        piece: Piece<'_>,
    ) -> Result<MeterRecord, StoreError> {
        match piece {
            Piece::Full { tail } => unpack(trace, tail),
            Piece::Delta { group, difference } => {
                let group = self.by_number(connection, group).await?;
                let tail = group.template.apply(difference);
                unpack(
                    trace,
                    &tail.ok_or_else(|| StoreError::corrupt(TABLE, "a record is of another template"))?,
                )
            }
        }
    }

    async fn by_number(&self, connection: &mut Connection, number: i64) -> Result<Arc<Group>, StoreError> {
        let known = self.lock().by_number.get(&number).cloned();
        if let Some(group) = known {
            return Ok(group);
        }
        let query = sql("SELECT template FROM usage_groups WHERE id = $1").bind(number);
        let row = query.row(connection).await?;
        let template: Option<Vec<u8>> =
            row.map(|row| Fields::new(TABLE, &row).get("template")).transpose()?.flatten();
        let template = template.ok_or_else(|| StoreError::corrupt(TABLE, "a template is missing"))?;
        let group = Group::new(number, template);
        let mut known = self.lock();
        if known.by_number.len() >= GROUPS_CACHED_MAX {
            known.by_number.clear();
        }
        known.by_number.insert(number, Arc::clone(&group));
        Ok(group)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
