//! How requests are said in the words of models that are no conversation's.

use domain::{Fault, Grammar};

use super::hosted::wants_bytes;
use crate::embed::unsayable;
use crate::losses::Losses;
use crate::responses::Members;

const URL_FIX: &str = "Send \"b64_json\", or leave it out.";

/// What there are no words for.
pub(super) struct Unsaid {
    pub losses: Losses,
    pub is_lenient: bool,
}

impl Unsaid {
    pub(super) fn new(client: Grammar, is_lenient: bool) -> Self {
        Self { losses: Losses::new(client, Grammar::Hosted), is_lenient }
    }

    /// Of a field that there are words for, a value that there are none for.
    pub(super) fn value(&mut self, name: &str, what: &str, fix: &'static str) -> Result<(), Box<Fault>> {
        if !self.is_lenient {
            return Err(unsayable(name.to_owned(), what, fix));
        }
        self.losses.lose_extra(name, true);
        Ok(())
    }

    /// Of a model that is asked whole, and whose pictures are nothing but their bytes: its client is told that as a
    /// stream, if it likes.
    pub(super) fn bytes_alone(&mut self, members: &mut Members<'_>) -> Result<(), Box<Fault>> {
        members.boolean("stream")?;
        let place = members.text("response_format")?;
        wants_bytes(place.as_deref())?;
        match place.as_deref() {
            Some("url") => {
                let what = "asks for an address, and pictures of this model have none";
                self.value("response_format", what, URL_FIX)
            }
            _ => Ok(()),
        }
    }
}

/// An object of members whose values are written already.
pub(super) fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}
