//! Tests of the multipart scanner.

use super::*;

use proptest::prelude::*;

/// Names and values of a form, at the positions that the scanner found.
fn parts(boundary: &str, body: &[u8], cuts: &[usize]) -> Result<Vec<(String, bool, Vec<u8>)>, Malformed> {
    let mut scanner = Scanner::new(boundary)?;
    let mut found = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([body.len()]) {
        let cut = cut.clamp(from, body.len());
        scanner.push(&body[from..cut], &mut found)?;
        from = cut;
    }
    if !scanner.is_over() {
        return Err(Malformed("it breaks off"));
    }
    let mut parts = Vec::new();
    let mut open = None;
    for found in found {
        match found {
            Found::Begin { part, from } => open = Some((part, from)),
            Found::End { until } => {
                let (part, from) = open.take().expect("a part that began");
                let value = &body[usize::try_from(from).unwrap()..usize::try_from(until).unwrap()];
                parts.push((part.name, part.is_file, value.to_vec()));
            }
            Found::Over => assert!(open.is_none()),
        }
    }
    Ok(parts)
}

fn form(boundary: &str, parts: &[(String, bool, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, is_file, value) in parts {
        let file = if *is_file { "; filename=\"a \\b;.mp3\"\r\nContent-Type: audio/mpeg" } else { "" };
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

fn a_part() -> impl Strategy<Value = (String, bool, Vec<u8>)> {
    // What looks like the start of a boundary is as likely as anything else.
    let piece = prop_oneof![
        Just(b"\r\n--".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\r\n--x".to_vec()),
        Just(b"\r\r\n-".to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    let value = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    ("[a-z_]{1,8}(\\[\\])?", any::<bool>(), value)
}

proptest! {
    #[test]
    fn a_form_reads_the_same_however_it_is_cut(
        sent in prop::collection::vec(a_part(), 0..5),
        mut cuts in prop::collection::vec(0_usize..600, 0..12),
    ) {
        let boundary = "xYz-0";
        let is_clear = |value: &[u8]| !value.windows(9).any(|window| window == b"\r\n--xYz-0");
        prop_assume!(sent.iter().all(|(_, _, value)| is_clear(value)));
        cuts.sort_unstable();
        let body = form(boundary, &sent);
        prop_assert_eq!(parts(boundary, &body, &cuts), Ok(sent.clone()));
        let each: Vec<usize> = (0..body.len()).collect();
        prop_assert_eq!(parts(boundary, &body, &each), Ok(sent));
    }

    #[test]
    fn whatever_comes_is_read_or_refused_the_same_however_it_is_cut(
        body in prop::collection::vec(prop_oneof![
            Just(b"--b\r\n".to_vec()), Just(b"\r\n--b".to_vec()), Just(b"--".to_vec()), Just(b"\r\n".to_vec()),
            Just(b"Content-Disposition: form-data; name=\"model\"\r\n\r\n".to_vec()), Just(b"m".to_vec()),
        ], 0..12).prop_map(|pieces| pieces.concat()),
    ) {
        let each: Vec<usize> = (0..body.len()).collect();
        prop_assert_eq!(parts("b", &body, &[]), parts("b", &body, &each));
    }
}

fn one(head: &str) -> Result<(String, bool), Malformed> {
    let body = format!("--b\r\n{head}\r\n\r\nv\r\n--b--");
    parts("b", body.as_bytes(), &[]).map(|mut parts| {
        let (name, is_file, _) = parts.remove(0);
        (name, is_file)
    })
}

#[test]
fn a_part_says_its_name_and_whether_it_is_a_file() {
    for (head, name, is_file) in [
        ("Content-Disposition: form-data; name=\"model\"", "model", false),
        ("content-disposition:form-data;name=model", "model", false),
        (
            "Content-Type: text/plain\r\nContent-Disposition: form-data; name=\"include[]\"",
            "include[]",
            false,
        ),
        ("Content-Disposition: form-data; name=\"file\"; filename=\"a=b; c.mp3\"", "file", true),
        ("Content-Disposition: form-data; name=\"file\"; filename=\"C:\\\\\"", "file", true),
        (
            "Content-Disposition: form-data; name=\"file\"; filename=\"x\"; filename*=UTF-8''%e2%82%ac",
            "file",
            true,
        ),
        ("Content-Disposition: form-data; filename=\"x\"; name=\"file\"\r\nContent-Length: 1", "file", true),
        ("Content-Disposition: form-data; name=\"f\"\r\nContent-Transfer-Encoding: Binary", "f", false),
    ] {
        assert_eq!(one(head), Ok((name.to_owned(), is_file)), "{head}");
    }
}

#[test]
fn an_ambiguous_part_header_is_refused() {
    for head in [
        "Content-Type: text/plain",
        "Content-Disposition: attachment; name=\"model\"",
        "Content-Disposition: form-data",
        "Content-Disposition: form-data; name=\"\"",
        "Content-Disposition: form-data; name=\"a\"; name=\"model\"",
        "Content-Disposition: form-data; name*=UTF-8''model",
        "Content-Disposition: form-data; name=\"a\\\"; name=\"model\"",
        "Content-Disposition: form-data; name=\"file\"; filename=\"a\\\"; name=\"model\"",
        "Content-Disposition: form-data; name=\"file\"; filename=\"a\"b\"",
        "Content-Disposition: form-data; name=\"model",
        "Content-Disposition: form-data; name=\"a b\"",
        "Content-Disposition: form-data; name=\"m\"\r\nContent-Disposition: form-data; name=\"model\"",
        "Content-Disposition: form-data;\r\n name=\"model\"",
        "Content-Disposition: form-data; name=\"model\"\nX: y",
        "Content-Disposition : form-data; name=\"model\"",
        "Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: base64",
    ] {
        assert!(one(head).is_err(), "{head}");
    }
    let part = "Content-Disposition: form-data; name=\"model\"\r\n\r\nm";
    for body in [
        format!("preamble\r\n--b\r\n{part}\r\n--b--"),
        format!("\r\n--b\r\n{part}\r\n--b--"),
        format!("--b \r\n{part}\r\n--b--"),
        format!("--b\n{part}\r\n--b--"),
        format!("--b\r\n{part}\r\n--bc\r\n{part}\r\n--b--"),
        format!("--b\r\n{part}\r\n--b--epilogue"),
        format!("--b\r\n{part}\r\n--b--\r\nepilogue"),
        format!("--b\r\n{part}\r\n--b"),
        format!("--b\r\n{part}"),
        String::new(),
    ] {
        assert!(parts("b", body.as_bytes(), &[]).is_err(), "{body}");
    }
}

#[test]
fn a_form_has_bounds() {
    let many = vec![("a".to_owned(), false, Vec::new()); PARTS_MAX];
    assert_eq!(parts("b", &form("b", &many), &[]).map(|parts| parts.len()), Ok(PARTS_MAX));
    let more = vec![("a".to_owned(), false, Vec::new()); PARTS_MAX + 1];
    assert_eq!(parts("b", &form("b", &more), &[]), Err(Malformed("it has too many parts")));
    let long =
        format!("X: {}\r\nContent-Disposition: form-data; name=\"a\"", "x".repeat(PART_HEAD_BYTES_MAX));
    assert_eq!(one(&long), Err(Malformed("the headers of a part are too long")));
    for boundary in ["", "a b", "a\"", "ä", &"b".repeat(BOUNDARY_BYTES_MAX + 1)] {
        assert!(Scanner::new(boundary).is_err(), "{boundary}");
    }
}

#[test]
fn a_type_names_its_boundary_once() {
    for (content_type, expected) in [
        ("multipart/form-data; boundary=abc", Some("abc")),
        ("Multipart/Form-Data;boundary=\"a:b\"; charset=utf-8", Some("a:b")),
        ("multipart/form-data; charset=utf-8; Boundary=abc", Some("abc")),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/mixed; boundary=a", None),
        ("application/json", None),
    ] {
        assert_eq!(boundary(content_type).ok(), expected, "{content_type}");
    }
}
