//! Multipart form requests with files: read incrementally for what later stages need, and forwarded with the
//! model renamed for the upstream.

use std::ops::Range;

use conversation::fields::checked_model;
use conversation::form::Form;
use conversation::request::{Request, RequestPart};
use conversation::video;
use domain::limits::CHOICES_MAX;
use domain::{Fault, FaultClass, Operation, Units};
use framing::multipart::{Found, Malformed, Scanner, boundary};
use json::refusal::{duplicate, missing, wrong_value};

use crate::spec::Body;
use crate::upload::{models_of, requests_file};

/// The parts of an operation's form.
#[derive(Debug, Clone, Copy)]
pub struct FormFields {
    /// The part with the file that the request is about.
    pub file: &'static str,
    pub needs_file: bool,
    /// Its other name, under which several may come.
    pub several_files: Option<&'static str>,
    /// Parts with additional files, for example a mask.
    pub other_files: &'static [&'static str],
    pub prompt: PromptPart,
    pub has_stream: bool,
    pub count: Option<Count>,
    /// The file is stored, and no model reads it now.
    pub is_stored: bool,
    /// All parts that never refer to a stored object; without the brackets of a list.
    pub known: &'static [&'static str],
}

impl FormFields {
    /// Those of a file of which nothing else is read.
    pub const FILE: Self = Self {
        file: "file",
        needs_file: true,
        several_files: None,
        other_files: &[],
        prompt: PromptPart::Optional,
        has_stream: false,
        count: None,
        is_stored: false,
        known: &[],
    };

    /// Whether a part of this name is known and never refers to a stored object.
    fn knows(&self, name: &str) -> bool {
        self.known.contains(&name.strip_suffix("[]").unwrap_or(name))
    }
}

/// Whether a form has a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptPart {
    None,
    Optional,
    Required,
}

/// What a form asks for a number of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    Images,
    VideoSeconds,
}

impl Count {
    const fn name(self) -> &'static str {
        match self {
            Self::Images => "n",
            Self::VideoSeconds => "seconds",
        }
    }
}

/// Reads a form piece by piece. It stores the positions of values, and none of their bytes.
#[derive(Debug, Clone)]
pub struct FormReader {
    fields: &'static FormFields,
    boundary: String,
    scanner: Scanner,
    found: Vec<Found>,
    /// The current part: its field, and where its value starts.
    open: Option<(Field, u64)>,
    model: Option<Range<u64>>,
    provider: Option<Range<u64>>,
    stream: Option<Range<u64>>,
    count: Option<Range<u64>>,
    /// Parts that only the gateway reads.
    own: Vec<Range<u64>>,
    /// Where the current part starts.
    part_start: u64,
    has_form: bool,
    has_prompt: bool,
    has_purpose: bool,
    /// Files that are the request's subject, and all files so far.
    subjects: u64,
    files: u64,
    /// The request has been forwarded with what was known so far.
    went: bool,
    prompt_bytes: u64,
    /// The first part whose name is not in the table.
    unknown: Option<String>,
}

/// The parts that are read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Model,
    /// Which provider stores the file. Its second name is LiteLLM's.
    Provider,
    Stream,
    Prompt,
    /// The purpose of a stored file.
    Purpose,
    ResponseForm,
    /// The number of images, or seconds of video.
    Count,
    /// The file that the request is about.
    File,
    /// An additional file, for example a mask.
    OtherFile,
    Other,
}

impl Field {
    fn of(fields: &FormFields, name: &str) -> Self {
        match name {
            "model" => Self::Model,
            "provider" | "custom_llm_provider" if fields.is_stored => Self::Provider,
            "stream" if fields.has_stream => Self::Stream,
            "prompt" if fields.prompt != PromptPart::None => Self::Prompt,
            "purpose" if fields.is_stored => Self::Purpose,
            "response_format" => Self::ResponseForm,
            name if fields.count.is_some_and(|count| count.name() == name) => Self::Count,
            name if fields.file == name || fields.several_files == Some(name) => Self::File,
            name if fields.other_files.contains(&name) => Self::OtherFile,
            _ => Self::Other,
        }
    }

