//! Coded bodies of any octets: every split and every share give one outcome, within the caps; what miniz and the C library of zstd make of the
//! same octets is what the chain makes of them.
#![no_main]

use ingest::decode::content::{Caps, Chain, Coding, Codings, Decoders, Progress, Share};
use ingest::parse::Refusal;
use libfuzzer_sys::fuzz_target;
use std::io::Read;

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

/// What another decoder makes of it; `None` when it refuses, or makes too much.
fn reference(coding: Coding, coded: &[u8]) -> Option<Vec<u8>> {
    let most = DECODED_MAX as usize;
    match coding {
        Coding::Deflate if coded.len() > 1 && coded[0] & 15 == 8 && coded[0] >> 4 < 8 && (coded[0] as usize * 256 + coded[1] as usize) % 31 == 0 => {
            miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(coded, most).ok()
        }
        Coding::Deflate => miniz_oxide::inflate::decompress_to_vec_with_limit(coded, most).ok(),
        Coding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(coded).ok()?;
            decoder.window_log_max(23).ok()?;
            let mut output = Vec::new();
            decoder.take(most as u64 + 1).read_to_end(&mut output).ok()?;
            (output.len() <= most).then_some(output)
        }
        Coding::Gzip | Coding::Br => None,
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
    if let ([coding], Ok(whole)) = (&layers[..], &whole) {
        // What is taken here is taken there. The other way round, raw streams may have more behind them, and zstd windows beyond 8 MiB.
        if matches!(coding, Coding::Deflate | Coding::Zstd) {
            assert_eq!(reference(*coding, coded).as_ref(), Some(whole), "{coding:?}");
        }
    }
});
