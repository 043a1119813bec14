//! Facts of the installation.

use crate::Fresh;

pub async fn facts_are_written_together(fresh: &Fresh) {
    let meta = fresh.store.meta();
    assert_eq!(meta.get("vault.seal_check".into()).await.unwrap(), Some(vec![9]));
    assert_eq!(meta.get("vault.other".into()).await.unwrap(), None);
    meta.put(vec![("vault.pepper".into(), vec![1]), ("vault.seal_check".into(), vec![2])]).await.unwrap();
    let facts = meta.starting_with("vault.".into()).await.unwrap();
    assert_eq!(facts, [("vault.pepper".to_owned(), vec![1]), ("vault.seal_check".to_owned(), vec![2])]);
}
