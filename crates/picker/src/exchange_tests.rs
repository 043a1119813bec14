//! Exchanges as a proxy has them, message by message, over a pool on a clock that stands still.

use std::collections::BTreeSet;
use std::sync::Arc;

use placement::metrics::ServerLoad;
use tasks::Task;
use tokio::task::LocalSet;
use world::{ManualClock, SeededRandom, World};

use super::*;
use crate::settings::Shedding;
use crate::wire::{HeaderMap, HttpTrailers, ListValue, ProtocolConfiguration};

const FIRST: &str = "10.0.0.1:8000";
const SECOND: &str = "10.0.0.2:8000";

struct Bench {
    pool: Rc<Pool>,
    clock: Arc<ManualClock>,
    budget: Budget,
}

impl Bench {
    /// A pool of two endpoints with these loads: running, waiting, KV cache.
    fn new(loads: [Option<(u32, u32, u16)>; 2]) -> Self {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let world = World {
            clock: Arc::clone(&clock) as _,
            random: Arc::new(SeededRandom::new(7)),
            ..World::system()
        };
        let pool = Rc::new(Pool::new(world, Shedding { waiting: 5, kv_permille: 800 }, 1));
        let addresses: BTreeSet<SocketAddr> = [FIRST, SECOND].map(|text| text.parse().unwrap()).into();
        let mut loads = loads.into_iter();
        pool.replace(&addresses, |endpoint| {
            if let Some((running, waiting, kv)) = loads.next().unwrap() {
                let load = ServerLoad { running, waiting, kv_permille: Some(kv), ..ServerLoad::default() };
                endpoint.note_answer(Some(load), &[], 0, u64::MAX);
            }
            Task::spawn_local("no polls", async {})
        });
        Self { pool, clock, budget: Budget::default() }
    }

    fn exchange(&self) -> Exchange {
        Exchange::new(Rc::clone(&self.pool), ["batch".to_owned()].into(), self.budget.clone())
    }

    /// One request in the mode that the protocol uses, and the endpoints that were named.
    fn ask(&self, body: &str) -> (Exchange, String) {
        let mut exchange = self.exchange();
        assert_eq!(exchange.take(headers(&[])), Ok(Next::Answers(Vec::new())));
        let answers = answers(exchange.take(body_piece(body.as_bytes(), true)));
        let endpoints = endpoints_of(&answers[0]);
        (exchange, endpoints)
    }
}

/// Runs a test where tasks can be spawned.
fn on_core(test: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    LocalSet::new().block_on(&runtime, async { test() });
}

fn message(sent: Sent) -> ProcessingRequest {
    ProcessingRequest { request: Some(sent), ..ProcessingRequest::default() }
}

fn header_map(pairs: &[(&str, &str)]) -> HttpHeaders {
    let value = |(key, value): &(&str, &str)| HeaderValue {
        key: (*key).to_owned(),
        raw_value: Bytes::copy_from_slice(value.as_bytes()),
        ..HeaderValue::default()
    };
    HttpHeaders {
        headers: Some(HeaderMap { headers: pairs.iter().map(value).collect() }),
        end_of_stream: false,
    }
}

fn headers(pairs: &[(&str, &str)]) -> ProcessingRequest {
    message(Sent::RequestHeaders(header_map(pairs)))
}

fn piece(body: &[u8], end_of_stream: bool) -> HttpBody {
    HttpBody { body: Bytes::copy_from_slice(body), end_of_stream, ..HttpBody::default() }
}

fn body_piece(body: &[u8], is_last: bool) -> ProcessingRequest {
    message(Sent::RequestBody(piece(body, is_last)))
}

fn in_mode(mode: BodyMode, mut request: ProcessingRequest) -> ProcessingRequest {
    let mut config = ProtocolConfiguration::default();
    config.set_request_body_mode(mode);
    config.set_response_body_mode(mode);
    request.protocol_config = Some(config);
    request
}

