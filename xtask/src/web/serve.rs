//! Serves a directory to this machine alone: what a browser needs to load a page, and no more.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use crate::failure::Failure;

/// A request that takes longer than this is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until this program ends.
pub struct Server {
    address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Server {
    /// Serves a directory on a port; 0 takes any that is free.
    pub fn start(directory: &Path, port: u16) -> Result<Self, Failure> {
        let refused = |error| Failure::new(format!("port {port} cannot be served: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let directory = directory.to_owned();
        let thread = spawn(move || {
            for stream in listener.incoming().flatten() {
                let directory = directory.clone();
                // A visitor who goes away takes nothing with them but their own request.
                spawn(move || drop(answer(&stream, &directory)));
            }
        });
        Ok(Self { address, thread })
    }

    /// What to open.
    pub fn address(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Serves on, for as long as this program is let.
    pub fn wait(self) {
        let _ = self.thread.join();
    }
}

/// Answers one request and closes.
fn answer(mut stream: &TcpStream, directory: &Path) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // To the end of the headers: a connection closed with something unread is reset.
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let (status, kind, body) = match file_of(&request, directory).map(|file| (std::fs::read(&file), file)) {
        Some((Ok(body), file)) => ("200 OK", kind_of(&file), body),
        _ => ("404 Not Found", "text/plain", b"not found".to_vec()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-cache\r\n\
         Connection: close\r\n\r\n"
    )?;
    stream.write_all(&body)
}

/// The file that a request asks for: a plain name in the directory, and `index.html` for none.
fn file_of(request: &str, directory: &Path) -> Option<PathBuf> {
    let path = request.strip_prefix("GET /")?.split([' ', '?', '#']).next()?;
    let name = if path.is_empty() { "index.html" } else { path };
    let plain = !name.starts_with('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    plain.then(|| directory.join(name))
}

fn kind_of(file: &Path) -> &'static str {
    match file.extension().and_then(|e| e.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_stays_in_its_directory() {
        let asked = |request| file_of(request, Path::new("page"));
        assert_eq!(asked("GET / HTTP/1.1"), Some("page/index.html".into()));
        assert_eq!(asked("GET /style.css?v=1 HTTP/1.1"), Some("page/style.css".into()));
        for outside in ["GET /../Cargo.toml HTTP/1.1", "GET /a/b HTTP/1.1", "GET /.git HTTP/1.1", "POST / HTTP/1.1", ""]
        {
            assert_eq!(asked(outside), None, "{outside}");
        }
    }
}
