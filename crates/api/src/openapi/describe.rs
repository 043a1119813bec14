//! How a route describes itself: a one-sentence summary, its parameters, its body and its responses. The
//! OpenAPI document is generated from these alone, and the process does not start with a route that lacks
//! one.

use std::collections::BTreeMap;

use domain::Fault;
use domain::limits::{BODY_BYTES_MAX, CONTROL_BODY_BYTES_MAX, PAGE_ROWS_MAX};
use http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::failure::{invalid, unknown_parameter};
use crate::openapi::description::{Body, Nothing, Shape, SuccessResponse};
use crate::reply::Page;
use crate::router::Route;

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

pub const DRY_RUN: &str = "dry_run";

const PAGING: [(&str, &str); 2] = [
    ("limit", "The most rows to return: 1 to 1000, by default 50."),
    ("cursor", "`next_cursor` of the previous page, unchanged."),
];

impl Route {
    /// What the route does, in one sentence.
    pub fn says(mut self, summary: &'static str) -> Self {
        self.description.summary = summary;
        self
    }

    /// The body's type.
    pub fn takes<T: JsonSchema>(mut self) -> Self {
        self.description.body = Body::Whole(shape::<T>);
        self
    }

    /// The type that the body is a merge patch of.
    pub fn patches<T: JsonSchema>(mut self) -> Self {
        self.description.body = Body::Patch(shape::<T>);
        self
    }

    /// The body is content that is passed on; it may be as long as the body of a model request.
    pub fn takes_content(mut self) -> Self {
        self.description.takes_content = true;
        self
    }

    /// The size limit of the body.
    pub const fn body_bytes_max(&self) -> usize {
        if self.description.takes_content { BODY_BYTES_MAX } else { CONTROL_BODY_BYTES_MAX }
    }

    /// A body is neither required nor read.
    pub fn takes_nothing(self) -> Self {
        self.takes::<Nothing>()
    }

    /// 200 with one object that has an ETag.
    pub fn returns<T: JsonSchema>(self) -> Self {
        self.push_response(StatusCode::OK, Some(shape::<T>), true)
    }

    /// 200 with something that isn't a stored object and has no ETag.
    pub fn returns_value<T: JsonSchema>(self) -> Self {
        self.push_response(StatusCode::OK, Some(shape::<T>), false)
    }

    /// 201 with the object that was created.
    pub fn makes<T: JsonSchema>(self) -> Self {
        self.push_response(StatusCode::CREATED, Some(shape::<T>), true)
    }

    /// 201 with something that is shown once and can't be read again.
    pub fn makes_once<T: JsonSchema>(self) -> Self {
        self.push_response(StatusCode::CREATED, Some(shape::<T>), false)
    }

    /// 200 with a page of objects.
    pub fn lists<T: JsonSchema>(mut self) -> Self {
        self.description.query.extend(PAGING);
        self.push_response(StatusCode::OK, Some(shape::<Page<T>>), false)
    }

    /// 200 with bytes of an archive.
    pub fn returns_archive(mut self) -> Self {
        self.description.gives_archive = true;
        self.push_response(StatusCode::OK, None, false)
    }

    /// 200 with server-sent events.
    pub fn returns_events(mut self) -> Self {
        self.description.gives_events = true;
        self.push_response(StatusCode::OK, None, false)
    }

    /// 101: the connection becomes a tunnel.
    pub fn becomes_tunnel(self) -> Self {
        self.push_response(StatusCode::SWITCHING_PROTOCOLS, None, false)
    }

    /// 204.
    pub fn returns_no_content(self) -> Self {
        self.push_response(StatusCode::NO_CONTENT, None, false)
    }

    fn push_response(mut self, status: StatusCode, shape: Option<Shape>, is_object: bool) -> Self {
        self.description.responses.push(SuccessResponse { status, shape, is_object });
        self
    }

    /// The object's lines as CSV, if the path asks for it.
    pub fn or_csv(mut self) -> Self {
        self.description.has_csv = true;
        self
    }

    /// A query parameter.
    pub fn query(mut self, name: &'static str, description: &'static str) -> Self {
        self.description.query.push((name, description));
        self
    }

