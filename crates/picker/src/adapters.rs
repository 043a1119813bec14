//! The LoRA adapters that a server says it has at work: the labels of `vllm:lora_requests_info`, as vLLM's
//! `vllm/v1/metrics/loggers.py` and the model server protocol of the Gateway API Inference Extension have them.

const METRIC: &str = "vllm:lora_requests_info{";
const LABELS: [&str; 2] = ["running_lora_adapters", "waiting_lora_adapters"];

/// The adapters of the latest sample: each change of them makes another one, whose value is its time.
pub(crate) fn read(page: &str) -> Vec<String> {
    let samples = page.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(METRIC)?.rsplit_once('}')?;
        let time: f64 = value.split_ascii_whitespace().next()?.parse().ok()?;
        Some((time, labels))
    });
    let Some((_, labels)) = samples.max_by(|one, other| one.0.total_cmp(&other.0)) else { return Vec::new() };
    let named = LABELS.iter().filter_map(|name| label(labels, name));
    let names =
        named.flat_map(|value| value.split(',').map(str::trim).map(str::to_owned).collect::<Vec<_>>());
    names.filter(|name| !name.is_empty()).collect()
}

/// The value of a label, up to its closing quotation mark. Names of adapters have none.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let at = labels.find(name)?;
    let rest = labels.get(at + name.len()..)?.strip_prefix("=\"")?;
    rest.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_sample_counts() {
        let page = "# TYPE vllm:lora_requests_info gauge\n\
            vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"old\",waiting_lora_adapters=\"\"} 1.7e+09\n\
            vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"sql, poems\",waiting_lora_adapters=\"law\"} 1.8e+09\n\
            vllm:num_requests_running 1\n";
        assert_eq!(read(page), ["sql", "poems", "law"]);
        let none = "vllm:lora_requests_info{max_lora=\"0\",running_lora_adapters=\"\",waiting_lora_adapters=\"\"} 1\n";
        for page in [
            none,
            "",
            "vllm:lora_requests_info{",
            "vllm:lora_requests_info{}",
            "vllm:lora_requests_info{a} x",
        ] {
            assert!(read(page).is_empty(), "{page}");
        }
    }
}
