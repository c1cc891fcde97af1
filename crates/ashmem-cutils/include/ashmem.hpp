/* <ashmem.h> for C++17: regions, mappings, leases and guards that end by themselves, and errors that are thrown.
 *
 * A whole program, to be compiled with `c++ -std=c++17 cached.cc $(pkg-config --cflags --libs ashmem_cutils)`:
 *
 *     #include <ashmem.hpp>
 *     #include <cstdint>
 *     #include <iostream>
 *
 *     static void build(const ashmem::mapping &squares)
 *     {
 *         for (std::size_t i = 0; i < squares.count<std::uint64_t>(); i++)
 *             squares.as<std::uint64_t>()[i] = i * i;
 *     }
 *
 *     int main()
 *     {
 *         ashmem::region region = ashmem::region::create("squares", 1 << 20);
 *         ashmem::mapping squares = region.map();
 *         build(squares);
 *         region.unpin();
 *         // From here on the pages may go when memory runs short. This takes them away now.
 *         std::cout << region.purge() << " bytes purged\n";
 *
 *         ashmem::pin_guard pinned(region);
 *         if (pinned.contents() == ashmem::contents::purged) {
 *             std::cout << "built again\n";
 *             build(squares);
 *         }
 *         std::cout << squares.as<std::uint64_t>()[1000] << "\n";
 *     }
 *
 * It prints "1048576 bytes purged", "built again" and "1000000".
 *
 * What fails throws std::system_error: an errno in std::generic_category(), and in what() the operation. Which errnos there are is
 * said in <ashmem.h> at the function of that name; here are only those that come in addition. Nothing else is thrown but
 * std::bad_alloc, and what copying a callable throws.
 *
 * Offsets and lengths are in bytes. Those of pins are multiples of the page size; a length of 0 means "to the end of the region".
 *
 * Objects can be moved, not copied. One that was moved from has nothing: it can be destroyed and assigned to, and a region
 * without a descriptor answers EBADF. Several threads may use one object, unless one of them moves, assigns, ends or releases
 * it.
 */

#ifndef ASHMEM_HPP
#define ASHMEM_HPP

#if __cplusplus < 201703L
#error "<ashmem.hpp> needs C++17"
#endif

#include <ashmem.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

namespace ashmem {

/*
 Whether what was pinned is still there.
 */
enum class contents {
    /*
     Everything is as it was.
     */
    intact = ASHMEM_NOT_PURGED,
    /*
     At least one page was taken away, and reads as zeros.
     */
    purged = ASHMEM_WAS_PURGED,
};

/*
 Whether pages may be taken away.
 */
enum class pin_status {
    /*
     At least one page may.
     */
    unpinned = ASHMEM_IS_UNPINNED,
    /*
     No page may.
     */
    pinned = ASHMEM_IS_PINNED,
};

/* Not for use by programs. */
namespace detail {

[[noreturn]] inline void fail(int number, const char *operation)
{
    throw std::system_error(number, std::generic_category(), operation);
}

/* What a function of C returned, unless that is -1. */
inline int check(int returned, const char *operation)
{
    if (returned == -1)
        fail(errno, operation);
    return returned;
}

} // namespace detail

/*
 A part of a region in memory (mmap(2)), shared with all who map it; unmapped at the end.

 `Byte` is std::byte, or const std::byte for a mapping that can only be read: see mapping and read_only_mapping. Pages that are not
 pinned can turn into zeros at any time, and what others map can change at any time. A mapping stays when its region is closed.
 */
template <class Byte>
class basic_mapping {
public:
    /*
     Nothing: size() is 0.
     */
    basic_mapping() noexcept = default;

    basic_mapping(const basic_mapping &) = delete;
    basic_mapping &operator=(const basic_mapping &) = delete;

    basic_mapping(basic_mapping &&other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0))
    {
    }

    basic_mapping &operator=(basic_mapping &&other) noexcept
    {
        basic_mapping taken(std::move(other));
        std::swap(data_, taken.data_);
        std::swap(size_, taken.size_);
        return *this;
    }

