"""Sends the cases of multipart-form-data-conformance to a server that answers as tests/forms/view.rs does, and compares what arrived.

usage: conformance.py PORT
"""
import base64
import hashlib
import json
import pathlib
import socket
import sys

import multipart_form_data_conformance as suite

# Left out: what the case wants taken, and why it is refused with 400 instead.
REFUSED = {
    "061-lf-only-lenient": "lines end with CRLF; the case itself says that strict readers should refuse a bare LF",
    "062-mixed-endings": "as above",
    "085-header-folding": "folded lines are refused here as in the head of a request (RFC 9112 section 5.2)",
    "208-duplicate-headers": "two readers would take two different names; the case itself says that refusing is right, too",
    "210-control-chars-in-name": "no control characters in field lines, NUL least of all",
}


def ask(port, content_type, body):
    head = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def octets(text):
    return text.encode("latin-1")


def text(value):
    return None if value is None else octets(value).decode()


def differs(wanted, found):
    pairs = [("name", "name"), ("filename", "filename"), ("filename_star", "filename_extended"), ("content_type", "content_type")]
    for theirs, ours in pairs:
        if wanted.get(theirs) != text(found[ours]):
            return f"{theirs} is {found[ours]!r}, not {wanted.get(theirs)!r}"
    for name, value in wanted.get("headers", {}).items():
        if (name, value) not in [(line[0].lower(), text(line[1])) for line in found["headers"]]:
            return f"the field {name} is missing"
    body = octets(found["body"])
    if len(body) != wanted["body_size"]:
        return f"{len(body)} octets, not {wanted['body_size']}"
    if "body_text" in wanted and body != wanted["body_text"].encode():
        return "another text"
    if "body_base64" in wanted and body != base64.b64decode(wanted["body_base64"]):
        return "other octets"
    if "body_sha256" in wanted and hashlib.sha256(body).hexdigest() != wanted["body_sha256"]:
        return "another hash"
    if not {"body_text", "body_base64", "body_sha256"} & set(wanted):
        return "nothing to compare the body with"
    return None


def judge(case, port):
    wanted = json.loads((case / "test.json").read_text())["expected"]
    content_type = json.loads((case / "headers.json").read_text())["content-type"]
    status, answer = ask(port, content_type, (case / "input.raw").read_bytes())
    if case.name in REFUSED or not wanted["valid"]:
        return None if status == 400 else f"taken ({status}), not refused"
    if status != 200:
        return f"refused: {status} {answer.decode().strip()}"
    found = json.loads(answer)["parts"]
    if found is None or len(found) != len(wanted["parts"]):
        return f"{found} instead of {len(wanted['parts'])} parts"
    return next(filter(None, map(differs, wanted["parts"], found)), None)


def main():
    port = int(sys.argv[1])
    cases = sorted(path.parent for path in pathlib.Path(suite.get_tests_dir()).rglob("test.json"))
    missing = set(REFUSED) - {case.name for case in cases}
    failures = [f"{case.name}: {why}" for case in cases if (why := judge(case, port))]
    failures += [f"{name} is left out, but there is no such case" for name in missing]
    print(f"{len(cases)} cases, {len(REFUSED)} left out, {len(failures)} failures", *failures, sep="\n")
    sys.exit(bool(failures))


main()
