//! Wrong answers to the warden's instructions: caught before anything of them is opened, reported, survived.

use std::collections::HashMap;

use blindsmith_attest::chain::{Bundle, OwnerPolicy};
use blindsmith_attest::open_fault;
use blindsmith_matrix::{MaskSeed, OperandShape, Side};
use blindsmith_protocol::{BlockRef, FromWarden, Instruction, Left, ToWarden};
use blindsmith_ring::Q;

use super::proxy::{Frame, Proxy};
use crate::site::{Site, argument};
use crate::tables;

/// A project that was refined once by an honest refinery, and rows that wait for the next round.
pub struct Scene {
    pub site: Site,
    pub proxy: Proxy,
}

/// A warden that reaches its refinery through a proxy, and rows to begin a project with.
pub fn proxied() -> (Site, Proxy) {
    let mut site = Site::new();
    let link = site.path("proxy.sock");
    let proxy = Proxy::listen(&link, &site.services.store().join("warden.sock"));
    site.services.kill_warden();
    site.services.start_warden_at(&link, &["--no-shared-memory"]).unwrap();
    site.write("first.csv", tables::largest(0..60));
    (site, proxy)
}

impl Scene {
    pub fn new(more: &[&str]) -> Self {
        let scene = Scene::waiting(more);
        scene.site.on_project("refine", &[]).ok();
        scene
    }

    /// The same before it was ever refined.
    pub fn waiting(more: &[&str]) -> Self {
        let scene = Scene::empty(more);
        scene.push(60..76, "--validation");
        // Whole blocks and whole batches: whatever order they are dealt in, all steps are of one size.
        scene.push(76..140, "--keep-order");
        scene.push(140..236, "--keep-order");
        scene
    }

    /// The same without any rows.
    pub fn empty(more: &[&str]) -> Self {
        let (site, proxy) = proxied();
        let plan = ["--label", "largest", "--hidden", "8", "--epochs", "2", "--batch-rows", "32", "--manual"];
        site.init("first.csv", &[plan.as_slice(), more].concat()).ok();
        Scene { site, proxy }
    }

    pub fn push(&self, rows: std::ops::Range<usize>, role: &str) {
        self.site.write("rows.csv", tables::largest(rows));
        self.site.on_project("push", &["--data", "rows.csv", "--again", role]).ok();
    }

    fn refined(&self) -> Vec<u8> {
        self.site.pull("model.safetensors", &[]);
        std::fs::read(self.site.path("model.safetensors")).unwrap()
    }

    /// What `blindsmith verify` says of all receipts, and the bundle.
    pub fn verify(&self) -> (serde_json::Value, Bundle) {
        self.site.on_project("receipts", &["--out", "receipts.cbor"]).ok();
        let [receipts, policy] = ["receipts.cbor", "p/policy.toml"].map(|p| argument(&self.site.path(p)));
        let verdict = self.site.run(&["verify", "--receipts", &receipts, "--policy", &policy, "--json"]).ok();
        let bundle = Bundle::from_bytes(&std::fs::read(self.site.path("receipts.cbor")).unwrap()).unwrap();
        (verdict.json(), bundle)
    }

    /// A round under this attack is abandoned: the model is what it was, the report names the instruction, and
    /// once the attack is over the next round succeeds.
    fn assert_caught(self, words: &str, attack: impl FnMut(Frame) -> Vec<Frame> + Send + 'static) {
        let before = self.refined();
        self.proxy.attack(attack);
        self.site.on_project("refine", &[]).refused(5, &["answered an instruction wrongly", words]);
        self.proxy.cease();
        assert!(self.refined() == before, "the model changed");
        let status = self.site.status();
        assert_eq!(status["rounds"].as_array().unwrap().len(), 2);

        let (_, bundle) = self.verify();
        let policy = std::fs::read_to_string(self.site.path("p/policy.toml")).unwrap();
        let key = OwnerPolicy::parse(&policy).unwrap().receipts;
        let report = open_fault(&bundle.faults[0].0, &key).unwrap();
        assert!(report.instruction.contains(words), "{}", report.instruction);
        assert_eq!((report.round, report.attempt, report.fault), (2, 1, 1));

        self.site.on_project("refine", &[]).ok();
        let (verdict, _) = self.verify();
        assert_eq!((&verdict["valid"], &verdict["rounds"]), (&true.into(), &2.into()));
        self.site.assert_no_panic();
    }
}

/// Alters the residues of the `nth` product that comes to the warden once training has begun: the current version is
/// judged before.
fn altering(
    nth: usize,
    alter: impl Fn(&mut [u64]) + Send + 'static,
) -> impl FnMut(Frame) -> Vec<Frame> + Send {
    altering_once(false, nth, alter)
}

