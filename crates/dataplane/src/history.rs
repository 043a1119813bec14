//! Which history a version is of. A control plane that is restored from a backup gives the same numbers to other changes, and the
//! ends of the audit's chains, which changes lengthen, tell the one from the other.

use std::fmt;
use std::str::FromStr;

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::sql;
use domain::WorkspaceId;
use proof::Digest;
use store::Link;

/// The chain of what concerns no workspace.
const INSTALLATION: [u8; 16] = [0; 16];
const START: Link = Link { sequence: 0, hash: Digest::ZERO };

/// The ends of the chains of which a workspace's configuration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct History {
    installation: Link,
    workspace: Link,
}

impl History {
    /// As it is at a moment.
    pub(crate) async fn of(connection: &mut Connection, workspace: WorkspaceId) -> Result<Self, StoreError> {
        let installation = end(connection, &INSTALLATION).await?;
        Ok(Self { installation, workspace: end(connection, &workspace.bytes()).await? })
    }

    /// Whether it is a part of this installation's own.
    pub(crate) async fn is_known(
        &self,
        connection: &mut Connection,
        workspace: WorkspaceId,
    ) -> Result<bool, StoreError> {
        Ok(has(connection, &INSTALLATION, self.installation).await?
            && has(connection, &workspace.bytes(), self.workspace).await?)
    }
}

async fn end(connection: &mut Connection, chain: &[u8]) -> Result<Link, StoreError> {
    let query =
        sql("SELECT length AS sequence, hash FROM audit_chains WHERE chain = $1").bind(chain.to_vec());
    let Some(row) = query.row(connection).await? else { return Ok(START) };
    let fields = Fields::new("audit_chains", &row);
    let hash = fields.maybe_hash("hash")?.unwrap_or(Digest::ZERO);
    Ok(Link { sequence: fields.number("sequence")?, hash })
}

async fn has(connection: &mut Connection, chain: &[u8], link: Link) -> Result<bool, StoreError> {
    if link.sequence == 0 {
        return Ok(true);
    }
    let query = sql("SELECT hash FROM audit WHERE chain = $1 AND sequence = $2")
        .bind(chain.to_vec())
        .bind(signed(link.sequence));
    let Some(row) = query.row(connection).await? else { return Ok(false) };
    Ok(Fields::new("audit", &row).maybe_hash("hash")? == Some(link.hash))
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { installation, workspace } = self;
        let (others, own) = (installation.sequence, workspace.sequence);
        write!(f, "{others}:{} {own}:{}", installation.hash, workspace.hash)
    }
}

fn link(text: &str) -> Option<Link> {
    let (sequence, hash) = text.split_once(':')?;
    Some(Link { sequence: sequence.parse().ok()?, hash: hash.parse().ok()? })
}

impl FromStr for History {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (installation, workspace) = text.split_once(' ').ok_or(())?;
        Ok(Self { installation: link(installation).ok_or(())?, workspace: link(workspace).ok_or(())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        let workspace = Link { sequence: 7, hash: Digest::of(&[b"seven"]) };
        let history = History { installation: START, workspace };
        assert_eq!(history.to_string().parse(), Ok(history));
        for other in ["", "7", "7:aa 0:bb", &format!("-1:{} 0:{}", Digest::ZERO, Digest::ZERO)] {
            assert_eq!(other.parse::<History>(), Err(()), "{other}");
        }
    }
}
