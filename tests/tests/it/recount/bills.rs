//! What the emulator counted, at the prices of the catalogue; and the figures of `/v2`, which are compared with it.

use std::collections::BTreeMap;

use catalogue::Catalogue;
use harness::client::Client;
use harness::{Behaviour, Entry};
use serde_json::Value;

use crate::gateway::{CUSTOM, Gateway, OWN, OWN_SECOND, POOL, POOL_SECOND, id_of, row};

/// Of both accounts.
pub(super) const MARKUP_BPS: u64 = 1_000;
/// The tokens of a picture of low quality.
const PICTURE_TOKENS: u64 = 272;

/// What a request used and costs, as its record tells it: tokens, those of sound and pictures among them, units and nano-USD.
pub(super) type Bill = [u64; 12];

const TOLD: &str = "input_tokens cached_tokens output_tokens units/audio_input_tokens units/audio_output_tokens \
    units/image_input_tokens units/image_output_tokens units/images units/characters cost_nanos provider_cost_nanos unpriced";

/// The records of a workspace, with what is billed for each.
pub(super) type Booked = Vec<(Value, Bill)>;

/// Sums of usage, of which the billing snapshot shows fewer. The last three are nano-USD here: owed, billed by providers, and
/// billed by providers of the workspace's own.
type Sums = [u64; 13];

const SHOWN: &str = "requests total_requests attempts failed_requests unpriced_requests input_tokens cached_tokens \
    output_tokens images characters cost_micros provider_cost_micros spend_micros";

fn names<const N: usize>(names: &'static str) -> [&'static str; N] {
    names.split(' ').collect::<Vec<_>>().try_into().unwrap()
}

fn told(record: &Value) -> Bill {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_bool().map(u64::from)).unwrap();
    names(TOLD).map(|name| record.pointer(&format!("/{name}")).map_or(0, number))
}

/// By the emulator's count; of what is told by modality it told what the script says.
fn used(entry: &Entry) -> Bill {
    let body = entry.json();
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    if entry.path.ends_with("/transcriptions") {
        // Ten tokens for each of two seconds, two of text, and six words.
        return [22, 0, 6, 20, 0, 0, 0, 0, 0, 0, 0, 0];
    }
    if entry.path.ends_with("/speech") {
        return [0, 0, 0, 0, 0, 0, 0, 0, text("input").chars().count() as u64, 0, 0, 0];
    }
    if entry.path.ends_with("/generations") {
        let images = body["n"].as_u64().unwrap_or(1);
        let made = images * PICTURE_TOKENS;
        return [entry.prompt_tokens, 0, made, 0, 0, 0, made, images, 0, 0, 0, 0];
    }
    let script = text("user").strip_prefix("emu:").or_else(|| body["labels"]["emulate"].as_str());
    let told = Behaviour::parse(script.unwrap_or_default()).unwrap();
    let (input, cached, output) = (entry.prompt_tokens, entry.cached_tokens, entry.said_tokens);
    let audio_in = (told.audio_in - told.cached_audio).min(input - cached);
    let image_in = told.image_in.min(input - cached - audio_in);
    let audio_out = told.audio_out.min(output);
    let image_out = told.image_out.min(output - audio_out);
    [input, cached, output, audio_in, audio_out, image_in, image_out, 0, 0, 0, 0, 0]
}

pub(super) fn half_even(value: u64, divisor: u64) -> u64 {
    let (quotient, twice) = (value / divisor, value % divisor * 2);
    quotient + u64::from(twice > divisor || (twice == divisor && quotient % 2 == 1))
}

/// With its price in the catalogue, or so many per cent of that, in a conversation or not. Nobody bills what a node serves.
fn priced(used: Bill, prices: &Catalogue, (key, model): (&str, &str), percent: u64, is_chat: bool) -> Bill {
    let (provider, markup_bps) = match key {
        OWN => ("openai", None),
        OWN_SECOND | CUSTOM => ("gemini", None),
        POOL => ("together_ai", Some(MARKUP_BPS)),
        POOL_SECOND => ("openai", Some(MARKUP_BPS)),
        _ => return used,
    };
    let offer = prices.named_at(provider, model).and_then(|model| model.offer(provider));
    let rates = offer.and_then(|offer| offer.rates).unwrap_or_else(|| panic!("{model} at {provider}"));
    let units = &rates.units;
    assert!(rates.reasoning.is_none() && units.image.is_none(), "{model} is priced in another way");
    let [input, cached, output, audio_in, audio_out, image_in, image_out, _, characters, ..] = used;
    let lines = [
        (input - cached - audio_in - image_in, rates.input),
        (cached, rates.cached_read.unwrap_or(rates.input)),
        (output - audio_out - image_out, rates.output),
        (audio_in, units.audio_in.unwrap_or(rates.input)),
        (audio_out, units.audio_out.unwrap_or(rates.output)),
        (image_in, units.image_in.unwrap_or(rates.input)),
        (image_out, units.image_out.unwrap_or(rates.output)),
        (characters, units.character.unwrap_or_default()),
    ];
    let nanos = lines.map(|(count, price)| half_even(count * (price.0 * percent / 100), 1_000));
    let billed: u64 = nanos.iter().sum();
    let owed = markup_bps.map_or(0, |bps| half_even(billed * (10_000 + bps), 10_000));
    let media = [(audio_in, units.audio_in), (audio_out, units.audio_out), (image_out, units.image_out)];
    let is_unpriced = is_chat && media.iter().any(|(count, price)| *count > 0 && price.is_none());
    let mut bill = used;
    bill[9..].copy_from_slice(&[owed, billed, u64::from(is_unpriced)]);
    bill
}

