//! What a store keeps beside uploads and rounds, the same at every place where a store can be.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blindsmith_protocol::{Blob, Id, RoundRecord, UploadHeader};
use blindsmith_refinery::store::{JobName, PartialId, UploadState};
use blindsmith_refinery::{Places, Store, StoreError, Verdict};

use super::places::{self, Site};
use super::project::{block_bytes, blocks, header, record, spec};

type Place = fn() -> Option<Site>;
const PLACES: [Place; 3] = [places::directory, places::postgres, places::objects];
const IN_S3: [Place; 1] = [|| places::s3("bucket")];

/// A store with a project, at each place.
fn everywhere(test: impl Fn(&Site, Store, Id)) {
    let in_s3 = std::env::var_os(crate::s3::ENDPOINT).is_some();
    let places: &[Place] = if in_s3 { &IN_S3 } else { &PLACES };
    for site in places.iter().filter_map(|place| place()) {
        let store = Store::open_at(&site.places).unwrap();
        store.create(&spec(), b"sealed model").unwrap();
        test(&site, store, spec().id());
    }
}

fn reopened(site: &Site, store: Store) -> Store {
    drop(store);
    Store::open_at(&site.places).unwrap()
}

/// Stores blocks under a header with this nonce.
fn commit(store: &Store, count: u32, nonce: u8) -> UploadHeader {
    let bytes = blocks(&spec(), count);
    let header = UploadHeader { nonce: [nonce; 32], ..header(&spec(), &bytes) };
    let mut incoming = store.receive(&spec(), (&header).into()).unwrap();
    incoming.blocks_arrived(&bytes).unwrap();
    incoming.commit(&header).unwrap();
    header
}

fn admit(store: &Store, upload: &Id, projections: &[u8]) {
    use std::io::Write;
    let mut file = store.projections().unwrap();
    file.write_all(projections).unwrap();
    let verdict = Verdict::Admitted(Blob(vec![1]));
    store.judge(&spec().id(), upload, file, &verdict).unwrap();
}

fn content(mut file: fs::File) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    bytes
}

fn sound(store: &Store) {
    let found = store.fsck().unwrap();
    assert!(found.is_sound() && found.orphaned.is_empty() && found.foreign.is_empty(), "{found:?}");
}

#[test]
fn everything_is_there_after_a_restart() {
    everywhere(|site, store, project| {
        let upload = commit(&store, 2, 1);
        admit(&store, &upload.id(), b"projections");
        for round in [0, 1] {
            store.save_round(&project, &record(round), None).unwrap();
        }
        store.save_fault(&project, b"first").unwrap();
        store.save_fault(&project, b"second").unwrap();
        let store = reopened(site, store);
        let found = &store.projects().unwrap()[0];
        let (header, verdict, _) = &found.uploads[0];
        assert_eq!((header, verdict), (&upload, &Some(Verdict::Admitted(Blob(vec![1])))));
        assert_eq!(store.summaries(&project, 0..9).unwrap(), [record(0).summary, record(1).summary]);
        assert_eq!(store.summaries(&project, 1..2).unwrap(), [record(1).summary]);
        let mut receipts = Vec::new();
        store.each_round(&project, |found| receipts.push(found.receipt)).unwrap();
        assert_eq!(receipts, [record(0).receipt, record(1).receipt]);
        assert_eq!(store.initial_model(&project).unwrap(), b"sealed model");
        assert_eq!(content(store.rows(&project, &upload.id()).unwrap()), blocks(&spec(), 2));
        assert_eq!(content(store.kept(&project, &upload.id()).unwrap()), b"projections");
        assert_eq!(store.round(&project, 1).unwrap(), record(1));
        assert_eq!(store.faults(&project).unwrap(), [Blob(b"first".into()), Blob(b"second".into())]);
        assert!(matches!(Store::open_at(&site.places), Err(StoreError::InUse { .. })));
        sound(&store);
    });
}

