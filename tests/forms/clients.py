"""Sends forms and files with requests, and compares what arrived, octet for octet.

usage: clients.py PORT
"""
import random
import sys

import requests

url = f"http://127.0.0.1:{sys.argv[1]}/"
session = requests.Session()


def sent(**arguments):
    answer = session.post(url, timeout=20, **arguments)
    assert answer.status_code == 200, answer.text
    return answer.json()


def octets(text):
    return None if text is None else text.encode("latin-1")


fields = [("a", "1"), ("a", ""), ("näme &=+%", "välue\r\n \x00"), ("", "x")]
form = sent(data=fields)["form"]
assert [(octets(name).decode(), octets(value).decode()) for name, value in form] == fields, form

noise = random.Random(7)
contents = [b"", b"\r\n", b"--", b"\r\n--", bytes(range(256)), noise.randbytes(1_000_000), b"\r\n--" * 50_000, "ä€😀".encode()]
for name in ["plain.txt", "sp ace;semi.bin", 'quo"te', "ünï.txt", "new\r\nline", "per%cent%22"]:
    files = [(f"file{index}", (name, content, "application/x-test")) for index, content in enumerate(contents)]
    parts = sent(files=files, data=[("field", "välue"), ("field", "")])["parts"]
    assert [(octets(part["name"]), octets(part["body"])) for part in parts[:2]] == [(b"field", "välue".encode()), (b"field", b"")]
    assert len(parts) == len(files) + 2
    # A name that looks escaped is not told from one that was: that is how browsers and urllib3 write it.
    expected = name.replace("%22", '"')
    for part, (field, (_, content, kind)) in zip(parts[2:], files):
        assert octets(part["name"]).decode() == field
        assert octets(part["filename"]).decode() == expected, part["filename"]
        assert part["content_type"] == kind
        assert octets(part["body"]) == content, field
print("requests: all arrived")
