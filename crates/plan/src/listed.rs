//! The profiles that a route allows, and whether any of what it allows has the model.

use domain::{Profile, RouteSpec, Strategy};

use crate::attempt::Seat;
use crate::question::PlanInput;
use crate::reason::Rejection;

/// The order of profiles where no route names another one.
const OWN_ORDER: [Profile; 3] = [Profile::Byok, Profile::Byoc, Profile::ManagedProvider];
/// A route that names credentials and no profile means those credentials.
const BYOK_ONLY: [Profile; 1] = [Profile::Byok];
/// The profiles of `local_first`, in order.
const LOCAL_FIRST: [Profile; 3] = [Profile::Byoc, Profile::Byok, Profile::ManagedProvider];

/// The profiles that a route allows, in its order.
pub fn listed_profiles(spec: &RouteSpec) -> &[Profile] {
    if spec.strategy == Strategy::LocalFirst {
        &LOCAL_FIRST
    } else if spec.strategy == Strategy::ByokStrict {
        &BYOK_ONLY
    } else if !spec.profiles.is_empty() {
        &spec.profiles
    } else if !spec.credential_ids.is_empty() {
        &BYOK_ONLY
    } else {
        &OWN_ORDER
    }
}

/// Whether of all that a route allows none has the model, as opposed to one that is off, busy, or ruled out otherwise.
pub fn lacks_model(
    input: &PlanInput<'_>,
    spec: &RouteSpec,
    is_unserved: bool,
    rejected: &[Rejection],
) -> bool {
    let listed = listed_profiles(spec);
    let names = |provider: &str| {
        spec.providers.is_empty()
            || spec.providers.iter().any(|name| input.canonical(name) == input.canonical(provider))
    };
    let allows = |seat: &Seat| match seat {
        Seat::Byok(own) => {
            let is_listed = spec.credential_ids.is_empty() || spec.credential_ids.contains(&own.id);
            is_listed && names(&own.provider) && listed.contains(&Profile::Byok)
        }
        Seat::Byoc(_) => listed.contains(&Profile::Byoc),
        Seat::Managed(account) => listed.contains(&Profile::ManagedProvider) && names(&account.provider),
    };
    is_unserved && rejected.iter().all(|one| one.refusal.is_absence() || !allows(&one.seat))
}
