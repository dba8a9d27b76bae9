/* Calls every function with what it must refuse, and those that are not built with what they would take. No server is started. */
#include <errno.h>
#include <ingest.h>
#include <stdio.h>
#include <string.h>

static int failures;

static void expect(int line, const char *call, long long got, long long wanted) {
  if (got != wanted) {
    printf("line %d: %s is %lld, not %lld\n", line, call, got, wanted);
    failures++;
  }
}

#define EXPECT(call, wanted) expect(__LINE__, #call, (long long)(call), (long long)(wanted))
#define REFUSED(call) EXPECT(call, INGEST_E_ARGUMENT)
#define UNBUILT(call) EXPECT(call, INGEST_E_UNSUPPORTED)

static void options_are_checked(void) {
  ingest_options *options = ingest_options_new();
  ingest_error error;
  memset(&error, 1, sizeof error);
  EXPECT(options != NULL, 1);
  EXPECT(ingest_options_set(options, "keepalive_timeout", "30s", &error), INGEST_OK);
  EXPECT(error.status, INGEST_OK);
  EXPECT(strlen(error.text), 0);
  EXPECT(ingest_options_set(options, "keepalive_timout", "30s", &error), INGEST_E_OPTION);
  EXPECT(error.status, INGEST_E_OPTION);
  EXPECT(strstr(error.text, "keepalive_timeout") != NULL, 1);
  EXPECT(ingest_options_set(options, "admin", "http://127.0.0.1:0", NULL), INGEST_E_OPTION);
  char text[1000];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  EXPECT(ingest_options_set(options, text, text, &error), INGEST_E_OPTION);
  EXPECT(strlen(error.text) < sizeof error.text, 1);
  REFUSED(ingest_options_set(options, "topology", "\xff\xfe", &error));
  REFUSED(ingest_options_set(NULL, "topology", "auto", &error));
  REFUSED(ingest_options_set(options, NULL, "auto", &error));
  REFUSED(ingest_options_set(options, "topology", NULL, NULL));
  ingest_option_info info = {.size = sizeof info};
  uint32_t count = 0;
  while (ingest_option_describe(count, &info) == INGEST_OK) {
    char name[64], value[64];
    snprintf(name, sizeof name, "%.*s", (int)info.name.len, (const char *)info.name.ptr);
    snprintf(value, sizeof value, "%.*s", (int)info.default_value.len, (const char *)info.default_value.ptr);
    EXPECT(ingest_options_set(options, name, value, NULL), INGEST_OK);
    EXPECT(info.size, sizeof info);
    count++;
  }
  EXPECT(count > 60, 1);
  REFUSED(ingest_option_describe(0, NULL));
  info.size = 8;
  REFUSED(ingest_option_describe(0, &info));
  ingest_options_free(options);
  ingest_options_free(NULL);
}

