//! A proxy for tests that stands before a blob service and makes it fail: answers that are late, lost, cut or refused.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// The request waits before it is passed on.
    Delay(Duration),
    /// The connection is closed before the request is passed on.
    Cut,
    /// The request is passed on, its answer thrown away and the connection closed.
    DropAnswer,
    /// The service is not asked; the answer is this status, with `Retry-After` in seconds where given.
    Refuse {
        /// 429, 500, 503, …
        status: u16,
        /// Seconds.
        retry_after: Option<u64>,
    },
    /// A bit of the request's body is another one when it arrives.
    Spoil,
    /// The answer's body ends after so many bytes, and the connection with it.
    CutBody(usize),
    /// The answer's body stops after so many bytes for so long, then goes on.
    SlowBody(usize, Duration),
}

/// What a fault is chosen by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The number of the request, from 0.
    pub number: u64,
    /// `GET`, `PUT`, …
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// The query; holds signatures of a SAS.
    pub query: String,
}

/// A running proxy on 127.0.0.1, with threads of its own. Dropping it stops it.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

type Plan = Box<dyn FnMut(&Seen) -> Fault + Send>;

struct Shared {
    upstream: SocketAddr,
    plan: Mutex<Plan>,
    requests: AtomicU64,
}

impl FaultProxy {
    /// Stands before `upstream`; `plan` says of each request what happens to it, and may count and remember.
    ///
    /// # Errors
    /// No port can be had.
    pub fn start(
        upstream: SocketAddr,
        plan: impl FnMut(&Seen) -> Fault + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared {
            upstream,
            plan: Mutex::new(Box::new(plan)),
            requests: AtomicU64::new(0),
        });
        let stop = stopped.clone();
        thread::Builder::new()
            .name("fault-proxy".to_owned())
            .spawn(move || {
                for client in listener.incoming().flatten() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let shared = shared.clone();
                    // An error here is the fault that was asked for, or a client that went away.
                    thread::spawn(move || {
                        let _ = shared.serve(client);
                    });
                }
            })?;
        Ok(Self { address, stopped })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As `[storage] endpoint` of an emulator takes it: `http://ADDRESS/ACCOUNT`.
    #[must_use]
    pub fn endpoint(&self, account: &str) -> String {
        format!("http://{}/{account}", self.address)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

/// Head and body of a request or an answer; the body as it is on the wire.
struct Message {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Message {
    fn header(&self, wanted: &str) -> Option<&str> {
        let mut lines = self.head.iter().skip(1);
        lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    }

    fn read_head(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let line = line.trim_end_matches(['\r', '\n']).to_owned();
            if line.is_empty() && head.is_empty() {
                continue;
            }
            if line.is_empty() {
                let body = Vec::new();
                return Ok(Some(Self { head, body }));
            }
            head.push(line);
        }
    }

    fn read_sized_body(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        let length = self
            .header("content-length")
            .and_then(|text| text.parse().ok());
        self.body = vec![0; length.unwrap_or(0)];
        from.read_exact(&mut self.body)
    }

    /// The head as bytes, with another `Connection`.
    fn head_bytes(&self, connection: &str) -> Vec<u8> {
        let mut text = String::new();
        for line in &self.head {
            if !line.to_ascii_lowercase().starts_with("connection:") {
                text.push_str(line);
                text.push_str("\r\n");
            }
        }
        text.push_str(&format!("Connection: {connection}\r\n\r\n"));
        text.into_bytes()
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut reader = BufReader::new(client.try_clone()?);
        let mut writer = client;
        while let Some(mut request) = Message::read_head(&mut reader)? {
            let seen = self.seen(&request);
            let fault = {
                let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
                plan(&seen)
            };
            if fault == Fault::Cut {
                return writer.shutdown(Shutdown::Both);
            }
            request.read_sized_body(&mut reader)?;
            if let Fault::Refuse {
                status,
                retry_after,
            } = fault
            {
                writer.write_all(&refusal(&seen.method, status, retry_after))?;
                continue;
            }
            if let Fault::Delay(pause) = fault {
                thread::sleep(pause);
            }
            if fault == Fault::Spoil
                && let Some(byte) = request.body.first_mut()
            {
                *byte ^= 1;
            }
            let answer = self.ask(&request)?;
            let head = answer.head_bytes("keep-alive");
            let body = &answer.body;
            match fault {
                Fault::DropAnswer => return writer.shutdown(Shutdown::Both),
                Fault::CutBody(bytes) if bytes < body.len() => {
                    writer.write_all(&head)?;
                    writer.write_all(&body[..bytes])?;
                    return writer.shutdown(Shutdown::Both);
                }
                Fault::SlowBody(bytes, pause) if bytes < body.len() => {
                    writer.write_all(&head)?;
                    writer.write_all(&body[..bytes])?;
                    writer.flush()?;
                    thread::sleep(pause);
                    writer.write_all(&body[bytes..])?;
                }
                Fault::Pass
                | Fault::Delay(_)
                | Fault::Cut
                | Fault::Spoil
                | Fault::Refuse { .. }
                | Fault::CutBody(_)
                | Fault::SlowBody(..) => {
                    writer.write_all(&[head.as_slice(), body].concat())?;
                }
            }
        }
        Ok(())
    }

    fn seen(&self, request: &Message) -> Seen {
        let line = request.head.first().cloned().unwrap_or_default();
        let mut parts = line.split(' ');
        let method = parts.next().unwrap_or_default().to_owned();
        let target = parts.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Seen {
            number: self.requests.fetch_add(1, Ordering::Relaxed),
            method,
            path: path.to_owned(),
            query: query.to_owned(),
        }
    }

    /// Passes a request on, over a connection of its own, and reads the whole answer.
    fn ask(&self, request: &Message) -> io::Result<Message> {
        let mut upstream = TcpStream::connect(self.upstream)?;
        upstream.set_nodelay(true)?;
        upstream.write_all(&request.head_bytes("close"))?;
        upstream.write_all(&request.body)?;
        let mut reader = BufReader::new(upstream);
        let Some(mut answer) = Message::read_head(&mut reader)? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        reader.read_to_end(&mut answer.body)?;
        Ok(answer)
    }
}

fn refusal(method: &str, status: u16, retry_after: Option<u64>) -> Vec<u8> {
    let code = match status {
        429 | 503 => "ServerBusy",
        403 => "AuthorizationFailure",
        408 => "OperationTimedOut",
        507 => "AccountQuotaExceeded",
        _ => "InternalError",
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>as planned</Message></Error>"
    );
    let after = retry_after.map_or_else(String::new, |s| format!("Retry-After: {s}\r\n"));
    let mut answer = format!(
        "HTTP/1.1 {status} Planned\r\nx-ms-error-code: {code}\r\n{after}Content-Type: application/xml\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    if !method.eq_ignore_ascii_case("head") {
        answer.push_str(&body);
    }
    answer.into_bytes()
}
