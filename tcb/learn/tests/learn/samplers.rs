//! Blocks and batches: each once an epoch, in an order that only the seed and the epoch decide.

use std::collections::BTreeSet;

use blindsmith_learn::*;

/// The blocks of uploads of so many rows.
fn blocks(uploads: &[u32], block_rows: u32) -> Vec<Block> {
    let of = |(u, &rows): (usize, &u32)| Block::of_upload(u as u32, rows, block_rows);
    uploads.iter().enumerate().flat_map(of).collect()
}

fn rows(batch: &[Block]) -> u32 {
    batch.iter().map(|block| block.rows).sum()
}

#[test]
fn blocks_cover_an_upload_in_order() {
    let of =
        |rows, size| Block::of_upload(3, rows, size).map(|b| (b.upload, b.index, b.rows)).collect::<Vec<_>>();
    assert_eq!(of(20, 8), [(3, 0, 8), (3, 1, 8), (3, 2, 4)]);
    assert_eq!(of(16, 8), [(3, 0, 8), (3, 1, 8)]);
    assert_eq!(of(1, 8), [(3, 0, 1)]);
    assert_eq!(of(0, 8), []);
    assert_eq!(of(u32::MAX, 1 << 31), [(3, 0, 1 << 31), (3, 1, (1 << 31) - 1)]);
    assert_eq!(Block { upload: 3, index: 2, rows: 4 }.range(8), 16..20);
}

#[test]
fn each_block_comes_once_an_epoch_in_batches_of_like_size() {
    for (uploads, block_rows, batch_rows) in
        [(&[296, 40, 8][..], 8, 100), (&[1600], 8, 64), (&[24, 24], 64, 1), (&[72], 16, 9999)]
    {
        let blocks = blocks(uploads, block_rows);
        let sampler = Sampler::new(blocks.clone(), batch_rows, 1).expect("sampler");
        for epoch in 0..3 {
            let batches: Vec<Vec<Block>> = sampler.epoch(epoch).collect();
            assert_eq!(batches.len(), sampler.batches_per_epoch());
            let dealt: Vec<Block> = batches.iter().flatten().copied().collect();
            assert_eq!(dealt.len(), blocks.len());
            assert_eq!(dealt.iter().collect::<BTreeSet<_>>().len(), blocks.len(), "a block came twice");
            let (least, most) = (batches.iter().map(Vec::len).min(), batches.iter().map(Vec::len).max());
            assert!(least >= Some(1) && most <= least.map(|n| n + 1));
        }
        assert_eq!(sampler.in_order().flatten().collect::<Vec<_>>(), blocks);
    }
}

#[test]
fn batches_have_about_the_rows_asked_for() {
    let sampler = Sampler::new(blocks(&[60_000], 64), 1_000, 0).expect("sampler");
    assert_eq!(sampler.batches_per_epoch(), 60);
    assert!(sampler.epoch(0).all(|batch| (900..=1_100).contains(&rows(&batch))));
    for (batch_rows, batches) in [(1, 100), (3, 33), (39, 3), (40, 3), (41, 2), (200, 1), (201, 1)] {
        let sampler = Sampler::new(blocks(&[100], 1), batch_rows, 0).expect("sampler");
        assert_eq!(sampler.batches_per_epoch(), batches);
    }
}

#[test]
fn batches_are_balanced_by_rows_though_blocks_are_not() {
    // A thousand uploads of one row beside two of full blocks.
    let mut uploads = vec![1; 1_000];
    uploads.extend([3_000, 5_010]);
    let all = blocks(&uploads, 64);
    let sampler = Sampler::new(all.clone(), 300, 5).expect("sampler");
    assert_eq!(sampler.batches_per_epoch(), 30);
    for epoch in 0..5 {
        let batches: Vec<Vec<Block>> = sampler.epoch(epoch).collect();
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), all.len());
        // An even share is 300 rows, and each end is at most half a block from where it should be.
        assert!(batches.iter().all(|batch| (300 - 64..=300 + 65).contains(&rows(batch))));
    }
    let batches: Vec<u32> =
        Sampler::new(blocks(&[1_000], 64), 333, 0).expect("sampler").in_order().map(|b| rows(&b)).collect();
    assert_eq!(batches, [320, 320, 360]);
}

#[test]
fn every_batch_has_a_block_however_the_rows_lie() {
    for uploads in [&[64, 1, 1, 1][..], &[1, 1, 1, 64], &[1, 64, 1, 64, 1], &[64, 64, 1]] {
        let all = blocks(uploads, 64);
        for batch_rows in [1, 10, 20, 30, 70] {
            let sampler = Sampler::new(all.clone(), batch_rows, 0).expect("sampler");
            let batches: Vec<Vec<Block>> = sampler.in_order().collect();
            assert_eq!(batches.len(), sampler.batches_per_epoch());
            assert!(batches.iter().all(|batch| !batch.is_empty()), "{uploads:?} by {batch_rows}");
            assert_eq!(batches.concat(), all);
        }
    }
}

#[test]
fn the_order_is_that_of_chacha20() {
    // From an independent program: RFC 8439's block function with a 64-bit counter and stream, words in
    // order, Fisher and Yates from the end.
    let sampler = Sampler::new(blocks(&[10], 1), 10, 42).expect("sampler");
    let order = |epoch| sampler.epoch(epoch).flatten().map(|b| b.index).collect::<Vec<_>>();
    assert_eq!(order(0), [5, 0, 3, 9, 4, 8, 6, 2, 7, 1]);
    assert_eq!(order(1), [2, 8, 7, 6, 3, 0, 4, 5, 9, 1]);
}

