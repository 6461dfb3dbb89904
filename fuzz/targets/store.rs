//! A refinery's store of which any column of any record has become something else: everything that reads it says so, or
//! reads what is there.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use blindsmith_fuzz::spec;
use blindsmith_protocol::{
    Blob, Id, Role, RoundRecord, RoundSummary, UploadHeader, block_digest, root_digest,
};
use blindsmith_refinery::store::JobName;
use blindsmith_refinery::{Places, Store, Verdict};
use libfuzzer_sys::fuzz_target;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Columns and their types; those that name a record too.
const COLUMNS: [(&str, &str, Type); 30] = [
    ("projects", "id", Type::Bytes),
    ("projects", "spec", Type::Bytes),
    ("projects", "initial_blob", Type::Bytes),
    ("uploads", "id", Type::Bytes),
    ("uploads", "sequence", Type::Number),
    ("uploads", "header", Type::Bytes),
    ("uploads", "contributor", Type::Bytes),
    ("uploads", "row_count", Type::Number),
    ("uploads", "byte_count", Type::Number),
    ("uploads", "rows_blob", Type::Bytes),
    ("uploads", "projections_blob", Type::Bytes),
    ("uploads", "verdict", Type::Bytes),
    ("uploads", "state", Type::Text),
    ("rounds", "round", Type::Number),
    ("rounds", "summary", Type::Bytes),
    ("rounds", "used", Type::Bytes),
    ("rounds", "model_blob", Type::Bytes),
    ("rounds", "receipt", Type::Bytes),
    ("faults", "report", Type::Bytes),
    ("orders", "sequence", Type::Number),
    ("orders", "signed", Type::Bytes),
    ("enrolments", "contributor", Type::Bytes),
    ("enrolments", "token", Type::Bytes),
    ("holdings", "holder", Type::Bytes),
    ("holdings", "token", Type::Bytes),
    ("jobs", "key", Type::Bytes),
    ("jobs", "payload", Type::Bytes),
    ("jobs", "attempts", Type::Number),
    ("partials", "sender", Type::Bytes),
    ("partials", "byte_count", Type::Number),
];

#[derive(Clone, Copy)]
enum Type {
    Bytes,
    Number,
    Text,
}

struct Fixture {
    places: Places,
    /// The database and what has arrived of an upload under way, as they were.
    files: Vec<(PathBuf, Vec<u8>)>,
    runtime: Runtime,
    _dir: TempDir,
}

static FIXTURE: OnceLock<Fixture> = OnceLock::new();

impl Fixture {
    /// A store with a record of every kind.
    fn new() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let places = Places::directory(dir.path());
        let (spec, id) = (spec(), spec().id());
        let store = Store::open_at(&places).expect("a new store");
        store.create(&spec, b"sealed model").expect("a project");
        let block = vec![0; spec.block_bytes(Role::Training, spec.block_rows)];
        let header = UploadHeader {
            project: id,
            contributor: Id([3; 32]),
            terms: [0; 32],
            role: Role::Training,
            nonce: [4; 32],
            era: 0,
            rows: spec.block_rows,
            root: root_digest(&[block_digest(0, &block)]),
            tag: [5; 32],
        };
        let mut incoming = store.receive(&spec, (&header).into()).expect("room");
        incoming.blocks_arrived(&block).expect("zeros are residues");
        incoming.commit(&header).expect("an upload");
        let kept = store.projections().expect("a file");
        let admitted = Verdict::Admitted(Blob(vec![1; 40]));
        store.judge(&id, &header.id(), kept, &admitted).expect("a verdict");
        let record = RoundRecord {
            given: vec![header.id()],
            summary: RoundSummary::default(),
            used: vec![header.id()],
            state: Blob(vec![6; 100]),
            model: Blob(vec![7; 100]),
            receipt: Blob(vec![8; 10]),
        };
        store.save_round(&id, &record, None).expect("a round");
        store.save_fault(&id, b"report").expect("a fault");
        store.save_order(&id, 1, b"order").expect("an order");
        store.enrol(&id, &Id([3; 32]), &Id([4; 32]), b"token").expect("an enrolment");
        store.hold(&id, &Id([9; 32]), b"holding").expect("a holding");
        let job = JobName { project: id, kind: "round".into(), key: b"key".to_vec() };
        store.enqueue(&job, b"payload", SystemTime::now()).expect("a job");
        store.begin_partial(&id, &Id([3; 32])).expect("an upload under way");
        drop(store);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let under_way = fs::read_dir(places.root.join("incoming")).expect("it was made");
        let under_way = under_way.map(|entry| entry.expect("an entry").path());
        let files = under_way.chain([places.root.join("refinery.db")]);
        let files = files.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect();
        Fixture { places, files, runtime, _dir: dir }
    }

    /// Writes a column's value into every record; there is one of each kind.
    fn put(&self, (table, column, kind): (&str, &str, Type), bytes: &[u8]) {
        self.runtime.block_on(async {
            let path = self.places.root.join("refinery.db");
            let options = SqliteConnectOptions::new().filename(path).foreign_keys(false);
            let mut connection = SqliteConnection::connect_with(&options).await.expect("the database");
            let update = AssertSqlSafe(format!("UPDATE {table} SET {column} = ?1"));
            let update = match kind {
                Type::Bytes => sqlx::query(update).bind(bytes.to_vec()),
                Type::Text => sqlx::query(update).bind(String::from_utf8_lossy(bytes).into_owned()),
                Type::Number => {
                    let mut number = [0; 8];
                    number.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                    sqlx::query(update).bind(i64::from_le_bytes(number))
                }
            };
            update.execute(&mut connection).await.expect("a value of the column's type");
            connection.close().await.expect("it was open");
        });
    }

    /// Puts back what was there before anything was changed.
    fn restore(&self) {
        for file in ["refinery.db-wal", "refinery.db-shm"] {
            _ = fs::remove_file(self.places.root.join(file));
        }
        for (path, bytes) in &self.files {
            blindsmith_fuzz::write(path, bytes);
        }
    }
}

/// Everything that a refinery reads when it starts, and what commands beside it do.
fn read(places: &Places) {
    let Ok(store) = Store::open_at(places) else { return };
    let id = spec().id();
    for project in store.projects().unwrap_or_default() {
        for (header, ..) in &project.uploads {
            header.validate(&project.spec.id()).ok();
            header.blocks(&project.spec);
            _ = store.rows(&project.spec.id(), &header.id());
            _ = store.kept(&project.spec.id(), &header.id());
        }
    }
    _ = store.round(&id, 0);
    _ = store.faults(&id);
    _ = store.orders(&id);
    _ = store.enrolments(&id, &Id([4; 32]));
    _ = store.holding(&id, &Id([9; 32]));
    _ = store.jobs();
    _ = store.partials();
    _ = store.initial_model(&id);
    if let Ok(found) = store.fsck() {
        _ = store.gc(Duration::MAX);
        assert!(found.blobs < 100);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    let fixture = FIXTURE.get_or_init(Fixture::new);
    let column = COLUMNS[usize::from(*which) % COLUMNS.len()];
    fixture.restore();
    fixture.put(column, bytes);
    read(&fixture.places);
});
