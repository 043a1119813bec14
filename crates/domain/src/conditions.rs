//! Conditions of a route: facts of a request, beyond who sends it and for which model, that must hold for the route to apply.

use crate::limits::{CONDITION_METADATA_MAX, CONDITION_TEXT_BYTES_MAX};

const MINUTES_A_DAY: u16 = 24 * 60;
const MINUTE_MS: u64 = 60_000;
/// 1 January 1970 was a Thursday.
const FIRST_WEEKDAY: u64 = 3;

/// When a route applies, beside its scope: every condition that is set must hold. All unset is always.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteConditions {
    /// The prompt's estimated length: at least, and at most, this many tokens.
    pub prompt_tokens_min: Option<u64>,
    pub prompt_tokens_max: Option<u64>,
    /// Whether the request offers the model tools.
    pub has_tools: Option<bool>,
    pub time: Option<TimeWindow>,
    /// Entries that the request's metadata must have: sorted by name, without duplicates.
    pub metadata: Vec<(String, String)>,
    /// The end user that the request names.
    pub end_user: Option<String>,
}

/// A part of the week: some weekdays, and a time of day that may pass midnight. The hours after midnight belong
/// to the day before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWindow {
    pub weekdays: Weekdays,
    /// Minutes after midnight: from the first, up to and without the second. Equal is the whole day.
    from_minute: u16,
    to_minute: u16,
    /// Local time less UTC.
    offset_minutes: i16,
}

/// A set of weekdays; Monday is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weekdays(u8);

/// What a request is known to be, as far as conditions ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConditionFacts<'a> {
    pub prompt_tokens: u64,
    pub unix_ms: u64,
    /// `None` if the request was not read.
    pub traits: Option<&'a RequestTraits>,
}

/// What only the request's body tells, and is read only where some condition asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestTraits {
    pub has_tools: bool,
    pub metadata: Vec<(String, String)>,
    pub end_user: Option<String>,
}

/// How strong conditions are. The fields are in order of strength, so that a comparison says which of two
/// routes of the same scope applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ConditionStrength {
    end_user: bool,
    metadata: usize,
    prompt_tokens: bool,
    tools: bool,
    time: bool,
}

impl RouteConditions {
    pub const fn is_empty(&self) -> bool {
        !self.has_size() && self.time.is_none() && !self.needs_traits()
    }

    /// Whether the request's body has to be read to decide.
    pub const fn needs_traits(&self) -> bool {
        self.has_tools.is_some() || self.needs_metadata()
    }

    /// Whether they ask for what no record keeps: metadata, or the end user.
    pub const fn needs_metadata(&self) -> bool {
        !self.metadata.is_empty() || self.end_user.is_some()
    }

    /// Whether it depends on the length of the prompt.
    pub const fn has_size(&self) -> bool {
        self.prompt_tokens_min.is_some() || self.prompt_tokens_max.is_some()
    }

    /// What makes them impossible or too long, if anything does: the field, what is wrong, and what to do.
    pub fn wrong(&self) -> Option<(&'static str, String, &'static str)> {
        if let (Some(min), Some(max)) = (self.prompt_tokens_min, self.prompt_tokens_max)
            && min > max
        {
            let message = format!("No prompt has at least {min} and at most {max} tokens.");
            return Some((
                "when.prompt_tokens_min",
                message,
                "Give a minimum that is not above the maximum.",
            ));
        }
        if self.prompt_tokens_max == Some(0) {
            let message = "No prompt has at most 0 tokens.".to_owned();
            return Some(("when.prompt_tokens_max", message, "Give a number of tokens, or leave it out."));
        }
        let is_long = |text: &str| text.is_empty() || text.len() > CONDITION_TEXT_BYTES_MAX;
        if self.end_user.as_deref().is_some_and(is_long) {
            let message = format!("An end user's name has 1 to {CONDITION_TEXT_BYTES_MAX} bytes.");
            return Some(("when.end_user", message, "Name the end user as requests do."));
        }
        if self.metadata.len() > CONDITION_METADATA_MAX
            || self
                .metadata
                .iter()
                .any(|(name, value)| is_long(name) || value.len() > CONDITION_TEXT_BYTES_MAX)
        {
            let message = format!(
                "A route asks for at most {CONDITION_METADATA_MAX} entries of metadata, with names of 1 and values of 0 to \
                 {CONDITION_TEXT_BYTES_MAX} bytes."
            );
            return Some(("when.metadata", message, "Ask for fewer or shorter entries."));
        }
        None
    }

    /// How strong they are for a request, or `None` if one does not hold.
    pub fn matched(&self, facts: &ConditionFacts<'_>) -> Option<ConditionStrength> {
        if self.is_empty() {
            return Some(ConditionStrength::default());
        }
        let holds = self.may_hold(facts, true) && (!self.needs_traits() || self.hold_for(facts.traits?));
        holds.then(|| self.strength())
    }

    /// Whether they hold as far as it is known without the request's metadata and end user; without its size, unless that is
    /// known; and without its tools, unless it has traits.
    pub fn may_hold(&self, facts: &ConditionFacts<'_>, is_size_known: bool) -> bool {
        let size = self.prompt_tokens_min.is_none_or(|min| facts.prompt_tokens >= min)
            && self.prompt_tokens_max.is_none_or(|max| facts.prompt_tokens <= max);
        let time = self.time.is_none_or(|window| window.contains(facts.unix_ms));
        let tools =
            facts.traits.is_none_or(|traits| self.has_tools.is_none_or(|has| has == traits.has_tools));
        time && tools && (size || !is_size_known)
    }

