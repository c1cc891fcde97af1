/* Leases and pin guards. */
#include "cpp_check.hpp"

#include <memory>
#include <type_traits>
#include <vector>

using ashmem::contents;
using ashmem::lease;
using ashmem::mapping;
using ashmem::pin_guard;
using ashmem::pin_status;
using ashmem::region;

static_assert(!std::is_copy_constructible_v<lease> && !std::is_copy_assignable_v<lease>);
static_assert(std::is_nothrow_move_constructible_v<lease> && std::is_nothrow_move_assignable_v<lease>);
static_assert(!std::is_copy_constructible_v<pin_guard> && !std::is_copy_assignable_v<pin_guard>);
static_assert(std::is_nothrow_move_constructible_v<pin_guard> && std::is_nothrow_move_assignable_v<pin_guard>);
static_assert(!std::is_convertible_v<const region &, lease> && !std::is_convertible_v<const region &, pin_guard>);

/* A region with all its pages in memory. */
static region filled(const char *name, std::size_t pages)
{
    region made = region::create(name, pages * page());
    for (std::byte &byte : made.map())
        byte = std::byte{1};
    return made;
}

template <class Hold>
static void moves()
{
    const region one = filled("moved", 3);
    const auto is_held = [&](std::size_t index) {
        return one.pin_status(index * page(), page()) == pin_status::pinned;
    };
    one.unpin();
    Hold first(one, 0, page());
    Hold last(one, 2 * page());
    CHECK(one.purge() == page());
    Hold moved(std::move(first));
    CHECK(is_held(0) && is_held(2));
    Hold &same = moved;
    moved = std::move(same);
    CHECK(is_held(0));

    Hold target(one, page(), page());
    CHECK(target.contents() == contents::purged);
    target = std::move(last);
    CHECK(target.contents() == contents::intact && is_held(0) && is_held(2));
    // Assigning ends what was there.
    moved = std::move(target);
    CHECK(!is_held(0) && is_held(2));
    // Whoever has nothing ends nothing.
    first.end();
    last.end();
    target.end();
    CHECK(is_held(2));
    moved.end();
    moved.end();
    CHECK(!is_held(2));

    std::vector<Hold> many;
    for (int i = 0; i < 10; i++)
        many.emplace_back(one, 0, page());
    many.erase(many.begin() + 1, many.end());
    CHECK(many.size() == 1 && is_held(0));
    many.clear();
    CHECK(!is_held(0));
}

template <class Hold>
static void fails(const char *operation)
{
    const region one = filled("refused", 1);
    CHECK(throws(EINVAL, operation, [&] { (void)Hold(one, 1, page()); }));
    CHECK(throws(EINVAL, operation, [&] { (void)Hold(one, 0, 2 * page()); }));
    CHECK(throws(EBADF, operation, [] { (void)Hold(region()); }));
}

static void leases()
{
    region one = filled("leased", 2);
    one.unpin();
    {
        const lease held(one);
        CHECK(held.contents() == contents::intact);
        CHECK(one.purge() == 0);
        // Flags are not what counts.
        one.unpin();
        CHECK(one.purge() == 0);
    }
    // Through a descriptor that cannot write.
    const region reader = one.share_read_only();
    {
        const lease held(reader, page(), page());
        CHECK(one.purge() == page());
        CHECK(lease(reader).contents() == contents::purged);
        CHECK(held.contents() == contents::intact);
    }
    CHECK(one.purge() == page());
    CHECK(one.pin() == contents::purged);

    // It outlives the object of the region, and goes before or after it.
    one.unpin();
    auto longer = std::make_unique<lease>(one);
    const region other = one.duplicate();
    one = region();
    CHECK(other.pin_status() == pin_status::pinned);
    longer.reset();
    CHECK(other.pin_status() == pin_status::unpinned);
}

static void guards()
{
    const region one = filled("guarded", 2);
    {
        const pin_guard outer(one);
        CHECK(outer.contents() == contents::intact);
        {
            const pin_guard inner(one, 0, page());
            CHECK(inner.contents() == contents::intact);
        }
        CHECK(one.purge() == 0);
    }
    CHECK(one.pin_status() == pin_status::unpinned);
    CHECK(one.purge() == 2 * page());
    CHECK(pin_guard(one).contents() == contents::purged);
    // Told once.
    CHECK(pin_guard(one).contents() == contents::intact);

    const region never = region::create("never", page(), ASHMEM_NEVER_PURGEABLE);
    CHECK(throws(EPERM, "ashmem::pin_guard", [&] { (void)pin_guard(never); }));
    CHECK(throws(EACCES, "ashmem::pin_guard", [&] { (void)pin_guard(one.share_read_only()); }));

    // An exception ends it.
    try {
        const pin_guard unwound(one);
        throw 1;
    } catch (int) {
    }
    CHECK(one.pin_status() == pin_status::unpinned);
}

int main()
{
    leave_memory_alone();
    leases();
    guards();
    moves<lease>();
    moves<pin_guard>();
    fails<lease>("ashmem::lease");
    fails<pin_guard>("ashmem::pin_guard");
}
