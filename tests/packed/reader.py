"""Serves so many requests with packed calls alone: the reference reader of docs/packed.md in Python."""

import ctypes
import select
import struct
import sys

HEADER = struct.Struct("=4s7I")  # magic, version, capacity, used, count, needed, record size, records
# token, tag, kind, event flags, reason; flags, method id, version, listener, family, port, 0;
# fourteen places of method ... body; body length, journey flags, 0, ten times, 0
RECORD = struct.Struct("=2Q2HI I6H 28I Q2I11Q")
ENTRY = struct.Struct("=4I")
ANSWERS = struct.Struct("=4s5IQ")  # magic, version, used, count, record size, records, 0
ANSWER = struct.Struct("=Q2HI6I")  # token, status, flags, 0, the places of type, headers, body
assert (HEADER.size, RECORD.size, ANSWERS.size, ANSWER.size) == (32, 256, 32, 40)
PLACES, TARGET, HEADERS = 12, 1, 8


def place(record, index):
    return record[PLACES + 2 * index], record[PLACES + 2 * index + 1]


def answers(block):
    """Reads a block of requests and makes the block of their answers: the target, a semicolon, the field x-number."""
    magic, version, _capacity, used, count, _needed, size, first = HEADER.unpack_from(block)
    assert (magic, version) == (b"INPQ", 1) and used <= len(block)
    records, octets = bytearray(), bytearray(b"text/plain")
    base = ANSWERS.size + count * ANSWER.size
    for at in range(first, first + count * size, size):
        record = RECORD.unpack_from(block, at)
        start, length = place(record, TARGET)
        table, entries = place(record, HEADERS)
        number = b""
        for line in range(table, table + entries * ENTRY.size, ENTRY.size):
            name, name_length, value, value_length = ENTRY.unpack_from(block, line)
            if block[name : name + name_length] == b"x-number":
                number = block[value : value + value_length]
        body = block[start : start + length] + b";" + number
        records += ANSWER.pack(record[0], 200, 0, 0, base, 10, 0, 0, base + len(octets), len(body))
        octets += body
    header = ANSWERS.pack(b"INPR", 1, base + len(octets), count, ANSWER.size, ANSWERS.size, 0)
    return header + bytes(records + octets)


def main():
    library, wanted = ctypes.CDLL(sys.argv[1]), int(sys.argv[2])
    for name in ("ingest_options_new", "ingest_server_new", "ingest_server_queue"):
        getattr(library, name).restype = ctypes.c_void_p
    options = ctypes.c_void_p(library.ingest_options_new())
    assert library.ingest_options_set(options, b"delivery", b"queue", None) == 0
    server = ctypes.c_void_p(library.ingest_server_new(options))
    library.ingest_options_free(options)
    listener = library.ingest_server_listen(server, b"http://127.0.0.1:0", None, None)
    assert listener >= 0 and library.ingest_server_start(server, None) == 0
    print(library.ingest_server_port(server, listener), flush=True)
    queue = ctypes.c_void_p(library.ingest_server_queue(server, 0))
    descriptor = library.ingest_queue_fd(queue)
    block = ctypes.create_string_buffer(256 * 1024)
    capacity, served = ctypes.c_size_t(len(block)), 0
    while served < wanted:
        found = library.ingest_queue_poll_packed(queue, block, capacity)
        assert found >= 0, found
        if found == 0:
            assert select.select([descriptor], [], [], 10)[0], f"nothing came for ten seconds after {served}"
            continue
        flat = answers(ctypes.string_at(block, HEADER.unpack_from(block)[3]))
        taken = library.ingest_respond_packed(server, flat, ctypes.c_size_t(len(flat)))
        assert taken == found, (taken, found)
        served += found
    # The clients say when they have read all: a drain would cut pipelined answers short.
    sys.stdin.read()
    library.ingest_server_drain(server, -1)
    library.ingest_server_join(server, 10000)
    assert library.ingest_server_free(server) == 0
    print("served")


main()