static void nulls_are_refused(void) {
  ingest_error error;
  ingest_event event;
  ingest_slice value;
  ingest_stats stats = {.size = sizeof stats};
  ingest_log_record record = {.size = sizeof record};
  ingest_trace trace = {.size = sizeof trace};
  ingest_response response = {.size = sizeof response, .status = 200};
  char buffer[16];
  REFUSED(ingest_has(NULL));
  REFUSED(ingest_server_on_events(NULL, NULL, NULL));
  REFUSED(ingest_server_on_log(NULL, NULL, NULL));
  REFUSED(ingest_server_on_thread(NULL, NULL, NULL));
  REFUSED(ingest_server_listen(NULL, "http://127.0.0.1:0", NULL, &error));
  EXPECT(strstr(error.text, "server is NULL") != NULL, 1);
  REFUSED(ingest_server_listen_fd(NULL, 0, "http", NULL, &error));
  REFUSED(ingest_server_port(NULL, 0));
  REFUSED(ingest_server_start(NULL, NULL));
  REFUSED(ingest_server_run(NULL, NULL));
  REFUSED(ingest_server_fd(NULL));
  REFUSED(ingest_server_turn(NULL, 0));
  REFUSED(ingest_server_set(NULL, "io_threads", "2", &error));
  REFUSED(ingest_server_reload_tls(NULL, &error));
  REFUSED(ingest_server_drain(NULL, 0));
  REFUSED(ingest_server_stop(NULL));
  REFUSED(ingest_server_join(NULL, 0));
  EXPECT(ingest_server_free(NULL), INGEST_OK);
  REFUSED(ingest_server_stats(NULL, &stats));
  REFUSED(ingest_server_log_next(NULL, &record, buffer, sizeof buffer));
  REFUSED(ingest_server_trace_next(NULL, &trace));
  EXPECT(ingest_server_queue(NULL, 0) == NULL, 1);
  REFUSED(ingest_queue_poll(NULL, &event, 1));
  REFUSED(ingest_queue_wait(NULL, &event, 1, 0));
  REFUSED(ingest_queue_fd(NULL));
  REFUSED(ingest_queue_wake(NULL));
  REFUSED(ingest_queue_depth(NULL));
  REFUSED(ingest_queue_return(NULL, NULL, 0));
  REFUSED(ingest_queue_poll_packed(NULL, buffer, sizeof buffer));
  EXPECT(ingest_request_header(NULL, "host", 4).ptr == NULL, 1);
  EXPECT(ingest_request_query(NULL, "a", 1).ptr == NULL, 1);
  EXPECT(ingest_request_cookie(NULL, "a", 1).ptr == NULL, 1);
  EXPECT(ingest_request_form(NULL, "a", 1).ptr == NULL, 1);
  EXPECT(ingest_request_part(NULL, "a", 1).ptr == NULL, 1);
  REFUSED(ingest_request_json(NULL, "/a", 2, &value));
  REFUSED(ingest_request_credit(NULL, 1, 1));
  REFUSED(ingest_request_body_read(NULL, 1, 0, buffer, sizeof buffer));
  EXPECT(ingest_token_request(NULL, 1) == NULL, 1);
  REFUSED(ingest_token_tag(NULL, 1, 1));
  REFUSED(ingest_token_alive(NULL, 1));
  REFUSED(ingest_respond(NULL, 1, &response));
  REFUSED(ingest_respond_bytes(NULL, 1, 200, NULL, NULL, 0));
  REFUSED(ingest_respond_many(NULL, NULL, NULL, 0, NULL));
  REFUSED(ingest_respond_all(NULL, NULL, 0, 200, NULL));
  REFUSED(ingest_respond_begin(NULL, 1, &response));
  REFUSED(ingest_respond_write(NULL, 1, "", 0));
  REFUSED(ingest_respond_end(NULL, 1, NULL, 0));
  REFUSED(ingest_respond_file(NULL, 1, &response, 0, 0, 0));
  REFUSED(ingest_respond_packed(NULL, buffer, sizeof buffer));
  REFUSED(ingest_abandon(NULL, 1));
}

