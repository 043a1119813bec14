//! Addresses of databases, as they are shown.

use store::{Address, ReplicaId, Store};

/// The pool of connections waits for three seconds, and would say only that.
#[tokio::test]
async fn a_server_that_is_not_there_is_told_by_its_reason() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address: Address = format!("postgres://tide@{free}/books").parse().unwrap();
    let error = Store::connect(&address, ReplicaId::ALONE).await.err().unwrap().to_string();
    assert!(error.contains("refused") && !error.contains("timed out"), "{error}");
}

#[test]
fn an_address_is_shown_without_its_password() {
    let address: Address = "postgres://tide:hunter2@db.example:6432/books?sslmode=require".parse().unwrap();
    assert_eq!(address.to_string(), "postgres://tide@db.example:6432/books");
    assert!(!format!("{address:?} {:?}", Some(&address)).contains("hunter2"));
    for wrong in ["", "mysql://u:hunter2@h/d", "postgres://u:hunter2@h:port/d", "db.example"] {
        let error = wrong.parse::<Address>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}
