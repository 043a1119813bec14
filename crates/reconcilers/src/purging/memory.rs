//! Content in the memory of gateways: prompts that are held to keep a provider's cache alive, and what each gateway forgets
//! when another one purges.

use std::collections::HashMap;
use std::sync::Arc;

use domain::ports::PortFuture;
use domain::purge::{Place, PurgeError, PurgeScope, Purgeable, Purged, Remembers};
use domain::{ProjectId, TraceId, WorkspaceId};

use crate::Deps;

/// Prompts that are held to be sent again before a provider forgets them.
pub struct HeldPrompts(pub Arc<board::Shared>);

/// Whether the prompt of a request is meant. Prompts don't know their project, so a purge of one takes those of all.
fn is_meant(scope: &PurgeScope, parent: TraceId) -> bool {
    let is_named = match &scope.what {
        Purged::Everything | Purged::Project(_) => true,
        Purged::Requests(requests) => requests.contains(&parent),
        Purged::From(first) => *first <= parent,
        Purged::Session(_) | Purged::Artifacts(_) => false,
    };
    is_named && parent < scope.before
}

impl Purgeable for HeldPrompts {
    fn place(&self) -> Place {
        Place::HeldPrompts
    }

    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move {
            let table = self.0.known_prefixes(scope.workspace);
            Ok(table.map_or(0, |table| table.keep_alive().drop_prompts(|parent| is_meant(&scope, parent))))
        })
    }

    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move {
            let table = self.0.known_prefixes(scope.workspace);
            Ok(table.map_or(0, |table| table.keep_alive().held_prompts(|parent| is_meant(&scope, parent))))
        })
    }
}

impl Remembers for HeldPrompts {
    fn forget_remembered(&self, workspace: WorkspaceId, _project: Option<ProjectId>) {
        if let Some(table) = self.0.known_prefixes(workspace) {
            table.keep_alive().drop_prompts(|_| true);
        }
    }
}

/// Forgets what this gateway remembers of a workspace or project whenever its generation was raised, by whichever gateway.
pub async fn follow_generations(deps: Deps, memories: Vec<Arc<dyn Remembers>>) {
    let mut versions = deps.keeper.subscribe();
    let mut known = generations(&deps);
    while versions.changed().await.is_ok() {
        let current = generations(&deps);
        for (of, generation) in &current {
            if known.get(of).is_some_and(|before| before < generation) {
                memories.iter().for_each(|memory| memory.forget_remembered(of.0, of.1));
            }
        }
        known = current;
    }
}

fn generations(deps: &Deps) -> HashMap<(WorkspaceId, Option<ProjectId>), u64> {
    let snapshot = deps.keeper.current();
    let mut found = HashMap::new();
    for workspace in snapshot.workspaces() {
        found.insert((workspace.id, None), workspace.caching.generation);
        for project in workspace.projects.iter() {
            found.insert((workspace.id, Some(project.id)), project.caching.generation);
        }
    }
    found
}
