//! A round's decision as it is sealed to the owner, where nobody else is to know of it.

use blindsmith_receipts::Decision;

/// What is said of a round that was not promoted.
pub const WORSE: &str =
    "the new model scored too badly on the validation set, or there was nothing left to train on";

/// What is said of a round whose values left their range, whatever happened.
pub const VALUES: &str = "training stopped: values left their range (it diverged, or they became too large): lower the learning rate \
     or set clip_norm";

/// A decision before it is sealed: equally long, whatever it is.
pub fn decision_bytes(decision: &Decision) -> [u8; 64] {
    let mut bytes = [0; 64];
    let text = match decision {
        Decision::Promoted => "promoted".to_owned(),
        Decision::RolledBack { .. } => "rolled back".to_owned(),
        Decision::Failed { .. } => "failed".to_owned(),
        Decision::Restored { version } => format!("restored {version}"),
        Decision::Sealed(_) => String::new(),
    };
    bytes.iter_mut().zip(text.bytes()).for_each(|(b, t)| *b = t);
    bytes
}
