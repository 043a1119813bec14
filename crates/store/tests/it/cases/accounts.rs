//! Provider accounts.

use store::{AccountRow, Verification};

use crate::samples::{Fresh, account, act, conflict, missing, secret};

pub async fn an_account_is_made_rotated_and_deleted(fresh: &Fresh) {
    let accounts = fresh.store.accounts();
    let made = accounts.create(account(5), act()).await.unwrap().row;
    assert_eq!(accounts.get((), made.id).await.unwrap(), made);
    assert_eq!(made, AccountRow { version: made.version, ..account(5) });
    let moved = AccountRow { base_url: Some("https://x.example".into()), ..made.clone() };
    conflict(accounts.replace((moved.clone(), None), None, act()).await, "base_url_needs_secret");
    accounts.replace((moved, Some(secret(2))), Some(made.version), act()).await.unwrap();
    let found =
        Verification { secret_version: 2, unix_ms: 3, accepted: Some(false), error: Some("401".into()) };
    let row = accounts.record_verification(made.id, found, act()).await.unwrap().row;
    assert_eq!((row.disabled, row.last_error.as_deref()), (false, Some("401")));
    let off = AccountRow { disabled: true, models: None, ..row };
    let off = accounts.replace((off, None), None, act()).await.unwrap().row;
    assert_eq!(accounts.list((), Default::default()).await.unwrap().rows, [off]);
    accounts.delete((), made.id, None, act()).await.unwrap();
    missing(accounts.get((), made.id).await);
}
