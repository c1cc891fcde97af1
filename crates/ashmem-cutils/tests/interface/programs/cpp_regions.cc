/* Regions and mappings: made, asked, moved, refused. */
#include "cpp_check.hpp"

#include <sys/stat.h>

#include <fstream>
#include <type_traits>

using ashmem::contents;
using ashmem::mapping;
using ashmem::pin_status;
using ashmem::read_only_mapping;
using ashmem::region;

static_assert(!std::is_copy_constructible_v<region> && !std::is_copy_assignable_v<region>);
static_assert(std::is_nothrow_move_constructible_v<region> && std::is_nothrow_move_assignable_v<region>);
static_assert(!std::is_copy_constructible_v<mapping> && !std::is_copy_assignable_v<mapping>);
static_assert(std::is_nothrow_move_constructible_v<mapping> && std::is_nothrow_move_assignable_v<mapping>);
static_assert(!std::is_convertible_v<int, region> && !std::is_constructible_v<region, int>);
static_assert(std::is_same_v<decltype(read_only_mapping().data()), const std::byte *>);
static_assert(std::is_same_v<decltype(read_only_mapping().as<int>()), const int *>);
static_assert(std::is_same_v<decltype(mapping().as<int>()), int *>);

static void made_and_asked()
{
    const std::uint64_t size = 3 * page() + 5;
    region one = region::create("tiles", size);
    CHECK(one && ashmem::is_region(one.fd()));
    CHECK((::fcntl(one.fd(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(one.size() == size && one.name() == "tiles");
    CHECK(region::create(nullptr, 1).name() == "none");
    CHECK(region::create(std::string(300, 'n').c_str(), 1).name() == std::string(249, 'n'));
    CHECK(one.protection() == (PROT_READ | PROT_WRITE | PROT_EXEC));
    struct stat status;
    CHECK(::fstat(one.fd(), &status) == 0 && one.file_id() == status.st_ino);
    CHECK(region::create("other", 1).file_id() != one.file_id());
    CHECK(one.stats().pinned_pages == 4 && one.stats().resident_bytes == 0);
    CHECK(region::create("filled", page(), ASHMEM_POPULATE).stats().resident_bytes == page());

    CHECK(throws(EINVAL, "ashmem::region::create", [] { (void)region::create("empty", 0); }));
    CHECK(throws(EINVAL, "ashmem::region::create", [] { (void)region::create("flags", 1, 1U << 31); }));
    CHECK(throws(EPERM, "ashmem::region::create",
                 [] { (void)region::create("large", UINT64_C(1) << 50, ASHMEM_PURGEABLE); }));
}

static void pinned_and_purged()
{
    const region one = region::create("pins", 4 * page());
    const mapping data = one.map();
    for (std::byte &byte : data)
        byte = std::byte{1};
    CHECK(one.pin() == contents::intact && one.pin_status() == pin_status::pinned);
    one.unpin(page(), page());
    CHECK(one.pin_status() == pin_status::unpinned);
    CHECK(one.pin_status(0, page()) == pin_status::pinned);
    CHECK(one.purge() == page() && one.purge() == 0);
    CHECK(one.stats().purged_pages == 1 && one.stats().pinned_pages == 3);
    CHECK(data.data()[0] == std::byte{1} && data.data()[page()] == std::byte{0});
    CHECK(one.pin(0, page()) == contents::intact);
    CHECK(one.pin(2 * page()) == contents::intact);
    CHECK(one.pin(page(), page()) == contents::purged && one.pin() == contents::intact);
    one.unpin();
    CHECK(one.stats().unpinned_pages == 4);
    CHECK(one.pin() == contents::intact);

    CHECK(throws(EINVAL, "ashmem::region::pin", [&] { (void)one.pin(1, page()); }));
    CHECK(throws(EINVAL, "ashmem::region::unpin", [&] { one.unpin(0, 5 * page()); }));
    CHECK(throws(EINVAL, "ashmem::region::pin_status", [&] { (void)one.pin_status(UINT64_MAX, UINT64_MAX); }));
    const region never = region::create("never", page(), ASHMEM_NEVER_PURGEABLE);
    CHECK(throws(EPERM, "ashmem::region::unpin", [&] { never.unpin(); }));
}

static void protected_and_shared()
{
    region writer = region::create("shared", 2 * page());
    const region reader = writer.share_read_only();
    CHECK(reader.fd() != writer.fd() && reader.file_id() == writer.file_id());
    const mapping data = writer.map();
    data.as<int>()[7] = 42;
    CHECK(reader.map_read_only().as<int>()[7] == 42);
    CHECK(throws(EACCES, "ashmem::region::map", [&] { (void)reader.map(); }));
    CHECK(throws(EACCES, "ashmem::region::unpin", [&] { reader.unpin(); }));
    writer.unpin();
    CHECK(throws(EACCES, "ashmem::region::purge", [&] { reader.purge(); }));
    CHECK(writer.pin() == contents::intact);

    const region other = writer.duplicate();
    CHECK(other.fd() != writer.fd() && other.file_id() == writer.file_id());
    CHECK((::fcntl(other.fd(), F_GETFD) & FD_CLOEXEC) != 0);
    other.set_protection(PROT_READ);
    CHECK(writer.protection() == PROT_READ && reader.protection() == PROT_READ);
    CHECK(throws(EPERM, "ashmem::region::map", [&] { (void)writer.map(); }));
    CHECK(throws(EINVAL, "ashmem::region::set_protection",
                 [&] { writer.set_protection(PROT_READ | PROT_WRITE); }));
    CHECK(writer.map_read_only().as<int>()[7] == 42);
    // A mapping from before stays as it is.
    data.as<int>()[7] = 43;
    CHECK(reader.map_read_only().as<int>()[7] == 43);
    writer.set_protection(PROT_NONE);
    CHECK(throws(EPERM, "ashmem::region::map_read_only", [&] { (void)writer.map_read_only(); }));
}

static void received()
{
    const int number = far_duplicate(region::create("sent", page()).fd(), 900);
    {
        const region taken = region::from_fd(number);
        CHECK(taken.fd() == number && taken.name() == "sent");
    }
    CHECK(!is_open(number));
    // What is no region is closed as well.
    const int zero = ::open("/dev/zero", O_RDWR);
    far_duplicate(zero, number);
    CHECK(throws(ENOTTY, "ashmem::region::from_fd", [&] { (void)region::from_fd(number); }));
    CHECK(!is_open(number) && is_open(zero));
    CHECK(throws(EBADF, "ashmem::region::from_fd", [&] { (void)region::from_fd(number); }));
    CHECK(throws(EBADF, "ashmem::region::from_fd", [&] { (void)region::from_fd(-1); }));
    CHECK(!ashmem::is_region(zero) && !ashmem::is_region(number) && !ashmem::is_region(-1));
    ::close(zero);

    // A plain memfd that somebody could shrink under a mapping.
    const int foreign = ::memfd_create("foreign", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(::ftruncate(foreign, 100) == 0);
    const region plain = region::from_fd(foreign);
    const mapping data = plain.map();
    CHECK(data.size() == 100);
    CHECK_FAILS(::ftruncate(foreign, 0), EPERM);
    // And one that cannot be sealed.
    const int open = ::memfd_create("open", MFD_CLOEXEC);
    CHECK(::ftruncate(open, 100) == 0);
    const region unsealable = region::from_fd(open);
    CHECK(throws(EPERM, "ashmem::region::map", [&] { (void)unsealable.map(); }));
}

/* Self-assignment that the compiler does not see. */
template <class T>
static void assign_to_itself(T &object)
{
    T &same = object;
    object = std::move(same);
}

static void regions_move()
{
    region one = region::create("moves", page());
    const int fd = one.fd();
    region other(std::move(one));
    CHECK(!one && one.fd() == -1 && other.fd() == fd);
    one = std::move(other);
    CHECK(one.fd() == fd && !other);
    assign_to_itself(one);
    CHECK(one.fd() == fd && one.name() == "moves");

    // Assigning closes what was there.
    const int number = far_duplicate(fd, 901);
    region target = region::from_fd(number);
    target = std::move(one);
    CHECK(!is_open(number) && target.fd() == fd);
    target = region();
    CHECK(!target);

    region released = region::create("released", page());
    const int own = far_duplicate(released.fd(), 902);
    {
        region owner = region::from_fd(own);
        CHECK(owner.release() == own && owner.release() == -1 && !owner);
    }
    CHECK(is_open(own));
    ::close(own);

    // Without a descriptor everything says so.
    const region none;
    CHECK(throws(EBADF, "ashmem::region::size", [&] { (void)none.size(); }));
    CHECK(throws(EBADF, "ashmem::region::name", [&] { (void)none.name(); }));
    CHECK(throws(EBADF, "ashmem::region::file_id", [&] { (void)none.file_id(); }));
    CHECK(throws(EBADF, "ashmem::region::protection", [&] { (void)none.protection(); }));
    CHECK(throws(EBADF, "ashmem::region::set_protection", [&] { none.set_protection(PROT_READ); }));
    CHECK(throws(EBADF, "ashmem::region::share_read_only", [&] { (void)none.share_read_only(); }));
    CHECK(throws(EBADF, "ashmem::region::duplicate", [&] { (void)none.duplicate(); }));
    CHECK(throws(EBADF, "ashmem::region::pin", [&] { (void)none.pin(); }));
    CHECK(throws(EBADF, "ashmem::region::unpin", [&] { none.unpin(); }));
    CHECK(throws(EBADF, "ashmem::region::pin_status", [&] { (void)none.pin_status(); }));
    CHECK(throws(EBADF, "ashmem::region::purge", [&] { none.purge(); }));
    CHECK(throws(EBADF, "ashmem::region::stats", [&] { (void)none.stats(); }));
    CHECK(throws(EBADF, "ashmem::region::map", [&] { (void)none.map(); }));
    CHECK(throws(EBADF, "ashmem::region::map_read_only", [&] { (void)none.map_read_only(); }));
}

/* Whether a mapping begins there. */
static bool is_mapped(const void *at)
{
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        if (std::stoull(line, nullptr, 16) == reinterpret_cast<std::uintptr_t>(at))
            return true;
    }
    return false;
}

static void mappings()
{
    const std::size_t size = 3 * page() + 5;
    region one = region::create("parts", size);
    mapping whole = one.map();
    CHECK(whole.size() == size && whole.end() - whole.begin() == static_cast<std::ptrdiff_t>(size));
    CHECK(whole.count<std::uint64_t>() == size / 8 && whole.count<std::byte>() == size);
    // Also where there is something behind the data.
    one.unpin();
    CHECK(one.pin() == contents::intact);
    CHECK(one.map().size() == size);
    const mapping part = one.map(page(), 7);
    CHECK(part.size() == 7 && part.count<int>() == 1);
    part.data()[3] = std::byte{9};
    CHECK(whole.data()[page() + 3] == std::byte{9});
    CHECK(one.map_read_only(3 * page()).size() == 5);
    const auto refused = [&](int number, std::uint64_t offset, std::uint64_t length) {
        return throws(number, "ashmem::region::map", [&] { (void)one.map(offset, length); }) &&
               throws(number, "ashmem::region::map_read_only", [&] { (void)one.map_read_only(offset, length); });
    };
    CHECK(refused(EINVAL, 1, 1));
    CHECK(refused(EINVAL, 0, size + 1));
    CHECK(refused(EINVAL, size, 0));
    CHECK(refused(EINVAL, 4 * page(), 0));
    CHECK(refused(EINVAL, page(), UINT64_MAX));
    CHECK(refused(EINVAL, UINT64_MAX, 2));

    std::byte *const at = whole.data();
    mapping other(std::move(whole));
    CHECK(whole.data() == nullptr && whole.size() == 0 && whole.begin() == whole.end());
    CHECK(other.data() == at && other.size() == size);
    assign_to_itself(other);
    CHECK(other.data() == at && is_mapped(at));
    whole = std::move(other);
    CHECK(whole.data() == at && other.data() == nullptr && is_mapped(at));

    // It stays when the region is closed.
    one = region();
    at[0] = std::byte{5};
    CHECK(whole.data()[0] == std::byte{5});
    // Assigning unmaps what was there.
    whole = mapping();
    CHECK(!is_mapped(at));
}

int main()
{
    leave_memory_alone();
    made_and_asked();
    pinned_and_purged();
    protected_and_shared();
    received();
    regions_move();
    mappings();
}
