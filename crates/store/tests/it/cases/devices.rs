//! The device flow and its keys.

use domain::{MemberId, Role};
use store::{DeviceAnswer, DeviceRow, KeysOnLeave, MemberRow};

use crate::samples::{Fresh, NOW, act, conflict, device, digest, member, missing};

const LATER: u64 = NOW + 5;

async fn approved(fresh: &Fresh, number: u8, person: MemberId) {
    let (devices, workspace) = (fresh.store.devices(), fresh.founding.workspace.id);
    devices.create(device(number), 10).await.unwrap();
    let answer = DeviceAnswer::Approved { person, workspace };
    devices.answer(digest(number + 100), answer, workspace, act()).await.unwrap();
}

pub async fn a_device_is_given_one_key(fresh: &Fresh) {
    let (devices, workspace) = (fresh.store.devices(), fresh.founding.workspace.id);
    let person = member(fresh, 1, Role::Owner).await;
    devices.create(device(1), 10).await.unwrap();
    assert_eq!(devices.waiting(digest(101), LATER).await.unwrap(), Some(device(1)));
    assert_eq!(devices.poll(digest(1), LATER).await.unwrap(), Some(device(1)));
    assert_eq!(devices.poll(digest(1), LATER).await.unwrap().unwrap().polled_unix_ms, Some(LATER));
    missing(devices.grant(digest(1), Role::Owner, fresh.key(50), act()).await);
    let answer = DeviceAnswer::Approved { person, workspace };
    let answered = devices.answer(digest(101), answer, workspace, act()).await.unwrap();
    assert_eq!((answered.client_name.as_str(), answered.answer), ("device 1", Some(answer)));
    assert_eq!(devices.waiting(digest(101), LATER).await.unwrap(), None, "it is answered");
    assert!(devices.answer(digest(101), DeviceAnswer::Denied, workspace, act()).await.is_err());
    let given = devices.grant(digest(1), Role::Owner, fresh.key(50), act()).await.unwrap();
    assert_eq!(fresh.store.api_keys().get(workspace, given.row.id).await.unwrap(), given.row);
    missing(devices.grant(digest(1), Role::Owner, fresh.key(51), act()).await);
    // Only a key issued to a device can be given back.
    assert!(!devices.revoke_key(workspace, fresh.founding.keys[0].id, act()).await.unwrap().row);
    assert!(devices.revoke_key(workspace, given.row.id, act()).await.unwrap().row);
    assert!(fresh.store.api_keys().get(workspace, given.row.id).await.unwrap().revoked_unix_ms.is_some());
}

pub async fn what_is_denied_too_old_or_too_many_is_given_none(fresh: &Fresh) {
    let (devices, workspace) = (fresh.store.devices(), fresh.founding.workspace.id);
    devices.create(device(1), 2).await.unwrap();
    devices.answer(digest(101), DeviceAnswer::Denied, workspace, act()).await.unwrap();
    assert_eq!(devices.poll(digest(1), LATER).await.unwrap().unwrap().answer, Some(DeviceAnswer::Denied));
    missing(devices.grant(digest(1), Role::Owner, fresh.key(50), act()).await);
    devices.create(DeviceRow { expires_unix_ms: LATER, ..device(2) }, 2).await.unwrap();
    assert_eq!(devices.poll(digest(2), LATER).await.unwrap(), None);
    assert_eq!(devices.waiting(digest(102), LATER).await.unwrap(), None);
    conflict(devices.create(device(3), 2).await, "too_many_devices");
    devices.create(DeviceRow { created_unix_ms: LATER, ..device(3) }, 2).await.unwrap();
}

pub async fn a_devices_key_ends_with_its_persons_membership_or_role(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    member(fresh, 1, Role::Owner).await;
    let person = member(fresh, 2, Role::Admin).await;
    approved(fresh, 1, person).await;
    approved(fresh, 2, person).await;
    let given = store.devices().grant(digest(1), Role::Admin, fresh.key(50), act()).await.unwrap().row;
    let viewer = MemberRow { role: Role::Viewer, ..store.people().get(workspace, person).await.unwrap() };
    let lowered = store.people().replace(viewer, None, act()).await.unwrap();
    let revoked = store.api_keys().get(workspace, given.id).await.unwrap();
    assert_eq!((revoked.revoked_unix_ms.is_some(), revoked.version), (true, lowered.version));
    // An approval given as an admin does not hold for a viewer.
    missing(store.devices().grant(digest(2), Role::Admin, fresh.key(51), act()).await);
    let given = store.devices().grant(digest(2), Role::Viewer, fresh.key(51), act()).await.unwrap().row;
    approved(fresh, 3, person).await;
    store.people().remove(workspace, person, KeysOnLeave::Ask, None, act()).await.unwrap();
    assert!(store.api_keys().get(workspace, given.id).await.unwrap().revoked_unix_ms.is_some());
    assert_eq!(store.devices().poll(digest(3), LATER).await.unwrap(), None);
}
