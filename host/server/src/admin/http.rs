//! One HTTP/1.1 exchange over a connection of its own, bounded in size and time; or a stream of lines, bounded in
//! silence.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpStream, ToSocketAddrs as _},
    time::{Duration, Instant},
};

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Display for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Sends a request and reads the whole answer. `token` and the preference (RFC 7240) hold no character that ends a header.
pub(crate) fn exchange(
    to: &Authority,
    (method, preference): (&str, Option<&str>),
    path: &str,
    token: &str,
    body: &str,
) -> io::Result<Response> {
    let deadline = Instant::now() + WITHIN;
    let mut stream = sent(to, (method, preference), path, token, body)?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What a read timeout is called differs.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
        if bytes.len() > MOST {
            return Err(io::Error::other("the answer is longer than any of an agent-host"));
        }
    }
    parse(&bytes).ok_or_else(|| io::Error::other("the answer is no HTTP, or broke off"))
}

/// Asks for a stream, and hands each of its lines to `each` until that answers `false` or the stream ends. What is no
/// stream is answered as by [`exchange`].
pub(crate) fn lines(
    to: &Authority,
    path: &str,
    token: &str,
    mut each: impl FnMut(&str) -> bool,
) -> io::Result<Option<Response>> {
    let stream = sent(to, ("GET", None), path, token, "")?;
    // A host says something every 15 s.
    stream.set_read_timeout(Some(WITHIN))?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if head.len() > MOST_LINE || line(&mut reader, &mut head)? == 0 {
            return Err(io::Error::other("the answer is no HTTP, or broke off"));
        }
    }
    let lower = head.to_ascii_lowercase();
    if !lower.starts_with("http/1.1 200") || !lower.contains("\r\ncontent-type: text/event-stream") {
        let mut bytes = head.into_bytes();
        reader.take(MOST as u64).read_to_end(&mut bytes)?;
        return parse(&bytes)
            .map(Some)
            .ok_or_else(|| io::Error::other("the answer is no HTTP, or broke off"));
    }
    if !lower.contains("\r\ntransfer-encoding: chunked") {
        return each_line(reader, each).map(|()| None);
    }
    let mut text = Vec::new();
    loop {
        let mut size = String::new();
        line(&mut reader, &mut size)?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).map_err(|_| io::Error::other("the stream broke off"))?;
        if size > MOST_LINE {
            return Err(io::Error::other("a piece of the stream is longer than any of an agent-host"));
        }
        let begin = text.len();
        text.resize(begin + size + 2, 0);
        reader.read_exact(text.get_mut(begin..).unwrap_or_default())?;
        text.truncate(begin + size);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let one: Vec<u8> = text.drain(..=end).collect();
            if !each(String::from_utf8_lossy(&one).trim_end()) {
                return Ok(None);
            }
        }
        if size == 0 {
            return Ok(None);
        }
    }
}

/// The lines of a stream that goes on to the end of its connection.
fn each_line(mut reader: impl BufRead, mut each: impl FnMut(&str) -> bool) -> io::Result<()> {
    loop {
        let mut one = String::new();
        if line(&mut reader, &mut one)? == 0 || !each(one.trim_end()) {
            return Ok(());
        }
    }
}

/// One more line, of a bounded length.
fn line(reader: &mut impl BufRead, text: &mut String) -> io::Result<usize> {
    reader.take(MOST_LINE as u64).read_line(text)
}

/// A connection on which that was asked.
fn sent(
    to: &Authority,
    (method, preference): (&str, Option<&str>),
    path: &str,
    token: &str,
    body: &str,
) -> io::Result<TcpStream> {
    let mut stream = connect(to)?;
    let prefer = preference.map(|preference| format!("Prefer: {preference}\r\n")).unwrap_or_default();
    stream.set_write_timeout(Some(CONNECT_WITHIN))?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {token}\r\nAccept: */*\r\n{prefer}\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

fn connect(to: &Authority) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (to.host.as_str(), to.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A whole answer; `None` if it is none.
fn parse(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let rest = bytes.get(end + 4..)?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    first.next().filter(|version| version.starts_with("HTTP/1."))?;
    let status = first.next()?.parse().ok()?;
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let header = |name: &str| {
        let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    };
    // A proxy in between may send it in pieces.
    let body = if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        unchunk(rest)?
    } else {
        match header("content-length") {
            Some(length) => rest.get(..length.parse().ok()?)?.to_vec(),
            None => rest.to_vec(),
        }
    };
    Some(Response { status, body })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..line)?).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = rest.get(line + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A host answers an order after 30 s at the latest.
const WITHIN: Duration = Duration::from_secs(40);
/// 100 plugins with all of their history are less than 1 MiB.
const MOST: usize = 16 * 1024 * 1024;
/// A happening has a few short fields, and a crash's frames.
const MOST_LINE: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(u16, String)> {
        parse(text.as_bytes()).map(|it| (it.status, String::from_utf8(it.body).unwrap()))
    }

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some((200, "{}"))),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nA: b\r\n\r\n{}more", Some((404, "{}"))),
            ("HTTP/1.0 200 OK\r\n\r\nto the end", Some((200, "to the end"))),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n",
                Some((200, "abcd")),
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", None),
            ("HTTP/1.1 200 OK\r\n", None),
            ("SSH-2.0-OpenSSH_9\r\n\r\n", None),
            ("", None),
        ] {
            let expected = expected.map(|(status, body)| (status, body.to_owned()));
            assert_eq!(parsed(text), expected, "{text}");
        }
    }
}
