//! The query string, taken by name; unknown parameters are refused by name.

use domain::{Fault, FaultClass};

use super::fields::wrong;

#[derive(Debug)]
pub(crate) struct Query<'q>(Vec<(&'q str, &'q str)>);

impl<'q> Query<'q> {
    pub(crate) fn of(query: Option<&'q str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect())
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<&'q str> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(at).1)
    }

    pub(crate) fn number(&mut self, name: &'static str) -> Result<Option<u64>, Box<Fault>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| wrong(name, "isn't a whole number", "Send one, or leave it out."))
    }

    /// The page size.
    pub(crate) fn limit(&mut self, usual: usize, most: usize) -> Result<usize, Box<Fault>> {
        let limit = self.number("limit")?.map_or(usual, |limit| usize::try_from(limit).unwrap_or(most));
        Ok(limit.clamp(1, most))
    }

    pub(crate) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Box<Fault>> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(wrong(name, "is neither true nor false", "Send one of them, or leave it out.")),
        }
    }

    /// Refuses parameters that were not taken.
    pub(crate) fn end(self) -> Result<(), Box<Fault>> {
        let Some((name, _)) = self.0.first() else { return Ok(()) };
        let name: String = name.chars().take(128).collect();
        let message = format!("\"{name}\" is not known behind this path.");
        let fault = Fault::new(FaultClass::BadRequest, "unsupported_parameter", message);
        Err(Box::new(fault.param(name).fix("Leave it out.")))
    }
}
