//! How a finished task is written to a spool file: frames of a length, a checksum and the task. Every byte may be torn.

use domain::{
    KeyId, ObjectOwner, ProjectId, RunTask, Sealed, SessionId, TaskEvent, TaskId, TaskLogLine, TaskPriority,
    TaskStatus, TraceId, WorkspaceId,
};
use runs::{TaskContent, TaskPart, TaskWrite};
use serde::{Deserialize, Serialize};

/// At the start of each file; the last byte is the version of the encoding.
pub(crate) const MAGIC: [u8; 8] = *b"tgtasks\x01";
const LENGTH_BYTES: usize = 4;
const HEAD_BYTES: usize = 2 * LENGTH_BYTES;

/// A task as it is encoded.
#[derive(Serialize, Deserialize)]
struct Spooled<'a> {
    /// The task, its workspace, project and key.
    ids: [u128; 4],
    app: &'a str,
    /// Status, priority.
    codes: [u8; 2],
    tries: u32,
    /// When it was created, changed, due, ended, and when it is deleted.
    unix_ms: [u64; 5],
    ttl_ms: Option<u64>,
    events: Vec<TaskEvent>,
    logs: Vec<TaskLogLine>,
    chat: Option<u128>,
    #[serde(borrow)]
    contents: Vec<SpooledContent<'a>>,
}

#[derive(Serialize, Deserialize)]
struct SpooledContent<'a> {
    part: &'a str,
    digest: [u8; 32],
    version: u32,
    key_id: &'a str,
    bytes: &'a [u8],
}

/// The frame of a task that has ended; `None` where it is too long for one.
pub(crate) fn encode(task: &RunTask, contents: &[TaskContent]) -> Option<Vec<u8>> {
    let RunTask { owner, created_unix_ms, updated_unix_ms, due_unix_ms, until_unix_ms, .. } = task;
    let content = |content| {
        let TaskContent { part, digest, sealed, .. }: &TaskContent = content;
        let Sealed { version, key_id, bytes } = sealed;
        SpooledContent { part: part.as_str(), digest: *digest, version: *version, key_id, bytes }
    };
    let spooled = Spooled {
        ids: [task.id.as_uuid(), owner.workspace.as_uuid(), owner.project.as_uuid(), task.key.as_uuid()]
            .map(uuid::Uuid::as_u128),
        app: &task.app,
        codes: [task.status.code(), task.priority.rank()],
        tries: task.tries,
        unix_ms: [
            *created_unix_ms,
            *updated_unix_ms,
            *due_unix_ms,
            task.ended_unix_ms.unwrap_or(*updated_unix_ms),
            *until_unix_ms,
        ],
        ttl_ms: task.ttl_ms,
        events: task.events.clone(),
        logs: task.logs.clone(),
        chat: task.chat.map(|chat| chat.as_uuid().as_u128()),
        contents: contents.iter().map(content).collect(),
    };
    let mut frame = postcard::to_extend(&spooled, vec![0; HEAD_BYTES]).ok()?;
    let (head, body) = frame.split_at_mut_checked(HEAD_BYTES)?;
    let length = u32::try_from(body.len()).ok()?.to_le_bytes();
    let numbers = length.into_iter().chain(crc32fast::hash(body).to_le_bytes());
    head.iter_mut().zip(numbers).for_each(|(to, from)| *to = from);
    Some(frame)
}

/// The tasks of a file, up to the first frame that is torn, and how many bytes follow them; `None` if another version wrote it.
pub(crate) fn decode(file: &[u8]) -> Option<(Vec<TaskWrite>, usize)> {
    // A process may have died before the first write was whole.
    if file.len() < MAGIC.len() {
        return Some((Vec::new(), file.len()));
    }
    let mut rest = file.strip_prefix(&MAGIC)?;
    let mut writes = Vec::new();
    while let Some((body, after)) = next_frame(rest) {
        let Some(write) = postcard::from_bytes(body).ok().and_then(write_of) else { break };
        writes.push(write);
        rest = after;
    }
    Some((writes, rest.len()))
}

fn next_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    let (checksum, rest) = rest.split_first_chunk::<LENGTH_BYTES>()?;
    let (body, after) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    // Zeros, which a power failure leaves, have the checksum of nothing.
    (!body.is_empty() && u32::from_le_bytes(*checksum) == crc32fast::hash(body)).then_some((body, after))
}

