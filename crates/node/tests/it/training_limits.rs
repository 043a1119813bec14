//! Training jobs that a node can't take: its disk fails, or there are too many, or too much data.

#![expect(clippy::indexing_slicing, reason = "an answer that lacks what it should have should fail its test")]

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::training::{Fixture, LINE, ask, begin};
use crate::{json as json_of, read, waited};

fn refused((status, answer): (u16, Value), expected: u16, code: &str, message: &str) {
    let error = &answer["error"];
    assert_eq!((status, error["code"].as_str()), (expected, Some(code)), "{answer}");
    assert!(error["message"].as_str().unwrap().starts_with(message), "{answer}");
}

#[test]
fn a_job_that_can_not_be_written_down_is_refused() {
    let (fixture, service) = Fixture::opened();
    let jobs = fixture.root.path().join("train");
    std::fs::remove_dir_all(&jobs).unwrap();
    std::fs::write(&jobs, "no folder").unwrap();
    let answer = ask(&service, "POST", "/v1/train/sft", &json!({"data": LINE, "adapter": "a"}));
    refused(answer, 503, "book_not_written", "The node can't write its training jobs.");
    assert_eq!(ask(&service, "GET", "/v1/train/jobs", &Value::Null).1["data"], json!([]));
}

#[test]
fn more_jobs_than_are_kept_are_refused_until_one_can_be_forgotten() {
    let (_fixture, service) = Fixture::opened();
    let first = begin(&service, "adapter-0");
    for number in 1..64 {
        begin(&service, &format!("adapter-{number}"));
    }
    let body = json!({"data": LINE, "adapter": "adapter-64"});
    let answer = ask(&service, "POST", "/v1/train/sft", &body);
    let message = "This node keeps 64 training jobs, and none of them can be forgotten.";
    refused(answer, 409, "too_many_jobs", message);
    assert_eq!(ask(&service, "DELETE", &format!("/v1/train/jobs/{first}"), &Value::Null).0, 200);
    while ask(&service, "GET", &format!("/v1/train/jobs/{first}"), &Value::Null).1["status"] != "cancelled" {
        std::thread::yield_now();
    }
    begin(&service, "adapter-64");
}

#[test]
fn more_data_than_one_job_takes_is_refused() {
    let (_fixture, service) = Fixture::opened();
    let upload = |bytes: usize| {
        let head = "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n--x\r\n\
                    Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n";
        let body = [head.as_bytes(), &vec![b' '; bytes], b"\r\n--x--\r\n"].concat();
        let request = Request::post("/v1/files").header("content-type", "multipart/form-data; boundary=x");
        let request = request.body(Bytes::from(body)).unwrap();
        let body = waited(service.call(request, service.mint())).into_body();
        json_of(&waited(read(body)).0)["id"].as_str().unwrap().to_owned()
    };
    let half = domain::limits::BODY_BYTES_MAX / 2;
    let (one, other) = (upload(half), upload(half + 1));
    let body = json!({"training_file": one, "validation_file": other, "adapter": "a"});
    let answer = ask(&service, "POST", "/v1/train/sft", &body);
    refused(answer, 413, "too_much_data", "A job learns from 33554432 bytes at most.");
}
