//! The tests of `domain::hints`.

use domain::{Priority, Qos, QosClass};

#[test]
fn every_class_reads_back() {
    for class in QosClass::ALL {
        assert_eq!(QosClass::from_word(class.as_str()), Some(class));
    }
    assert_eq!(QosClass::from_word("urgent"), None);
}

#[test]
fn hints_lower_a_priority_and_raise_it_as_far_as_the_key_allows() {
    let qos = |class, priority| Qos { class, priority, ..Qos::default() };
    let (interactive, batch) = (Some(QosClass::Interactive), Some(QosClass::Batch));
    for (qos, of_key, of_route, expected) in [
        (qos(None, None), None, None, 128),
        (qos(interactive, None), None, None, 192),
        (qos(batch, None), None, None, 32),
        // A class and a number: the lower.
        (qos(interactive, Some(100)), None, None, 100),
        (qos(batch, Some(100)), None, None, 32),
        (qos(None, Some(0)), None, None, 0),
        // Above what a class can state, the key has to allow it.
        (qos(None, Some(255)), None, None, 192),
        (qos(None, Some(255)), Some(240), None, 240),
        // A key's own holds where nothing is stated, and bounds what is.
        (qos(None, None), Some(240), None, 240),
        (qos(None, None), Some(5), None, 5),
        (qos(interactive, None), Some(5), None, 5),
        (qos(batch, None), Some(240), None, 32),
        // A route bounds all of it, and raises nothing.
        (qos(None, None), Some(240), Some(40), 40),
        (qos(interactive, None), None, Some(40), 40),
        (qos(None, None), None, Some(255), 128),
    ] {
        let priority = Priority::of(&qos, of_key).within(of_route);
        assert_eq!(priority, Priority(expected), "{qos:?} {of_key:?} {of_route:?}");
    }
}