#[test]
fn withdrawn_rows_are_gone_unless_another_upload_has_them() {
    everywhere(|_, store, project| {
        let (first, second) = (commit(&store, 1, 1), commit(&store, 1, 2));
        admit(&store, &first.id(), b"projections");
        store.withdraw(&project, &first.id()).unwrap();
        store.withdraw(&project, &first.id()).unwrap();
        for gone in [store.rows(&project, &first.id()), store.kept(&project, &first.id())] {
            assert!(gone.is_err());
        }
        assert_eq!(content(store.rows(&project, &second.id()).unwrap()), blocks(&spec(), 1));
        assert_eq!(store.upload(&project, &first.id()).unwrap().state, UploadState::Withdrawn);
        let found = &store.projects().unwrap()[0].uploads;
        let (header, verdict, _) = &found[0];
        assert_eq!((header, verdict), (&first, &Some(Verdict::Refused("withdrawn".into()))));
        sound(&store);
        store.withdraw(&project, &second.id()).unwrap();
        assert_eq!(store.fsck().unwrap().blobs, 1, "the initial model alone");
        // The same header does not bring the rows back.
        let bytes = blocks(&spec(), 1);
        let mut incoming = store.receive(&spec(), (&first).into()).unwrap();
        incoming.blocks_arrived(&bytes).unwrap();
        assert!(matches!(incoming.commit(&first), Err(StoreError::Withdrawn(_))));
    });
}

#[test]
fn orders_have_no_gaps_and_enrolments_stay() {
    everywhere(|_, store, project| {
        store.save_order(&project, 1, b"one").unwrap();
        store.save_order(&project, 1, b"one").unwrap();
        for (sequence, bytes) in [(0, b"zero"), (3, b"four"), (1, b"fork")] {
            let refused = store.save_order(&project, sequence, bytes);
            assert!(matches!(refused, Err(StoreError::Order { expected: 2, .. })), "{sequence}");
        }
        store.save_order(&project, 2, b"two").unwrap();
        assert_eq!(store.orders(&project).unwrap(), [Blob(b"one".into()), Blob(b"two".into())]);
        assert!(matches!(store.save_order(&Id([9; 32]), 1, b"one"), Err(StoreError::Missing(_))));

        let who = Id([7; 32]);
        for token in [b"old", b"new", b"old"] {
            store.enrol(&project, &who, &Id([7; 32]), token).unwrap();
        }
        // Uploads under earlier terms still need theirs.
        let mut tokens: Vec<_> = store.enrolments(&project, &Id([7; 32])).unwrap();
        tokens.sort();
        assert_eq!(tokens, [(who, b"new".to_vec()), (who, b"old".to_vec())]);
    });
}

#[test]
fn states_of_old_rounds_may_go_and_their_models_stay() {
    everywhere(|_, store, project| {
        for round in 0..3 {
            let state = Blob(vec![10 + round as u8; 50]);
            store.save_round(&project, &RoundRecord { state, ..record(round) }, None).unwrap();
        }
        assert_eq!(store.prune_states(2).unwrap(), 1);
        // The last one is what rounds go on from.
        assert_eq!(store.prune_states(0).unwrap(), 1);
        for round in 0..3 {
            let found = store.round(&project, round).unwrap();
            assert_eq!((found.model, found.state.0.is_empty()), (record(0).model, round < 2));
        }
        sound(&store);
    });
}

#[test]
fn a_rehearsal_says_whether_a_round_could_be_stored_and_leaves_nothing() {
    everywhere(|site, store, project| {
        store.save_round(&project, &record(0), None).unwrap();
        store.rehearse(&project, 0).unwrap();
        assert!(matches!(store.rehearse(&project, 1), Err(StoreError::Missing(_))));
        let incoming = site.dir.path().join("store/incoming");
        assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0);
        sound(&store);
        fs::remove_dir(&incoming).unwrap();
        assert!(matches!(store.rehearse(&project, 0), Err(StoreError::Io { .. })));
        fs::create_dir(&incoming).unwrap();
        store.rehearse(&project, 0).unwrap();
    });
}

