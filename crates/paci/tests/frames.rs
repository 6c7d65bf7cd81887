//! The state channel as a whole: whatever is written is read, whatever is damaged is refused.

use paci::bounds;
use paci::frame::{Decoder, EncodeError, Encoder, Frame, FrameError, HEADER_BYTES};
use paci::proof::Sealed;
use proptest::prelude::*;

const DATA: u8 = 1;
const END: u8 = 2;
const ACK: u8 = 3;

#[test]
fn a_stream_that_ends_with_its_end_record_is_whole() {
    assert_eq!(read(Decoder::of_state(), &stream()).unwrap().len(), 3);
}

#[test]
fn a_stream_cut_anywhere_before_its_end_is_not_whole() {
    let stream = stream();
    for cut in 0..stream.len() {
        let error = read(Decoder::of_state(), &stream[..cut]).unwrap_err();
        assert!(matches!(error, FrameError::EndMissing { .. }), "cut at {cut}: {error}");
    }
}

#[test]
fn a_stream_cut_at_a_frame_boundary_is_not_whole() {
    let mut out = Vec::new();
    Encoder::new().data(b"hello", &mut out).unwrap();
    let error = read(Decoder::of_state(), &out).unwrap_err();
    assert_eq!(error, FrameError::EndMissing { frames: 1, bytes: 0 });
}

