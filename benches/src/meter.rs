//! Counts the bytes that a program sends: a plain forwarder before the service, with a limit to its rate.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const PIECE: usize = 64 * 1_024;

/// What has gone through.
#[derive(Clone)]
pub(crate) struct Meter {
    port: u16,
    sent: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
}

impl Meter {
    /// Forwards to the service on that port. Each connection passes on a piece of 64 KiB, then rests for so long.
    pub(crate) fn start(upstream: u16, rest: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
        let meter = Self {
            port: listener.local_addr().context("read a port")?.port(),
            sent: Arc::default(),
            connections: Arc::default(),
        };
        let counting = meter.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(service) = TcpStream::connect(("127.0.0.1", upstream)) else {
                    continue;
                };
                counting.connections.fetch_add(1, Ordering::Relaxed);
                let (Ok(client_too), Ok(service_too)) = (client.try_clone(), service.try_clone())
                else {
                    continue;
                };
                let sent = Arc::clone(&counting.sent);
                thread::spawn(move || forward(&client, &service, Some(&sent), rest));
                thread::spawn(move || forward(&service_too, &client_too, None, Duration::ZERO));
            }
        });
        Ok(meter)
    }

    /// `http://127.0.0.1:PORT/ACCOUNT`
    pub(crate) fn endpoint(&self, account: &str) -> String {
        format!("http://127.0.0.1:{}/{account}", self.port)
    }

    /// Bytes that programs have sent so far, heads of requests too.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

fn forward(mut from: &TcpStream, mut to: &TcpStream, count: Option<&AtomicU64>, rest: Duration) {
    let mut piece = vec![0; PIECE];
    while let Ok(read) = from.read(&mut piece) {
        if read == 0 || to.write_all(&piece[..read]).is_err() {
            break;
        }
        if let Some(count) = count {
            count.fetch_add(read as u64, Ordering::Relaxed);
        }
        if !rest.is_zero() && read > 1_024 {
            thread::sleep(rest);
        }
    }
    let _closed = to.shutdown(Shutdown::Both);
    let _closed = from.shutdown(Shutdown::Both);
}