#[test]
fn what_is_larger_than_a_part_comes_back_whole() {
    everywhere(|site, store, project| {
        let model: Vec<u8> = (0..20_u32 << 20).map(|i| (i % 251) as u8).collect();
        let large = RoundRecord { model: Blob(model), ..record(0) };
        store.save_round(&project, &large, None).unwrap();
        let store = reopened(site, store);
        assert_eq!(store.round(&project, 0).unwrap(), large);
        sound(&store);
    });
}

#[test]
fn receipts_come_in_pages() {
    everywhere(|_, store, project| {
        let receipts: Vec<Blob> = (0..6).map(|round| Blob(vec![round; 1000])).collect();
        for (round, receipt) in receipts.iter().enumerate() {
            let receipt = receipt.clone();
            store.save_round(&project, &RoundRecord { receipt, ..record(round as u64) }, None).unwrap();
        }
        assert_eq!(store.receipts(&project, 0, 1 << 20).unwrap(), (receipts.clone(), false));
        assert_eq!(store.receipts(&project, 1, 2500).unwrap(), (receipts[1..3].to_vec(), true));
        assert_eq!(store.receipts(&project, 4, 2500).unwrap(), (receipts[4..].to_vec(), false));
        // One at least, however long it is, and none after the last.
        assert_eq!(store.receipts(&project, 2, 10).unwrap(), (receipts[2..3].to_vec(), true));
        assert_eq!(store.receipts(&project, 6, 2500).unwrap(), (vec![], false));
        assert_eq!(store.receipts(&project, u64::MAX, 2500).unwrap(), (vec![], false));
        for report in [b"first", b"other"] {
            store.save_fault(&project, report).unwrap();
        }
        assert_eq!(store.faults_after(&project, 0, 10).unwrap(), (vec![Blob(b"first".into())], true));
        assert_eq!(store.faults_after(&project, 1, 10).unwrap(), (vec![Blob(b"other".into())], false));
    });
}

fn job(project: Id, key: &[u8]) -> JobName {
    JobName { project, kind: "round".into(), key: key.to_vec() }
}

#[test]
fn jobs_stay_until_who_took_them_last_ends_them() {
    everywhere(|site, store, project| {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds);
        let lease = Duration::from_secs(10);
        let (a, b) = (job(project, b"a"), job(project, b"b"));
        for job in [&b, &a] {
            assert!(store.enqueue(job, b"payload", at(0)).unwrap());
        }
        assert!(!store.enqueue(&a, b"other", at(0)).unwrap(), "it is there");
        let store = reopened(site, store);
        let names: Vec<_> = store.jobs().unwrap().into_iter().map(|queued| queued.job).collect();
        assert_eq!(names, [b.clone(), a.clone()], "in the order in which they came");
        let take = |job, seconds| store.take_job(job, at(seconds), lease).unwrap();

        let lost = take(&a, 1).unwrap();
        assert_eq!((lost.payload.as_slice(), lost.attempts), (&b"payload"[..], 1));
        assert_eq!(take(&a, 10), None, "somebody has it");
        store.extend_job(&lost, at(100)).unwrap();
        assert_eq!(take(&a, 99), None);
        let again = take(&a, 100).unwrap();
        assert_eq!(again.attempts, 2);
        for stale in
            [store.finish_job(&lost), store.extend_job(&lost, at(200)), store.give_job_back(&lost, "")]
        {
            assert!(matches!(stale, Err(StoreError::Lease)));
        }
        store.give_job_back(&again, "no warden").unwrap();
        assert_eq!(store.jobs().unwrap()[1].failure.as_deref(), Some("no warden"));

        // Who starts has the store to itself.
        take(&a, 100).unwrap();
        assert_eq!(store.free_jobs().unwrap(), 1);
        store.finish_job(&take(&a, 100).unwrap()).unwrap();
        assert_eq!(take(&a, 200), None, "it is done");
        store.finish_job(&take(&b, 200).unwrap()).unwrap();
        assert!(store.jobs().unwrap().is_empty());
    });
}

