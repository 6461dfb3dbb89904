//! What is inside of sealed messages, as whoever holds a key could write it: releases, states, metrics, labels; and
//! sealed messages that nobody sealed.

#![no_main]

use blindsmith_formats::{Label, Release, RoundMetrics, read_labels};
use blindsmith_fuzz::recipe;
use blindsmith_keys::{Key, RecipientKey, Suite};
use blindsmith_learn::TrainerState;
use blindsmith_protocol::from_cbor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [kind, count, bytes @ ..] = data else { return };
    match kind % 6 {
        0 => {
            let Ok(release) = Release::decode(bytes) else { return };
            assert!(Release::decode(&release.encode()).is_ok());
            assert!(release.recipe.validate().is_ok() && release.rules.validate().is_ok());
            release.recipe.parameters();
            release.recipe.state_values();
        }
        1 => {
            if let Ok(metrics) = RoundMetrics::decode(bytes) {
                assert!(RoundMetrics::decode(&metrics.encode(usize::from(*count), 2)).is_ok());
            }
        }
        2 => {
            let Ok(state) = from_cbor::<TrainerState>(bytes) else { return };
            _ = format!("{state:?}");
        }
        3 => {
            for label in [Label::of(&recipe()), Label::Values(usize::from(*count))] {
                _ = read_labels(label, bytes, usize::from(*count));
            }
        }
        4 => {
            let key = RecipientKey::generate();
            for suite in Suite::ALL {
                assert!(key.open(suite, b"info", bytes).is_err(), "nobody sealed it");
            }
        }
        _ => {
            let key = Key::from_bytes([1; 32]);
            assert!(key.unseal("context", bytes).is_err(), "nobody sealed it");
        }
    }
});
