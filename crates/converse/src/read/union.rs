//! Reads a union: an object of which one member is present.

use conversation::object::{Field, Object};
use domain::Fault;

/// Returns the first known member that is present, with its name.
pub(super) fn take_one_of<'a>(
    object: &mut Object<'a>,
    known: &[&'static str],
) -> Result<Option<(&'static str, Field<'a>)>, Box<Fault>> {
    for name in known {
        if let Some(field) = object.take(name)? {
            return Ok(Some((name, field)));
        }
    }
    Ok(None)
}
