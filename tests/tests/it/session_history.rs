//! A session's history, sent for clients that ask for it in their dialect: over own credentials and nodes, streamed and not, with
//! calls of tools; and what is refused before anything is spent.

use harness::client::{Answer, Client};
use harness::{At, Behaviour};
use serde_json::{Value, json};

use crate::ask::{MINI, problem, refused, with};
use crate::gateway::{Gateway, LOCAL_MODEL, NODE, OWN};
use crate::own_batches::HAIKU;

const HISTORY: &str = "agent-session-history";
const FLASH: &str = "google/gemini-2.5-flash";
const RESULT: &str = "four degrees";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Chat,
    Messages,
    Gemini,
    Responses,
}

use Speaks::{Chat, Gemini, Messages, Responses};

/// What a request adds to the conversation.
#[derive(Debug, Clone, Copy)]
enum Says<'a> {
    Words(&'a str),
    /// The result of the call with this id.
    Result(&'a str),
}

impl Speaks {
    fn path(self, model: &str, stream: bool) -> String {
        match self {
            Chat => "/v1/chat/completions".to_owned(),
            Messages => "/v1/messages".to_owned(),
            Responses => "/v1/responses".to_owned(),
            Gemini => {
                let verb = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
                format!("/v1beta/models/{}:{verb}", model.replace('/', "%2F"))
            }
        }
    }

    fn turn(self, says: Says<'_>) -> Value {
        match (self, says) {
            (Chat | Messages | Responses, Says::Words(words)) => json!({"role": "user", "content": words}),
            (Gemini, Says::Words(words)) => json!({"role": "user", "parts": [{"text": words}]}),
            (Chat, Says::Result(id)) => json!({"role": "tool", "tool_call_id": id, "content": RESULT}),
            (Messages, Says::Result(id)) => json!({"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": id, "content": RESULT},
            ]}),
            (Gemini, Says::Result(_)) => json!({"role": "user", "parts": [
                {"functionResponse": {"name": "weather", "response": {"result": RESULT}}},
            ]}),
            (Responses, Says::Result(id)) => {
                json!({"type": "function_call_output", "call_id": id, "output": RESULT})
            }
        }
    }

    fn body(self, model: &str, stream: bool, says: Says<'_>) -> Value {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        let turns = json!([self.turn(says)]);
        let tool = match self {
            Chat => json!({"type": "function", "function": {"name": "weather", "parameters": schema}}),
            Messages => json!({"name": "weather", "input_schema": schema}),
            Gemini => json!({"functionDeclarations": [{"name": "weather", "parameters": schema}]}),
            Responses => json!({"type": "function", "name": "weather", "parameters": schema}),
        };
        let more = match self {
            Chat => json!({"messages": turns}),
            Messages => json!({"max_tokens": 64, "messages": turns}),
            Gemini => return json!({"contents": turns, "tools": [tool]}),
            Responses => json!({"input": turns}),
        };
        with(json!({"model": model, "stream": stream, "tools": [tool]}), more)
    }
}

/// A gateway with credentials of the workspace's own, and a node.
async fn gateway() -> Gateway {
    let gateway = Gateway::with_own().await;
    let keys = "/v2/provider-credentials";
    gateway.at(keys, "anthropic", OWN, &gateway.emulator.anthropic_url()).await;
    gateway.at(keys, "gemini", OWN, &gateway.emulator.origin()).await;
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    gateway
}

async fn opened(client: &Client) -> (String, String) {
    let session = client.post("/v2/sessions", &json!({})).await.unwrap().json();
    let word = |name: &str| session[name].as_str().unwrap().to_owned();
    (word("id"), word("default_branch_id"))
}

fn continuing(gateway: &Gateway, session: &str) -> Client {
    let client = gateway.client().header("agent-session-ref", session).header(HISTORY, "append");
    client.header("anthropic-version", "2023-06-01")
}

async fn events(client: &Client, (session, branch): (&str, &str)) -> Vec<Value> {
    let path = format!("/v2/sessions/{session}/branches/{branch}/events?include=content&limit=100");
    client.get(&path).await.unwrap().json()["data"].as_array().unwrap().clone()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event_type"].as_str().unwrap()).collect()
}

/// Says something, and returns what the upstream was sent for it.
async fn say(
    gateway: &Gateway,
    speaks: Speaks,
    session: &str,
    (model, stream): (&str, bool),
    says: Says<'_>,
) -> (Answer, String) {
    let client = continuing(gateway, session);
    let answer = client.post(&speaks.path(model, stream), &speaks.body(model, stream, says)).await.unwrap();
    assert_eq!(answer.status, 200, "{speaks:?} {model} {stream} {says:?}: {}", answer.text());
    let stored = answer.header("agent-session-stored");
    assert_eq!(stored, (!stream).then_some("true"), "{speaks:?} {stream}");
    let key = if model == LOCAL_MODEL { NODE } else { OWN };
    let sent = gateway.calls(key).pop().unwrap().json().to_string();
    (answer, sent)
}