    ~basic_mapping()
    {
        if (data_ != nullptr)
            ::munmap(const_cast<std::byte *>(data_), size_);
    }

    /*
     The first byte, at a page's start; a null pointer when there is none.
     */
    [[nodiscard]] Byte *data() const noexcept
    {
        return data_;
    }

    /*
     How many bytes.
     */
    [[nodiscard]] std::size_t size() const noexcept
    {
        return size_;
    }

    [[nodiscard]] Byte *begin() const noexcept
    {
        return data_;
    }

    [[nodiscard]] Byte *end() const noexcept
    {
        return data_ + size_;
    }

    /*
     The bytes as an array of `T`, with count<T>() elements. Of what another process may write meanwhile, only atomics are safe to read.
     */
    template <class T>
    [[nodiscard]] auto as() const noexcept
    {
        static_assert(std::is_trivially_copyable_v<T>, "it has to be a type that is nothing but its bytes");
        static_assert(alignof(T) <= 4096, "mappings start at a page");
        using element = std::conditional_t<std::is_const_v<Byte>, const T, T>;
        return reinterpret_cast<element *>(data_);
    }

    /*
     How many whole `T` there are.
     */
    template <class T>
    [[nodiscard]] std::size_t count() const noexcept
    {
        return size_ / sizeof(T);
    }

private:
    friend class region;

    basic_mapping(Byte *data, std::size_t size) noexcept : data_(data), size_(size) {}

    Byte *data_ = nullptr;
    std::size_t size_ = 0;
};

/*
 A mapping for reading and writing.
 */
using mapping = basic_mapping<std::byte>;

/*
 A mapping for reading.
 */
using read_only_mapping = basic_mapping<const std::byte>;

/*
 A descriptor of a region; closed at the end.

 "Pin" is about memory here; it has nothing to do with objects that cannot be moved.
 */
class region {
public:
    /*
     None: fd() is -1.
     */
    region() noexcept = default;

    /*
     Makes a region of `size` bytes, all zeros and pinned, as ashmem_create does. `name` may be a null pointer; `flags` are
     ASHMEM_PURGEABLE and the others.
     */
    [[nodiscard]] static region create(const char *name, std::uint64_t size, unsigned int flags = 0)
    {
        return region(detail::check(ashmem_create(name, size, flags), "ashmem::region::create"));
    }

    /*
     Takes over a descriptor that was received. It is closed also when this throws: ENOTTY when it is not a region; EBADF.
     */
    [[nodiscard]] static region from_fd(int fd)
    {
        region taken(fd);
        std::uint64_t size = 0;
        detail::check(ashmem_get_size(fd, &size), "ashmem::region::from_fd");
        return taken;
    }

    region(const region &) = delete;
    region &operator=(const region &) = delete;

    region(region &&other) noexcept : fd_(other.release()) {}

    region &operator=(region &&other) noexcept
    {
        region taken(std::move(other));
        std::swap(fd_, taken.fd_);
        return *this;
    }

    ~region()
    {
        if (fd_ >= 0)
            ::close(fd_);
    }

    /*
     Whether there is a descriptor.
     */
    [[nodiscard]] explicit operator bool() const noexcept
    {
        return fd_ >= 0;
    }

    /*
     The descriptor, to be sent or mapped; -1 when there is none. It stays this object's.
     */
    [[nodiscard]] int fd() const noexcept
    {
        return fd_;
    }

    /*
     Gives the descriptor away: the caller closes it. -1 when there is none.
     */
    [[nodiscard]] int release() noexcept
    {
        return std::exchange(fd_, -1);
    }

    /*
     Another descriptor of the same region, closed on exec (fcntl(2)): EBADF; EMFILE.
     */
    [[nodiscard]] region duplicate() const
    {
        return region(detail::check(::fcntl(fd_, F_DUPFD_CLOEXEC, 0), "ashmem::region::duplicate"));
    }

    /*
     A new descriptor of the same region that can only read: ashmem_share_read_only, which says what that is good for.
     */
    [[nodiscard]] region share_read_only() const
    {
        return region(detail::check(ashmem_share_read_only(fd_), "ashmem::region::share_read_only"));
    }

