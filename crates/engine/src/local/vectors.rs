//! Embeddings and reranking, for models that are made for it.

use domain::inference_task::{EmbedRequest, RankRequest};
use domain::runtime::RawPrompt;
use domain::{Fault, FaultClass};
use weights::Vectors;

use super::passages::{EncodeBatch, EncodeInput, Filled, Readers, Then};
use super::preparing::Prepared;
use super::served::Local;
use super::uses::Uses;

/// The default instruction in that template.
const INSTRUCTION: &str = "Given a web search query, retrieve relevant passages that answer the query";

impl Local {
    /// # Errors
    /// The model is made for something else.
    pub(super) fn must_answer(&self) -> Result<(), Fault> {
        if self.uses.makes().answers { Ok(()) } else { Err(self.is_not_for("doesn't generate text")) }
    }

    /// The fault for an unsupported operation.
    fn is_not_for(&self, what: &str) -> Fault {
        let words = self.uses.makes().operation_names().join(" and ");
        let message = format!("The model \"{}\" {what}: according to its files, it is for {words}.", self.id);
        let fault = Fault::new(FaultClass::Unsupported, "unsupported_operation", message);
        fault
            .param("model")
            .fix("GET /v1/models says what each model is for; start a node with a suitable model.")
    }

    pub(super) fn vectors_of(
        &self,
        request: EmbedRequest,
    ) -> Result<Prepared<EncodeBatch<Vec<Vec<f32>>>>, Fault> {
        let EmbedRequest { model, mut texts, dimensions, prompt_name, adapter, scheduling_group: share } =
            request;
        let adapter = self.named(&model, adapter.as_deref())?;
        let Uses::Vectors(vectors) = &self.uses else {
            return Err(self.is_not_for("doesn't make embeddings"));
        };
        let dimensions = self.dimensions(dimensions)?;
        if let Some(prompt) = prompt(vectors, prompt_name.as_deref())? {
            for text in &mut texts {
                match text {
                    RawPrompt::Text(text) => text.insert_str(0, prompt),
                    RawPrompt::Tokens(_) => return Err(no_prompt_before_tokens()),
                }
            }
        }
        let readers = self.readers(adapter, share.as_deref(), "input");
        let then: Then<_> =
            Box::new(move |states| states.into_iter().map(|state| unit(state, dimensions)).collect());
        let texts = texts.into_iter().map(EncodeInput::from);
        let make = move |is_wanted: &dyn Fn() -> bool| EncodeBatch::new(readers, texts, then, is_wanted);
        Ok(Prepared::Coming(self.preparing.make(make)))
    }

    /// The number of dimensions to return.
    fn dimensions(&self, requested: Option<u64>) -> Result<usize, Fault> {
        let width = self.width;
        let Some(requested) = requested else { return Ok(width) };
        usize::try_from(requested).ok().filter(|count| (1..=width).contains(count)).ok_or_else(|| {
            let message = format!("\"dimensions\" is {requested}, but this model's vectors have {width}.");
            let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message);
            fault.param("dimensions").fix(format!("Send a whole number from 1 to {width}, or leave it out."))
        })
    }

    pub(super) fn ranks_of(&self, request: RankRequest) -> Result<Prepared<EncodeBatch<Vec<f64>>>, Fault> {
        let RankRequest { model, query, documents, instruction, adapter, scheduling_group: share } = request;
        let adapter = self.named(&model, adapter.as_deref())?;
        let Uses::Ranks(ranking) = &self.uses else {
            return Err(self.is_not_for("doesn't rerank documents"));
        };
        if instruction.is_some() && !ranking.template.contains("{instruction}") {
            let message = "This model's own template defines relevance, so an instruction has no effect.";
            let fault = Fault::new(FaultClass::Unsupported, "unsupported_parameter", message);
            return Err(fault.param("instruction").fix("Leave \"instruction\" out."));
        }
        let template = ranking.template.clone();
        // Created lazily: each contains the query, and all at once could take many times the request's size.
        let texts = documents.into_iter().map(move |document| {
            let instruction = instruction.as_deref().unwrap_or(INSTRUCTION);
            EncodeInput::Filled(fill(&template, (instruction, &query, &document)))
        });
        let readers = self.readers(adapter, share.as_deref(), "documents");
        let scale = ranking.scale.clone();
        let then: Then<_> = Box::new(move |states| states.iter().map(|state| scale.weigh(state)).collect());
        let make = move |is_wanted: &dyn Fn() -> bool| EncodeBatch::new(readers, texts, then, is_wanted);
        Ok(Prepared::Coming(self.preparing.make(make)))
    }

    fn readers(
        &self,
        adapter: Option<crate::AdapterId>,
        share: Option<&str>,
        param: &'static str,
    ) -> Readers {
        Readers {
            asking: self.host.asking(),
            vocabulary: std::sync::Arc::clone(&self.vocabulary),
            group: crate::Group(self.whose(share)),
            adapter,
            longest: self.longest(),
            known: self.known,
            param,
        }
    }
}

