/* For the programs that use <ashmem.hpp>. */
#ifndef CPP_CHECK_HPP
#define CPP_CHECK_HPP

#include <ashmem.hpp>

#include <string>
#include <system_error>

#include "check.h"

/* Whether an action throws exactly this errno, and names this operation. */
template <class Action>
bool throws(int number, const std::string &operation, Action action)
{
    try {
        action();
    } catch (const std::system_error &error) {
        const std::string what = error.what();
        const bool expected = error.code() == std::error_code(number, std::generic_category()) &&
                              what.compare(0, operation.size() + 2, operation + ": ") == 0;
        if (!expected)
            std::fprintf(stderr, "thrown: %s (%d)\n", what.c_str(), error.code().value());
        return expected;
    }
    return false;
}

/* The reclaimer takes nothing by itself, however short of memory the machine is. */
inline void leave_memory_alone()
{
    ashmem_policy policy = ashmem::default_policy;
    policy.reserve = 0;
    policy.stall_bytes = 0;
    ashmem::set_policy(policy);
}

/* A page's size in bytes. */
inline std::size_t page()
{
    return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

/* A descriptor's duplicate with a number that no other thread takes meanwhile. */
inline int far_duplicate(int fd, int number)
{
    CHECK(::dup2(fd, number) == number);
    return number;
}

inline bool is_open(int fd)
{
    return ::fcntl(fd, F_GETFD) != -1;
}

#endif
