//! A listener's thread: one call after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::calls;
use crate::filter::Abi;
use crate::known::Known;
use crate::state::Shared;
use crate::sys::{Answer, Listener, Notification};
use crate::task::Task;

/// Answers the calls of a filter's threads until the last of them has ended.
pub(crate) fn serve(shared: &Shared, listener: &Listener) {
    let known = Known::default();
    loop {
        // A listener alone does not say on all kernels that there will be no more calls.
        let mut events = [PollFd::new(listener, PollFlags::IN)];
        match poll(&mut events, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        let happened = events[0].revents();
        if !happened.contains(PollFlags::IN) {
            if happened.is_empty() {
                continue;
            }
            return;
        }
        match listener.receive() {
            Ok(call) => answer(shared, listener, &known, call),
            // It was interrupted before anybody looked at it.
            Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => {
                log::error!("listening ends: {errno}");
                return;
            }
        }
    }
}

fn answer(shared: &Shared, listener: &Listener, known: &Known, call: Notification) {
    let handle = || {
        let Some(abi) = Abi::from_audit(call.architecture) else { return Some(Answer::Continue) };
        let Some(number) = abi.call(call.number) else { return Some(Answer::Continue) };
        // Of a process that this one cannot see nothing can be known.
        if call.thread <= 0 {
            return Some(Answer::Continue);
        }
        if let Some(answer) = known.kept_answer(&call) {
            return Some(answer);
        }
        let task = Task { listener, known, call, abi };
        calls::answer(calls::handle(shared, &task, number))
    };
    let answer = catch_unwind(AssertUnwindSafe(handle)).unwrap_or_else(|_| {
        log::error!("a call could not be handled: number {} of {:#x}", call.number, call.architecture);
        Some(Answer::Failure(Errno::IO))
    });
    if let Some(answer) = answer {
        if listener.answer(call.id, answer).is_err() && matches!(answer, Answer::Value(_)) {
            // The caller is gone, or a signal has interrupted it: then it calls again, and must not miss what happened.
            known.keep_answer(&call, answer);
        }
    }
}
