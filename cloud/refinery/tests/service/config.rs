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
        ("[limits]\nquery_bytes = 0", "query_bytes must be at least 1"),
        ("[limits]\nconnections_per_address = 0", "connections_per_address must be at least 1"),
        ("[limits]\nwatchers_per_key = 0", "watchers_per_key must be at least 1"),
        ("[limits]\nbytes_in_flight = 1", "bytes_in_flight"),
        ("[log]\nformat = \"xml\"", "format"),
        ("threads = 0", "threads"),
    ] {
        let message = Config::parse(text).unwrap_err().to_string();
        assert!(message.contains(words), "{text}: {message}");
    }
}

#[test]
fn http_in_the_clear_where_others_may_read_along_is_warned_of() {
    let warned = |listen: &str, tls: &str| {
        let text =
            format!("[http]\nlisten = \"{listen}\"\nowners = \"anyone\"\nauthorities = [\"name\"]\n{tls}");
        Config::parse(&text).unwrap().http.warning()
    };
    for listen in ["203.0.113.7:80", "0.0.0.0:80", "[2001:db8::1]:80", "[::]:80", "[::ffff:203.0.113.7]:80"] {
        assert!(warned(listen, "").is_some_and(|text| text.contains("in the clear")), "{listen}");
        assert_eq!(warned(listen, "certificate = \"a.pem\"\nkey = \"b.pem\""), None, "{listen}");
    }
    for listen in
        ["127.0.0.1:80", "10.1.2.3:80", "192.168.0.1:80", "169.254.1.1:80", "[::1]:80", "[fd00::1]:80"]
    {
        assert_eq!(warned(listen, ""), None, "{listen}");
    }
    assert_eq!(Config::default().http.warning(), None);
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

/// The units of systemd that end so, with their lines.
fn units(ending: &str) -> Vec<(String, Vec<String>)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/systemd");
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut units: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .map(|path| {
            let lines = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), lines)
        })
        .collect();
    units.sort();
    units
}

#[test]
fn all_units_are_of_one_user_and_hardened_alike() {
    let services = units("service");
    assert_eq!(services.len(), 3);
    let (_, refinery) = services.iter().find(|(name, _)| name == "blindsmith-refinery").unwrap();
    let begin = refinery.iter().position(|line| line == "NoNewPrivileges=yes").unwrap();
    let hardened = refinery[begin..].iter().take_while(|line| !line.is_empty());
    // The warden has no network, which is less, and looks at all of /proc.
    let hardened: Vec<&String> = hardened
        .filter(|line| !line.starts_with("RestrictAddressFamilies=") && !line.starts_with("ProcSubset="))
        .collect();
    assert!(hardened.len() > 20);
    for (name, lines) in &services {
        for line in hardened.iter().copied().chain([&"User=blindsmith".into(), &"LimitCORE=0".into()]) {
            assert!(lines.contains(line), "{name} lacks {line}");
        }
    }
}

#[test]
fn the_timer_collects_what_the_refinery_keeps() {
    let (timers, services) = (units("timer"), units("service"));
    assert_eq!(timers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["blindsmith-gc"]);
    let command = |unit: &str| -> Vec<String> {
        let (_, lines) = services.iter().find(|(name, _)| name == unit).unwrap();
        let command = lines.iter().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/")).unwrap();
        command.split(' ').map(str::to_owned).collect()
    };
    let (serve, collect) = (command("blindsmith-refinery"), command("blindsmith-gc"));
    let [program, arguments @ .., file] = collect.as_slice() else { panic!("{collect:?}") };
    assert_eq!((program.as_str(), Some(file)), ("blindsmith-refinery", serve.last()), "one configuration");
    // The same command on a store that is there.
    let dir = tempfile::TempDir::new().unwrap();
    drop(blindsmith_refinery::Store::open(&dir.path().join("store")).unwrap());
    let config = dir.path().join("refinery.toml");
    std::fs::write(&config, "[store]\ndirectory = \"store\"\n").unwrap();
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_blindsmith-refinery"))
        .args(arguments)
        .arg(config)
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
