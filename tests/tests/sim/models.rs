//! What the oracle knows of the models that one exchange went on with.

use domain::{FaultClass, MeterRecord, ModelFallback, ModelFallbackClass};
use plan::left_on;

pub struct Models {
    current: String,
    /// Those of the route that were not left behind.
    rest: Vec<ModelFallback>,
    /// Of the current model.
    failures: Vec<FaultClass>,
    changes: u32,
}

/// What another model is for, apart from the table of the code.
const fn class_of(class: FaultClass) -> Option<ModelFallbackClass> {
    match class {
        FaultClass::ContextLength => Some(ModelFallbackClass::ContextLength),
        FaultClass::ContentPolicy => Some(ModelFallbackClass::ContentPolicy),
        FaultClass::RateLimit
        | FaultClass::Overloaded
        | FaultClass::Upstream
        | FaultClass::StreamBroken
        | FaultClass::Timeout => Some(ModelFallbackClass::Transient),
        _ => None,
    }
}

impl Models {
    pub const fn new(rest: Vec<ModelFallback>) -> Self {
        Self { current: String::new(), rest, failures: Vec::new(), changes: 0 }
    }

    /// The model that the request's name means, and those that an ordered alias lists behind it.
    pub fn resolved(&mut self, model: String, later: &[&str]) {
        let on = ModelFallbackClass::ALL.to_vec();
        let later = later.iter().map(|model| ModelFallback { on: on.clone(), model: (*model).to_owned() });
        self.rest.splice(0..0, later);
        self.current = model;
    }

    /// The one that it is at.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// How many models were left.
    pub const fn changes(&self) -> u32 {
        self.changes
    }

    /// A seat of the current model failed, or could not be called.
    pub fn failed(&mut self, class: FaultClass) {
        self.failures.push(class);
    }

    /// Each call is for the model that the exchange is at.
    pub fn sent(&self, upstream_model: &str) {
        let name = self.current.rsplit('/').next();
        let is_it = self.current == upstream_model || name == Some(upstream_model);
        assert!(is_it, "{upstream_model} is asked in place of {}", self.current);
    }

    /// It goes on with another one: a later one of the route, and only for a failure that the route names for it.
    pub fn left(&mut self, on: ModelFallbackClass, to: &str) {
        let last = self.failures.last().copied().and_then(class_of);
        assert_eq!(last, Some(on), "{} is left for {to} after {:?}", self.current, self.failures);
        if on == ModelFallbackClass::Transient {
            let is_transient = |class: &FaultClass| class_of(*class) == Some(on);
            let failures = &self.failures;
            assert!(failures.iter().all(is_transient), "{} is left after {failures:?}", self.current);
        }
        let at = self.rest.iter().position(|one| one.model == to && one.on.contains(&on));
        let at = at.unwrap_or_else(|| panic!("{to} is not for {on:?}: {:?}", self.rest));
        self.rest.drain(..=at);
        self.current = to.to_owned();
        self.failures.clear();
        self.changes += 1;
    }

    /// The record is that of the last one, and shows each that was left.
    pub fn check(&self, record: &MeterRecord) {
        assert_eq!(*record.resolved_model, *self.current, "{}: its model", record.trace);
        let rows = record.plan.rejected.iter().filter(|row| left_on(&row.reason).is_some());
        assert_eq!(u32::try_from(rows.count()), Ok(self.changes), "{}: models that were left", record.trace);
    }
}
