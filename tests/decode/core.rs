//! The chain alone, without a connection: every split of the octets gives the same, whatever share a turn has.

use crate::support::Random;
use crate::support::coders::records;
use crate::{SUBJECTS, Subject};
use ingest::decode::content::{Caps, Chain, Coding, Codings, Decoders, Progress, Share};
use ingest::parse::Refusal;

fn codings(subject: &Subject) -> Codings {
    let known = [("gzip", Coding::Gzip), ("deflate", Coding::Deflate), ("br", Coding::Br), ("zstd", Coding::Zstd)];
    let coding = |name: &str| known.iter().find(|(known, _)| *known == name).expect("it is known").1;
    Codings::of(&subject.field.split(", ").map(coding).collect::<Vec<_>>())
}

fn decode(subject: &Subject, pieces: &[&[u8]], share: usize, decoders: &mut Decoders) -> Result<Vec<u8>, Refusal> {
    let caps = Caps { decoded_max: 64 << 20, ratio: 100 };
    let mut chain = Chain::begin(codings(subject), caps, decoders);
    let mut output = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let (used, progress) = chain.push(rest, &mut output, &mut Share::new(share, usize::MAX))?;
            rest = &rest[used..];
            if progress == Progress::Hungry {
                assert!(rest.is_empty(), "what is hungry has used everything");
                break;
            }
        }
    }
    chain.finish()?;
    chain.dissolve(decoders);
    Ok(output)
}

#[test]
fn every_split_and_every_share_give_the_same() {
    let decoders = &mut Decoders::default();
    let body = records(700);
    for subject in SUBJECTS {
        let coded = subject.encode(&body);
        for at in 0..=coded.len() {
            let (first, second) = coded.split_at(at);
            assert_eq!(decode(&subject, &[first, second], usize::MAX, decoders).as_ref(), Ok(&body), "{} at {at}", subject.name);
        }
        let octets: Vec<&[u8]> = coded.chunks(1).collect();
        for share in [1, 2, 1000] {
            assert_eq!(decode(&subject, &octets, share, decoders).as_ref(), Ok(&body), "{} octet by octet", subject.name);
            assert_eq!(decode(&subject, &[&coded], share, decoders).as_ref(), Ok(&body), "{} in turns of {share}", subject.name);
        }
    }
}

#[test]
fn what_is_refused_is_refused_for_every_split() {
    let decoders = &mut Decoders::default();
    let zeros = vec![0; 3 << 20];
    for subject in SUBJECTS {
        let bomb = subject.encode(&zeros);
        let whole = decode(&subject, &[&bomb], usize::MAX, decoders).expect_err("it is a bomb");
        assert_eq!(whole.status, 413, "{}", subject.name);
        let sizes = [1, 17, 1000, 4095, 4096, 4097];
        for size in sizes.into_iter().filter(|size| bomb.len() / size < 500) {
            let pieces: Vec<&[u8]> = bomb.chunks(size).collect();
            for share in [10_000, usize::MAX] {
                assert_eq!(decode(&subject, &pieces, share, decoders), Err(whole), "{} in pieces of {size}", subject.name);
            }
        }
        let coded = subject.encode(&records(700));
        let wrong = [&coded[..], b"x"].concat();
        for at in 0..=wrong.len() {
            let (first, second) = wrong.split_at(at);
            let refused = decode(&subject, &[first, second], usize::MAX, decoders).expect_err("octets are left over");
            assert_eq!(refused.status, 400, "{} at {at}", subject.name);
        }
    }
}

/// A turn ends near its share: it passes it by what one step makes.
#[test]
fn a_turn_is_as_long_as_its_share() {
    let body = records(2 << 20);
    for subject in SUBJECTS {
        let coded = subject.encode(&body);
        let caps = Caps { decoded_max: 64 << 20, ratio: 100 };
        let mut chain = Chain::begin(codings(&subject), caps, &mut Decoders::default());
        let (mut output, mut rest, mut turns) = (Vec::new(), &coded[..], 0);
        loop {
            let before = output.len();
            let (used, progress) = chain.push(rest, &mut output, &mut Share::new(64 << 10, usize::MAX)).expect("it is well");
            assert!(output.len() - before <= 64 << 10, "{} made {} octets in a turn", subject.name, output.len() - before);
            rest = &rest[used..];
            turns += 1;
            if progress == Progress::Hungry {
                break;
            }
        }
        assert!(output == body && turns >= 32, "{}: {turns} turns", subject.name);
    }
}