/// The prompt to put before each text.
fn prompt<'a>(vectors: &'a Vectors, requested: Option<&str>) -> Result<Option<&'a str>, Fault> {
    let Some(name) = requested.or(vectors.usual.as_deref()) else { return Ok(None) };
    match vectors.prompts.get(name) {
        Some(prompt) => Ok(Some(prompt.as_str()).filter(|prompt| !prompt.is_empty())),
        // The model's default prompt is one that its files don't define.
        None if requested.is_none() => Ok(None),
        None => {
            let known = vectors.prompts.keys().map(|name| format!("\"{name}\"")).collect::<Vec<_>>();
            let message = format!("This model's files have no prompt named \"{}\".", shorten(name));
            let fix = if known.is_empty() {
                "Leave \"prompt_name\" out: this model has no named prompts.".to_owned()
            } else {
                format!("Send {}, or leave it out.", known.join(" or "))
            };
            let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message);
            Err(fault.param("prompt_name").fix(fix))
        }
    }
}

fn shorten(name: &str) -> String {
    name.chars().take(128).collect()
}

fn no_prompt_before_tokens() -> Fault {
    let message = "A named prompt can't be combined with tokens as input.";
    let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message);
    fault.param("input").fix("Send texts, or leave \"prompt_name\" out.")
}

/// The first `dimensions` numbers of a hidden state, normalised to unit length.
fn unit(mut state: Vec<f32>, dimensions: usize) -> Vec<f32> {
    state.truncate(dimensions);
    let square: f64 = state.iter().map(|number| f64::from(*number) * f64::from(*number)).sum();
    if square > 0.0 {
        let scale = 1.0 / square.sqrt();
        for number in &mut state {
            *number = single(f64::from(*number) * scale);
        }
    }
    state
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "vectors are worked out in double precision and told in single"
)]
fn single(number: f64) -> f32 {
    number as f32
}

/// Fills a template. Placeholders within the inserted texts are not replaced.
fn fill(template: &str, (instruction, query, document): (&str, &str, &str)) -> Filled {
    let texts = [("{instruction}", instruction), ("{query}", query), ("{document}", document)];
    let mut filled = Filled::default();
    let mut rest = template;
    loop {
        let found = texts.iter().filter_map(|(name, text)| Some((rest.find(name)?, *name, *text)));
        let Some((at, name, text)) = found.min_by_key(|(at, _, _)| *at) else { break };
        let (before, behind) = rest.split_at(at);
        filled.text.push_str(before);
        filled.theirs.push(filled.text.len()..filled.text.len() + text.len());
        filled.text.push_str(text);
        rest = behind.strip_prefix(name).unwrap_or_default();
    }
    filled.text.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::uses::TEMPLATE;

    #[test]
    fn a_template_is_filled_once() {
        let text = fill("a {query} b {document} c {query}", ("i", "{document}", "{query}"));
        assert_eq!(text.text, "a {document} b {query} c {document}");
        let theirs: Vec<_> = text.theirs.iter().map(|theirs| &text.text[theirs.clone()]).collect();
        assert_eq!(theirs, ["{document}", "{query}", "{document}"]);
        let own = fill(TEMPLATE, (INSTRUCTION, "high tide?", "At noon.")).text;
        assert!(own.contains("<Query>: high tide?\n<Document>: At noon.<|im_end|>\n<|im_start|>assistant\n"));
        assert!(own.ends_with("<think>\n\n</think>\n\n") && own.contains(INSTRUCTION), "{own}");
    }

    #[test]
    fn vectors_have_length_one_however_short_they_are() {
        assert_eq!(unit(vec![3.0, 4.0, 12.0], 2), [0.6, 0.8]);
        assert_eq!(unit(vec![0.0, 0.0], 2), [0.0, 0.0]);
        let length: f32 = unit(vec![1.0, 2.0, 3.0], 3).iter().map(|number| number * number).sum();
        assert!((length - 1.0).abs() < 1e-6);
    }
}