    /*
     The size in bytes: ashmem_get_size.
     */
    [[nodiscard]] std::uint64_t size() const
    {
        return size_for("ashmem::region::size");
    }

    /*
     The name: ashmem_get_name.
     */
    [[nodiscard]] std::string name() const
    {
        // Longer than any name of a memfd.
        char name[256];
        const int length = detail::check(ashmem_get_name(fd_, name, sizeof name), "ashmem::region::name");
        const std::size_t all = static_cast<std::size_t>(length);
        return std::string(name, all < sizeof name ? all : sizeof name - 1);
    }

    /*
     A number that all descriptors of one region have in common, in all processes: ashmem_get_file_id.
     */
    [[nodiscard]] std::uint64_t file_id() const
    {
        std::uint64_t id = 0;
        detail::check(ashmem_get_file_id(fd_, &id), "ashmem::region::file_id");
        return id;
    }

    /*
     What mappings may do: a mask of PROT_READ, PROT_WRITE and PROT_EXEC. ashmem_get_prot.
     */
    [[nodiscard]] int protection() const
    {
        return detail::check(ashmem_get_prot(fd_), "ashmem::region::protection");
    }

    /*
     Takes protection bits away: `mask` is what is left, for all processes and for good. ashmem_set_prot_region.
     */
    void set_protection(int mask) const
    {
        detail::check(ashmem_set_prot_region(fd_, mask), "ashmem::region::set_protection");
    }

    /*
     Pins pages, and says whether they are still there, which is told once: ashmem_pin.
     */
    [[nodiscard]] ashmem::contents pin(std::uint64_t offset = 0, std::uint64_t length = 0) const
    {
        return static_cast<ashmem::contents>(
            detail::check(ashmem_pin(fd_, offset, length), "ashmem::region::pin"));
    }

    /*
     Unpins pages: they may be taken away. ashmem_unpin.
     */
    void unpin(std::uint64_t offset = 0, std::uint64_t length = 0) const
    {
        detail::check(ashmem_unpin(fd_, offset, length), "ashmem::region::unpin");
    }

    /*
     Whether pages may be taken away: ashmem_get_pin_status.
     */
    [[nodiscard]] ashmem::pin_status pin_status(std::uint64_t offset = 0, std::uint64_t length = 0) const
    {
        return static_cast<ashmem::pin_status>(
            detail::check(ashmem_get_pin_status(fd_, offset, length), "ashmem::region::pin_status"));
    }

    /*
     Takes all unpinned pages away now, and says how many bytes they have: ashmem_purge.
     */
    std::uint64_t purge() const
    {
        std::uint64_t purged = 0;
        detail::check(ashmem_purge(fd_, &purged), "ashmem::region::purge");
        return purged;
    }

    /*
     Pages by their state, and bytes in memory: ashmem_get_stats.
     */
    [[nodiscard]] ashmem_stats stats() const
    {
        ashmem_stats stats = {};
        detail::check(ashmem_get_stats(fd_, &stats), "ashmem::region::stats");
        return stats;
    }

    /*
     Maps a part of the region for reading and writing. `offset` is a multiple of the page size; the length need not be.

     No access can fail for a file that got too short (SIGBUS): the region is sealed against shrinking first, where it was not.

     Throws EINVAL when there is no such part; EPERM when the region lost PROT_READ or PROT_WRITE, or cannot be sealed; EACCES for a
     read-only descriptor; ENOMEM; ENOTTY when it is not a region; EBADF.
     */
    [[nodiscard]] mapping map(std::uint64_t offset = 0, std::uint64_t length = 0) const
    {
        return map_for<std::byte>(PROT_READ | PROT_WRITE, offset, length, "ashmem::region::map");
    }

    /*
     Maps a part of the region for reading: as map, and works without PROT_WRITE and with read-only descriptors.
     */
    [[nodiscard]] read_only_mapping map_read_only(std::uint64_t offset = 0, std::uint64_t length = 0) const
    {
        return map_for<const std::byte>(PROT_READ, offset, length, "ashmem::region::map_read_only");
    }

private:
    explicit region(int fd) noexcept : fd_(fd) {}

