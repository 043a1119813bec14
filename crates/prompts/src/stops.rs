//! Stop sequences, which end an answer regardless of token boundaries. Neither they nor a possible beginning
//! of one is ever sent.

#[derive(Debug, Default)]
pub(crate) struct Stops {
    stops: Vec<String>,
    held: String,
}

impl Stops {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(), held: String::new() }
    }

    /// Takes more text; returns what can be sent, and the stop sequence if one was found after that.
    pub(crate) fn push(&mut self, text: &str) -> (String, Option<String>) {
        self.held.push_str(text);
        // The match that ends first wins, so the result does not depend on how the text was cut.
        let met = self.stops.iter().filter_map(|stop| Some((self.held.find(stop.as_str())?, stop)));
        if let Some((at, stop)) = met.min_by_key(|(at, stop)| (at + stop.len(), *at)) {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), Some(stop.clone()));
        }
        let kept = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or_default();
        let rest = self.held.split_off(self.held.len() - kept);
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// Returns the text held back, at the end of the answer.
    pub(crate) fn end(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// The longest proper prefix of `stop` that the text ends with.
fn overlap(text: &str, stop: &str) -> usize {
    let starts = stop.char_indices().map(|(at, _)| at).skip(1);
    starts
        .filter(|length| stop.get(..*length).is_some_and(|start| text.ends_with(start)))
        .max()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_may_become_a_stop_is_held_back() {
        let mut stops = Stops::new(vec!["END".into(), "né!".into(), String::new()]);
        assert_eq!(stops.push("an E"), ("an ".to_owned(), None));
        assert_eq!(stops.push("N"), (String::new(), None));
        assert_eq!(stops.push("T n"), ("ENT ".to_owned(), None));
        assert_eq!(stops.push("é"), (String::new(), None));
        assert_eq!(stops.push("! more"), (String::new(), Some("né!".to_owned())));
        let mut stops = Stops::new(vec!["END".into()]);
        assert_eq!(stops.push("the EN"), ("the ".to_owned(), None));
        assert_eq!(stops.end(), "EN");
    }

    proptest! {
        #[test]
        fn what_is_told_ends_where_the_first_stop_begins(
            text in "[abc]{0,40}", stop in "[abc]{1,4}", size in 1usize..5,
        ) {
            let mut stops = Stops::new(vec![stop.clone()]);
            let (mut out, mut is_over) = (String::new(), false);
            for piece in text.as_bytes().chunks(size) {
                let (more, over) = stops.push(std::str::from_utf8(piece).unwrap());
                out.push_str(&more);
                is_over = over.is_some();
                if is_over {
                    break;
                }
            }
            if !is_over {
                out.push_str(&stops.end());
            }
            prop_assert_eq!(is_over, text.contains(&stop));
            prop_assert_eq!(out, text.split(stop.as_str()).next().unwrap_or_default());
        }

        #[test]
        fn of_several_stops_the_same_is_met_wherever_the_text_is_cut(
            text in "[ab]{0,20}", stops in proptest::collection::vec("[ab]{1,4}", 1..4), size in 1usize..20,
        ) {
            let emitted = |size: usize| {
                let (mut matcher, mut emitted) = (Stops::new(stops.clone()), String::new());
                for piece in text.as_bytes().chunks(size) {
                    let (more, met) = matcher.push(std::str::from_utf8(piece).unwrap());
                    emitted.push_str(&more);
                    if met.is_some() {
                        return (emitted, met);
                    }
                }
                emitted.push_str(&matcher.end());
                (emitted, None)
            };
            prop_assert_eq!(emitted(size), emitted(1));
        }
    }
}