fn in_order(text: &str, words: &[&str]) {
    let at = words.iter().map(|word| text.find(word).unwrap_or_else(|| panic!("no {word} in {text}")));
    assert!(at.collect::<Vec<_>>().is_sorted(), "{words:?} in {text}");
}

#[tokio::test]
async fn a_session_goes_on_in_each_dialect_wherever_it_is_served() {
    let (gateway, client) = gateway().await.and_client();
    for (speaks, own) in [(Chat, MINI), (Messages, HAIKU), (Gemini, FLASH), (Responses, MINI)] {
        for model in [own, LOCAL_MODEL, HAIKU] {
            for stream in [false, true] {
                let (session, branch) = opened(&client).await;
                let how = (model, stream);
                let what = format!("{speaks:?} {how:?}");
                say(&gateway, speaks, &session, how, Says::Words("Is there weather in Oslo?")).await;
                let so_far = events(&client, (&session, &branch)).await;
                let call = so_far.last().unwrap_or_else(|| panic!("{what}"))["content"].clone();
                assert_eq!(call["type"], "function_call", "{what}: {so_far:?}");
                let id = call["call_id"].as_str().unwrap();
                let (_, sent) = say(&gateway, speaks, &session, how, Says::Result(id)).await;
                in_order(&sent, &["in Oslo", RESULT]);
                let (answer, sent) = say(&gateway, speaks, &session, how, Says::Words("And Bergen?")).await;
                in_order(&sent, &["in Oslo", RESULT, "And Bergen"]);
                let events = events(&client, (&session, &branch)).await;
                let [user, assistant, result] = ["user_message", "assistant_message", "tool_result"];
                let expected = [user, assistant, result, assistant, user, assistant];
                assert_eq!(kinds(&events), expected, "{what}: {events:?}");
                assert_eq!(events[2]["content"]["call_id"], id, "{what}");
                assert!(events[5]["content"].to_string().contains("Bergen"), "{what}: {events:?}");
                assert_eq!(gateway.record(&answer).await["session_id"], session, "{what}");
            }
        }
    }
    assert_eq!(gateway.emulator.violations(), []);
}

