//! What a model can be used for, by its files: answers, embeddings or reranking.

use domain::inference_task::ModelUses;
use prompts::{PromptError, Vocabulary};
use weights::{Purpose, Ranks, RerankHead, Vectors};

use crate::EngineError;

/// The prompt template for reranking, where a model's files have none.
pub(super) const TEMPLATE: &str = include_str!("ranking.txt");

/// What a model can be used for, with its scoring weights loaded.
#[derive(Debug)]
pub(super) enum Uses {
    Answers,
    Vectors(Vectors),
    Ranks(Ranking),
}

#[derive(Debug)]
pub(super) struct Ranking {
    pub scale: ScoreHead,
    pub template: String,
    /// It has a whole output head, so that it can also generate text.
    answers: bool,
}

/// Turns a hidden state into a score from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ScoreHead {
    One(Vec<f32>),
    Two(Vec<f32>, Vec<f32>),
}

impl Uses {
    /// # Errors
    /// The model has no token for the "yes" or "no" that it is to answer.
    pub(super) fn of(
        purpose: Purpose,
        vocabulary: &Vocabulary,
        head_row: impl Fn(u32) -> Result<Vec<f32>, EngineError>,
    ) -> Result<Self, EngineError> {
        let Ranks { judge, template } = match purpose {
            Purpose::Answers => return Ok(Self::Answers),
            Purpose::Vectors(vectors) => return Ok(Self::Vectors(vectors)),
            Purpose::Ranks(ranks) => ranks,
        };
        let answers = matches!(judge, RerankHead::Words(..));
        let scale = match judge {
            RerankHead::One(row) => ScoreHead::One(row),
            RerankHead::Two(yes, no) => ScoreHead::Two(yes, no),
            RerankHead::Words(yes, no) => {
                let row = |word: &str| {
                    let token = vocabulary.special_token_id(word).ok_or_else(|| {
                        PromptError::Text(format!(
                            "reranking needs the token \"{word}\", and there is no such token"
                        ))
                    })?;
                    head_row(token)
                };
                ScoreHead::Two(row(&yes)?, row(&no)?)
            }
        };
        Ok(Self::Ranks(Ranking { scale, template: template.unwrap_or_else(|| TEMPLATE.to_owned()), answers }))
    }

    pub(super) const fn makes(&self) -> ModelUses {
        match self {
            Self::Answers => ModelUses { answers: true, vectors: false, ranks: false },
            Self::Vectors(_) => ModelUses { answers: false, vectors: true, ranks: false },
            Self::Ranks(ranking) => ModelUses { answers: ranking.answers, vectors: false, ranks: true },
        }
    }
}

impl ScoreHead {
    pub(super) fn weigh(&self, state: &[f32]) -> f64 {
        let product = |row: &[f32]| -> f64 {
            row.iter().zip(state).map(|(weight, number)| f64::from(*weight) * f64::from(*number)).sum()
        };
        let lead = match self {
            Self::One(row) => product(row),
            // The softmax of two logits is the sigmoid of their difference.
            Self::Two(yes, no) => product(yes) - product(no),
        };
        1.0 / (1.0 + (-lead).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rows_are_weighed_as_one_row_of_their_difference() {
        let (yes, no, state) = (vec![1.0, 2.0], vec![0.5, -1.0], [0.25, 0.5]);
        let one = ScoreHead::One(vec![0.5, 3.0]).weigh(&state);
        let two = ScoreHead::Two(yes, no).weigh(&state);
        assert!((one - two).abs() < 1e-12 && (one - 1.0 / (1.0 + (-1.625f64).exp())).abs() < 1e-12);
        assert_eq!(ScoreHead::One(vec![1e30]).weigh(&[1e30]), 1.0);
        assert_eq!(ScoreHead::One(vec![-1e30]).weigh(&[1e30]), 0.0);
    }
}
