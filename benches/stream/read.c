/* read: asks once and reads the whole answer, as fast as it can. Prints octets and nanoseconds. Usage: read PORT */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return fprintf(stderr, "usage: read PORT BYTES\n"), 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)atoi(argv[1]))};
    const char *request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    static char room[1 << 20];
    struct timespec began, ended;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) || write(fd, request, strlen(request)) < 0)
        return perror("read"), 1;
    clock_gettime(CLOCK_MONOTONIC, &began);
    long long octets = 0, wanted = atoll(argv[2]);
    /* Heads and the frames of chunks come on top of what is wanted, so the end is near, not exact. */
    while (octets < wanted) {
        ssize_t count = recv(fd, room, sizeof room, 0);
        if (count <= 0)
            return fprintf(stderr, "the answer ended after %lld octets\n", octets), 1;
        octets += count;
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    printf("%lld\n", (long long)(ended.tv_sec - began.tv_sec) * 1000000000 + ended.tv_nsec - began.tv_nsec);
    close(fd);
    return 0;
}