static void answers_are_checked(ingest_server *server) {
  struct { ingest_response known; uint64_t tail; } newer = {{.size = sizeof newer, .status = 200}, 0};
  ingest_header unnamed = {{NULL, 3}, {NULL, 0}};
  ingest_response response = {.size = sizeof response, .status = 200};
  EXPECT(ingest_respond(server, 1, &response), INGEST_E_GONE);
  EXPECT(ingest_respond(server, 1, &newer.known), INGEST_E_GONE);
  newer.tail = 1;
  REFUSED(ingest_respond(server, 1, &newer.known));
  REFUSED(ingest_respond(server, 1, NULL));
  for (unsigned status = 0; status < 1200; status += 99) {
    response.status = (uint16_t)status;
    EXPECT(ingest_respond(server, 1, &response), status >= 200 && status <= 599 ? INGEST_E_GONE : INGEST_E_ARGUMENT);
    EXPECT(ingest_respond_bytes(server, 1, response.status, NULL, "", 0),
           status >= 200 && status <= 599 ? INGEST_E_GONE : INGEST_E_ARGUMENT);
  }
  response = (ingest_response){.size = 4, .status = 200};
  REFUSED(ingest_respond(server, 1, &response));
  response = (ingest_response){.size = UINT32_MAX, .status = 200};
  REFUSED(ingest_respond(server, 1, &response));
  response = (ingest_response){.size = sizeof response, .status = 200, .flags = 0x8000};
  REFUSED(ingest_respond(server, 1, &response));
  response = (ingest_response){.size = sizeof response, .status = 200, .header_count = 1};
  REFUSED(ingest_respond(server, 1, &response));
  response = (ingest_response){.size = sizeof response, .status = 200, .headers = &unnamed, .header_count = 1};
  REFUSED(ingest_respond(server, 1, &response));
  response = (ingest_response){.size = sizeof response, .status = 200, .body = {NULL, 1}};
  REFUSED(ingest_respond(server, 1, &response));
  response = (ingest_response){.size = sizeof response, .status = 200, .content_length = 5};
  REFUSED(ingest_respond(server, 1, &response));
  response = (ingest_response){.size = sizeof response, .status = 200, .lend = 2};
  REFUSED(ingest_respond(server, 1, &response));
  response = (ingest_response){.size = sizeof response, .status = 200, .lend = 1};
  REFUSED(ingest_respond(server, 1, &response));
  REFUSED(ingest_respond_bytes(server, 1, 200, NULL, NULL, 1));
  EXPECT(ingest_respond_bytes(server, 0, 200, "text/plain", "", 0), INGEST_E_GONE);
  EXPECT(ingest_abandon(server, UINT64_MAX), INGEST_E_GONE);
  ingest_token tokens[2] = {1, 2};
  ingest_status each[2] = {7, 7};
  response = (ingest_response){.size = sizeof response, .status = 200};
  const ingest_response *responses[2] = {&response, NULL};
  EXPECT(ingest_respond_many(server, tokens, responses, 2, each), 0);
  EXPECT(each[0], INGEST_E_GONE);
  EXPECT(each[1], INGEST_E_ARGUMENT);
  EXPECT(ingest_respond_all(server, tokens, 2, 503, each), 0);
  EXPECT(each[1], INGEST_E_GONE);
  REFUSED(ingest_respond_many(server, NULL, responses, 2, each));
  REFUSED(ingest_respond_all(server, NULL, 2, 503, each));
  REFUSED(ingest_respond_all(server, tokens, 2, 100, NULL));
  REFUSED(ingest_respond_all(server, tokens, SIZE_MAX, 503, NULL));
}

static void blocks_are_checked(ingest_server *server) {
  ingest_queue *queue = ingest_server_queue(server, 0);
  uint32_t block[64] = {0};
  REFUSED(ingest_queue_poll_packed(queue, NULL, sizeof block));
  REFUSED(ingest_queue_poll_packed(queue, block, 0));
  REFUSED(ingest_queue_poll_packed(queue, block, 31));
  EXPECT(block[0], 0);
  EXPECT(ingest_queue_poll_packed(queue, block, 32), 0);
  EXPECT(memcmp(block, "INPQ", 4), 0);
  EXPECT(block[1], 1);
  EXPECT(block[3], 32);
  REFUSED(ingest_respond_packed(server, NULL, sizeof block));
  REFUSED(ingest_respond_packed(server, block, 0));
  REFUSED(ingest_respond_packed(server, block, sizeof block));
  memcpy(block, "INPR", 4);
  block[2] = 72;
  block[3] = 1;
  block[4] = 40;
  block[5] = 32;
  block[6] = block[7] = 0;
  memset(block + 8, 0, 40);
  EXPECT(ingest_respond_packed(server, block, sizeof block), 0);
  REFUSED(ingest_respond_packed(server, block, 71));
  block[3] = 2;
  REFUSED(ingest_respond_packed(server, block, sizeof block));
  EXPECT(ingest_request_body_read(server, 1, 0, block, sizeof block), INGEST_E_GONE);
  EXPECT(ingest_request_body_read(server, 1, 0, NULL, 0), INGEST_E_GONE);
  REFUSED(ingest_request_body_read(server, 1, 0, NULL, 1));
}

