/* Prints what a C compiler makes of include/ingest.h: sizes, alignments, offsets and constants, one a line, for tests/abi.rs. */
#include <ingest.h>
#include <stdio.h>

#define TYPE(type) printf("type %s %zu %zu\n", #type, sizeof(type), _Alignof(type))
#define FIELD(type, field) printf("field %s.%s %zu %zu\n", #type, #field, offsetof(type, field), sizeof(((type *)0)->field))
#define CONSTANT(name) printf("constant %s %lld\n", #name, (long long)(name))

static void types(void) {
  TYPE(ingest_status);
  TYPE(ingest_token);
  TYPE(ingest_on_events);
  TYPE(ingest_on_log);
  TYPE(ingest_on_thread);

  TYPE(ingest_slice);
  FIELD(ingest_slice, ptr);
  FIELD(ingest_slice, len);

  TYPE(ingest_header);
  FIELD(ingest_header, name);
  FIELD(ingest_header, value);

  TYPE(ingest_error);
  FIELD(ingest_error, status);
  FIELD(ingest_error, os_errno);
  FIELD(ingest_error, text);

  TYPE(ingest_peer);
  FIELD(ingest_peer, size);
  FIELD(ingest_peer, family);
  FIELD(ingest_peer, port);
  FIELD(ingest_peer, address);
  FIELD(ingest_peer, text);

  TYPE(ingest_tls);
  FIELD(ingest_tls, size);
  FIELD(ingest_tls, flags);
  FIELD(ingest_tls, version);
  FIELD(ingest_tls, cipher_suite);
  FIELD(ingest_tls, group);
  FIELD(ingest_tls, reserved);
  FIELD(ingest_tls, server_name);
  FIELD(ingest_tls, alpn);
  FIELD(ingest_tls, client_certificate);
  FIELD(ingest_tls, client_subject);
  FIELD(ingest_tls, client_issuer);
  FIELD(ingest_tls, client_serial);
  FIELD(ingest_tls, client_fingerprint);
  FIELD(ingest_tls, client_names);
  FIELD(ingest_tls, client_name_count);
  FIELD(ingest_tls, client_not_before);
  FIELD(ingest_tls, client_not_after);

  TYPE(ingest_pairs);
  FIELD(ingest_pairs, size);
  FIELD(ingest_pairs, count);
  FIELD(ingest_pairs, items);

  TYPE(ingest_part);
  FIELD(ingest_part, size);
  FIELD(ingest_part, flags);
  FIELD(ingest_part, name);
  FIELD(ingest_part, filename);
  FIELD(ingest_part, filename_extended);
  FIELD(ingest_part, content_type);
  FIELD(ingest_part, headers);
  FIELD(ingest_part, header_count);
  FIELD(ingest_part, body);
  FIELD(ingest_part, body_fd);
  FIELD(ingest_part, reserved);
  FIELD(ingest_part, body_offset);
  FIELD(ingest_part, body_len);

  TYPE(ingest_parts);
  FIELD(ingest_parts, size);
  FIELD(ingest_parts, count);
  FIELD(ingest_parts, items);

  TYPE(ingest_journey);
  FIELD(ingest_journey, size);
  FIELD(ingest_journey, flags);
  FIELD(ingest_journey, received_at_ns);
  FIELD(ingest_journey, delivered_at_ns);
  FIELD(ingest_journey, accept_ns);
  FIELD(ingest_journey, handshake_ns);
  FIELD(ingest_journey, read_ns);
  FIELD(ingest_journey, decrypt_ns);
  FIELD(ingest_journey, parse_ns);
  FIELD(ingest_journey, decode_ns);
  FIELD(ingest_journey, body_wait_ns);
  FIELD(ingest_journey, queue_ns);
  FIELD(ingest_journey, handshake_began_at_ns);
  FIELD(ingest_journey, handshake_ended_at_ns);
  FIELD(ingest_journey, spool_ns);

  TYPE(ingest_request);
  FIELD(ingest_request, size);
  FIELD(ingest_request, flags);
  FIELD(ingest_request, token);
  FIELD(ingest_request, method_id);
  FIELD(ingest_request, http_version);
  FIELD(ingest_request, listener);
  FIELD(ingest_request, reserved);
  FIELD(ingest_request, method);
  FIELD(ingest_request, target);
  FIELD(ingest_request, path);
  FIELD(ingest_request, query);
  FIELD(ingest_request, scheme);
  FIELD(ingest_request, authority);
  FIELD(ingest_request, headers);
  FIELD(ingest_request, header_count);
  FIELD(ingest_request, body);
  FIELD(ingest_request, body_fd);
  FIELD(ingest_request, body_len);
  FIELD(ingest_request, peer);
  FIELD(ingest_request, tls);
  FIELD(ingest_request, query_pairs);
  FIELD(ingest_request, cookies);
  FIELD(ingest_request, form);
  FIELD(ingest_request, trailers);
  FIELD(ingest_request, journey);
  FIELD(ingest_request, encoded_len);
  FIELD(ingest_request, decoded);
  FIELD(ingest_request, parts);
  FIELD(ingest_request, charset);
  FIELD(ingest_request, deadline_ns);

  TYPE(ingest_event);
  FIELD(ingest_event, kind);
  FIELD(ingest_event, flags);
  FIELD(ingest_event, reason);
  FIELD(ingest_event, token);
  FIELD(ingest_event, tag);
  FIELD(ingest_event, request);
  FIELD(ingest_event, data);

  TYPE(ingest_response);
  FIELD(ingest_response, size);
  FIELD(ingest_response, status);
  FIELD(ingest_response, flags);
  FIELD(ingest_response, headers);
  FIELD(ingest_response, header_count);
  FIELD(ingest_response, body);
  FIELD(ingest_response, content_length);
  FIELD(ingest_response, lend);
  FIELD(ingest_response, reserved);

  TYPE(ingest_option_info);
  FIELD(ingest_option_info, size);
  FIELD(ingest_option_info, flags);
  FIELD(ingest_option_info, name);
  FIELD(ingest_option_info, kind);
  FIELD(ingest_option_info, default_value);
  FIELD(ingest_option_info, choices);
  FIELD(ingest_option_info, help);

  TYPE(ingest_stats);
  FIELD(ingest_stats, size);
  FIELD(ingest_stats, flags);
  FIELD(ingest_stats, connections_open);
  FIELD(ingest_stats, connections_accepted);
  FIELD(ingest_stats, requests_delivered);
  FIELD(ingest_stats, requests_answered);
  FIELD(ingest_stats, requests_refused);
  FIELD(ingest_stats, requests_timed_out);
  FIELD(ingest_stats, requests_abandoned);
  FIELD(ingest_stats, in_flight);
  FIELD(ingest_stats, queued);
  FIELD(ingest_stats, memory_bytes);
  FIELD(ingest_stats, bytes_received);
  FIELD(ingest_stats, bytes_sent);
  FIELD(ingest_stats, wakeups_sent);
  FIELD(ingest_stats, panics);
  FIELD(ingest_stats, accepts_failed);
  FIELD(ingest_stats, receives);
  FIELD(ingest_stats, batches_delivered);
  FIELD(ingest_stats, sends);
  FIELD(ingest_stats, refused_400);
  FIELD(ingest_stats, refused_408);
  FIELD(ingest_stats, refused_413);
  FIELD(ingest_stats, refused_414);
  FIELD(ingest_stats, refused_421);
  FIELD(ingest_stats, refused_431);
  FIELD(ingest_stats, refused_501);
  FIELD(ingest_stats, refused_503);
  FIELD(ingest_stats, refused_505);
  FIELD(ingest_stats, refused_others);
  FIELD(ingest_stats, limit_max_connections);
  FIELD(ingest_stats, limit_connections_per_ip);
  FIELD(ingest_stats, limit_header_timeout);
  FIELD(ingest_stats, limit_keepalive_timeout);
  FIELD(ingest_stats, limit_body);
  FIELD(ingest_stats, limit_write);
  FIELD(ingest_stats, limit_linger);
  FIELD(ingest_stats, limit_queue);
  FIELD(ingest_stats, limit_queue_age);
  FIELD(ingest_stats, limit_in_flight);
  FIELD(ingest_stats, limit_memory);
  FIELD(ingest_stats, connections_idle);
  FIELD(ingest_stats, connections_in_head);
  FIELD(ingest_stats, connections_in_body);
  FIELD(ingest_stats, connections_in_exchange);
  FIELD(ingest_stats, connections_sending);
  FIELD(ingest_stats, connections_lingering);
  FIELD(ingest_stats, memory_requests_bytes);
  FIELD(ingest_stats, memory_bodies_bytes);
  FIELD(ingest_stats, memory_read_ahead_bytes);
  FIELD(ingest_stats, memory_pooled_bytes);
  FIELD(ingest_stats, in_flight_max);
  FIELD(ingest_stats, queue_oldest_ns);
  FIELD(ingest_stats, connections_max);
  FIELD(ingest_stats, memory_max_bytes);
  FIELD(ingest_stats, handshakes);
  FIELD(ingest_stats, handshake_failures);
  FIELD(ingest_stats, limit_handshake);
  FIELD(ingest_stats, connections_in_handshake);
  FIELD(ingest_stats, limit_handshakes_max);
  FIELD(ingest_stats, handshakes_displaced);
  FIELD(ingest_stats, refused_415);
  FIELD(ingest_stats, decodings_offloaded);
  FIELD(ingest_stats, bodies_spooled);
  FIELD(ingest_stats, limit_spool);
  FIELD(ingest_stats, spool_failures);
  FIELD(ingest_stats, spool_bytes);
  FIELD(ingest_stats, spool_files);
  FIELD(ingest_stats, limit_queue_delay);
  FIELD(ingest_stats, limit_deadline);
  FIELD(ingest_stats, deadlines_unread);
  FIELD(ingest_stats, requests_left);
  FIELD(ingest_stats, queues_standing);
  FIELD(ingest_stats, queue_overloads);

  TYPE(ingest_log_record);
  FIELD(ingest_log_record, size);
  FIELD(ingest_log_record, level);
  FIELD(ingest_log_record, at_ns);
  FIELD(ingest_log_record, text);

  TYPE(ingest_trace);
  FIELD(ingest_trace, size);
  FIELD(ingest_trace, flags);
  FIELD(ingest_trace, token);
  FIELD(ingest_trace, journey);
  FIELD(ingest_trace, host_ns);
  FIELD(ingest_trace, respond_ns);
  FIELD(ingest_trace, send_ns);
  FIELD(ingest_trace, status);
  FIELD(ingest_trace, listener);
  FIELD(ingest_trace, reserved);
}

