//! The dated version of `/v2`. Within one date, fields, routes and values are only added; a breaking change
//! gets a new date, and the old version stays available.

use domain::{Fault, FaultClass};
use http::HeaderMap;

/// The version of every response.
pub const VERSION: &str = "2026-11-20";
pub const HEADER: &str = "tidegate-version";

/// Whether the requested version is served.
pub fn check(headers: &HeaderMap) -> Result<(), Box<Fault>> {
    let Some(other) = headers.get_all(HEADER).iter().find(|version| *version != VERSION) else {
        return Ok(());
    };
    let truncated: String = String::from_utf8_lossy(other.as_bytes()).chars().take(40).collect();
    let message = format!("\"{truncated}\" isn't a version of this API.");
    let fault = Fault::new(FaultClass::BadRequest, "unknown_version", message).param("Tidegate-Version");
    Err(Box::new(fault.fix(format!("Send Tidegate-Version: {VERSION}, or leave it out."))))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_version_is_the_one_that_is_served_or_refused() {
        let check_values = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, HeaderValue::from_static(value));
            }
            check(&headers).map_err(|fault| fault.code)
        };
        for fine in [&[][..], &[VERSION], &[VERSION, VERSION]] {
            assert_eq!(check_values(fine), Ok(()), "{fine:?}");
        }
        for other in [&["2026-11-19"][..], &["2099-01-01"], &["latest"], &[""], &[VERSION, "2026-01-01"]] {
            assert_eq!(check_values(other), Err("unknown_version"), "{other:?}");
        }
    }
}
