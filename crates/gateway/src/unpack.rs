//! Compressed request bodies: unpacked within the body's bound and a ratio, so that a bomb costs what it weighs.

use async_compression::tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::{Bytes, BytesMut};
use domain::limits::{BODY_BYTES_MAX, BODY_RATIO_FREE_BYTES, BODY_RATIO_MAX};
use domain::{Fault, FaultClass};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use tokio::io::{AsyncRead, AsyncReadExt};

/// 8 MiB, what RFC 9659 allows on the web; a larger window is memory that the sender chooses.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const STEP_BYTES: usize = 64 * 1024;

/// A single encoding that we can undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// What the headers say of the body's encoding.
///
/// # Errors
/// 415 for an unknown encoding, and for several.
pub fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Box<Fault>> {
    let mut all = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = all.next() else { return Ok(None) };
    let refuse = |message: String| {
        Err(Box::new(
            Fault::new(FaultClass::MediaType, "unsupported_content_encoding", message)
                .param("Content-Encoding")
                .fix("Send the body plain, or with exactly one of gzip, deflate, br, zstd."),
        ))
    };
    let name = value.to_str().unwrap_or_default().trim().to_ascii_lowercase();
    if all.next().is_some() || name.contains(',') {
        return refuse("The body is encoded more than once.".to_owned());
    }
    match name.as_str() {
        "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Encoding::Gzip)),
        "deflate" => Ok(Some(Encoding::Deflate)),
        "br" => Ok(Some(Encoding::Brotli)),
        "zstd" => Ok(Some(Encoding::Zstd)),
        _ => refuse(format!("The content encoding \"{name}\" is not known.")),
    }
}

/// Unpacks a whole body.
///
/// # Errors
/// 413 when it grows past the bounds, 400 when it isn't what its header says.
pub async fn unpack(packed: &Bytes, encoding: Encoding, bytes_max: usize) -> Result<Bytes, Box<Fault>> {
    let input: &[u8] = packed;
    match encoding {
        Encoding::Gzip => {
            let mut decoder = GzipDecoder::new(input);
            decoder.multiple_members(true);
            read(decoder, packed.len(), bytes_max).await
        }
        Encoding::Deflate => {
            read(DeflateDecoder::new(without_zlib_head(input)), packed.len(), bytes_max).await
        }
        Encoding::Brotli => read(BrotliDecoder::new(input), packed.len(), bytes_max).await,
        Encoding::Zstd => {
            let window = DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX);
            read(ZstdDecoder::with_params(input, &[window]), packed.len(), bytes_max).await
        }
    }
}

/// HTTP's "deflate" is zlib's format; some clients send the bare stream. The head tells them apart.
fn without_zlib_head(input: &[u8]) -> &[u8] {
    match input {
        [method, flags, rest @ ..]
            if method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0 =>
        {
            rest
        }
        _ => input,
    }
}

async fn read<R: AsyncRead + Unpin>(
    mut from: R,
    packed: usize,
    bytes_max: usize,
) -> Result<Bytes, Box<Fault>> {
    let bytes_max = bytes_max.min(BODY_BYTES_MAX);
    let mut whole = BytesMut::new();
    loop {
        whole.reserve(STEP_BYTES);
        let read = from.read_buf(&mut whole).await.map_err(|_| corrupt())?;
        if read == 0 {
            return Ok(whole.freeze());
        }
        let bomb = whole.len() > BODY_RATIO_FREE_BYTES && whole.len() > packed.saturating_mul(BODY_RATIO_MAX);
        if bomb || whole.len() > bytes_max {
            return Err(line::too_large(bytes_max));
        }
        // Unpacking never waits, so it gives the core's other requests their turn by itself.
        tokio::task::yield_now().await;
    }
}

fn corrupt() -> Box<Fault> {
    Box::new(
        Fault::new(
            FaultClass::BadRequest,
            "invalid_content_encoding",
            "The body is not what its Content-Encoding says.",
        )
        .param("Content-Encoding")
        .fix("Send the body plain, or encode it as the header says."),
    )
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;
    use async_compression::tokio::write::GzipEncoder;
    use tokio::io::AsyncWriteExt;

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// Bytes that hardly pack.
    fn noise(count: u32) -> Vec<u8> {
        (0..count).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect()
    }

    #[test]
    fn the_cap_holds_for_what_is_unpacked() {
        run(async {
            let mut encoder = GzipEncoder::new(Vec::new());
            encoder.write_all(&noise(5_000)).await.unwrap();
            encoder.shutdown().await.unwrap();
            let packed = Bytes::from(encoder.into_inner());
            assert_eq!(unpack(&packed, Encoding::Gzip, 5_000).await.unwrap(), noise(5_000));
            let fault = unpack(&packed, Encoding::Gzip, 4_999).await.unwrap_err();
            assert_eq!(fault.class, FaultClass::TooLarge);
            let twice = Bytes::from([packed.as_ref(), &packed].concat());
            assert_eq!(unpack(&twice, Encoding::Gzip, 20_000).await.unwrap().len(), 10_000);
            let cut = packed.slice(..packed.len() / 2);
            assert_eq!(unpack(&cut, Encoding::Gzip, 20_000).await.unwrap_err().class, FaultClass::BadRequest);
        });
    }
}
