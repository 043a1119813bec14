//! Updates the page of published figures: a section for each processor, between two markers.

const BEGIN: &str = "<!-- figures: written by `make bench` -->\n";
const END: &str = "<!-- end of figures -->\n";
const HEADING: &str = "### ";

/// The page with this processor's section added or replaced; the others are unchanged.
pub fn with_section(page: &str, processor: &str, section: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (figures, after) = rest.split_once(END)?;
    let own = format!("{processor}\n");
    let others = figures.split(HEADING).skip(1).filter(|other| !other.starts_with(&own));
    let sections: String = others.map(|other| format!("{HEADING}{other}")).collect();
    Some(format!("{before}{BEGIN}{sections}{HEADING}{own}\n{section}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, with_section};

    #[test]
    fn a_section_replaces_its_own_and_leaves_the_others() {
        let empty = format!("top\n{BEGIN}{END}end\n");
        let one = with_section(&empty, "A", "1").unwrap();
        assert_eq!(one, format!("top\n{BEGIN}### A\n\n1\n{END}end\n"));
        let two = with_section(&one, "B", "2").unwrap();
        let again = with_section(&two, "A", "3").unwrap();
        assert_eq!(again, format!("top\n{BEGIN}### B\n\n2\n### A\n\n3\n{END}end\n"));
        assert_eq!(with_section("no marks", "A", "1"), None);
    }
}
