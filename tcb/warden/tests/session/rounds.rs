//! Rounds and queries with a refinery that answers rightly.

use blindsmith_formats::{REFUSED, decode_model};
use blindsmith_keys::Key;
use blindsmith_learn::{Batch, Block, Labels, Layer, Matrix, Network, Sampler, Targets, Trainer, predict};
use blindsmith_matrix::Scale;
use blindsmith_protocol::{Decision, Outcome, Quarantined, Reason, Role, RoundRecord, from_cbor};

use super::compared::Plain;
use super::naive::Naive;
use super::owner::{Owner, ROWS};
use super::play::Playing;

/// Weights and biases, one after the other.
fn values(layers: &[Layer]) -> Vec<f32> {
    layers.iter().flat_map(|l| l.weights.as_slice().iter().chain(&l.bias).copied()).collect()
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// What a training of the owner's rows in the clear gives.
fn trained_plainly(owner: &Owner) -> Vec<f32> {
    let blocks: Vec<Block> = Block::of_upload(0, ROWS, owner.spec.block_rows).collect();
    let sampler = Sampler::new(blocks, owner.recipe.batch_rows, owner.recipe.order_seed).unwrap();
    let classes = Labels::new(Targets::Classes((0..ROWS).map(|row| row % 3).collect()));
    let mut plain = Plain::new(std::slice::from_ref(&owner.rows), owner.spec.block_rows);
    let mut trainer = Trainer::continue_from(owner.recipe.clone(), owner.network.clone()).unwrap();
    trainer.begin_round(&sampler, owner.recipe.epochs);
    for _ in 0..owner.recipe.epochs {
        let labels = std::slice::from_ref(&classes);
        let load = |_: &mut Plain, blocks: &[Block]| {
            Ok(blindsmith_learn::gather_labels(blocks, owner.spec.block_rows, labels)?)
        };
        trainer.train_epoch(&mut plain, &sampler, load).unwrap();
    }
    values(trainer.network().layers())
}

/// Runs the round; its record.
fn round(playing: &mut Playing) -> RoundRecord {
    playing.begin();
    let (outcome, record) = playing.follow_rightly();
    assert_eq!(outcome, Outcome::Round);
    assert_eq!(playing.naive.sums(), 0);
    from_cbor(&record).unwrap()
}

#[test]
fn a_round_ends_where_plain_training_ends() {
    for (share, micro_batch_rows) in [(false, None), (true, None), (false, Some(8)), (true, Some(16))] {
        let mut owner = Owner::new();
        (owner.recipe.micro_batch_rows, owner.recipe.epochs) = (micro_batch_rows, 3);
        let mut playing = Playing::with(owner, share, |_| vec![]);
        let record = round(&mut playing);
        let Playing { owner, receipts, .. } = &playing;
        assert_eq!((&record.summary.decision, record.summary.steps), (&Decision::Promoted, 3));
        let found = values(&decode_model(&owner.opened(&record, receipts)).unwrap());
        let (plain, before) = (trained_plainly(owner), values(owner.network.layers()));
        assert!(difference(&found, &plain) < 1e-3, "{}", difference(&found, &plain));
        assert!(difference(&before, &plain) > 1e-2, "nothing was learnt");
        playing.refinery.assert_serves();
        playing.refinery.close().unwrap();
    }
}

/// The owner asks for predictions of these rows: what the answer begins with, and the predictions.
fn ask(playing: &mut Playing, rows: &Matrix) -> (u32, Vec<f32>, Vec<u32>) {
    let seed = Key::random();
    let upload = playing.owner.upload_of(&seed, Role::Query, rows);
    let (header, query) = (upload.header.clone(), upload.header.id());
    let stored = std::mem::replace(&mut playing.naive, Naive::new(&playing.owner.spec, vec![upload]));
    let command = playing.owner.query(&mut playing.refinery, &seed, &header);
    playing.refinery.send(&command, &[]);
    let (outcome, sealed) = playing.follow_rightly();
    assert_eq!(outcome, Outcome::Answer);
    playing.naive = stored;
    let opened = seed.derive("answer", &[&query.0]).unseal("answer", &sealed).unwrap();
    let words = opened.as_chunks::<4>().0;
    let (outputs, classes) = words[1..].split_at(words.len() - 1 - rows.rows());
    let outputs = outputs.iter().map(|w| f32::from_le_bytes(*w)).collect();
    (u32::from_le_bytes(words[0]), outputs, classes.iter().map(|w| u32::from_le_bytes(*w)).collect())
}

#[test]
fn a_query_is_answered_with_predictions() {
    for (share, rows) in [(false, 1), (false, 75), (true, 20)] {
        let mut playing = Playing::new(share);
        let (owner, inputs) = (&playing.owner, playing.owner.spec.inputs());
        let rows = super::stock::matrix(9, (rows, inputs), 0.125);
        let blocks: Vec<Block> = Block::of_upload(0, rows.rows() as u32, owner.spec.block_rows).collect();
        let mut plain = Plain::new(std::slice::from_ref(&rows), owner.spec.block_rows);
        let objective = owner.recipe.objective().unwrap();
        let plain = predict(&owner.network, &objective, &mut plain, &Batch::unlabelled(blocks)).unwrap();
        let step = 0.5f32.powi(owner.rules.precision.into());
        let (begins, found, classes) = ask(&mut playing, &rows);
        assert_eq!((begins, found.len(), classes.len()), (0, 3 * rows.rows(), rows.rows()));
        assert!(found.iter().all(|v| (v / step).fract() == 0.0));
        let off = difference(&found, plain.as_slice());
        assert!(off <= step * 0.51 + 1e-4, "a prediction is off by {off}");
        // The class is the warden's to pick, before it rounds; where two are nearly as probable, noise may decide.
        for (class, row) in classes.iter().zip(plain.iter_rows()) {
            let most = row.iter().fold(0f32, |most, p| most.max(*p));
            assert!(row[*class as usize] >= most - 1e-3, "{class} of {row:?}");
        }
    }
}

/// A model that rows of a sixteenth leave within the modulus, and rows of one do not.
fn steep() -> Owner {
    let mut owner = Owner::new();
    owner.spec.feature_scale = Scale::from_log2(10);
    owner.recipe.activations.fill(blindsmith_learn::Activation::Identity);
    owner.recipe.input_rms = 1.0 / 4096.0;
    let layer = |inputs, outputs, value: f32| {
        let sign = |i: usize| if i % outputs == 1 { -value } else { value };
        let weights = Matrix::from_rows(inputs, outputs, (0..inputs * outputs).map(sign).collect());
        Layer { weights: weights.unwrap(), bias: vec![0.0; outputs] }
    };
    let layers = vec![layer(6, 4, owner.recipe.input_rms * 3e9), layer(4, 3, 1.0)];
    let Owner { recipe, .. } = &owner;
    owner.network = Network::new(layers, recipe.activations.clone(), recipe.input_rms).unwrap();
    owner.rows.as_mut_slice().iter_mut().for_each(|v| *v /= 16.0);
    // An upload stands out by what it is, not by how wrong the model is.
    owner.rules.screening = 1_000_000;
    owner
}

fn ones() -> Matrix {
    Matrix::from_rows(9, 6, vec![1.0; 54]).unwrap()
}

#[test]
fn an_upload_whose_values_leave_their_range_is_set_aside_and_the_round_goes_on() {
    for share in [false, true] {
        let more = |owner: &Owner| {
            [ones(), owner.rows.clone()]
                .iter()
                .map(|rows| owner.upload_of(&owner.contributor, Role::Training, rows))
                .collect()
        };
        let mut playing = Playing::with(steep(), share, more);
        let record = round(&mut playing);
        let [_, first, steep, last] = [0, 1, 2, 3].map(|i| playing.given[i].header.id());
        assert_eq!(record.summary.quarantined, [Quarantined { upload: steep, reason: Reason::Screened }]);
        assert_eq!(record.summary.decision, Decision::Promoted);
        assert!(record.used.contains(&first) && record.used.contains(&last));
        assert!(!record.used.contains(&steep));
    }
}

#[test]
fn a_query_whose_values_leave_their_range_is_told_to_who_asks_alone() {
    let mut playing = Playing::with(steep(), false, |_| vec![]);
    let small = playing.owner.rows.clone();
    let (begins, refused, classes) = ask(&mut playing, &ones());
    assert_eq!((begins, refused, classes), (REFUSED, vec![0.0; 27], vec![0; 9]));
    assert_eq!(ask(&mut playing, &small).0, 0);
}
