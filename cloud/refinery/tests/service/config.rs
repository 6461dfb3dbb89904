//! The configuration: the example says what the defaults are, and mistakes are named.

use blindsmith_refinery::config::Config;

#[test]
fn the_example_is_the_defaults() {
    let example = include_str!("../../../../docs/refinery.toml");
    assert_eq!(Config::parse(example).unwrap(), Config::default());
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

#[test]
fn the_example_has_every_option() {
    let example = include_str!("../../../../docs/refinery.toml");
    // With the comment signs taken off, options that have no default are there too.
    let uncommented: String = example
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(option) if option.split_once(" = ").is_some_and(|(name, _)| !name.contains(' ')) => option,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let set = Config::parse(&uncommented).unwrap();
    assert!(set.threads.is_some() && set.store.metadata.is_some() && set.store.blobs.is_some());
    assert!(set.local.clients.is_some() && set.local.warden.is_some() && set.local.enclave.is_some());
    assert_eq!(set.collateral(), Config::default().collateral());
    assert!(set.local.collateral.is_some());
    assert!(set.http.listen.is_some() && set.http.certificate.is_some() && set.http.owners.is_some());
}

#[test]
fn mistakes_are_named() {
    for (text, words) in [
        ("[http]\nlissten = 1", "lissten"),
        ("[local]\nenclave = \"0.0.0.0:7411\"", "local.enclave must be an address on loopback"),
        ("[local]\nenclave = \"127.0.0.1\"", "enclave"),
        ("[http]\nlisten = \"8080\"", "listen"),
        ("[http]\ncertificate = \"a.pem\"", "go together"),
        ("[http]\nowners = \"everyone\"", "anyone"),
        ("[http]\nowners = [\"ab\"]", "owners"),
        ("[http]\nlisten = \"0.0.0.0:80\"", "http.owners must say"),
        ("[http]\nlisten = \"0.0.0.0:80\"\nowners = \"anyone\"", "http.authorities must name"),
        ("[http]\nheader_timeout = 0", "header_timeout must be at least 1"),
        ("[limits]\nchunk_bytes = 9000000", "chunk_bytes must be 1 to 8388608"),
        ("[limits]\nbytes_in_flight = 1", "bytes_in_flight"),
        ("[log]\nformat = \"xml\"", "format"),
        ("threads = 0", "threads"),
    ] {
        let message = Config::parse(text).unwrap_err().to_string();
        assert!(message.contains(words), "{text}: {message}");
    }
}

/// The samples of `deploy/etc` that end so.
fn samples(ending: &str) -> Vec<(String, String)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/etc");
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let samples: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .map(|path| {
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    assert_eq!(samples.len(), 2, "systemd's and the containers'");
    samples
}

#[test]
fn the_samples_of_deployment_are_taken() {
    for (name, text) in samples("toml") {
        let config = Config::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let address = config.http.listen.expect("it serves others");
        assert!(!address.ip().is_loopback() && config.http.certificate.is_some(), "{name}: TLS for others");
        assert!(config.http.owners.is_some(), "{name}: somebody says who may create projects");
        // No password in a file that is handed around.
        assert!(config.store.metadata.is_none() && config.store.blobs.is_none(), "{name}");
    }
}

#[test]
fn the_samples_of_refinery_and_warden_name_one_socket() {
    let wardens = samples("conf");
    for (name, text) in samples("toml") {
        let (_, socket) = Config::parse(&text).unwrap().sockets();
        let other = name.replace("refinery", "warden");
        let (_, warden) = wardens.iter().find(|(name, _)| *name == other).expect("a warden for each");
        let named = warden.lines().find_map(|line| line.strip_prefix("refinery = "));
        assert_eq!(named, socket.to_str(), "{name}");
    }
}