    std::uint64_t size_for(const char *operation) const
    {
        std::uint64_t size = 0;
        detail::check(ashmem_get_size(fd_, &size), operation);
        return size;
    }

    template <class Byte>
    basic_mapping<Byte> map_for(int needed, std::uint64_t offset, std::uint64_t length, const char *operation) const
    {
        if ((detail::check(ashmem_get_prot(fd_), operation) & needed) != needed)
            detail::fail(EPERM, operation);
        const int seals = detail::check(::fcntl(fd_, F_GET_SEALS), operation);
        if ((seals & F_SEAL_SHRINK) == 0)
            detail::check(::fcntl(fd_, F_ADD_SEALS, F_SEAL_SHRINK), operation);
        // The kernel would map what lies behind the data, too.
        const std::uint64_t size = size_for(operation);
        if (offset >= size || length > size - offset)
            detail::fail(EINVAL, operation);
        const std::uint64_t wanted = length == 0 ? size - offset : length;
        const auto bytes = static_cast<std::size_t>(wanted);
        const auto start = static_cast<::off_t>(offset);
        if (bytes != wanted || static_cast<std::uint64_t>(start) != offset)
            detail::fail(ENOMEM, operation);
        void *const data = ::mmap(nullptr, bytes, needed, MAP_SHARED, fd_, start);
        if (data == MAP_FAILED)
            detail::fail(errno, operation);
        return basic_mapping<Byte>(static_cast<Byte *>(data), bytes);
    }

    int fd_ = -1;
};

/*
 Pages that no purge takes away, in any process, until the lease ends: ashmem_lease_take, which says more. It outlives its region
 object.
 */
class [[nodiscard]] lease {
public:
    /*
     Leases pages of a region.
     */
    explicit lease(const region &leased, std::uint64_t offset = 0, std::uint64_t length = 0)
    {
        ashmem_lease *taken = nullptr;
        contents_ = static_cast<ashmem::contents>(
            detail::check(ashmem_lease_take(leased.fd(), offset, length, &taken), "ashmem::lease"));
        taken_.reset(taken);
    }

    /*
     Whether everything was there when the lease began. If so, it is until the lease ends.
     */
    [[nodiscard]] ashmem::contents contents() const noexcept
    {
        return contents_;
    }

    /*
     Ends it now. Ending what has ended does nothing.
     */
    void end() noexcept
    {
        taken_.reset();
    }

private:
    struct ending {
        void operator()(ashmem_lease *taken) const noexcept
        {
            ashmem_lease_end(taken);
        }
    };

    std::unique_ptr<ashmem_lease, ending> taken_;
    ashmem::contents contents_ = ashmem::contents::intact;
};

/*
 Pages that are pinned until the guard ends; they may go when the last guard of them has ended. ashmem_pin_guard_take, which says more.
 It outlives its region object.
 */
class [[nodiscard]] pin_guard {
public:
    /*
     Pins pages of a region.
     */
    explicit pin_guard(const region &pinned, std::uint64_t offset = 0, std::uint64_t length = 0)
    {
        ashmem_pin_guard *taken = nullptr;
        contents_ = static_cast<ashmem::contents>(
            detail::check(ashmem_pin_guard_take(pinned.fd(), offset, length, &taken), "ashmem::pin_guard"));
        taken_.reset(taken);
    }

    /*
     Whether everything was there when the guard began.
     */
    [[nodiscard]] ashmem::contents contents() const noexcept
    {
        return contents_;
    }

    /*
     Ends it now. Ending what has ended does nothing.
     */
    void end() noexcept
    {
        taken_.reset();
    }

private:
    struct ending {
        void operator()(ashmem_pin_guard *taken) const noexcept
        {
            ashmem_pin_guard_end(taken);
        }
    };

    std::unique_ptr<ashmem_pin_guard, ending> taken_;
    ashmem::contents contents_ = ashmem::contents::intact;
};

