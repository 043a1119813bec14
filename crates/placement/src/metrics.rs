//! What inference servers report of their load, most of them in the text format of Prometheus, each by the names that its own
//! documentation gives:
//!
//! | server | running | waiting | KV cache in use, of 1 | source |
//! |---|---|---|---|---|
//! | vLLM | `vllm:num_requests_running` | `vllm:num_requests_waiting` | `vllm:kv_cache_usage_perc`, `vllm:gpu_cache_usage_perc` before | `vllm/v1/metrics/loggers.py` |
//! | SGLang | `sglang:num_running_reqs` | `sglang:num_queue_reqs` | `sglang:token_usage` | docs.sglang.io, production metrics |
//! | llama.cpp's server | `llamacpp:requests_processing` | `llamacpp:requests_deferred` | `llamacpp:kv_cache_usage_ratio`, absent from newer builds | `tools/server/README.md` |
//! | TGI | `tgi_batch_current_size` | `tgi_queue_size` | | huggingface.co, TGI reference, metrics |
//! | Triton | | `nv_inference_pending_request_count` | | docs.nvidia.com, Triton user guide, metrics |
//!
//! llama.cpp's server publishes metrics with `--metrics` alone, and its slots unless it is started with `--no-slots`. Ollama
//! has neither: its `/api/ps` lists the models in memory, and no queue.

use json::{Cursor, JsonError, Kind, Value};

use crate::limits::{LINE_BYTES_MAX, METRICS_BYTES_MAX};

/// Where a server publishes its load, at its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadSource {
    Metrics,
    Slots,
}

/// What a server said of its load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerLoad {
    pub running: u32,
    pub waiting: u32,
    /// How much of its KV cache is in use, in thousandths; `None` where it doesn't say.
    pub kv_permille: Option<u16>,
    /// How long a token of an answer took since its start, on the average; `None` where it doesn't say.
    pub token_us: Option<u32>,
}

struct Names {
    running: Option<&'static str>,
    waiting: &'static str,
    kv: &'static [&'static str],
    token: TokenTime,
}

/// How a server says how long a token of an answer takes.
enum TokenTime {
    Unsaid,
    /// Tokens of an answer in a second.
    Rate(&'static str),
    /// Sum and count of a histogram of seconds.
    Mean(&'static str, &'static str),
}

const SERVERS: [Names; 5] = [
    Names {
        running: Some("vllm:num_requests_running"),
        waiting: "vllm:num_requests_waiting",
        kv: &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
        token: TokenTime::Mean(
            "vllm:inter_token_latency_seconds_sum",
            "vllm:inter_token_latency_seconds_count",
        ),
    },
    Names {
        running: Some("sglang:num_running_reqs"),
        waiting: "sglang:num_queue_reqs",
        kv: &["sglang:token_usage"],
        token: TokenTime::Mean(
            "sglang:inter_token_latency_seconds_sum",
            "sglang:inter_token_latency_seconds_count",
        ),
    },
    Names {
        running: Some("llamacpp:requests_processing"),
        waiting: "llamacpp:requests_deferred",
        kv: &["llamacpp:kv_cache_usage_ratio"],
        token: TokenTime::Rate("llamacpp:predicted_tokens_seconds"),
    },
    Names {
        running: Some("tgi_batch_current_size"),
        waiting: "tgi_queue_size",
        kv: &[],
        token: TokenTime::Mean(
            "tgi_request_mean_time_per_token_duration_sum",
            "tgi_request_mean_time_per_token_duration_count",
        ),
    },
    Names { running: None, waiting: "nv_inference_pending_request_count", kv: &[], token: TokenTime::Unsaid },
];

impl LoadSource {
    /// In the order in which they are tried: slots don't say how many requests wait.
    pub const ALL: [Self; 2] = [Self::Metrics, Self::Slots];

    pub const fn path(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Slots => "slots",
        }
    }

    pub fn read(self, page: &[u8]) -> Option<ServerLoad> {
        match self {
            Self::Metrics => read(page),
            Self::Slots => read_slots(page),
        }
    }
}

/// Reads the load from a page of metrics. Requests of several models or engines behind one address are added up, and of their
/// KV caches the fullest counts. `None` where the page is of none of these servers, or too long.
fn read(page: &[u8]) -> Option<ServerLoad> {
    if page.len() > METRICS_BYTES_MAX {
        return None;
    }
    let page = str::from_utf8(page).ok()?;
    SERVERS.iter().find_map(|names| read_of(page, names))
}