fn with_subset(mut request: ProcessingRequest, entry: ValueKind) -> ProcessingRequest {
    let inner = Struct { fields: [(SUBSET.to_owned(), Value { kind: Some(entry) })].into() };
    request.metadata_context =
        Some(Metadata { filter_metadata: [(SUBSET_NAMESPACE.to_owned(), inner)].into() });
    request
}

fn answers(next: Result<Next, GrpcStatus>) -> Vec<ProcessingResponse> {
    match next.unwrap() {
        Next::Answers(answers) => answers,
        Next::Last(last) => panic!("{last:?}"),
    }
}

fn status(next: Result<Next, GrpcStatus>) -> i32 {
    match next.unwrap() {
        Next::Last(last) => match last.response.unwrap() {
            Reply::Immediate(response) => response.status.unwrap().code,
            other => panic!("{other:?}"),
        },
        Next::Answers(answers) => panic!("{answers:?}"),
    }
}

fn common(answer: &ProcessingResponse) -> CommonResponse {
    match answer.response.clone().unwrap() {
        Reply::RequestHeaders(part)
        | Reply::RequestBody(part)
        | Reply::ResponseHeaders(part)
        | Reply::ResponseBody(part) => part.response.unwrap_or_default(),
        other => panic!("{other:?}"),
    }
}

/// What header and metadata name, which has to be the same.
fn endpoints_of(answer: &ProcessingResponse) -> String {
    let set = common(answer).header_mutation.unwrap().set_headers;
    assert_eq!(set.len(), 1);
    assert_eq!(set[0].append_action, OVERWRITE);
    let header = set[0].header.clone().unwrap();
    assert_eq!(header.key, DESTINATION);
    let text = String::from_utf8(header.raw_value.to_vec()).unwrap();
    let metadata = answer.dynamic_metadata.clone().unwrap();
    assert_eq!(metadata, Struct::nested(DESTINATION_NAMESPACE, DESTINATION, &text));
    text
}

/// The body that is sent on, and whether its end is.
fn sent_on(answers: &[ProcessingResponse]) -> (Vec<u8>, bool) {
    let pieces =
        answers.iter().map(|answer| common(answer).body_mutation.unwrap().streamed_response.unwrap());
    let pieces: Vec<HttpBody> = pieces.collect();
    assert!(pieces.iter().all(|piece| piece.body.len() <= CHUNK_BYTES_MAX));
    let ends = pieces.iter().filter(|piece| piece.end_of_stream).count();
    assert!(ends == 0 || ends == 1 && pieces.last().unwrap().end_of_stream);
    (pieces.iter().flat_map(|piece| piece.body.to_vec()).collect(), ends == 1)
}

const IDLE: Option<(u32, u32, u16)> = Some((0, 0, 0));
const BUSY: Option<(u32, u32, u16)> = Some((16, 12, 950));

#[test]
fn the_body_comes_first_and_goes_back_as_it_was() {
    on_core(|| {
        let bench = Bench::new([BUSY, IDLE]);
        let mut exchange = bench.exchange();
        let body = format!("{{\"model\":\"m\",\"prompt\":\"{}\"}}", "x".repeat(150_000));
        let (start, rest) = body.as_bytes().split_at(70_000);
        assert_eq!(exchange.take(headers(&[])), Ok(Next::Answers(Vec::new())));
        assert_eq!(exchange.take(body_piece(start, false)), Ok(Next::Answers(Vec::new())));
        assert!(exchange.is_waiting());
        let answers = answers(exchange.take(body_piece(rest, true)));
        assert_eq!(endpoints_of(&answers[0]), format!("{SECOND},{FIRST}"));
        assert!(common(&answers[0]).clear_route_cache);
        assert_eq!(sent_on(&answers[1..]), (body.into_bytes(), true));
        assert!(!exchange.is_waiting());
        assert_eq!(bench.budget.0.get(), 0, "nothing is held any more");
    });
}