/// Everything that providers bill, once each: calls by number, items of batches by the provider's id, and what was answered later.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recount {
    pub(super) calls: BTreeMap<usize, Bill>,
    pub(super) items: BTreeMap<String, Bill>,
    pub(super) later: Vec<Bill>,
}

impl Recount {
    pub(super) async fn of(gateway: &Gateway) -> Self {
        let (prices, mut all) = (Catalogue::embedded().unwrap(), Self::default());
        for entry in gateway.emulator.journal() {
            let is_heard = entry.path.ends_with("/transcriptions") && entry.status == Some(200);
            if entry.is_probe() || !(entry.billable || is_heard) {
                continue;
            }
            let seller = (entry.key.as_deref().unwrap(), entry.model.as_deref().unwrap());
            let is_chat = !["/audio/", "/images/"].iter().any(|part| entry.path.contains(part));
            let bill = priced(used(&entry), &prices, seller, 100, is_chat);
            let text = String::from_utf8_lossy(&entry.body);
            let number = text.split_once("call-").map(|(_, rest)| rest[..4].parse().unwrap());
            let before = match number {
                Some(number) => all.calls.insert(number, bill),
                None if entry.method == "GET" => {
                    all.later.push(bill);
                    None
                }
                None => all.items.insert(entry.request_id.clone(), bill),
            };
            assert_eq!(before, None, "{number:?} is billed twice");
        }
        for key in [OWN, POOL_SECOND] {
            all.batches(gateway, key, &prices).await;
        }
        all
    }

