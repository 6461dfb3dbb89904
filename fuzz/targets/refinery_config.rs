//! `refinery.toml`.

#![no_main]

use blindsmith_refinery::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(config) = Config::parse(text) else { return };
    assert_eq!(config.check(), Ok(()));
    config.places();
    config.sockets();
});