    /// The allowed values of a query parameter.
    pub fn one_of(mut self, name: &'static str, words: &'static [&'static str]) -> Self {
        self.description.allowed_values.push((name, words));
        self
    }

    /// A refusal specific to this route.
    pub fn refuses(mut self, status: u16, code: &'static str) -> Self {
        self.description.refusals.push((status, code));
        self
    }

    /// Its writes can't be rehearsed.
    pub fn no_rehearsal(mut self, why: &'static str) -> Self {
        self.description.no_rehearsal = Some(why);
        self
    }

    /// Whether its list can be exported as a file.
    pub fn lists_files(&self) -> bool {
        self.description.query.iter().any(|(name, _)| *name == "format")
    }

    /// Whether anything of it can be exported as a file.
    pub fn gives_files(&self) -> bool {
        self.description.has_csv || self.lists_files()
    }

    /// Whether it takes the parameter `dry_run`.
    pub fn can_be_rehearsed(&self) -> bool {
        self.method != Method::GET && self.description.no_rehearsal.is_none()
    }

    /// Whether the request asks for a rehearsal.
    ///
    /// # Errors
    /// 400 for a value other than yes or no, or on a route that can't be rehearsed.
    pub fn is_rehearsal(&self, query: &mut BTreeMap<String, String>) -> Result<bool, Box<Fault>> {
        let Some(value) = query.remove(DRY_RUN) else { return Ok(false) };
        match (self.description.no_rehearsal, value.as_str()) {
            (Some(why), _) => Err(invalid(DRY_RUN, why, "Leave dry_run out.")),
            (None, _) if self.method == Method::GET => Err(unknown_parameter(DRY_RUN, &[])),
            (None, "true") => Ok(true),
            (None, "false") => Ok(false),
            (None, other) => Err(invalid(DRY_RUN, format!("dry_run is \"{other}\"."), "Use true or false.")),
        }
    }

    /// Refuses parameters that the route doesn't name and words that it doesn't list, so that a misspelt filter isn't silently
    /// ignored.
    pub fn check_query(&self, query: &BTreeMap<String, String>) -> Result<(), Box<Fault>> {
        let known: Vec<_> = self.description.query.iter().map(|(name, _)| *name).collect();
        match query.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(unknown) => Err(unknown_parameter(unknown, &known)),
        }?;
        if let Some(text) = query
            .get("limit")
            .filter(|text| !text.parse().is_ok_and(|rows| (1..=PAGE_ROWS_MAX).contains(&rows)))
        {
            return Err(invalid(
                "limit",
                format!("limit is \"{text}\"."),
                format!("Give a number from 1 to {PAGE_ROWS_MAX}."),
            ));
        }
        for (name, words) in &self.description.allowed_values {
            if let Some(word) = query.get(*name).filter(|word| !words.contains(&word.as_str())) {
                let excerpt: String = word.chars().take(64).collect();
                let message = format!("{name} can't be \"{excerpt}\".");
                return Err(invalid(*name, message, format!("Use one of: {}.", words.join(", "))));
            }
        }
        Ok(())
    }
}

/// Refuses a route with an incomplete description.
///
/// # Errors
/// Names the route and what it lacks; the process does not start.
pub fn check(table: &[Route]) -> Result<(), String> {
    table.iter().try_for_each(|route| {
        let lacks = match (&route.method, &route.description) {
            (_, spec) if !spec.summary.ends_with('.') => "a sentence: .says(\"Makes a key.\")",
            (_, spec) if spec.responses.is_empty() => {
                "an answer: .returns::<T>(), .makes::<T>(), .lists::<T>(), .returns_value::<T>() or .returns_no_content()"
            }
            (&(Method::POST | Method::PUT | Method::PATCH), spec) if matches!(spec.body, Body::Absent) => {
                "a body: .takes::<T>(), .patches::<T>() or .takes_nothing()"
            }
            _ => return Ok(()),
        };
        Err(format!("the route {} {} doesn't describe itself; it lacks {lacks}", route.method, route.pattern))
    })
}
