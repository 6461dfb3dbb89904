//! Commands that do not fit: refused, and nothing changes.

use blindsmith_evidence::Claims;
use blindsmith_identity::{AttestRequest, Purpose, SigningKey, sign_release, sign_request};
use blindsmith_keys::{Key, Suite};
use blindsmith_learn::Matrix;
use blindsmith_protocol::{
    AdmittedUpload, Blob, FromWarden, Id, Instruction, Outcome, ProjectSpec, Role, ToWarden, Trigger,
    UploadHeader,
};

use super::owner::{Owner, ROWS, signing};
use super::refinery::{Refinery, identity};
use super::upload::Upload;

#[test]
fn releases_that_do_not_fit_are_refused() {
    let (owner, warden, other) = (Owner::new(), identity(), identity());
    let (mut refinery, mut elsewhere) = (Refinery::of(warden), Refinery::of(other));
    let does_not_open = "the release does not open";
    let unknown = "no such session";
    for suite in Suite::ALL {
        let foreign = owner.session(&mut elsewhere, suite);
        for (what, words) in [
            ("a foreign key", does_not_open),
            ("a session of another warden", unknown),
            ("another session's info", does_not_open),
            ("a bit of the encapsulated key", does_not_open),
            ("the last bit", does_not_open),
            ("cut off", does_not_open),
            ("nothing", does_not_open),
            ("another project", "for another project"),
            ("another signer", "the key identifier is not the expected key"),
            ("an unsigned one", "not one COSE_Sign1 message"),
            ("another specification", "for another project"),
        ] {
            let claims = owner.session(&mut refinery, suite);
            let (mut release, _) = owner.release(&claims);
            let (bytes, session) = (release.envelope.0.clone(), release.session);
            let mut command = None;
            match what {
                "a foreign key" => {
                    release.envelope =
                        owner.release(&Claims { signing: claims.signing, ..foreign.clone() }).0.envelope
                }
                "a session of another warden" => release = owner.release(&foreign).0,
                "another session's info" => {
                    release = owner.release(&owner.session(&mut refinery, suite)).0;
                    release.session = session;
                }
                "a bit of the encapsulated key" => release.envelope.0[0] ^= 1,
                "the last bit" => *release.envelope.0.last_mut().unwrap() ^= 1,
                "cut off" => release.envelope = Blob(bytes[..40].to_vec()),
                "nothing" => release.envelope = Blob(vec![]),
                "another project" => release.project = Id([9; 32]),
                "another signer" => {
                    let release = Blob(sign_release(&release, &SigningKey::from_seed(&[6; 32])));
                    command = Some(ToWarden::Release { spec: owner.spec.clone(), release });
                }
                "an unsigned one" => {
                    command = Some(ToWarden::Release {
                        spec: owner.spec.clone(),
                        release: release.envelope.clone(),
                    });
                }
                _ => {
                    // Whatever the refinery changes in the specification makes another project of it.
                    let ToWarden::Release { spec, release } = owner.signed(&release) else { unreachable!() };
                    let spec = ProjectSpec { trigger: Trigger::MANUAL, ..spec };
                    command = Some(ToWarden::Release { spec, release });
                }
            }
            let command = command.unwrap_or_else(|| owner.signed(&release));
            let message = refinery.refusal(&command, &owner.model());
            assert!(message.contains(words), "{what}: {words:?} is not in: {message}");
        }
    }
    let claims = owner.session(&mut refinery, Suite::XWing);
    let (release, _) = owner.release(&claims);
    let spec = ProjectSpec { batch_rows: 0, ..owner.spec.clone() };
    let ToWarden::Release { release: bytes, .. } = owner.signed(&release) else { unreachable!() };
    let message = refinery.refusal(&ToWarden::Release { spec, release: bytes }, &owner.model());
    assert!(message.contains("is not valid"), "{message}");
    for model in [vec![], owner.model()[1..].to_vec(), vec![0; 100]] {
        let claims = owner.session(&mut refinery, Suite::XWing);
        let (release, _) = owner.release(&claims);
        let message = refinery.refusal(&owner.signed(&release), &model);
        assert!(message.contains("the initial model"), "{message}");
        // A session takes one release, whatever became of it.
        let message = refinery.refusal(&owner.signed(&release), &owner.model());
        assert!(message.contains(unknown), "{message}");
    }
    owner.hand_over(&mut refinery);
    let claims = owner.session(&mut refinery, Suite::XWing);
    let message = refinery.refusal(&owner.signed(&owner.release(&claims).0), &owner.model());
    assert!(message.contains("released already"), "{message}");
    refinery.assert_serves();
    refinery.close().unwrap();
}

