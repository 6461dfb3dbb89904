//! Models: safetensors files that people bring, and the form in which they are sealed.

#![no_main]

use blindsmith_data::ModelFile;
use blindsmith_formats::{decode_model, encode_model};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(file) = ModelFile::from_bytes("model", data) {
        let written = file.to_bytes().expect("what was read can be written");
        let again = ModelFile::from_bytes("model", &written).expect("what was written can be read");
        assert_eq!(again, file);
    }
    if let Ok(layers) = decode_model(data) {
        assert_eq!(encode_model(&layers), data);
    }
});
