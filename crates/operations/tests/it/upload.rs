//! What is read of a file of requests.

use conversation::limits::BATCH_MODELS_MAX;
use domain::Operation;
use operations::{FormReader, purpose_of, requests_file};

const END: &str = "\r\n--b--\r\n";

fn form(purpose: &str, content: &str, end: &str) -> String {
    format!(
        "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n--b\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"asks.jsonl\"\r\n\r\n{content}{end}"
    )
}

/// The models that the requests in the file of a form name, once it can go.
fn models_of(body: &[u8]) -> Vec<String> {
    let mut reader = FormReader::new("multipart/form-data; boundary=b", Operation::File).unwrap();
    reader.push(body).unwrap();
    reader.request(body).unwrap().form().unwrap().batch_models.clone().unwrap()
}

#[test]
fn the_models_of_a_file_are_those_that_were_read_of_it() {
    let line = |model: &str| format!(r#"{{"custom_id":"a","body":{{"model":"{model}"}}}}"#);
    let content = format!("{}\n{}\nno json\n{}\n{{\"custom_id\":", line("m"), line("a/n"), line("m"));
    for end in ["", END] {
        let body = form("batch", &content, end);
        let file = requests_file("b", body.as_bytes()).unwrap();
        assert_eq!((&*file.name, file.content), ("asks.jsonl", content.as_bytes()));
        assert_eq!(models_of(body.as_bytes()), ["m", "a/n"]);
    }
    assert_eq!(requests_file("b", form("user_data", &content, "").as_bytes()), None);
    let many: String = (0..200).map(|at| line(&format!("m{at}")) + "\n").collect();
    assert_eq!(models_of(form("batch", &many, END).as_bytes()).len(), BATCH_MODELS_MAX + 1);
}

#[test]
fn a_purpose_is_known_once_it_was_read_to_its_end() {
    let whole = form("batches", "x", END);
    let cut = whole.find("batches").unwrap() + "batch".len();
    assert_eq!(purpose_of("b", whole.as_bytes()), Some(&b"batches"[..]));
    assert_eq!(purpose_of("b", &whole.as_bytes()[..cut]), None);
}
