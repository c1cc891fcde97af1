//! `android.os.Parcel`: its own tests, and the same bytes as rsbinder's parcels.

use std::fmt::Debug;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use ashmem_binder::rsbinder::{
    Deserialize, ExceptionCode, Serialize, Status, StatusCode, from_bytes, to_bytes,
};

use crate::harness::{assert_success, jdk};

#[test]
fn values_bounds_and_life() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("ParcelTest");
}

#[test]
fn random_contents() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("ParcelRandomTest");
}

#[test]
fn parcelables() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("ParcelParcelableTest");
}

#[test]
fn writes_that_fail() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("ParcelFailedWriteTest");
}

#[test]
fn binders_and_descriptors() {
    let Some(jdk) = jdk() else { return };
    jdk.run_tests("ParcelObjectsTest");
}

/// Looks at the bytes that Java has written.
type Check = Box<dyn Fn(&[u8])>;

/// What the peer is asked, and what it is expected to answer.
struct Case {
    kind: &'static str,
    bytes: Vec<u8>,
    text: String,
    check: Check,
}

/// A value that rsbinder writes, Java reads, Java writes with the same bytes, and rsbinder reads.
fn same<T>(kind: &'static str, value: T, text: impl Into<String>) -> Case
where
    T: Serialize + Deserialize + PartialEq + Debug + 'static,
{
    let bytes = to_bytes(&value).unwrap();
    let expected = bytes.clone();
    let check = move |written: &[u8]| {
        assert_eq!(written, expected, "{kind} {value:?}");
        assert_eq!(from_bytes::<T>(written).as_ref(), Ok(&value), "{kind}");
    };
    Case { kind, bytes, text: text.into(), check: Box::new(check) }
}

/// Has one JVM answer all cases.
fn ask(cases: &[Case]) {
    let Some(jdk) = jdk() else { return };
    let mut questions = String::new();
    for case in cases {
        writeln!(questions, "{} {}", case.kind, hex(&case.bytes)).unwrap();
    }
    let mut java = jdk.java();
    java.arg("ashmem.test.ParcelPeer").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut peer = java.spawn().unwrap();
    let mut input = peer.stdin.take().unwrap();
    // Elsewhere, so that neither side waits for the other with full pipes.
    let writer = std::thread::spawn(move || input.write_all(questions.as_bytes()));
    let output = peer.wait_with_output().unwrap();
    assert_success(&output);
    writer.join().unwrap().unwrap();

    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), cases.len());
    for (case, answer) in cases.iter().zip(answers) {
        let (text, written) = answer.rsplit_once(' ').unwrap();
        assert_eq!(text, case.text, "{} {}", case.kind, hex(&case.bytes));
        (case.check)(&unhex(written));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// A string as the peer prints it.
fn units(text: &str) -> String {
    let units: String = text.encode_utf16().map(|unit| format!("{unit:04x}")).collect();
    format!("\"{units}\"")
}

fn list<T: ToString>(elements: &[T]) -> String {
    let elements: Vec<String> = elements.iter().map(ToString::to_string).collect();
    format!("[{}]", elements.join(","))
}

/// The bits of a float, as the peer prints them.
fn i32_of(value: f32) -> i32 {
    i32::from_le_bytes(value.to_le_bytes())
}

fn i64_of(value: f64) -> i64 {
    i64::from_le_bytes(value.to_le_bytes())
}

const TEXTS: [&str; 9] = ["", "a", "ab", "abc", "grüß", "\u{1f600}", "x\u{1f600}y", "a\0b", "\u{ffff}"];

#[test]
fn scalars_as_rsbinder() {
    let mut cases = Vec::new();
    for value in [0, 1, -1, i32::MIN, i32::MAX] {
        cases.push(same("int", value, value.to_string()));
    }
    for value in [0, 1, -1, i64::MIN, i64::MAX] {
        cases.push(same("long", value, value.to_string()));
    }
    for value in [0.0, -0.0, 1.5, f32::MIN_POSITIVE, f32::INFINITY] {
        cases.push(same("float", value, i32_of(value).to_string()));
    }
    for value in [0.0, -0.0, 1.5, f64::MAX, f64::NEG_INFINITY] {
        cases.push(same("double", value, i64_of(value).to_string()));
    }
    for value in [false, true] {
        cases.push(same("boolean", value, value.to_string()));
    }
    for value in [0, 1, -1, i8::MIN, i8::MAX] {
        cases.push(same("byte", value, value.to_string()));
    }
    ask(&cases);
}

#[test]
fn strings_as_rsbinder() {
    let mut cases = Vec::new();
    for text in TEXTS {
        cases.push(same("string", text.to_owned(), units(text)));
        cases.push(same("token", text.to_owned(), units(text)));
    }
    let long = "0123456789abcdef".repeat(1000);
    cases.push(same("string", long.clone(), units(&long)));
    cases.push(same("string", None::<String>, "null"));
    // Java's strings may have lone surrogates. rsbinder's may not, and says so.
    for (unit, at) in [(0xd83d_u16, 0), (0xde00, 0), (0xd83d, 2), (0xde00, 4)] {
        let mut bytes = to_bytes("abc").unwrap();
        bytes[4 + at..6 + at].copy_from_slice(&unit.to_le_bytes());
        let mut text = ["0061", "0062", "0063"].map(str::to_owned);
        text[at / 2] = format!("{unit:04x}");
        let expected = bytes.clone();
        let check = move |written: &[u8]| {
            assert_eq!(written, expected);
            assert_eq!(from_bytes::<String>(written), Err(StatusCode::BadValue));
        };
        cases.push(Case {
            kind: "string",
            bytes,
            text: format!("\"{}\"", text.concat()),
            check: Box::new(check),
        });
    }
    ask(&cases);
}

#[test]
fn arrays_as_rsbinder() {
    let mut cases = Vec::new();
    for length in 0..6 {
        let bytes: Vec<i8> = [-128, 127, 0, -1, 1][..length].to_vec();
        cases.push(same("bytes", bytes.clone(), list(&bytes)));
        let booleans: Vec<bool> = [true, false, false, true, true][..length].to_vec();
        cases.push(same("booleans", booleans.clone(), list(&booleans)));
        let ints: Vec<i32> = [i32::MIN, i32::MAX, 0, -1, 1][..length].to_vec();
        cases.push(same("ints", ints.clone(), list(&ints)));
        let longs: Vec<i64> = [i64::MIN, i64::MAX, 0, -1, 1][..length].to_vec();
        cases.push(same("longs", longs.clone(), list(&longs)));
        let floats: Vec<f32> = [1.5, -0.0, f32::MAX, f32::INFINITY, 0.0][..length].to_vec();
        let bits: Vec<i32> = floats.iter().copied().map(i32_of).collect();
        cases.push(same("floats", floats, list(&bits)));
        let doubles: Vec<f64> = [1.5, -0.0, f64::MAX, f64::INFINITY, 0.0][..length].to_vec();
        let bits: Vec<i64> = doubles.iter().copied().map(i64_of).collect();
        cases.push(same("doubles", doubles, list(&bits)));
        let text = ["a", "ß", "\u{ffff}", "\0", "z"][..length].concat();
        cases.push(same("chars", text.encode_utf16().collect::<Vec<u16>>(), units(&text)));
        let strings: Vec<String> = TEXTS[..length].iter().map(|&text| text.to_owned()).collect();
        let all: Vec<String> = strings.iter().map(|text| units(text)).collect();
        cases.push(same("strings", strings, list(&all)));
    }
    let strings = vec![Some("a".to_owned()), None, Some(String::new())];
    cases.push(same("strings", strings, "[\"0061\",null,\"\"]"));
    cases.push(same("bytes", None::<Vec<i8>>, "null"));
    cases.push(same("booleans", None::<Vec<bool>>, "null"));
    cases.push(same("ints", None::<Vec<i32>>, "null"));
    cases.push(same("longs", None::<Vec<i64>>, "null"));
    cases.push(same("floats", None::<Vec<f32>>, "null"));
    cases.push(same("doubles", None::<Vec<f64>>, "null"));
    cases.push(same("chars", None::<Vec<u16>>, "null"));
    cases.push(same("strings", None::<Vec<String>>, "null"));
    let large: Vec<i8> = (0..100_000_u32).map(|number| (number % 251) as u8 as i8).collect();
    cases.push(same("bytes", large.clone(), list(&large)));
    ask(&cases);
}

/// A status that rsbinder writes, Java throws, Java writes, and rsbinder reads.
fn exception(status: Status, name: &str, message: &str) -> Case {
    let bytes = to_bytes(&status).unwrap();
    let text = format!("{name}:{}:{}", status.service_specific_error(), units(message));
    let message = message.to_owned();
    let expected = bytes.clone();
    let check = move |written: &[u8]| {
        assert_eq!(written, expected, "{status:?}");
        let read: Status = from_bytes(written).unwrap();
        assert_eq!(read, status);
        assert_eq!(read.message(), Some(message.as_str()));
    };
    Case { kind: "exception", bytes, text, check: Box::new(check) }
}

#[test]
fn exceptions_as_rsbinder() {
    let no_exception = Status::from(ExceptionCode::None);
    let bytes = to_bytes(&no_exception).unwrap();
    let check = |written: &[u8]| assert!(from_bytes::<Status>(written).unwrap().is_ok());
    let mut cases = vec![Case { kind: "exception", bytes, text: "none".into(), check: Box::new(check) }];

    for (code, name) in [
        (ExceptionCode::Security, "SecurityException"),
        (ExceptionCode::BadParcelable, "BadParcelableException"),
        (ExceptionCode::IllegalArgument, "IllegalArgumentException"),
        (ExceptionCode::NullPointer, "NullPointerException"),
        (ExceptionCode::IllegalState, "IllegalStateException"),
        (ExceptionCode::UnsupportedOperation, "UnsupportedOperationException"),
    ] {
        cases.push(exception(Status::from((code, "why \u{1f600}")), name, "why \u{1f600}"));
        cases.push(exception(Status::from(code), name, ""));
    }
    for number in [0, 1, -7, i32::MIN, i32::MAX] {
        let status = Status::new_service_specific_error(number, Some("own".into()));
        cases.push(exception(status, "ServiceSpecificException", "own"));
    }

    // Those that Java has no class for, and writes none of.
    for (code, message) in [
        (ExceptionCode::NetworkMainThread, "Unknown exception code: -6 msg m"),
        (ExceptionCode::JustError, "Unknown exception code: -256 msg m"),
        (ExceptionCode::Parcelable, "m [missing Parcelable]"),
    ] {
        let bytes = to_bytes(&Status::from((code, "m"))).unwrap();
        let text = format!("RuntimeException:0:{}", units(message));
        cases.push(Case {
            kind: "exception",
            bytes,
            text,
            check: Box::new(|written| assert_eq!(written, [])),
        });
    }

    // Java's exceptions may have no message, which is null on the wire.
    let bytes = [to_bytes(&-5).unwrap(), to_bytes(&None::<String>).unwrap(), to_bytes(&0).unwrap()].concat();
    let expected = bytes.clone();
    let check = move |written: &[u8]| {
        assert_eq!(written, expected);
        let read: Status = from_bytes(written).unwrap();
        assert_eq!((read.exception_code(), read.message()), (ExceptionCode::IllegalState, None));
    };
    let text = "IllegalStateException:0:null".into();
    cases.push(Case { kind: "exception", bytes, text, check: Box::new(check) });
    ask(&cases);
}

#[test]
fn bytes_that_neither_takes() {
    let mut cases = Vec::new();
    let mut refused = |kind: &'static str, bytes: &[u8], by_rsbinder: bool| {
        assert!(by_rsbinder, "{kind} {}", hex(bytes));
        let text = "BadParcelableException".into();
        cases.push(Case {
            kind,
            bytes: bytes.to_vec(),
            text,
            check: Box::new(|written| assert_eq!(written, [])),
        });
    };
    for length in [i32::MAX, i32::MAX - 1, 1 << 30, 3, -2, i32::MIN] {
        let bytes = [to_bytes(&length).unwrap(), vec![0; 4]].concat();
        refused("string", &bytes, from_bytes::<String>(&bytes).is_err());
        refused("ints", &bytes, from_bytes::<Vec<i32>>(&bytes).is_err());
        refused("longs", &bytes, from_bytes::<Vec<i64>>(&bytes).is_err());
        refused("chars", &bytes, from_bytes::<Vec<u16>>(&bytes).is_err());
        refused("booleans", &bytes, from_bytes::<Vec<bool>>(&bytes).is_err());
        refused("strings", &bytes, from_bytes::<Vec<String>>(&bytes).is_err());
    }
    for bytes in [&[][..], &[1], &[1, 0, 0]] {
        refused("int", bytes, from_bytes::<i32>(bytes).is_err());
        refused("string", bytes, from_bytes::<String>(bytes).is_err());
    }
    refused("long", &[0; 7], from_bytes::<i64>(&[0; 7]).is_err());
    ask(&cases);
}
