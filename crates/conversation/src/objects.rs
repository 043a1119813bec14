//! The objects that providers store (files, batches, videos) as a dialect has them: their addresses, their
//! lists, the ids in answers about them, and the results of batches.

use std::borrow::Cow;
use std::fmt::Debug;

use bytes::Bytes;
use domain::limits::KEPT_ROWS_MAX;
use domain::{
    BatchCounts, Fault, FaultClass, ObjectListQuery, ObjectOwner, StoredObjectId, StoredObjectKind,
};
use http::Method;
use json::find_member;
use json::splice::{Edit, splice};
use json::{Cursor, JsonError, Span, Value};

use crate::address::unescape_lossy;
use crate::batch::{BatchState, JobStorage, SplitResults};
use crate::batch_counts::request_counts;
use crate::request::{Addressed, Stored, StoredAct, rename_at};
use crate::stored::StoredObjectReport;

/// The fix for an address at which there is no file or batch.
pub const ADDRESS_HOW: &str = "A file or batch is read at its own address; a file's /content and a message batch's /results take GET, and a batch's /cancel takes POST.";

/// Gives an object of a provider, by its type and the provider's id, the id that clients use.
pub type ClientIds<'a> = dyn FnMut(StoredObjectKind, &str) -> String + 'a;

/// The objects of one kind that providers store, in the format of a dialect.
pub trait StoredObjects: Debug + Sync {
    /// Reads what follows the path of the list, which names an object and what to do with it.
    ///
    /// # Errors
    /// There is nothing at it, or no such operation.
    fn read_address(&self, method: &Method, rest: &str, query: &str) -> Result<Addressed, Box<Fault>>;

    /// Reads which page of the list a query string requests.
    ///
    /// # Errors
    /// The parameter that has a wrong value.
    fn read_list_query(&self, owner: ObjectOwner, query: &str) -> Result<ObjectListQuery, Box<Fault>>;

    fn write_page(&self, page: ObjectPage) -> String;

    /// The provider's answer with every id of the provider's replaced by ours, and what it reports about the
    /// object; `None` where it names none.
    fn rewrite_ids(&self, body: &Bytes, ours: &mut ClientIds<'_>) -> Option<(Bytes, StoredObjectReport)>;

    /// Whether a provider's answer with status 200, a JSON object, is one about such an object.
    fn is_answer(&self, text: &[u8]) -> bool {
        find_member(text, "id").is_ok_and(|found| found.is_some())
    }

    /// What clients get for an empty answer, where providers send one.
    fn empty_answer(&self) -> Option<&'static str> {
        None
    }

    /// Whether the answer to this act says nothing about the object.
    fn has_empty_answer(&self, _act: StoredAct) -> bool {
        false
    }

    /// A new batch as lists show it, where its creation is answered with its id alone.
    fn requested_entry(&self, _requested: &RequestedBatch<'_>) -> Option<RequestedEntry> {
        None
    }

    /// Reads how far a batch is.
    ///
    /// # Errors
    /// The body is not a batch.
    fn read_batch(&self, _body: &[u8]) -> Result<BatchState, String> {
        Err("the answer isn't a batch".to_owned())
    }

    /// The file of a batch's requests, by its id or address at the provider, and the endpoint that they share, of a batch or of the
    /// call that makes one; `None` where that call has the requests.
    fn batch_requests(&self, _body: &[u8]) -> Option<(String, String)> {
        None
    }

    /// How many requests of a batch are in which state; `None` where the object does not say.
    fn batch_counts(&self, body: &[u8]) -> Option<BatchCounts> {
        request_counts(body)
    }

    /// Splits the results out of a batch object, in a dialect where they are inside it.
    fn split_results(&self) -> Option<Box<dyn SplitResults>> {
        None
    }
}

/// A page of a list, in the order in which the store was read.
#[derive(Debug)]
pub struct ObjectPage {
    /// Each object as it is listed.
    pub rows: Vec<(StoredObjectId, String)>,
    pub is_oldest_first: bool,
    pub has_more: bool,
}

/// A new batch whose requests are in its customer's own storage.
#[derive(Debug)]
pub struct RequestedBatch<'a> {
    pub storage: &'a JobStorage,
    /// Our id for it.
    pub id: &'a str,
    pub model: &'a str,
    pub created_unix_s: u64,
}

