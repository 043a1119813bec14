//! Files that clients of OpenAI's API upload where nobody else keeps them for their project: the gateway does, whatever they are
//! for, and streams them into its store as they arrive.

use std::future::poll_fn;

use bytes::{Buf as _, Bytes, BytesMut};
use decode::Call;
use domain::limits::{FILE_NAME_BYTES_MAX, STORED_PIECE_BYTES};
use domain::{
    Fault, FaultClass, FileEnd, FilePiece, KeptFile, NewFile, ObjectOwner, Operation, USER_FILE, Upload,
};
use framing::multipart::{Found, Part, Scanner};
use plan::PlanFailed;

use crate::Core;
use crate::limits::VALUE_BYTES_MAX;

/// What a plan says of a file where no credential of the project keeps files.
const NOBODY: &str = "model_not_served";
const FILE: &str = "file";
const PURPOSE: &str = "purpose";
const EXPIRES_AFTER: &str = "expires_after[seconds]";
/// The purposes that OpenAI's API has for what is uploaded, but for batches, whose files have a place of their own.
const PURPOSES: [&str; 5] = [USER_FILE, "vision", "assistants", "fine-tune", "evals"];
/// The times that a client may set: an hour, and a month of thirty days.
const EXPIRES_S: std::ops::RangeInclusive<u64> = 3_600..=2_592_000;

/// Whether the gateway keeps what nobody else does: the client has named neither a model that is to read it nor a provider.
pub(crate) fn is_left_to_us(failed: &PlanFailed) -> bool {
    let call = failed.admitted.call();
    let form = call.request().form().filter(|_| call.operation() == Operation::File);
    form.is_some_and(|form| form.provider.is_none() && form.batch_models.is_none())
        && call.request().model.is_empty()
        && failed.fault.code == NOBODY
}

/// Keeps the file of a form.
pub(crate) async fn keep(core: &Core, call: &Call, owner: ObjectOwner) -> Result<KeptFile, Box<Fault>> {
    let form = call.request().form().ok_or_else(|| Box::new(Fault::internal()))?;
    let scanner = Scanner::new(&form.boundary).map_err(|_| malformed())?;
    // What may be the beginning of a boundary is not content yet.
    let tail = form.boundary.len() + 8;
    let reader =
        Reader { scanner, tail, waiting: BytesMut::new(), from: 0, open: None, fields: Fields::default() };
    let mut receiver = Receiver { core, owner, call, reader, file: None, content: BytesMut::new() };
    let received = receiver.receive(call.body().clone(), call.upload()).await;
    if received.is_err()
        && let Some(file) = &receiver.file
    {
        // Its client knows nothing of it; what is not deleted now, a sweep deletes.
        let _ = core.files.forget(owner, file.id).await;
    }
    received
}

/// The parts beside the file.
#[derive(Default)]
struct Fields {
    purpose: Option<String>,
    expires_after_s: Option<u64>,
}

/// Tells the parts of a form apart as it arrives.
struct Reader {
    scanner: Scanner,
    tail: usize,
    /// What was read and is not handed out, and where in the form it begins.
    waiting: BytesMut,
    from: u64,
    /// The part that is being read.
    open: Option<Part>,
    fields: Fields,
}

/// What came of a piece of a form.
enum Event {
    /// The file begins.
    File(Part),
    Content(Bytes),
}

