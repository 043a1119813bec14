//! Addresses of databases, as they are shown.

use store::Address;

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
