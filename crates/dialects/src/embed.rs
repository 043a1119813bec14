//! Embeddings requests and responses, translated between dialects.

mod hosted;

use bytes::Bytes;
use chat::Chat;
use conversation::answer::{AnswerFacts, StreamFault};
use conversation::embed::{EmbeddingInputs, Embeddings, VectorOptions};
use conversation::face::Face;
use conversation::losses::DroppedFields;
use conversation::request::Request;
use conversation::target::TranslatedRequest;
use domain::{Fault, Grammar};

use crate::answer_path::AnswerPath;
use crate::buffered::BufferedAnswer;
use crate::registry::face;

pub use hosted::EmbeddingForm;

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
    let mut losses = DroppedFields::new(client, upstream);
    let texts = read_texts(client, body, request, false, &mut losses)?;
    let body = embeddings(upstream).write_texts(&texts, model)?;
    Ok(TranslatedRequest { body: Bytes::from(body), dropped: losses.finish(is_lenient)? })
}

/// Translates it into the form that a model hosted at Vertex AI or Bedrock reads.
///
/// # Errors
/// As `translate_embeddings`.
pub fn translate_hosted_embeddings(
    client: Grammar,
    body: &[u8],
    request: &Request,
    form: EmbeddingForm,
    is_lenient: bool,
) -> Result<TranslatedRequest, Box<Fault>> {
    let mut losses = DroppedFields::new(client, Grammar::Hosted);
    let texts = read_texts(client, body, request, form.has_tasks(), &mut losses)?;
    let body = hosted::write_texts(&texts, form)?;
    Ok(TranslatedRequest { body: Bytes::from(body), dropped: losses.finish(is_lenient)? })
}

fn read_texts<'a>(
    client: Grammar,
    body: &'a [u8],
    request: &Request,
    has_tasks: bool,
    losses: &mut DroppedFields,
) -> Result<EmbeddingInputs<'a>, Box<Fault>> {
    // The other dialects have no embeddings, and no route leads here.
    let embeddings = face(client).and_then(Face::embeddings).ok_or_else(|| Box::new(Fault::internal()))?;
    embeddings.read_texts(body, request.vectors, has_tasks, losses)
}

/// Reads an embeddings response, and writes it as the client requested.
pub(crate) fn buffered_answer(answer_path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    let text = chat::operations::document(&body)?;
    if answer_path.is_same_dialect() && answer_path.client == Grammar::Chat {
        let facts = chat::operations::read_answer(&body)?;
        return Ok(BufferedAnswer::plain(body, facts));
    }
    let mut answer = match answer_path.upstream {
        Grammar::Hosted => hosted::read_vectors(text)?,
        upstream => embeddings(upstream).read_vectors(text)?,
    };
    if answer.vectors.is_empty() {
        return Err(StreamFault::Broken("no_vectors"));
    }
    answer.usage =
        answer.usage.or_else(|| answer_path.estimator.as_ref().map(|estimator| estimator.usage("", 0)));
    let facts = AnswerFacts { usage: answer.usage, content_bytes: 0 };
    if answer_path.is_same_dialect() {
        return Ok(BufferedAnswer::plain(body, facts));
    }
    let options = VectorOptions {
        model: &answer_path.model,
        form: answer_path.vectors,
        prompt_bytes: answer_path.prompt_bytes,
    };
    let written = embeddings(answer_path.client).write_vectors(&answer, options)?;
    Ok(BufferedAnswer::plain(Bytes::from(written), facts))
}

/// The embeddings of a grammar, or those of OpenAI's API where it has none.
fn embeddings(grammar: Grammar) -> &'static dyn Embeddings {
    face(grammar).and_then(Face::embeddings).unwrap_or(&Chat)
}

#[cfg(test)]
mod tests;
