//! The table of an API: each path with what does it, or with what to use instead.

use http::Method;

use crate::call::Handler;

/// What a path does.
#[derive(Clone, Copy)]
pub enum Does {
    Call(Handler),
    /// For a caller who has no key yet.
    Open(Handler),
    /// It has no counterpart here: what to use.
    Instead(&'static str),
}

pub(crate) enum Found {
    Route(Does, Vec<String>),
    /// The methods that the path takes.
    OtherMethods(String),
    Nothing,
}

pub type Row = (Method, &'static str, Does);

/// Paths that have no counterpart, whatever the method, with what to use.
pub type Instead = (&'static [&'static str], &'static str);

/// A call that does something.
pub const fn call(method: Method, path: &'static str, handler: Handler) -> Row {
    (method, path, Does::Call(handler))
}

pub const fn get(path: &'static str, handler: Handler) -> Row {
    call(Method::GET, path, handler)
}

pub const fn post(path: &'static str, handler: Handler) -> Row {
    call(Method::POST, path, handler)
}

pub const fn put(path: &'static str, handler: Handler) -> Row {
    call(Method::PUT, path, handler)
}

pub const fn patch(path: &'static str, handler: Handler) -> Row {
    call(Method::PATCH, path, handler)
}

pub const fn delete(path: &'static str, handler: Handler) -> Row {
    call(Method::DELETE, path, handler)
}

/// A call of somebody who has no key yet.
pub const fn open(path: &'static str, handler: Handler) -> Row {
    (Method::POST, path, Does::Open(handler))
}

/// One that has no counterpart, at a path of which another method has.
pub const fn instead(method: Method, path: &'static str, what: &'static str) -> Row {
    (method, path, Does::Instead(what))
}

const REST: &str = "{rest}";

/// Finds the route of a path below the root.
pub(crate) fn find(rows: &[Row], instead: &[Instead], method: &Method, path: &str) -> Found {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut others: Vec<Method> = Vec::new();
    for (known, pattern, does) in rows {
        let Some(parameters) = parameters(pattern, path) else { continue };
        if known == method {
            return Found::Route(*does, parameters);
        }
        others.push(known.clone());
    }
    let fits = |paths: &[&str]| paths.iter().any(|pattern| parameters(pattern, path).is_some());
    if let Some((_, instead)) = instead.iter().find(|(paths, _)| fits(paths)) {
        return Found::Route(Does::Instead(instead), Vec::new());
    }
    if others.is_empty() {
        return Found::Nothing;
    }
    Found::OtherMethods(others.iter().map(Method::as_str).collect::<Vec<_>>().join(", "))
}

fn parameters(pattern: &str, path: &str) -> Option<Vec<String>> {
    if let Some(prefix) = pattern.strip_suffix(REST) {
        return path.strip_prefix(prefix).filter(|rest| !rest.is_empty()).map(|_| Vec::new());
    }
    let mut found = Vec::new();
    let mut given = path.split('/');
    for wanted in pattern.split('/') {
        let have = given.next()?;
        if wanted.starts_with('{') && !have.is_empty() {
            found.push(have.to_owned());
        } else if wanted != have {
            return None;
        }
    }
    given.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Refusal;
    use crate::call::{Call, Handled};

    const INSTEAD: &[Instead] = &[
        (&["lab/train", "lab/train/{rest}", "hybrie/compute/{rest}"], "Do that yourself."),
        (&["users/{id}/copy"], "Do that yourself."),
    ];

    async fn nothing(_: &Call<'_>) -> Handled {
        Err(Refusal::instead("nothing", "nothing"))
    }

    const ROWS: &[Row] = &[
        get("users/me", &nothing),
        delete("api-keys/{id}", &nothing),
        get("users/{space}/{name}", &nothing),
        open("device/code", &nothing),
        get("lab/train/jobs", &nothing),
        get("hybrie/compute/peers", &nothing),
    ];

    fn found(method: &str, path: &str) -> String {
        match find(ROWS, INSTEAD, &method.parse().unwrap(), path) {
            Found::Route(Does::Call(_), parameters) => format!("call {}", parameters.join(" ")),
            Found::Route(Does::Open(_), _) => "open".to_owned(),
            Found::Route(Does::Instead(_), _) => "instead".to_owned(),
            Found::OtherMethods(allowed) => format!("allow {allowed}"),
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn a_path_works_or_says_what_to_use() {
        for (method, path, expected) in [
            ("GET", "users/me", "call "),
            ("HEAD", "users/me", "call "),
            ("POST", "users/me", "allow GET"),
            ("POST", "users/1/copy", "instead"),
            ("DELETE", "api-keys/key_1", "call key_1"),
            ("DELETE", "api-keys/", "nothing"),
            ("POST", "device/code", "open"),
            ("GET", "lab/train/jobs", "call "),
            ("POST", "lab/train/sft", "instead"),
            ("GET", "hybrie/compute/offers", "instead"),
            ("GET", "hybrie/compute/peers", "call "),
            ("GET", "workspaces", "nothing"),
        ] {
            assert_eq!(found(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn what_has_no_counterpart_is_a_501() {
        let refusal = Refusal::instead("workspace/prompts", "Keep them yourself.");
        assert_eq!((refusal.status.as_u16(), &*refusal.code), (501, "no_counterpart"));
    }
}
