//! The conditions of a route, as `/v2/routes` shows and takes them.

use std::collections::BTreeMap;

use api::failure::invalid;
use domain::{Fault, RouteConditions, TimeWindow, Weekdays};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const UTC: &str = "+00:00";
const MIDNIGHT: &str = "00:00";
const WORD_CHARS_PRINTED: usize = 64;

#[derive(Serialize, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "RouteConditions")]
pub struct ConditionsWire {
    /// The fewest tokens that the prompt has, estimated as a quarter of its bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_min: Option<u64>,
    /// The most tokens that the prompt has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    prompt_tokens_max: Option<u64>,
    /// Whether the request offers the model tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    has_tools: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<WindowWire>,
    /// Entries that the request's metadata has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    /// The end user that the request names.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_user: Option<String>,
}

/// A part of the week.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RouteTimeWindow")]
pub struct WindowWire {
    /// `mon` to `sun`; by default every day.
    #[serde(default = "every_day")]
    weekdays: Vec<String>,
    /// The time of day from which it holds, as `22:00`. If it is after `to`, the window passes midnight, and the hours after
    /// midnight belong to the weekday before.
    #[serde(default = "midnight")]
    from: String,
    /// The time of day until which it holds; `00:00` is the end of the day.
    #[serde(default = "midnight")]
    to: String,
    /// Local time less UTC, as `+02:00`; by default UTC.
    #[serde(default = "utc")]
    utc_offset: String,
}

fn every_day() -> Vec<String> {
    Weekdays::NAMES.map(str::to_owned).to_vec()
}

fn midnight() -> String {
    MIDNIGHT.to_owned()
}

fn utc() -> String {
    UTC.to_owned()
}

impl ConditionsWire {
    pub fn is_empty(&self) -> bool {
        self.prompt_tokens_min.is_none()
            && self.prompt_tokens_max.is_none()
            && self.has_tools.is_none()
            && self.time.is_none()
            && self.metadata.is_empty()
            && self.end_user.is_none()
    }

    pub fn of(when: &RouteConditions) -> Self {
        Self {
            prompt_tokens_min: when.prompt_tokens_min,
            prompt_tokens_max: when.prompt_tokens_max,
            has_tools: when.has_tools,
            time: when.time.map(WindowWire::of),
            metadata: when.metadata.iter().cloned().collect(),
            end_user: when.end_user.clone(),
        }
    }

    /// The conditions, if they are possible.
    pub fn read(self) -> Result<RouteConditions, Box<Fault>> {
        let when = RouteConditions {
            // Every prompt has at least none.
            prompt_tokens_min: self.prompt_tokens_min.filter(|min| *min > 0),
            prompt_tokens_max: self.prompt_tokens_max,
            has_tools: self.has_tools,
            time: self.time.as_ref().map(|window| window.read("when.time")).transpose()?,
            metadata: self.metadata.into_iter().collect(),
            end_user: self.end_user,
        };
        match when.wrong() {
            Some((field, message, fix)) => Err(invalid(field, message, fix)),
            None => Ok(when),
        }
    }
}

impl WindowWire {
    pub fn of(window: TimeWindow) -> Self {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let offset = window.offset_minutes();
        let sign = if offset < 0 { '-' } else { '+' };
        Self {
            weekdays: window.weekdays.names().into_iter().map(str::to_owned).collect(),
            from: clock(window.from_minute()),
            to: clock(window.to_minute()),
            utc_offset: format!("{sign}{}", clock(offset.unsigned_abs())),
        }
    }