#[test]
fn a_frame_with_a_flipped_bit_is_refused() {
    let stream = stream();
    for bit in 0..stream.len() * 8 {
        let mut flipped = stream.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read(Decoder::of_state(), &flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn a_frame_that_is_doubled_or_missing_is_refused() {
    let mut doubled = forged(DATA, 5, 0, b"hello");
    doubled.extend(forged(DATA, 5, 0, b"hello"));
    let error = read(Decoder::of_state(), &doubled).unwrap_err();
    assert_eq!(error, FrameError::Sequence { expected: 1, found: 0 });
    let error = read(Decoder::of_state(), &forged(DATA, 5, 1, b"hello")).unwrap_err();
    assert_eq!(error, FrameError::Sequence { expected: 0, found: 1 });
}

#[test]
fn a_frame_that_passes_its_bound_is_refused_before_its_payload_came() {
    let mut decoder = Decoder::of_state();
    decoder.push(&forged(DATA, 256 * 1024 + 1, 0, b"")[..HEADER_BYTES]);
    let bytes_max = bounds::FRAME_PAYLOAD_BYTES_MAX;
    let error = FrameError::TooLarge { sequence: 0, bytes: 256 * 1024 + 1, bytes_max };
    assert_eq!(decoder.next_frame(), Err(error));
    let long_end = forged(END, 1025, 0, &[b' '; 1025]);
    assert!(matches!(read(Decoder::of_state(), &long_end), Err(FrameError::TooLarge { .. })));
}

#[test]
fn a_frame_as_long_as_allowed_is_read() {
    let payload = vec![7; bounds::FRAME_PAYLOAD_BYTES_MAX];
    let mut out = Vec::new();
    Encoder::new().data(&payload, &mut out).unwrap();
    let mut decoder = Decoder::of_state();
    decoder.push(&out);
    assert_eq!(decoder.next_frame(), Ok(Some(Frame::Data(&payload))));
}

#[test]
fn data_after_the_end_record_is_refused() {
    let mut stream = stream();
    stream.extend(forged(DATA, 4, 3, b"late"));
    assert_eq!(read(Decoder::of_state(), &stream), Err(FrameError::AfterEnd { bytes: 17 }));
}

#[test]
fn a_kind_that_does_not_belong_into_the_direction_is_refused() {
    for (decoder, kind) in [
        (Decoder::of_state(), ACK),
        (Decoder::of_state(), 4),
        (Decoder::of_acks(), DATA),
        (Decoder::of_acks(), END),
    ] {
        let error = read(decoder, &forged(kind, 2, 0, b"{}")).unwrap_err();
        assert_eq!(error, FrameError::Kind { sequence: 0, kind });
    }
}

#[test]
fn an_end_record_without_a_digest_is_refused() {
    let error = read(Decoder::of_state(), &forged(END, 16, 0, br#"{"position":"1"}"#)).unwrap_err();
    let problem = "sealed.digest: missing or empty, and it is needed".to_owned();
    assert_eq!(error, FrameError::Payload { sequence: 0, problem });
}

#[test]
fn a_stream_that_failed_stays_failed() {
    let mut decoder = Decoder::of_state();
    decoder.push(&forged(9, 0, 0, b""));
    let error = decoder.next_frame().unwrap_err();
    decoder.push(&stream());
    assert_eq!(decoder.next_frame(), Err(error.clone()));
    assert_eq!(decoder.finish(), Err(error));
}

#[test]
fn acknowledgements_end_with_their_connection() {
    let mut out = Vec::new();
    let mut encoder = Encoder::new();
    encoder.ack(5, &mut out).unwrap();
    encoder.ack(u64::MAX, &mut out).unwrap();
    assert_eq!(read(Decoder::of_acks(), &out).unwrap(), ["Ack(5)", "Ack(18446744073709551615)"]);
    assert!(read(Decoder::of_acks(), &out[..out.len() - 1]).is_err());
}

#[test]
fn records_written_in_place_make_the_same_frame() {
    let (mut copied, mut in_place) = (Vec::new(), Vec::new());
    Encoder::new().data(b"alice=100", &mut copied).unwrap();
    Encoder::new().data_with(&mut in_place, |out| out.extend_from_slice(b"alice=100")).unwrap();
    assert_eq!(copied, in_place);
}

#[test]
fn a_payload_too_large_is_refused_before_it_is_sent() {
    let bytes = bounds::FRAME_PAYLOAD_BYTES_MAX + 1;
    let error = Encoder::new().data(&vec![0; bytes], &mut Vec::new()).unwrap_err();
    assert_eq!(error, EncodeError::TooLarge { bytes, bytes_max: bounds::FRAME_PAYLOAD_BYTES_MAX });
}

#[test]
fn a_decoder_holds_one_frame_and_one_piece_at_most() {
    let mut out = Vec::new();
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::of_state();
    for _ in 0..100 {
        out.clear();
        encoder.data(&[7; 10_000], &mut out).unwrap();
        for piece in out.chunks(3_000) {
            decoder.push(piece);
            while decoder.next_frame().unwrap().is_some() {}
        }
    }
    assert!(decoder.buffer().capacity() < 32_768, "{}", decoder.buffer().capacity());
}

proptest! {
    #[test]
    fn a_stream_is_read_as_it_was_written_however_it_is_cut(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
        pieces in prop::collection::vec(1_usize..40, 1..10),
    ) {
        let stream = written(&payloads);
        let mut decoder = Decoder::of_state();
        let mut seen = Vec::new();
        let mut ended = false;
        let mut rest = stream.as_slice();
        for piece in pieces.iter().cycle() {
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            decoder.push(now);
            while let Some(frame) = decoder.next_frame().unwrap() {
                match frame {
                    Frame::Data(payload) => seen.push(payload.to_vec()),
                    Frame::End(sealed) => ended = sealed == end(),
                    Frame::Ack(_) => prop_assert!(false, "no ACK was written"),
                }
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(seen, payloads);
        prop_assert!(ended);
        prop_assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn a_stream_with_a_damaged_byte_is_never_taken_for_whole(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let mut stream = written(&payloads);
        let at = at.index(stream.len());
        stream[at] ^= flip;
        prop_assert!(read(Decoder::of_state(), &stream).is_err());
    }

    #[test]
    fn a_stream_with_a_byte_lost_or_doubled_is_never_taken_for_whole(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
        at in any::<prop::sample::Index>(),
        lost in any::<bool>(),
    ) {
        let mut stream = written(&payloads);
        let at = at.index(stream.len());
        if lost {
            stream.remove(at);
        } else {
            stream.insert(at, stream[at]);
        }
        prop_assert!(read(Decoder::of_state(), &stream).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = read(Decoder::of_state(), &bytes);
        let _ = read(Decoder::of_acks(), &bytes);
    }
}

// ---- what the tests above stand on

/// Two DATA frames and the end record.
fn stream() -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new();
    encoder.data(b"hello", &mut out).expect("the payload is within its bound");
    encoder.data(b"", &mut out).expect("the payload is within its bound");
    encoder.end(&Sealed::new(2, &[0xab; 16]), &mut out).expect("the payload is within its bound");
    out
}

/// Everything that is read from these bytes and the connection's end after them.
fn read(mut decoder: Decoder, bytes: &[u8]) -> Result<Vec<String>, FrameError> {
    let mut seen = Vec::new();
    decoder.push(bytes);
    while let Some(frame) = decoder.next_frame()? {
        seen.push(format!("{frame:?}"));
    }
    decoder.finish().map(|()| seen)
}

/// Frame 1 as a frame of another kind, length or number, its checksum right.
fn forged(kind: u8, length: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&sequence.to_be_bytes());
    frame.extend_from_slice(payload);
    let sum = crc32fast::hash(&frame);
    frame.extend_from_slice(&sum.to_be_bytes());
    frame
}

fn end() -> Sealed {
    Sealed::new(99, &[0xcd; 32])
}

fn written(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new();
    for payload in payloads {
        encoder.data(payload, &mut out).expect("the payload is within its bound");
    }
    encoder.end(&end(), &mut out).expect("the payload is within its bound");
    out
}
