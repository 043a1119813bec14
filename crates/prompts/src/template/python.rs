//! Numbers, JSON and dates as Python writes them.

use domain::calendar::Civil;
use serde_json::Value;

/// The arguments of `tojson`.
#[derive(Debug, Default)]
pub(super) struct Style {
    pub indent: Option<usize>,
    /// Between items, and between a key and its value.
    pub separators: Option<(String, String)>,
    pub is_ascii: bool,
    pub sorts: bool,
}

struct Writer<'a> {
    style: &'a Style,
    item: &'a str,
    colon: &'a str,
    out: String,
}

/// Python's `repr` of a float: the shortest one that parses to the same value, in scientific notation if very
/// large or very small.
pub(super) fn float(number: f64) -> String {
    if !number.is_finite() {
        let sign = if number.is_sign_negative() { "-" } else { "" };
        return if number.is_nan() { "nan".to_owned() } else { format!("{sign}inf") };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        exponent @ (..-4 | 16..) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{number:?}"),
    }
}

pub(super) fn json(value: &Value, style: &Style) -> String {
    let (item, colon) = match &style.separators {
        Some((item, colon)) => (item.as_str(), colon.as_str()),
        None => (if style.indent.is_some() { "," } else { ", " }, ": "),
    };
    let mut writer = Writer { style, item, colon, out: String::new() };
    writer.value(value, 0);
    writer.out
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::String(text) => self.text(text),
            Value::Number(number) if number.is_f64() => {
                self.out.push_str(&float(number.as_f64().unwrap_or_default()));
            }
            Value::Array(items) => {
                let each = |writer: &mut Self, item: &Value| writer.value(item, depth + 1);
                self.all('[', ']', depth, items.iter(), each);
            }
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                if self.style.sorts {
                    members.sort_by_key(|(key, _)| key.as_str());
                }
                self.all('{', '}', depth, members.into_iter(), |writer, (key, value)| {
                    writer.text(key);
                    writer.out.push_str(writer.colon);
                    writer.value(value, depth + 1);
                });
            }
            other => self.out.push_str(&other.to_string()),
        }
    }

    fn all<T>(
        &mut self,
        begin: char,
        end: char,
        depth: usize,
        items: impl ExactSizeIterator<Item = T>,
        write: impl Fn(&mut Self, T),
    ) {
        self.out.push(begin);
        let is_empty = items.len() == 0;
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.push_str(self.item);
            }
            self.line(depth + 1);
            write(self, item);
        }
        if !is_empty {
            self.line(depth);
        }
        self.out.push(end);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.style.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn text(&mut self, text: &str) {
        let written = Value::from(text).to_string();
        if !self.style.is_ascii {
            return self.out.push_str(&written);
        }
        for character in written.chars() {
            if matches!(character, '\0'..='\x7E') {
                self.out.push(character);
            } else {
                let units = character.encode_utf16(&mut [0; 2]).to_vec();
                units.iter().for_each(|unit| self.out.push_str(&format!("\\u{unit:04x}")));
            }
        }
    }
}

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// `strftime`, in UTC and English. Unknown directives are kept.
pub(super) fn time(format: &str, unix_s: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(unix_s);
    let month_at = usize::try_from(month - 1).unwrap_or_default();
    let weekday = usize::try_from((unix_s / 86_400 + 4) % 7).unwrap_or_default();
    let (weekday, name) = (DAYS.get(weekday).copied(), MONTHS.get(month_at).copied());
    let (weekday, name) = (weekday.unwrap_or_default(), name.unwrap_or_default());
    let brief = |name: &str| name.get(..3).unwrap_or_default().to_owned();
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut specifier = rest.next();
        let is_bare = specifier == Some('-');
        if is_bare {
            specifier = rest.next();
        }
        let number = |number: u64| if is_bare { number.to_string() } else { format!("{number:02}") };
        out.push_str(&match specifier {
            Some('Y') => year.to_string(),
            Some('y') => number(year % 100),
            Some('m') => number(month),
            Some('d') => number(day),
            Some('B') => name.to_owned(),
            Some('b' | 'h') => brief(name),
            Some('A') => weekday.to_owned(),
            Some('a') => brief(weekday),
            Some('H') => number(hour),
            Some('I') => number((hour + 11) % 12 + 1),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('M') => number(minute),
            Some('S') => number(second),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{other}"),
            None => "%".to_owned(),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        for (number, written) in [
            (1.0, "1.0"),
            (-0.5, "-0.5"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e100, "1e+100"),
            (0.0, "0.0"),
        ] {
            assert_eq!(float(number), written);
        }
    }

    #[test]
    fn json_looks_as_it_is_asked_to() {
        let value = json!({"b": [1, "é\u{7f}\n🎉"], "a": {}, "c": []});
        assert_eq!(json(&value, &Style::default()), "{\"b\": [1, \"é\u{7f}\\n🎉\"], \"a\": {}, \"c\": []}");
        let ascii =
            Style { is_ascii: true, sorts: true, separators: Some((",".into(), ":".into())), indent: None };
        assert_eq!(json(&value, &ascii), r#"{"a":{},"b":[1,"\u00e9\u007f\n\ud83c\udf89"],"c":[]}"#);
        let lines = Style { indent: Some(2), ..Style::default() };
        assert_eq!(
            json(&value, &lines),
            "{\n  \"b\": [\n    1,\n    \"é\u{7f}\\n🎉\"\n  ],\n  \"a\": {},\n  \"c\": []\n}"
        );
    }

    #[test]
    fn times_are_written_as_asked() {
        // Noon of the 29th of February.
        let noon = 951_825_600;
        assert_eq!(
            time("%A, %-d %B %Y; %a %b %y %I:%M %p %H:%M:%S %F %T %% %Q", noon),
            "Tuesday, 29 February 2000; Tue Feb 00 12:00 PM 12:00:00 2000-02-29 12:00:00 % %Q"
        );
        assert_eq!(time("%d %b %Y", 0), "01 Jan 1970");
        assert_eq!(time("%d %b %Y %H", 1_785_542_399), "31 Jul 2026 23");
        assert_eq!(time("%d %b %Y", 1_767_225_600), "01 Jan 2026");
    }
}
