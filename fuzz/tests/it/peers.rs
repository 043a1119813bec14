//! Fuzzes what peers send each other: manifests, requests of chunks, heads, states, lists of members and announcements.

use bolero::check;
use peers::fixtures::{
    RequestSize, UsageReader, addresses_of, is_block_request, members_of, read_answer, read_request,
    write_request,
};
use peers::{CHUNK_BYTES, ChunkManifest, PeerState, PromptBlocks, Wanted};
use proof::SigningKey;
use proof::document::{canonical, read, sign};
use serde_json::json;

use crate::material::fuzz;

#[test]
fn fuzz_peer_manifest() {
    fuzz("peer_manifest", check!(), |bytes| {
        let Ok(manifest) = serde_json::from_slice::<ChunkManifest>(bytes) else { return false };
        let again: ChunkManifest =
            serde_json::from_slice(&serde_json::to_vec(&manifest).expect("JSON")).expect("read");
        assert_eq!((&again, again.root()), (&manifest, manifest.root()));
        if manifest.check().is_err() {
            return false;
        }
        let chunks: usize = manifest.files.iter().map(|file| file.chunks.len()).sum();
        assert!(manifest.bytes() <= (chunks * CHUNK_BYTES) as u64);
        assert!(
            manifest.files.iter().all(|file| !file.name.contains(['/', '\\']) && !file.name.starts_with('.'))
        );
        true
    });
}

#[test]
fn fuzz_peer_request() {
    fuzz("peer_request", check!(), |bytes| {
        let Some((method, uri, headers)) = read_request(bytes) else {
            return read_answer(bytes).is_some() || is_block_request(bytes);
        };
        for name in ["host", "authorization", "content-length", "transfer-encoding"] {
            assert!(!headers.contains_key(name), "{name} is not passed on");
        }
        let again =
            read_request(&write_request(&method, &uri.to_string(), &headers)).expect("what is sent is read");
        assert_eq!((again.0, again.1), (method, uri));
        true
    });
}

#[test]
fn fuzz_peer_state() {
    let prompt = PromptBlocks::of("m", &json!({"messages": "word ".repeat(900)}));
    let wanted = Wanted { model: "m".to_owned(), adapter: None, prompt };
    fuzz("peer_state", check!(), |bytes| {
        let Ok(state) = serde_json::from_slice::<PeerState>(bytes) else { return false };
        assert!(!state.expected_wait_s(&wanted, 1.0).is_nan());
        let _ = (state.has(&wanted), state.is_same_model(&state, "m"));
        true
    });
}

#[test]
fn fuzz_peer_usage() {
    fuzz("peer_usage", check!(), |bytes| {
        let size = RequestSize { body_bytes: 100, output_max: Some(10), prompt_tokens: None };
        let judged = |is_stream: bool, piece: usize| {
            let mut reader = UsageReader::new(is_stream);
            bytes.chunks(piece.max(1)).for_each(|piece| reader.read(&bytes::Bytes::copy_from_slice(piece)));
            reader.judge(size)
        };
        let verdict = [judged(true, bytes.len()), judged(false, bytes.len())];
        assert_eq!([judged(true, 7), judged(false, 7)], verdict, "however it arrives");
        verdict.iter().all(Option::is_none)
    });
}

#[test]
fn fuzz_peer_list() {
    let key = SigningKey::from_seed(&[7; 32]).expect("a key");
    fuzz("peer_list", check!(), |bytes| {
        assert!(members_of(bytes, None).is_err(), "nobody signed it");
        let Ok(signed) = read(bytes).map(|statement| sign(statement, &key).expect("whole numbers")) else {
            return false;
        };
        assert!(canonical(&signed).is_ok());
        let text = serde_json::to_vec(&signed).expect("JSON");
        members_of(&text, Some(key.public())).is_ok()
    });
}

#[test]
fn fuzz_peer_announcement() {
    fuzz("peer_announcement", check!(), |bytes| {
        let Some(addresses) = addresses_of(bytes) else { return false };
        for address in addresses {
            let std::net::IpAddr::V4(host) = address.ip() else { panic!("{address}") };
            assert!(host.is_private() || host.is_link_local() || host.is_loopback(), "{address}");
        }
        true
    });
}
