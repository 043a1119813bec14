//! Looks up which credential or account owns the stored response, file or batch that a request names. Only
//! for requests that name one, and only after admission, so that rate limits bound the cost of guessed ids.

use admit::{Admitted, Caller};
use conversation::request::NamedFile;
use decode::{Call, StoredFindings};
use domain::limits::FILES_NAMED_MAX;
use domain::ports::{FoundResponse, FoundSession, ResponseName, SessionStore, StoredResponse};
use domain::{
    Fault, FaultClass, FilesKeeper, FoundObject, ObjectOwner, StoredKind, StoredObject, StoredObjectId,
    StoredObjectKind,
};

use execute::Deps;

/// The keys for the lookup.
pub(crate) struct Names {
    of: Option<Name>,
    /// The project to look up files in, where the request names any by our ids.
    files: Option<ObjectOwner>,
}

/// What to look up.
enum Name {
    /// A stored response, by its provider's id.
    Answer(ResponseName),
    /// A file, batch or video, by our id; `None` where the id is invalid.
    Kept(ObjectOwner, Option<StoredObjectId>),
}

pub(crate) fn names(caller: &Caller, call: &Call) -> Option<Names> {
    let request = call.request();
    let names_files = request.files.iter().any(|file| file.is_ours());
    if request.stored.is_none() && !names_files {
        return None;
    }
    let owner @ ObjectOwner { workspace, project } = caller.owner();
    let of = request.stored.as_ref().map(|stored| {
        if call.is_about_object() {
            // An id of one kind is not valid where another kind is expected.
            let is_of_kind = |id: &StoredObjectId| Some(id.kind) == call.names_kind();
            Name::Kept(owner, stored.id.parse().ok().filter(is_of_kind))
        } else {
            Name::Answer(ResponseName { workspace, project, id: stored.id.clone() })
        }
    });
    Some(Names { of, files: names_files.then_some(owner) })
}

/// Refuses a call that names a session which its project does not have. While the store is away, the call is served: a session
/// only says what it belongs to.
pub(crate) async fn check_session(sessions: &dyn SessionStore, admitted: Admitted) -> Admitted {
    let (call, caller) = (admitted.call(), admitted.caller());
    let Some(id) = call.session() else { return admitted };
    let owner = caller.owner();
    match sessions.find(owner, id).await {
        FoundSession::Known { seat: Some(seat), .. } => admitted.at_seat(seat),
        FoundSession::Known { seat: None, .. } | FoundSession::StoreUnavailable => admitted,
        FoundSession::Unknown => {
            let message = format!("This project has no session {id}, or it has expired.");
            let fault =
                Fault::new(FaultClass::NotFound, "session_not_found", message).param("Agent-Session-Ref");
            admitted.with_refusal(Box::new(
                fault.fix("Open one with POST /v2/sessions, or leave the header out."),
            ))
        }
    }
}

/// Looks everything up, and adds it to the call.
pub(crate) async fn resolve_stored(deps: &Deps, admitted: Admitted, names: Names) -> Admitted {
    let findings = find(deps, admitted.call(), names).await;
    admitted.with_stored(findings)
}

/// What the store knows of what a call names.
pub(crate) async fn find(deps: &Deps, call: &Call, names: Names) -> StoredFindings {
    let mut findings = StoredFindings::default();
    if let Some(name) = names.of {
        let (found, object) = maker(deps, name).await;
        findings.response = Some(found);
        if let Some((provider_id, until_unix_ms)) = object {
            findings.provider_object_id = Some(provider_id);
            findings.until_unix_ms = until_unix_ms;
        }
    }
    if let Some(owner) = names.files {
        let (found, known) = keeper(deps, owner, call).await;
        findings.files = Some(found);
        findings.file_ids = known.into_iter().map(|(id, object)| (id, object.provider_id)).collect();
    }
    findings
}

/// The provider's id of an object, and when it is deleted there.
type AtProvider = (String, Option<u64>);