/// Decoders are used again, also after a body that was broken off or refused, and know nothing of it.
#[test]
fn decoders_are_used_again() {
    let decoders = &mut Decoders::default();
    let body = records(50_000);
    for subject in SUBJECTS {
        let coded = subject.encode(&body);
        for end in [coded.len() / 2, 1, coded.len()] {
            let mut chain = Chain::begin(codings(&subject), Caps { decoded_max: 1 << 20, ratio: 100 }, decoders);
            let _ = chain.push(&coded[..end], &mut Vec::new(), &mut Share::new(usize::MAX, usize::MAX));
            chain.dissolve(decoders);
            assert_eq!(decode(&subject, &[&coded], usize::MAX, decoders).as_ref(), Ok(&body), "{}", subject.name);
        }
    }
}

/// A frame of zstd by hand: a raw block that ends, with eleven blocks of one repeated octet behind it, at the end of the third piece of 4 KiB,
/// and a last raw block. What they give, less the window, is over the ratio for three pieces, and within it for four.
#[test]
fn the_ratio_is_judged_alike_wherever_the_stream_is_cut() {
    let block = |is_last: bool, kind: u32, size: u32| (u32::from(is_last) | kind << 1 | size << 3).to_le_bytes()[..3].to_vec();
    let mut coded = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x38];
    let raw = 3 * 4096 - 6 - 11 * 4 - 3;
    coded.extend(block(false, 0, raw));
    coded.extend(Random(3).bytes(raw as usize));
    for _ in 0..11 {
        coded.extend(block(false, 1, 128 << 10));
        coded.push(b'x');
    }
    assert_eq!(coded.len(), 3 * 4096);
    coded.extend(block(true, 0, 4000));
    coded.extend(Random(4).bytes(4000));
    let zstd = Subject::of("zstd");
    let decoders = &mut Decoders::default();
    let outcome = |pieces: &[&[u8]], share, decoders: &mut Decoders| decode(&zstd, pieces, share, decoders).map(|body| body.len());
    let whole = outcome(&[&coded], usize::MAX, decoders);
    for at in [1, 4096, 8192, 3 * 4096 - 1, 3 * 4096, 3 * 4096 + 1] {
        let (first, second) = coded.split_at(at);
        for share in [10_000, usize::MAX] {
            assert_eq!(outcome(&[first, second], share, decoders), whole, "cut at {at}, turns of {share}");
        }
    }
}

/// What is a bomb and wrong at its end is refused for the same reason however it comes.
#[test]
fn a_bomb_with_a_wrong_end_is_refused_alike_for_every_split() {
    let decoders = &mut Decoders::default();
    // Over the ratio in its last quarter of a mebibyte.
    let zeros = vec![0; (1 << 20) + 100_000];
    for subject in SUBJECTS {
        let mut bomb = match subject.name {
            "zstd" => crate::support::coders::pipe(&["zstd", "-q", "-c", "--check"], &zeros),
            _ => subject.encode(&zeros),
        };
        let last = bomb.len() - 1;
        bomb[last] ^= 0x55;
        bomb.push(b'x');
        let whole = decode(&subject, &[&bomb], usize::MAX, decoders).expect_err("it is a bomb, and wrong");
        for share in [1000, 100_000, usize::MAX] {
            for at in (0..=bomb.len()).rev() {
                let (first, second) = bomb.split_at(at);
                let refused = decode(&subject, &[first, second], share, decoders).expect_err("it is a bomb, and wrong");
                assert_eq!(refused, whole, "{} at {at} of {}, turns of {share}", subject.name, bomb.len());
            }
        }
    }
}
