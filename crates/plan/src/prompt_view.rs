//! What a prompt holds that not every model takes: files, and a reasoning effort. It is read only where its bytes look as if
//! it had some, and a fact denies that.

use std::cell::OnceCell;
use std::fmt;
use std::sync::LazyLock;

use admit::Call;
use aho_corasick::AhoCorasick;
use catalogue::Capability;
use domain::prompt::{Aliased, Content, Effort, Part, Source};
use domain::{FileKind, Prompt};

const PDF: &str = "application/pdf";
/// What formats call what a model may not take, in the name of a field, a type or a media type; `None` is a reasoning effort.
const WORDS: [(&str, Option<Capability>); 9] = [
    ("image", Some(Capability::Vision)),
    ("audio", Some(Capability::AudioInput)),
    ("video", Some(Capability::VideoInput)),
    ("file", Some(Capability::Documents)),
    ("document", Some(Capability::Documents)),
    ("pdf", Some(Capability::Documents)),
    ("text/", Some(Capability::Documents)),
    ("effort", None),
    ("hinking", None),
];
/// Finds them in one pass over a body.
static FINDER: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::new(WORDS.map(|(word, _)| word)).ok());
/// The fact with the reasoning efforts.
pub(crate) const EFFORTS: &str = "efforts";

/// The prompt of a call.
pub struct PromptView<'a> {
    call: &'a Call,
    seems: OnceCell<(Vec<Capability>, bool)>,
    read: OnceCell<Option<Box<Prompt>>>,
}

impl fmt::Debug for PromptView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptView").field("trace", &self.call.trace()).finish_non_exhaustive()
    }
}

impl<'a> PromptView<'a> {
    pub(crate) const fn of(call: &'a Call) -> Self {
        Self { call, seems: OnceCell::new(), read: OnceCell::new() }
    }

    /// The inputs that its bytes may have, and whether they may ask for a reasoning effort.
    fn seems(&self) -> &(Vec<Capability>, bool) {
        self.seems.get_or_init(|| {
            if !self.call.spec().facts().is_conversation {
                return (Vec::new(), false);
            }
            let Some(finder) = &*FINDER else { return (Vec::new(), false) };
            let (mut inputs, mut has_effort) = (Vec::new(), false);
            for found in finder.find_iter(self.call.body()) {
                match WORDS.get(found.pattern().as_usize()) {
                    Some((_, Some(input))) if !inputs.contains(input) => inputs.push(*input),
                    Some((_, None)) => has_effort = true,
                    _ => (),
                }
            }
            (inputs, has_effort)
        })
    }

    /// The kinds of input that it may have: `has` reads it.
    pub(crate) fn may_have(&self) -> &[Capability] {
        &self.seems().0
    }

    fn prompt(&self) -> Option<&Prompt> {
        self.read.get_or_init(|| self.call.prompt().map(Box::new)).as_deref()
    }

    /// Where it has the first file of a kind, if it has any.
    pub(crate) fn has(&self, input: Capability) -> Option<&str> {
        let is_meant = |kind: FileKind| match kind {
            FileKind::Image => input == Capability::Vision,
            FileKind::Audio => input == Capability::AudioInput,
            FileKind::Video => input == Capability::VideoInput,
            FileKind::Pdf | FileKind::Document => input == Capability::Documents,
        };
        let (_, part) = files_of(self.prompt()?).find(|(kind, _)| is_meant(*kind))?;
        Some(part.path.as_str().unwrap_or_default())
    }

    /// The reasoning effort that it asks for.
    pub(crate) fn effort(&self) -> Option<Effort> {
        self.seems().1.then(|| self.prompt()?.reasoning.effort).flatten()
    }

    /// Whether it has nothing that a model may not take.
    pub(crate) fn is_plain(&self) -> bool {
        let (inputs, has_effort) = self.seems();
        inputs.is_empty() && !has_effort
    }

    /// The field with what a fact denies.
    pub(crate) fn field_of(&self, fact: &str) -> Option<String> {
        match self.may_have().iter().find(|input| input.as_str() == fact) {
            Some(input) => self.has(*input).filter(|path| !path.is_empty()).map(str::to_owned),
            None if fact == EFFORTS => self.prompt()?.aliases.name(Aliased::Reasoning).map(str::to_owned),
            None => None,
        }
    }
}

/// The files that a prompt holds, each with its part.
pub(crate) fn files_of(prompt: &Prompt) -> impl Iterator<Item = (FileKind, &Part)> {
    let parts = prompt.turns.iter().flat_map(|turn| &turn.parts).flat_map(with_results);
    parts.filter_map(|part| Some((kind_of(&part.content)?, part)))
}

/// A part, and what it holds of the results of a tool.
fn with_results(part: &Part) -> Box<dyn Iterator<Item = &Part> + '_> {
    match &part.content {
        Content::ToolResult(result) => Box::new(std::iter::once(part).chain(&result.parts)),
        _ => Box::new(std::iter::once(part)),
    }
}

fn kind_of(content: &Content) -> Option<FileKind> {
    match content {
        Content::Image { .. } => Some(FileKind::Image),
        Content::Audio { .. } => Some(FileKind::Audio),
        Content::Video { .. } => Some(FileKind::Video),
        Content::Document { source: Source::Text(_), .. } => Some(FileKind::Document),
        Content::Document { source, .. } => Some(match source {
            Source::Inline { media_type, .. } if media_type == PDF => FileKind::Pdf,
            Source::Url { media_type: Some(media_type), .. }
            | Source::File { media_type: Some(media_type), .. }
                if media_type == PDF =>
            {
                FileKind::Pdf
            }
            _ => FileKind::Document,
        }),
        _ => None,
    }
}