/// Who made the response or object, and what is known of an object.
async fn maker(deps: &Deps, name: Name) -> (FoundResponse, Option<AtProvider>) {
    match name {
        Name::Answer(name) => (deps.responses.find(name).await, None),
        Name::Kept(_, None) => (FoundResponse::Unknown, None),
        Name::Kept(owner, Some(id)) => match deps.objects.find(owner, id).await {
            FoundObject::Known(object) => {
                let known = StoredResponse {
                    request: object.request,
                    created_by: object.created_by,
                    model: object.model,
                    upstream_model: object.upstream_model,
                    is_booked: object.is_booked,
                };
                (FoundResponse::Known(known), Some((object.provider_id, object.until_unix_ms)))
            }
            FoundObject::Unknown => (FoundResponse::Unknown, None),
            FoundObject::StoreUnavailable => (FoundResponse::StoreUnavailable, None),
        },
    }
}

type Known = Vec<(String, Box<StoredObject>)>;

/// The owner of all the files that the call names, and each file once.
async fn keeper(deps: &Deps, owner: ObjectOwner, call: &Call) -> (Result<FilesKeeper, Box<Fault>>, Known) {
    let mut known: Known = Vec::new();
    let mut keeper: Option<FilesKeeper> = None;
    for file in call.request().files.iter().filter(|file| file.is_ours()) {
        if known.iter().any(|(name, _)| *name == file.id) {
            continue;
        }
        if known.len() == FILES_NAMED_MAX {
            return (Err(too_many(&file.path)), known);
        }
        let found = match file.id.parse::<StoredObjectId>() {
            Ok(id) if may_name(call, id.kind) => deps.objects.find(owner, id).await,
            _ => FoundObject::Unknown,
        };
        let object = match found {
            FoundObject::Known(object) => object,
            FoundObject::Unknown => return (Err(no_such(file)), known),
            FoundObject::StoreUnavailable => return (Err(unknown_now()), known),
        };
        match &keeper {
            Some(first) if first.principal != object.created_by => {
                return (Err(apart(&first.place, &file.path)), known);
            }
            Some(_) => {}
            None => keeper = Some(FilesKeeper { principal: object.created_by, place: file.path.clone() }),
        }
        known.push((file.id.clone(), object));
    }
    (keeper.ok_or_else(|| Box::new(Fault::internal())), known)
}

/// Whether conversations of the call's dialect name objects of a kind.
fn may_name(call: &Call, kind: StoredObjectKind) -> bool {
    match kind.kind() {
        StoredKind::File => true,
        StoredKind::CachedContent => kind.dialect() == call.dialect(),
        StoredKind::Batch | StoredKind::Video => false,
    }
}

/// The provider is never asked for a file that is not this project's: it may be another customer's.
fn no_such(file: &NamedFile) -> Box<Fault> {
    let NamedFile { id, path, .. } = file;
    let printable: String = id.chars().filter(|letter| !letter.is_control()).take(64).collect();
    let (what, code, fix) = if file.is_our_cached_content() {
        let fix = "It was deleted or has expired: create it again, or send the whole prompt.";
        ("cached prompt", "cached_content_not_found", fix)
    } else {
        ("file", "file_not_found", "Upload it with POST /v1/files, and use the id of the answer.")
    };
    let message = format!("There is no {what} '{printable}' here, which {path} names.");
    Box::new(Fault::new(FaultClass::NotFound, code, message).param(path.clone()).fix(fix))
}

fn apart(first: &str, other: &str) -> Box<Fault> {
    let message = format!("{first} and {other} name files that different credentials or accounts keep.");
    let fault = Fault::new(FaultClass::BadRequest, "files_kept_apart", message).param(other.to_owned());
    Box::new(fault.fix("Upload both to the same one: name a provider or a model with each upload."))
}

fn too_many(path: &str) -> Box<Fault> {
    let message = format!("More than {FILES_NAMED_MAX} files are named, the first of those at {path}.");
    let fault = Fault::new(FaultClass::BadRequest, "too_many_files", message).param(path.to_owned());
    Box::new(fault.fix("Name fewer files in one request."))
}

fn unknown_now() -> Box<Fault> {
    let message = "Which credential stores the files that the request names can't be looked up now.";
    let fault = Fault::new(FaultClass::Unavailable, "store_unavailable", message);
    Box::new(fault.fix("Send the request again in a moment.").retry_after_ms(1_000))
}
