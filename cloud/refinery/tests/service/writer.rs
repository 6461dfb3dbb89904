//! One refinery writes a database, whatever becomes of servers, connections and locks.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use blindsmith_protocol::Id;
use blindsmith_refinery::store::Standing;
use blindsmith_refinery::{Places, Store, StoreError};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::http::members::key;
use crate::http::service::Service;
use crate::places::{self, Postgres, eventually};
use crate::project::spec;

/// As another refinery would, but for the lock.
const TAKE_OVER: &str = "UPDATE writer SET epoch = epoch + 1";

/// Ends the session that holds a database's lock.
const END_HOLDER: &str = "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                          WHERE l.locktype = 'advisory' AND d.datname = current_database()";

fn sqlite(places: &Places, statement: &str) {
    use sqlx::{Connection, Executor};
    let url = format!("sqlite://{}", places.root.join("refinery.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        assert_eq!(connection.execute(statement).await.unwrap().rows_affected(), 1);
        connection.close().await.unwrap();
    });
}

#[test]
fn a_change_after_another_took_over_does_not_happen() {
    let site = places::directory().unwrap();
    let store = Store::open_at(&site.places).unwrap();
    store.create(&spec(), b"sealed model").unwrap();
    sqlite(&site.places, &format!("{TAKE_OVER}, token = randomblob(16)"));
    for _ in 0..2 {
        let refused = store.save_order(&spec().id(), 1, b"order");
        assert!(matches!(refused, Err(StoreError::Taken { .. })), "{refused:?}");
    }
    assert_eq!(store.standing().0, Standing::Taken);
    drop(store);
    // The next one finds nothing of it, and writes.
    let store = Store::open_at(&site.places).unwrap();
    assert!(store.orders(&spec().id()).unwrap().is_empty());
    store.save_order(&spec().id(), 1, b"order").unwrap();
}

#[test]
fn a_database_in_use_is_named_without_its_password() {
    let Some(server) = Postgres::start() else { return };
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let url = server.database().replace("test@", "test:secret@");
    let places = |dir: &TempDir| Places { metadata: Some(url.clone()), ..Places::directory(dir.path()) };
    let store = Store::open_at(&places(&first)).unwrap();
    let refused = Store::open_at(&places(&second)).err().expect("it is served").to_string();
    let name = url.rsplit('/').next().unwrap();
    assert!(refused.contains(&format!(":5432/{name} is in use by another refinery")), "{refused}");
    assert!(!refused.contains("secret"), "{refused}");
    drop(store);
    Store::open_at(&places(&second)).unwrap();
}

#[test]
fn a_lock_that_is_lost_is_held_again_and_nobody_else_gets_in() {
    let Some(server) = Postgres::start() else { return };
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let url = server.database();
    let name = url.rsplit('/').next().unwrap();
    let places = |dir: &TempDir| Places { metadata: Some(url.clone()), ..Places::directory(dir.path()) };
    let store = Store::open_at(&places(&dir)).unwrap();
    store.create(&spec(), b"sealed model").unwrap();
    for round in 1..=2 {
        // Somebody waits in line, and has the lock as soon as it is lost.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut held = runtime.block_on(async {
            use sqlx::{Connection, Executor};
            let mut waiting = sqlx::PgConnection::connect(&url).await.unwrap();
            let waits = async {
                let query = "SELECT pg_advisory_lock(1112821837, hashtext(current_schema()::text))";
                waiting.execute(query).await.unwrap();
            };
            let ends = async {
                let mut ending = sqlx::PgConnection::connect(&url).await.unwrap();
                // Not before the other is in line.
                let queued = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = \
                              (SELECT oid FROM pg_database WHERE datname = current_database())";
                while ending.execute(queued).await.unwrap().rows_affected() == 0 {}
                let held = format!("{END_HOLDER} AND l.granted");
                assert_eq!(ending.execute(sqlx::AssertSqlSafe(held)).await.unwrap().rows_affected(), 1);
                ending.close().await.unwrap();
            };
            tokio::join!(waits, ends);
            waiting
        });
        eventually("the loss is not noticed", || matches!(store.standing().0, Standing::Unlocked(_)));
        let refused = store.save_order(&spec().id(), round, b"order").unwrap_err();
        assert!(matches!(refused, StoreError::Unlocked { .. }) && refused.to_string().contains(name));
        assert_eq!(store.projects().unwrap().len(), 1, "it reads");
        runtime.block_on(async {
            use sqlx::Executor;
            held.execute("SELECT pg_advisory_unlock_all()").await.unwrap();
        });
        eventually("the lock is not held again", || store.standing().0 == Standing::Good);
        assert!(matches!(Store::open_at(&places(&other)), Err(StoreError::InUse { what: "database", .. })));
        store.save_order(&spec().id(), round, b"order").unwrap();
    }
    // While it was lost, another one wrote: this one ends.
    let taken = format!("{TAKE_OVER}, token = decode(repeat('ab', 16), 'hex')");
    assert!(server.execute(name, &taken));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(matches!(runtime.block_on(store.taken()), StoreError::Taken { .. }));
    assert!(matches!(store.save_order(&spec().id(), 3, b"order"), Err(StoreError::Taken { .. })));
}

/// A refinery of its own on this database; it ends with the test.
struct Second(Child);

impl Drop for Second {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn second(dir: &TempDir, url: &str) -> Second {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blindsmith-refinery"));
    command.args(["--store", "store", "--threads", "1"]).env("BLINDSMITH_METADATA", url);
    command.current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Second(command.spawn().unwrap())
}

#[test]
fn a_refinery_that_slept_through_a_restart_of_the_server_ends_when_another_took_over() {
    let Some(mut server) = Postgres::own() else { return };
    let (url, dir) = (server.database(), TempDir::new().unwrap());
    let mut service = Service::start_with("", "", &[("BLINDSMITH_METADATA", &url)]);
    let pid = Pid::from_child(&service.child);
    kill_process(pid, Signal::STOP).unwrap();
    server.stop();
    server.serve();
    let other = second(&dir, &url);
    let socket = dir.path().join("store/refinery.sock");
    eventually("the second does not serve", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(service.child.wait().unwrap().code(), Some(4), "it wrote on, or ended for another reason");
    drop(other);
    // Started anew it serves what the other left.
    service.crash();
    assert_eq!(service.plain("GET", "/ready").status, 200);
}

#[test]
fn a_restart_of_the_server_is_survived_and_a_second_refinery_refused() {
    let Some(mut server) = Postgres::own() else { return };
    let (url, dir) = (server.database(), TempDir::new().unwrap());
    let service = Service::start_with("", "", &[("BLINDSMITH_METADATA", &url)]);
    server.stop();
    eventually("it is still ready", || service.plain("GET", "/ready").status == 503);
    server.serve();
    eventually("it is not ready again", || service.plain("GET", "/ready").status == 200);
    assert_eq!(service.plain("GET", "/ready").json()["store"]["lock"], "held");
    let mut command = Command::new(env!("CARGO_BIN_EXE_blindsmith-refinery"));
    command.args(["--store", "store"]).env("BLINDSMITH_METADATA", &url).current_dir(dir.path());
    let mut refused = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    refused.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(refused.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("is in use by another refinery"), "{said}");
    let spec = service.create(&key(1));
    assert_ne!(spec.id(), Id([0; 32]));
}