#[test]
fn trailers_end_a_body_too() {
    on_core(|| {
        let bench = Bench::new([BUSY, IDLE]);
        let mut exchange = bench.exchange();
        answers(exchange.take(headers(&[])));
        answers(exchange.take(body_piece(b"{\"model\":\"m\"}", false)));
        let answers = answers(exchange.take(message(Sent::RequestTrailers(HttpTrailers {}))));
        assert!(endpoints_of(&answers[0]).starts_with(SECOND));
        assert_eq!(sent_on(&answers[1..2]), (b"{\"model\":\"m\"}".to_vec(), false));
        assert!(matches!(answers[2].response, Some(Reply::RequestTrailers(_))));
        assert_eq!(answers.len(), 3);
    });
}

#[test]
fn each_mode_is_answered_as_its_proxy_expects() {
    on_core(|| {
        let bench = Bench::new([BUSY, IDLE]);
        for mode in [BodyMode::Buffered, BodyMode::BufferedPartial] {
            let mut exchange = bench.exchange();
            let first = answers(exchange.take(in_mode(mode, headers(&[]))));
            assert_eq!(first, [plain(Reply::RequestHeaders(unchanged()))], "{mode:?}");
            let second = answers(exchange.take(body_piece(b"{}", mode == BodyMode::Buffered)));
            assert!(matches!(second[0].response, Some(Reply::RequestBody(_))));
            assert!(endpoints_of(&second[0]).starts_with(SECOND));
            assert_eq!((second.len(), common(&second[0]).body_mutation), (1, None));
        }
        for mode in [BodyMode::None, BodyMode::Streamed, BodyMode::Grpc] {
            let mut exchange = bench.exchange();
            let first = answers(exchange.take(in_mode(mode, headers(&[]))));
            assert!(endpoints_of(&first[0]).starts_with(SECOND), "{mode:?}");
            let second = answers(exchange.take(body_piece(b"", false)));
            assert_eq!(common(&second[0]).body_mutation.is_some(), mode == BodyMode::Grpc);
        }
        let mut exchange = bench.exchange();
        let mut bare = header_map(&[]);
        bare.end_of_stream = true;
        let first = answers(exchange.take(message(Sent::RequestHeaders(bare))));
        assert!(endpoints_of(&first[0]).starts_with(SECOND), "a request without a body");
    });
}

#[test]
fn a_proxy_that_observes_is_not_answered() {
    on_core(|| {
        let bench = Bench::new([IDLE, IDLE]);
        let mut exchange = bench.exchange();
        let observed = ProcessingRequest { observability_mode: true, ..headers(&[]) };
        assert_eq!(exchange.take(observed), Ok(Next::Answers(Vec::new())));
        assert_eq!(exchange.take(body_piece(b"{}", true)), Ok(Next::Answers(Vec::new())));
    });
}

#[test]
fn a_subset_is_kept_to_whatever_the_load() {
    on_core(|| {
        let bench = Bench::new([BUSY, IDLE]);
        let list = |texts: &[&str]| {
            let values = texts.iter().map(|text| Value::of_text(text)).collect();
            ValueKind::List(ListValue { values })
        };
        let mode = |entry| with_subset(in_mode(BodyMode::None, headers(&[])), entry);
        let named = |entry| endpoints_of(&answers(bench.exchange().take(mode(entry)))[0]);
        assert_eq!(named(list(&[FIRST])), FIRST);
        assert_eq!(named(ValueKind::Text(format!("10.9.9.9:1, {FIRST}"))), FIRST);
        assert_eq!(named(list(&["10.0.0.1"])), FIRST, "each port of an address");
        assert_eq!(named(list(&[FIRST, SECOND])), format!("{SECOND},{FIRST}"));
        for none in
            [list(&[]), list(&["10.9.9.9:8000"]), ValueKind::Text(String::new()), list(&["10.0.0.1:9"])]
        {
            assert_eq!(status(bench.exchange().take(mode(none))), 503);
        }
    });
}

