//! The product over HTTP: the same commands, with TLS, and over connections that break.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::site::{Outcome, Site, argument};
use crate::tables;

/// Restarts the site's refinery with an HTTP service; its port.
fn serve(site: &mut Site, more: &str) -> u16 {
    let store = argument(&site.services.store());
    let text = format!(
        "[store]\ndirectory = {store:?}\n[log]\nformat = \"json\"\n[http]\nlisten = \"127.0.0.1:0\"\n{more}"
    );
    let config = site.write("refinery.toml", text);
    site.services.start_refinery_with(&["--config", &config]).unwrap();
    site.services.await_warden().unwrap();
    let log = site.log("blindsmith-refinery");
    let mut events = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let address = events.find_map(|event| Some(event["http"].as_str()?.to_owned())).unwrap();
    address.rsplit(':').next().unwrap().parse().unwrap()
}

fn init(site: &Site, refinery: &str, more: &[&str]) -> Outcome {
    let common = ["init", "--project", "p", "--refinery", refinery, "--data", "first.csv", "--no-header"];
    let model = ["--label", "#last", "--accept-simulated", "--epochs", "2", "--json"];
    site.run(&[common.as_slice(), &model, more].concat())
}

#[test]
fn every_command_works_over_tls() {
    let mut site = Site::new();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = site.write("cert.pem", cert.pem());
    let key = site.write("key.pem", signing_key.serialize_pem());
    let port = serve(&mut site, &format!("certificate = {certificate:?}\nkey = {key:?}\n"));
    let refinery = format!("https://localhost:{port}");
    site.write("first.csv", tables::digits(0..60));

    // A certificate that nothing vouches for is refused; nothing is created.
    init(&site, &refinery, &[]).refused(4, &["no refinery answers", "certificate"]);
    assert!(!site.path("p").exists());
    let ca = ["--ca", certificate.as_str()];
    init(&site, &refinery, &ca).ok();
    assert_eq!(site.project().refinery, refinery);

    site.write("rows.csv", tables::digits(100..300));
    let pushed = site.push("rows.csv", &[&["--no-header"], ca.as_slice()].concat()).ok().json();
    assert_eq!(pushed["new"], true);
    site.on_project("refine", &[&["--wait-only"], ca.as_slice()].concat()).ok();
    site.on_project("refine", &[&["--epochs", "1"], ca.as_slice()].concat()).ok();
    let status = site.on_project("status", &ca).ok().json();
    assert_eq!(status["rounds"].as_array().unwrap().len(), 3, "{status}");
    assert_eq!(status["uploads"][0]["upload"], pushed["upload"]);
    assert_eq!(site.pull("refined.safetensors", &ca), 2);
    site.on_project("receipts", &[&["--out", "receipts.cbor"], ca.as_slice()].concat()).ok();
    let policy = argument(&site.path("p").join("policy.toml"));
    let verified = site.run(&["verify", "--receipts", "receipts.cbor", "--policy", &policy, "--json"]).ok();
    assert_eq!(verified.json()["rounds"], 2);
    site.write("query.csv", tables::digits(300..310));
    let data = ["--data", "query.csv", "--no-header"];
    let answer = site.on_project("predict", &[data.as_slice(), &ca].concat()).ok().json();
    assert_eq!(answer["rows"], 10);
    // The operator's socket goes on beside it.
    let socket = site.socket();
    assert_eq!(site.on_project("status", &["--refinery", &socket]).ok().json(), status);
    // In the clear nothing is understood at a port with TLS.
    site.on_project("status", &["--refinery", &format!("http://localhost:{port}")]).refused(4, &["refinery"]);
    site.assert_no_panic();
}

#[test]
fn owners_that_the_operator_lists_create_projects() {
    let mut site = Site::new();
    site.write("first.csv", tables::digits(0..60));
    let key = ["--key", "owner.key"];
    let port = serve(&mut site, "owners = []\n");
    let refused = init(&site, &format!("http://127.0.0.1:{port}"), &key)
        .refused(5, &["the owner's public key: ", "may not create projects"]);
    assert!(!site.path("p").exists(), "nothing is created but the key");
    let shown = refused.stderr.lines().find_map(|line| line.strip_prefix("the owner's public key: "));
    let owners = format!("owners = [{:?}]\n", shown.unwrap());
    let refinery = format!("http://127.0.0.1:{}", serve(&mut site, &owners));
    init(&site, &refinery, &[]).refused(5, &["may not create projects"]);
    let first = init(&site, &refinery, &key).ok().json();
    // The same owner, another project, other keys.
    let common = ["init", "--project", "q", "--refinery", &refinery, "--data", "first.csv", "--no-header"];
    let model = ["--label", "#last", "--accept-simulated", "--json"];
    let second = site.run(&[common.as_slice(), &model, &key].concat()).ok().json();
    assert_ne!(first["project"], second["project"]);
    // A key sees its own projects, and whoever can reach the socket all of them.
    let listed = |arguments: &[&str]| site.run(&[&["projects", "--json"], arguments].concat()).ok().json();
    let by_key = listed(&["--refinery", &refinery, "--key", "owner.key"]);
    assert_eq!(by_key, listed(&["--project", "p"]));
    let all = by_key["projects"].as_array().unwrap();
    assert!(all.iter().any(|p| p["project"] == first["project"]) && all.len() == 2, "{by_key}");
    for project in all {
        let facts = ["role", "state", "round", "failure"].map(|fact| project[fact].clone());
        assert_eq!(facts, [json!("owner"), json!("ready"), json!(0), json!(null)], "{project}");
    }
    let at_socket = listed(&["--refinery", &site.socket()]);
    assert_eq!(at_socket["projects"].as_array().unwrap().len(), 2);
    assert_eq!(at_socket["projects"][0]["role"], json!(null));
    site.write("stranger.key", "ab".repeat(32));
    site.run(&["projects", "--refinery", &refinery, "--key", "stranger.key"])
        .refused(5, &["is not a member of any"]);
    site.assert_no_panic();
}

