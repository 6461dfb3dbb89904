//! Groups and batches: each once an epoch, in an order that only the seed and the epoch decide.

use std::collections::BTreeSet;

use blindsmith_learn::*;

fn groups(uploads: &[u32], group_blocks: u32) -> Vec<Group> {
    let of = |(u, &blocks): (usize, &u32)| Group::of_upload(u as u32, blocks, group_blocks);
    uploads.iter().enumerate().flat_map(of).collect()
}

#[test]
fn groups_cover_an_upload_in_order() {
    let of = |blocks, size| {
        Group::of_upload(3, blocks, size).map(|g| (g.first_block, g.blocks)).collect::<Vec<_>>()
    };
    assert_eq!(of(7, 3), [(0, 3), (3, 3), (6, 1)]);
    assert_eq!(of(6, 3), [(0, 3), (3, 3)]);
    assert_eq!(of(1, 8), [(0, 1)]);
    assert_eq!(of(0, 8), []);
    let group = Group { upload: 3, first_block: 6, blocks: 2 };
    assert_eq!(
        group.blocks().collect::<Vec<_>>(),
        [Block { upload: 3, index: 6 }, Block { upload: 3, index: 7 }]
    );
}

#[test]
fn each_block_comes_once_an_epoch_in_batches_of_like_size() {
    for (uploads, size, batch_rows) in
        [(&[37, 5, 1][..], 4, 100), (&[200], 1, 64), (&[3, 3], 8, 1), (&[9], 2, 9999)]
    {
        let groups = groups(uploads, size);
        let sampler = Sampler::new(groups.clone(), 8, batch_rows, 1).expect("sampler");
        for epoch in 0..3 {
            let batches: Vec<Vec<Group>> = sampler.epoch(epoch).collect();
            assert_eq!(batches.len(), sampler.batches_per_epoch());
            let blocks: Vec<Block> = batches.iter().flatten().flat_map(|g| g.blocks()).collect();
            let total: u32 = uploads.iter().sum();
            assert_eq!(blocks.len(), total as usize);
            assert_eq!(blocks.iter().collect::<BTreeSet<_>>().len(), blocks.len(), "a block came twice");
            let (least, most) = (batches.iter().map(Vec::len).min(), batches.iter().map(Vec::len).max());
            assert!(least >= Some(1) && most <= least.map(|n| n + 1));
        }
        assert_eq!(sampler.in_order().flatten().collect::<Vec<_>>(), groups);
    }
}

#[test]
fn batches_have_about_the_rows_asked_for() {
    let sampler = Sampler::new(groups(&[7_500], 8), 8, 1_000, 0).expect("sampler");
    assert_eq!(sampler.batches_per_epoch(), 60);
    let rows = |batch: Vec<Group>| batch.iter().map(|g| 8 * g.blocks).sum::<u32>();
    assert!(sampler.epoch(0).map(rows).all(|rows| (900..=1_100).contains(&rows)));
}

#[test]
fn the_order_is_that_of_chacha20() {
    // From an independent program: RFC 8439's block function with a 64-bit counter and stream, words in
    // order, Fisher and Yates from the end.
    let sampler = Sampler::new(groups(&[10], 1), 1, 10, 42).expect("sampler");
    let order = |epoch| sampler.epoch(epoch).flatten().map(|g| g.first_block).collect::<Vec<_>>();
    assert_eq!(order(0), [5, 0, 3, 9, 4, 8, 6, 2, 7, 1]);
    assert_eq!(order(1), [2, 8, 7, 6, 3, 0, 4, 5, 9, 1]);
}

#[test]
fn seeds_and_epochs_change_the_order() {
    let order = |seed, epoch| {
        let sampler = Sampler::new(groups(&[64], 1), 1, 16, seed).expect("sampler");
        sampler.epoch(epoch).collect::<Vec<_>>()
    };
    assert_eq!(order(1, 0), order(1, 0));
    assert_ne!(order(1, 0), order(1, 1));
    assert_ne!(order(1, 0), order(2, 0));
}

#[test]
fn nothing_and_zero_sizes_are_refused() {
    assert_eq!(Sampler::new(Vec::new(), 8, 64, 0).err(), Some(SamplerError::Empty));
    for (rows_per_block, batch_rows, blocks) in [(0, 64, 1), (8, 0, 1), (8, 64, 0)] {
        let group = Group { upload: 0, first_block: 0, blocks };
        assert_eq!(Sampler::new(vec![group], rows_per_block, batch_rows, 0).err(), Some(SamplerError::Zero));
    }
}

#[test]
fn labels_follow_their_blocks_into_batches_and_parts() {
    let upload =
        |from: u32, rows: u32| Labels::new(Targets::Classes((from..from + rows).collect())).padded(4);
    let uploads = [upload(0, 16), upload(100, 6)];
    let chosen = [
        Group { upload: 1, first_block: 0, blocks: 2 },
        Group { upload: 0, first_block: 2, blocks: 1 },
        Group { upload: 0, first_block: 0, blocks: 1 },
    ];
    let batch = Batch::gather(&chosen, 4, &uploads).expect("batch");
    let classes = vec![100, 101, 102, 103, 104, 105, 0, 0, 8, 9, 10, 11, 0, 1, 2, 3];
    let valid = (0..16).map(|r| r != 6 && r != 7).collect();
    assert_eq!(batch.labels(), &Labels::new(Targets::Classes(classes)).with_valid(valid).expect("flags"));
    assert_eq!((batch.rows(), batch.labels().valid_rows()), (16, 14));

    // A group larger than a part stays whole.
    for (rows, parts) in [(4, [8, 4, 4].as_slice()), (8, &[8, 8]), (12, &[12, 4]), (99, &[16])] {
        let found = batch.micro_batches(rows).expect("parts");
        assert_eq!(found.iter().map(Batch::rows).collect::<Vec<_>>(), parts);
        assert_eq!(found.iter().flat_map(Batch::groups).copied().collect::<Vec<_>>(), chosen);
        let mut joined = found[0].labels().clone();
        found[1..].iter().for_each(|p| joined.append(p.labels(), 0..p.rows()).expect("labels"));
        assert_eq!(&joined, batch.labels());
    }
}

#[test]
fn labels_that_do_not_fit_a_batch_are_refused() {
    let uploads =
        [Labels::new(Targets::Classes(vec![0; 8])), Labels::new(Targets::Values(Matrix::zeros(8, 1)))];
    let group = |upload, first_block, blocks| Group { upload, first_block, blocks };
    let gather = |groups: &[Group]| Batch::gather(groups, 4, &uploads).map(|_| ());
    assert_eq!(gather(&[group(0, 0, 2)]), Ok(()));
    assert_eq!(gather(&[group(2, 0, 1)]), Err(BatchError::Upload { upload: 2, uploads: 2 }));
    let beyond = LabelsError::Range { start: 4, end: 12, rows: 8 };
    assert_eq!(gather(&[group(0, 1, 2)]), Err(BatchError::Labels(beyond)));
    assert_eq!(gather(&[group(0, 0, 1), group(1, 0, 1)]), Err(BatchError::Labels(LabelsError::Kind)));
    let short = Batch::new(vec![group(0, 0, 3)], 4, uploads[0].clone());
    assert_eq!(short.map(|_| ()), Err(BatchError::Rows { labels: 8, rows: 12 }));
}