    const fn is_file(self) -> bool {
        matches!(self, Self::File | Self::OtherFile)
    }
}

impl FormReader {
    /// # Errors
    /// 415 for a content type other than a form, 400 where it names no boundary.
    pub fn new(content_type: &str, operation: Operation) -> Result<Self, Box<Fault>> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("multipart/form-data") {
            let printable: String = essence.chars().filter(|c| !c.is_control()).take(64).collect();
            let message =
                format!("This path takes multipart/form-data, and the body came as \"{printable}\".");
            let fault = Fault::new(FaultClass::MediaType, "unsupported_media_type", message);
            return Err(Box::new(fault.fix("Send the body as a form, as the SDKs do.")));
        }
        let (Body::Form(fields) | Body::JsonOrForm(fields)) = crate::of(operation).facts().body else {
            return Err(Box::new(Fault::internal()));
        };
        let named = boundary(content_type).map_err(malformed)?;
        Ok(Self {
            fields,
            boundary: named.to_owned(),
            scanner: Scanner::new(named).map_err(malformed)?,
            found: Vec::new(),
            open: None,
            model: None,
            provider: None,
            stream: None,
            count: None,
            own: Vec::new(),
            part_start: 0,
            has_form: false,
            has_prompt: false,
            has_purpose: false,
            subjects: 0,
            files: 0,
            went: false,
            prompt_bytes: 0,
            unknown: None,
        })
    }

    /// Takes the next bytes of the body.
    ///
    /// # Errors
    /// The body is not a form, or a field is duplicated.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Box<Fault>> {
        let mut found = std::mem::take(&mut self.found);
        let pushed = self.scanner.push(bytes, &mut found).map_err(malformed);
        let taken = found.drain(..).try_for_each(|found| self.take(found));
        self.found = found;
        taken.and(pushed)
    }

    fn take(&mut self, found: Found) -> Result<(), Box<Fault>> {
        match found {
            Found::Begin { part, from } => {
                let field = Field::of(self.fields, &part.name);
                self.begin(field, &part.name)?;
                self.open = Some((field, from));
            }
            Found::End { until } => {
                let Some((field, from)) = self.open.take() else { return Ok(()) };
                let part = self.part_start..until + 2;
                self.part_start = part.end;
                if self.fields.is_stored && matches!(field, Field::Model | Field::Provider) {
                    self.own.push(part);
                }
                match field {
                    Field::Model => self.model = Some(from..until),
                    Field::Provider => self.provider = Some(from..until),
                    Field::Stream => self.stream = Some(from..until),
                    Field::Count => self.count = Some(from..until),
                    Field::Prompt => self.prompt_bytes += until.saturating_sub(from),
                    Field::Purpose | Field::ResponseForm | Field::File | Field::OtherFile | Field::Other => {}
                }
            }
            Found::Over => {}
        }
        Ok(())
    }

    /// Checks a part when it starts.
    fn begin(&mut self, field: Field, named: &str) -> Result<(), Box<Fault>> {
        self.files += u64::from(field.is_file());
        if field == Field::Other && !self.fields.knows(named) {
            self.note_unknown(named)?;
        }
        let (again, name) = match field {
            Field::Model | Field::Provider if self.fields.is_stored && self.subjects > 0 => {
                return Err(behind_its_file(named));
            }
            Field::Model => (self.model.is_some(), "model"),
            Field::Provider => (self.provider.is_some(), "provider"),
            Field::Stream => (self.stream.is_some(), "stream"),
            // The amount was already reserved when the request was forwarded.
            Field::Count if self.went => {
                let (fix, name) = ("Put it before the files.".to_owned(), self.count_name().to_owned());
                return Err(wrong_value(name, "stands behind a file of a long form", fix));
            }
            Field::Count => (self.count.is_some(), self.count_name()),
            // Readers differ in which one counts, and an account's file is judged by the first.
            Field::Purpose => (std::mem::replace(&mut self.has_purpose, true), "purpose"),
            Field::ResponseForm => (std::mem::replace(&mut self.has_form, true), "response_format"),
            Field::File => {
                self.subjects += 1;
                (self.subjects > 1 && self.fields.several_files.is_none(), self.fields.file)
            }
            Field::Prompt => {
                self.has_prompt = true;
                (false, "")
            }
            Field::OtherFile | Field::Other => (false, ""),
        };
        if again { Err(duplicate(name.to_owned())) } else { Ok(()) }
    }

    /// An unknown part may reference a stored object, and the upstream was chosen by the parts before it.
    fn note_unknown(&mut self, named: &str) -> Result<(), Box<Fault>> {
        if self.went {
            let fix = "Put it before the files.".to_owned();
            return Err(wrong_value(named.to_owned(), "stands behind a file of a long form", fix));
        }
        self.unknown.get_or_insert_with(|| named.to_owned());
        Ok(())
    }

    /// Whether enough is known to forward the request, and the current part is a file.
    pub fn can_go(&self) -> bool {
        let is_known = self.model.is_some() || self.fields.is_stored;
        is_known && self.open.is_some_and(|(field, _)| field.is_file())
    }

    /// The body has ended.
    ///
    /// # Errors
    /// The form is incomplete.
    pub fn end(&self) -> Result<(), Box<Fault>> {
        if !self.scanner.is_over() {
            return Err(malformed(Malformed("it breaks off before its last boundary")));
        }
        if self.model.is_none() && !self.fields.is_stored {
            return Err(missing("model".to_owned(), "Send the id of a model as GET /v1/models lists it."));
        }
        if self.subjects == 0 && self.fields.needs_file {
            return Err(missing(self.fields.file.to_owned(), "Send the file as a part of the form."));
        }
        if self.fields.prompt == PromptPart::Required && !self.has_prompt {
            return Err(missing("prompt".to_owned(), "Describe what the picture or video should show."));
        }
        Ok(())
    }

    /// What later stages need to know. `held` is the start of the body, up to and including the model.
    ///
    /// # Errors
    /// The model's name is not valid, `stream` is not a boolean, or the number of images is out of range.
    pub fn request(&mut self, held: &[u8]) -> Result<Request, Box<Fault>> {
        self.went = true;
        if self.fields.is_stored {
            return self.upload(held);
        }
        let model = self.model.as_ref().and_then(index_range).unwrap_or_default();
        let text = held.get(model.clone()).and_then(|name| std::str::from_utf8(name).ok());
        let text = text.ok_or_else(|| {
            wrong_value("model".to_owned(), "is not UTF-8", "Send the id of a model.".to_owned())
        })?;
        Ok(Request {
            model: checked_model(text)?,
            stream: self.fields.has_stream && self.wants_stream(held)?,
            choices: 1,
            prompt_bytes: self.prompt_bytes,
            units: Units {
                images: self.image_count(held)?,
                video_ms: self.length_ms(held),
                ..Units::default()
            },
            part: RequestPart::Form(Box::new(Form {
                boundary: self.boundary.clone(),
                model: Some(model),
                provider: None,
                own: Vec::new(),
                held_bytes: held.len() as u64,
                files: self.files,
                unknown: self.unknown.clone(),
                batch_models: None,
                renamed_models: Vec::new(),
            })),
            ..Request::default()
        })
    }

    /// A form without a count has no part of this name.
    fn count_name(&self) -> &'static str {
        self.fields.count.map_or("", Count::name)
    }

    /// The number of images or seconds as written; empty where it is not UTF-8.
    fn count_text<'h>(&self, held: &'h [u8]) -> Option<&'h str> {
        let text = held.get(self.count.as_ref().and_then(index_range)?)?;
        Some(std::str::from_utf8(text).unwrap_or_default())
    }

    /// The requested length of a video.
    fn length_ms(&self, held: &[u8]) -> u64 {
        let text = self.count_text(held).filter(|_| self.fields.count == Some(Count::VideoSeconds));
        text.and_then(video::millis).unwrap_or(0)
    }

    /// The requested number of images.
    fn image_count(&self, held: &[u8]) -> Result<u64, Box<Fault>> {
        if self.fields.count != Some(Count::Images) {
            return Ok(0);
        }
        let Some(text) = self.count_text(held) else { return Ok(1) };
        let count = text.parse::<u32>().ok();
        match count.filter(|count| (1..=CHOICES_MAX).contains(count)) {
            Some(count) => Ok(u64::from(count)),
            None => {
                let fix = format!("Send a whole number from 1 to {CHOICES_MAX}, or leave it out.");
                Err(wrong_value("n".to_owned(), "is out of range", fix))
            }
        }
    }

    /// The same for a file upload. The provider may be given by its name, or by that of a model.
    fn upload(&self, held: &[u8]) -> Result<Request, Box<Fault>> {
        let field = |range: &Option<Range<u64>>, name: &str| {
            let bytes = range.as_ref().and_then(index_range).and_then(|range| held.get(range));
            let text = bytes.map(|bytes| std::str::from_utf8(bytes).map(str::trim)).transpose();
            text.map_err(|_| wrong_value(name.to_owned(), "is not UTF-8", "Send a name.".to_owned()))
        };
        let model = field(&self.model, "model")?.filter(|name| !name.is_empty());
        let provider = field(&self.provider, "provider")?.filter(|name| !name.is_empty());
        let form = Form {
            boundary: self.boundary.clone(),
            model: None,
            provider: provider.map(str::to_owned),
            own: self.own.iter().filter_map(index_range).collect(),
            held_bytes: held.len() as u64,
            files: self.files,
            unknown: self.unknown.clone(),
            batch_models: requests_file(&self.boundary, held).map(|file| models_of(file.content)),
            renamed_models: Vec::new(),
        };
        Ok(Request {
            model: model.map(checked_model).transpose()?.unwrap_or_default(),
            max_output_tokens: Some(0),
            choices: 1,
            part: RequestPart::Form(Box::new(form)),
            ..Request::default()
        })
    }

    fn wants_stream(&self, held: &[u8]) -> Result<bool, Box<Fault>> {
        let Some(value) = self.stream.as_ref().and_then(index_range).and_then(|range| held.get(range)) else {
            return Ok(false);
        };
        match value.to_ascii_lowercase().as_slice() {
            b"true" | b"1" => Ok(true),
            b"false" | b"0" | b"" | b"null" => Ok(false),
            _ => {
                let fix = "Send true or false.".to_owned();
                Err(wrong_value("stream".to_owned(), "is neither true nor false", fix))
            }
        }
    }
}

/// The file may already have been forwarded.
fn behind_its_file(name: &str) -> Box<Fault> {
    let message = format!("\"{name}\" stands behind the file, which is sent on while it comes.");
    let fault = Fault::new(FaultClass::BadRequest, "field_behind_file", message);
    Box::new(
        fault
            .fix("Send it before the file, or in the address: /v1/files?provider=NAME.")
            .param(name.to_owned()),
    )
}

fn index_range(range: &Range<u64>) -> Option<Range<usize>> {
    Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

fn malformed(why: Malformed) -> Box<Fault> {
    let message = format!("The body is not a form as multipart/form-data has it: {why}.");
    let fault = Fault::new(FaultClass::BadRequest, "invalid_form", message);
    Box::new(fault.fix("Let a library write the form, such as an SDK, curl -F or FormData.").param("body"))
}
