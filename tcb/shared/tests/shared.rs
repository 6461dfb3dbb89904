//! Two sides of one region, in one process: the kernel does not mind.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use blindsmith_ring::Lanes;
use blindsmith_shared::{Arena, Region, SharedError, receive, send};

fn pair(len: usize) -> (Region, Region) {
    let (a, b) = UnixStream::pair().unwrap();
    let region = Region::create(len).unwrap();
    send(&a, b"hello", &[region.descriptor()]).unwrap();
    let mut bytes = [0; 16];
    let (count, mut descriptors) = receive(&b, &mut bytes).unwrap();
    assert_eq!(&bytes[..count], b"hello");
    (region, Region::map(descriptors.remove(0)).unwrap())
}

#[test]
fn what_one_side_writes_the_other_reads() {
    let (mine, theirs) = pair(1024);
    let mut arena = Arena::new(mine.len());
    let mut range = arena.take(100).unwrap();
    for (i, lanes) in mine.slice_mut(&mut range).iter_mut().enumerate() {
        *lanes = Lanes([i as u64; 8]);
    }
    assert_eq!(theirs.slice(range.start() + 99, 1).unwrap(), [Lanes([99; 8])]);
    let mut words = [0; 13];
    theirs.read(8 * (range.start() + 7) + 3, &mut words).unwrap();
    assert_eq!(words, [7, 7, 7, 7, 7, 8, 8, 8, 8, 8, 8, 8, 8]);
    // Written through the file, seen through both mappings.
    mine.write(&range, 0, &[5; 8 * 40]).unwrap();
    mine.write(&range, 40, &[5; 8 * 60]).unwrap();
    assert!(mine.write(&range, 41, &[5; 8 * 60]).is_err(), "beyond the range");
    assert!(mine.write(&range, 0, &[5; 12]).is_err(), "no whole groups");
    assert!(mine.write(&range, usize::MAX, &[5; 8]).is_err());
    for side in [&mine, &theirs] {
        assert_eq!(
            side.slice(range.start(), 101).unwrap()[98..],
            [Lanes([5; 8]), Lanes([5; 8]), Lanes([0; 8])]
        );
    }
}

#[test]
fn what_was_read_can_be_released_and_read_again() {
    let (mine, theirs) = pair(1 << 10);
    let mut range = Arena::new(mine.len()).take(1 << 10).unwrap();
    mine.slice_mut(&mut range).fill(Lanes([3; 8]));
    let mut words = vec![0; 8 << 10];
    for (start, len) in [(0, 8 << 10), (5, 5000), (8191, 1), (8192, 0), (0, 0), (100, 7)] {
        theirs.release(start, len).unwrap();
        words.fill(0);
        theirs.read(0, &mut words).unwrap();
        assert!(words.iter().all(|w| *w == 3), "{start}, {len}");
    }
    for (start, len) in [(0, 8193), (8192, 1), (usize::MAX, 2), (1, usize::MAX)] {
        assert!(matches!(theirs.release(start, len), Err(SharedError::OutOfBounds)), "{start}, {len}");
    }
}

#[test]
fn ranges_outside_are_refused() {
    let (mine, theirs) = pair(16);
    for (start, len) in [(16, 1), (0, 17), (usize::MAX, 2), (2, usize::MAX)] {
        assert!(matches!(theirs.slice(start, len), Err(SharedError::OutOfBounds)));
    }
    assert!(theirs.read(8 * 15 + 1, &mut [0; 8]).is_err());
    assert!(theirs.read(usize::MAX, &mut [0; 1]).is_err());
    assert!(Region::create(0).is_err());
    assert!(Region::create(usize::MAX).is_err());
    drop(mine);
    assert!(theirs.slice(0, 16).is_ok(), "a mapping outlives its creator");
}

#[test]
fn memory_that_could_shrink_is_refused() {
    let mut file = tempfile();
    file.write_all(&[0; 4096]).unwrap();
    assert!(Region::map(file.as_fd().try_clone_to_owned().unwrap()).is_err());
}

fn tempfile() -> std::fs::File {
    let path = std::env::temp_dir().join(format!("blindsmith-shared-{}", std::process::id()));
    let file =
        std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

#[test]
fn the_arena_gives_disjoint_ranges_and_merges_them_again() {
    let mut arena = Arena::new(100);
    let taken: Vec<_> = (0..10).map(|_| arena.take(10).unwrap()).collect();
    assert!(arena.take(1).is_none());
    let mut starts: Vec<usize> = taken.iter().map(|r| r.start()).collect();
    starts.sort_unstable();
    assert_eq!(starts, (0..10).map(|i| i * 10).collect::<Vec<_>>());
    let (even, odd): (Vec<_>, Vec<_>) = taken.into_iter().partition(|r| r.start() % 20 == 0);
    even.into_iter().for_each(|r| arena.give(r));
    assert!(arena.take(11).is_none(), "holes of ten");
    odd.into_iter().for_each(|r| arena.give(r));
    let whole = arena.take(100).expect("one piece again");
    assert_eq!((whole.start(), whole.len()), (0, 100));
}
