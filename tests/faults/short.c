/* Preloaded before a host: the kernel seems to take one octet of every send, and to have one octet for every receive on a unix socket.
 * On TCP a receive stays as it is, since there a short one means that the socket is empty, which the library relies on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

static int is_local(int socket)
{
    int domain = 0;
    socklen_t length = sizeof domain;
    return getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
}

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    return found;
}

ssize_t recv(int socket, void *octets, size_t length, int flags)
{
    static ssize_t (*next)(int, void *, size_t, int);
    if (!next)
        *(void **)&next = real("recv");
    return next(socket, octets, length && is_local(socket) ? 1 : length, flags);
}

ssize_t send(int socket, const void *octets, size_t length, int flags)
{
    static ssize_t (*next)(int, const void *, size_t, int);
    if (!next)
        *(void **)&next = real("send");
    return next(socket, octets, length ? 1 : 0, flags);
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags)
{
    for (size_t i = 0; i < message->msg_iovlen; i++)
        if (message->msg_iov[i].iov_len)
            return send(socket, message->msg_iov[i].iov_base, 1, flags);
    return 0;
}

ssize_t sendfile(int out, int in, off_t *offset, size_t count)
{
    static ssize_t (*next)(int, int, off_t *, size_t);
    if (!next)
        *(void **)&next = real("sendfile");
    return next(out, in, offset, count ? 1 : 0);
}
