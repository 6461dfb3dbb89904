//! Commands that do not fit: refused, and nothing changes.

use blindsmith_keys::Key;
use blindsmith_protocol::{
    AdmittedUpload, Blob, FromWarden, Id, Instruction, Outcome, ProjectSpec, Role, ToWarden, Trigger,
    UploadHeader, block_digest, root_digest,
};

use super::owner::{Owner, ROWS, Upload};
use super::refinery::{Refinery, identity};

#[test]
fn releases_that_do_not_fit_are_refused() {
    let (owner, warden, other) = (Owner::new(), identity(), identity());
    let mut refinery = Refinery::of(warden);
    let good = owner.release(warden.key.recipient(), "simulated");
    let ToWarden::Release { spec, release } = good.clone() else { unreachable!() };
    let with = |spec: ProjectSpec, release: Blob| ToWarden::Release { spec, release };
    let altered = |at: usize| {
        let mut bytes = release.0.clone();
        bytes[at] ^= 1;
        Blob(bytes)
    };
    let does_not_open = "the release does not open";
    for (command, words) in [
        (owner.release(other.key.recipient(), "simulated"), does_not_open),
        (owner.release(warden.key.recipient(), "sgx"), does_not_open),
        (with(spec.clone(), altered(0)), does_not_open),
        (with(spec.clone(), altered(release.0.len() - 1)), does_not_open),
        (with(spec.clone(), Blob(release.0[..40].to_vec())), does_not_open),
        (with(spec.clone(), Blob(vec![])), does_not_open),
        // Whatever the refinery changes in the specification changes what the release is bound to.
        (with(ProjectSpec { trigger: Trigger::MANUAL, ..spec.clone() }, release.clone()), does_not_open),
        (with(ProjectSpec { batch_rows: 0, ..spec.clone() }, release.clone()), "is not valid"),
    ] {
        let message = refinery.refusal(&command, &owner.model());
        assert!(message.contains(words), "{words:?} is not in: {message}");
    }
    for model in [vec![], owner.model()[1..].to_vec(), vec![0; 100]] {
        let message = refinery.refusal(&good, &model);
        assert!(message.contains("the initial model"), "{message}");
    }
    owner.hand_over(&mut refinery, warden);
    let message = refinery.refusal(&good, &owner.model());
    assert!(message.contains("released already"), "{message}");
    refinery.assert_serves();
    refinery.close().unwrap();
}

#[test]
fn recipe_and_specification_must_speak_of_one_model() {
    for change in [
        |owner: &mut Owner| owner.spec.layers[1].outputs = 2,
        |owner: &mut Owner| owner.spec.label_bytes = 12,
    ] {
        let (mut owner, warden) = (Owner::new(), identity());
        change(&mut owner);
        let mut refinery = Refinery::of(warden);
        let release = owner.release(warden.key.recipient(), "simulated");
        let message = refinery.refusal(&release, &owner.model());
        assert!(message.contains("recipe and specification have different"), "{message}");
    }
}

#[test]
fn a_state_is_restored_by_the_warden_that_sealed_it_and_by_no_other() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    let state = owner.hand_over(&mut refinery, warden).state.0;
    refinery.close().unwrap();

    let restore = ToWarden::Restore { spec: owner.spec.clone() };
    let words = "this warden cannot open the project's state";
    let mut stranger = Refinery::of(identity());
    assert!(stranger.refusal(&restore, &state).contains(words));

    let mut refinery = Refinery::of(warden);
    for at in [0, state.len() / 2, state.len() - 1] {
        let mut altered = state.clone();
        altered[at] ^= 1;
        assert!(refinery.refusal(&restore, &altered).contains(words));
        assert!(refinery.refusal(&restore, &state[..at]).contains(words));
    }
    let other = ProjectSpec { name: "another".into(), ..owner.spec.clone() };
    assert!(refinery.refusal(&ToWarden::Restore { spec: other }, &state).contains(words));
    assert!(refinery.refusal(&owner.round(1, &[]), &[]).contains("does not hold the secrets"));
    assert_eq!(refinery.command(&restore, &state).0, Outcome::Ready);
}

