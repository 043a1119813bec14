//! What a request wants of the loop: which of the project's tools, and how far it may go.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use domain::{Fault, FaultClass};
use http::header::{HeaderMap, HeaderName};

use crate::limits::{NANO_USD_MAX, STEPS, STEPS_MAX, TIME, TIME_MAX};

/// Names tools and MCP servers, or all of them.
pub static TOOLS: HeaderName = HeaderName::from_static("agent-tools");
const STEPS_HEADER: HeaderName = HeaderName::from_static("agent-tool-steps");
const SECONDS_HEADER: HeaderName = HeaderName::from_static("agent-tool-seconds");
const NANO_USD_HEADER: HeaderName = HeaderName::from_static("agent-tool-nano-usd");
/// Names the calls that its sender approves.
const APPROVE: HeaderName = HeaderName::from_static("agent-tool-approve");

/// What some names stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    All,
    These(Vec<String>),
    /// The one tool of this name, or the server that has it; where there are such, among others that are named.
    Behind {
        name: String,
        among: Option<Box<Named>>,
    },
}

impl Named {
    fn read(text: &str) -> Self {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names: Vec<String> = names.map(str::to_owned).collect();
        if names == ["all"] { Self::All } else { Self::These(names) }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|other| other == name),
            Self::Behind { name: tool, among } => {
                let is_behind =
                    tool == name || tool.strip_prefix(name).is_some_and(|below| below.starts_with("__"));
                is_behind && among.as_ref().is_none_or(|among| among.has(name))
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// `None` where the request names no tools of its project.
    pub tools: Option<Named>,
    pub steps: u32,
    pub time: Duration,
    /// What the steps may cost together.
    pub nano_usd: Option<u64>,
    /// Calls that the client approves, by their ids.
    pub approved: Option<Named>,
}

impl Wish {
    /// Takes its headers out of a request: nothing behind the loop knows them.
    pub(crate) fn take(headers: &mut HeaderMap) -> Result<Self, Box<Fault>> {
        let tools = text(headers, &TOOLS)?.map(|text| Named::read(&text));
        if tools.as_ref().is_some_and(|tools| *tools == Named::These(Vec::new())) {
            let message = "The header Agent-Tools doesn't name a tool.";
            return Err(invalid(
                "Agent-Tools",
                message,
                "Name tools and MCP servers of the project, or \"all\".",
            ));
        }
        let steps = number(headers, &STEPS_HEADER, "Agent-Tool-Steps", STEPS_MAX)?.unwrap_or(STEPS);
        let seconds = number(headers, &SECONDS_HEADER, "Agent-Tool-Seconds", TIME_MAX.as_secs())?;
        let nano_usd = number(headers, &NANO_USD_HEADER, "Agent-Tool-Nano-Usd", NANO_USD_MAX)?;
        let approved = text(headers, &APPROVE)?.map(|text| Named::read(&text));
        Ok(Self { tools, steps, time: seconds.map_or(TIME, Duration::from_secs), nano_usd, approved })
    }
}

/// The tools that a request's headers name, and those that its user has approved. What is no text names nothing.
pub(crate) fn named_in(headers: &HeaderMap) -> (Option<Named>, Option<Named>) {
    let read =
        |name: &HeaderName| headers.get(name).map(|value| Named::read(value.to_str().unwrap_or_default()));
    (read(&TOOLS), read(&APPROVE))
}

fn text(headers: &mut HeaderMap, name: &HeaderName) -> Result<Option<String>, Box<Fault>> {
    let Some(value) = headers.remove(name) else { return Ok(None) };
    match value.to_str() {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => {
            Err(invalid(name.as_str(), "The header is not plain text.", "Send visible ASCII characters."))
        }
    }
}

fn number<Number: Copy + FromStr + PartialOrd + From<u8> + Display>(
    headers: &mut HeaderMap,
    header: &HeaderName,
    name: &'static str,
    max: Number,
) -> Result<Option<Number>, Box<Fault>> {
    let Some(text) = text(headers, header)? else { return Ok(None) };
    let number = text.parse::<Number>().ok().filter(|number| (Number::from(1)..=max).contains(number));
    if number.is_none() {
        let message = format!("{name} isn't a number from 1 to {max}.");
        return Err(invalid(name, message, "Send one, or leave it out."));
    }
    Ok(number)
}

fn invalid(param: impl Into<String>, message: impl Into<String>, fix: &'static str) -> Box<Fault> {
    let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message.into());
    Box::new(fault.param(param.into()).fix(fix))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_wish_is_read_and_its_headers_are_gone() {
        let mut sent = headers(&[("agent-tools", " a, b ,"), ("agent-tool-steps", "3"), ("x", "y")]);
        let wish = Wish::take(&mut sent).unwrap();
        assert_eq!(wish.tools, Some(Named::These(vec!["a".to_owned(), "b".to_owned()])));
        assert_eq!((wish.steps, wish.time, wish.nano_usd, wish.approved), (3, TIME, None, None));
        assert_eq!(sent.len(), 1);
        let mut sent =
            headers(&[("agent-tools", "all"), ("agent-tool-seconds", "9"), ("agent-tool-nano-usd", "70000")]);
        let all = Wish::take(&mut sent).unwrap();
        assert_eq!(
            (all.tools, all.time, all.nano_usd),
            (Some(Named::All), Duration::from_secs(9), Some(70_000))
        );
        assert!(sent.is_empty());
    }

    #[test]
    fn a_tool_is_behind_its_own_name_or_its_servers() {
        let behind = |among: Option<&str>| Named::Behind {
            name: "docs__find".to_owned(),
            among: among.map(|among| Box::new(Named::read(among))),
        };
        assert!(behind(None).has("docs") && behind(None).has("docs__find") && !behind(None).has("doc"));
        assert!(behind(Some("docs")).has("docs") && !behind(Some("weather")).has("docs"));
        let named = named_in(&headers(&[("agent-tool-approve", "docs__find")]));
        assert_eq!(named, (None, Some(Named::These(vec!["docs__find".to_owned()]))));
    }

    #[test]
    fn what_is_no_wish_names_its_header() {
        for (pair, param) in [
            (("agent-tools", ","), "Agent-Tools"),
            (("agent-tool-steps", "0"), "Agent-Tool-Steps"),
            (("agent-tool-steps", "65"), "Agent-Tool-Steps"),
            (("agent-tool-seconds", "x"), "Agent-Tool-Seconds"),
            (("agent-tool-nano-usd", "-1"), "Agent-Tool-Nano-Usd"),
            (("agent-tool-nano-usd", "abc"), "Agent-Tool-Nano-Usd"),
            (("agent-tool-nano-usd", "0"), "Agent-Tool-Nano-Usd"),
            (("agent-tool-nano-usd", "1.5"), "Agent-Tool-Nano-Usd"),
            (("agent-tool-nano-usd", "1000000000000000000000000000000"), "Agent-Tool-Nano-Usd"),
        ] {
            let fault = Wish::take(&mut headers(&[pair])).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), ("invalid_value", Some(param)));
        }
    }
}
