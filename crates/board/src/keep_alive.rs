//! Prefixes that are kept in their provider's cache while a return is likely: which are watched, how often prefixes of
//! their kind came back after which silence, and the prompts that are held to be sent again. In memory alone, for each
//! workspace apart, and touched only where a project asks for it.
//!
//! A watched prefix goes through periods, each almost as long as its provider keeps it after a read. What becomes of it is
//! counted whether it is refreshed or not, so that nothing has to be paid to learn what a refresh would be worth.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use domain::TraceId;
use domain::limits::{
    KEEP_ALIVE_BYTES_MAX, KEEP_ALIVE_GROUPS_MAX, KEEP_ALIVE_PAUSE, KEEP_ALIVE_PROMPT_BYTES_MAX,
    KEEP_ALIVE_REFRESHES_MAX, KEEP_ALIVE_SAMPLES_MAX, KEEP_ALIVE_SAMPLES_MIN, KEEP_ALIVE_WATCHED_MAX,
};

/// A prefix as one principal has it for one model and project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WatchedKey(pub u64);

/// The prefixes whose returns are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WatchedGroup(pub u64);

/// How many prefixes came back within a period, of those that were away at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReturnRate {
    pub returned: u32,
    pub watched: u32,
}

/// What a prefix is now.
#[derive(Debug)]
pub enum WatchedDue {
    /// It is watched no more.
    Over,
    /// Nothing is to be done before this time.
    At { us: u64 },
    /// It was not used for one period more, and expires soon.
    Now(ExpiringPrefix),
}

/// A prefix that expires unless it is refreshed.
#[derive(Debug)]
pub struct ExpiringPrefix {
    /// The tokens that its provider has of it.
    pub tokens: u64,
    /// `None` while too little is known, and after a refresh that found nothing.
    pub rate: Option<ReturnRate>,
    /// `None` if it was not worth holding, or expired before.
    pub prompt: Option<RepeatedPrompt>,
}

/// What refreshes a prefix.
#[derive(Debug, Clone)]
pub struct RepeatedPrompt {
    pub body: Bytes,
    /// The tokens that it has beyond the prefix.
    pub rest_tokens: u64,
    /// The request that used the prefix last.
    pub parent: TraceId,
}

/// All watched prefixes of one workspace.
#[derive(Debug, Default)]
pub struct KeepAliveTable(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    prefixes: HashMap<WatchedKey, Watched>,
    groups: HashMap<WatchedGroup, Group>,
}

#[derive(Debug)]
struct Watched {
    group: WatchedGroup,
    period_us: u64,
    /// When it was used, or when it came back.
    since_us: u64,
    /// False until the request that uses it was answered, and after it came back.
    is_away: bool,
    /// The periods that are over since then.
    periods: u8,
    refreshes: u8,
    tokens: u64,
    prompt: Option<HeldPrompt>,
}

#[derive(Debug, Default)]
struct Group {
    /// For each period but the first, in which the provider has it anyway.
    periods: [ReturnRate; KEEP_ALIVE_REFRESHES_MAX as usize],
    paused_until_us: u64,
    used_us: u64,
}

impl Group {
    /// What became of a prefix in the period after `periods`.
    fn count(&mut self, periods: u8, is_back: bool) {
        let Some(rate) = usize::from(periods).checked_sub(1).and_then(|at| self.periods.get_mut(at)) else {
            return;
        };
        rate.watched += 1;
        rate.returned += u32::from(is_back);
        if rate.watched >= KEEP_ALIVE_SAMPLES_MAX {
            *rate = ReturnRate { returned: rate.returned / 2, watched: rate.watched / 2 };
        }
    }

    fn rate(&self, periods: u8, now_us: u64) -> Option<ReturnRate> {
        let rate = *self.periods.get(usize::from(periods).checked_sub(1)?)?;
        (rate.watched >= KEEP_ALIVE_SAMPLES_MIN && self.paused_until_us <= now_us).then_some(rate)
    }
}