impl Reader {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Box<Fault>> {
        let mut found = Vec::new();
        self.scanner.push(bytes, &mut found).map_err(|_| malformed())?;
        self.waiting.extend_from_slice(bytes);
        let mut events = Vec::new();
        for one in found {
            match one {
                Found::Begin { part, from } => {
                    self.skip_to(from);
                    if part.name == FILE {
                        events.push(Event::File(part.clone()));
                    }
                    self.open = Some(part);
                }
                Found::End { until } => {
                    let value = self.take_to(until);
                    match self.open.take() {
                        Some(part) if part.name == FILE => events.push(Event::Content(value)),
                        Some(part) => self.fields.read(&part.name, &value)?,
                        None => {}
                    }
                }
                Found::Over => {}
            }
        }
        if self.open.as_ref().is_some_and(|part| part.name == FILE) {
            let end = self.from + self.waiting.len().saturating_sub(self.tail) as u64;
            let content = self.take_to(end);
            if !content.is_empty() {
                events.push(Event::Content(content));
            }
        } else if self.open.is_some() && self.waiting.len() > VALUE_BYTES_MAX + self.tail {
            return Err(malformed());
        }
        Ok(events)
    }

    fn take_to(&mut self, until: u64) -> Bytes {
        let length = usize::try_from(until.saturating_sub(self.from)).unwrap_or(usize::MAX);
        let taken = self.waiting.split_to(length.min(self.waiting.len())).freeze();
        self.from += taken.len() as u64;
        taken
    }

    fn skip_to(&mut self, from: u64) {
        let length = usize::try_from(from.saturating_sub(self.from)).unwrap_or(usize::MAX);
        let length = length.min(self.waiting.len());
        self.waiting.advance(length);
        self.from += length as u64;
    }
}

