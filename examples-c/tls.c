/* tls: hello behind TLS. Without a certificate of yours it has the openssl command make one that lasts a day, and says how to ask. */
#define _POSIX_C_SOURCE 200809L
#include "common/answer.h"
#include "common/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A certificate and its key in a folder of their own, which goes when the program ends. */
static char folder[] = "/tmp/ingest-tls-XXXXXX";
static char cert[64], key[64];

static void remove_files(void)
{
    unlink(cert);
    unlink(key);
    rmdir(folder);
}

/* Makes both for localhost; 0 when they are there. */
static int make_certificate(void)
{
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(cert, sizeof cert, "%s/cert.pem", folder);
    snprintf(key, sizeof key, "%s/key.pem", folder);
    atexit(remove_files);
    pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(127);
        execlp("openssl", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
               "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool names(const char *what, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(argv[i], what) != NULL || strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static void on_events(void *userdata, ingest_server *server, const ingest_event *events, size_t count)
{
    (void)userdata;
    for (size_t i = 0; i < count; i++)
        if (events[i].kind == INGEST_EVENT_REQUEST)
            answer(server, events[i].request);
}

int main(int argc, char **argv)
{
    program self = {
        .name = "tls",
        .about = "Answers as hello does, on https:// addresses. Certificate and key: --set tls.cert=FILE --set tls.key=FILE.",
        .delivery = "inline",
    };
    char options[2][96];
    char *arguments[argc + 7];
    memcpy(arguments, argv, sizeof *argv * (size_t)argc);
    bool made = !names("tls.cert=", argc, argv);
    if (!names("--listen", argc, argv)) {
        char *more[] = {"--listen", "https://127.0.0.1:8443"};
        memcpy(arguments + argc, more, sizeof more);
        argc += 2;
    }
    if (made) {
        if (make_certificate() != 0) {
            program_complain(&self, "the openssl command cannot make a certificate (apt-get install openssl, or --set tls.cert and tls.key)");
            return 1;
        }
        snprintf(options[0], sizeof options[0], "tls.cert=%s", cert);
        snprintf(options[1], sizeof options[1], "tls.key=%s", key);
        char *more[] = {"--set", options[0], "--set", options[1]};
        memcpy(arguments + argc, more, sizeof more);
        argc += 4;
    }
    arguments[argc] = NULL;
    ingest_server *server = program_new(&self, argc, arguments);
    ingest_server_on_events(server, on_events, NULL);
    program_start(&self, server);
    if (made && strncmp(program_listener_url(0), "https://", 8) == 0) {
        printf("try: curl --cacert %s https://localhost:%d/plaintext\n", cert, ingest_server_port(server, 0));
        fflush(stdout);
    }
    return program_finish(&self, server);
}
