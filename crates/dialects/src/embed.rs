//! Embeddings requests and responses, translated between dialects.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use conversation::embed::{EmbeddingInputs, Embeddings, VectorOptions, Vectors};
use conversation::losses::DroppedFields;
use conversation::request::Request;
use conversation::target::TranslatedRequest;
use domain::{Fault, Grammar};

use crate::answer_path::AnswerPath;
use crate::buffered::BufferedAnswer;
use crate::registry::{face, feature_names};
use crate::vendor::VendorAnswer;

/// Translates a client's embeddings request for an upstream.
///
/// # Errors
/// The request is invalid, or uses a feature that the other dialect can't express and that may not be
/// dropped.
pub fn translate_embeddings(
    client: Grammar,
    body: &[u8],
    request: &Request,
    upstream: Grammar,
    model: &str,
    is_lenient: bool,
) -> Result<TranslatedRequest, Box<Fault>> {
    let mut losses = DroppedFields::new(client, upstream, feature_names);
    let texts = read_embedding_inputs(client, body, request, false, &mut losses)?;
    let body = embeddings(upstream)?.write_texts(&texts, model)?;
    Ok(TranslatedRequest { body: Bytes::from(body), dropped: losses.finish(is_lenient)? })
}

/// Reads the inputs of a client's request; `has_tasks` where the upstream takes task types.
///
/// # Errors
/// The request is invalid, or has an input that is not text.
pub fn read_embedding_inputs<'a>(
    client: Grammar,
    body: &'a [u8],
    request: &Request,
    has_tasks: bool,
    losses: &mut DroppedFields,
) -> Result<EmbeddingInputs<'a>, Box<Fault>> {
    embeddings(client)?.read_texts(body, request.vectors(), has_tasks, losses)
}

/// An embeddings response in a vendor's own format.
#[derive(Debug, Clone, Copy)]
pub struct VendorVectors {
    pub read: for<'a> fn(&'a [u8]) -> Result<Vectors<'a>, StreamFault>,
}

impl VendorAnswer for VendorVectors {
    fn buffered(&self, answer_path: &AnswerPath, body: &Bytes) -> Result<BufferedAnswer, StreamFault> {
        let mut answer = (self.read)(chat::operations::document(body)?)?;
        let facts = complete(&mut answer, answer_path)?;
        write(&answer, facts, answer_path)
    }
}

/// Reads an embeddings response, and writes it as the client requested.
///
/// # Errors
/// The body holds no vectors, or it is an error in a 200.
pub fn buffered_vectors(answer_path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    let text = chat::operations::document(&body)?;
    let embeddings = answered(answer_path.upstream)?;
    if answer_path.is_same_dialect()
        && let Some(facts) = embeddings.read_usage(&body)
    {
        return Ok(BufferedAnswer::plain(body, facts?));
    }
    let mut answer = embeddings.read_vectors(text)?;
    let facts = complete(&mut answer, answer_path)?;
    if answer_path.is_same_dialect() {
        return Ok(BufferedAnswer::plain(body, facts));
    }
    write(&answer, facts, answer_path)
}

/// Checks that there are vectors, and estimates their usage where the upstream does not report it.
fn complete(answer: &mut Vectors<'_>, answer_path: &AnswerPath) -> Result<AnswerFacts, StreamFault> {
    if answer.vectors.is_empty() {
        return Err(StreamFault::Broken("no_vectors"));
    }
    answer.usage = answer
        .usage
        .or_else(|| answer_path.options.estimator.as_ref().map(|estimator| estimator.usage("", 0)));
    Ok(AnswerFacts { usage: answer.usage, content_bytes: 0 })
}

fn write(
    answer: &Vectors<'_>,
    facts: AnswerFacts,
    answer_path: &AnswerPath,
) -> Result<BufferedAnswer, StreamFault> {
    let options = VectorOptions {
        model: &answer_path.options.model,
        form: answer_path.vectors,
        prompt_bytes: answer_path.prompt_bytes,
    };
    let written = answered(answer_path.client)?.write_vectors(answer, options)?;
    Ok(BufferedAnswer::plain(Bytes::from(written), facts))
}

/// The embeddings of a grammar. No route and no provider leads here with a grammar that has none.
fn embeddings(grammar: Grammar) -> Result<&'static dyn Embeddings, Box<Fault>> {
    face(grammar).embeddings().ok_or_else(|| Box::new(Fault::internal()))
}

/// The same for an answer.
fn answered(grammar: Grammar) -> Result<&'static dyn Embeddings, StreamFault> {
    face(grammar).embeddings().ok_or(StreamFault::Broken("no_vectors"))
}
