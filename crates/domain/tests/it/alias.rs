//! The tests of `domain::alias`.

use domain::alias::pinned;
use domain::{AliasPick, AliasReleaseId, AliasSplit, ReleaseChoice};

#[test]
fn a_pick_reads_back_what_it_writes() {
    let release = AliasReleaseId::new(1, [7; 10]);
    for choice in ReleaseChoice::ALL {
        let pick = AliasPick { alias: "code.best", release, choice, target: 2, targets: 3 };
        assert_eq!(AliasPick::read(&pick.to_string()), Some(pick));
    }
    for other in ["", "catalogue", "alias:", "alias:a@alr_1:active:1/1", "node_model"] {
        assert_eq!(AliasPick::read(other), None, "{other}");
    }
}

#[test]
fn a_release_is_pinned_by_its_id_alone_or_behind_its_alias() {
    let id = AliasReleaseId::new(1, [7; 10]);
    assert_eq!(pinned(&id.to_string()), Some((None, id)));
    assert_eq!(pinned(&format!("auto@{id}")), Some((Some("auto"), id)));
    for name in ["auto", "auto@", "auto@alr_1", "openai/gpt-4o@2024", ""] {
        assert_eq!(pinned(name), None, "{name}");
    }
}

#[test]
fn a_split_has_a_word() {
    for split in AliasSplit::ALL {
        assert_eq!(AliasSplit::from_word(split.as_str()), Some(split));
    }
    assert_eq!(AliasSplit::from_word("random"), None);
}