#[test]
fn rounds_that_do_not_fit_are_refused_before_anything_is_asked_for() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    owner.hand_over(&mut refinery, warden);
    let (_, header) = owner.admitted(&mut refinery, Role::Training);
    let (_, validation) = owner.admitted(&mut refinery, Role::Validation);
    let epochs = |epochs| ToWarden::Round {
        project: owner.id(),
        round: 1,
        attempt: 0,
        epochs: Some(epochs),
        uploads: vec![header.clone()],
    };
    let elsewhere = ToWarden::Round {
        project: Id([8; 32]),
        round: 1,
        attempt: 0,
        epochs: None,
        uploads: vec![header.clone()],
    };
    for (command, words) in [
        (elsewhere, "does not hold the secrets of project 0808"),
        (owner.round(0, std::slice::from_ref(&header)), "round 0 was asked for, but round 1 is the next"),
        (owner.round(2, std::slice::from_ref(&header)), "round 2 was asked for, but round 1 is the next"),
        (owner.round(u64::MAX, std::slice::from_ref(&header)), "but round 1 is the next"),
        (epochs(0), "1 to 1000000 epochs"),
        (epochs(u32::MAX), "1 to 1000000 epochs"),
        (owner.round(1, &[]), "no rows to train on"),
        (owner.round(1, &[validation]), "no rows to train on"),
        (owner.round(1, &[header.clone(), header.clone()]), "was given twice"),
    ] {
        let message = refinery.refusal(&command, &[]);
        assert!(message.contains(words), "{words:?} is not in: {message}");
    }
    refinery.assert_serves();
}

/// Whatever is changed in an upload after its contributor authenticated it, the warden refuses to admit it.
#[test]
fn attack_altered_truncated_and_reordered_uploads_are_not_admitted() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    owner.hand_over(&mut refinery, warden);
    let size = owner.spec.block_bytes();
    let forged = "not what a contributor of this project authenticated";
    type Change = fn(&mut Upload, usize);
    let changes: [(&str, Change); 14] = [
        ("contributor", |u, _| u.header.contributor = Id([6; 32])),
        ("role", |u, _| u.header.role = Role::Validation),
        ("rows", |u, _| u.header.rows = ROWS - 1),
        ("root", |u, _| u.header.root = Id([6; 32])),
        ("nonce", |u, _| u.header.nonce = [6; 32]),
        ("tag", |u, _| u.header.tag[0] ^= 1),
        ("project", |u, _| u.header.project = Id([6; 32])),
        ("no rows", |u, _| u.header.rows = 0),
        ("more rows", |u, _| u.header.rows = u32::MAX),
        ("a label", |u, _| u.blocks[3] ^= 1),
        ("a residue", |u, size| u.blocks[2 * size - 1] ^= 1),
        ("truncated", |u, size| u.blocks.truncate(2 * size)),
        ("reordered", |u, size| u.blocks[..2 * size].rotate_left(size)),
        ("a block twice", |u, size| u.blocks.copy_within(..size, size)),
    ];
    for (name, change) in changes {
        let mut upload = owner.upload(Role::Training);
        change(&mut upload, size);
        match owner.admit(&mut refinery, &mut upload) {
            Outcome::Malformed { reason } => assert!(reason.contains(forged), "{name}: {reason}"),
            // The header is right: the refinery is not.
            Outcome::Fault { instruction, .. } => {
                assert!(instruction.contains("read out another upload"), "{name}: {instruction}");
                assert!(upload.header.tag != [0; 32]);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let mut strangers = owner.upload_by(&Key::random(), Role::Training);
    assert!(matches!(owner.admit(&mut refinery, &mut strangers), Outcome::Malformed { .. }));
    let (_, given) = owner.admitted(&mut refinery, Role::Training);
    assert_eq!(given.header.rows, ROWS);
}

/// A contributor who authenticates what its software never makes: labels that are none.
#[test]
fn uploads_of_impossible_labels_are_named_and_refused() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    owner.hand_over(&mut refinery, warden);
    let mut upload = owner.upload(Role::Training);
    let size = owner.spec.block_bytes();
    upload.blocks[size + 5] ^= 1;
    let digests: Vec<Id> =
        upload.blocks.chunks(size).enumerate().map(|(b, bytes)| block_digest(b as u32, bytes)).collect();
    upload.header.root = root_digest(&digests);
    upload.sign(&owner, &owner.contributor);
    let outcome = owner.admit(&mut refinery, &mut upload);
    let Outcome::Malformed { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("row blocks 1 are not well formed"), "{reason}");
}

/// Rounds take what this warden admitted, as it admitted it.
#[test]
fn uploads_that_were_not_admitted_are_named() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    owner.hand_over(&mut refinery, warden);
    let (_, good) = owner.admitted(&mut refinery, Role::Training);
    let (_, other) = owner.admitted(&mut refinery, Role::Training);
    let with = |change: fn(&mut AdmittedUpload)| {
        let mut upload = good.clone();
        change(&mut upload);
        upload
    };
    let bad = [
        AdmittedUpload { admission: Blob::default(), ..good.clone() },
        AdmittedUpload { header: owner.upload(Role::Training).header, admission: good.admission.clone() },
        AdmittedUpload { header: other.header.clone(), ..good.clone() },
        with(|u| u.admission.0[40] ^= 1),
        with(|u| u.header.role = Role::Validation),
        with(|u| u.header.tag[0] ^= 1),
    ];
    for bad in bad {
        let (outcome, _) = refinery.command(&owner.round(1, std::slice::from_ref(&bad)), &[]);
        assert_eq!(outcome, Outcome::Forged { uploads: vec![bad.header.id()] });
    }
    refinery.assert_serves();
}

