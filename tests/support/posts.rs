//! POST requests with a body in each framing. `fields` are whole lines of the head, each with its CRLF.

/// Framed by its length.
pub fn whole(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST /f HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// In chunks of this size, with a trailer field behind them.
pub fn chunked(fields: &str, body: &[u8], size: usize) -> Vec<u8> {
    let mut wire = format!("POST /c HTTP/1.1\r\nHost: x\r\n{fields}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(size) {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\nChecksum: none\r\n\r\n");
    wire
}