fn write_of(spooled: Spooled<'_>) -> Option<TaskWrite> {
    let [id, workspace, project, key] = spooled.ids.map(uuid::Uuid::from_u128);
    let [status, priority] = spooled.codes;
    let [created_unix_ms, updated_unix_ms, due_unix_ms, ended, until_unix_ms] = spooled.unix_ms;
    let project = ProjectId::from_uuid(project);
    let task = RunTask {
        id: TaskId::from_uuid(id),
        owner: ObjectOwner { workspace: WorkspaceId::from_uuid(workspace), project },
        key: KeyId::from_uuid(key),
        app: spooled.app.to_owned(),
        status: TaskStatus::by_code(status)?,
        priority: TaskPriority::by_rank(priority)?,
        tries: spooled.tries,
        created_unix_ms,
        updated_unix_ms,
        due_unix_ms,
        ended_unix_ms: Some(ended),
        until_unix_ms,
        ttl_ms: spooled.ttl_ms,
        cancelled_unix_ms: None,
        events: spooled.events,
        logs: spooled.logs,
        rating: None,
        notifies: false,
        chat: spooled.chat.map(|chat| SessionId::from_uuid(uuid::Uuid::from_u128(chat))),
    };
    let content = |content: SpooledContent<'_>| {
        let SpooledContent { part, digest, version, key_id, bytes } = content;
        let sealed = Sealed { version, key_id: key_id.to_owned(), bytes: bytes.to_vec() };
        let request = TraceId::from_uuid(id);
        Some(TaskContent { part: TaskPart::by_name(part)?, digest, project, request, sealed })
    };
    let contents = spooled.contents.into_iter().map(content).collect::<Option<_>>()?;
    Some(TaskWrite::keep_ended(task, contents))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finished(number: u64) -> (RunTask, Vec<TaskContent>) {
        let owner =
            ObjectOwner { workspace: WorkspaceId::new(1, [1; 10]), project: ProjectId::new(1, [2; 10]) };
        let id = TaskId::new(number, [3; 10]);
        let event = TaskEvent::new(number, TaskStatus::Completed);
        let task = RunTask {
            status: TaskStatus::Completed,
            priority: TaskPriority::High,
            tries: 1,
            updated_unix_ms: number + 1,
            due_unix_ms: number + 2,
            ended_unix_ms: Some(number + 3),
            ttl_ms: Some(60_000),
            events: vec![event, event],
            logs: vec![TaskLogLine { unix_ms: number, text: "tried".to_owned() }],
            chat: Some(SessionId::new(number, [5; 10])),
            ..RunTask::queued(
                (id, owner, KeyId::new(1, [4; 10])),
                "publisher/model".to_owned(),
                (number, number + 4),
            )
        };
        let content = |part| TaskContent {
            part,
            digest: [u8::try_from(number % 251).unwrap_or_default(); 32],
            project: owner.project,
            request: TraceId::from_uuid(*id.as_uuid()),
            sealed: Sealed { version: 1, key_id: "k".to_owned(), bytes: vec![7; 300] },
        };
        (task, vec![content(TaskPart::Request), content(TaskPart::Result)])
    }

    fn written((task, contents): (RunTask, Vec<TaskContent>)) -> TaskWrite {
        TaskWrite::keep_ended(task, contents)
    }

    fn file_of(count: u64) -> (Vec<u8>, Vec<usize>) {
        let (mut file, mut ends) = (MAGIC.to_vec(), Vec::new());
        for number in 1..=count {
            let (task, contents) = finished(number);
            file.extend(encode(&task, &contents).unwrap());
            ends.push(file.len());
        }
        (file, ends)
    }

    #[test]
    fn what_is_written_reads_back_up_to_the_first_torn_byte() {
        let (file, ends) = file_of(3);
        let all: Vec<_> = (1..=3).map(finished).map(written).collect();
        assert_eq!(decode(&file).unwrap(), (all.clone(), 0));
        let zeros = [file.as_slice(), &[0; 64]].concat();
        assert_eq!(decode(&zeros).unwrap(), (all.clone(), 64));
        let garbage = [1, 0, 0, 0].into_iter().chain(crc32fast::hash(b"x").to_le_bytes()).chain(*b"x");
        let of_nobody = file.iter().copied().chain(garbage).collect::<Vec<_>>();
        assert_eq!(decode(&of_nobody).unwrap(), (all.clone(), 9));
        for length in 0..file.len() {
            let whole = ends.iter().filter(|end| **end <= length).count();
            assert_eq!(decode(&file[..length]).unwrap().0, all[..whole], "{length}");
        }
        assert_eq!(decode(b"tgtasks\x02of another version"), None);
    }

    proptest! {
        #[test]
        fn no_damage_makes_a_task_of_other_bytes(at in 8_usize..2_000, byte in 1_u8..) {
            let (mut file, _) = file_of(3);
            let at = at.min(file.len() - 1);
            file[at] ^= byte;
            let all: Vec<_> = (1..=3).map(finished).map(written).collect();
            let (left, _) = decode(&file).unwrap();
            prop_assert!(left.len() < 3 && all.starts_with(&left));
        }

        #[test]
        fn hostile_files_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[MAGIC.as_slice(), &bytes].concat());
            let _ = decode(&bytes);
        }
    }
}
