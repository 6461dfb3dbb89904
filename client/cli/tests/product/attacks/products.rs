//! Wrong answers to the warden's instructions: caught before anything of them is opened, reported, survived.

use std::collections::HashMap;

use blindsmith_attest::chain::{Bundle, OwnerPolicy};
use blindsmith_matrix::{Form, MaskSeed, ProductKind};
use blindsmith_protocol::{BlockRef, FromWarden, Instruction, Left, ToWarden};
use blindsmith_receipts::open_fault;
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
        scene.push(76..160, "--keep-order");
        scene.push(160..250, "--keep-order");
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
        self.site.on_project("push", &["--data", "rows.csv", "--now", role]).ok();
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

/// Alters the body of the `nth` frame of rows or extras that comes to the warden once training has begun: the current
/// version is judged before.
fn altering(
    nth: usize,
    extras: bool,
    alter: impl Fn(&mut [u64]) + Send + 'static,
) -> impl FnMut(Frame) -> Vec<Frame> + Send {
    altering_once(false, nth, extras, alter)
}

/// The same where there is no training, if `training`.
fn altering_once(
    mut training: bool,
    nth: usize,
    extras: bool,
    alter: impl Fn(&mut [u64]) + Send + 'static,
) -> impl FnMut(Frame) -> Vec<Frame> + Send {
    let mut seen = 0;
    move |frame| match frame {
        Frame::FromWarden(FromWarden::Progress(_), _) => {
            training = true;
            vec![frame]
        }
        frame if !training => vec![frame],
        Frame::ToWarden(message, body)
            if matches!(message, ToWarden::Rows { .. }) && !extras
                || matches!(message, ToWarden::Extras { .. }) && extras =>
        {
            seen += 1;
            if seen != nth {
                return vec![Frame::ToWarden(message, body)];
            }
            let mut residues: Vec<u64> =
                body.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
            alter(&mut residues);
            let body = residues.iter().flat_map(|r| r.to_le_bytes()).collect();
            vec![Frame::ToWarden(message, body)]
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
        Scene::new(&[]).assert_caught(what, altering(nth, false, |rows| rows[0] = (rows[0] + 1) % Q));
    }
}

#[test]
fn attack_wrong_extra_polynomial() {
    let alter = |extras: &mut [u64]| *extras.last_mut().unwrap() ^= 1;
    Scene::new(&[]).assert_caught("forward product of layer 0", altering(1, true, alter));
}

#[test]
fn attack_swapped_tiles() {
    let swap = |rows: &mut [u64]| {
        let half = rows.len() / 2;
        rows.rotate_left(half);
    };
    Scene::new(&[]).assert_caught("forward product of layer 0", altering(1, false, swap));
}

#[test]
fn attack_products_of_another_step_replayed() {
    let mut first: Option<[Frame; 2]> = None;
    let mut extras = None;
    let (mut seen, mut training) = (0, false);
    Scene::new(&[]).assert_caught("forward product of layer 0", move |frame| {
        training |= matches!(frame, Frame::FromWarden(FromWarden::Progress(_), _));
        if !training {
            return vec![frame];
        }
        let Frame::ToWarden(message, _) = &frame else { return vec![frame] };
        match message {
            ToWarden::Extras { .. } => {
                extras = Some(frame.clone());
                seen += 1;
                // Five products a step: the first of the second step is answered by that of the first.
                if seen == 6 { vec![first.as_ref().unwrap()[0].clone()] } else { vec![frame] }
            }
            ToWarden::Rows { .. } if seen == 6 => vec![first.as_ref().unwrap()[1].clone()],
            ToWarden::Rows { .. } => {
                if first.is_none() {
                    first = Some([extras.clone().unwrap(), frame.clone()]);
                }
                vec![frame]
            }
            _ => vec![frame],
        }
    });
}

/// Gives the refinery an operand of the first step again in the place of that of the second.
fn replaying(form: Form, layer: u32) -> impl FnMut(Frame) -> Vec<Frame> + Send {
    let mut begun: Vec<u32> = vec![];
    let mut strips: HashMap<(u32, u32), Vec<u8>> = HashMap::new();
    move |frame| {
        let Frame::FromWarden(FromWarden::Do(instruction), body) = frame else { return vec![frame] };
        let body = match &instruction {
            Instruction::Begin { operand, form: f, layer: l, .. } if (*f, *l) == (form, layer) => {
                begun.push(*operand);
                body
            }
            Instruction::Strip { operand, strip, at } if begun.first() == Some(operand) => {
                strips.insert((*strip, *at), body.clone());
                body
            }
            Instruction::Strip { operand, strip, at } if begun.contains(operand) => {
                strips.get(&(*strip, *at)).filter(|b| b.len() == body.len()).cloned().unwrap_or(body)
            }
            _ => body,
        };
        vec![Frame::FromWarden(FromWarden::Do(instruction), body)]
    }
}

#[test]
fn attack_stale_weights() {
    Scene::new(&[]).assert_caught("forward product of layer 0, step 2", replaying(Form::Weights, 0));
}

#[test]
fn attack_replayed_errors() {
    Scene::new(&[]).assert_caught("weight gradient of layer 0, step 5", replaying(Form::ErrorRight, 0));
}

#[test]
fn attack_foreign_rows() {
    Scene::new(&[]).assert_caught("forward product of layer 0", |frame| {
        let Frame::FromWarden(FromWarden::Do(instruction), body) = frame else { return vec![frame] };
        let instruction = match instruction {
            Instruction::Multiply { left: Left::Blocks(mut blocks), kind, layer, right, received, sum } => {
                // Another row block of the same upload, or the first of another.
                let BlockRef { upload, block } = blocks[0];
                blocks[0] = if block > 0 {
                    BlockRef { upload, block: block - 1 }
                } else {
                    BlockRef { upload: (upload + 1) % 3, block: 0 }
                };
                Instruction::Multiply { left: Left::Blocks(blocks), kind, layer, right, received, sum }
            }
            other => other,
        };
        vec![Frame::FromWarden(FromWarden::Do(instruction), body)]
    });
}

#[test]
fn attack_zeroed_masks() {
    let zeroed = altering(1, true, |extras| extras.fill(0));
    Scene::new(&[]).assert_caught("forward product of layer 0", zeroed);
    // Other masks than those that the warden encrypted under.
    Scene::new(&[]).assert_caught("forward product of layer 0", |frame| {
        let Frame::FromWarden(FromWarden::Do(instruction), body) = frame else { return vec![frame] };
        let instruction = match instruction {
            Instruction::Begin { operand, layer, form, rows, cols, at, .. } => {
                let masks = MaskSeed([0; 32]);
                Instruction::Begin { operand, layer, form, rows, cols, masks, at }
            }
            other => other,
        };
        vec![Frame::FromWarden(FromWarden::Do(instruction), body)]
    });
}

#[test]
fn attack_gradients_of_other_operands() {
    // Of the two weight gradients of a step, the first layer's is computed of errors of the second.
    let mut errors = vec![];
    Scene::new(&[]).assert_caught("weight gradient of layer 0", move |frame| {
        let Frame::FromWarden(FromWarden::Do(instruction), body) = frame else { return vec![frame] };
        let drop_half = match &instruction {
            Instruction::Begin { operand, form: Form::ErrorRight, layer: 0, .. } => {
                errors.push(*operand);
                false
            }
            // Half of its strips never arrive: they are what another operand left there, or zero.
            Instruction::Strip { operand, .. } => errors.contains(operand),
            Instruction::Multiply { kind: ProductKind::WeightGradient, .. } => false,
            _ => false,
        };
        if drop_half { vec![] } else { vec![Frame::FromWarden(FromWarden::Do(instruction), body)] }
    });
}

#[test]
fn attack_truncated_messages() {
    let truncated = |frame: Frame| match frame {
        Frame::ToWarden(message @ ToWarden::Rows { .. }, mut body) => {
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
        Box::new(altering_once(true, 1, false, |rows| rows[7] ^= 1)),
        Box::new(altering_once(true, 2, true, |extras| extras[0] ^= 1)),
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
        scene.proxy.attack(altering(1, false, |rows| rows[0] ^= 1));
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
