//! The tests of `domain::task`.

use domain::{TaskPriority, TaskStatus};

#[test]
fn a_status_is_found_by_its_number_and_its_name() {
    for status in TaskStatus::ALL {
        assert_eq!(TaskStatus::by_code(status.code()), Some(status));
        assert_eq!(TaskStatus::by_name(status.as_str()), Some(status));
        // Clients stop at these numbers and no others.
        assert_eq!(status.has_ended(), matches!(status.code(), 10..=12), "{status:?}");
    }
    assert_eq!(TaskStatus::by_code(13), None);
    for priority in TaskPriority::ALL {
        assert_eq!(TaskPriority::by_rank(priority.rank()), Some(priority));
        assert_eq!(TaskPriority::by_name(priority.as_str()), Some(priority));
    }
    assert!(TaskPriority::High.rank() < TaskPriority::Low.rank());
}