/// Passes bytes on, and breaks connections on their way.
struct Breaking {
    port: u16,
    /// Connections that are still to be broken.
    left: Arc<AtomicI64>,
    sent: Arc<AtomicU64>,
}

impl Breaking {
    /// Each broken connection has carried so many bytes to the refinery.
    fn listen(to: u16, after: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let breaking = Breaking {
            port: listener.local_addr().unwrap().port(),
            left: Arc::default(),
            sent: Arc::default(),
        };
        let (left, sent) = (breaking.left.clone(), breaking.sent.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map(Result::unwrap) {
                let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
                let (left, sent) = (left.clone(), sent.clone());
                let (mut back, mut answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    _ = std::io::copy(&mut answers, &mut back);
                    _ = back.shutdown(Shutdown::Both);
                });
                std::thread::spawn(move || forward(client, server, after, &left, &sent));
            }
        });
        breaking
    }
}

fn forward(mut client: TcpStream, mut server: TcpStream, after: u64, left: &AtomicI64, sent: &AtomicU64) {
    let (mut buffer, mut carried) = ([0; 4096], 0);
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        carried += read as u64;
        if carried > after && left.fetch_sub(1, Ordering::Relaxed) > 0 {
            break;
        }
        sent.fetch_add(read as u64, Ordering::Relaxed);
        if server.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    _ = client.shutdown(Shutdown::Both);
    _ = server.shutdown(Shutdown::Both);
}

#[test]
fn a_push_goes_on_where_its_connection_broke() {
    let mut site = Site::new();
    let port = serve(&mut site, "[limits]\nchunk_bytes = 65536\n");
    let way = Breaking::listen(port, 200_000);
    site.write("first.csv", tables::digits(0..60));
    init(&site, &format!("http://127.0.0.1:{}", way.port), &["--manual"]).ok();
    site.write("rows.csv", tables::digits(100..1500));
    way.left.store(3, Ordering::Relaxed);
    way.sent.store(0, Ordering::Relaxed);
    let pushed = site.push("rows.csv", &["--no-header"]).ok().json();
    let bytes = pushed["bytes"].as_u64().unwrap();
    assert!(bytes > 800_000, "too little to break: {bytes}");
    assert!(way.left.load(Ordering::Relaxed) <= 0, "not every break happened");
    // Three chunks at most were sent twice.
    let sent = way.sent.load(Ordering::Relaxed);
    assert!(sent < bytes + bytes / 2, "{sent} bytes were sent of {bytes}");
    assert_eq!(site.status()["uploads"][0]["upload"], pushed["upload"]);
    site.assert_no_panic();
}

#[test]
fn who_has_no_key_of_the_project_is_refused_with_words() {
    let mut site = Site::new();
    let port = serve(&mut site, "");
    let refinery = format!("http://127.0.0.1:{port}");
    site.write("first.csv", tables::digits(0..60));
    init(&site, &refinery, &[]).ok();
    let other = ["init", "--project", "q", "--refinery", &refinery, "--data", "first.csv", "--no-header"];
    site.run(&[other.as_slice(), &["--label", "#last", "--accept-simulated"]].concat()).ok();
    // Another owner's key.
    std::fs::copy(site.path("q").join("owner.key"), site.path("p").join("owner.key")).unwrap();
    site.on_project("status", &[]).refused(5, &["not a member of this project"]);
    std::fs::remove_file(site.path("p").join("owner.key")).unwrap();
    site.on_project("status", &[]).refused(2, &["signed", "owner.key"]);
    site.on_project("status", &["--refinery", "ftp://x"]).refused(2, &["owner.key"]);
    let wrong = ["status", "--project", "q", "--refinery"];
    site.run(&[wrong.as_slice(), &["ftp://x"]].concat()).refused(2, &["is no address"]);
    site.run(&[wrong.as_slice(), &["http://127.0.0.1:1"]].concat()).refused(4, &["no refinery answers"]);
}
