//! A signed-in person, whose requests are sent the way a browser on the console sends them.

use harness::client::{Answer, Client};
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::gateway::Gateway;

/// A session, and its person.
#[derive(Clone)]
pub struct Person {
    pub id: String,
    pub cookie: String,
    pub csrf: String,
    pub me: Value,
    origin: String,
}

/// The cookie of an answer, as a browser sends it back.
pub fn cookie_of(answer: &Answer) -> String {
    let set = answer.header("set-cookie").unwrap_or_else(|| panic!("no cookie: {answer:?}"));
    set.split(';').next().unwrap().to_owned()
}

impl Person {
    /// Reads the session from the answer to a sign-in.
    pub fn of(origin: &str, answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let me = answer.json();
        let text = |pointer: &str| me.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        Self {
            id: text("/member/id"),
            csrf: text("/csrf_token"),
            cookie: cookie_of(answer),
            origin: origin.to_owned(),
            me: me.clone(),
        }
    }

    pub fn client(&self) -> Client {
        Client::new(&self.origin)
            .within(WITHIN)
            .header("cookie", &self.cookie)
            .header("x-tidegate-csrf", &self.csrf)
            .header("origin", &self.origin)
            .header("sec-fetch-site", "same-origin")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.client().get(path).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.client().post(path, &body).await.unwrap()
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.client().call(Method::PATCH, path, &json, body.to_string()).await.unwrap()
    }
}

/// The token after the `#` of a link.
pub fn token_of(link: &str) -> &str {
    link.split_once("/sign-in#token=").unwrap_or_else(|| panic!("no link: {link}")).1
}

impl Gateway {
    /// A browser without a session.
    pub fn browser(&self) -> Client {
        Client::new(&self.origin).within(WITHIN).header("origin", &self.origin)
    }

    pub async fn open_link(&self, link: &str) -> Answer {
        self.browser().post("/v2/sign-in/link", &json!({"token": token_of(link)})).await.unwrap()
    }

    /// Invites a person through an authorised client, and signs them in with their link.
    pub async fn member(&self, inviting: &Client, email: &str, role: &str) -> Person {
        let made = inviting.post("/v2/members", &json!({"email": email, "role": role})).await.unwrap();
        assert_eq!(made.status, 201, "{}", made.text());
        let link = made.json()["invite_link"].as_str().unwrap().to_owned();
        Person::of(&self.origin, &self.open_link(&link).await)
    }

    /// The owner of the first workspace, signed in with a link from the command line.
    pub async fn owner(&self) -> Person {
        Person::of(&self.origin, &self.open_link(self.cli().run(&["login", "--link"]).ok().trim()).await)
    }
}