/// The same where there is no training, if `training`.
fn altering_once(
    mut training: bool,
    nth: usize,
    alter: impl Fn(&mut [u64]) + Send + 'static,
) -> impl FnMut(Frame) -> Vec<Frame> + Send {
    let mut seen = 0;
    move |frame| match frame {
        Frame::FromWarden(FromWarden::Progress(_), _) => {
            training = true;
            vec![frame]
        }
        frame if !training => vec![frame],
        Frame::ToWarden(ToWarden::Residues { count }, body) => {
            seen += 1;
            if seen != nth {
                return vec![Frame::ToWarden(ToWarden::Residues { count }, body)];
            }
            let mut residues: Vec<u64> =
                body.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
            alter(&mut residues);
            let body = residues.iter().flat_map(|r| r.to_le_bytes()).collect();
            vec![Frame::ToWarden(ToWarden::Residues { count }, body)]
        }
        other => vec![other],
    }
}

/// One residue by one, in a forward product, an input gradient and a weight gradient.
#[test]
fn attack_wrong_product_in_one_residue() {
    // Of a step over two layers: Z1, Z2, D2, G2, G1.
    for (nth, what) in [
        (1, "forward product of layer 0"),
        (2, "forward product of layer 1"),
        (3, "input gradient of layer 1"),
        (4, "weight gradient of layer 1"),
        (5, "weight gradient of layer 0"),
    ] {
        let scene = Scene::new(&["--offload-all"]);
        scene.assert_caught(what, altering(nth, |residues| residues[0] = (residues[0] + 1) % Q));
    }
}

/// The last part of a product is that of masks.
#[test]
fn attack_wrong_product_of_masks() {
    let alter = |residues: &mut [u64]| *residues.last_mut().unwrap() ^= 1;
    Scene::new(&[]).assert_caught("forward product of layer 0", altering(1, alter));
}

#[test]
fn attack_swapped_rows() {
    let swap = |residues: &mut [u64]| {
        let half = residues.len() / 2;
        residues.rotate_left(half);
    };
    Scene::new(&[]).assert_caught("forward product of layer 0", altering(1, swap));
}

#[test]
fn attack_products_of_another_step_replayed() {
    let mut before: HashMap<usize, Vec<u8>> = HashMap::new();
    let (mut replayed, mut training) = (false, false);
    Scene::new(&[]).assert_caught("of layer 0", move |frame| {
        training |= matches!(frame, Frame::FromWarden(FromWarden::Progress(_), _));
        let body = match frame {
            Frame::ToWarden(ToWarden::Residues { .. }, body) if training && !replayed => body,
            frame => return vec![frame],
        };
        // The first product that has as many residues as one of an earlier step is answered by that one.
        let earlier = before.insert(body.len(), body.clone());
        replayed = earlier.is_some();
        let body = earlier.unwrap_or(body);
        let count = body.len() as u64 / 8;
        vec![Frame::ToWarden(ToWarden::Residues { count }, body)]
    });
}

/// Gives the refinery an operand of the first step again in the place of that of the second.
fn replaying(chosen: fn(&OperandShape) -> bool) -> impl FnMut(Frame) -> Vec<Frame> + Send {
    let mut begun: Vec<u32> = vec![];
    let mut rows: HashMap<u32, Vec<u8>> = HashMap::new();
    move |frame| {
        let Frame::FromWarden(FromWarden::Do(instruction), body) = frame else { return vec![frame] };
        let body = match &instruction {
            Instruction::Begin { operand, shape, .. } if chosen(shape) => {
                begun.push(*operand);
                body
            }
            Instruction::Rows { operand, first } if begun.first() == Some(operand) => {
                rows.insert(*first, body.clone());
                body
            }
            Instruction::Rows { operand, first } if begun.contains(operand) => {
                rows.get(first).filter(|b| b.len() == body.len()).cloned().unwrap_or(body)
            }
            _ => body,
        };
        vec![Frame::FromWarden(FromWarden::Do(instruction), body)]
    }
}

/// Weights of the only layer that is offloaded: three features, eight units.
fn is_weights(shape: &OperandShape) -> bool {
    (shape.side, shape.contraction, shape.width) == (Side::Right, 3, 8)
}

/// Errors of that layer.
fn is_errors(shape: &OperandShape) -> bool {
    shape.side == Side::Right && !is_weights(shape)
}

#[test]
fn attack_stale_weights() {
    Scene::new(&[]).assert_caught("forward product of layer 0, step 2", replaying(is_weights));
}

#[test]
fn attack_replayed_errors() {
    Scene::new(&[]).assert_caught("weight gradient of layer 0, step 5", replaying(is_errors));
}

#[test]
fn attack_foreign_rows() {
    Scene::new(&[]).assert_caught("forward product of layer 0", |frame| {
        let Frame::FromWarden(FromWarden::Do(instruction), body) = frame else { return vec![frame] };
        let instruction = match instruction {
            Instruction::Multiply { left: Left::Rows(mut blocks), right, section, sum, received } => {
                // Another block of the same upload, or the first of another.
                let BlockRef { upload, block } = blocks[0];
                blocks[0] = if block > 0 {
                    BlockRef { upload, block: block - 1 }
                } else {
                    BlockRef { upload: (upload + 1) % 3, block: 0 }
                };
                Instruction::Multiply { left: Left::Rows(blocks), right, section, sum, received }
            }
            other => other,
        };
        vec![Frame::FromWarden(FromWarden::Do(instruction), body)]
    });
}