#[test]
fn no_endpoint_that_is_ready_is_503() {
    on_core(|| {
        let bench = Bench::new([None, None]);
        let mut exchange = bench.exchange();
        answers(exchange.take(headers(&[])));
        assert_eq!(status(exchange.take(body_piece(b"{}", true))), 503);
        bench.pool.replace(&BTreeSet::new(), |_| unreachable!());
        assert_eq!(status(bench.exchange().take(in_mode(BodyMode::None, headers(&[])))), 503);
    });
}

#[test]
fn sheddable_requests_are_shed_where_all_is_full() {
    on_core(|| {
        let ask = |bench: &Bench, objective: &str| {
            let pairs = [("x-gateway-inference-objective", objective)];
            bench.exchange().take(in_mode(BodyMode::None, headers(&pairs)))
        };
        let full = Bench::new([Some((9, 5, 0)), Some((9, 0, 800))]);
        assert_eq!(status(ask(&full, "batch")), 429);
        assert_eq!(answers(ask(&full, "chat")).len(), 1, "others wait");
        let half = Bench::new([Some((9, 5, 0)), Some((9, 4, 799))]);
        assert_eq!(answers(ask(&half, "batch")).len(), 1);
        let silent = Bench::new([Some((9, 5, 0)), None]);
        assert_eq!(status(ask(&silent, "batch")), 429, "the other one is not ready");
    });
}

#[test]
fn a_conversation_goes_on_where_it_began() {
    on_core(|| {
        let bench = Bench::new([IDLE, IDLE]);
        let body = |subject: &str, turns: usize| {
            let system = format!("You know all about {subject}. ").repeat(300);
            let mut messages = format!("{{\"role\":\"system\",\"content\":\"{system}\"}}");
            for turn in 0..turns {
                messages.push_str(&format!(",{{\"role\":\"user\",\"content\":\"And {turn}?\"}}"));
            }
            format!("{{\"model\":\"m\",\"messages\":[{messages}]}}")
        };
        let mut firsts = BTreeSet::new();
        for subject in ["tides", "harbours", "locks", "piers", "buoys", "ropes", "sails", "charts"] {
            let (_, first) = bench.ask(&body(subject, 1));
            for turns in 2..5 {
                assert_eq!(bench.ask(&body(subject, turns)).1, first, "{subject}, turn {turns}");
            }
            firsts.insert(first);
        }
        assert_eq!(firsts.len(), 2, "not all at one endpoint");
    });
}

#[test]
fn requests_with_nothing_in_common_are_spread() {
    on_core(|| {
        let bench = Bench::new([IDLE, IDLE]);
        let exchanges: Vec<_> =
            (0..20).map(|_| bench.ask("{\"model\":\"m\",\"prompt\":\"hello\"}")).collect();
        let at_first = exchanges.iter().filter(|(_, endpoints)| endpoints.starts_with(FIRST)).count();
        assert!((8..=12).contains(&at_first), "{at_first} of 20");
    });
}

#[test]
fn an_adapter_draws_its_requests() {
    on_core(|| {
        let bench = Bench::new([IDLE, IDLE]);
        let has = |address: &str| {
            bench.pool.replace(&[FIRST, SECOND].map(|text| text.parse().unwrap()).into(), |_| unreachable!());
            bench.pool.served_elsewhere(address.parse().unwrap(), &Question::default()).unwrap()
        };
        has(SECOND).endpoint().note_adapter("sql", 0);
        for _ in 0..8 {
            assert!(bench.ask("{\"model\":\"sql\",\"prompt\":\"hello\"}").1.starts_with(SECOND));
        }
        let base: BTreeSet<String> =
            (0..16).map(|_| bench.ask("{\"model\":\"m\",\"prompt\":\"hello\"}").1).collect();
        assert_eq!(base.len(), 2, "the model itself is at both");
    });
}

