//! iceoryx2's side.
#![allow(unsafe_code, reason = "writes into uninitialised slices, and sees words as bytes")]

use std::process::{Child, Stdio};

use iceoryx2::config::Config;
use iceoryx2::node::{Node, NodeBuilder};
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::{publisher, subscriber};
use iceoryx2::prelude::{EventId, LogLevel, SignalHandlingMode, ipc, set_log_level};
use iceoryx2::service::port_factory::{event, publish_subscribe};

use crate::frame::{FRAME, WORD, expected, sum_bytes};
use crate::{Produce, fail, ok, spawn_consumer};

/// Apart from all other users of iceoryx2 on this machine.
const PREFIX: &str = "ashmem_bench_";

/// Words in a frame.
const WORDS: usize = FRAME / WORD;

/// Events: there is a sample; there will be none any more.
const SENT: EventId = EventId::new(1);
const END: EventId = EventId::new(2);

/// The producer.
pub struct Publisher {
    frames: publisher::Publisher<ipc::Service, [u64], ()>,
    sums: subscriber::Subscriber<ipc::Service, u64, ()>,
    wake: Notifier<ipc::Service>,
    woken: Listener<ipc::Service>,
    consumer: Child,
    _node: Node<ipc::Service>,
}

impl Publisher {
    /// Starts the consumer as well and waits until it is there.
    pub fn start(cpu: usize, session: usize) -> Publisher {
        let name = format!("ashmem/bench/{}/{session}", std::process::id());
        let node = node();
        let there = Services::new(&node, &name);
        let frames =
            ok(there.frames.publisher_builder().initial_max_slice_len(WORDS).max_loaned_samples(1).create());
        let sums = ok(there.sums.subscriber_builder().create());
        let woken = ok(there.backward.listener_builder().create());
        let wake = ok(there.forward.notifier_builder().create());
        let consumer = spawn_consumer(cpu, &["iceoryx2", &name], Stdio::null());
        wait(&woken);
        Publisher { frames, sums, wake, woken, consumer, _node: node }
    }
}

impl Produce for Publisher {
    fn produce(&self, value: u8) {
        let mut sample = ok(self.frames.loan_slice_uninit(WORDS));
        // SAFETY: that many words are there to be written.
        unsafe { sample.payload_mut().as_mut_ptr().write_bytes(value, WORDS) };
        // SAFETY: every byte was written.
        let sample = unsafe { sample.assume_init() };
        ok(sample.send());
        ok(self.wake.notify_with_custom_event_id(SENT));
        wait(&self.woken);
        match ok(self.sums.receive()) {
            Some(sum) if *sum == expected(value) => {}
            Some(_) => fail("the consumer has seen another frame"),
            None => fail("no sum came"),
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        ok(self.wake.notify_with_custom_event_id(END));
        ok(self.consumer.wait());
    }
}

/// The consumer, until the producer has no more.
pub fn consume_published(name: &str) {
    let node = node();
    let there = Services::new(&node, name);
    let frames = ok(there.frames.subscriber_builder().create());
    let sums = ok(there.sums.publisher_builder().create());
    let woken = ok(there.forward.listener_builder().create());
    let wake = ok(there.backward.notifier_builder().create());
    ok(wake.notify_with_custom_event_id(SENT));
    while wait(&woken) != END {
        let Some(frame) = ok(frames.receive()) else { fail("no frame came") };
        // SAFETY: words are bytes.
        let (_, bytes, _) = unsafe { frame.align_to() };
        let sum = sum_bytes(bytes);
        // Given back before the answer, so that the same memory, warm as it is, can be loaned again.
        drop(frame);
        ok(sums.send_copy(sum));
        ok(wake.notify_with_custom_event_id(SENT));
    }
}

/// The services of a session: frames and their sums, and the events that say that there is one.
struct Services {
    frames: publish_subscribe::PortFactory<ipc::Service, [u64], ()>,
    sums: publish_subscribe::PortFactory<ipc::Service, u64, ()>,
    forward: event::PortFactory<ipc::Service>,
    backward: event::PortFactory<ipc::Service>,
}

impl Services {
    fn new(node: &Node<ipc::Service>, name: &str) -> Services {
        let [forward, backward] =
            ["there", "back"].map(|direction| ok(format!("{name}/{direction}").as_str().try_into()));
        Services {
            frames: ok(node
                .service_builder(&forward)
                .publish_subscribe::<[u64]>()
                .max_publishers(1)
                .max_subscribers(1)
                .history_size(0)
                .subscriber_max_buffer_size(1)
                .subscriber_max_borrowed_samples(1)
                .open_or_create()),
            sums: ok(node
                .service_builder(&backward)
                .publish_subscribe::<u64>()
                .max_publishers(1)
                .max_subscribers(1)
                .history_size(0)
                .subscriber_max_buffer_size(1)
                .open_or_create()),
            forward: ok(node.service_builder(&forward).event().open_or_create()),
            backward: ok(node.service_builder(&backward).event().open_or_create()),
        }
    }
}

fn node() -> Node<ipc::Service> {
    set_log_level(LogLevel::Error);
    let mut config = Config::default();
    config.global.prefix = ok(PREFIX.try_into());
    ok(NodeBuilder::new().config(&config).signal_handling_mode(SignalHandlingMode::Disabled).create())
}

/// The event that came.
fn wait(listener: &Listener<ipc::Service>) -> EventId {
    let mut came = None;
    while came.is_none() {
        ok(listener.blocking_wait(|event| came = Some(event.id)));
    }
    came.unwrap_or(END)
}
