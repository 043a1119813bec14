//! Hashes an object's stored state, for the audit's `before` and `after`.

use domain::{MemberId, WorkspaceId};
use proof::Digest;
use uuid::Uuid;

use crate::connection::Connection;
use crate::error::StoreError;
use crate::fields::ColumnId;
use crate::statement::{Cell, Statement, sql};

/// Selects an object's row by the prefix of its id, without columns that change by themselves (when it was
/// last seen, the models that it was found to serve).
fn query(prefix: &str) -> Option<Statement> {
    Some(match prefix {
        "ws" => sql("SELECT * FROM workspaces WHERE id = $1"),
        "prj" => sql("SELECT * FROM projects WHERE id = $1"),
        "key" => sql("SELECT * FROM api_keys WHERE id = $1"),
        "pcr" | "sub" => sql("SELECT * FROM credentials WHERE id = $1"),
        "acc" => sql("SELECT * FROM accounts WHERE id = $1"),
        "node" => sql(
            "SELECT id, workspace, name, base_url, secret_version, declared_models, labels, cordoned, draining, cost, metadata FROM nodes WHERE id = $1",
        ),
        "dpl" => sql(
            "SELECT id, workspace, name, token_digest, joined_unix_ms, sealed_for, signing_key, revoked_unix_ms FROM data_planes WHERE id = $1",
        ),
        "rte" => sql("SELECT * FROM routes WHERE id = $1"),
        "ali" => sql("SELECT * FROM aliases WHERE id = $1"),
        "ah" => sql("SELECT * FROM agent_hints WHERE id = $1"),
        "ses" => sql(
            "SELECT id, workspace, project, name, end_user, metadata, bundles, status, default_branch, ttl_ms, warm_app, warm_ended_unix_ms FROM sessions WHERE id = $1",
        ),
        "art" => sql("SELECT * FROM artifacts WHERE id = $1"),
        "bnd" => sql("SELECT * FROM bundles WHERE id = $1"),
        "pol" => sql("SELECT * FROM policies WHERE id = $1"),
        "bdg" => sql("SELECT * FROM budgets WHERE id = $1"),
        "dgn" => sql("SELECT * FROM diagnostics WHERE id = $1"),
        "rcn" => sql("SELECT * FROM reconciliations WHERE id = $1"),
        "rpl" => sql("SELECT id, workspace, spec, created_unix_ms FROM replay_runs WHERE id = $1"),
        "exp" => sql(
            "SELECT id, workspace, project, requested_by, created_unix_ms FROM data_exports WHERE id = $1",
        ),
        "hld" => sql("SELECT * FROM legal_holds WHERE id = $1"),
        "alt" => sql(
            "SELECT id, workspace, name, metric, project, api_key, model, provider, window_minutes, threshold, requests_min, is_enabled FROM alert_rules WHERE id = $1",
        ),
        "whk" => sql("SELECT * FROM webhooks WHERE id = $1"),
        "fil" => {
            sql("SELECT id, workspace, project, created_unix_ms FROM files WHERE id = $1 AND state <> 'gone'")
        }
        "agt" => sql("SELECT * FROM agents WHERE id = $1"),
        "app" => sql("SELECT * FROM apps WHERE id = $1"),
        "sct" => sql("SELECT * FROM named_secrets WHERE id = $1"),
        "flw" => sql("SELECT * FROM flows WHERE id = $1"),
        "tol" => sql("SELECT * FROM tools WHERE id = $1"),
        "mcp" => sql(
            "SELECT id, workspace, project, name, is_enabled, definition, secret, created_unix_ms FROM mcp_servers WHERE id = $1",
        ),
        "pjb" => {
            sql("SELECT id, workspace, target, requested_by, created_unix_ms FROM purge_jobs WHERE id = $1")
        }
        "mem" => sql("SELECT p.id, p.email, p.name, m.role, m.accepted_unix_ms FROM people p
                 JOIN memberships m ON m.person = p.id WHERE p.id = $1 AND m.workspace = $2"),
        _ => return None,
    })
}

/// `None` for an object that is gone or is not part of the configuration.
pub async fn digest(
    connection: &mut Connection,
    workspace: Option<WorkspaceId>,
    object: &str,
) -> Result<Option<Digest>, StoreError> {
    let Some((prefix, hex)) = object.split_once('_') else { return Ok(None) };
    let (Some(query), Ok(uuid)) = (query(prefix), Uuid::try_parse(hex)) else { return Ok(None) };
    let mut query = query.bind(uuid.as_bytes().to_vec());
    if prefix == MemberId::PREFIX {
        query = query.bind(workspace.map(|id| id.bytes()));
    }
    let row = query.row(connection).await?;
    row.map(|row| row.cells()).transpose().map(|cells| cells.map(|cells| hash(&cells)))
}

/// Each column with its name and length, sorted by name: the same in either database.
fn hash(cells: &[Cell]) -> Digest {
    let mut bytes = Vec::new();
    for (name, value) in cells {
        for part in [Some(name.as_bytes()), value.as_deref()] {
            bytes.push(u8::from(part.is_some()));
            let part = part.unwrap_or_default();
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
    }
    Digest::of(&[&bytes])
}