#[test]
fn queries_of_strangers_are_refused_alike() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    owner.hand_over(&mut refinery, warden);
    let query = |header: UploadHeader, envelope: &[u8]| ToWarden::Query {
        project: owner.id(),
        header,
        envelope: Blob(envelope.to_vec()),
    };
    for (header, envelope) in [
        (owner.upload(Role::Query).header, b"".as_slice()),
        (owner.upload(Role::Query).header, &[7; 100]),
        (owner.upload(Role::Training).header, &[7; 100]),
    ] {
        assert_eq!(refinery.refusal(&query(header, envelope), &[]), "the query was refused");
    }
    let elsewhere = ToWarden::Query {
        project: Id([8; 32]),
        header: owner.upload(Role::Query).header,
        envelope: Blob(vec![]),
    };
    assert!(refinery.refusal(&elsewhere, &[]).contains("does not hold the secrets"));
    refinery.assert_serves();
}

#[test]
fn a_nonce_has_32_bytes() {
    let mut refinery = Refinery::of(identity());
    for len in [0, 31, 33, 1000] {
        let attest = ToWarden::Attest { nonce: Blob(vec![0; len]) };
        assert_eq!(refinery.refusal(&attest, &[]), "a nonce has 32 bytes");
    }
    refinery.assert_serves();
}

/// What the warden asks for first, and that it names neither more nor less than the round's blocks.
#[test]
fn a_round_begins_by_judging_the_current_version() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    owner.hand_over(&mut refinery, warden);
    let (_, validation) = owner.admitted(&mut refinery, Role::Validation);
    let (_, training) = owner.admitted(&mut refinery, Role::Training);
    refinery.send(&owner.round(1, &[validation, training]), &[]);
    let mut blocks = loop {
        match refinery.receive().0 {
            FromWarden::Do(Instruction::Labels { blocks }) => break blocks,
            FromWarden::Do(Instruction::Begin { .. } | Instruction::Strip { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    blocks.sort_by_key(|b| b.block);
    let named: Vec<(u32, u32)> = blocks.iter().map(|b| (b.upload, b.block)).collect();
    assert_eq!(named, [(0, 0), (0, 1), (0, 2)]);
    refinery.close().unwrap_err();
}
