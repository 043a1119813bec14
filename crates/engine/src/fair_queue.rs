//! The queue of waiting sequences, fair between groups: the group with the fewest tokens served goes next, so
//! a large backlog of one group does not delay the others.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// The unit of fairness, for example a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(pub u128);

#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    queues: BTreeMap<Group, VecDeque<T>>,
    /// Tokens served to each group that has a sequence waiting or running.
    served: HashMap<Group, u64>,
    count: usize,
}

impl<T> FairQueue<T> {
    pub(crate) fn new() -> Self {
        Self { queues: BTreeMap::new(), served: HashMap::new(), count: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// Queues a new sequence. A group without work starts at the lowest count of the others, so idling earns
    /// no credit.
    pub(crate) fn push(&mut self, group: Group, text: T) {
        let least = self.served.values().min().copied().unwrap_or_default();
        self.served.entry(group).or_insert(least);
        self.queues.entry(group).or_default().push_back(text);
        self.count += 1;
    }

    /// Queues a preempted sequence, before all others of its group.
    pub(crate) fn push_back_first(&mut self, group: Group, text: T) {
        self.queues.entry(group).or_default().push_front(text);
        self.count += 1;
    }

    fn served(&self, group: Group) -> u64 {
        self.served.get(&group).copied().unwrap_or_default()
    }

    /// The first eligible sequence of the group that was served least.
    pub(crate) fn pop(&mut self, can: impl Fn(&T) -> bool) -> Option<T> {
        let first =
            self.queues.iter().filter_map(|(group, queue)| Some((*group, queue.iter().position(&can)?)));
        let (group, at) = first.min_by_key(|(group, _)| self.served(*group))?;
        self.take(group, at)
    }

    fn take(&mut self, group: Group, at: usize) -> Option<T> {
        let queue = self.queues.get_mut(&group)?;
        let text = queue.remove(at);
        if queue.is_empty() {
            self.queues.remove(&group);
        }
        self.count -= usize::from(text.is_some());
        text
    }

    /// All waiting sequences, in scheduling order of their groups.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = &T> {
        let mut queues: Vec<_> = self.queues.iter().collect();
        queues.sort_by_key(|(group, _)| self.served(**group));
        queues.into_iter().flat_map(|(_, queue)| queue)
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.queues.values_mut().flatten()
    }

    /// Charges a group for computed tokens.
    pub(crate) fn serve(&mut self, group: Group, tokens: usize) {
        *self.served.entry(group).or_default() += tokens as u64;
    }

    /// Drops the count of a group without waiting sequences; the caller knows that none is running.
    pub(crate) fn leave(&mut self, group: Group) {
        if !self.queues.contains_key(&group) {
            self.served.remove(&group);
        }
    }

    /// Removes the first match.
    pub(crate) fn remove(&mut self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let (group, at) =
            self.queues.iter().find_map(|(group, queue)| Some((*group, queue.iter().position(&is_it)?)))?;
        self.take(group, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_waits_as_long_as_one() {
        let mut waiting = FairQueue::new();
        for text in 0..4 {
            waiting.push(Group(1), text);
        }
        waiting.push(Group(2), 10);
        let mut order = Vec::new();
        while let Some(text) = waiting.pop(|_| true) {
            waiting.serve(Group(if text < 10 { 1 } else { 2 }), 5);
            order.push(text);
        }
        assert_eq!(order, [0, 10, 1, 2, 3]);
    }

    #[test]
    fn nobody_saves_turns_up() {
        let mut waiting = FairQueue::new();
        waiting.push(Group(1), 1);
        assert_eq!(waiting.pop(|_| true), Some(1));
        waiting.serve(Group(1), 1_000);
        waiting.push(Group(1), 2);
        waiting.push(Group(2), 10);
        waiting.push(Group(2), 11);
        assert_eq!(waiting.pop(|_| true), Some(2));
        waiting.serve(Group(1), 1);
        assert_eq!(waiting.pop(|_| true), Some(10));
    }

    #[test]
    fn who_must_wait_again_is_first_and_who_leaves_is_gone() {
        let mut waiting = FairQueue::new();
        waiting.push(Group(1), 1);
        waiting.push(Group(1), 2);
        waiting.push_back_first(Group(1), 3);
        assert_eq!(waiting.remove(|text| *text == 1), Some(1));
        assert_eq!(waiting.remove(|text| *text == 1), None);
        assert_eq!(
            (waiting.pop(|_| true), waiting.pop(|_| true), waiting.pop(|_| true), waiting.len()),
            (Some(3), Some(2), None, 0)
        );
    }
}