    fn hold_for(&self, traits: &RequestTraits) -> bool {
        self.has_tools.is_none_or(|wanted| wanted == traits.has_tools)
            && self.metadata.iter().all(|entry| traits.metadata.contains(entry))
            && self.end_user.as_ref().is_none_or(|user| traits.end_user.as_ref() == Some(user))
    }

    pub const fn strength(&self) -> ConditionStrength {
        ConditionStrength {
            end_user: self.end_user.is_some(),
            metadata: self.metadata.len(),
            prompt_tokens: self.has_size(),
            tools: self.has_tools.is_some(),
            time: self.time.is_some(),
        }
    }

    /// Whether a request may meet both, and neither is the stronger: then nothing says which route applies.
    pub fn is_ambiguous_with(&self, other: &Self) -> bool {
        self.strength() == other.strength()
            && self.prompt_tokens_min.max(other.prompt_tokens_min).unwrap_or(0)
                <= self.prompt_tokens_max.unwrap_or(u64::MAX).min(other.prompt_tokens_max.unwrap_or(u64::MAX))
            && self.has_tools == other.has_tools
            && self.end_user == other.end_user
            && self.metadata.iter().all(|(name, value)| {
                other.metadata.iter().all(|(known, wanted)| known != name || wanted == value)
            })
            && match (self.time, other.time) {
                (Some(one), Some(two)) => one.overlaps(two),
                _ => true,
            }
    }

    /// One text for one set of conditions: lengths precede values, so that it is unique. Empty if there are none.
    pub fn text(&self) -> String {
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let fields = [
            ("prompt_tokens_min", number(self.prompt_tokens_min)),
            ("prompt_tokens_max", number(self.prompt_tokens_max)),
            ("has_tools", self.has_tools.map(|has| has.to_string())),
            ("time", self.time.map(TimeWindow::text)),
            ("end_user", self.end_user.clone()),
        ];
        let set = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let metadata = self
            .metadata
            .iter()
            .map(|(name, value)| (format!("metadata.{}:{name}", name.len()), value.clone()));
        set.chain(metadata).map(|(name, value)| format!("{name}={}:{value};", value.len())).collect()
    }
}

impl TimeWindow {
    /// `None` if a time is past the end of a day, no weekday is named, or the offset is not that of any place.
    pub const fn new(
        weekdays: Weekdays,
        from_minute: u16,
        to_minute: u16,
        offset_minutes: i16,
    ) -> Option<Self> {
        // Midnight at the end of a day is that at the beginning of the next.
        let to_minute = if to_minute == MINUTES_A_DAY { 0 } else { to_minute };
        let is_time = from_minute < MINUTES_A_DAY && to_minute < MINUTES_A_DAY;
        if !is_time || weekdays.0 == 0 || offset_minutes < -12 * 60 || offset_minutes > 14 * 60 {
            return None;
        }
        Some(Self { weekdays, from_minute, to_minute, offset_minutes })
    }

    pub const fn from_minute(self) -> u16 {
        self.from_minute
    }

    pub const fn to_minute(self) -> u16 {
        self.to_minute
    }

    pub const fn offset_minutes(self) -> i16 {
        self.offset_minutes
    }

    /// Whether it is that part of the week.
    pub fn contains(self, unix_ms: u64) -> bool {
        let local =
            i64::try_from(unix_ms / MINUTE_MS).unwrap_or(i64::MAX).saturating_add(self.offset_minutes.into());
        let minutes = u64::try_from(local).unwrap_or(0);
        let (day, minute) = (minutes / u64::from(MINUTES_A_DAY), minutes % u64::from(MINUTES_A_DAY));
        self.is_on((day + FIRST_WEEKDAY) % 7, minute)
    }

    /// When it is over, if it is that part of the week now; `None` where it is not, or never ends.
    pub fn end_after(self, unix_ms: u64) -> Option<u64> {
        let week = 7 * u64::from(MINUTES_A_DAY);
        let first = unix_ms / MINUTE_MS;
        let is_over = |minute: &u64| !self.contains(minute.saturating_mul(MINUTE_MS));
        let end = (first..=first.saturating_add(week)).find(is_over)?;
        (end > first).then(|| end.saturating_mul(MINUTE_MS))
    }

    /// Whether it contains this minute of this weekday, both local.
    fn is_on(self, weekday: u64, minute: u64) -> bool {
        let (from, to) = (u64::from(self.from_minute), u64::from(self.to_minute));
        let before = (weekday + 6) % 7;
        if from < to {
            self.weekdays.has(weekday) && (from..to).contains(&minute)
        } else {
            self.weekdays.has(weekday) && minute >= from || self.weekdays.has(before) && minute < to
        }
    }

    /// Whether some minute is in both. A week has few enough minutes to look at each.
    fn overlaps(self, other: Self) -> bool {
        let week = 7 * u64::from(MINUTES_A_DAY);
        // Four days after Thursday a week begins; the first full week in every offset.
        (0..week).any(|minute| {
            let unix_ms = (week + minute) * MINUTE_MS;
            self.contains(unix_ms) && other.contains(unix_ms)
        })
    }

    fn text(self) -> String {
        format!("{}/{}/{}/{}", self.weekdays.0, self.from_minute, self.to_minute, self.offset_minutes)
    }
}

impl Weekdays {
    pub const NAMES: [&'static str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    pub const EVERY: Self = Self(0b111_1111);

    /// `None` for a name that is no weekday's.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut set = 0;
        for name in names {
            let day = Self::NAMES.iter().position(|known| *known == name)?;
            set |= 1 << day;
        }
        Some(Self(set))
    }

    pub fn names(self) -> Vec<&'static str> {
        let days = (0..).zip(Self::NAMES);
        days.filter(|(day, _)| self.has(*day)).map(|(_, name)| name).collect()
    }

    const fn has(self, day: u64) -> bool {
        self.0 >> day & 1 == 1
    }
}
