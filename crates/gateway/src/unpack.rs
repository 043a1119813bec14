//! The content encoding of a request body: which one it is, and decoding it.

use bytes::Bytes;
use domain::limits::BODY_BYTES_MAX;
use domain::{Fault, FaultClass};
use framing::unpack::{DecompressError, Encoding};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// The body's encoding according to the headers.
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
                .fix("Send the body uncompressed, or with exactly one of gzip, deflate, br, zstd."),
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
        _ => refuse(format!("The content encoding \"{name}\" isn't supported.")),
    }
}

/// Decompresses a whole body.
///
/// # Errors
/// 413 if it grows past the bounds or costs more than its size allows, 400 if it isn't what its header says.
pub async fn unpack(packed: Bytes, encoding: Encoding, bytes_max: usize) -> Result<Bytes, Box<Fault>> {
    let bytes_max = bytes_max.min(BODY_BYTES_MAX);
    execute::unpack(packed, encoding, bytes_max).await.map_err(|trouble| match trouble {
        DecompressError::TooLarge => decode::too_large(bytes_max),
        DecompressError::TooCostly => too_costly(),
        DecompressError::Corrupt => corrupt(),
    })
}

fn too_costly() -> Box<Fault> {
    let message = "Decompressing the body takes more work than its size justifies.";
    let fault = Fault::new(FaultClass::TooLarge, "packed_body_too_costly", message);
    Box::new(
        fault
            .param("Content-Encoding")
            .fix("Send the body uncompressed, or compress it with a common encoder."),
    )
}

fn corrupt() -> Box<Fault> {
    Box::new(
        Fault::new(
            FaultClass::BadRequest,
            "invalid_content_encoding",
            "The body doesn't match its Content-Encoding.",
        )
        .param("Content-Encoding")
        .fix("Send the body uncompressed, or encode it as the header says."),
    )
}