#[test]
fn answers_are_measured_where_they_were_served() {
    on_core(|| {
        let bench = Bench::new([BUSY, IDLE]);
        let (mut exchange, endpoints) = bench.ask("{}");
        assert!(endpoints.starts_with(SECOND));
        bench.clock.advance_us(50_000);
        let inner = Struct { fields: [(SERVED.to_owned(), Value::of_text(FIRST))].into() };
        let mut response = message(Sent::ResponseHeaders(header_map(&[(":status", "200")])));
        response.metadata_context =
            Some(Metadata { filter_metadata: [(DESTINATION_NAMESPACE.to_owned(), inner)].into() });
        assert_eq!(answers(exchange.take(response)), [plain(Reply::ResponseHeaders(unchanged()))]);
        assert_eq!(exchange.visit.as_ref().unwrap().endpoint().address.to_string(), FIRST);
        bench.clock.advance_us(100_000);
        let piece_of = |text: &[u8], is_last| message(Sent::ResponseBody(piece(text, is_last)));
        assert_eq!(
            sent_on(&answers(exchange.take(piece_of(b"data: 1", false)))),
            (b"data: 1".to_vec(), false)
        );
        assert_eq!(sent_on(&answers(exchange.take(piece_of(b"", true)))), (Vec::new(), true));
        assert!(exchange.visit.is_none(), "it is over");
        let first = bench.pool.served_elsewhere(FIRST.parse().unwrap(), &Question::default()).unwrap();
        assert_eq!(first.endpoint().load(0).alone_us, Some(100_000));
        assert_eq!(first.endpoint().load(0).in_flight, 1, "the one that asks");
    });
}

#[test]
fn a_body_without_an_end_is_held_up_to_a_bound_and_then_sent_on() {
    on_core(|| {
        let bench = Bench::new([BUSY, IDLE]);
        let mut exchange = bench.exchange();
        answers(exchange.take(headers(&[])));
        let (chunk, mut back) = (vec![b'x'; 1024 * 1024], 0);
        for number in 0..100 {
            let answers = answers(exchange.take(body_piece(&chunk, number == 99)));
            let body = if answers.is_empty() || back > 0 { &answers[..] } else { &answers[1..] };
            back += sent_on(body).0.len();
            assert!(bench.budget.0.get() <= BODY_BYTES_MAX, "{} held", bench.budget.0.get());
        }
        assert_eq!(back, 100 * chunk.len());
    });
}

#[test]
fn what_is_held_of_all_bodies_is_bounded() {
    let budget = Budget::default();
    let (mut one, mut other) = (budget.begin(), budget.begin());
    assert!(one.set(HELD_BYTES_MAX - 10) && !other.set(11) && other.set(10));
    assert!(!one.set(HELD_BYTES_MAX - 9));
    assert!(one.set(5), "less is always fine");
    drop(one);
    assert_eq!(budget.0.get(), 10);
    drop(other);
    assert_eq!(budget.0.get(), 0);
}

#[test]
fn what_is_out_of_order_or_unknown_ends_the_stream() {
    on_core(|| {
        let bench = Bench::new([IDLE, IDLE]);
        let code = |next: Result<Next, GrpcStatus>| next.unwrap_err().code;
        assert_eq!(code(bench.exchange().take(ProcessingRequest::default())), 12);
        assert_eq!(code(bench.exchange().take(body_piece(b"{}", true))), 3);
        assert_eq!(code(bench.exchange().take(message(Sent::RequestTrailers(HttpTrailers {})))), 3);
        let mut exchange = bench.exchange();
        answers(exchange.take(headers(&[])));
        assert_eq!(code(exchange.take(headers(&[]))), 3);
        // An answer to a request that the picker did not see is let through.
        let response = message(Sent::ResponseHeaders(header_map(&[(":status", "200")])));
        assert_eq!(answers(bench.exchange().take(response)).len(), 1);
    });
}
