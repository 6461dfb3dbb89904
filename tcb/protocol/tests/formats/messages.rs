//! Every message survives its way, and means what was sent.

use blindsmith_matrix::{Encoding, MaskSeed, OperandShape, Section, Side};
use blindsmith_protocol::{
    AdmittedUpload, Blob, BlockRef, Decision, Evidence, FromWarden, Instruction, Lane, Left, MAX_CONTRACTION,
    Outcome, Place, Progress, Projection, Quarantined, Reason, RoundRecord, RoundSummary, ToWarden,
    from_cbor, operand_residues, read_head, to_cbor,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::frames::frame;
use super::specifications::specification;
use super::uploads::{header, id, ids};

fn blob() -> impl Strategy<Value = Blob> {
    vec(any::<u8>(), 0..40).prop_map(Blob)
}

fn text() -> impl Strategy<Value = String> {
    ".{0,40}"
}

fn progress() -> impl Strategy<Value = Progress> {
    any::<[u64; 3]>().prop_map(|[round, step, steps]| Progress { round, step, steps })
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let parts = (blob(), blob(), blob());
    parts.prop_map(|(claims, report, auxiliary)| Evidence { claims, report, auxiliary })
}

fn decision() -> impl Strategy<Value = Decision> {
    prop_oneof![
        Just(Decision::Promoted),
        text().prop_map(|reason| Decision::RolledBack { reason }),
        text().prop_map(|reason| Decision::Failed { reason }),
        any::<u64>().prop_map(|version| Decision::Restored { version }),
        blob().prop_map(Decision::Sealed),
    ]
}

fn quarantined() -> impl Strategy<Value = Quarantined> {
    let reason = prop::sample::select(vec![
        Reason::Screened,
        Reason::ScreenedAfter,
        Reason::Worse,
        Reason::OutOfRange,
    ]);
    (ids(), reason).prop_map(|(upload, reason)| Quarantined { upload, reason })
}

fn summary() -> impl Strategy<Value = RoundSummary> {
    let new = (decision(), vec(quarantined(), 0..3), any::<[u64; 3]>(), any::<u32>(), any::<bool>());
    let parts = (any::<[u64; 5]>(), any::<u32>(), any::<[u32; 6]>(), blob(), new);
    parts.prop_map(|(whole, uploads, seconds, metrics, new)| {
        let (decision, quarantined, [current, orders, at], trials, asked) = new;
        let [
            seconds,
            cloud_seconds,
            cloud_cpu_seconds,
            warden_seconds,
            warden_cpu_seconds,
            check_cpu_seconds,
        ] = seconds.map(|s| f64::from(s) / 1e3);
        let [round, rows, steps, traffic_bytes, warden_peak_bytes] = whole;
        RoundSummary {
            round,
            uploads,
            rows,
            steps,
            seconds,
            cloud_seconds,
            cloud_cpu_seconds,
            warden_seconds,
            warden_cpu_seconds,
            check_cpu_seconds,
            traffic_bytes,
            warden_peak_bytes,
            metrics,
            decision,
            current,
            quarantined,
            trials,
            orders,
            at,
            asked,
        }
    })
}

fn record() -> impl Strategy<Value = RoundRecord> {
    (summary(), [vec(ids(), 0..4), vec(ids(), 0..4)], [blob(), blob(), blob()]).prop_map(
        |(summary, [given, used], [state, model, receipt])| RoundRecord {
            summary,
            given,
            used,
            state,
            model,
            receipt,
        },
    )
}

fn block() -> impl Strategy<Value = BlockRef> {
    any::<(u32, u32)>().prop_map(|(upload, block)| BlockRef { upload, block })
}

fn blocks() -> impl Strategy<Value = Vec<BlockRef>> {
    vec(block(), 0..6)
}

fn place() -> impl Strategy<Value = Option<Place>> {
    option::of(any::<(u64, u64)>().prop_map(|(start, len)| Place { start, len }))
}

fn admitted() -> impl Strategy<Value = AdmittedUpload> {
    (header(), blob()).prop_map(|(header, admission)| AdmittedUpload { header, admission })
}

fn to_warden() -> impl Strategy<Value = ToWarden> {
    let round = (ids(), any::<u64>(), any::<u32>(), option::of(any::<u32>()), vec(admitted(), 0..4));
    prop_oneof![
        (ids(), blob()).prop_map(|(asker, request)| ToWarden::Attest { asker, request }),
        (specification(), blob()).prop_map(|(spec, release)| ToWarden::Release { spec, release }),
        (specification(), blob()).prop_map(|(spec, holding)| ToWarden::Restore { spec, holding }),
        round.prop_map(|(project, round, attempt, epochs, uploads)| ToWarden::Round {
            project,
            round,
            attempt,
            epochs,
            uploads
        }),
        (ids(), header(), blob()).prop_map(|(project, header, envelope)| ToWarden::Query {
            project,
            header,
            envelope
        }),
        (ids(), header()).prop_map(|(project, header)| ToWarden::Admit { project, header }),
        (ids(), any::<u64>()).prop_map(|(project, round)| ToWarden::Stored { project, round }),
        (place(), any::<u64>()).prop_map(|(place, len)| ToWarden::Bytes { place, len }),
        (ids(), blob()).prop_map(|(project, order)| ToWarden::Order { project, order }),
        (ids(), ids(), blob()).prop_map(|(project, contributor, enrolment)| ToWarden::Enrol {
            project,
            contributor,
            enrolment
        }),
        (ids(), ids(), blob()).prop_map(|(project, contributor, token)| ToWarden::Enrolled {
            project,
            contributor,
            token
        }),
        (ids(), any::<[u64; 2]>()).prop_map(|(project, [round, version])| ToWarden::Rollback {
            project,
            round,
            version
        }),
        Just(ToWarden::Labels),
        (any::<u64>(), place()).prop_map(|(residues, place)| ToWarden::Product { residues, place }),
        any::<u64>().prop_map(|count| ToWarden::Residues { count }),
        text().prop_map(|message| ToWarden::Failed { message }),
    ]
}

fn shape() -> impl Strategy<Value = OperandShape> {
    let encodings = [(1, 64, 32), (4, 512, 1), (128, 8, 2), (16, 16, 16)];
    let encoding = prop::sample::select(encodings.map(|(n, m, r)| Encoding::new(n, m, r).unwrap()).to_vec());
    (any::<bool>(), encoding, any::<[usize; 2]>()).prop_map(|(left, encoding, [contraction, width])| {
        OperandShape { side: if left { Side::Left } else { Side::Right }, encoding, contraction, width }
    })
}

fn section() -> impl Strategy<Value = Section> {
    any::<((u32, u32), bool, bool)>().prop_map(|(columns, left_masks, right_masks)| Section {
        columns,
        left_masks,
        right_masks,
    })
}

fn left() -> impl Strategy<Value = Left> {
    prop_oneof![
        blocks().prop_map(Left::Rows),
        blocks().prop_map(Left::Columns),
        any::<u32>().prop_map(Left::Operand),
    ]
}

fn instruction() -> impl Strategy<Value = Instruction> {
    let begin = (any::<u32>(), shape(), any::<[u8; 32]>(), option::of(any::<u64>()));
    let multiply = (left(), any::<u32>(), section(), option::of(any::<u32>()), any::<u64>());
    prop_oneof![
        begin.prop_map(|(operand, shape, masks, at)| Instruction::Begin {
            operand,
            shape,
            masks: MaskSeed(masks),
            at
        }),
        any::<(u32, u32)>().prop_map(|(operand, first)| Instruction::Rows { operand, first }),
        multiply.prop_map(|(left, right, section, sum, received)| Instruction::Multiply {
            left,
            right,
            section,
            sum,
            received
        }),
        (any::<u32>(), left(), any::<u32>(), section())
            .prop_map(|(slot, left, right, section)| Instruction::Accumulate { slot, left, right, section }),
        vec(any::<u32>(), 0..6).prop_map(|operands| Instruction::Free { operands }),
        blocks().prop_map(|blocks| Instruction::Labels { blocks }),
        any::<(u32, u32, u32, u64)>().prop_map(|(upload, first, count, received)| Instruction::Read {
            upload,
            first,
            count,
            received
        }),
        block().prop_map(|block| Instruction::Keep { block }),
        (blocks(), any::<bool>(), any::<u64>()).prop_map(|(blocks, rows, received)| {
            let which = if rows { Projection::Rows } else { Projection::Columns };
            Instruction::Projections { blocks, which, received }
        }),
    ]
}

fn retired() -> impl Strategy<Value = Option<blindsmith_protocol::Id>> {
    option::of(ids())
}

/// Whatever a warden may send.
pub fn from_warden() -> impl Strategy<Value = FromWarden> {
    let outcome = prop_oneof![
        (blob(), blob(), retired()).prop_map(|(holding, confirmation, retired)| Outcome::Ready {
            holding,
            confirmation,
            retired
        }),
        Just(Outcome::Round),
        Just(Outcome::Answer),
        retired().prop_map(|retired| Outcome::Ordered { retired }),
        (ids(), blob()).prop_map(|(asker, request)| Outcome::Challenge { asker, request }),
        (ids(), blob()).prop_map(|(session, order)| Outcome::Handed { session, order }),
        (blob(), blob()).prop_map(|(token, confirmation)| Outcome::Enrolled { token, confirmation }),
        vec(ids(), 0..4).prop_map(|uploads| Outcome::Forged { uploads }),
        text().prop_map(|message| Outcome::Refused { message }),
        text().prop_map(|message| Outcome::Unable { message }),
        blob().prop_map(|admission| Outcome::Admitted { admission }),
        text().prop_map(|reason| Outcome::Malformed { reason }),
        (text(), blob()).prop_map(|(instruction, report)| Outcome::Fault { instruction, report }),
    ];
    prop_oneof![
        (text(), text(), [ids(), ids()], any::<[bool; 3]>()).prop_map(
            |(tee, version, [holder, start], [shared, queries, take_over])| {
                FromWarden::Hello {
                    tee,
                    version,
                    holder,
                    start,
                    lane: if queries { Lane::Queries } else { Lane::Rounds },
                    take_over,
                    shared,
                }
            }
        ),
        evidence().prop_map(FromWarden::Evidence),
        instruction().prop_map(FromWarden::Do),
        progress().prop_map(FromWarden::Progress),
        outcome.prop_map(FromWarden::Finished),
    ]
}

/// Through a frame and back.
fn returned<T: serde::Serialize + serde::de::DeserializeOwned>(message: &T, body: &[u8]) -> (T, usize) {
    read_head(&mut frame(message, body).as_slice()).unwrap()
}

proptest! {
    #[test]
    fn commands_survive(message in to_warden(), body in vec(any::<u8>(), 0..9)) {
        prop_assert_eq!(returned(&message, &body), (message, body.len()));
    }

    #[test]
    fn instructions_and_outcomes_survive(message in from_warden(), body in vec(any::<u8>(), 0..9)) {
        prop_assert_eq!(returned(&message, &body), (message, body.len()));
    }

    #[test]
    fn records_survive(record in record()) {
        prop_assert_eq!(from_cbor::<RoundRecord>(&to_cbor(&record)).unwrap(), record);
    }

    #[test]
    fn truncated_records_are_refused(record in record(), at in any::<prop::sample::Index>()) {
        let bytes = to_cbor(&record);
        prop_assert!(from_cbor::<RoundRecord>(&bytes[..at.index(bytes.len())]).is_err());
    }
}

#[test]
fn a_command_is_no_answer() {
    let bytes = frame(&ToWarden::Stored { project: id(3), round: 1 }, b"");
    assert!(read_head::<FromWarden>(&mut bytes.as_slice()).is_err());
}

#[test]
fn what_a_message_carries_does_not_show_in_debug_output() {
    let shown = format!(
        "{:?}",
        ToWarden::Query { project: id(1), header: super::uploads::example(), envelope: Blob(vec![0xab; 77]) }
    );
    assert!(shown.contains("77 bytes") && !shown.contains("171") && !shown.contains("abab"), "{shown}");
}

#[test]
fn operands_beyond_the_limits_have_no_size() {
    let encoding = Encoding::new(128, 16, 1).unwrap();
    let shape = |contraction, width| OperandShape { side: Side::Right, encoding, contraction, width };
    assert_eq!(operand_residues(&shape(1, 1)), Some(128 * 8));
    let most = MAX_CONTRACTION;
    assert_eq!(operand_residues(&shape(most, 9)), Some(most * 16));
    for (contraction, width) in [(0, 1), (1, 0), (most + 1, 1), (1, most + 1), (usize::MAX, usize::MAX)] {
        assert_eq!(operand_residues(&shape(contraction, width)), None, "{contraction} x {width}");
    }
}
