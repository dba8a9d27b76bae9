//! The chain alone: what encoders made comes back from every split, and what is wrong is refused.
#![forbid(unsafe_code)]

use super::*;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use std::io::Write;

fn caps() -> Caps {
    Caps { decoded_max: 64 << 20, ratio: 100 }
}

fn text(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut word = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"lorem ipsum dolor sit amet consectetur "[(state >> 24) as usize % 34..].iter().copied().take(5)
    };
    let mut text = Vec::new();
    while text.len() < len {
        text.extend(word());
    }
    text.truncate(len);
    text
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn decode(codings: &[Coding], coded: &[u8], piece: usize, share: usize) -> Result<Vec<u8>, Refusal> {
    let mut decoders = Decoders::default();
    let mut chain = Chain::begin(Codings::of(codings), caps(), &mut decoders);
    let mut output = Vec::new();
    for mut piece in coded.chunks(piece.max(1)) {
        loop {
            let (used, progress) = chain.push(piece, &mut output, &mut Share::new(share, usize::MAX))?;
            piece = &piece[used..];
            if progress == Progress::Hungry {
                assert!(piece.is_empty());
                break;
            }
        }
    }
    chain.finish()?;
    Ok(output)
}

#[test]
fn inflates() {
    let data = text(70_000);
    let coded = gzip(&data);
    for piece in [1, 7, 1000, usize::MAX] {
        for share in [1, 5000, usize::MAX] {
            assert!(decode(&[Coding::Gzip], &coded, piece, share).unwrap() == data);
        }
    }
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&data).unwrap();
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
    raw.write_all(&data).unwrap();
    for coded in [zlib.finish().unwrap(), raw.finish().unwrap()] {
        assert!(decode(&[Coding::Deflate], &coded, 3, 5000).unwrap() == data);
        assert!(decode(&[Coding::Deflate], &coded, usize::MAX, usize::MAX).unwrap() == data);
    }
    let twice = gzip(&coded);
    assert!(decode(&[Coding::Gzip, Coding::Gzip], &twice, 11, 900).unwrap() == data);
}
