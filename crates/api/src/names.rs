//! Names that people give to objects, checked in the same way everywhere.

use domain::Fault;
use http::Uri;
use snapshot::ANY_ORIGIN;

use crate::failure::{invalid, missing};
use crate::limits::{ENVIRONMENT_BYTES_MAX, NAME_CHARS_MAX, ORIGIN_BYTES_MAX, ORIGINS_MAX};

/// A display name, neither empty nor too long.
/// # Errors
/// It is missing, empty, too long or not printable.
pub fn checked_name(name: Option<String>, field: &'static str) -> Result<String, Box<Fault>> {
    let name = name.ok_or_else(|| missing(field, "Give it a name that people recognise it by."))?;
    let trimmed = name.trim();
    if trimmed.is_empty() || trimmed.chars().count() > NAME_CHARS_MAX || trimmed.chars().any(char::is_control)
    {
        let wrong = if trimmed.is_empty() { "empty" } else { "too long, or has a control character" };
        return Err(invalid(
            field,
            format!("{field} is {wrong}."),
            format!("Use 1 to {NAME_CHARS_MAX} printable characters."),
        ));
    }
    // Paths have names in place of ids, and clients resolve these two before they send the path.
    if trimmed == "." || trimmed == ".." {
        return Err(invalid(
            field,
            format!("{field} can't be \"{trimmed}\": nothing of that name can be addressed in a path."),
            "Choose a name with a letter or a digit.",
        ));
    }
    if naming::has_the_form_of_an_id(trimmed) {
        return Err(invalid(
            field,
            format!("{field} \"{trimmed}\" looks like an id, and ids win over names."),
            "Choose a name without that form.",
        ));
    }
    Ok(trimmed.to_owned())
}

/// An environment's name: one of the three built-in ones, or a custom word.
/// # Errors
/// It is empty, too long, or has other letters than those of a word.
pub fn checked_environment(environment: &str, field: &'static str) -> Result<String, Box<Fault>> {
    let fine = !environment.is_empty()
        && environment.len() <= ENVIRONMENT_BYTES_MAX
        && environment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
    if fine {
        return Ok(environment.to_owned());
    }
    Err(invalid(
        field,
        format!("\"{environment}\" isn't an environment."),
        "Use development, staging, production, or a word of your own in lower case.",
    ))
}

/// Whether this is an origin as browsers send it: a scheme and a host, without a path, a capital letter or the port that its scheme has anyway.
pub fn is_origin(word: &str) -> bool {
    let Some((scheme, host)) = word.split_once("://") else { return false };
    let has_own_port =
        scheme == "http" && host.ends_with(":80") || scheme == "https" && host.ends_with(":443");
    let is_written_so = !scheme.is_empty()
        && !has_own_port
        && word.len() <= ORIGIN_BYTES_MAX
        && word
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && !b",@".contains(&byte));
    let uri = format!("http://{host}").parse::<Uri>();
    is_written_so && uri.is_ok_and(|uri| uri.authority().is_some_and(|authority| authority.as_str() == host))
}

/// Origins of pages, with commas between them.
/// # Errors
/// There are too many, or one is not what browsers send.
pub fn checked_origins(origins: &[String]) -> Result<String, Box<Fault>> {
    if origins.len() > ORIGINS_MAX {
        let message = format!("{} origins are listed.", origins.len());
        return Err(invalid("origins", message, format!("List at most {ORIGINS_MAX}, or * for all.")));
    }
    match origins.iter().find(|origin| origin.as_str() != ANY_ORIGIN && !is_origin(origin)) {
        None => Ok(origins.join(",")),
        Some(wrong) => Err(invalid(
            "origins",
            format!("\"{wrong}\" isn't an origin."),
            "Write it as browsers send it, such as https://app.example, or * for all.",
        )),
    }
}