#[test]
fn a_round_and_the_end_of_its_job_are_one_write() {
    everywhere(|_, store, project| {
        let (name, now) = (job(project, b"a"), UNIX_EPOCH + Duration::from_secs(1_000_000));
        store.enqueue(&name, b"", now).unwrap();
        let lost = store.take_job(&name, now, Duration::ZERO).unwrap().unwrap();
        let lease = store.take_job(&name, now, Duration::from_secs(10)).unwrap().unwrap();
        assert!(matches!(store.save_round(&project, &record(0), Some(&lost)), Err(StoreError::Lease)));
        assert!(store.round(&project, 0).is_err(), "whose job is somebody else's leaves nothing");
        store.save_round(&project, &record(0), Some(&lease)).unwrap();
        assert_eq!(store.round(&project, 0).unwrap(), record(0));
        assert!(store.jobs().unwrap().is_empty());
        // An answer that was lost: the same again, under the lease that ended with it, is no other round.
        store.save_round(&project, &record(0), Some(&lease)).unwrap();
    });
}

#[test]
fn a_resumable_upload_goes_on_after_a_restart() {
    everywhere(|site, store, project| {
        let bytes = blocks(&spec(), 3);
        let header = header(&spec(), &bytes);
        let sender = Id([8; 32]);
        let id = store.begin_partial(&project, &sender).unwrap();
        let (a, b) = bytes.split_at(100);
        assert_eq!(store.append_partial(&id, 0, a).unwrap(), 100);
        assert_eq!(store.append_partial(&id, 0, a).unwrap(), 100, "the same again");
        for (offset, piece) in [(99, b), (101, b), (0, &b[..100]), (u64::MAX, b)] {
            let refused = store.append_partial(&id, offset, piece);
            assert!(matches!(refused, Err(StoreError::Offset { durable: 100 })), "{offset}");
        }
        assert_eq!(store.partial_totals(&project, &sender).unwrap(), (1, 100));
        let store = reopened(site, store);
        assert_eq!(store.partial(&id).unwrap().bytes, 100);
        assert!(store.open_partial(&id, &spec(), (&header).into()).is_err(), "it ends within a block");
        store.append_partial(&id, 100, b).unwrap();
        // Refused, it stays.
        let other = UploadHeader { root: Id([9; 32]), ..header.clone() };
        assert!(store.open_partial(&id, &spec(), (&other).into()).unwrap().commit(&other).is_err());
        store.open_partial(&id, &spec(), (&header).into()).unwrap().commit(&header).unwrap();
        assert_eq!(content(store.rows(&project, &header.id()).unwrap()), bytes);
        assert!(store.partials().unwrap().is_empty());
        sound(&store);

        let quiet = store.begin_partial(&project, &sender).unwrap();
        assert_eq!(store.expire_partials(UNIX_EPOCH).unwrap(), 0);
        assert_eq!(store.expire_partials(SystemTime::now() + Duration::from_secs(60)).unwrap(), 1);
        assert!(store.partial(&quiet).is_err());
        assert_eq!(fs::read_dir(site.places.root.join("incoming")).unwrap().count(), 0);
        assert!("0".repeat(31).parse::<PartialId>().is_err() && "+".repeat(32).parse::<PartialId>().is_err());
    });
}

#[test]
fn damage_is_named_and_only_what_nothing_needs_is_collected() {
    for place in [places::directory, places::objects] {
        let site = place().unwrap();
        let store = Store::open_at(&site.places).unwrap();
        store.create(&spec(), b"sealed model").unwrap();
        let upload = commit(&store, 1, 1);
        let blobs = match &site.places.blobs {
            Some(_) => site.dir.path().join("objects"),
            None => site.places.root.join("blobs"),
        };
        let path = |name: String| blobs.join(&name[..2]).join(name);
        let (model, stray) = (blake3::hash(b"sealed model"), blake3::hash(b"stray"));
        let (model, stray) = (path(model.to_hex().to_string()), path(stray.to_hex().to_string()));
        fs::create_dir_all(stray.parent().unwrap()).unwrap();
        fs::write(&stray, "stray").unwrap();
        let found = store.fsck().unwrap();
        assert!(found.is_sound() && found.orphaned.len() == 1, "{found:?}");
        assert_eq!(store.gc(Duration::from_secs(3600)).unwrap().kept, 1);
        assert_eq!(store.gc(Duration::ZERO).unwrap().blobs, 1);
        assert!(!stray.exists() && model.exists());
        fs::write(&model, "sealed  odel").unwrap();
        let found = store.fsck().unwrap();
        assert!(found.damaged.len() == 1 && found.damaged[0].contains("initial model"), "{found:?}");
        let rows = path(store.upload(&spec().id(), &upload.id()).unwrap().rows.to_string());
        fs::remove_file(rows).unwrap();
        let found = store.fsck().unwrap();
        assert!(found.missing.len() == 1 && found.missing[0].contains("rows of upload"), "{found:?}");
    }
}

