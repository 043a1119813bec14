//! The version that the configuration in the database has reached, in a file of the data directory: a database that an older
//! copy replaced is noticed. Backups don't copy the file, so a restored directory begins a floor.

use std::error::Error;
use std::fs;
use std::path::Path;

use store::{Act, Store};
use world::World;

const FLOOR_FILE: &str = "database-floor";
const NOTE_FILE: &str = "database-behind";

/// Raises the floor, or notes that the database is behind it, until the operator removes the note. The gateway serves either
/// way: only the operator knows which copy is meant.
pub async fn keep(data_dir: &Path, store: &Store, world: &World) {
    if let Err(error) = compare(data_dir, store, world).await {
        tracing::warn!("the database was not compared with its floor, which is tried again: {error}");
    }
}

async fn compare(data_dir: &Path, store: &Store, world: &World) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (file, version) = (data_dir.join(FLOOR_FILE), store.feed().version().await?);
    let floor: u64 = fs::read_to_string(&file).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    if version < floor {
        let found = format!(
            "the database is at version {version} and was at version {floor} before: an older copy replaced it"
        );
        tracing::warn!("{found}; `tidegate doctor` says more");
        world::replace_private(&data_dir.join(NOTE_FILE), found.as_bytes())?;
        let act = Act::system(world);
        let action = "database.rollback_noticed";
        let audited = store.database().note(move |writing| {
            Box::pin(async move { writing.audit(&act, None, action, "database", found).await })
        });
        audited.await?;
    }
    // Lowered, too, after the note is there: that stays.
    if version != floor {
        world::replace_private(&file, version.to_string().as_bytes())?;
    }
    Ok(())
}

/// The note about a database that is behind its floor, and the advice.
pub fn rolled_back(data_dir: &Path) -> Option<(String, String)> {
    let note = data_dir.join(NOTE_FILE);
    let found = fs::read_to_string(&note).ok()?;
    let fix = format!(
        "Keys that were revoked, and secrets that were rotated, after the copy was made are valid again. `rm {}` accepts it.",
        note.display()
    );
    Some((found, fix))
}