/*
 Calls something after each purge by this process's reclaimer, until it ends: ashmem_on_purge.

 Calls come in whatever thread purged, also in several at once. What they throw is caught and dropped. Once the listener has ended, no
 call is running and none will begin; if it ends within a call, that one goes on to its end, and the callable lives as
 long.
 */
class [[nodiscard]] purge_listener {
public:
    /*
     Takes anything that can be called with a const ashmem_purge_event &. Throws EINVAL for a null pointer.
     */
    template <class Callable,
              class = std::enable_if_t<!std::is_same_v<std::decay_t<Callable>, purge_listener> &&
                                       std::is_invocable_v<std::decay_t<Callable> &, const ashmem_purge_event &>>>
    explicit purge_listener(Callable &&callable)
    {
        constexpr const char *operation = "ashmem::purge_listener";
        using function = std::decay_t<Callable>;
        auto made = std::make_shared<callback_of<function>>(std::forward<Callable>(callable));
        if constexpr (std::is_pointer_v<function>) {
            if (made->function_ == nullptr)
                detail::fail(EINVAL, operation);
        }
        ashmem_purge_listener *const listener = ashmem_on_purge(called, static_cast<callback *>(made.get()));
        if (listener == nullptr)
            detail::fail(errno, operation);
        registered_ = registration(listener, removing{std::move(made)});
    }

    /*
     Ends it now. Ending what has ended does nothing.
     */
    void end() noexcept
    {
        registered_ = registration();
    }

private:
    struct callback : std::enable_shared_from_this<callback> {
        virtual ~callback() = default;
        virtual void call(const ashmem_purge_event &event) = 0;
    };

    template <class Function>
    struct callback_of final : callback {
        template <class Callable>
        explicit callback_of(Callable &&callable) : function_(std::forward<Callable>(callable))
        {
        }

        void call(const ashmem_purge_event &event) override
        {
            std::invoke(function_, event);
        }

        Function function_;
    };

    /* What is called is freed after it was removed. */
    struct removing {
        void operator()(ashmem_purge_listener *listener) const noexcept
        {
            ashmem_remove_listener(listener);
        }

        std::shared_ptr<callback> callback_;
    };

    using registration = std::unique_ptr<ashmem_purge_listener, removing>;

    /* What C calls. */
    static void called(const ashmem_purge_event *event, void *data) noexcept
    {
        // The call may end the listener.
        const std::shared_ptr<callback> kept = static_cast<callback *>(data)->shared_from_this();
        try {
            kept->call(*event);
        } catch (...) {
            // There is nobody to tell.
        }
    }

    registration registered_;
};

/*
 The policy of a reclaimer that was told nothing: a copy of it is what to start from.
 */
inline constexpr ashmem_policy default_policy = {ASHMEM_DEFAULT, ASHMEM_DEFAULT, ASHMEM_DEFAULT, ASHMEM_DEFAULT};

/*
 Sets when this process's reclaimer takes unpinned pages away, and how many: ashmem_set_policy.
 */
inline void set_policy(const ashmem_policy &policy = default_policy)
{
    detail::check(ashmem_set_policy(&policy), "ashmem::set_policy");
}

/*
 Takes unpinned pages of this process's regions away now, until `bytes` of memory are free or nothing is left, and says what went:
 ashmem_reclaim.
 */
inline ashmem_freed reclaim(std::uint64_t bytes = UINT64_MAX)
{
    ashmem_freed freed = {};
    detail::check(ashmem_reclaim(bytes, &freed), "ashmem::reclaim");
    return freed;
}

/*
 What this process's reclaimer did so far: ashmem_get_metrics.
 */
[[nodiscard]] inline ashmem_metrics metrics()
{
    ashmem_metrics metrics = {};
    detail::check(ashmem_get_metrics(&metrics), "ashmem::metrics");
    return metrics;
}

/*
 Whether a descriptor names a region: ashmem_valid. It stays the caller's.
 */
[[nodiscard]] inline bool is_region(int fd) noexcept
{
    return ashmem_valid(fd) == 1;
}

} // namespace ashmem

#endif /* ASHMEM_HPP */