#[test]
fn a_copy_made_while_serving_is_a_store() {
    for place in [places::directory, places::objects] {
        let site = place().unwrap();
        let store = Store::open_at(&site.places).unwrap();
        store.create(&spec(), b"sealed model").unwrap();
        let upload = commit(&store, 1, 1);
        store.begin_partial(&spec().id(), &Id([8; 32])).unwrap();
        let beside = Store::beside(&site.places).unwrap();
        let copy = site.dir.path().join("copy");
        assert_eq!(beside.backup(&copy).unwrap().blobs, 2);
        assert!(beside.backup(&copy).is_err(), "it is not empty");
        // What happens afterwards is not in it.
        store.withdraw(&spec().id(), &upload.id()).unwrap();
        let again = Places { root: site.dir.path().join("again"), ..Places::directory(&copy) };
        Store::restore(&copy, &again).unwrap();
        let restored = Store::open_at(&again).unwrap();
        assert_eq!(content(restored.rows(&spec().id(), &upload.id()).unwrap()), blocks(&spec(), 1));
        assert!(restored.partials().unwrap().is_empty());
        sound(&restored);
    }
}

#[test]
fn copies_of_objects_keep_within_their_limit_but_for_those_in_use() {
    let site = places::objects().unwrap();
    let store = Store::open_at(&site.places).unwrap();
    store.create(&spec(), &[1; 600]).unwrap();
    let project = spec().id();
    let upload = commit(&store, 2, 1).id();
    let size = 2 * block_bytes(&spec()) as u64;
    assert!(size > site.places.cache_bytes);
    let cached = || -> u64 {
        let groups = fs::read_dir(site.places.root.join("cache")).unwrap();
        let files = groups.flat_map(|g| fs::read_dir(g.unwrap().path()).unwrap());
        files.map(|f| f.unwrap().metadata().unwrap().len()).sum()
    };
    let open = store.rows(&project, &upload).unwrap();
    store.initial_model(&project).unwrap();
    assert!(cached() >= size, "it is open");
    assert_eq!(content(open), blocks(&spec(), 2));
    store.initial_model(&project).unwrap();
    store.save_round(&project, &record(0), None).unwrap();
    assert!(cached() <= site.places.cache_bytes);
    // Altered copies are fetched anew.
    let store = reopened(&site, store);
    for group in fs::read_dir(site.places.root.join("cache")).unwrap() {
        for file in fs::read_dir(group.unwrap().path()).unwrap() {
            fs::write(file.unwrap().path(), "altered").unwrap();
        }
    }
    assert_eq!(store.initial_model(&project).unwrap(), [1; 600]);
    assert_eq!(store.round(&project, 0).unwrap(), record(0));
}

#[test]
fn a_later_versions_database_is_refused() {
    for place in [places::directory as Place, places::postgres] {
        let Some(site) = place() else { continue };
        drop(Store::open_at(&site.places).unwrap());
        let file = format!("sqlite://{}", site.places.root.join("refinery.db").display());
        let url = site.places.metadata.clone().unwrap_or(file);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use sqlx::{AnyConnection, Connection, Executor};
            let mut connection = AnyConnection::connect(&url).await.unwrap();
            let statement = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                             SELECT 99, 'later', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
            connection.execute(statement).await.unwrap();
            connection.close().await.unwrap();
        });
        for opened in [Store::open_at(&site.places), Store::beside(&site.places)] {
            let error = opened.err().expect("it is newer").to_string();
            assert!(error.contains("is of version 99"), "{error}");
        }
    }
}