static void unbuilt_calls_say_so(ingest_server *server) {
  ingest_error error;
  ingest_trace trace = {.size = sizeof trace};
  ingest_queue *queue = ingest_server_queue(server, 0);
  ingest_token token = 1;
  REFUSED(ingest_server_turn(server, -2));
  EXPECT(ingest_server_set(server, "keepalive_timeout", "30s", &error), INGEST_OK);
  EXPECT(ingest_server_set(server, "io_threads", "2", &error), INGEST_E_OPTION);
  EXPECT(strstr(error.text, "cannot change while a server runs") != NULL, 1);
  EXPECT(ingest_server_set(server, "keepalive_timeout", "30", &error), INGEST_E_OPTION);
  EXPECT(ingest_server_reload_tls(server, &error), INGEST_E_STATE);
  UNBUILT(ingest_server_trace_next(server, &trace));
  EXPECT(queue != NULL, 1);
  EXPECT(ingest_queue_return(queue, &token, 1), 0);
  EXPECT(ingest_request_credit(server, token, 1), INGEST_E_GONE);
}

static void listeners_are_checked(ingest_server *server, const ingest_options *not_a_listeners) {
  ingest_error error;
  REFUSED(ingest_server_listen(server, NULL, NULL, &error));
  EXPECT(ingest_server_listen(server, "gopher", NULL, &error), INGEST_E_ADDRESS);
  EXPECT(ingest_server_listen(server, "http://127.0.0.1:0", not_a_listeners, &error), INGEST_E_OPTION);
  EXPECT(ingest_server_listen(server, "http+unix:", NULL, &error), INGEST_E_ADDRESS);
  EXPECT(ingest_server_listen(server, "http+fd:1048575", NULL, &error), INGEST_E_ADDRESS);
  EXPECT(ingest_server_listen(server, "https+fd:3", NULL, &error), INGEST_E_TLS);
  REFUSED(ingest_server_listen_fd(server, -1, "http", NULL, &error));
  REFUSED(ingest_server_listen_fd(server, 1048575, "http", NULL, &error));
  EXPECT(error.os_errno, EBADF);
  REFUSED(ingest_server_listen_fd(server, 1, NULL, NULL, &error));
  REFUSED(ingest_server_listen_fd(server, 1, "gopher", NULL, &error));
  EXPECT(ingest_server_listen_fd(server, 1, "https", NULL, &error), INGEST_E_TLS);
  EXPECT(ingest_server_listen_fd(server, 1, "http", not_a_listeners, &error), INGEST_E_OPTION);
  REFUSED(ingest_server_port(server, -1));
  REFUSED(ingest_server_port(server, 99));
}

