//! A server between dbbackup and a real one.

use super::http::{Answer, Request};
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;

/// A proxy that changes requests, or answers them itself.
pub fn start_proxy(
    endpoint: &str,
    handle: impl Fn(Request, SocketAddr) -> Option<Answer> + Send + Sync + 'static,
) -> String {
    let upstream: SocketAddr = endpoint.trim_start_matches("http://").parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let handle = Arc::new(handle);
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let handle = Arc::clone(&handle);
            std::thread::spawn(move || {
                let request = Request::read(&mut socket);
                if let Some(answer) = request.and_then(|request| handle(request, upstream)) {
                    let _ = socket.write_all(answer.head().as_bytes());
                    let _ = socket.write_all(&answer.body);
                }
                let _ = socket.shutdown(Shutdown::Both);
            });
        }
    });
    format!("http://{address}")
}
