//! What is SQLite's own: files, schema, speed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use store::datadir::{self, DataDir, Making};
use store::{Store, StoreError};

use crate::samples::foundation;
use crate::{Fresh, run};

pub async fn fresh() -> Fresh {
    let dir = tempfile::tempdir().unwrap();
    let foundation = foundation();
    let founding = foundation.founding.clone();
    let store = Store::create(&dir.path().join("t.db"), foundation).await.unwrap();
    Fresh { store, founding, dir }
}

async fn raw(path: &std::path::Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

/// As if the feed had been cut long ago.
pub async fn forget_changes(fresh: &Fresh) {
    let mut connection = raw(&fresh.dir.path().join("t.db")).await;
    sqlx::query("DELETE FROM changes").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[test]
fn a_database_is_private_and_opens_again_as_it_was() {
    run(async {
        let made = fresh().await;
        let path = made.dir.path().join("t.db");
        for file in fs::read_dir(made.dir.path()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
        }
        let version = made.store.feed().version().await.unwrap();
        made.store.close().await;
        assert!(matches!(Store::create(&path, foundation()).await, Err(StoreError::AlreadyMade { .. })));
        let again = Store::open(&path).await.unwrap();
        assert_eq!(again.feed().version().await.unwrap(), version);
        again.workspaces().get(made.founding.workspace.id).await.unwrap();
    });
}

#[test]
fn what_is_not_whole_not_there_or_too_new_is_refused_with_what_to_do() {
    run(async {
        let made = fresh().await;
        let path = made.dir.path().join("t.db");
        made.store.close().await;
        let missing = Store::open(&made.dir.path().join("none.db")).await.unwrap_err().to_string();
        assert!(missing.contains("tidegate init"), "{missing}");
        let mut connection = raw(&path).await;
        sqlx::query("DELETE FROM meta WHERE name = 'store.complete'").execute(&mut connection).await.unwrap();
        let half = Store::open(&path).await.unwrap_err();
        assert!(matches!(half, StoreError::HalfMade { .. }), "{half}");
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (900, 'later', 1, x'00', 0)";
        sqlx::query(newer).execute(&mut connection).await.unwrap();
        let newer = Store::open(&path).await.unwrap_err();
        assert!(newer.to_string().contains("newer Tidegate (schema 900"), "{newer}");
    });
}

#[test]
fn a_foundation_that_fails_leaves_no_file() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut bad = foundation();
        bad.founding.keys[1].id = bad.founding.keys[0].id;
        assert!(Store::create(&dir.path().join("t.db"), bad).await.is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        Store::create(&dir.path().join("t.db"), foundation()).await.unwrap();
    });
}

#[test]
fn a_data_directory_is_whole_or_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    assert_eq!(datadir::look(&dir).unwrap(), DataDir::Empty);
    let making = Making::begin(&dir).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let told = datadir::look(&dir).unwrap_err();
    assert!(told.to_string().contains("remove the directory"), "{told}");
    assert!(matches!(Making::begin(&dir), Err(StoreError::HalfMade { .. })), "of two makers one is refused");
    fs::write(making.database(), b"x").unwrap();
    assert!(matches!(datadir::look(&dir), Err(StoreError::HalfMade { .. })));
    making.finish().unwrap();
    assert_eq!(datadir::look(&dir).unwrap(), DataDir::Ready);
    assert!(matches!(Making::begin(&dir), Err(StoreError::AlreadyMade { .. })));
    let foreign = root.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), b"x").unwrap();
    assert!(matches!(datadir::look(&foreign), Err(StoreError::Foreign { .. })));
}