/// A batch for lists, until a poll shows it.
#[derive(Debug)]
pub struct RequestedEntry {
    pub list_entry: String,
    /// The attribute that lists can be filtered by.
    pub label: &'static str,
}

impl ObjectPage {
    /// The objects as the page has them, with commas between.
    pub fn entries(&self) -> String {
        self.rows.iter().map(|(_, entry)| &**entry).collect::<Vec<_>>().join(",")
    }

    /// The id of the last object, where more follow.
    pub fn next(&self) -> Option<StoredObjectId> {
        self.rows.last().filter(|_| self.has_more).map(|(id, _)| *id)
    }

    /// The page as OpenAI's and Anthropic's lists end: the objects, the first and last id, and whether more
    /// follow.
    pub fn data(&self) -> String {
        let name =
            |row: Option<&(StoredObjectId, _)>| row.map_or("null".to_owned(), |(id, _)| format!("\"{id}\""));
        let (data, has_more) = (self.entries(), self.has_more);
        let (first, last) = (name(self.rows.first()), name(self.rows.last()));
        format!("\"data\":[{data}],\"first_id\":{first},\"last_id\":{last},\"has_more\":{has_more}")
    }
}

/// What a method does at an object's address, or at what is below it.
#[derive(Debug)]
pub struct AddressRow {
    pub method: Method,
    pub below: Option<&'static str>,
    pub act: StoredAct,
}

/// A row of an object's own address.
pub const fn at(method: Method, act: StoredAct) -> AddressRow {
    AddressRow { method, below: None, act }
}

/// A row of an address below that.
pub const fn below(method: Method, below: &'static str, act: StoredAct) -> AddressRow {
    AddressRow { method, below: Some(below), act }
}

/// Reads an address of an id and perhaps of what is below it, behind the first `separator`; `None` where no
/// row has it. `HEAD` is read as `GET`.
pub fn read_object_address(
    rows: &[AddressRow],
    separator: char,
    method: &Method,
    rest: &str,
) -> Option<(String, StoredAct)> {
    let (id, below) = match rest.split_once(separator) {
        Some((id, below)) => (id, Some(below)),
        None => (rest, None),
    };
    let wanted = if *method == Method::HEAD { &Method::GET } else { method };
    let row = rows.iter().find(|row| row.method == *wanted && row.below == below)?;
    Some((id.to_owned(), row.act))
}

/// There is no such address of an object.
pub fn no_such_address(method: &Method, how: &'static str) -> Box<Fault> {
    let message = format!("This path doesn't take {method}, or doesn't exist.");
    Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(how))
}

/// What an address says that names an object.
pub fn addressed(id: String, act: StoredAct, query: &str) -> Addressed {
    let stored = Stored::new(id, act, query.to_owned());
    Addressed { stored: Some(stored), ..Addressed::default() }
}

/// Reads a query string with `read`, parameter by parameter; `usual` is the number of rows without one.
pub fn read_list_query(
    (owner, kind): (ObjectOwner, StoredObjectKind),
    usual: u32,
    query: &str,
    mut read: impl FnMut(&mut ObjectListQuery, &str, &str) -> Result<(), Box<Fault>>,
) -> Result<ObjectListQuery, Box<Fault>> {
    let limit = usual.min(KEPT_ROWS_MAX);
    let mut page = ObjectListQuery { owner, kind, label: None, after: None, oldest_first: false, limit };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        read(&mut page, name, &unescape_lossy(value))?;
    }
    Ok(page)
}

/// Reads the number of rows on a page.
///
/// # Errors
/// It is no number from 1 to `most`.
pub fn read_limit(name: &str, value: &str, most: u32) -> Result<u32, Box<Fault>> {
    let limit = value.parse().ok().filter(|limit| (1..=most).contains(limit));
    let fix = || format!("Send a number from 1 to {most}.");
    Ok(limit.ok_or_else(|| wrong_parameter(name, fix()))?.min(KEPT_ROWS_MAX))
}

/// Reads the id after which a page begins.
///
/// # Errors
/// It is no id of this type of object.
pub fn read_cursor(
    kind: StoredObjectKind,
    name: &str,
    value: &str,
    fix: &str,
) -> Result<Option<StoredObjectId>, Box<Fault>> {
    let after = value.parse::<StoredObjectId>().ok().filter(|id| id.kind == kind);
    after.map(Some).ok_or_else(|| wrong_parameter(name, fix.to_owned()))
}

