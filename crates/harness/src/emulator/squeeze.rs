//! Compressed bodies: valid gzip, and decompression bombs.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::{Compress, Compression, Crc, FlushCompress};

use super::body::Step;
use super::play::Part;

const BLOCK_BYTES: usize = 1024 * 1024;
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
const BOMB_HEAD: &[u8] = b"{\"id\":\"chatcmpl-bomb\",\"object\":\"chat.completion\",\"padding\":\"";
const BOMB_TAIL: &[u8] = b"\"}";

/// Compresses parts as one gzip body, flushed so that each is decodable as soon as it arrives.
pub(crate) fn parts(parts: Vec<Part>) -> io::Result<Vec<Part>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let last = parts.len().saturating_sub(1);
    let mut squeezed = Vec::with_capacity(parts.len());
    for (at, part) in parts.into_iter().enumerate() {
        encoder.write_all(&part.bytes)?;
        if at == last {
            encoder.try_finish()?;
        } else {
            encoder.flush()?;
        }
        let bytes = Bytes::from(std::mem::take(encoder.get_mut()));
        squeezed.push(Part { bytes, ..part });
    }
    Ok(squeezed)
}

/// A gzip body of valid JSON that unpacks to about `size` bytes. One compressed block of spaces is sent
/// repeatedly, so that ten gigabytes cost neither time nor memory here.
pub(crate) fn bomb(size: u64) -> io::Result<Vec<Step>> {
    let spaces = vec![b' '; BLOCK_BYTES];
    let block = Bytes::from(deflate(&spaces, FlushCompress::Full)?);
    let blocks = size / BLOCK_BYTES as u64;
    let mut sum = Crc::new();
    sum.update(BOMB_HEAD);
    let mut one = Crc::new();
    one.update(&spaces);
    for _ in 0..blocks {
        sum.combine(&one);
    }
    sum.update(BOMB_TAIL);

    let mut head = GZIP_HEAD.to_vec();
    head.extend(deflate(BOMB_HEAD, FlushCompress::Full)?);
    let mut tail = deflate(BOMB_TAIL, FlushCompress::Finish)?;
    tail.extend(sum.sum().to_le_bytes());
    tail.extend(sum.amount().to_le_bytes());

    let write = |bytes: Bytes| Step::Write { bytes, tokens: 0 };
    let mut steps = vec![write(Bytes::from(head))];
    for _ in 0..blocks {
        steps.push(write(block.clone()));
    }
    steps.push(write(Bytes::from(tail)));
    Ok(steps)
}

/// Raw deflate output without back-references to earlier data.
fn deflate(input: &[u8], flush: FlushCompress) -> io::Result<Vec<u8>> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut output = Vec::with_capacity(input.len() / 64 + 256);
    compress.compress_vec(input, &mut output, flush).map_err(io::Error::other)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_bomb_is_small_valid_gzip_of_valid_json() {
        let steps = bomb(8 * BLOCK_BYTES as u64).unwrap();
        let packed: Vec<u8> = steps
            .iter()
            .flat_map(|step| match step {
                Step::Write { bytes, .. } => bytes.to_vec(),
                other => panic!("unexpected {other:?}"),
            })
            .collect();
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
        assert!(packed.len() * 500 < text.len(), "{} bytes packed", packed.len());
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}