impl KeepAliveTable {
    /// A request came: prefixes of it that were away have come back. Returns how often the longest-kept of them was
    /// refreshed meanwhile.
    pub fn returned(&self, keys: impl Iterator<Item = WatchedKey>, now_us: u64) -> u8 {
        let mut tables = self.tables();
        let Tables { prefixes, groups } = &mut *tables;
        let mut refreshes = 0;
        for key in keys {
            let Some(watched) = prefixes.get_mut(&key).filter(|watched| watched.is_away) else { continue };
            let mut group = groups.get_mut(&watched.group);
            watched.pass(group.as_deref_mut(), now_us);
            if let Some(group) = group {
                group.count(watched.periods, true);
            }
            refreshes = refreshes.max(watched.refreshes);
            *watched = Watched { since_us: now_us, ..watched.reset() };
        }
        refreshes
    }

    /// Makes room for a prefix that a request uses, whose periods are so long; `false` if somebody looks after it already, or
    /// there is none.
    pub fn enlist(&self, key: WatchedKey, group: WatchedGroup, period_us: u64, now_us: u64) -> bool {
        let mut tables = self.tables();
        let Tables { prefixes, groups } = &mut *tables;
        if prefixes.contains_key(&key) || prefixes.len() >= KEEP_ALIVE_WATCHED_MAX {
            return false;
        }
        if !groups.contains_key(&group) && groups.len() >= KEEP_ALIVE_GROUPS_MAX {
            let oldest = groups.iter().min_by_key(|(_, group)| group.used_us).map(|(of, _)| *of);
            oldest.and_then(|of| groups.remove(&of));
        }
        groups.entry(group).or_default().used_us = now_us;
        prefixes.insert(key, Watched::new(group, period_us.max(1), now_us));
        true
    }

    /// Nobody looks after a prefix any more.
    pub fn forget(&self, key: WatchedKey) {
        self.tables().prefixes.remove(&key);
    }

    /// The request that used a prefix was answered, and its provider has this much of it. From now on it is away.
    pub fn used(&self, key: WatchedKey, at_us: u64, tokens: u64, prompt: Option<HeldPrompt>) {
        if let Some(watched) = self.tables().prefixes.get_mut(&key) {
            *watched = Watched { since_us: at_us, is_away: true, tokens, prompt, ..watched.reset() };
        }
    }

    /// What is to be done for a prefix. `Now` counts a period: whoever is told does it, or leaves it.
    pub fn due(&self, key: WatchedKey, now_us: u64) -> WatchedDue {
        let mut tables = self.tables();
        let Tables { prefixes, groups } = &mut *tables;
        let Some(watched) = prefixes.get_mut(&key) else { return WatchedDue::Over };
        let us = watched.ends_us();
        if now_us < us {
            return WatchedDue::At { us };
        }
        if watched.is_away {
            watched.pass(groups.get_mut(&watched.group), now_us);
        }
        if !watched.is_away || watched.periods > KEEP_ALIVE_REFRESHES_MAX {
            prefixes.remove(&key);
            return WatchedDue::Over;
        }
        let rate = groups.get(&watched.group).and_then(|group| group.rate(watched.periods, now_us));
        let prompt = watched.prompt.as_ref().map(|held| held.prompt.clone());
        WatchedDue::Now(ExpiringPrefix { tokens: watched.tokens, rate, prompt })
    }

    /// How many prefixes of a group came back in the first period after they would have expired.
    pub fn first_rate(&self, group: WatchedGroup, now_us: u64) -> Option<ReturnRate> {
        self.tables().groups.get(&group)?.rate(1, now_us)
    }

    /// A prefix was refreshed.
    pub fn refreshed(&self, key: WatchedKey) {
        if let Some(watched) = self.tables().prefixes.get_mut(&key) {
            watched.refreshes = watched.refreshes.saturating_add(1);
        }
    }

    /// A prefix was left to expire: it is watched on, and its prompt is held no more.
    pub fn left(&self, key: WatchedKey) {
        if let Some(watched) = self.tables().prefixes.get_mut(&key) {
            watched.prompt = None;
        }
    }