/// One session, of which each request is in another dialect and goes to another vendor.
#[tokio::test]
async fn a_session_goes_from_one_dialect_to_the_next_and_along_its_branches() {
    let (gateway, client) = gateway().await.and_client();
    let (session, branch) = opened(&client).await;
    let steps = [(Chat, HAIKU), (Gemini, MINI), (Responses, FLASH), (Messages, LOCAL_MODEL), (Chat, MINI)];
    let mut words: Vec<String> = Vec::new();
    for (number, (speaks, model)) in steps.into_iter().enumerate() {
        words.push(format!("step {number}."));
        let (_, sent) =
            say(&gateway, speaks, &session, (model, number % 2 == 0), Says::Words(&words[number])).await;
        in_order(&sent, &words.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert_eq!(events(&client, (&session, &branch)).await.len(), 2 * steps.len());
    // `/v2/responses` goes on from there, and a fork has what was before it.
    let native = json!({"model": HAIKU, "input": "natively.", "session_id": session});
    assert_eq!(client.post("/v2/responses", &native).await.unwrap().json()["branch_id"], branch);
    in_order(&gateway.calls(OWN).pop().unwrap().json().to_string(), &["step 0.", "step 4.", "natively."]);
    let fork = json!({"from_branch_id": branch, "at_version": 2, "name": "other"});
    let fork = client.post(&format!("/v2/sessions/{session}/branches"), &fork).await.unwrap().json();
    let fork = fork["id"].as_str().unwrap();
    let body = Chat.body(MINI, false, Says::Words("elsewhere."));
    for (reference, history) in [
        (session.clone(), format!("append; branch={fork}")),
        (format!("{session}/{fork}"), "append".to_owned()),
    ] {
        let named = gateway.client().header("agent-session-ref", reference).header(HISTORY, history);
        let answer = named.post("/v1/chat/completions", &body).await.unwrap();
        assert_eq!(answer.header("agent-session-stored"), Some("true"), "{}", answer.text());
        let sent = gateway.calls(OWN).pop().unwrap().json().to_string();
        assert!(sent.contains("step 0.") && !sent.contains("step 1."), "{sent}");
    }
    assert_eq!(events(&client, (&session, fork)).await.len(), 6);
    assert_eq!(events(&client, (&session, &branch)).await.len(), 2 * steps.len() + 2);
    // What a plan shows is the request with its history.
    let headers = json!({"agent-session-ref": session, (HISTORY): "append"});
    gateway.plan(json!({"path": "/v1/chat/completions", "headers": headers, "request": body})).await;
    assert_eq!(events(&client, (&session, &branch)).await.len(), 2 * steps.len() + 2);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn what_fails_appends_nothing() {
    let (gateway, client) = gateway().await.and_client();
    let (session, branch) = opened(&client).await;
    let at = (session.as_str(), branch.as_str());
    let continuing = continuing(&gateway, &session);
    for stream in [false, true] {
        for (speaks, model) in [(Chat, MINI), (Messages, HAIKU), (Gemini, FLASH), (Responses, MINI)] {
            let failure = if stream {
                Behaviour::ok().chunks(20).error_event(At::Middle).always()
            } else {
                Behaviour::status(400).always()
            };
            gateway.emulator.script(OWN, [failure]);
            let body = speaks.body(model, stream, Says::Words("In vain."));
            // A stream that fails may break off.
            drop(continuing.post(&speaks.path(model, stream), &body).await);
        }
    }
    assert_eq!(events(&client, at).await, [] as [Value; 0]);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn what_can_t_be_continued_is_refused_before_anything_is_spent() {
    let (gateway, client) = gateway().await.and_client();
    let (session, branch) = opened(&client).await;
    let at = (session.as_str(), branch.as_str());
    let continuing = continuing(&gateway, &session);
    say(&gateway, Chat, &session, (MINI, false), Says::Words("In time.")).await;
    let before = gateway.calls(OWN).len();
    let named = |reference: Option<&str>, history: &str| {
        let client = gateway.client().header(HISTORY, history);
        reference.map_or(client.clone(), |reference| client.header("agent-session-ref", reference))
    };
    let body = |speaks: Speaks| speaks.body(MINI, false, Says::Words("No."));
    for (reference, history) in
        [(Some(session.as_str()), "replace"), (Some(&session), "append; branch=br_1"), (None, "append")]
    {
        let client = named(reference, history).header("anthropic-version", "2023-06-01");
        for speaks in [Chat, Messages, Responses] {
            let answer = client.post(&speaks.path(MINI, false), &body(speaks)).await.unwrap();
            assert_eq!(answer.status, 400, "{speaks:?} {history}: {}", answer.text());
            assert!(answer.text().contains("Agent-Session-"), "{}", answer.text());
        }
        let answer = client.post(&Gemini.path(MINI, false), &body(Gemini)).await.unwrap();
        assert_eq!(answer.json()["error"]["code"], 400, "{}", answer.text());
    }
    let embedding = json!({"model": "openai/text-embedding-3-small", "input": "No."});
    refused(&continuing.post("/v1/embeddings", &embedding).await.unwrap(), 400, "invalid_header");
    let native = json!({"model": MINI, "input": "No."});
    problem(&continuing.post("/v2/responses", &native).await.unwrap(), 400, "invalid_header");
    let several = with(body(Chat), json!({"n": 2}));
    refused(&continuing.post(&Chat.path(MINI, false), &several).await.unwrap(), 400, "history_not_carried");
    let both = with(body(Responses), json!({"previous_response_id": "resp_1"}));
    refused(&continuing.post(&Responses.path(MINI, false), &both).await.unwrap(), 400, "invalid_value");
    let foreign = named(Some(&session.replace("ses_0", "ses_1")), "append");
    refused(&foreign.post(&Chat.path(MINI, false), &body(Chat)).await.unwrap(), 404, "session_not_found");
    // A file of a provider's is none that another format could name.
    let content = json!({"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]});
    let file = json!({"expected_version": 0, "event": {"event_type": "user_message", "content": content}});
    let (other, other_branch) = opened(&client).await;
    let path = format!("/v2/sessions/{other}/branches/{other_branch}/events");
    client.post(&path, &file).await.unwrap().must_be(201);
    let answer = named(Some(&other), "append").post(&Chat.path(MINI, false), &body(Chat)).await.unwrap();
    refused(&answer, 400, "history_not_carried");
    let are_refused = async |status: u16, code: &str| {
        for speaks in [Chat, Responses] {
            let answer = continuing.post(&speaks.path(MINI, false), &body(speaks)).await.unwrap();
            refused(&answer, status, code);
        }
    };
    gateway.patch(&format!("/v2/sessions/{session}"), json!({"status": "archived"})).await;
    are_refused(409, "session_archived").await;
    gateway.patch(&format!("/v2/sessions/{session}"), json!({"status": "active"})).await;
    gateway.policy(json!({"retention": "zero"})).await;
    are_refused(403, "policy_forbids").await;
    assert_eq!(gateway.calls(OWN).len(), before, "nothing was sent");
    assert_eq!(events(&client, at).await.len(), 2);
}
