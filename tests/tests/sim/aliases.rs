//! The alias that every workspace has: what an operator makes of it in a run, and what the oracle knows of who got
//! which release and target.

use std::collections::HashMap;
use std::sync::Arc;

use domain::{
    AliasId, AliasPick, AliasReleaseId, AliasReleaseSpec, AliasSplit, AliasTarget, CanaryGates, FaultClass,
    MeterRecord, ReleaseChoice,
};
use snapshot::{AliasEntry, CanaryEntry, ReleaseEntry};

use crate::fixture::{MODEL, NODE_MODEL, OTHER_NODE_MODEL, RULES, Rule};

pub const ALIAS: &str = "sim.best";
/// The end users of each workspace.
pub const USERS: u64 = 12;
/// How often canaries are judged.
pub const JUDGED_EVERY_US: u64 = 5_000_000;
const OTHER_MODEL: &str = "openai/gpt-4o";

/// A canary that an operator has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    pub percent: u8,
    pub gates: CanaryGates,
    pub from_unix_ms: u64,
}

/// The aliases of all workspaces, as operators have them now.
#[derive(Debug, Clone)]
pub struct Aliases {
    /// Gives each run releases of its own, since who gets what follows from their ids.
    seed: u64,
    /// Of the active release; the third target's is zero.
    weights: [u32; 3],
    /// By workspace.
    pub canaries: [Option<Started>; RULES.len()],
}

/// The name in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    Model,
    Alias,
    /// The active release or the other one, with the alias's name before it or not.
    Pinned {
        is_active: bool,
        is_long: bool,
    },
}

impl Started {
    fn new(from_unix_ms: u64, chance: &impl Fn(u64) -> u64) -> Self {
        let gates = CanaryGates {
            error_bps_max: (chance(4) > 0).then(|| 500 + u32::try_from(chance(4_500)).expect("small")),
            latency_p95_ms_max: (chance(4) > 0).then(|| 500 + chance(6_000)),
            first_byte_p95_ms_max: None,
            requests_min: 1 + u32::try_from(chance(5)).expect("small"),
            window_s: 10 + u32::try_from(chance(50)).expect("small"),
        };
        Self { percent: percent(chance), gates, from_unix_ms }
    }
}

fn percent(chance: &impl Fn(u64) -> u64) -> u8 {
    u8::try_from(chance(101)).expect("small")
}

impl Aliases {
    pub fn new(seed: u64, chance: impl Fn(u64) -> u64) -> Self {
        let weight = || 1 + u32::try_from(chance(9)).expect("small");
        let canaries = RULES.map(|_| (chance(2) == 0).then(|| Started::new(0, &chance)));
        Self { seed, weights: [weight(), weight(), 0], canaries }
    }

    /// Operators start canaries, give them to more callers, and withdraw them.
    pub fn change(&mut self, now_unix_ms: u64, chance: impl Fn(u64) -> u64) {
        for canary in self.canaries.iter_mut().filter(|_| chance(2) == 0) {
            *canary = match *canary {
                None => Some(Started::new(now_unix_ms, &chance)),
                Some(_) if chance(4) == 0 => None,
                Some(started) => Some(Started { percent: started.percent.max(percent(&chance)), ..started }),
            };
        }
    }

    pub fn release_id(&self, workspace: usize, is_active: bool) -> AliasReleaseId {
        let mut bytes = [u8::from(is_active); 10];
        bytes[1] = u8::try_from(workspace).expect("few");
        bytes[2..].copy_from_slice(&self.seed.to_be_bytes());
        AliasReleaseId::new(self.seed, bytes)
    }

    /// The models of a release, in its order.
    fn models(workspace: usize, is_active: bool) -> Vec<&'static str> {
        let is_of_nodes = RULES[workspace] == Rule::Nodes;
        let (first, second) = if is_of_nodes { (NODE_MODEL, OTHER_NODE_MODEL) } else { (MODEL, OTHER_MODEL) };
        if is_active { vec![first, second, first] } else { vec![second, first] }
    }

    fn release(&self, workspace: usize, is_active: bool) -> Arc<ReleaseEntry> {
        let weights = if is_active { self.weights.to_vec() } else { vec![1, 1] };
        let targets = Self::models(workspace, is_active).into_iter().zip(weights);
        let target = |(model, weight): (&str, u32)| AliasTarget { model: model.to_owned(), weight };
        let split = if is_active { AliasSplit::Weighted } else { AliasSplit::Ordered };
        Arc::new(ReleaseEntry {
            id: self.release_id(workspace, is_active),
            number: if is_active { 1 } else { 2 },
            spec: AliasReleaseSpec {
                split,
                targets: targets.map(target).collect(),
                ..AliasReleaseSpec::default()
            },
        })
    }

    pub fn entry(&self, workspace: usize) -> Arc<AliasEntry> {
        let (active, other) = (self.release(workspace, true), self.release(workspace, false));
        Arc::new(AliasEntry {
            id: AliasId::new(self.seed, [u8::try_from(workspace).expect("few"); 10]),
            name: ALIAS.into(),
            project: None,
            canary: self.canaries[workspace].map(|started| CanaryEntry {
                release: Arc::clone(&other),
                percent: started.percent,
                gates: started.gates,
                started_unix_ms: started.from_unix_ms,
            }),
            releases: vec![Arc::clone(&active), other],
            active,
            fits_parameters: false,
            created_unix_ms: 0,
        })
    }

    /// The name as a request of the workspace has it.
    pub fn name(&self, workspace: usize, named: &Named) -> String {
        match named {
            Named::Model if RULES[workspace] == Rule::Nodes => NODE_MODEL.to_owned(),
            Named::Model => MODEL.to_owned(),
            Named::Alias => ALIAS.to_owned(),
            Named::Pinned { is_active, is_long } => {
                let id = self.release_id(workspace, *is_active);
                if *is_long { format!("{ALIAS}@{id}") } else { id.to_string() }
            }
        }
    }
}

