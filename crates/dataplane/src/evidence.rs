//! Evidence of data planes: receipts of purges, and heads of their audits, as each signed them.

use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed, to_text};
use database::handle::Database;
use database::page::{Listed, Page};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{DataPlaneId, WorkspaceId};
use proof::PublicKey;
use proof::document::{self, Forged};
use serde_json::{Map, Value};
use store::Store;

use crate::planes::DataPlaneRow;

const TABLE: &str = "data_plane_evidence";

#[derive(Debug, Clone, PartialEq)]
pub struct EvidenceRow {
    /// In the order of arrival.
    pub place: u64,
    pub kind: String,
    pub object: String,
    pub document: Map<String, Value>,
    pub received_unix_ms: u64,
}

/// What a document is, and of what.
fn named(document: &Map<String, Value>) -> Option<(String, String)> {
    let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
    let kind = text("object")?;
    let object = match kind.as_str() {
        "purge_receipt" => text("purge_job_id")?,
        "audit_head" => format!("{} {}", text("chain")?, document.get("length")?.as_u64()?),
        _ => return None,
    };
    Some((kind, object))
}

/// The evidence of an installation's data planes.
#[derive(Clone)]
pub struct EvidenceStore(Database);

impl EvidenceStore {
    pub fn of(store: &Store) -> Self {
        Self(store.database().clone())
    }

    /// Whether a document is evidence, and the data plane signed it.
    ///
    /// # Errors
    /// Says why it does not hold.
    pub fn check(plane: &DataPlaneRow, document: &Map<String, Value>) -> Result<(), String> {
        named(document)
            .ok_or_else(|| "it is neither a receipt of a purge nor a head of an audit".to_owned())?;
        let key: PublicKey =
            proof::to_hex(&plane.signing_key).parse().map_err(|()| "the data plane has no key".to_owned())?;
        document::verify(document, Some(key)).map(drop).map_err(|error: Forged| error.to_string())
    }

    /// Stores documents, each once. They were checked.
    pub async fn add(
        &self,
        (data_plane, workspace): (DataPlaneId, WorkspaceId),
        documents: Vec<Map<String, Value>>,
        unix_ms: u64,
    ) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(add(writing, (data_plane, workspace), documents, unix_ms))).await
    }

    pub async fn list(
        &self,
        data_plane: DataPlaneId,
        page: Page<u64>,
    ) -> Result<Listed<EvidenceRow, u64>, StoreError> {
        let wanted = page.rows_wanted();
        let query = sql(
            "SELECT * FROM data_plane_evidence WHERE data_plane = $1 AND place > $2 ORDER BY place LIMIT $3",
        )
        .bind(data_plane.bytes())
        .bind(signed(page.after.unwrap_or(0)))
        .bind(signed(wanted as u64 + 1));
        let rows = query.rows(&mut self.0.read().await?).await?;
        let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Listed::cut(rows, wanted, |row: &EvidenceRow| row.place))
    }
}

fn read(row: &Row) -> Result<EvidenceRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(EvidenceRow {
        place: fields.number("place")?,
        kind: fields.text("kind")?,
        object: fields.text("object")?,
        document: fields.json("document")?,
        received_unix_ms: fields.number("received_unix_ms")?,
    })
}

async fn add(
    writing: &mut Writing,
    (data_plane, workspace): (DataPlaneId, WorkspaceId),
    documents: Vec<Map<String, Value>>,
    unix_ms: u64,
) -> Result<(), StoreError> {
    // Its row is locked first, so that concurrent deliveries take different places.
    let lock = sql("UPDATE data_planes SET name = name WHERE id = $1").bind(data_plane.bytes());
    lock.run(writing.connection()).await?;
    for document in documents {
        let Some((kind, object)) = named(&document) else { continue };
        sql("INSERT INTO data_plane_evidence (data_plane, place, workspace, kind, object, document, received_unix_ms)
             SELECT $1, COALESCE(MAX(place), 0) + 1, $2, $3, $4, $5, $6 FROM data_plane_evidence WHERE data_plane = $1
             ON CONFLICT (data_plane, kind, object) DO NOTHING")
            .bind(data_plane.bytes())
            .bind(workspace.bytes())
            .bind(kind)
            .bind(object)
            .bind(to_text(TABLE, &document)?)
            .bind(signed(unix_ms))
            .run(writing.connection())
            .await?;
    }
    Ok(())
}