static void streams_are_checked(ingest_server *server) {
  ingest_header unnamed = {{NULL, 3}, {NULL, 0}}, split = {{(const uint8_t *)"a", 1}, {(const uint8_t *)"b\r\nc", 4}};
  ingest_response response = {.size = sizeof response, .status = 200, .content_length = -1};
  for (unsigned status = 0; status < 1200; status += 101) {
    response.status = (uint16_t)status;
    EXPECT(ingest_respond_begin(server, 1, &response),
           status >= 100 && status <= 599 && status != 101 ? INGEST_E_GONE : INGEST_E_ARGUMENT);
  }
  REFUSED(ingest_respond_begin(server, 1, NULL));
  response = (ingest_response){.size = sizeof response, .status = 200, .content_length = -2};
  REFUSED(ingest_respond_begin(server, 1, &response));
  response = (ingest_response){.size = sizeof response, .status = 200, .lend = 1};
  REFUSED(ingest_respond_begin(server, 1, &response));
  REFUSED(ingest_respond_file(server, 1, &response, 0, 0, 0));
  response = (ingest_response){.size = sizeof response, .status = 200, .body = {(const uint8_t *)"x", 1}};
  REFUSED(ingest_respond_begin(server, 1, &response));
  REFUSED(ingest_respond_file(server, 1, &response, 0, 0, 0));
  response = (ingest_response){.size = sizeof response, .status = 200, .headers = &split, .header_count = 1};
  REFUSED(ingest_respond_begin(server, 1, &response));
  response.status = 103;
  REFUSED(ingest_respond_begin(server, 1, &response));
  EXPECT(ingest_respond_write(server, 1, "", 0), INGEST_E_GONE);
  REFUSED(ingest_respond_write(server, 1, NULL, 1));
  EXPECT(ingest_respond_end(server, UINT64_MAX, NULL, 0), INGEST_E_GONE);
  REFUSED(ingest_respond_end(server, 1, NULL, 1));
  REFUSED(ingest_respond_end(server, 1, &unnamed, 1));
  REFUSED(ingest_respond_end(server, 1, &split, 1));
  response = (ingest_response){.size = sizeof response, .status = 200};
  REFUSED(ingest_respond_file(server, 1, &response, -1, 0, 0));
  REFUSED(ingest_respond_file(server, 1, &response, 1 << 20, 0, 0));
}

static void servers_are_checked(void) {
  ingest_options *options = ingest_options_new();
  ingest_event event;
  ingest_server *server = ingest_server_new(NULL);
  EXPECT(server != NULL, 1);
  ingest_options_set(options, "io_threads", "1", NULL);
  REFUSED(ingest_server_drain(server, -2));
  REFUSED(ingest_server_join(server, -2));
  REFUSED(ingest_server_stats(server, NULL));
  ingest_stats stats = {.size = 4};
  REFUSED(ingest_server_stats(server, &stats));
  stats.size = 16;
  stats.connections_accepted = 77;
  EXPECT(ingest_server_stats(server, &stats), INGEST_OK);
  EXPECT(stats.connections_accepted, 77);
  EXPECT(ingest_server_queue(server, 1000) == NULL, 1);
  ingest_queue *queue = ingest_server_queue(server, 0);
  REFUSED(ingest_queue_poll(queue, NULL, 1));
  REFUSED(ingest_queue_poll(queue, &event, 0));
  REFUSED(ingest_queue_wait(queue, &event, 1, -2));
  EXPECT(ingest_token_alive(server, 1), 0);
  EXPECT(ingest_token_tag(server, 1, 1), INGEST_E_GONE);
  EXPECT(ingest_token_request(server, 1) == NULL, 1);
  EXPECT(ingest_server_on_log(server, NULL, NULL), INGEST_OK);
  EXPECT(ingest_server_on_thread(server, NULL, NULL), INGEST_OK);
  ingest_log_record record = {.size = sizeof record};
  char text[16] = {1};
  EXPECT(ingest_server_log_next(server, &record, text, sizeof text), INGEST_E_BUSY);
  EXPECT(ingest_server_log_next(server, &record, NULL, 0), INGEST_E_BUSY);
  REFUSED(ingest_server_log_next(server, &record, NULL, 1));
  REFUSED(ingest_server_log_next(server, NULL, text, sizeof text));
  record.size = 8;
  REFUSED(ingest_server_log_next(server, &record, text, sizeof text));
  listeners_are_checked(server, options);
  answers_are_checked(server);
  streams_are_checked(server);
  blocks_are_checked(server);
  unbuilt_calls_say_so(server);
  EXPECT(ingest_server_free(server), INGEST_OK);
  ingest_options_free(options);
}

int main(void) {
  EXPECT(ingest_abi_version(), INGEST_ABI_VERSION);
  EXPECT(ingest_has("queue"), 1);
  EXPECT(strcmp(ingest_status_name(INGEST_E_GONE), "INGEST_E_GONE"), 0);
  options_are_checked();
  nulls_are_refused();
  servers_are_checked();
  if (failures == 0)
    puts("all arguments are checked");
  return failures == 0 ? 0 : 1;
}
