//! A warden at a port, as one in an enclave has to be: a whole run, with the refinery's and the warden's end in between.

use std::net::TcpListener;
use std::path::Path;

use crate::site::{Site, argument};
use crate::tables;

#[test]
fn a_warden_at_a_port_trains_and_comes_back() {
    let mut site = Site::new();
    // Free when it was asked for; nobody else binds ports of loopback here.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = site.write("refinery.toml", format!("[local]\nenclave = \"127.0.0.1:{port}\"\n"));
    let link = format!("tcp:127.0.0.1:{port}");
    let start = |site: &mut Site| {
        site.services.start_refinery_with(&["--config", &config]).unwrap();
        site.services.start_warden_at(Path::new(&link), &["--sandbox", "off"]).unwrap();
    };
    site.services.kill_warden();
    start(&mut site);
    site.write("rows.csv", tables::largest(0..60));
    site.write("more.csv", tables::largest(60..120));
    site.init("rows.csv", &["--label", "largest", "--hidden", "4", "--epochs", "1", "--batch-rows", "64"])
        .ok();
    site.push("rows.csv", &[]).ok();
    site.on_project("refine", &["--wait-only"]).ok();
    site.services.kill_warden();
    start(&mut site);
    site.push("more.csv", &[]).ok();
    site.on_project("refine", &["--wait-only"]).ok();
    let rounds = site.history()["rounds"].as_array().unwrap().len();
    assert_eq!(rounds, 3, "the initial version and two rounds");
    site.on_project(
        "predict",
        &["--data", &argument(&site.path("rows.csv")), "--out", &argument(&site.path("p.csv"))],
    )
    .ok();
    site.verified();
    site.assert_no_panic();
}
