//! Forms with files: read as they arrive, and forwarded with the model renamed.

use bytes::Bytes;
use conversation::request::Request;
use domain::{Fault, FaultClass, Operation};
use operations::FormReader;

const FILE: &str = "file";
const IMAGE: &str = "image";
const INPUT: &str = "input_reference";

fn form(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (name, value) in parts {
        let is_file = [FILE, IMAGE, "image[]", "mask"].contains(name);
        let file = if is_file { "; filename=\"a.mp3\"" } else { "" };
        body.push_str(&format!(
            "--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n"
        ));
    }
    body.push_str("--b--\r\n");
    body.into_bytes()
}

fn read(parts: &[(&str, &str)]) -> Result<(Request, Bytes), Box<Fault>> {
    read_as(Operation::Transcribe, parts)
}

fn read_as(operation: Operation, parts: &[(&str, &str)]) -> Result<(Request, Bytes), Box<Fault>> {
    let body = form(parts);
    let mut reader = FormReader::new("multipart/form-data; boundary=b", operation)?;
    for byte in &body {
        reader.push(std::slice::from_ref(byte))?;
    }
    reader.end()?;
    Ok((reader.request(&body)?, Bytes::from(body)))
}

#[test]
fn the_model_is_renamed_and_all_else_stays() {
    let parts =
        [("prompt", "Names: Ann"), ("model", "openai/whisper-1"), (FILE, "sound"), ("stream", "True")];
    let (request, body) = read(&parts).unwrap();
    assert_eq!((&*request.model, request.stream, request.prompt_bytes), ("openai/whisper-1", true, 10));
    let sent = request.form().unwrap().upstream_body(&body, "whisper-1").concat();
    assert_eq!(sent, form(&[parts[0], ("model", "whisper-1"), parts[2], parts[3]]));
    let same = request.form().unwrap().upstream_body(&body, "openai/whisper-1");
    assert_eq!(same, [body]);
}

#[test]
fn what_is_wrong_is_said_with_its_name() {
    let check = |parts: &[(&str, &str)], code: &str, param: &str| {
        let fault = read(parts).map(drop).unwrap_err();
        assert_eq!((fault.code, fault.param.as_deref()), (code, Some(param)), "{parts:?}");
        assert!(fault.fix.is_some());
    };
    check(&[(FILE, "sound")], "missing_required_parameter", "model");
    check(&[("model", "m")], "missing_required_parameter", FILE);
    check(&[("model", ""), (FILE, "")], "invalid_value", "model");
    check(&[("model", "a\nb"), (FILE, "")], "invalid_value", "model");
    check(&[("model", "m"), (FILE, "x"), ("model", "n")], "duplicate_field", "model");
    check(&[("model", "m"), (FILE, "x"), (FILE, "y")], "duplicate_field", FILE);
    check(&[("model", "m"), ("stream", "maybe"), (FILE, "x")], "invalid_value", "stream");
    let formats = [("model", "m"), ("response_format", "a"), ("response_format", "b")];
    check(&formats, "duplicate_field", "response_format");
}

fn upload(parts: &[(&str, &str)]) -> Result<(Request, Bytes), Box<Fault>> {
    read_as(Operation::File, parts)
}

#[test]
fn a_file_goes_where_its_form_says_and_its_keeper_reads_nothing_of_that() {
    let purpose = ("purpose", "batch");
    let rest = form(&[purpose, (FILE, "{}")]);
    for own in ["provider", "custom_llm_provider", "model"] {
        for parts in [[(own, "openai"), purpose, (FILE, "{}")], [purpose, (own, "openai"), (FILE, "{}")]] {
            let (request, body) = upload(&parts).unwrap();
            let form = request.form().unwrap();
            let owner = if own == "model" { Some(&*request.model) } else { form.provider.as_deref() };
            assert_eq!(owner, Some("openai"), "{own}");
            assert_eq!(form.upstream_body(&body, "m").concat(), rest, "{own}");
        }
        let fault = upload(&[purpose, (FILE, "{}"), (own, "openai")]).map(drop).unwrap_err();
        assert_eq!((fault.code, fault.param.as_deref()), ("field_behind_file", Some(own)));
    }
    let (request, body) = upload(&[(FILE, "{}"), purpose]).unwrap();
    assert_eq!((&*request.model, &request.form().unwrap().provider), ("", &None));
    assert_eq!(request.form().unwrap().upstream_body(&body, "m"), [body]);
    assert_eq!(upload(&[purpose]).map(drop).unwrap_err().param.as_deref(), Some(FILE));
    let twice = upload(&[("provider", "a"), ("provider", "b"), (FILE, "{}")]);
    assert_eq!(twice.map(drop).unwrap_err().code, "duplicate_field");
    let other = ("purpose", "user_data");
    for parts in [[other, purpose, (FILE, "{}")], [other, (FILE, "{}"), purpose]] {
        let fault = upload(&parts).map(drop).unwrap_err();
        assert_eq!((fault.code, fault.param.as_deref()), ("duplicate_field", Some("purpose")));
    }
}