static void constants(void) {
  CONSTANT(INGEST_JOURNEY_EXACT);
  CONSTANT(INGEST_JOURNEY_FIRST);
  CONSTANT(INGEST_REQUEST_TLS);
  CONSTANT(INGEST_TLS_RESUMED);
  CONSTANT(INGEST_TLS_CLIENT_READ);
  CONSTANT(INGEST_TLS_CLIENT_NAMES_UNREAD);
  CONSTANT(INGEST_REQUEST_KEEP_ALIVE);
  CONSTANT(INGEST_REQUEST_HEAD);
  CONSTANT(INGEST_REQUEST_PATH_HAS_ENCODED_SLASH);
  CONSTANT(INGEST_REQUEST_PATH_HAS_ENCODED_NUL);
  CONSTANT(INGEST_REQUEST_PATH_HAS_MALFORMED_ESCAPE);
  CONSTANT(INGEST_REQUEST_CHUNKED);
  CONSTANT(INGEST_REQUEST_EXPECTS_CONTINUE);
  CONSTANT(INGEST_REQUEST_STREAMED);
  CONSTANT(INGEST_METHOD_OTHER);
  CONSTANT(INGEST_METHOD_GET);
  CONSTANT(INGEST_METHOD_HEAD);
  CONSTANT(INGEST_METHOD_POST);
  CONSTANT(INGEST_METHOD_PUT);
  CONSTANT(INGEST_METHOD_DELETE);
  CONSTANT(INGEST_METHOD_OPTIONS);
  CONSTANT(INGEST_METHOD_TRACE);
  CONSTANT(INGEST_METHOD_PATCH);
  CONSTANT(INGEST_EVENT_REQUEST);
  CONSTANT(INGEST_EVENT_BODY);
  CONSTANT(INGEST_EVENT_BODY_END);
  CONSTANT(INGEST_EVENT_GONE);
  CONSTANT(INGEST_EVENT_WRITABLE);
  CONSTANT(INGEST_EVENT_RELEASED);
  CONSTANT(INGEST_EVENT_SENT);
  CONSTANT(INGEST_EVENT_DRAINING);
  CONSTANT(INGEST_EVENT_STOPPED);
  CONSTANT(INGEST_EVENT_MESSAGE);
  CONSTANT(INGEST_EVENT_FAULT);
  CONSTANT(INGEST_GONE_READ_CLOSED);
  CONSTANT(INGEST_GONE_RESET);
  CONSTANT(INGEST_ABI_VERSION);
  CONSTANT(INGEST_OPTION_LIVE);
  CONSTANT(INGEST_OPTION_LISTENER);
  CONSTANT(INGEST_OPTION_UNBUILT);
  CONSTANT(INGEST_STATS_UNHEALTHY);
  CONSTANT(INGEST_STATS_OVERLOADED);
  CONSTANT(INGEST_LOG_ERROR);
  CONSTANT(INGEST_LOG_WARN);
  CONSTANT(INGEST_LOG_INFO);
  CONSTANT(INGEST_LOG_DEBUG);
  CONSTANT(INGEST_RESPONSE_CLOSE);
  CONSTANT(INGEST_OK);
  CONSTANT(INGEST_E_ARGUMENT);
  CONSTANT(INGEST_E_STATE);
  CONSTANT(INGEST_E_OPTION);
  CONSTANT(INGEST_E_ADDRESS);
  CONSTANT(INGEST_E_SYSTEM);
  CONSTANT(INGEST_E_TLS);
  CONSTANT(INGEST_E_MEMORY);
  CONSTANT(INGEST_E_UNSUPPORTED);
  CONSTANT(INGEST_E_GONE);
  CONSTANT(INGEST_E_BUSY);
  CONSTANT(INGEST_E_SPACE);
  CONSTANT(INGEST_E_STOPPED);
  CONSTANT(INGEST_E_INTERRUPTED);
  CONSTANT(INGEST_E_FORKED);
  CONSTANT(INGEST_E_PANIC);
  CONSTANT(INGEST_E_MALFORMED);
}

int main(void) {
  types();
  constants();
  return 0;
}