    /// The window, if it is one; `at` is the field that holds it.
    pub fn read(&self, at: &str) -> Result<TimeWindow, Box<Fault>> {
        let Some(weekdays) = Weekdays::named(self.weekdays.iter().map(String::as_str)) else {
            let message = "A weekday of the window can't be read.";
            return Err(invalid(
                format!("{at}.weekdays"),
                message,
                format!("Use {}.", Weekdays::NAMES.join(", ")),
            ));
        };
        let time = |text: &str, field: &str| {
            minutes(text).ok_or_else(|| {
                let message = format!("\"{}\" isn't a time of day.", printable(text));
                invalid(format!("{at}.{field}"), message, "Write hours and minutes, as in 22:00.")
            })
        };
        let (from, to) = (time(&self.from, "from")?, time(&self.to, "to")?);
        let offset = self.offset().ok_or_else(|| {
            let message = format!("\"{}\" isn't an offset from UTC.", printable(&self.utc_offset));
            invalid(format!("{at}.utc_offset"), message, "Write it as +02:00, between -12:00 and +14:00.")
        })?;
        TimeWindow::new(weekdays, from, to, offset).ok_or_else(|| {
            let message = "The window is never: it names no weekday, a time past 24:00, or an offset that no place has.";
            invalid(at, message, "Name weekdays, times up to 24:00, and an offset between -12:00 and +14:00.")
        })
    }

    fn offset(&self) -> Option<i16> {
        let text = self.utc_offset.as_str();
        let (is_west, clock) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(clock), _) => (false, clock),
            (None, Some(clock)) => (true, clock),
            (None, None) => return None,
        };
        let minutes = i16::try_from(minutes(clock)?).ok()?;
        Some(if is_west { -minutes } else { minutes })
    }
}

/// Minutes after midnight, of `hh:mm`.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, most: u16| {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| is_plain && *number <= most)
    };
    let minute = number(hours, 24)? * 60 + number(minutes, 59)?;
    (minute <= 24 * 60).then_some(minute)
}

/// A word of a client's, as an error may print it.
pub fn printable(word: &str) -> String {
    word.chars().filter(|letter| !letter.is_control()).take(WORD_CHARS_PRINTED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: Value) -> Result<RouteConditions, Box<Fault>> {
        serde_json::from_value::<ConditionsWire>(value).unwrap().read()
    }

    #[test]
    fn conditions_read_back_as_they_were_set() {
        let set = json!({
            "prompt_tokens_min": 5, "prompt_tokens_max": 9, "has_tools": false, "end_user": "u", "metadata": {"a": "1", "b": ""},
            "time": {"weekdays": ["mon", "fri"], "from": "22:00", "to": "06:30", "utc_offset": "-05:30"},
        });
        let when = read(set.clone()).unwrap();
        assert_eq!(serde_json::to_value(ConditionsWire::of(&when)).unwrap(), set);
        let usual = read(json!({"time": {}})).unwrap();
        let shown = serde_json::to_value(ConditionsWire::of(&usual)).unwrap();
        assert_eq!(
            shown["time"],
            json!({"weekdays": Weekdays::NAMES, "from": "00:00", "to": "00:00", "utc_offset": "+00:00"})
        );
        assert!(read(json!({"prompt_tokens_min": 0})).unwrap().is_empty());
    }

    #[test]
    fn what_can_not_be_is_refused_with_its_field() {
        for (set, field) in [
            (json!({"prompt_tokens_min": 10, "prompt_tokens_max": 9}), "when.prompt_tokens_min"),
            (json!({"prompt_tokens_max": 0}), "when.prompt_tokens_max"),
            (json!({"end_user": ""}), "when.end_user"),
            (json!({"metadata": {"": "x"}}), "when.metadata"),
            (json!({"time": {"weekdays": ["someday"]}}), "when.time.weekdays"),
            (json!({"time": {"weekdays": []}}), "when.time"),
            (json!({"time": {"from": "9:00"}}), "when.time.from"),
            (json!({"time": {"to": "24:01"}}), "when.time.to"),
            (json!({"time": {"from": "24:00"}}), "when.time"),
            (json!({"time": {"utc_offset": "CET"}}), "when.time.utc_offset"),
            (json!({"time": {"utc_offset": "+15:00"}}), "when.time"),
        ] {
            let fault = read(set.clone()).unwrap_err();
            assert_eq!(fault.param.as_deref(), Some(field), "{set}");
            assert!(fault.fix.is_some(), "{set}");
        }
    }
}
