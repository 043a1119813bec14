//! The kinds of objects that `/v2` takes by name as well as by id, and which objects have a name.

mod kinds;

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields};
use database::handle::Database;
use database::statement::compose;
use domain::{KeyId, ProjectId, WorkspaceId};

pub use kinds::{Kind, NamedBy, REFERENCES, has_the_form_of_an_id, how_to_list, kind_at};

/// Ids that one answer names; more than one is refused in any case.
const CANDIDATES_LISTED: usize = 3;

/// Whose objects are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Within {
    pub workspace: WorkspaceId,
    /// The only project that the caller sees.
    pub project: Option<ProjectId>,
    /// Who runs the installation may name any workspace.
    pub is_operator: bool,
}

/// The ids of the objects that have this name, at most three of them.
///
/// # Errors
/// The database's.
pub async fn ids_called(
    database: &Database,
    kind: Kind,
    within: Within,
    name: &str,
) -> Result<Vec<String>, StoreError> {
    let facts = kind.facts();
    if within.project.is_some() && facts.project.is_none() {
        return Ok(Vec::new());
    }
    // A workspace is visible to its own callers, and accounts to the operator, who alone reaches their routes.
    let owner = match facts.owner {
        Some(column) if !(kind == Kind::Workspace && within.is_operator) => format!("{column} = $2"),
        _ => "$2 IS NOT NULL".to_owned(),
    };
    let project = match (facts.project, within.project) {
        (Some(column), Some(_)) => format!(" AND {column} = $3"),
        _ => String::new(),
    };
    let (id, from, column, live) = (facts.id, facts.from, facts.column, facts.live);
    let mut query = compose(format!(
        "SELECT {id} AS id FROM {from} WHERE {column} = $1 AND {owner}{project}{live} ORDER BY {id} LIMIT {CANDIDATES_LISTED}"
    ))
    .bind(in_its_form(kind, name))
    .bind(within.workspace.bytes());
    if let Some(project) = within.project {
        query = query.bind(project.bytes());
    }
    let mut connection: Connection = database.read().await?;
    let rows = query.rows(&mut connection).await?;
    let ids = rows.iter().map(|row| {
        // Any id is a UUID; its kind is the prefix that it is written with.
        let id: KeyId = Fields::new(facts.what, row).id("id")?;
        Ok(format!("{}_{}", facts.prefix, id.as_uuid().simple()))
    });
    ids.collect()
}

fn in_its_form(kind: Kind, name: &str) -> String {
    if kind == Kind::Member { name.trim().to_lowercase() } else { name.to_owned() }
}