/// How many were assigned somewhere, and how many should have been, in hundredths of a per cent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    asked: u64,
    got: u64,
    stated_bps: u64,
}

impl Share {
    pub const fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.got += other.got;
        self.stated_bps += other.stated_bps;
    }

    const fn count(&mut self, is_there: bool, stated_bps: u64) {
        self.asked += 1;
        self.got += is_there as u64;
        self.stated_bps += stated_bps;
    }

    /// Six standard deviations are more than chance explains on any day.
    pub fn check(&self, what: &str) {
        let off_bps = (self.got * 10_000).abs_diff(self.stated_bps);
        assert!(off_bps <= 6 * 5_000 * self.asked.isqrt(), "{what}: {self:?}");
    }
}

/// Who got what in a run.
#[derive(Default)]
pub struct Assigned {
    /// The target of each user, by workspace.
    targets: HashMap<(usize, u64), usize>,
    /// For each user, by workspace: the lowest percentage with which it had the canary, and the highest with which it
    /// had not.
    canary: HashMap<(usize, u64), (u8, u8)>,
    pub to_canary: Share,
    pub to_first: Share,
}

impl Assigned {
    /// A request was planned; returns the model that its name means, and those that an ordered release lists behind it.
    pub fn planned(
        &mut self,
        aliases: &Aliases,
        (workspace, named, user): (usize, &Named, Option<u64>),
        is_limited: bool,
        resolution: &str,
    ) -> (String, Vec<&'static str>) {
        let pick = AliasPick::read(resolution);
        if *named == Named::Model {
            assert_eq!(pick, None, "a model was taken for an alias");
            return (aliases.name(workspace, named), Vec::new());
        }
        let pick = pick.unwrap_or_else(|| panic!("{named:?} isn't an alias: {resolution}"));
        assert_eq!(pick.alias, ALIAS);
        let is_active = pick.release == aliases.release_id(workspace, true);
        let is_own = is_active || pick.release == aliases.release_id(workspace, false);
        assert!(is_own, "a foreign release: {pick:?}");
        match named {
            Named::Pinned { is_active: pinned, .. } => {
                assert_eq!((pick.choice, is_active), (ReleaseChoice::Pinned, *pinned), "{named:?}: {pick:?}");
            }
            _ => {
                let choice = if is_active { ReleaseChoice::Active } else { ReleaseChoice::Canary };
                assert_eq!(pick.choice, choice, "{pick:?}");
                self.chosen(aliases.canaries[workspace], (workspace, user), !is_active);
            }
        }
        if is_active {
            assert!(aliases.weights[pick.target - 1] > 0, "a target without a share: {pick:?}");
            // A policy may keep it from the first target.
            if let Some(user) = user.filter(|_| !is_limited) {
                self.assigned(aliases, (workspace, user), pick.target);
            }
        }
        let models = Aliases::models(workspace, is_active);
        let later = if is_active { Vec::new() } else { models[pick.target..].to_vec() };
        (models[pick.target - 1].to_owned(), later)
    }

    /// The canary is for a share of the users that only grows, and for nobody once it is withdrawn.
    fn chosen(&mut self, canary: Option<Started>, (workspace, user): (usize, Option<u64>), is_canary: bool) {
        let Some(Started { percent, .. }) = canary else {
            assert!(!is_canary, "a canary that nobody has started, or that was withdrawn");
            return;
        };
        assert!(!is_canary || percent > 0, "a canary for nobody");
        assert!(is_canary || percent < 100, "a canary for everybody");
        let Some(user) = user else { return };
        let is_first = !self.canary.contains_key(&(workspace, user));
        let (with, without) = self.canary.entry((workspace, user)).or_insert((u8::MAX, 0));
        if is_canary {
            *with = percent.min(*with)
        } else {
            *without = percent.max(*without)
        }
        assert!(*without < *with, "user {user} had it at {with} % and not at {without} %");
        if is_first {
            self.to_canary.count(is_canary, u64::from(percent) * 100);
        }
    }

    /// Each user has one target of a release: both are offered by the same seats.
    fn assigned(&mut self, aliases: &Aliases, who: (usize, u64), target: usize) {
        let [first, second, _] = aliases.weights.map(u64::from);
        if let Some(before) = self.targets.insert(who, target) {
            assert_eq!(before, target, "{who:?} has changed its target");
        } else {
            self.to_first.count(target == 1, first * 10_000 / (first + second));
        }
    }
}

/// Whether a canary has left its gates, counted apart from the code that judges it.
pub fn has_left<'a>(started: &Started, requests: impl Iterator<Item = &'a MeterRecord>) -> bool {
    let (mut count, mut errors, mut latencies_ms) = (0_u64, 0_u64, Vec::new());
    for record in requests {
        count += 1;
        match record.fault {
            None => latencies_ms.push(record.timeline.settled_us / 1_000),
            // What the client caused, and what its own policy forbids.
            Some(FaultClass::ContextLength | FaultClass::Cancelled | FaultClass::Forbidden) => {}
            Some(_) => errors += 1,
        }
    }
    let gates = &started.gates;
    let fails = gates.error_bps_max.is_some_and(|most| errors * 10_000 / count.max(1) > u64::from(most));
    let is_slow = gates.latency_p95_ms_max.is_some_and(|most| {
        // More than the slowest twentieth is slower than that.
        let slower = latencies_ms.iter().filter(|ms| **ms > most).count();
        slower > latencies_ms.len() - (latencies_ms.len() * 95).div_ceil(100)
    });
    count >= u64::from(gates.requests_min) && (fails || is_slow)
}