/// Reads the load from the slots of llama.cpp's server. How many requests wait is not in them: where no slot is free, the next
/// request waits, and counts as one that does.
fn read_slots(page: &[u8]) -> Option<ServerLoad> {
    if page.len() > METRICS_BYTES_MAX {
        return None;
    }
    let busy = busy_slots(page).ok().filter(|slots| !slots.is_empty())?;
    let running = busy.iter().filter(|is_busy| **is_busy).count();
    let waiting = u32::from(running == busy.len());
    Some(ServerLoad { running: u32::try_from(running).ok()?, waiting, ..ServerLoad::default() })
}

/// Of each slot whether it processes a request.
fn busy_slots(page: &[u8]) -> Result<Vec<bool>, JsonError> {
    let mut cursor = Cursor::new(page)?;
    let mut busy = Vec::new();
    if cursor.kind()? != Kind::Array {
        return Ok(busy);
    }
    cursor.array(|cursor, _| {
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        cursor.object(|cursor, member| {
            if member.key.is("is_processing") {
                if let Value::Boolean(is_busy) = cursor.value()? {
                    busy.push(is_busy);
                }
                return Ok::<(), JsonError>(());
            }
            cursor.ignore()
        })?;
        Ok(())
    })?;
    cursor.end()?;
    Ok(busy)
}

fn read_of(page: &str, names: &Names) -> Option<ServerLoad> {
    let waiting = values(page, names.waiting).reduce(|one, other| one + other)?;
    let running = names.running.and_then(|name| values(page, name).reduce(|one, other| one + other));
    if names.running.is_some() && running.is_none() {
        return None;
    }
    let kv = names.kv.iter().find_map(|name| values(page, name).reduce(f64::max));
    Some(ServerLoad {
        running: count(running.unwrap_or(0.0)),
        waiting: count(waiting),
        kv_permille: kv.map(|used| u16::try_from(count(used * 1_000.0)).unwrap_or(u16::MAX).min(1_000)),
        token_us: names.token.read(page),
    })
}

impl TokenTime {
    fn read(&self, page: &str) -> Option<u32> {
        let seconds = match self {
            Self::Unsaid => None,
            // The slowest of several models counts.
            Self::Rate(name) => {
                values(page, name).filter(|rate| *rate > 0.0).map(f64::recip).reduce(f64::max)
            }
            Self::Mean(sum, times) => {
                let times = values(page, times).sum::<f64>();
                (times > 0.0).then(|| values(page, sum).sum::<f64>() / times)
            }
        };
        seconds.map(|seconds| count(seconds * 1_000_000.0)).filter(|us| *us > 0)
    }
}

/// The values of a metric's samples, whatever their labels.
fn values<'a>(page: &'a str, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    let lines = page.lines().filter(|line| line.len() <= LINE_BYTES_MAX);
    lines.filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let rest = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.starts_with([' ', '\t']).then_some(rest)?,
        };
        // A time may follow the value.
        rest.split_ascii_whitespace().next()?.parse().ok().filter(|value: &f64| value.is_finite())
    })
}