#[test]
fn pictures_come_by_their_own_names() {
    let pictures = [("image[]", "one"), ("image[]", "two"), ("mask", "three"), ("stream", "true")];
    let parts = [&[("model", "openai/p"), ("prompt", "a tide"), ("n", "3")][..], &pictures].concat();
    let (request, body) = read_as(Operation::ImageEdits, &parts).unwrap();
    assert_eq!((request.stream, request.prompt_bytes, request.units.images), (true, 6, 3));
    let read = request.form().unwrap();
    assert_eq!(read.files, 3);
    let renamed = [&[("model", "p")], &parts[1..]].concat();
    assert_eq!(read.upstream_body(&body, "p").concat(), form(&renamed));
    let like = [("image", "one"), ("model", "d"), ("stream", "maybe")];
    let (request, _) = read_as(Operation::ImageVariations, &like).unwrap();
    assert_eq!((request.stream, request.units.images), (false, 1));

    let edit = |more: &[(&str, &str)]| {
        let fault = read_as(Operation::ImageEdits, more).map(drop).unwrap_err();
        (fault.code, fault.param.clone().unwrap().into_string())
    };
    let (model, prompt, image) = (parts[0], parts[1], ("image", "one"));
    let missing = |name: &str| ("missing_required_parameter", name.to_owned());
    assert_eq!(edit(&[model, image]), missing("prompt"));
    assert_eq!(edit(&[model, prompt]), missing("image"));
    assert_eq!(edit(&[model, prompt, ("mask", "m")]), missing("image"));
    assert_eq!(edit(&[prompt, image]), missing("model"));
    for n in ["0", "129", "-1", "two", ""] {
        assert_eq!(edit(&[model, prompt, image, ("n", n)]), ("invalid_value", "n".to_owned()), "{n}");
    }
    let twice = ("duplicate_field", "n".to_owned());
    assert_eq!(edit(&[model, prompt, image, ("n", "1"), ("n", "2")]), twice);
    let two = [("model", "d"), image, image];
    let fault = read_as(Operation::ImageVariations, &two).map(drop).unwrap_err();
    assert_eq!((fault.code, fault.param.as_deref()), ("duplicate_field", Some("image")));
}

#[test]
fn a_film_needs_no_picture_but_words() {
    let (model, prompt) = (("model", "m"), ("prompt", "a tide"));
    let video = |parts: &[(&str, &str)]| read_as(Operation::Video, parts);
    let (request, _) = video(&[model, prompt, ("seconds", "8")]).unwrap();
    assert_eq!((request.stream, request.prompt_bytes, request.units.video_ms), (false, 6, 8_000));
    let (request, _) = video(&[prompt, (INPUT, "picture"), model]).unwrap();
    assert_eq!((request.form().unwrap().files, request.units.video_ms), (1, 0));
    let wrong = |parts: &[(&str, &str)]| video(parts).map(drop).unwrap_err();
    assert_eq!(wrong(&[prompt]).param.as_deref(), Some("model"));
    assert_eq!(wrong(&[model]).param.as_deref(), Some("prompt"));
    let twice = wrong(&[model, prompt, ("seconds", "4"), ("seconds", "8")]);
    assert_eq!((twice.code, twice.param.as_deref()), ("duplicate_field", Some("seconds")));
}

#[test]
fn how_many_are_wanted_is_said_before_the_request_goes() {
    let all = form(&[("model", "p"), ("prompt", "x"), ("image", "one"), ("n", "2")]);
    let mut reader = FormReader::new("multipart/form-data; boundary=b", Operation::ImageEdits).unwrap();
    let at = all.windows(3).position(|bytes| bytes == b"one").unwrap();
    reader.push(&all[..at]).unwrap();
    assert!(reader.can_go());
    assert_eq!(reader.request(&all[..at]).unwrap().units.images, 1);
    let fault = reader.push(&all[at..]).unwrap_err();
    assert_eq!((fault.code, fault.param.as_deref()), ("invalid_value", Some("n")));
}

#[test]
fn another_type_is_415_and_a_form_without_boundary_400() {
    for (content_type, class) in [
        ("application/json", FaultClass::MediaType),
        ("", FaultClass::MediaType),
        ("multipart/mixed; boundary=b", FaultClass::MediaType),
        ("multipart/form-data", FaultClass::BadRequest),
        ("multipart/form-data; boundary=", FaultClass::BadRequest),
        ("multipart/form-data; boundary=\"a b\"", FaultClass::BadRequest),
    ] {
        let fault = FormReader::new(content_type, Operation::Transcribe).map(drop).unwrap_err();
        assert_eq!(fault.class, class, "{content_type}");
    }
}

#[test]
fn it_can_go_once_the_model_is_known_and_the_file_begins() {
    let mut reader = FormReader::new("multipart/form-data; boundary=\"b:c\"", Operation::Translate).unwrap();
    reader.push(b"--b:c\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b:c\r\n").unwrap();
    assert!(!reader.can_go());
    let head = b"Content-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nso";
    reader.push(head).unwrap();
    assert!(reader.can_go() && reader.end().is_err());
    reader.push(b"und\r\n--b:c--").unwrap();
    assert!(reader.end().is_ok());
    let held = b"--b:c\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b:c\r\n";
    let form = reader.request(held).unwrap().form().unwrap().clone();
    assert_eq!(form.content_type(), "multipart/form-data; boundary=\"b:c\"");
}

#[test]
fn parts_that_may_refer_to_a_stored_object_are_unknown() {
    let unknown = |operation, name| {
        let file = if operation == Operation::Transcribe { FILE } else { IMAGE };
        let (request, _) =
            read_as(operation, &[("model", "m"), ("prompt", "x"), (name, "y"), (file, "z")]).unwrap();
        request.form().unwrap().unknown.clone()
    };
    for (name, is_known) in [("size", true), ("user", true), ("file_id", false), ("cloud_storage_url", false)]
    {
        assert_eq!(unknown(Operation::ImageEdits, name).is_none(), is_known, "{name}");
    }
    assert_eq!(unknown(Operation::Transcribe, "timestamp_granularities[]"), None);
    // One vendor's name of an uploaded recording.
    assert_eq!(unknown(Operation::Transcribe, "file_id").as_deref(), Some("file_id"));
}
