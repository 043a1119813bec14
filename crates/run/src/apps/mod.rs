//! Apps: what a name means to a caller, what its input makes of a request, and what comes out.

mod forms;
mod list;
mod media;
mod output;
mod own;
mod pictures;
mod planned;
mod prepare;
mod video;

use admit::Caller;
use bytes::Bytes;
use decode::Inbound;
use domain::{Dialect, Fault, FaultClass, Operation};
use line::{Core, ModelFacts};
pub(crate) use runs::Kind;
use runs::schemas;
use serde_json::Value;

use crate::refusal::Refusal;
use crate::task::Message;

pub use list::{AppRequest, apps};
pub(crate) use output::{Answered, UsageKind, read};
pub(crate) use own::OwnApp;
pub use planned::plan_app;
pub(crate) use prepare::{Files, prepare};
pub(crate) use video::{NoVideo, finish as finish_video};

/// What a name means to a caller.
#[derive(Debug, Clone)]
pub(crate) struct App {
    /// As the client wrote it.
    pub name: String,
    /// What its model may do; several where nobody knows.
    pub kinds: &'static [Kind],
    /// `None` of a name that nothing serves now, which the line refuses by its reason.
    pub facts: Option<ModelFacts>,
    /// Why a name means nothing here, so that nobody knows what its input is.
    pub unknown: Option<Box<Fault>>,
}

/// What a model may do, by what is known of it.
const fn kinds_of(facts: &ModelFacts) -> &'static [Kind] {
    Kind::of_model(facts.modality, facts.usual, facts.operation)
}

impl App {
    /// Finds an app as the pipeline resolves the name of its model.
    pub(crate) fn find(core: &Core, caller: &Caller, name: &str) -> Self {
        match line::named_model(core, caller, name) {
            Ok(model) => {
                let (kinds, facts) = (kinds_of(&model.facts), Some(model.facts));
                Self { name: name.to_owned(), kinds, facts, unknown: None }
            }
            // The kind is still known of a model of the catalogue, and of one whose name tells it.
            Err(fault) => {
                let sold = line::sold_model(caller, name);
                let operation = sold.as_ref().and_then(|sold| sold.operation);
                let modality = sold.as_ref().map(|sold| sold.modality);
                let modality = modality.or_else(|| line::modality_of(core, caller, name));
                let kinds = modality.map_or(&[Kind::Text][..], |modality| Kind::of(modality, operation));
                let is_unknown = sold.is_none() && fault.class == FaultClass::NotFound;
                Self { name: name.to_owned(), kinds, facts: None, unknown: is_unknown.then_some(fault) }
            }
        }
    }

    /// What this input asks it for.
    ///
    /// # Errors
    /// Its model does nothing that an input asks for.
    pub(crate) fn kind_for(&self, input: &Value) -> Result<Kind, Box<Fault>> {
        Kind::of_input(self.kinds, input).ok_or_else(|| {
            let message = "This model works only in realtime sessions, which a single input can't start.";
            let fault = Fault::new(FaultClass::Unsupported, "model_modality", message);
            Box::new(fault.fix("Open a session at /v1/realtime, or name another model.").param("app"))
        })
    }

    /// What it takes; of a model of which nobody knows what it does, any of these.
    pub(crate) fn input_schema(&self) -> Value {
        self.schema(|kind| {
            let mut schema = schemas::input(kind);
            if let (Kind::Text, Some(facts)) = (kind, &self.facts) {
                list::refine(&mut schema, facts);
            }
            schema
        })
    }

    pub(crate) fn output_schema(&self) -> Value {
        self.schema(schemas::output)
    }

    fn schema(&self, of: impl Fn(Kind) -> Value) -> Value {
        match self.kinds {
            [one] => of(*one),
            several => serde_json::json!({"anyOf": several.iter().map(|kind| of(*kind)).collect::<Vec<_>>()}),
        }
    }
}

/// A request for the pipeline.
#[derive(Debug)]
pub(crate) struct AppCall {
    pub kind: Kind,
    pub operation: Operation,
    pub payload: Payload,
    /// What the client is told beside the output.
    pub messages: Vec<Message>,
}

#[derive(Debug)]
pub(crate) enum Payload {
    Json(Bytes),
    Form { boundary: String, body: Bytes },
}

impl AppCall {
    /// The same as it enters the pipeline, in place of the run.
    ///
    /// # Errors
    /// The form would be refused.
    pub(crate) async fn into_inbound(self, inbound: Inbound) -> Result<Inbound, Refusal> {
        let Self { operation, payload, .. } = self;
        let dialect = Dialect::Run;
        Ok(match payload {
            Payload::Json(body) => Inbound { dialect, operation, body, form: None, ..inbound },
            Payload::Form { boundary, body } => {
                let form = forms::open(operation, &boundary, body).await?;
                Inbound { dialect, operation, body: Bytes::new(), form: Some(Box::new(form)), ..inbound }
            }
        })
    }
}
