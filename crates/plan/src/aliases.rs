//! Aliases: which release of an alias a call gets, and in which order its targets are considered.

use std::borrow::Cow;

use domain::alias::pinned;
use domain::{AliasPick, AliasReleaseId, AliasSplit, ProjectId, ReleaseChoice};
use placement::mix;
use snapshot::{AliasEntry, ReleaseEntry, WorkspaceEntry};

use crate::question::PlanInput;

/// Domains of `bucket`, so that who gets the canary says nothing about which of its targets they get.
const OF_CANARY: u64 = 1;
const OF_TARGET: u64 = 2;

/// What a caller is assigned to a target by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitBy {
    EndUser,
    Request,
    Session,
}

/// A release that a call resolved to, and the target that is considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolvedAlias<'a> {
    pub alias: &'a AliasEntry,
    pub release: &'a ReleaseEntry,
    pub choice: ReleaseChoice,
    /// Its place in the release.
    pub target: usize,
}

impl ResolvedAlias<'_> {
    /// As the record keeps it.
    pub fn resolution(&self) -> Cow<'static, str> {
        let pick = AliasPick {
            alias: &self.alias.name,
            release: self.release.id,
            choice: self.choice,
            target: self.target + 1,
            targets: self.release.spec.targets.len(),
        };
        pick.to_string().into()
    }
}

/// The release that the model's name means; `None` if the name is none of an alias. Free where a workspace has
/// no aliases.
pub fn find<'a>(input: &PlanInput<'a>) -> Option<ResolvedAlias<'a>> {
    let query = &input.query;
    find_named(query.model, query.workspace, query.project.id, || query.split_key)
}

/// The release that this name means to a project, for a caller with this key.
pub fn find_named<'a>(
    model: &str,
    workspace: &'a WorkspaceEntry,
    project: ProjectId,
    split_key: impl FnOnce() -> u64,
) -> Option<ResolvedAlias<'a>> {
    let aliases = &workspace.aliases;
    if aliases.is_empty() {
        return None;
    }
    let is_in_scope = |alias: &AliasEntry| alias.project.is_none_or(|own| own == project);
    // The projects' own come first, so that they win.
    let named = |name: &str| {
        let first = aliases.partition_point(|alias| &*alias.name < name);
        let mut same = aliases.iter().skip(first).take_while(|alias| &*alias.name == name);
        same.find(|alias| is_in_scope(alias))
    };
    if let Some(alias) = named(model) {
        return Some(chosen(alias, split_key()));
    }
    let (name, id) = pinned(model)?;
    let mut candidates =
        aliases.iter().filter(|alias| is_in_scope(alias) && name.is_none_or(|name| *alias.name == *name));
    candidates.find_map(|alias| {
        let release = alias.releases.iter().find(|release| release.id == id)?;
        Some(ResolvedAlias { alias, release, choice: ReleaseChoice::Pinned, target: 0 })
    })
}

/// The canary's release for its share of the keys, which only grows with its percentage, else the active one.
fn chosen(alias: &AliasEntry, key: u64) -> ResolvedAlias<'_> {
    let canary = alias
        .canary
        .as_ref()
        .filter(|canary| bucket(canary.release.id, OF_CANARY, key, 10_000) < u64::from(canary.percent) * 100);
    match canary {
        Some(canary) => {
            ResolvedAlias { alias, release: &canary.release, choice: ReleaseChoice::Canary, target: 0 }
        }
        None => ResolvedAlias { alias, release: &alias.active, choice: ReleaseChoice::Active, target: 0 },
    }
}

/// The places of the targets in the order in which they are considered: that of the release, or the one that
/// the key is assigned and then the others.
pub fn order(release: &ReleaseEntry, key: u64) -> Vec<usize> {
    let targets = &release.spec.targets;
    let mut places: Vec<usize> = (0..targets.len()).collect();
    if release.spec.split == AliasSplit::Weighted {
        let total = targets.iter().map(|target| u64::from(target.weight)).sum::<u64>();
        let mut drawn = bucket(release.id, OF_TARGET, key, total.max(1));
        let first = targets.iter().position(|target| {
            let weight = u64::from(target.weight);
            let is_here = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            is_here
        });
        places
            .sort_by_key(|place| (Some(*place) != first, targets.get(*place).is_none_or(|t| t.weight == 0)));
        // A weight of 0 gets nothing, not even what another target can't take.
        places.retain(|place| targets.get(*place).is_some_and(|target| target.weight > 0));
    }
    places
}

/// A number below `below` that a release and a key always have.
fn bucket(release: AliasReleaseId, domain: u64, key: u64, below: u64) -> u64 {
    let (high, low) = release.as_uuid().as_u64_pair();
    let mixed = mix(mix(mix(high ^ domain) ^ low) ^ key);
    // The high half of the product: each number has the same share, whatever `below` is.
    let product = u128::from(mixed) * u128::from(below);
    u64::try_from(product >> 64).unwrap_or(0)
}

/// What a caller is assigned by: the same for the same text on every replica and version, unlike the hashes of
/// the standard library.
pub fn split_key(by: SplitBy, text: &[u8]) -> u64 {
    let by = match by {
        SplitBy::EndUser => 0,
        SplitBy::Request => 1,
        SplitBy::Session => 2,
    };
    let seed = 0xCBF2_9CE4_8422_2325_u64 ^ by;
    let hash = text.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3));
    mix(hash)
}
