//! The configuration: its documented example has the defaults, and mistakes are named.

use blindsmith_refinery::config::Config;

const EXAMPLE: &str = include_str!("../../../../docs/refinery.toml");

#[test]
fn the_documented_example_is_the_default() {
    assert_eq!(Config::parse(EXAMPLE).unwrap(), Config::default());
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

#[test]
fn every_option_is_documented() {
    // What has no default is in a comment that becomes an option.
    let whole: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ").filter(|rest| rest.contains(" = ")) {
            Some(option) => format!("{option}\n"),
            None => format!("{line}\n"),
        })
        .collect();
    let config = Config::parse(&whole).unwrap();
    let options = |config: &Config| {
        let json = serde_json::to_value(config).unwrap();
        let tables = json.as_object().unwrap().iter();
        tables.filter(|(_, value)| value.is_null()).count()
            + json
                .as_object()
                .unwrap()
                .values()
                .filter_map(|v| v.as_object())
                .flatten()
                .filter(|(_, v)| v.is_null())
                .count()
    };
    assert_eq!(options(&config), 0, "an option without a default is not in the example");
    let defaults = serde_json::to_value(Config::default()).unwrap();
    for (table, values) in defaults.as_object().unwrap() {
        for name in values.as_object().into_iter().flat_map(|v| v.keys()) {
            let documented =
                EXAMPLE.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} = ")));
            assert!(documented, "{table}.{name}");
        }
    }
}

#[test]
fn mistakes_are_named() {
    for (text, words) in [
        ("nothing = 1", "nothing"),
        ("[http]\nlisen = \"127.0.0.1:1\"", "lisen"),
        ("[limits]\nuploads = -1", "uploads"),
        ("[limits]\nuploads = 0", "limits.uploads must be at least 1"),
        ("[limits]\nchunk_bytes = 8388609", "limits.chunk_bytes must be 1 to 8388608"),
        ("[limits]\nbytes_in_flight = 1", "limits.bytes_in_flight must be"),
        ("[http]\ncertificate = \"a.pem\"", "go together"),
        ("[http]\nowners = \"everyone\"", "anyone"),
        ("[http]\nowners = [\"ab\"]", "owners"),
        ("[http]\nlisten = \"0.0.0.0:1\"", "http.owners must say"),
        ("[http]\nlisten = \"0.0.0.0:1\"\nowners = \"anyone\"", "http.authorities must name"),
        ("[http]\nauthorities = [\"https://x\"]", "http.authorities are names"),
        ("[http]\nmax_clock_skew = 86401", "at most a day"),
        ("[log]\nformat = \"xml\"", "format"),
        ("threads = 0", "threads must be at least 1"),
    ] {
        let message = Config::parse(text).unwrap_err().to_string();
        assert!(message.contains(words), "{text}: {message}");
    }
}