fn count(value: f64) -> u32 {
    let bounded = value.round().clamp(0.0, f64::from(u32::MAX));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between the bounds")]
    let counted = bounded as u32;
    counted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(page: &str, expected: Option<(u32, u32, Option<u16>)>) {
        let found = read(page.as_bytes()).map(|load| (load.running, load.waiting, load.kv_permille));
        assert_eq!(found, expected, "{page}");
    }

    #[test]
    fn each_server_is_read_by_its_own_names() {
        let vllm = "# HELP vllm:num_requests_running Number of requests in model execution batches.\n\
            # TYPE vllm:num_requests_running gauge\n\
            vllm:num_requests_running{engine=\"0\",model_name=\"publisher/model\"} 12.0\n\
            vllm:num_requests_waiting{engine=\"0\",model_name=\"publisher/model\"} 8.0\n\
            vllm:num_requests_waiting_by_reason{reason=\"capacity\"} 8.0\n";
        check(&format!("{vllm}vllm:kv_cache_usage_perc{{engine=\"0\"}} 0.94\n"), Some((12, 8, Some(940))));
        check(&format!("{vllm}vllm:gpu_cache_usage_perc{{engine=\"0\"}} 0.5\n"), Some((12, 8, Some(500))));
        check(vllm, Some((12, 8, None)));
        check(
            "sglang:token_usage{model_name=\"m\"} 0.28\nsglang:num_running_reqs{model_name=\"m\"} 3.0\n\
             sglang:num_queue_reqs{model_name=\"m\"} 2.0 1700000000000\n",
            Some((3, 2, Some(280))),
        );
        check("llamacpp:requests_processing 4\nllamacpp:requests_deferred 46\n", Some((4, 46, None)));
        check(
            "llamacpp:requests_processing 1\nllamacpp:requests_deferred 0\nllamacpp:kv_cache_usage_ratio 0.5",
            Some((1, 0, Some(500))),
        );
        check("tgi_batch_current_size 4\ntgi_queue_size 7\n", Some((4, 7, None)));
        check("nv_inference_pending_request_count{model=\"m\",version=\"1\"} 5\n", Some((0, 5, None)));
    }

    #[test]
    fn the_time_of_a_token_is_read_where_it_is_said() {
        let token_us = |page: &str| read(page.as_bytes()).unwrap().token_us;
        let vllm = "vllm:num_requests_running 1\nvllm:num_requests_waiting 0\n";
        let seconds = "vllm:inter_token_latency_seconds";
        assert_eq!(token_us(&format!("{vllm}{seconds}_sum 3.0\n{seconds}_count 120\n")), Some(25_000));
        assert_eq!(token_us(&format!("{vllm}{seconds}_sum 0\n{seconds}_count 0\n")), None, "no answer yet");
        assert_eq!(token_us(vllm), None);
        let llama = "llamacpp:requests_processing 0\nllamacpp:requests_deferred 0\n";
        assert_eq!(token_us(&format!("{llama}llamacpp:predicted_tokens_seconds 40.5\n")), Some(24_691));
        assert_eq!(token_us(&format!("{llama}llamacpp:predicted_tokens_seconds 0\n")), None);
        assert_eq!(token_us(&format!("{llama}llamacpp:predicted_tokens_seconds nan\n")), None);
        assert_eq!(token_us("nv_inference_pending_request_count 5\n"), None);
    }

    #[test]
    fn slots_are_read_where_there_are_no_metrics() {
        let slot = |is_busy: bool| {
            format!(
                "{{\"id\":0,\"n_ctx\":4096,\"is_processing\":{is_busy},\"params\":{{\"is_processing\":true,\"stop\":[\"]\"]}}}}"
            )
        };
        let read = |slots: &[bool]| {
            let page =
                format!("[{}]", slots.iter().map(|is_busy| slot(*is_busy)).collect::<Vec<_>>().join(","));
            LoadSource::Slots.read(page.as_bytes()).map(|load| (load.running, load.waiting))
        };
        assert_eq!(read(&[false, false]), Some((0, 0)));
        assert_eq!(read(&[true, false, true]), Some((2, 0)));
        assert_eq!(read(&[true, true]), Some((2, 1)), "the next one waits");
        for page in [
            "",
            "[]",
            "[{}]",
            "{\"is_processing\": true}",
            "[{\"is_processing\": true}",
            "[{\"is_processing\": 1}]",
        ] {
            assert_eq!(read_slots(page.as_bytes()), None, "{page}");
        }
        assert_eq!(read_slots(&vec![b'['; METRICS_BYTES_MAX + 1]), None);
        assert_eq!(read_slots(&vec![b'['; METRICS_BYTES_MAX]), None, "deep nesting is refused");
    }

    #[test]
    fn engines_behind_one_address_are_added_up() {
        check(
            "vllm:num_requests_running{engine=\"0\"} 2\nvllm:num_requests_running{engine=\"1\"} 3\n\
             vllm:num_requests_waiting{engine=\"0\"} 0\nvllm:num_requests_waiting{engine=\"1\"} 1\n\
             vllm:kv_cache_usage_perc{engine=\"0\"} 0.2\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.9\n",
            Some((5, 1, Some(900))),
        );
    }

    #[test]
    fn what_is_no_such_page_says_nothing() {
        for page in [
            "",
            "ok",
            "{\"models\": []}",
            "vllm:num_requests_waiting 3",
            "tgi_queue_size NaN\ntgi_batch_current_size 1",
        ] {
            check(page, None);
        }
        check(
            "vllm:num_requests_running{label=\"}\"} 1\nvllm:num_requests_waiting{a=\"{\"} 2",
            Some((1, 2, None)),
        );
        check("tgi_batch_current_size -3\ntgi_queue_size 1e300", Some((0, u32::MAX, None)));
        assert_eq!(read(&vec![b'x'; METRICS_BYTES_MAX + 1]), None);
        assert_eq!(read(&[0xff, 0xfe]), None);
    }

    proptest! {
        #[test]
        fn no_page_breaks_the_reader(page in "(vllm:num_requests_(running|waiting)(\\{[^\n]{0,9})? ?[-0-9.eE]{0,5}\n|\\PC{0,20}\n){0,9}") {
            let _ = read(page.as_bytes());
        }
    }
}
