//! Figures for people.

use super::compositor::Printed;

/// What a compositor did.
pub fn report(printed: &Printed) -> String {
    let report = &printed.report;
    let bytes = &report.bytes;
    let each = |total: u64| size(total as f64 / report.frames.max(1) as f64);
    let mut text = format!(
        "{} frames in {:.2} s: {:.1} per second; composing one took {:.2} ms of processor time (median)\n\
         of each: {} of pixels read where their producers drew them, {} written to the screen\n\
         through Binder: {} to make the windows, {} while {} frames were composed; through read and write then: {}",
        report.frames,
        report.seconds,
        report.frames_per_second,
        report.compose_milliseconds,
        each(bytes.read_from_windows),
        each(bytes.written_to_screen),
        size(bytes.binder_before as f64),
        size(bytes.binder_while_composing as f64),
        report.frames,
        size(bytes.system_calls_while_composing as f64),
    );
    if printed.closed > 0 {
        text += &format!("\nwindows closed for what their producers did: {}", printed.closed);
    }
    if let Some(events) = printed.wayland {
        text += &format!(
            "\nWayland: {} configures, {} frame callbacks, {} buffer releases",
            events.configures, events.frame_callbacks, events.buffer_releases
        );
    }
    text
}

/// Bytes with a unit.
pub fn size(bytes: f64) -> String {
    match bytes {
        ..10_000.0 => format!("{bytes:.0} bytes"),
        ..1e6 => format!("{:.1} kB", bytes / 1e3),
        _ => format!("{:.1} MB", bytes / 1e6),
    }
}