#[test]
fn attack_zeroed_masks() {
    let zeroed = altering(1, |residues| {
        let masks = residues.len() / 2;
        residues[masks..].fill(0);
    });
    Scene::new(&[]).assert_caught("forward product of layer 0", zeroed);
    // Other masks than those that the warden encrypted under.
    Scene::new(&[]).assert_caught("forward product of layer 0", |frame| {
        let Frame::FromWarden(FromWarden::Do(instruction), body) = frame else { return vec![frame] };
        let instruction = match instruction {
            Instruction::Begin { operand, shape, at, .. } => {
                Instruction::Begin { operand, shape, masks: MaskSeed([0; 32]), at }
            }
            other => other,
        };
        vec![Frame::FromWarden(FromWarden::Do(instruction), body)]
    });
}

#[test]
fn attack_gradients_of_other_operands() {
    // The errors never arrive: they are what another operand left there, or zero.
    let mut errors = vec![];
    Scene::new(&[]).assert_caught("weight gradient of layer 0", move |frame| {
        let Frame::FromWarden(FromWarden::Do(instruction), body) = frame else { return vec![frame] };
        let dropped = match &instruction {
            Instruction::Begin { operand, shape, .. } if is_errors(shape) => {
                errors.push(*operand);
                false
            }
            Instruction::Rows { operand, .. } => errors.contains(operand),
            _ => false,
        };
        if dropped { vec![] } else { vec![Frame::FromWarden(FromWarden::Do(instruction), body)] }
    });
}

#[test]
fn attack_truncated_messages() {
    let truncated = |frame: Frame| match frame {
        Frame::ToWarden(message @ ToWarden::Residues { .. }, mut body) => {
            body.truncate(body.len() - 8);
            vec![Frame::ToWarden(message, body)]
        }
        other => vec![other],
    };
    Scene::new(&[]).assert_caught("forward product of layer 0", truncated);
}

#[test]
fn attack_altered_projections() {
    Scene::new(&[]).assert_caught("projections of stored rows", |frame| match frame {
        Frame::ToWarden(message @ ToWarden::Bytes { .. }, mut body) => {
            body[100] ^= 1;
            vec![Frame::ToWarden(message, body)]
        }
        other => vec![other],
    });
}

#[test]
fn attack_altered_labels() {
    Scene::new(&[]).assert_caught("labels that do not open", |frame| match frame {
        Frame::ToWarden(ToWarden::Labels, mut body) => {
            body[3] ^= 1;
            vec![Frame::ToWarden(ToWarden::Labels, body)]
        }
        other => vec![other],
    });
}

/// A query meets the same checks, and tells nobody why it was refused.
#[test]
fn attack_wrong_products_of_a_query_give_one_refusal() {
    let scene = Scene::new(&[]);
    scene.site.write("query.csv", tables::largest(300..310));
    let good = scene.site.on_project("predict", &["--data", "query.csv"]).ok().json();
    let attacks: [Box<dyn FnMut(Frame) -> Vec<Frame> + Send>; 3] = [
        Box::new(altering_once(true, 1, |residues| residues[7] ^= 1)),
        Box::new(altering_once(true, 1, |residues| *residues.last_mut().unwrap() ^= 1)),
        Box::new(|frame| match frame {
            Frame::ToWarden(message @ ToWarden::Bytes { .. }, mut body) => {
                body[40] ^= 1;
                vec![Frame::ToWarden(message, body)]
            }
            other => vec![other],
        }),
    ];
    let mut refusals = vec![];
    for attack in attacks {
        scene.proxy.attack(attack);
        let refused = scene.site.on_project("predict", &["--data", "query.csv"]);
        assert_eq!(refused.code, Some(5));
        refusals.push(refused.stderr);
        scene.proxy.cease();
    }
    assert!(refusals[0].contains("the query was refused") && refusals.iter().all(|r| *r == refusals[0]));
    // Predictions carry noise of about their precision.
    let again = scene.site.on_project("predict", &["--data", "query.csv"]).ok().json();
    assert_eq!(again["columns"], good["columns"]);
}

/// Wrong answers are survived as often as the rules say; after one more the refinery's work is refused.
#[test]
fn attack_again_and_again_ends_in_refusal() {
    let scene = Scene::new(&["--faults", "1"]);
    for _ in 0..2 {
        scene.proxy.attack(altering(1, |residues| residues[0] ^= 1));
        scene.site.on_project("refine", &[]).refused(5, &["wrong product"]);
        scene.proxy.cease();
    }
    let refused = "this refinery answered wrongly 2 times since the last round, 1 are survived";
    scene.site.on_project("refine", &[]).refused(5, &[refused]);
    scene.site.write("query.csv", tables::largest(300..310));
    scene.site.on_project("predict", &["--data", "query.csv"]).refused(5, &["the query was refused"]);
    let (verdict, bundle) = scene.verify();
    assert_eq!((bundle.faults.len(), &verdict["valid"]), (2, &true.into()));
    // Another start of the warden changes nothing.
    let Scene { mut site, .. } = scene;
    site.services.start_warden().unwrap();
    site.on_project("refine", &[]).refused(5, &[refused]);
}