/// A parameter of a list has a wrong value.
pub fn wrong_parameter(name: &str, fix: String) -> Box<Fault> {
    let message = format!("\"{name}\" isn't valid for this list.");
    Box::new(Fault::new(FaultClass::BadRequest, "invalid_value", message).param(name.to_owned()).fix(fix))
}

/// Our address for an object's id.
pub type AddressOf = fn(&str) -> String;

/// The members of an object that `rewrite_ids` reads or replaces.
#[derive(Debug)]
pub struct ObjectMembers {
    /// The member that holds its id.
    pub id: &'static str,
    /// The id is a path, whose last segment is enough for the provider and needs no escaping.
    pub is_path: bool,
    /// The attribute that lists can be filtered by.
    pub label: &'static str,
    /// Members that name files.
    pub files: &'static [&'static str],
    /// The member that names another object of the same type.
    pub source: Option<&'static str>,
    /// The member that lists don't show.
    pub unlisted: Option<&'static str>,
    /// The member with an address at the provider, and ours for an id.
    pub address: Option<(&'static str, AddressOf)>,
}

impl ObjectMembers {
    /// The members that most objects have.
    pub const USUAL: Self = Self {
        id: "id",
        is_path: false,
        label: "purpose",
        files: &[],
        source: None,
        unlisted: None,
        address: None,
    };

    /// See `StoredObjects::rewrite_ids`.
    pub fn rewrite(
        &self,
        body: &Bytes,
        kind: StoredObjectKind,
        ours: &mut ClientIds<'_>,
    ) -> Option<(Bytes, StoredObjectReport)> {
        let mut report = StoredObjectReport::default();
        let mut edits = Vec::new();
        let (mut unlisted, mut address) = (None, None);
        let mut cursor = Cursor::new(body).ok()?;
        let read = cursor.object(|cursor, member| {
            let span = cursor.skip()?;
            let value = Cursor::new(span.of(body))?.value()?;
            let name = &*member.key.decode();
            match value {
                Value::String(text) if name == self.id => {
                    report.id = self.provider_id(&text.decode());
                    edits.push((span, ours(kind, &report.id)));
                }
                Value::String(text) if self.files.contains(&name) => {
                    let file = text.decode().into_owned();
                    edits.push((span, ours(StoredObjectKind::FILE, &file)));
                    report.files.push(file);
                }
                Value::String(text) if self.source == Some(name) => {
                    edits.push((span, ours(kind, &text.decode())));
                }
                Value::String(_) if self.address.is_some_and(|(own, _)| own == name) => address = Some(span),
                Value::String(text) if name == self.label => report.purpose = text.decode().into_owned(),
                _ if self.unlisted == Some(name) => unlisted = Some(span),
                _ if name == "created_at" => report.created_unix_ms = milliseconds(span.of(body)),
                _ if name == "expires_at" => report.expires_unix_ms = milliseconds(span.of(body)),
                _ => {}
            }
            Ok::<(), JsonError>(())
        });
        read.ok()?;
        if report.id.is_empty() {
            return None;
        }
        if let Some((span, (_, address_of))) = address.zip(self.address) {
            edits.push((span, address_of(&ours(kind, &report.id))));
        }
        let spliced = |unlisted: Option<Span>| {
            let renames = edits.iter().map(|(span, name)| rename_at(*span, name));
            let cut = unlisted.map(|span| Edit { span, text: Cow::Borrowed("null") });
            let mut out = Vec::new();
            splice(body, &mut renames.chain(cut).collect::<Vec<_>>(), &mut out);
            out.concat()
        };
        report.list_entry = String::from_utf8(spliced(unlisted)).unwrap_or_default();
        Some((spliced(None).into(), report))
    }

    fn provider_id(&self, written: &str) -> String {
        let end = written.rsplit_once('/').filter(|_| self.is_path).map(|(_, end)| end);
        end.unwrap_or(written).to_owned()
    }
}

/// A number of seconds, in milliseconds.
fn milliseconds(text: &[u8]) -> Option<u64> {
    let seconds: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(seconds.saturating_mul(1_000))
}