    /// A refresh found nothing in the cache: its provider keeps such prefixes for a shorter time than we believe.
    pub fn missed(&self, key: WatchedKey, now_us: u64) {
        let mut tables = self.tables();
        let Tables { prefixes, groups } = &mut *tables;
        let Some(watched) = prefixes.get_mut(&key) else { return };
        watched.prompt = None;
        if let Some(group) = groups.get_mut(&watched.group) {
            let pause_us = u64::try_from(KEEP_ALIVE_PAUSE.as_micros()).unwrap_or(u64::MAX);
            group.paused_until_us = now_us.saturating_add(pause_us);
        }
    }

    /// Drops the prompts whose last request is meant, and returns how many there were. Their prefixes are watched on.
    pub fn drop_prompts(&self, is_meant: impl Fn(TraceId) -> bool) -> u64 {
        let mut dropped = 0;
        for watched in self.tables().prefixes.values_mut() {
            if watched.prompt.take_if(|held| is_meant(held.prompt.parent)).is_some() {
                dropped += 1;
            }
        }
        dropped
    }

    /// How many prompts are held whose last request is meant.
    pub fn held_prompts(&self, is_meant: impl Fn(TraceId) -> bool) -> u64 {
        let tables = self.tables();
        let held = tables.prefixes.values().filter_map(|watched| watched.prompt.as_ref());
        held.filter(|held| is_meant(held.prompt.parent)).count() as u64
    }

    /// The requests whose prompts are held.
    pub fn parents(&self) -> Vec<TraceId> {
        let tables = self.tables();
        let held = tables.prefixes.values().filter_map(|watched| watched.prompt.as_ref());
        held.map(|held| held.prompt.parent).collect()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Entries are changed whole, so a panic elsewhere does not corrupt the maps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    const fn new(group: WatchedGroup, period_us: u64, since_us: u64) -> Self {
        Self { group, period_us, since_us, is_away: false, periods: 0, refreshes: 0, tokens: 0, prompt: None }
    }

    const fn reset(&self) -> Self {
        Self::new(self.group, self.period_us, self.since_us)
    }

    /// When the period in which it is ends.
    fn ends_us(&self) -> u64 {
        self.since_us.saturating_add(self.period_us.saturating_mul(u64::from(self.periods) + 1))
    }

    /// Goes through the periods that are over by now, and counts them unless the group was forgotten. Whoever comes a whole
    /// period late finds the prefix expired.
    fn pass(&mut self, mut group: Option<&mut Group>, now_us: u64) {
        let before = self.periods;
        while self.periods <= KEEP_ALIVE_REFRESHES_MAX && self.ends_us() <= now_us {
            if let Some(group) = &mut group {
                group.count(self.periods, false);
            }
            self.periods += 1;
        }
        if self.periods > before + 1 {
            self.prompt = None;
        }
    }
}

/// What a process holds of prompts for all its workspaces, in bytes.
#[derive(Debug, Default)]
pub(crate) struct HeldPrompts(Arc<AtomicUsize>);

/// A prompt that is held to be sent again.
#[derive(Debug)]
pub struct HeldPrompt {
    prompt: RepeatedPrompt,
    bytes: Arc<AtomicUsize>,
}

impl HeldPrompts {
    /// `None` where it is too long, or as much is held as may be.
    pub(crate) fn hold(&self, prompt: RepeatedPrompt) -> Option<HeldPrompt> {
        let length = prompt.body.len();
        let room = |held: usize| held.checked_add(length).filter(|held| *held <= KEEP_ALIVE_BYTES_MAX);
        if length > KEEP_ALIVE_PROMPT_BYTES_MAX {
            return None;
        }
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(HeldPrompt { prompt, bytes: Arc::clone(&self.0) })
    }
}

impl Drop for HeldPrompt {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.prompt.body.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: WatchedKey = WatchedKey(7);
    const GROUP: WatchedGroup = WatchedGroup(1);
    const PERIOD: u64 = 100;

    fn of(body: Bytes) -> RepeatedPrompt {
        RepeatedPrompt { body, rest_tokens: 0, parent: TraceId::new(1, [1; 10]) }
    }

    fn prompt(room: &HeldPrompts) -> Option<HeldPrompt> {
        room.hold(of(Bytes::from_static(b"{}")))
    }

