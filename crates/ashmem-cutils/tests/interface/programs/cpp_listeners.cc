/* The reclaimer: policy, metrics, and callables that hear of purges. */
#include "cpp_check.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <vector>

using ashmem::purge_listener;
using ashmem::region;

static_assert(!std::is_copy_constructible_v<purge_listener> && !std::is_copy_assignable_v<purge_listener>);
static_assert(std::is_nothrow_move_constructible_v<purge_listener> &&
              std::is_nothrow_move_assignable_v<purge_listener>);
static_assert(!std::is_constructible_v<purge_listener, int>);
static_assert(!std::is_constructible_v<purge_listener, void (*)(int *)>);

/* A page of a new region is purged by the reclaimer; returns the region's number. */
static std::uint64_t purge_something()
{
    const region one = region::create("victim", page());
    one.map().data()[0] = std::byte{1};
    one.unpin();
    const ashmem_freed freed = ashmem::reclaim();
    CHECK(freed.pages >= 1 && freed.bytes >= page());
    CHECK(one.pin() == ashmem::contents::purged);
    return one.file_id();
}

static void says_what_went()
{
    std::vector<ashmem_purge_event> heard;
    std::string name;
    const purge_listener listener([&](const ashmem_purge_event &event) {
        heard.push_back(event);
        const int own = ::fcntl(event.fd, F_DUPFD_CLOEXEC, 0);
        name = region::from_fd(own).name();
    });
    const std::uint64_t id = purge_something();
    CHECK(heard.size() == 1 && heard[0].file_id == id);
    CHECK(heard[0].offset == 0 && heard[0].len == page() && heard[0].freed == page());
    CHECK(name == "victim");
}

static int function_calls;

static void function(const ashmem_purge_event &)
{
    function_calls++;
}

/* Can be called on something that is not const, and cannot be copied. */
struct counter {
    explicit counter(int &calls) : count(new int(0)), seen(&calls) {}
    void operator()(const ashmem_purge_event &)
    {
        *seen = ++*count;
    }
    std::unique_ptr<int> count;
    int *seen;
};

static void takes_anything_callable()
{
    int seen = 0;
    const purge_listener one(function);
    const purge_listener two(&function);
    const purge_listener three((counter(seen)));
    const std::function<void(const ashmem_purge_event &)> wrapped = function;
    const purge_listener four(wrapped);
    // What it returns is of no interest.
    const purge_listener five([](auto &&) { return 5; });
    purge_something();
    purge_something();
    CHECK(function_calls == 6 && seen == 2);
    CHECK(throws(EINVAL, "ashmem::purge_listener", [] {
        void (*none)(const ashmem_purge_event &) = nullptr;
        purge_listener listener(none);
    }));
}

static void exceptions_end_in_the_call()
{
    int calls = 0;
    const purge_listener one([&](const ashmem_purge_event &) {
        calls++;
        throw std::runtime_error("dropped");
    });
    const purge_listener two([&](const ashmem_purge_event &) {
        calls++;
        throw 2;
    });
    // Throws when it is called.
    const purge_listener three(std::function<void(const ashmem_purge_event &)>{});
    purge_something();
    purge_something();
    CHECK(calls == 4);
    // It is not thrown away with what it was in.
    CHECK(ashmem::metrics().failures == 0);
}

static void moves_and_ends()
{
    int first = 0, second = 0;
    const auto counting = [](int &calls) { return [&calls](const ashmem_purge_event &) { calls++; }; };
    purge_listener one(counting(first));
    purge_listener two(counting(second));
    purge_something();
    CHECK(first == 1 && second == 1);
    purge_listener moved(std::move(one));
    purge_listener &same = moved;
    moved = std::move(same);
    one.end();
    purge_something();
    CHECK(first == 2 && second == 2);
    // Assigning ends what was there.
    two = std::move(moved);
    purge_something();
    CHECK(first == 3 && second == 2);
    two.end();
    two.end();
    purge_something();
    CHECK(first == 3 && second == 2);
    one = purge_listener(counting(second));
    purge_something();
    CHECK(first == 3 && second == 3);
}

/* What is called goes with the listener, and not before the call in which that ends. */
static void lifetime_of_the_callable()
{
    auto kept = std::make_shared<int>(7);
    std::optional<purge_listener> listener;
    listener.emplace([kept](const ashmem_purge_event &) {});
    CHECK(kept.use_count() == 2);
    listener->end();
    CHECK(kept.use_count() == 1);
    listener.emplace([kept](const ashmem_purge_event &) {});
    *listener = purge_listener([](const ashmem_purge_event &) {});
    CHECK(kept.use_count() == 1);

    int value = 0;
    listener.emplace([kept, &listener, &value](const ashmem_purge_event &) {
        listener.reset();
        value = *kept;
        throw std::runtime_error("after its end");
    });
    purge_something();
    CHECK(value == 7 && !listener && kept.use_count() == 1);
    purge_something();
}

static void several_threads()
{
    std::atomic<bool> stop{false};
    std::atomic<unsigned> calls{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; i++) {
        threads.emplace_back([&] {
            while (!stop) {
                const region own = region::create("thread", page());
                own.map().data()[0] = std::byte{1};
                own.unpin();
                ashmem::reclaim();
            }
        });
    }
    for (int i = 0; i < 100; i++) {
        std::atomic<bool> alive{true};
        {
            const purge_listener listener([&](const ashmem_purge_event &) {
                CHECK(alive);
                calls++;
            });
            // Every second one ends at once.
            const unsigned before = calls;
            while (i % 2 == 0 && calls == before)
                std::this_thread::yield();
        }
        alive = false;
    }
    stop = true;
    for (std::thread &thread : threads)
        thread.join();
    CHECK(calls >= 50);
}

static void policy_and_metrics()
{
    const ashmem_metrics before = ashmem::metrics();
    purge_something();
    const ashmem_metrics after = ashmem::metrics();
    CHECK(after.purges > before.purges && after.purged_pages > before.purged_pages);
    CHECK(after.freed_bytes >= before.freed_bytes + page());
    // Nothing unpinned may stay in memory.
    ashmem_policy policy = ashmem::default_policy;
    policy.budget = 0;
    ashmem::set_policy(policy);
    std::atomic<bool> gone{false};
    const purge_listener listener([&](const ashmem_purge_event &) { gone = true; });
    const region one = region::create("over budget", page());
    one.map().data()[0] = std::byte{1};
    one.unpin();
    while (!gone)
        std::this_thread::yield();
    CHECK(one.pin() == ashmem::contents::purged);
    ashmem::set_policy();
    CHECK(ashmem::reclaim(0).pages == 0);
}

int main()
{
    leave_memory_alone();
    says_what_went();
    takes_anything_callable();
    exceptions_end_in_the_call();
    moves_and_ends();
    lifetime_of_the_callable();
    several_threads();
    policy_and_metrics();
}