    /// The results of a key's batches, as their provider has them.
    async fn batches(&mut self, gateway: &Gateway, key: &str, prices: &Catalogue) {
        let provider = Client::new(gateway.emulator.origin()).bearer(key);
        let get = async |path: &str| provider.get(path).await.unwrap().must_be(200);
        for batch in get("/v1/batches").await.json()["data"].as_array().unwrap() {
            let file = batch["output_file_id"].as_str().unwrap();
            for line in get(&format!("/v1/files/{file}/content")).await.text().lines() {
                let answer = serde_json::from_str::<Value>(line).unwrap()["response"].take();
                let usage = &answer["body"]["usage"];
                let tokens = ["/prompt_tokens", "/prompt_tokens_details/cached_tokens", "/completion_tokens"];
                let [input, cached, output] =
                    tokens.map(|name| usage.pointer(name).unwrap().as_u64().unwrap());
                let seller = (key, answer["body"]["model"].as_str().unwrap());
                let used = [input, cached, output, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                let id = answer["request_id"].as_str().unwrap().to_owned();
                assert_eq!(self.items.insert(id, priced(used, prices, seller, 50, true)), None);
            }
        }
    }

    /// Takes what a record stands for from what is left.
    fn take(&mut self, record: &Value, call: Option<&usize>) -> Bill {
        if let Some(number) = call {
            return self.calls.remove(number).unwrap_or_default();
        }
        let attempts = record["attempts"].as_array().unwrap().iter();
        let mut ids = attempts.filter_map(|attempt| attempt["upstream_request_id"].as_str());
        if let Some(item) = ids.find_map(|id| self.items.remove(id)) {
            return item;
        }
        let later = self.later.iter().position(|bill| *bill == told(record));
        later.map(|at| self.later.swap_remove(at)).unwrap_or_default()
    }

    /// The records of a workspace, each of which tells what is billed for it; its list of requests agrees.
    pub(super) async fn compared(&mut self, admin: Client, calls: &BTreeMap<String, usize>) -> Booked {
        let mut booked = Booked::new();
        for record in listed(admin.clone(), "/v2/records").await {
            let call = calls.get(&id_of(&record));
            let bill = self.take(&record, call);
            assert_eq!(
                (told(&record), &record["estimated"]),
                (bill, &Value::Bool(false)),
                "{call:?}: {record}"
            );
            booked.push((record, bill));
        }
        let shown = |row: &Value| {
            let names = names::<4>("input_tokens output_tokens cost_micros provider_cost_micros");
            (id_of(row), names.map(|name| row[name].as_u64().unwrap()))
        };
        let requests = listed(admin, "/v2/requests").await;
        assert_eq!(requests.len(), booked.len(), "each once");
        let by_id: BTreeMap<_, _> = requests.iter().map(shown).collect();
        assert_eq!(by_id, booked.iter().map(|(record, _)| shown(record)).collect());
        booked
    }
}

/// A whole list. It has thousands of rows, and other tests hold such rows to the OpenAPI document.
async fn listed(admin: Client, path: &str) -> Vec<Value> {
    let (admin, mut rows, mut cursor) = (admin.other_version(), Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("{path}?limit=500{cursor}")).await.unwrap().must_be(200).json();
        rows.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

fn amounts((record, bill): &(Value, Bill)) -> Sums {
    let attempts = record["attempts"].as_array().unwrap().len() as u64;
    let when = |is: bool| u64::from(is && attempts > 0);
    let failed = when(record["outcome"] != "completed");
    let [input, cached, output, _, _, _, _, images, characters, owed, billed, unpriced] = *bill;
    let own = if record["mode"] == "byok" { billed } else { 0 };
    [when(true), 1, attempts, failed, unpriced, input, cached, output, images, characters, owed, billed, own]
}

pub(super) fn sums<'a>(booked: impl IntoIterator<Item = &'a (Value, Bill)>) -> Sums {
    booked.into_iter().map(amounts).fold([0; 13], |mut sum, more| {
        sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        sum
    })
}

/// What is owed, what providers bill, and what is owed and billed by own ones, each of which is rounded by itself.
pub(super) fn micros(sums: Sums) -> [u64; 3] {
    let [.., owed, billed, own] = sums.map(|nanos| half_even(nanos, 1_000));
    [owed, billed, owed + own]
}

fn agrees(row: &Value, mut sums: Sums) {
    let money = micros(sums);
    sums[10..].copy_from_slice(&money);
    for (name, sum) in names::<13>(SHOWN).into_iter().zip(sums).filter(|(name, _)| !row[*name].is_null()) {
        assert_eq!(row[name], sum, "{name}: {row}");
    }
}

/// The value that a record has of a group.
fn label(record: &Value, group: &str) -> Value {
    let of = |profile: &str| {
        let is_it = record["profile"] == profile && record["resolved_model"].is_string();
        if is_it { record["principal"].clone() } else { Value::Null }
    };
    match group {
        "model" => record["resolved_model"].clone(),
        "project" => record["project_id"].clone(),
        "key" => record["key_id"].clone(),
        "credential" => of("byok"),
        "node" => of("byoc"),
        "account" => of("managed_provider"),
        "status" => record["status"].to_string().into(),
        same => record[same].clone(),
    }
}

/// Usage by each of these groups, the analytics, the bill of the month and its invoice are what the records add up to.
pub(super) async fn figures(admin: &Client, booked: &Booked, groups: &str) {
    let get = async |path: &str| admin.get(path).await.unwrap().must_be(200).json();
    let (whole, snapshot) = (sums(booked), get("/v2/billing/snapshot").await);
    for window in ["30d", "month"] {
        let usage = get(&format!("/v2/usage?window={window}")).await;
        agrees(&usage["data"][0], whole);
        assert_eq!(usage["data"][0]["estimated_requests"], 0, "{usage}");
    }
    for group in groups.split(' ') {
        let mut expected: BTreeMap<String, Vec<&(Value, Bill)>> = BTreeMap::new();
        for one in booked {
            expected.entry(label(&one.0, group).to_string()).or_default().push(one);
        }
        let usage = get(&format!("/v2/usage?group_by={group}")).await;
        let rows = usage["data"].as_array().unwrap();
        assert_eq!(rows.len(), expected.len(), "{group}: {usage}");
        for shown in rows {
            let of = expected.remove(&shown[group].to_string());
            let sums = sums(of.unwrap_or_else(|| panic!("{group}: {shown}")));
            agrees(shown, sums);
            if let Some(mode) = shown["mode"].as_str() {
                agrees(row(&snapshot["mtd"]["by_mode"], "mode", mode), sums);
            } else if let Some(model) = shown["model"].as_str() {
                let analytics = get("/v2/analytics?group_by=model").await;
                agrees(row(&analytics["data"], "model", model), sums);
            }
        }
    }
    let [owed, _, spend] = micros(whole);
    let told = names::<4>("owed_micros spend_micros unpriced_event_count unmetered_event_count");
    assert_eq!(told.map(|name| snapshot[name].as_u64().unwrap()), [owed, spend, whole[4], 0], "{snapshot}");
    let invoices = get("/v2/billing/invoices").await;
    let invoice = get(&format!("/v2/billing/invoices/{}", id_of(&invoices["data"][0]))).await;
    let managed = invoice["lines"].as_array().unwrap().iter().filter(|line| line["kind"] == "managed_tokens");
    assert_eq!(
        managed.map(|line| line["amount_nanos"].as_u64().unwrap()).sum::<u64>(),
        whole[10],
        "{invoice}"
    );
}
