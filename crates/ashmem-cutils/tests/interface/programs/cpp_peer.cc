/* A process that receives a region, with the wrapper, and does what it is asked as examples/c/producer.c does. */
#include <ashmem.hpp>

#include <cstring>
#include <optional>

#include <sys/socket.h>

static ashmem::region receive(int from)
{
    char byte;
    iovec bytes = {&byte, 1};
    alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))];
    msghdr message = {};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    int fd = -1;
    if (::recvmsg(from, &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message) != nullptr)
        std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return ashmem::region::from_fd(fd);
}

static void build(const ashmem::mapping &squares)
{
    for (std::size_t i = 0; i < squares.count<std::uint64_t>(); i++)
        squares.as<std::uint64_t>()[i] = i * i;
}

static std::int64_t answer(char request, const ashmem::region &region, std::optional<ashmem::lease> &lease)
{
    switch (request) {
    case 'u':
        region.unpin();
        return 0;
    case 'p':
        return static_cast<std::int64_t>(region.purge());
    case 'b':
        if (region.pin() == ashmem::contents::intact)
            return 0;
        build(region.map());
        return 1;
    case 'h':
        lease.emplace(region);
        return lease->contents() == ashmem::contents::purged;
    case 'e':
        lease.reset();
        return 0;
    case 'r':
        region.set_protection(PROT_READ);
        return 0;
    default:
        return -EINVAL;
    }
}

int main()
{
    const ashmem::region region = receive(STDIN_FILENO);
    std::optional<ashmem::lease> lease;
    char request;
    while (::read(STDIN_FILENO, &request, 1) == 1) {
        std::int64_t number;
        try {
            number = answer(request, region, lease);
        } catch (const std::system_error &error) {
            number = -error.code().value();
        }
        if (::write(STDIN_FILENO, &number, sizeof number) != sizeof number)
            return 1;
    }
}
