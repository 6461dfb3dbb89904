//! What a round found.

use blindsmith_learn::Metrics;
use blindsmith_protocol::{FrameError, Id, Quarantined, from_cbor, to_cbor};
use serde::{Deserialize, Serialize};

/// Bytes of the words that tell why a round failed.
pub const MAX_FAILURE: usize = 160;

/// What a contributor's rows showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContributorMetrics {
    /// Its public key.
    pub contributor: Id,
    /// Rows that the round was given of it.
    pub rows: u64,
    /// Figures over those that judge, if its terms show them.
    pub validation: Option<Metrics>,
}

/// What a round found, sealed to the owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundMetrics {
    /// The round.
    pub round: u64,
    /// Mean training loss of each epoch.
    pub training_loss: Vec<f64>,
    /// Figures over the validation rows, if there are any.
    pub validation: Option<Metrics>,
    /// The loss of the version before it over the rows that judge.
    pub before: Option<f64>,
    /// Each contributor's part.
    pub contributors: Vec<ContributorMetrics>,
    /// The uploads set aside.
    pub quarantined: Vec<Quarantined>,
    /// Why the round failed, if it did: its model is the one before it.
    pub failure: Option<String>,
    /// For rules whose epsilon follows the noise (Adam, AdamW): of each step the predicted standard deviation
    /// of each layer's gradient noise, so that a twin can take the same steps.
    pub gradient_noise: Vec<Vec<f32>>,
}

impl RoundMetrics {
    /// Of a round that found nothing.
    pub fn of(round: u64) -> Self {
        RoundMetrics {
            round,
            training_loss: vec![],
            validation: None,
            before: None,
            contributors: vec![],
            quarantined: vec![],
            failure: None,
            gradient_noise: vec![],
        }
    }

    /// As sealed: its length (u32, little-endian), CBOR, and zeros up to a length that follows from the numbers
    /// of epochs, steps, layers and contributors, from the model's outputs and from `aside` alone, the most uploads that may
    /// have been set aside: all, where it is not public which were.
    /// CBOR writes some values shorter than others; a failure's words have at most [`MAX_FAILURE`] bytes.
    pub fn encode(&self, aside: usize, outputs: usize) -> Vec<u8> {
        let body = to_cbor(self);
        let noise: usize = self.gradient_noise.iter().map(|layers| 9 + 5 * layers.len()).sum();
        let contributors = 400 * self.contributors.len();
        // Counts have names beside them where there is no confusion matrix.
        let counts = 18 * Metrics::most_counts(outputs);
        let longest =
            640 + MAX_FAILURE + 9 * self.training_loss.len() + noise + contributors + 80 * aside + counts;
        let mut out = (body.len() as u32).to_le_bytes().to_vec();
        out.extend(body);
        out.resize(out.len().max(4 + longest), 0);
        out
    }

    /// Reads what [`RoundMetrics::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let damaged = || FrameError::Malformed("metrics that are none".into());
        let (len, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let body = rest.get(..u32::from_le_bytes(*len) as usize).ok_or_else(damaged)?;
        from_cbor(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_metrics_have_a_length_that_their_values_do_not_change() {
        let all = |loss: f64, some: Option<f64>| Metrics {
            rows: 1 << 40,
            loss,
            accuracy: some,
            auc: some,
            auc_error: some,
            f1: some,
            f1_macro: some,
            rmse: some,
            r2: some,
            confusion: some.map_or(vec![], |_| vec![vec![u64::MAX; 5]; 5]),
            counts: vec![],
        };
        let metrics = |loss: f64, noise: f32, some: Option<f64>| RoundMetrics {
            round: 3,
            training_loss: vec![loss; 5],
            validation: Some(all(loss, some)),
            before: some,
            contributors: vec![
                ContributorMetrics {
                    contributor: Id([1; 32]),
                    rows: 1 << 40,
                    validation: some.map(|_| all(loss, some).without_counts())
                };
                3
            ],
            quarantined: some.map_or(vec![], |_| {
                vec![
                    Quarantined { upload: Id([2; 32]), reason: blindsmith_protocol::Reason::ScreenedAfter };
                    4
                ]
            }),
            failure: some.map(|_| "x".repeat(MAX_FAILURE)),
            gradient_noise: vec![vec![noise; 3]; 40],
        };
        let (short, long) = (metrics(0.0, 0.0, None), metrics(0.1, 0.1, Some(0.1)));
        assert_eq!(short.encode(4, 5).len(), long.encode(4, 5).len());
        for metrics in [short, long] {
            let bytes = metrics.encode(4, 5);
            assert_eq!(RoundMetrics::decode(&bytes).unwrap(), metrics);
            assert!(RoundMetrics::decode(&bytes[..40]).is_err());
        }
    }
}
