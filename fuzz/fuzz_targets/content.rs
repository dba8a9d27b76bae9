//! Coded bodies of any octets: every split and every share give one outcome, within the caps; what is taken as deflate
//! is what miniz makes of it, and what the C library of zstd and miniz encode comes back.
#![no_main]

use ingest::decode::content::{Caps, Chain, Coding, Codings, Decoders, Progress, Share};
use ingest::parse::Refusal;
use libfuzzer_sys::fuzz_target;

const CODINGS: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Br, Coding::Zstd];
const DECODED_MAX: u64 = 4 << 20;

/// Decodes in pieces whose sizes come from `sizes`, over and over; no sizes means one piece.
fn decode(codings: &[Coding], coded: &[u8], sizes: &[u8], share: usize, decoders: &mut Decoders) -> Result<Vec<u8>, Refusal> {
    let caps = Caps { decoded_max: DECODED_MAX, ratio: u64::MAX };
    let mut chain = Chain::begin(Codings::of(codings), caps, decoders);
    let mut sizes = sizes.iter().cycle();
    let (mut output, mut start) = (Vec::new(), 0);
    while start < coded.len() {
        let end = sizes.next().map_or(coded.len(), |size| (start + usize::from(*size) + 1).min(coded.len()));
        let mut piece = &coded[start..end];
        loop {
            let before = output.len();
            let (used, progress) = chain.push(piece, &mut output, &mut Share::new(share, usize::MAX))?;
            assert!(output.len() - before <= share && output.len() as u64 <= DECODED_MAX + 1);
            piece = &piece[used..];
            if progress == Progress::Hungry {
                assert!(piece.is_empty());
                break;
            }
        }
        start = end;
    }
    chain.finish()?;
    chain.dissolve(decoders);
    Ok(output)
}

/// What miniz makes of it; `None` when it refuses, or makes too much.
fn inflated(coded: &[u8]) -> Option<Vec<u8>> {
    let most = DECODED_MAX as usize;
    let is_wrapped = matches!(coded, [first, second, ..] if first & 15 == 8 && first >> 4 < 8 && (usize::from(*first) * 256 + usize::from(*second)) % 31 == 0);
    if is_wrapped {
        miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(coded, most).ok()
    } else {
        miniz_oxide::inflate::decompress_to_vec_with_limit(coded, most).ok()
    }
}

/// What other encoders make of these octets comes back. For zstd this is the second opinion: of frames that are corrupt and have no
/// checksum the C library makes other octets than ours, and nobody's are right.
fn comes_back(data: &[u8], level: u8, sizes: &[u8], decoders: &mut Decoders) {
    let zstd = zstd::bulk::compress(data, i32::from(level % 20)).expect("there is memory");
    let zlib = miniz_oxide::deflate::compress_to_vec_zlib(data, level % 11);
    for (coding, coded) in [(Coding::Zstd, zstd), (Coding::Deflate, zlib)] {
        assert_eq!(decode(&[coding], &coded, sizes, usize::MAX, decoders).as_deref(), Ok(data), "{coding:?}");
    }
}

fuzz_target!(|data: &[u8]| {
    let [mode, cuts, rest @ ..] = data else { return };
    let (sizes, coded) = rest.split_at(usize::from(cuts % 8).min(rest.len()));
    let first = CODINGS[usize::from(mode & 3)];
    let layers = if mode & 4 > 0 { vec![first, CODINGS[usize::from(mode >> 3 & 3)]] } else { vec![first] };
    let decoders = &mut Decoders::default();
    let whole = decode(&layers, coded, &[], usize::MAX, decoders);
    for (sizes, share) in [(&[0][..], usize::MAX), (sizes, usize::MAX), (sizes, 1 << 12)] {
        let again = decode(&layers, coded, sizes, share, decoders);
        match (&whole, &again) {
            (Ok(whole), Ok(again)) => assert!(whole == again),
            (Err(_), Err(_)) => {}
            _ => panic!("{layers:?}: {:?} but {:?}", whole.as_ref().map(Vec::len), again.as_ref().map(Vec::len)),
        }
    }
    if let ([Coding::Deflate], Ok(whole)) = (&layers[..], &whole) {
        // What is taken here is taken there. The other way round, a raw stream may have more behind it.
        assert_eq!(inflated(coded).as_ref(), Some(whole));
    }
    comes_back(coded, *mode, sizes, decoders);
});