#[test]
fn seeds_and_epochs_change_the_order() {
    let order = |seed, epoch| {
        let sampler = Sampler::new(blocks(&[64], 1), 16, seed).expect("sampler");
        sampler.epoch(epoch).collect::<Vec<_>>()
    };
    assert_eq!(order(1, 0), order(1, 0));
    assert_ne!(order(1, 0), order(1, 1));
    assert_ne!(order(1, 0), order(2, 0));
}

#[test]
fn nothing_and_zero_sizes_are_refused() {
    assert_eq!(Sampler::new(Vec::new(), 64, 0).err(), Some(SamplerError::Empty));
    for (batch_rows, rows) in [(0, 8), (64, 0)] {
        let block = Block { upload: 0, index: 0, rows };
        assert_eq!(Sampler::new(vec![block], batch_rows, 0).err(), Some(SamplerError::Zero));
    }
}

#[test]
fn labels_follow_their_blocks_into_batches_and_parts() {
    let upload = |from: u32, rows: u32| Labels::new(Targets::Classes((from..from + rows).collect()));
    let valid = (0..16).map(|r| r != 9).collect();
    let uploads = [upload(0, 16).with_valid(valid).expect("flags"), upload(100, 6)];
    let block = |upload, index, rows| Block { upload, index, rows };
    let chosen = [block(1, 0, 4), block(1, 1, 2), block(0, 2, 4), block(0, 0, 4)];
    let batch = Batch::gather(&chosen, 4, &uploads).expect("batch");
    let classes = vec![100, 101, 102, 103, 104, 105, 8, 9, 10, 11, 0, 1, 2, 3];
    let valid = (0..14).map(|r| r != 7).collect();
    assert_eq!(batch.labels(), &Labels::new(Targets::Classes(classes)).with_valid(valid).expect("flags"));
    assert_eq!((batch.rows(), batch.labels().valid_rows()), (14, 13));

    // A block larger than a part stays whole.
    for (rows, parts) in [
        (3, [4, 2, 4, 4].as_slice()),
        (4, &[4, 2, 4, 4]),
        (6, &[6, 4, 4]),
        (8, &[6, 8]),
        (10, &[10, 4]),
        (99, &[14]),
    ] {
        let found = batch.micro_batches(rows).expect("parts");
        assert_eq!(found.iter().map(Batch::rows).collect::<Vec<_>>(), parts);
        assert_eq!(found.iter().flat_map(Batch::blocks).copied().collect::<Vec<_>>(), chosen);
        let mut joined = found[0].labels().clone();
        found[1..].iter().for_each(|p| joined.append(p.labels(), 0..p.rows()).expect("labels"));
        assert_eq!(&joined, batch.labels());
    }
}

#[test]
fn parts_end_where_a_block_ends() {
    for (uploads, block_rows, ends) in [
        (&[600, 30][..], 64, &[320, 630][..]),
        (&[500, 120], 500, &[500, 620]),
        (&[511], 64, &[511]),
        (&[4_096], 4_096, &[4_096]),
    ] {
        let batch = Batch::unlabelled(blocks(uploads, block_rows));
        assert_eq!((batch.rows() as u32, batch.labels().valid_rows()), (uploads.iter().sum(), 0));
        let parts = batch.parts();
        assert_eq!(parts.iter().map(|part| part.end).collect::<Vec<_>>(), ends);
        assert!(parts[0].start == 0 && parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        let found: Vec<Vec<Block>> =
            parts.iter().map(|part| batch.blocks_of(part.clone()).collect()).collect();
        assert!(found.iter().zip(&parts).all(|(blocks, part)| rows(blocks) as usize == part.len()));
        assert_eq!(found.concat(), batch.blocks());
    }
}

#[test]
fn labels_that_do_not_fit_a_batch_are_refused() {
    let uploads =
        [Labels::new(Targets::Classes(vec![0; 8])), Labels::new(Targets::Values(Matrix::zeros(8, 1)))];
    let block = |upload, index, rows| Block { upload, index, rows };
    let gather = |blocks: &[Block]| Batch::gather(blocks, 4, &uploads).map(|_| ());
    assert_eq!(gather(&[block(0, 0, 4), block(0, 1, 4)]), Ok(()));
    assert_eq!(gather(&[]), Err(BatchError::Rows { labels: 0, rows: 0 }));
    assert_eq!(gather(&[block(2, 0, 4)]), Err(BatchError::Upload { upload: 2, uploads: 2 }));
    let beyond = LabelsError::Range { start: 8, end: 12, rows: 8 };
    assert_eq!(gather(&[block(0, 2, 4)]), Err(BatchError::Labels(beyond)));
    assert_eq!(gather(&[block(0, 0, 4), block(1, 0, 4)]), Err(BatchError::Labels(LabelsError::Kind)));
    let short = Batch::new(vec![block(0, 0, 4), block(0, 1, 5)], uploads[0].clone());
    assert_eq!(short.map(|_| ()), Err(BatchError::Rows { labels: 8, rows: 9 }));
}
