//! The tests of `domain::ids`.

use domain::{KeyId, NodeId, TraceId};

#[test]
fn an_id_reads_back_what_it_prints() {
    let id = TraceId::new(1_700_000_000_000, [7; 10]);
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!(id.to_string().starts_with("trc_018bcfe5"));
    assert_eq!(id.unix_ms(), 1_700_000_000_000);
    let node = NodeId::new(1_700_000_000_000, [7; 10]);
    assert_eq!(node.text().parse(), Ok(node), "the longest prefix fits");
}

#[test]
fn another_kind_of_id_is_refused() {
    let text = KeyId::new(1, [0; 10]).to_string();
    assert!(text.parse::<TraceId>().is_err());
    assert!("trc_zz".parse::<TraceId>().is_err());
    assert!("trc_0192AB00000070008000000000000000".parse::<TraceId>().is_err(), "upper case is another text");
}

#[test]
fn later_ids_sort_later() {
    assert!(TraceId::new(2, [0; 10]) > TraceId::new(1, [255; 10]));
}
