//! The bytes of large request bodies that the process holds: bounded in all, and for each workspace.
//!
//! A small body isn't counted, so that the usual request takes no lock that all share. What bounds requests
//! in flight bounds those.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use domain::{Fault, FaultClass, IdMap, WorkspaceId};

use crate::limits::{BODIES_RETRY_MS, BODY_COUNTED_EVERY_BYTES, SMALL_BODY_BYTES};

#[derive(Debug)]
pub(crate) struct HeldBodies {
    bytes_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    workspaces: IdMap<WorkspaceId, usize>,
}

/// For whom a body arrives; no workspace, where only the body itself tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'a> {
    pub bodies: &'a Arc<HeldBodies>,
    pub workspace: Option<WorkspaceId>,
}

/// A body's bytes, counted until the last piece of it is dropped.
#[derive(Debug)]
pub(crate) struct HeldBody {
    bodies: Arc<HeldBodies>,
    workspace: Option<WorkspaceId>,
    counted: usize,
    bytes: Bytes,
}

impl HeldBodies {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, held: Mutex::default() })
    }

    /// Counts more for a workspace, which may have half of all.
    fn add(&self, workspace: Option<WorkspaceId>, bytes: usize) -> Result<(), Box<Fault>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let all = held.all.saturating_add(bytes);
        let own =
            workspace.and_then(|workspace| held.workspaces.get(&workspace)).copied().unwrap_or_default();
        let own = own.saturating_add(bytes);
        if workspace.is_some() && own > self.bytes_max / 2 {
            return Err(over_share());
        }
        if all > self.bytes_max {
            return Err(full());
        }
        if let Some(workspace) = workspace {
            held.workspaces.insert(workspace, own);
        }
        held.all = all;
        Ok(())
    }

    fn remove(&self, workspace: Option<WorkspaceId>, bytes: usize) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(bytes);
        if let Some(workspace) = workspace
            && let Some(own) = held.workspaces.get_mut(&workspace)
        {
            *own = own.saturating_sub(bytes);
            if *own == 0 {
                held.workspaces.remove(&workspace);
            }
        }
    }
}

impl Holder<'_> {
    pub(crate) fn open(self) -> HeldBody {
        let Self { bodies, workspace } = self;
        HeldBody { bodies: Arc::clone(bodies), workspace, counted: 0, bytes: Bytes::new() }
    }

    /// A body that is there already.
    pub(crate) fn hold(self, bytes: Bytes) -> Result<Bytes, Box<Fault>> {
        let mut body = self.open();
        body.grow(bytes.len())?;
        Ok(body.of(bytes))
    }
}

impl HeldBody {
    /// Counts what has arrived so far.
    ///
    /// # Errors
    /// The process or the workspace holds too much.
    pub(crate) fn grow(&mut self, length: usize) -> Result<(), Box<Fault>> {
        if length <= SMALL_BODY_BYTES || length <= self.counted {
            return Ok(());
        }
        let counted = length.next_multiple_of(BODY_COUNTED_EVERY_BYTES);
        self.bodies.add(self.workspace, counted - self.counted)?;
        self.counted = counted;
        Ok(())
    }

    /// The whole body.
    pub(crate) fn of(mut self, bytes: Bytes) -> Bytes {
        if self.counted == 0 {
            return bytes;
        }
        self.bytes = bytes;
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        if self.counted > 0 {
            self.bodies.remove(self.workspace, self.counted);
        }
    }
}

fn full() -> Box<Fault> {
    let message = "The gateway holds as many bytes of request bodies as it may.";
    let fault = Fault::new(FaultClass::Unavailable, "gateway_overloaded", message).fix(
        "Send the request again in a second; the operator can raise TIDEGATE_BODY_MIB_MAX or add gateways.",
    );
    Box::new(fault.retry_after_ms(BODIES_RETRY_MS).should_retry(true))
}

fn over_share() -> Box<Fault> {
    let message = "This workspace already has as many bytes of request bodies in progress as it may.";
    let fault = Fault::new(FaultClass::Limited, "rate_limit_exceeded", message)
        .fix("Wait for a request to end, and send fewer large ones at the same time.");
    Box::new(fault.retry_after_ms(BODIES_RETRY_MS).should_retry(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn bodies() -> Arc<HeldBodies> {
        HeldBodies::new(16 * MIB)
    }

    fn hold(bodies: &Arc<HeldBodies>, number: u8, mib: usize) -> Result<Bytes, &'static str> {
        let workspace = (number > 0).then(|| WorkspaceId::new(1, [number; 10]));
        let body = Bytes::from(vec![0; mib * MIB]);
        Holder { bodies, workspace }.hold(body).map_err(|fault| fault.code)
    }

    #[test]
    fn a_workspace_has_half_and_all_have_what_the_process_may() {
        let bodies = bodies();
        let first = hold(&bodies, 1, 6).unwrap();
        assert_eq!(hold(&bodies, 1, 3), Err("rate_limit_exceeded"));
        let more = [hold(&bodies, 1, 2).unwrap(), hold(&bodies, 2, 5).unwrap(), hold(&bodies, 0, 3).unwrap()];
        assert_eq!(hold(&bodies, 2, 2), Err("gateway_overloaded"));
        assert_eq!(hold(&bodies, 0, 2), Err("gateway_overloaded"));
        // What is small is taken all the same.
        assert!(hold(&bodies, 1, 0).is_ok());
        // A slice holds the whole.
        let slice = first.slice(0..1);
        drop(first);
        assert_eq!(hold(&bodies, 1, 3), Err("rate_limit_exceeded"));
        drop(slice);
        assert!(hold(&bodies, 1, 6).is_ok());
        drop(more);
        assert!(bodies.held.lock().unwrap().workspaces.is_empty());
        assert_eq!(bodies.held.lock().unwrap().all, 0);
    }

    #[test]
    fn a_body_that_grows_is_counted_as_it_arrives() {
        let bodies = bodies();
        let holder = Holder { bodies: &bodies, workspace: None };
        let (mut one, mut other) = (holder.open(), holder.open());
        for mib in 1..=8 {
            one.grow(mib * MIB).unwrap();
            other.grow(mib * MIB).unwrap();
        }
        assert_eq!(one.grow(8 * MIB + 1).map_err(|fault| fault.code), Err("gateway_overloaded"));
        drop(other);
        one.grow(16 * MIB).unwrap();
        drop(one);
        assert_eq!(bodies.held.lock().unwrap().all, 0);
    }
}
