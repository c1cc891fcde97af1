use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ashmem::page_size;
use ashmem::pressure::Pace;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::*;
use crate::fake::Fake;
use crate::policy::{Exception, Headroom, Pattern};

const MIB: u64 = 1 << 20;

/// A clock that is set by hand.
#[derive(Clone, Default)]
struct Hands(Arc<AtomicU64>);

impl Hands {
    fn advance(&self, milliseconds: u64) {
        self.0.fetch_add(milliseconds, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

struct Scene {
    fake: Arc<Fake>,
    clock: Hands,
    turn: Turn,
    policy: Policy,
    served: Vec<Served>,
}

impl Scene {
    fn new() -> Scene {
        let (fake, clock) = (Arc::new(Fake::new()), Hands::default());
        let reclaimer = Reclaimer::builder().without_thread().build();
        let turn = Turn::new(fake.proc(), Box::new(clock.clone()), reclaimer);
        Scene { fake, clock, turn, policy: Policy::default(), served: Vec::new() }
    }

    /// A region of some processes, all of it in memory and unpinned. Those made earlier are older.
    fn region(&mut self, processes: &[u32], size: u64) -> Region {
        let region = Region::options().reclaimer(&self.turn.reclaimer).create("served", size).expect("made");
        region.map().expect("mapped").fill(0, size, 1).expect("inside");
        region.unpin(..).expect("unpinned");
        let copy = region.as_fd().try_clone_to_owned().expect("a descriptor");
        let adopted = Region::adopt(copy).expect("a region");
        self.served.push(Served { region: adopted, processes: processes.to_vec() });
        region
    }

    fn look(&mut self) -> Duration {
        self.turn.look(&self.served, &self.policy, &|| false).expect("something is registered")
    }

    /// A look that finds a stall, told by the system or by the narrowest cgroup.
    fn stall(&mut self, is_system: bool) {
        let now = self.clock.now();
        let Turn { watch, clock, reclaimer, counts, .. } = &mut self.turn;
        let watch = watch.get_or_insert_with(|| Watch::new(&self.fake.proc(), &self.policy, now));
        watch.update(&self.served, &self.policy, now);
        let place = if is_system { watch.limits.nodes.len() - 1 } else { 0 };
        watch.limits.nodes[place].stalled = true;
        watch.work(Work {
            served: &self.served,
            clock: clock.as_ref(),
            reclaimer,
            counts,
            is_end: &|| false,
        });
    }

    /// What the limits say, in MiB: what is limited, the limit, what is available.
    fn limits(&self) -> Vec<(String, u64, u64)> {
        let limits = self.turn.limits(&self.served);
        let name = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        limits.iter().map(|limit| (name(&limit.name), limit.limit / MIB, limit.available / MIB)).collect()
    }

    /// Whatever is purged is not used any more, in a file that has the usage of a cgroup.
    fn follow(&self, file: &str) {
        let (fake, file) = (self.fake.clone(), file.to_owned());
        self.turn.reclaimer.on_purge(move |event| {
            let used: u64 =
                std::fs::read_to_string(fake.path(&file)).expect("there").parse().expect("a number");
            fake.write(&file, &(used - event.freed).to_string());
        });
    }
}

/// In MiB.
fn resident(regions: &[&Region]) -> Vec<u64> {
    regions.iter().map(|region| region.resident().expect("asked") / MIB).collect()
}

fn wake() -> OwnedFd {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK)
        .expect("made")
}

fn ring(wake: &OwnedFd) {
    rustix::io::write(wake, &1u64.to_ne_bytes()).expect("rung");
}

#[test]
fn nothing_registered_is_nothing_to_do() {
    let mut scene = Scene::new();
    scene.fake.available(0);
    assert_eq!(scene.turn.look(&[], &scene.policy, &|| false), None);
    assert_eq!((scene.turn.counts, scene.turn.limits(&[])), (Counts::default(), Vec::new()));
    let wake = wake();
    ring(&wake);
    assert_eq!(scene.turn.wait(wake.as_fd(), None), Woken::Called);
}

#[test]
fn a_limit_that_comes_near_ends_the_pause_after_a_call() {
    let mut scene = Scene::new();
    scene.fake.process_v1(1, "a");
    scene.fake.v1("a", 100 * MIB, 10 * MIB);
    let _region = scene.region(&[1], MIB);
    // A thread of its own asks for the event.
    while scene.look() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let request = std::fs::read_to_string(scene.fake.path("v1/a/cgroup.event_control")).expect("there");
    let descriptor = request.split(' ').next().expect("a word").parse().expect("a number");
    // What the kernel does when the usage crosses the threshold.
    let process = pidfd_open(getpid(), PidfdFlags::empty()).expect("this process");
    let Ok(event) = pidfd_getfd(&process, descriptor, PidfdGetfdFlags::empty()) else {
        println!("SKIPPED: no descriptor can be had by its number");
        return;
    };
    ring(&event);
    let started = Instant::now();
    scene.turn.pause(Duration::from_secs(600));
    assert!(started.elapsed() < Duration::from_secs(300));
    scene.turn.pause(Duration::from_millis(1));
}

#[test]
fn far_from_every_limit_no_pin_state_is_read() {
    let mut scene = Scene::new();
    scene.fake.process(1, "a");
    scene.fake.v2("a", &(32u64 << 30).to_string(), 0);
    let region = scene.region(&[1], MIB);
    assert!(scene.look() >= Duration::from_secs(2));
    assert!(!scene.turn.watch.as_ref().expect("registered").has_scanned);
    assert_eq!(resident(&[&region]), [1]);
    assert_eq!(scene.limits(), [("system".into(), 64 << 10, 64 << 10), ("a".into(), 32 << 10, 32 << 10)]);
    let expected = Counts { looks: 1, ..Counts::default() };
    assert_eq!(scene.turn.counts, expected);
    scene.served.clear();
    assert_eq!(scene.turn.look(&[], &scene.policy, &|| false), None);
    assert!(scene.turn.watch.is_none());
}

#[test]
fn the_system_has_all_regions_oldest_first() {
    let mut scene = Scene::new();
    let regions = [2, 1, 3, 9].map(|process| scene.region(&[process], 4 * MIB));
    scene.policy.headroom = Headroom::Bytes(8 * MIB);
    scene.fake.available(8 * MIB);
    scene.look();
    assert_eq!(resident(&regions.each_ref()), [4; 4], "what is to stay is there");
    scene.fake.available(7 * MIB);
    let (fake, left) = (scene.fake.clone(), AtomicU64::new(7 * MIB));
    scene.turn.reclaimer.on_purge(move |event| {
        fake.available(left.fetch_add(event.freed, Ordering::SeqCst) + event.freed);
    });
    scene.look();
    assert_eq!(resident(&regions.each_ref()), [0, 0, 0, 4], "9 MiB were missing");
    assert_eq!(scene.turn.counts.shortages, 1);
}

#[test]
fn nothing_more_is_taken_at_the_end() {
    let mut scene = Scene::new();
    let regions = [scene.region(&[1], 32 * MIB), scene.region(&[1], 32 * MIB)];
    scene.policy.headroom = Headroom::Bytes(512 * MIB);
    scene.fake.available(MIB);
    let is_end = Arc::new(AtomicBool::new(false));
    let ends = is_end.clone();
    scene.turn.reclaimer.on_purge(move |_| ends.store(true, Ordering::SeqCst));
    scene.turn.look(&scene.served, &scene.policy, &|| is_end.load(Ordering::SeqCst));
    assert_eq!(resident(&regions.each_ref()), [0, 32]);
}

#[test]
fn takes_until_twice_the_reserve_is_there() {
    let mut scene = Scene::new();
    scene.fake.process(1, "a");
    scene.fake.v2("a", &(256 * MIB).to_string(), 225 * MIB);
    scene.follow("v2/a/memory.current");
    let regions: Vec<Region> = (0..20).map(|_| scene.region(&[1], 2 * MIB)).collect();
    // An eighth is 32 MiB, and 31 are left: 33 are missing.
    scene.look();
    let left: u64 = resident(&regions.iter().collect::<Vec<_>>()).iter().sum();
    assert_eq!(left, 40 - 34);
    assert_eq!(regions[0].resident().expect("asked") + regions[16].resident().expect("asked"), 0);
    assert_eq!(scene.limits()[1], ("a".into(), 256, 65));
    scene.look();
    assert_eq!(scene.turn.counts.shortages, 1, "enough is left");
}

#[test]
fn stops_when_somebody_else_has_freed_enough() {
    let mut scene = Scene::new();
    scene.fake.process(1, "a");
    scene.fake.v2("a", &(1024 * MIB).to_string(), 1000 * MIB);
    let fake = scene.fake.clone();
    scene.turn.reclaimer.on_purge(move |_| fake.write("v2/a/memory.current", "0"));
    let regions: Vec<Region> = (0..24).map(|_| scene.region(&[1], 4 * MIB)).collect();
    scene.look();
    let left: u64 = resident(&regions.iter().collect::<Vec<_>>()).iter().sum();
    assert_eq!(left, 24 * 4 - 16, "one step");
}

#[test]
fn a_burst_is_answered_within_bounds() {
    let mut scene = Scene::new();
    scene.fake.process(1, "a");
    // 32 MiB are to stay; 33 are missing, and somebody takes all that becomes free.
    scene.fake.v2("a", &(256 * MIB).to_string(), 225 * MIB);
    let regions: Vec<Region> = (0..40).map(|_| scene.region(&[1], 2 * MIB)).collect();
    scene.look();
    let left: u64 = resident(&regions.iter().collect::<Vec<_>>()).iter().sum();
    assert_eq!(left, 80 - 66, "twice what was missing");
    assert_eq!(scene.look(), BACKED_OFF_AFTER_SUCCESS);
}

/// Still short, but something was free: again at once.
const BACKED_OFF_AFTER_SUCCESS: Duration = Duration::from_millis(1);

fn siblings_share_one_order(v1: bool) {
    let mut scene = Scene::new();
    for (process, cgroup) in [(1, "p/a"), (2, "p/b"), (3, "other")] {
        if v1 {
            scene.fake.process_v1(process, cgroup);
            scene.fake.v1(cgroup, 1 << 62, 200 * MIB);
        } else {
            scene.fake.process(process, cgroup);
            scene.fake.v2(cgroup, "max", 200 * MIB);
        }
    }
    let regions = [3, 2, 1, 2, 1].map(|process| scene.region(&[process], 20 * MIB));
    if v1 {
        // The limit of the parent is told by its children, too.
        scene.fake.v1("p", 256 * MIB, 225 * MIB);
        let stat = format!("total_inactive_file 0\nhierarchical_memory_limit {}\n", 256 * MIB);
        for cgroup in ["p", "p/a", "p/b"] {
            scene.fake.write(&format!("v1/{cgroup}/memory.stat"), &stat);
        }
        scene.follow("v1/p/memory.usage_in_bytes");
    } else {
        scene.fake.v2("p", &(256 * MIB).to_string(), 225 * MIB);
        scene.follow("v2/p/memory.current");
    }
    scene.look();
    assert_eq!(resident(&regions.each_ref()), [20, 0, 0, 20, 20], "33 MiB, the oldest below the limit");
    assert_eq!(scene.limits().len(), 2, "{:?}", scene.limits());
}

#[test]
fn siblings_below_one_limit_share_one_order() {
    siblings_share_one_order(false);
    siblings_share_one_order(true);
}

#[test]
fn what_the_narrow_limit_frees_counts_for_the_wide_one() {
    let mut scene = Scene::new();
    scene.fake.process(1, "p/a");
    scene.fake.process(2, "p/b");
    scene.fake.v2("p/b", "max", 0);
    scene.fake.v2("p/a", &(64 * MIB).to_string(), 60 * MIB);
    scene.fake.v2("p", &(128 * MIB).to_string(), 116 * MIB);
    scene.follow("v2/p/a/memory.current");
    scene.follow("v2/p/memory.current");
    // The oldest is another's: the wide limit would take that one first.
    let other = scene.region(&[2], 4 * MIB);
    let regions: Vec<Region> = (0..5).map(|_| scene.region(&[1], 4 * MIB)).collect();
    // In the narrow one 8 MiB are to stay and 4 are left, so 12 go; in the wide one 16 and 12.
    scene.look();
    assert_eq!(resident(&[&other]), [4], "24 MiB are left there now, which is enough");
    assert_eq!(resident(&regions.iter().collect::<Vec<_>>()), [0, 0, 0, 4, 4]);
    assert_eq!(scene.turn.counts.shortages, 1);
    let limits = scene.limits();
    assert_eq!(limits[1..], [("p".into(), 128, 24), ("a".into(), 64, 16)]);
}

#[test]
fn a_region_is_below_the_limits_of_all_that_have_it() {
    for process in [1, 2] {
        let mut scene = Scene::new();
        for (number, cgroup) in [(1, "a"), (2, "b")] {
            let used = if number == process { 63 } else { 0 };
            scene.fake.process(number, cgroup);
            scene.fake.v2(cgroup, &(64 * MIB).to_string(), used * MIB);
        }
        let (mine, both) = (scene.region(&[3 - process], MIB), scene.region(&[1, 2], MIB));
        scene.look();
        assert_eq!(resident(&[&mine, &both]), [1, 0]);
    }
}

#[test]
fn limits_come_and_go() {
    let mut scene = Scene::new();
    scene.fake.process(1, "a");
    scene.fake.v2("a", "max", 63 * MIB);
    let first = scene.region(&[1], MIB);
    scene.look();
    scene.fake.v2("a", &(64 * MIB).to_string(), 63 * MIB);
    scene.look();
    assert_eq!(resident(&[&first]), [1], "nobody has looked");
    scene.clock.advance(5000);
    scene.look();
    assert_eq!(resident(&[&first]), [0]);
    scene.fake.v2("a", "max", 63 * MIB);
    let second = scene.region(&[1], MIB);
    assert!(scene.look() >= Duration::from_secs(1));
    assert_eq!(resident(&[&second]), [1]);
    assert_eq!(scene.limits().len(), 1);
    // Its directory goes, too.
    std::fs::remove_dir_all(scene.fake.path("v2/a")).expect("removed");
    scene.clock.advance(5000);
    assert!(scene.look() >= Duration::from_secs(1));
}

#[test]
fn a_process_that_moves_has_other_limits() {
    let mut scene = Scene::new();
    scene.fake.process(1, "a");
    scene.fake.v2("a", "max", 0);
    scene.fake.v2("b", &(64 * MIB).to_string(), 63 * MIB);
    let first = scene.region(&[1], MIB);
    scene.look();
    scene.fake.process(1, "b");
    scene.look();
    assert_eq!((resident(&[&first]), scene.limits().len()), (vec![1], 1));
    scene.clock.advance(5000);
    scene.look();
    assert_eq!((resident(&[&first]), scene.limits().len()), (vec![0], 2));
    scene.fake.process(1, "a");
    scene.clock.advance(5000);
    scene.look();
    assert_eq!(scene.limits().len(), 1);
}

#[test]
fn of_a_hidden_process_the_system_s_limit_counts() {
    let mut scene = Scene::new();
    scene.fake.process(1, "../hidden");
    let regions = [1, 7, 0].map(|process| scene.region(&[process], MIB));
    scene.look();
    assert_eq!((resident(&regions.each_ref()), scene.limits().len()), (vec![1; 3], 1));
    scene.fake.available(0);
    scene.look();
    assert_eq!(resident(&regions.each_ref()), [0; 3]);
}

#[test]
fn a_new_process_is_looked_up_at_once() {
    let mut scene = Scene::new();
    scene.region(&[1], MIB);
    scene.look();
    scene.fake.process(2, "a");
    scene.fake.v2("a", &(64 * MIB).to_string(), 63 * MIB);
    let region = scene.region(&[2], MIB);
    scene.look();
    assert_eq!(resident(&[&region]), [0]);
}

#[test]
fn where_nothing_is_left_to_take_it_looks_less_often() {
    let mut scene = Scene::new();
    let region = scene.region(&[1], MIB);
    assert_eq!(region.pin(..).expect("pinned"), ashmem::Contents::Intact);
    scene.fake.available(0);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let pause = scene.look();
        pauses.push(pause.as_millis());
        scene.clock.advance(pause.as_millis() as u64);
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    // An event in between changes nothing.
    let shortages = scene.turn.counts.shortages;
    scene.clock.advance(1);
    scene.look();
    scene.look();
    assert_eq!(scene.turn.counts.shortages, shortages + 1);
    // Something new does.
    let new = scene.region(&[1], MIB);
    assert_eq!(scene.look(), Duration::from_millis(1));
    assert_eq!(resident(&[&new]), [0]);
    scene.fake.available(64 << 30);
    scene.clock.advance(1);
    assert!(scene.look() >= Duration::from_secs(2));
}

#[test]
fn a_budget_for_everything() {
    let mut scene = Scene::new();
    scene.policy.budget = Some(3 * MIB);
    let regions = [1, 2, 3, 4].map(|process| scene.region(&[process], MIB));
    assert_eq!(scene.look(), BUDGET_INTERVAL);
    assert_eq!(resident(&regions.each_ref()), [0, 1, 1, 1]);
    assert_eq!(scene.turn.counts.over_budget, 1);
    // Quiet, it is counted less and less often.
    let mut pause = Duration::ZERO;
    for _ in 0..12 {
        scene.clock.advance(pause.as_millis() as u64 + 50);
        pause = scene.look();
    }
    assert_eq!(pause, Pace::LONGEST);
    let late = scene.region(&[1], MIB);
    scene.clock.advance(1);
    scene.look();
    assert_eq!(resident(&[&regions[1], &late]), [1, 1], "not counted yet");
    scene.clock.advance(1000);
    assert_eq!(scene.look(), BUDGET_INTERVAL);
    assert_eq!(resident(&[&regions[1], &late]), [0, 1]);
}

#[test]
fn a_budget_for_a_cgroup() {
    let mut scene = Scene::new();
    for (process, cgroup) in [(1, "user/1/x"), (2, "user/1/y"), (3, "system")] {
        scene.fake.process(process, cgroup);
        scene.fake.v2(cgroup, "max", 0);
    }
    let path = Pattern::new("/user/*").expect("a pattern");
    scene.policy.cgroups = vec![Exception { path, budget: Some(MIB), headroom: None }];
    let regions = [3, 2, 1, 3].map(|process| scene.region(&[process], MIB));
    scene.look();
    assert_eq!(resident(&regions.each_ref()), [1, 0, 1, 1]);
    assert_eq!(scene.limits()[1], ("1".into(), 0, 0), "there is no limit");
    scene.policy.cgroups.clear();
    scene.look();
    assert_eq!(scene.limits().len(), 1);
}

#[test]
fn a_headroom_for_a_cgroup() {
    let mut scene = Scene::new();
    scene.fake.process(1, "a");
    scene.fake.v2("a", &(64 * MIB).to_string(), 60 * MIB);
    let path = Pattern::new("/**").expect("a pattern");
    let headroom = Some(Headroom::Bytes(MIB));
    scene.policy.cgroups = vec![Exception { path, budget: None, headroom }];
    let region = scene.region(&[1], MIB);
    scene.look();
    assert_eq!(resident(&[&region]), [1]);
    scene.policy.cgroups.clear();
    scene.look();
    assert_eq!(resident(&[&region]), [0], "another policy counts at once");
}

#[test]
fn stalls_take_what_the_policy_says_where_memory_is_short() {
    let mut scene = Scene::new();
    scene.fake.process(1, "a");
    scene.fake.v2("a", &(256 * MIB).to_string(), 0);
    scene.policy.stall.take = 2 * MIB;
    let mut regions: Vec<Region> = (0..2).map(|_| scene.region(&[2], MIB)).collect();
    regions.extend((0..4).map(|_| scene.region(&[1], MIB)));
    let stall = |scene: &mut Scene, is_system: bool| {
        scene.stall(is_system);
        resident(&regions.iter().collect::<Vec<_>>())
    };
    assert_eq!(stall(&mut scene, true), [1; 6], "nothing is short");
    assert_eq!(stall(&mut scene, false), [1; 6], "nothing is short");
    scene.fake.v2("a", &(256 * MIB).to_string(), 150 * MIB);
    assert_eq!(stall(&mut scene, false), [1, 1, 0, 0, 1, 1], "near the limit of the cgroup");
    assert_eq!(stall(&mut scene, false), [1, 1, 0, 0, 1, 1], "not so soon");
    scene.clock.advance(500);
    assert_eq!(stall(&mut scene, true), [1, 1, 0, 0, 0, 0], "that cgroup tells of no stalls of its own");
    scene.fake.available(2000 * MIB);
    assert_eq!(stall(&mut scene, true), [0, 0, 0, 0, 0, 0], "the system is near its limit");
    assert_eq!(scene.turn.counts.stalls, 3);
}

#[test]
fn a_stall_takes_an_eighth_if_that_is_more() {
    let mut scene = Scene::new();
    scene.policy.stall.take = page_size();
    scene.fake.available(1000 * MIB);
    let regions: Vec<Region> = (0..16).map(|_| scene.region(&[1], MIB)).collect();
    scene.stall(true);
    assert_eq!(resident(&regions.iter().collect::<Vec<_>>()).iter().sum::<u64>(), 14);
}

#[test]
fn a_small_region_costs_no_more_memory_than_before() {
    let mut scene = Scene::new();
    let region = scene.region(&[1], page_size());
    scene.policy.budget = Some(64 * MIB);
    scene.look();
    assert!(scene.turn.watch.as_ref().expect("registered").has_scanned, "soon it will look again");
    for _ in 0..6 {
        scene.clock.advance(1000);
        scene.look();
    }
    assert!(!scene.turn.watch.as_ref().expect("registered").has_scanned);
    assert_eq!(region.reclaimable().expect("asked"), page_size());
}

mod real;
