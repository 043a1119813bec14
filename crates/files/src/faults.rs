//! What clients are told of files that can't be kept, sent or read.

use domain::limits::FIRST_PART_BYTES_MIN;
use domain::{Fault, FaultClass, FileId, KeptFile};

use crate::content_type::Mislabelled;
use crate::store::FileLimits;

const RESUME: &str =
    "Ask how far it is by a PUT without a body and with `Content-Range: bytes */SIZE`, and go on from there.";

pub(crate) fn away() -> Box<Fault> {
    let message = "Files can't be kept or read now: their store does not answer, or takes nothing.";
    let fault = Fault::new(FaultClass::Unavailable, "file_store_unavailable", message);
    Box::new(fault.fix("Send the request again in a moment; what has arrived is kept.").retry_after_ms(2_000))
}

pub(crate) fn no_upload() -> Box<Fault> {
    let message = "This address takes no content: it was used, its time is over, or it is another one.";
    let fault = Fault::new(FaultClass::NotFound, "upload_not_found", message);
    Box::new(
        fault.fix("Make a file by POST /files, and send its content to the new upload_url within an hour."),
    )
}

pub(crate) fn not_next(file: &KeptFile, offset: u64) -> Box<Fault> {
    let message =
        format!("The part begins at byte {offset}, and {} bytes of {} have arrived.", file.received, file.id);
    Box::new(Fault::new(FaultClass::Conflict, "upload_offset", message).fix(RESUME).should_retry(false))
}

pub(crate) fn superseded(id: FileId) -> Box<Fault> {
    let message =
        format!("Another request sends the content of {id}, so this one is refused: theirs are not mixed.");
    let fix = "Send a file by one request at a time. Ask how far it is by a PUT without a body and with \
        `Content-Range: bytes */SIZE`, or send all of it again.";
    Box::new(Fault::new(FaultClass::Conflict, "upload_superseded", message).fix(fix).should_retry(false))
}

pub(crate) fn too_large(limits: &FileLimits, declared: Option<u64>) -> Box<Fault> {
    let most = declared.map_or(limits.bytes_max, |declared| declared.min(limits.bytes_max));
    let message = format!("The file is larger than {most} bytes.");
    let fix = match declared {
        Some(declared) if declared <= limits.bytes_max => {
            "Send as much as was declared, or make another file with its true size."
        }
        _ => "Split it, or have the operator raise files.bytes_max.",
    };
    Box::new(Fault::new(FaultClass::TooLarge, "file_too_large", message).fix(fix).should_retry(false))
}

pub(crate) fn too_much(limits: &FileLimits) -> Box<Fault> {
    let message = format!(
        "This project may keep {} bytes of files, and has no room for these.",
        limits.project_bytes_max
    );
    let fault = Fault::new(FaultClass::Limited, "too_many_files", message);
    Box::new(fault.fix("Delete files that you no longer need.").should_retry(false))
}

pub(crate) fn too_short(file: &KeptFile, declared: u64) -> Box<Fault> {
    let message = format!("{} has {declared} bytes, and {} have arrived.", file.id, file.received);
    Box::new(Fault::new(FaultClass::BadRequest, "file_incomplete", message).fix(RESUME).should_retry(false))
}

pub(crate) fn short_part() -> Box<Fault> {
    let message =
        format!("The first part of a file has at least {FIRST_PART_BYTES_MIN} bytes, unless it is the last.");
    let fault = Fault::new(FaultClass::BadRequest, "upload_part_too_small", message);
    Box::new(fault.fix("Send parts of a megabyte or more.").should_retry(false))
}

pub(crate) fn mislabelled(declared: &str, wrong: &Mislabelled) -> Box<Fault> {
    let declared: String = declared.chars().filter(|c| c.is_ascii_graphic()).take(80).collect();
    let message = format!("The file is declared as {declared}, and begins like {}.", wrong.found);
    let fault = Fault::new(FaultClass::MediaType, "file_type_mismatch", message).param("content_type");
    Box::new(fault.fix("Make it again with its own content_type, or without one.").should_retry(false))
}

pub(crate) fn held(id: FileId) -> Box<Fault> {
    let message = format!("A legal hold keeps {id} from being deleted.");
    let fault = Fault::new(FaultClass::Conflict, "legal_hold", message);
    Box::new(fault.fix("Ask who manages the workspace to release the hold.").should_retry(false))
}

pub(crate) fn unknown(id: FileId) -> Box<Fault> {
    let fault = Fault::new(FaultClass::NotFound, "file_not_found", format!("There is no file {id} here."));
    Box::new(fault.fix("Use the id of a file of this project that hasn't been deleted and hasn't expired."))
}

pub(crate) fn damaged(id: FileId) -> Box<Fault> {
    let message = format!("The content of {id} does not open: it was changed, or its key is gone.");
    let fault = Fault::new(FaultClass::NotFound, "file_damaged", message);
    Box::new(
        fault
            .fix("Upload it again, and tell the operator: the audit names what was refused.")
            .should_retry(false),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_code_and_a_remedy() {
        let limits = FileLimits { bytes_max: 10, project_bytes_max: 20, keep_days: 1 };
        let id = FileId::new(1, [1; 10]);
        for (fault, class, code) in [
            (away(), FaultClass::Unavailable, "file_store_unavailable"),
            (no_upload(), FaultClass::NotFound, "upload_not_found"),
            (too_large(&limits, Some(5)), FaultClass::TooLarge, "file_too_large"),
            (too_large(&limits, None), FaultClass::TooLarge, "file_too_large"),
            (too_much(&limits), FaultClass::Limited, "too_many_files"),
            (
                mislabelled("image/png", &Mislabelled { found: "x" }),
                FaultClass::MediaType,
                "file_type_mismatch",
            ),
            (superseded(id), FaultClass::Conflict, "upload_superseded"),
            (short_part(), FaultClass::BadRequest, "upload_part_too_small"),
            (held(id), FaultClass::Conflict, "legal_hold"),
            (unknown(id), FaultClass::NotFound, "file_not_found"),
            (damaged(id), FaultClass::NotFound, "file_damaged"),
        ] {
            assert_eq!((fault.class, fault.code), (class, code));
            assert!(fault.fix.is_some(), "{code}");
        }
    }
}