impl Fields {
    fn read(&mut self, name: &str, value: &[u8]) -> Result<(), Box<Fault>> {
        let text = std::str::from_utf8(value).unwrap_or_default();
        match name {
            PURPOSE if PURPOSES.contains(&text) => self.purpose = Some(text.to_owned()),
            PURPOSE => {
                let fix = format!("Send one of {}, or batch.", PURPOSES.join(", "));
                return Err(wrong(PURPOSE, "isn't a purpose that files can have here", fix));
            }
            EXPIRES_AFTER => {
                let seconds = text.parse().ok().filter(|seconds| EXPIRES_S.contains(seconds));
                let fix = "Send a number of seconds from 3600 to 2592000.".to_owned();
                let wrong = || wrong(EXPIRES_AFTER, "isn't a time for which files can be kept", fix);
                self.expires_after_s = Some(seconds.ok_or_else(wrong)?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Stores the content as it arrives: no more than a piece of it is in memory.
struct Receiver<'a> {
    core: &'a Core,
    owner: ObjectOwner,
    call: &'a Call,
    reader: Reader,
    file: Option<KeptFile>,
    content: BytesMut,
}

impl Receiver<'_> {
    async fn receive(&mut self, held: Bytes, rest: Option<&Upload>) -> Result<KeptFile, Box<Fault>> {
        self.take(&held).await?;
        if let Some(rest) = rest {
            while let Some(piece) = poll_fn(|cx| rest.poll_piece(cx)).await {
                let piece = piece.map_err(|_| rest.fault().unwrap_or_else(malformed))?;
                self.take(&piece).await?;
            }
        }
        let purpose = self.reader.fields.purpose.clone();
        let purpose = purpose.ok_or_else(|| {
            let fault =
                Fault::new(FaultClass::BadRequest, "missing_required_parameter", "\"purpose\" is missing.");
            Box::new(fault.fix("State the file's purpose, such as user_data or vision.").param(PURPOSE))
        })?;
        let end = FileEnd { purpose: Some(purpose), expires_after_s: self.reader.fields.expires_after_s };
        self.store(Some(end)).await?;
        self.file.clone().ok_or_else(malformed)
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Box<Fault>> {
        for event in self.reader.push(bytes)? {
            match event {
                Event::File(part) => self.open(part).await?,
                Event::Content(content) => self.add(&content).await?,
            }
        }
        Ok(())
    }

    async fn open(&mut self, part: Part) -> Result<(), Box<Fault>> {
        let name: String = part.filename.unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        let name = match name.len() {
            0 => FILE.to_owned(),
            length if length <= FILE_NAME_BYTES_MAX => name,
            _ => {
                return Err(wrong(FILE, "has a name that is too long", "Give it a shorter name.".to_owned()));
            }
        };
        let new = NewFile {
            owner: self.owner,
            request: self.call.trace(),
            name,
            content_type: String::new(),
            path: None,
            purpose: USER_FILE.to_owned(),
            declared: None,
        };
        self.file = Some(self.core.files.open(new).await?.file);
        Ok(())
    }

    async fn add(&mut self, mut content: &[u8]) -> Result<(), Box<Fault>> {
        while !content.is_empty() {
            if self.content.len() == STORED_PIECE_BYTES {
                self.store(None).await?;
            }
            let room = STORED_PIECE_BYTES.saturating_sub(self.content.len());
            let (some, rest) = content.split_at(room.min(content.len()));
            self.content.extend_from_slice(some);
            content = rest;
        }
        Ok(())
    }

    async fn store(&mut self, end: Option<FileEnd>) -> Result<(), Box<Fault>> {
        let file = self.file.as_ref().ok_or_else(malformed)?;
        let bytes = std::mem::take(&mut self.content).freeze();
        let piece = FilePiece { offset: file.received, after: file.last_piece.clone(), bytes, end };
        self.file = Some(self.core.files.append(self.owner, file.id, piece).await?);
        Ok(())
    }
}

/// What was read as a form before is one; this says so where it is not.
fn malformed() -> Box<Fault> {
    let fault = Fault::new(FaultClass::BadRequest, "invalid_form", "The form is broken.");
    Box::new(fault.fix("Send the file and its purpose as parts of a form, as the SDKs do."))
}

fn wrong(field: &'static str, why: &str, fix: String) -> Box<Fault> {
    let fault = Fault::new(FaultClass::BadRequest, "invalid_value", format!("\"{field}\" {why}."));
    Box::new(fault.fix(fix).param(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, value: &[u8]) -> Vec<u8> {
        let file = if name == FILE { "; filename=\"a.bin\"" } else { "" };
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        [head.as_bytes(), value, b"\r\n"].concat()
    }

    /// The content of a form that arrives in pieces of a size, and its purpose.
    fn check(form: &[u8], size: usize) -> Result<(Vec<u8>, Option<String>), &'static str> {
        let scanner = Scanner::new("b").unwrap();
        let mut reader = Reader {
            scanner,
            tail: 9,
            waiting: BytesMut::new(),
            from: 0,
            open: None,
            fields: Fields::default(),
        };
        let mut content = Vec::new();
        for bytes in form.chunks(size) {
            for event in reader.push(bytes).map_err(|fault| fault.code)? {
                if let Event::Content(bytes) = event {
                    content.extend_from_slice(&bytes);
                }
            }
        }
        Ok((content, reader.fields.purpose))
    }

    #[test]
    fn content_is_found_however_it_arrives() {
        let content = b"one\r\n--no boundary\r\n\r\n--c";
        let parts = [part(PURPOSE, b"vision"), part(FILE, content), part(EXPIRES_AFTER, b"3600")];
        for order in [[0, 1, 2], [1, 2, 0], [2, 0, 1]] {
            let mut form: Vec<u8> = order.iter().flat_map(|at| parts[*at].clone()).collect();
            form.extend_from_slice(b"--b--\r\n");
            for size in [1, 2, 3, 7, 50, 10_000] {
                let expected = (content.to_vec(), Some("vision".to_owned()));
                assert_eq!(check(&form, size), Ok(expected), "{order:?} {size}");
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_form_is_told() {
        let form = |name: &str, value: &[u8]| [part(name, value), b"--b--\r\n".to_vec()].concat();
        assert_eq!(check(&form(PURPOSE, b"nonsense"), 10), Err("invalid_value"));
        assert_eq!(check(&form(EXPIRES_AFTER, b"1"), 10), Err("invalid_value"));
        assert_eq!(check(&form("other", &[b'x'; 1_000]), 10), Err("invalid_form"));
        assert_eq!(check(b"no form", 10), Err("invalid_form"));
    }
}
