/* bare: the physical limit that streaming is measured against. One thread, blocking sockets: reads a request, sends `bytes` octets in
   pieces of 64 KiB with send, or a file in pieces of 256 KiB with sendfile. Usage: bare send|file PATH BYTES */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

/* The library sends files in such pieces, too; one sendfile for all of it makes no difference here. */
enum { PIECE = 65536, FILE_PIECE = 262144 };

static int listener(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) || listen(fd, 16) || getsockname(fd, (struct sockaddr *)&address, &size)) {
        perror("bare");
        exit(1);
    }
    printf("port %u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static int send_all(int peer, const char *octets, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(peer, octets, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return -1;
        octets += sent;
        length -= (size_t)sent;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fprintf(stderr, "usage: bare send|file PATH BYTES\n"), 2;
    int file = open(argv[2], O_RDONLY), fd = listener(), one = 1;
    long long bytes = atoll(argv[3]);
    static char piece[PIECE], request[4096];
    memset(piece, 'x', sizeof piece);
    for (int peer; (peer = accept(fd, NULL, NULL)) >= 0; close(peer)) {
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        while (recv(peer, request, sizeof request, 0) > 0) {
            char head[128];
            int length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %lld\r\n\r\n", bytes);
            if (send_all(peer, head, (size_t)length))
                break;
            off_t at = 0;
            long long left = bytes;
            while (left > 0) {
                size_t most = left < PIECE ? (size_t)left : PIECE, file_most = left < FILE_PIECE ? (size_t)left : FILE_PIECE;
                ssize_t sent = argv[1][0] == 'f' ? sendfile(peer, file, &at, file_most) : send_all(peer, piece, most) ? -1 : (ssize_t)most;
                if (sent <= 0)
                    break;
                left -= sent;
            }
        }
    }
    return 0;
}