    /// A prefix that is away since 0.
    fn away(table: &KeepAliveTable, key: WatchedKey) {
        assert!(table.enlist(key, GROUP, PERIOD, 0));
        table.used(key, 0, 5_000, prompt(&HeldPrompts::default()));
    }

    fn now(due: WatchedDue) -> ExpiringPrefix {
        match due {
            WatchedDue::Now(expiring) => expiring,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_prefix_is_due_once_a_period_until_it_was_away_for_long() {
        let table = KeepAliveTable::default();
        assert!(matches!(table.due(KEY, 0), WatchedDue::Over), "nobody knows it");
        away(&table, KEY);
        assert!(!table.enlist(KEY, GROUP, PERIOD, 0), "somebody looks after it");
        assert!(matches!(table.due(KEY, 99), WatchedDue::At { us: 100 }));
        for period in 1..=u64::from(KEEP_ALIVE_REFRESHES_MAX) {
            let expiring = now(table.due(KEY, period * PERIOD));
            assert_eq!((expiring.tokens, expiring.rate, expiring.prompt.is_some()), (5_000, None, true));
            let us = (period + 1) * PERIOD;
            assert!(matches!(table.due(KEY, us - 1), WatchedDue::At { us: at } if at == us));
        }
        let end = (u64::from(KEEP_ALIVE_REFRESHES_MAX) + 1) * PERIOD;
        assert!(matches!(table.due(KEY, end), WatchedDue::Over));
        assert!(table.tables().prefixes.is_empty());
    }

    #[test]
    fn returns_are_counted_by_the_silence_before_them_refreshed_or_not() {
        let table = KeepAliveTable::default();
        // Of nine prefixes, three come back in the second period, and the others never.
        for number in 0..9 {
            away(&table, WatchedKey(number));
            // Whether anybody looked at the end of a period makes no difference.
            if number % 2 == 0 {
                drop(table.due(WatchedKey(number), PERIOD));
            }
            if number < 3 {
                assert_eq!(table.returned([WatchedKey(number)].into_iter(), PERIOD + 5), 0);
            } else {
                drop(table.due(WatchedKey(number), 2 * PERIOD));
            }
        }
        assert_eq!(table.first_rate(GROUP, 0), Some(ReturnRate { returned: 3, watched: 9 }));
        assert_eq!(table.first_rate(WatchedGroup(2), 0), None);
        away(&table, KEY_OF_ANOTHER);
        let expiring = now(table.due(KEY_OF_ANOTHER, PERIOD));
        assert_eq!(expiring.rate, Some(ReturnRate { returned: 3, watched: 9 }));
        assert_eq!(now(table.due(KEY_OF_ANOTHER, 2 * PERIOD)).rate, None, "little is known of later ones");
    }

    const KEY_OF_ANOTHER: WatchedKey = WatchedKey(70);

    #[test]
    fn who_comes_a_period_late_finds_it_expired() {
        let table = KeepAliveTable::default();
        away(&table, KEY);
        assert!(now(table.due(KEY, 2 * PERIOD)).prompt.is_none());
        assert!(matches!(table.due(KEY, 2 * PERIOD), WatchedDue::At { us: 300 }));
        away(&table, KEY_OF_ANOTHER);
        assert!(matches!(table.due(KEY_OF_ANOTHER, 1_000 * PERIOD), WatchedDue::Over));
    }

    #[test]
    fn what_comes_back_at_once_says_nothing_of_a_refresh() {
        let table = KeepAliveTable::default();
        for number in 0..20 {
            away(&table, WatchedKey(number));
            assert_eq!(table.returned([WatchedKey(number)].into_iter(), 50), 0);
        }
        assert_eq!(table.first_rate(GROUP, 0), None);
        // It is forgotten a period after it came back, unless it is used again.
        assert!(matches!(table.due(WatchedKey(1), 149), WatchedDue::At { us: 150 }));
        assert!(matches!(table.due(WatchedKey(1), 150), WatchedDue::Over));
        table.used(WatchedKey(2), 60, 9, None);
        assert!(matches!(table.due(WatchedKey(2), 150), WatchedDue::At { us: 160 }));
        assert_eq!(now(table.due(WatchedKey(2), 160)).tokens, 9);
    }

    #[test]
    fn a_prefix_whose_group_is_forgotten_goes_through_its_periods() {
        let table = KeepAliveTable::default();
        away(&table, KEY);
        for number in 0..KEEP_ALIVE_GROUPS_MAX as u64 {
            assert!(table.enlist(WatchedKey(100 + number), WatchedGroup(100 + number), PERIOD, 1));
        }
        assert!(!table.tables().groups.contains_key(&GROUP));
        assert_eq!(now(table.due(KEY, PERIOD)).rate, None);
        assert!(matches!(table.due(KEY, PERIOD), WatchedDue::At { us: 200 }), "it is due once");
    }

    #[test]
    fn what_nobody_looks_after_makes_room() {
        let (table, room) = (KeepAliveTable::default(), HeldPrompts::default());
        assert!(table.enlist(KEY, GROUP, PERIOD, 0));
        table.used(KEY, 0, 9, prompt(&room));
        table.forget(KEY);
        assert_eq!((room.0.load(Ordering::Relaxed), table.tables().prefixes.len()), (0, 0));
        assert!(table.enlist(KEY, GROUP, PERIOD, 0));
    }

    #[test]
    fn a_return_tells_how_often_it_was_refreshed() {
        let table = KeepAliveTable::default();
        away(&table, KEY);
        for period in 1..=2 {
            assert!(now(table.due(KEY, period * PERIOD)).prompt.is_some());
            table.refreshed(KEY);
        }
        assert_eq!(table.returned([WatchedKey(1), KEY].into_iter(), 250), 2);
        assert_eq!(table.returned([KEY].into_iter(), 251), 0, "it was not away");
    }

    #[test]
    fn a_miss_pauses_the_group_and_frees_the_prompt() {
        let (table, room) = (KeepAliveTable::default(), HeldPrompts::default());
        for number in 0..8 {
            away(&table, WatchedKey(number));
            drop(table.due(WatchedKey(number), PERIOD));
            table.returned([WatchedKey(number)].into_iter(), 150);
        }
        assert!(table.first_rate(GROUP, 0).is_some());
        assert!(table.enlist(KEY_OF_ANOTHER, GROUP, PERIOD, 0));
        table.used(KEY_OF_ANOTHER, 0, 9, prompt(&room));
        assert_eq!(room.0.load(Ordering::Relaxed), 2);
        table.missed(KEY_OF_ANOTHER, 1_000);
        assert_eq!(room.0.load(Ordering::Relaxed), 0);
        let pause_us = u64::try_from(KEEP_ALIVE_PAUSE.as_micros()).unwrap();
        assert_eq!(table.first_rate(GROUP, 1_000 + pause_us - 1), None);
        assert!(table.first_rate(GROUP, 1_000 + pause_us).is_some());
    }

    #[test]
    fn a_workspace_watches_and_a_process_holds_so_much() {
        let (table, room) = (KeepAliveTable::default(), HeldPrompts::default());
        for number in 0..=KEEP_ALIVE_WATCHED_MAX as u64 {
            let is_watched = table.enlist(WatchedKey(number), WatchedGroup(number), PERIOD, number);
            assert_eq!(is_watched, number < KEEP_ALIVE_WATCHED_MAX as u64);
        }
        assert_eq!(table.tables().groups.len(), KEEP_ALIVE_GROUPS_MAX);
        assert!(room.hold(of(vec![0; KEEP_ALIVE_PROMPT_BYTES_MAX + 1].into())).is_none());
        let long = of(vec![0; KEEP_ALIVE_PROMPT_BYTES_MAX].into());
        let most = KEEP_ALIVE_BYTES_MAX / KEEP_ALIVE_PROMPT_BYTES_MAX;
        let held: Vec<_> = (0..most).filter_map(|_| room.hold(long.clone())).collect();
        assert_eq!((held.len(), room.hold(long.clone()).is_none()), (most, true));
        drop(held);
        assert!(room.hold(long).is_some());
    }
}