#[test]
fn a_session_is_of_who_began_it() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    // The refinery asks in its own name, and gives the owner's release for that session.
    let stranger = SigningKey::from_seed(&[7; 32]);
    let (project, purpose) = (owner.id(), Purpose::Release);
    let kem = Suite::XWing.number();
    let request = AttestRequest { project, nonce: [1; 32], policy: [2; 32], kem, purpose };
    let signed = Blob(sign_request(&request, &stranger));
    refinery.send(&ToWarden::Attest { asker: stranger.verifying().into(), request: signed.clone() }, &[]);
    let (FromWarden::Evidence(evidence), _) = refinery.receive() else { panic!("evidence is due") };
    let claims = Claims::decode(&evidence.claims.0).unwrap();
    let message = refinery.refusal(&owner.signed(&owner.release(&claims).0), &owner.model());
    assert!(message.contains("begun by somebody else"), "{message}");

    for (asker, request, words) in [
        (owner.spec.owner, signed, "the request for evidence"),
        (owner.spec.owner, Blob(vec![]), "the request for evidence"),
        (
            stranger.verifying().into(),
            Blob(sign_request(&AttestRequest { kem: 0x11, ..request.clone() }, &stranger)),
            "no key encapsulation 0x0011",
        ),
    ] {
        let message = refinery.refusal(&ToWarden::Attest { asker, request }, &[]);
        assert!(message.contains(words), "{message}");
    }
    // What is asked for queries takes no release.
    let request = AttestRequest { purpose: Purpose::Query, ..request };
    let request = Blob(sign_request(&request, &signing()));
    refinery.send(&ToWarden::Attest { asker: owner.spec.owner, request }, &[]);
    let (FromWarden::Evidence(evidence), _) = refinery.receive() else { panic!("evidence is due") };
    let claims = Claims::decode(&evidence.claims.0).unwrap();
    let message = refinery.refusal(&owner.signed(&owner.release(&claims).0), &owner.model());
    assert!(message.contains("no such session"), "{message}");
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
        let claims = owner.session(&mut refinery, Suite::XWing);
        let message = refinery.refusal(&owner.signed(&owner.release(&claims).0), &owner.model());
        assert!(message.contains("recipe and specification have different"), "{message}");
    }
}

#[test]
fn a_state_is_restored_by_the_warden_that_sealed_it_and_by_no_other() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    let (record, holding) = owner.hand_over(&mut refinery);
    let state = record.state.0;
    refinery.close().unwrap();

    let restore = ToWarden::Restore { spec: owner.spec.clone(), holding: holding.clone() };
    let words = "this warden cannot open the project's state";
    let mut stranger = Refinery::of(identity());
    let holds = "does not hold the project's secrets";
    assert!(stranger.refusal(&restore, &state).contains(holds));

    let mut refinery = Refinery::of(warden);
    for at in [0, state.len() / 2, state.len() - 1] {
        let mut altered = state.clone();
        altered[at] ^= 1;
        assert!(refinery.refusal(&restore, &altered).contains(words));
        assert!(refinery.refusal(&restore, &state[..at]).contains(words));
    }
    let other = ProjectSpec { name: "another".into(), ..owner.spec.clone() };
    assert!(refinery.refusal(&ToWarden::Restore { spec: other, holding }, &state).contains(holds));
    let none = ToWarden::Restore { spec: owner.spec.clone(), holding: Blob::default() };
    assert!(refinery.refusal(&none, &state).contains(holds));
    assert!(refinery.refusal(&owner.round(1, &[]), &[]).contains("does not hold the secrets"));
    assert!(matches!(refinery.command(&restore, &state).0, Outcome::Ready { .. }));
}

#[test]
fn rounds_that_do_not_fit_are_refused_before_anything_is_asked_for() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    owner.hand_over(&mut refinery);
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
    owner.hand_over(&mut refinery);
    let size = owner.spec.block_bytes(Role::Training, owner.spec.block_rows);
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
    owner.hand_over(&mut refinery);
    let mut upload = owner.upload(Role::Training);
    let size = owner.spec.block_bytes(Role::Training, owner.spec.block_rows);
    upload.blocks[size + 5] ^= 1;
    upload.digest(&owner.spec);
    upload.sign(&owner.spec, &owner.contributor);
    let outcome = owner.admit(&mut refinery, &mut upload);
    let Outcome::Malformed { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("blocks 1 are not well formed"), "{reason}");
}

