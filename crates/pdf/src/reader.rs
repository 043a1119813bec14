//! The process that reads one PDF: this program, started once more.

use std::io::{self, Read, Write};
use std::process::{ExitCode, Stdio};

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::limits::{MEMORY_MAX, TEXT_BYTES_MAX, TIME_MAX};
use crate::{BROKEN, ENCRYPTED, NO_TEXT, PdfText, SLOW, Unread, read};

/// The only argument of a process that is to become a reader.
const ARGUMENT: &str = "pdf-reader";
/// The reasons for reading nothing, by their number in an answer.
const UNREAD: [Unread; 4] = [ENCRYPTED, BROKEN, SLOW, NO_TEXT];
/// The answer's first byte where there is a text, before whether it is a part, the number of pages, and the text.
const READ: u8 = 0xff;
const HEAD_BYTES: usize = 2 + 8;

/// Becomes a reader where the first argument says so. To be called before anything else.
pub fn entered() -> Option<ExitCode> {
    (std::env::args_os().nth(1)? == ARGUMENT).then(|| match answered() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

fn answered() -> io::Result<()> {
    let time = TIME_MAX.as_secs();
    for (resource, most) in [(Resource::Data, MEMORY_MAX), (Resource::Cpu, time), (Resource::Core, 0)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    let mut pdf = Vec::new();
    io::stdin().read_to_end(&mut pdf)?;
    io::stdout().write_all(&written(read(&pdf)))
}

fn written(answer: Result<PdfText, Unread>) -> Vec<u8> {
    match answer {
        Ok(PdfText { text, pages, is_partial }) => {
            [&[READ, u8::from(is_partial)], &(pages as u64).to_le_bytes()[..], text.as_bytes()].concat()
        }
        Err(unread) => UNREAD
            .iter()
            .position(|one| *one == unread)
            .and_then(|place| u8::try_from(place).ok())
            .into_iter()
            .collect(),
    }
}

fn understood(answer: &[u8]) -> Option<Result<PdfText, Unread>> {
    let (&[first, is_partial], rest) =
        answer.split_first_chunk::<2>().unwrap_or((&[*answer.first()?, 0], &[]));
    if first != READ {
        return UNREAD.get(usize::from(first)).map(|unread| Err(*unread));
    }
    let (pages, text) = rest.split_first_chunk()?;
    let pages = usize::try_from(u64::from_le_bytes(*pages)).ok()?;
    let text = String::from_utf8(text.to_vec()).ok()?;
    Some(Ok(PdfText { text, pages, is_partial: is_partial != 0 }))
}

/// Reads a PDF in a separate process, which is killed when this is dropped.
pub(crate) async fn read_apart(pdf: &[u8]) -> Result<PdfText, Unread> {
    let answer = match answer_of(pdf).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(%error, "a PDF could not be read: no process could be started for it");
            return Err(SLOW);
        }
    };
    // One that ran out of memory, or that the document broke, says nothing.
    understood(&answer).unwrap_or(Err(BROKEN))
}

async fn answer_of(pdf: &[u8]) -> io::Result<Vec<u8>> {
    // The file may have been replaced by a newer version since this one was started.
    let own = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
    let mut command = Command::new(own);
    command.arg(ARGUMENT).env_clear().current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut reader = command.spawn()?;
    let (Some(mut stdin), Some(stdout)) = (reader.stdin.take(), reader.stdout.take()) else {
        return Err(io::Error::other("its pipes are missing"));
    };
    let mut answer = Vec::new();
    let mut bounded = stdout.take((HEAD_BYTES + TEXT_BYTES_MAX) as u64);
    let given = async move {
        // One that ended early reads no more of it, and its answer says why.
        let _ = stdin.write_all(pdf).await;
    };
    let (_, read) = tokio::join!(given, bounded.read_to_end(&mut answer));
    read?;
    reader.wait().await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood_as_it_was_given() {
        let text = PdfText { text: "Revenue rose by 4 %.".to_owned(), pages: 300, is_partial: true };
        for answer in [Ok(text), Err(ENCRYPTED), Err(BROKEN), Err(SLOW), Err(NO_TEXT)] {
            assert_eq!(understood(&written(answer.clone())), Some(answer));
        }
        for broken in [&[][..], &[9], &[READ], &[READ, 0, 1], &[READ, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]] {
            assert_eq!(understood(broken), None, "{broken:?}");
        }
    }
}
