//! Where apps are.

use domain::{Fault, FaultClass};

use crate::escape::{UNRESERVED, escape};

pub(super) const HOST: &str = "://fal.run";

/// An app's path: its owner, its name and anything below. Escaped, so that no name can change the path.
pub(super) fn app_path(named: &str) -> Result<String, Box<Fault>> {
    let parts: Vec<&str> = named.split('/').collect();
    let is_bare = |part: &&str| part.is_empty() || part.bytes().all(|byte| byte == b'.');
    if parts.len() < 2 || parts.iter().any(is_bare) {
        let message = format!("\"{named}\" isn't an app of this provider.");
        let fault = Fault::new(FaultClass::UpstreamNotFound, "model_not_found", message);
        let fix = "Name the app by its owner and its own name, such as fal-ai/flux-1/schnell.";
        return Err(Box::new(fault.fix(fix).param("model")));
    }
    let mut path = String::with_capacity(named.len());
    for (at, part) in parts.into_iter().enumerate() {
        if at > 0 {
            path.push('/');
        }
        escape(part.as_bytes(), UNRESERVED, &mut path);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_a_place_and_leads_nowhere_else() {
        assert_eq!(app_path("fal-ai/flux-1/schnell").unwrap(), "fal-ai/flux-1/schnell");
        assert_eq!(app_path("me/app?x=1").unwrap(), "me/app%3Fx%3D1");
        for wrong in ["", "app", "/app", "me/", "me/../app", "me//app", "me/.", "me/app/.."] {
            assert_eq!(app_path(wrong).expect_err(wrong).code, "model_not_found");
        }
    }
}
