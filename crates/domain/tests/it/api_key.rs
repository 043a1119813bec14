//! The tests of `domain::api_key`.

use domain::KeyId;
use domain::api_key::{
    access_key_id, encode, encode_access_secret, is_well_formed, of_access_key, without_client_prefix,
};

#[test]
fn only_before_a_key_of_ours_is_a_prefix_of_others_taken_away() {
    for (text, key) in [
        ("hyb_tg_live_x", "tg_live_x"),
        ("stim_cli_tg_test_x", "tg_test_x"),
        ("tg_live_x", "tg_live_x"),
        ("hyb_x", "hyb_x"),
        ("hyb_hyb_tg_live_x", "hyb_hyb_tg_live_x"),
        ("stim_cli_", "stim_cli_"),
    ] {
        assert_eq!(without_client_prefix(text), key);
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        (0..8).fold(crc ^ u32::from(*byte), step)
    })
}

#[test]
fn the_checksum_is_the_usual_crc32() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let key = encode(true, &[41; 32]);
    let (rest, check) = key.split_at(key.len() - 6);
    // The lowest digit comes first.
    let read = check.bytes().rev().fold(0_u32, |sum, letter| {
        let digit = DIGITS.iter().position(|digit| *digit == letter).unwrap();
        sum.wrapping_mul(62).wrapping_add(u32::try_from(digit).unwrap())
    });
    assert_eq!(read, crc32(rest.as_bytes()));
}

#[test]
fn a_key_is_well_formed_and_any_other_character_breaks_it() {
    let key = encode(true, &[41; 32]);
    assert!(is_well_formed(&key), "{key}");
    for index in 0..key.len() {
        let mut other = key.clone().into_bytes();
        other[index] = if other[index] == b'x' { b'y' } else { b'x' };
        assert!(!is_well_formed(&String::from_utf8(other).unwrap()), "place {index}");
    }
    assert!(encode(false, &[0; 32]).starts_with("tg_test_"));
}

#[test]
fn an_access_key_names_its_key() {
    let id = KeyId::new(1_800_000_000_000, [0xAB; 10]);
    let text = access_key_id(id);
    assert_eq!((text.len(), of_access_key(&text)), (36, Some(id)));
    let lower = text.to_lowercase();
    for other in ["", "TGAK", "AKIAIOSFODNN7EXAMPLE", &lower, text.strip_prefix('T').unwrap()] {
        assert_eq!(of_access_key(other), None, "{other}");
    }
    assert_eq!(encode_access_secret(&[61; 40]), "z".repeat(40));
}
