//! Clients that write what they like, to their decoder and to the service.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use ashmem::Region;
use ashmem_binder::ParcelFileDescriptor;
use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{self, Parcel, SIBinder, Status, StatusCode, TransactionCode};
use media_codec::NAME;
use media_codec::layout::CONTROL;

use crate::place::{Place, decode, wait_until};
use crate::samples;

const INTERFACE: &str = "ashmem.example.IMediaCodecService";
const CREATE: TransactionCode = 1;
const WAV: u32 = 1;

fn send(
    binder: &SIBinder,
    token: &str,
    code: TransactionCode,
    write: impl FnOnce(&mut Parcel) -> rsbinder::Result<()>,
) -> rsbinder::Result<Parcel> {
    let proxy = binder.as_any().downcast_ref::<RpcProxy>().unwrap();
    let mut request = proxy.build_request(token)?;
    write(&mut request)?;
    Ok(proxy.transact(code, &request, 0)?.unwrap())
}

/// The region, the lifeline, and the decoder's process.
fn create(binder: &SIBinder) -> (Region, OwnedFd, u32) {
    let mut reply = send(binder, INTERFACE, CREATE, |request| request.write(&WAV)).unwrap();
    assert!(reply.read::<Status>().unwrap().is_ok());
    let region: ParcelFileDescriptor = reply.read().unwrap();
    let lifeline: ParcelFileDescriptor = reply.read().unwrap();
    (Region::from_fd(region.into()).unwrap(), lifeline.into(), reply.read().unwrap())
}

#[test]
fn rubbish_from_a_client_harms_its_decoder_alone() {
    let place = Place::new(&[]);
    let sample = &samples::all()[3];
    let mut codec = place.codec();
    let binder = place.services().get_service(NAME).unwrap();
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    place.wait_until_idle(&codec);
    let descriptors = place.descriptors();
    for round in 0..25 {
        let (region, lifeline, process) = create(&binder);
        let mapping = region.map().unwrap();
        let words = mapping.atomic_u32s(0, CONTROL / 4).unwrap();
        for _ in 0..300 {
            let word = &words[random() as usize % words.len()];
            let value = random();
            word.store(if value % 2 == 0 { value % 12 } else { value }, Ordering::Release);
            // The decoder's bell, so that it looks.
            words[32].store(0, Ordering::Release);
            let _ = rustix::thread::futex::wake(&words[32], rustix::thread::futex::Flags::empty(), 1);
        }
        if round % 5 == 0 {
            let (_, decoded, result) = decode(&mut codec, sample.media_type, &sample.file[..]);
            result.unwrap();
            assert!(decoded == sample.decoded, "nobody else noticed");
        }
        drop(lifeline);
        // Ended, or ended by the service: it does not outlive its client.
        wait_until("the decoder has ended", || !place.decoders().contains(&process));
    }
    place.wait_until_idle(&codec);
    assert_eq!(place.descriptors(), descriptors);
}

#[test]
fn a_client_that_talks_on_its_lifeline_or_stops_reading_loses_its_decoder() {
    let place = Place::new(&[]);
    let binder = place.services().get_service(NAME).unwrap();
    let (_region, lifeline, process) = create(&binder);
    rustix::io::write(&lifeline, b"x").unwrap();
    wait_until("the decoder has ended", || !place.decoders().contains(&process));

    // One that only never reads keeps nothing but its own decoder, which sleeps.
    let codec = crate::confined::in_the_middle(&place);
    let sample = &samples::all()[0];
    let (_, decoded, result) = decode(&mut place.codec(), sample.media_type, &sample.file[..]);
    result.unwrap();
    assert!(decoded == sample.decoded);
    assert!(place.decoders().contains(&codec.decoder_process().unwrap()), "it waits");
}

#[test]
fn requests_that_mean_no_good_are_refused() {
    let place = Place::new(&[]);
    let codec = place.codec();
    let binder = place.services().get_service(NAME).unwrap();
    place.wait_until_idle(&codec);
    let descriptors = place.descriptors();
    for _ in 0..20 {
        assert_eq!(send(&binder, "", CREATE, |_| Ok(())).unwrap_err(), StatusCode::BadType);
        assert_eq!(send(&binder, INTERFACE, CREATE, |_| Ok(())).unwrap_err(), StatusCode::NotEnoughData);
        for code in [0, 3, 77, 0x00ff_fffe] {
            let refused = send(&binder, INTERFACE, code, |_| Ok(())).unwrap_err();
            assert_eq!(refused, StatusCode::UnknownTransaction, "{code}");
        }
        for word in [0, 6, 7, u32::MAX] {
            let mut reply = send(&binder, INTERFACE, CREATE, |request| request.write(&word)).unwrap();
            assert!(!reply.read::<Status>().unwrap().is_ok(), "{word}");
        }
    }
    place.wait_until_idle(&codec);
    assert_eq!(place.descriptors(), descriptors);
}
