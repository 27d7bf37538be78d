//! The agent's control socket, as a client: one question, one JSON answer, over HTTP/1.1 on a unix socket.
//!
//! The client asks for `Connection: close`, so that an answer ends with the stream; a chunked body (RFC 9112 §7.1) is
//! understood as well. Everything is bounded: time for reading and writing, size of an answer.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

/// For each read and write.
const PATIENCE: Duration = Duration::from_secs(3);
/// The largest answer that is read, in bytes.
const MOST: u64 = 64 << 20;

/// `GET path` at the socket; the body of a 200 answer.
///
/// # Errors
/// Nobody listens, the answer is not 200, or not the expected JSON.
pub fn fetch<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    ask(socket, "GET", path)
}

/// `POST path` at the socket, without a body; the body of a 200 answer.
///
/// # Errors
/// As [`fetch`].
pub fn post<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    ask(socket, "POST", path)
}

fn ask<T: DeserializeOwned>(socket: &Path, method: &str, path: &str) -> Result<T> {
    let context = || format!("{method} {path} at {}", socket.display());
    let mut stream = UnixStream::connect(socket).with_context(context)?;
    stream.set_read_timeout(Some(PATIENCE)).with_context(context)?;
    stream.set_write_timeout(Some(PATIENCE)).with_context(context)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .with_context(context)?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).with_context(context)?;
    let (status, body) = read_answer(&answer).with_context(context)?;
    if status != 200 {
        bail!(
            "{}: status {status}: {}",
            context(),
            String::from_utf8_lossy(&body).trim()
        );
    }
    serde_json::from_slice(&body).with_context(context)
}

/// Status and body of a whole HTTP answer.
fn read_answer(answer: &[u8]) -> Result<(u16, Vec<u8>)> {
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .context("an answer without end of header")?;
    let (head, body) = answer.split_at(end);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let body = body.get(4..).unwrap_or_default();
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .context("an answer without status")?;
    let chunked = head
        .lines()
        .any(|line| line.starts_with("transfer-encoding:") && line.contains("chunked"));
    Ok((status, if chunked { dechunk(body)? } else { body.to_vec() }))
}

fn dechunk(mut body: &[u8]) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body
            .windows(2)
            .position(|bytes| bytes == b"\r\n")
            .context("a chunk without a size line")?;
        let line = String::from_utf8_lossy(body.get(..end).unwrap_or_default()).into_owned();
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
            .context("a chunk's size")?;
        if size == 0 {
            return Ok(whole);
        }
        let chunk = end
            .checked_add(2)
            .and_then(|start| Some(start..start.checked_add(size)?))
            .context("a chunk's size")?;
        whole.extend(body.get(chunk.clone()).context("a chunk that is cut short")?);
        body = body
            .get(chunk.end..)
            .and_then(|rest| rest.strip_prefix(b"\r\n"))
            .context("a chunk without an end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::read_answer;

    #[test]
    fn reads_plain_and_chunked_answers() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(read_answer(plain).expect("plain"), (200, b"{}".to_vec()));
        let chunked = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n";
        assert_eq!(
            read_answer(chunked).expect("chunked"),
            (404, b"{\"a\":1}".to_vec())
        );
    }

    #[test]
    fn refuses_answers_that_are_cut_short() {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        ] {
            assert!(read_answer(answer.as_bytes()).is_err(), "{answer}");
        }
    }
}