/// A contributor who authenticates two forms that do not hold the same rows.
#[test]
fn attack_uploads_whose_forms_differ_are_named_and_refused() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    owner.hand_over(&mut refinery);
    let layout = |rows| owner.spec.block_layout(Role::Training, rows);
    type Change = fn(&mut [u8], &blindsmith_protocol::BlockLayout);
    let changes: [(Change, &[usize]); 3] = [
        // One residue of either form by one, and all of the column form's first contraction row.
        (|block, layout| block[layout.row_form.start] ^= 1, &[0]),
        (|block, layout| block[layout.column_form.start] ^= 1, &[2]),
        (|block, layout| block[layout.column_form.start..][..50].fill(0x11), &[1, 2]),
    ];
    for (change, blocks) in changes {
        let mut upload = owner.upload(Role::Training);
        for block in blocks {
            let range = upload.range(&owner.spec, *block as u32);
            let rows = upload.header.rows_of_block(&owner.spec, *block as u32);
            change(&mut upload.blocks[range], &layout(rows));
        }
        upload.digest(&owner.spec);
        upload.sign(&owner.spec, &owner.contributor);
        let outcome = owner.admit(&mut refinery, &mut upload);
        let Outcome::Malformed { reason } = outcome else { panic!("{outcome:?}") };
        let named = blocks.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        assert!(reason.contains(&format!("blocks {named} are not well formed")), "{reason}");
    }
}

/// Every refused upload is a try at the tests of admission.
#[test]
fn attack_nobody_tries_the_tests_without_end() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    let (record, holding) = owner.hand_over(&mut refinery);
    let row = Matrix::from_rows(1, 6, vec![0.1; 6]).unwrap();
    let good = owner.upload_of(&owner.contributor, Role::Training, &row);
    let mut bad = good.clone();
    let form = owner.spec.block_layout(Role::Training, 1).column_form;
    bad.blocks[form.start] ^= 1;
    bad.digest(&owner.spec);
    bad.sign(&owner.spec, &owner.contributor);
    // What the refinery altered is not its contributor's doing.
    for _ in 0..2 {
        let mut altered = good.clone();
        altered.blocks[form.start] ^= 1;
        assert!(matches!(owner.admit(&mut refinery, &mut altered), Outcome::Fault { .. }));
    }
    for tried in 0..1024 {
        if tried % 500 == 0 {
            assert!(matches!(owner.admit(&mut refinery, &mut good.clone()), Outcome::Admitted { .. }));
        }
        let outcome = owner.admit(&mut refinery, &mut bad.clone());
        let Outcome::Malformed { reason } = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("are not well formed"), "{tried}: {reason}");
    }
    let assert_exhausted = |refinery: &mut Refinery| {
        let outcome = owner.admit(refinery, &mut good.clone());
        let Outcome::Malformed { reason } = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("no more of its uploads are read"), "{reason}");
    };
    assert_exhausted(&mut refinery);
    refinery.close().unwrap();
    // It is written down.
    let mut refinery = Refinery::of(warden);
    let restore = ToWarden::Restore { spec: owner.spec.clone(), holding };
    assert!(matches!(refinery.command(&restore, &record.state.0).0, Outcome::Ready { .. }));
    assert_exhausted(&mut refinery);
}

/// Rounds take what this warden admitted, as it admitted it.
#[test]
fn uploads_that_were_not_admitted_are_named() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    owner.hand_over(&mut refinery);
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
    owner.hand_over(&mut refinery);
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

/// What the warden asks for first, and that it names neither more nor less than the round's blocks.
#[test]
fn a_round_begins_by_judging_the_current_version() {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::of(warden);
    owner.hand_over(&mut refinery);
    let (_, validation) = owner.admitted(&mut refinery, Role::Validation);
    let (_, training) = owner.admitted(&mut refinery, Role::Training);
    refinery.send(&owner.round(1, &[validation, training]), &[]);
    let mut blocks = loop {
        match refinery.receive().0 {
            FromWarden::Do(Instruction::Labels { blocks }) => break blocks,
            FromWarden::Do(Instruction::Begin { .. } | Instruction::Rows { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    blocks.sort_by_key(|b| b.block);
    let named: Vec<(u32, u32)> = blocks.iter().map(|b| (b.upload, b.block)).collect();
    assert_eq!(named, [(0, 0), (0, 1), (0, 2)]);
    refinery.close().unwrap_err();
}
