//! Stands between petctl and the blob service, and makes the way there as bad as it is told to. It counts what was sent.

use crate::blob::http::{self, Head};
use crate::wait::wait_for;
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status, and the service hears nothing of it.
    Refuse(u16),
    /// It takes effect, and the connection breaks before the answer.
    LoseAnswer,
    /// The connection breaks in the middle of what is sent.
    CutRequest,
    /// The connection breaks in the middle of the answer's body.
    CutAnswer,
    /// Bytes pass at so many KiB per second.
    Slow(u32),
    /// It waits until it is let go, and has no effect before.
    Hold,
    /// It takes effect, and its answer waits until it is let go.
    HoldAnswer,
}

/// Which requests a rule is for: all of these must hold.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    /// `GET`, `PUT`; empty: any.
    pub method: &'static str,
    /// The target, with its query, has this.
    pub has: String,
    /// The target, with its query, does not have this; empty: no such condition.
    pub has_not: &'static str,
}

/// How often the way is bad, in thousandths of all requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// 429, 500 or 503.
    pub refused: u32,
    /// Answers lost after they took effect.
    pub lost: u32,
    /// Bodies cut, in either direction.
    pub cut: u32,
    /// 400 KiB per second.
    pub slow: u32,
}

/// One request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET`, `PUT`.
    pub method: String,
    /// Path and query. Holds the signature where a SAS is used.
    pub target: String,
    /// Bytes of its body that came.
    pub sent: u64,
    /// Its connection's number.
    pub connection: u64,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    stopped: AtomicBool,
    state: Mutex<State>,
    let_go: Condvar,
}

#[derive(Debug)]
struct State {
    rules: Vec<(Matching, Fault, u32)>,
    weather: Weather,
    random: fastrand::Rng,
    seen: Vec<Seen>,
    held: u32,
    holding: bool,
    connections: u64,
}

impl Proxy {
    /// One before the service on that port; its weather is drawn from the seed.
    ///
    /// # Panics
    /// Where there is no port.
    pub fn start(upstream: u16, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a port has a number").port();
        let shared = Arc::new(Shared {
            upstream,
            stopped: AtomicBool::new(false),
            state: Mutex::new(State {
                rules: Vec::new(),
                weather: Weather::default(),
                random: fastrand::Rng::with_seed(seed),
                seen: Vec::new(),
                held: 0,
                holding: true,
                connections: 0,
            }),
            let_go: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stopped.load(Ordering::Acquire) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || {
                    // Either side went away: that is what connections do.
                    let _closed = serve(&shared, &stream);
                });
            }
        });
        Self { port, shared }
    }

    /// `http://127.0.0.1:PORT/ACCOUNT`
    pub fn endpoint(&self, account: &str) -> String {
        format!("http://127.0.0.1:{}/{account}", self.port)
    }

    /// This happens to the next so many requests that match.
    pub fn strike(&self, matching: Matching, fault: Fault, times: u32) {
        self.state().rules.push((matching, fault, times));
    }

    /// Forgets all rules.
    pub fn calm(&self) {
        let mut state = self.state();
        state.rules.clear();
        state.weather = Weather::default();
    }

    /// From now on.
    pub fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Waits until so many requests are held.
    pub fn wait_held(&self, requests: u32) {
        wait_for("requests that the proxy holds", || {
            (self.state().held >= requests).then_some(())
        });
    }

    /// Lets all go that are held. Those that come later are not held.
    pub fn let_go(&self) {
        let mut state = self.state();
        state.holding = false;
        state
            .rules
            .retain(|(_, fault, _)| !matches!(fault, Fault::Hold | Fault::HoldAnswer));
        self.shared.let_go.notify_all();
    }

    /// All that came so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// Requests of that method whose target has that text.
    pub fn count(&self, method: &str, has: &str) -> usize {
        let state = self.state();
        let matching = state
            .seen
            .iter()
            .filter(|seen| seen.method == method && seen.target.contains(has));
        matching.count()
    }

    /// Bytes of bodies that came so far.
    pub fn sent(&self) -> u64 {
        self.state().seen.iter().map(|seen| seen.sent).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.let_go();
        // Wakes the thread that accepts.
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panicked with it")
    }

    /// Notes the request, and draws what happens to it.
    fn decide(&self, head: &Head, connection: u64) -> (usize, Option<Fault>) {
        let mut state = self.state();
        // The parts of a blob's name, as people write them.
        let target = head.target().replace("%2F", "/");
        state.seen.push(Seen {
            method: head.method().to_owned(),
            target: target.clone(),
            sent: 0,
            connection,
        });
        let index = state.seen.len() - 1;
        let matching = |rule: &Matching| {
            (rule.method.is_empty() || rule.method == head.method())
                && target.contains(&rule.has)
                && (rule.has_not.is_empty() || !target.contains(rule.has_not))
        };
        if let Some((_, fault, times)) = state
            .rules
            .iter_mut()
            .find(|(rule, _, times)| *times > 0 && matching(rule))
        {
            *times -= 1;
            return (index, Some(*fault));
        }
        let Weather {
            refused,
            lost,
            cut,
            slow,
        } = state.weather;
        let drawn = state.random.u32(0..1_000);
        let fault = if drawn < refused {
            let status = [429, 500, 503][state.random.usize(0..3)];
            Some(Fault::Refuse(status))
        } else if drawn < refused + lost {
            Some(Fault::LoseAnswer)
        } else if drawn < refused + lost + cut {
            Some(if state.random.bool() {
                Fault::CutRequest
            } else {
                Fault::CutAnswer
            })
        } else if drawn < refused + lost + cut + slow {
            Some(Fault::Slow(400))
        } else {
            None
        };
        (index, fault)
    }

    fn note_sent(&self, index: usize, bytes: usize) {
        if let Some(seen) = self.state().seen.get_mut(index) {
            seen.sent += bytes as u64;
        }
    }

    fn hold(&self) {
        let mut state = self.state();
        state.held += 1;
        while state.holding {
            state = self.let_go.wait(state).expect("no thread panicked with it");
        }
    }
}

/// One connection, request after request.
fn serve(shared: &Shared, client: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let connection = {
        let mut state = shared.state();
        state.connections += 1;
        state.connections
    };
    let mut reader = BufReader::new(client.try_clone()?);
    let mut writer = client.try_clone()?;
    let upstream = TcpStream::connect(("127.0.0.1", shared.upstream))?;
    upstream.set_nodelay(true)?;
    let mut answers = BufReader::new(upstream.try_clone()?);
    let ended = loop {
        let Some(head) = http::read_head(&mut reader)? else {
            break Ok(());
        };
        let (index, fault) = shared.decide(&head, connection);
        let mut one = Exchange {
            shared,
            index,
            head: &head,
            client: (&mut reader, &mut writer),
            upstream: (&mut answers, &upstream),
        };
        match one.run(fault) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let _closed = client.shutdown(std::net::Shutdown::Both);
    ended
}

/// One request and its answer.
struct Exchange<'a> {
    shared: &'a Shared,
    index: usize,
    head: &'a Head,
    client: (&'a mut BufReader<TcpStream>, &'a mut TcpStream),
    upstream: (&'a mut BufReader<TcpStream>, &'a TcpStream),
}

impl Exchange<'_> {
    /// Whether the connection may go on.
    fn run(&mut self, fault: Option<Fault>) -> io::Result<bool> {
        let length = self.head.length().unwrap_or(0);
        let rate = if let Some(Fault::Slow(kib)) = fault {
            Some(kib)
        } else {
            None
        };
        match fault {
            Some(Fault::Refuse(status)) => {
                self.swallow(length)?;
                self.client
                    .1
                    .write_all(refusal(status, self.head.method()).as_bytes())?;
                return Ok(!self.head.closes());
            }
            Some(Fault::CutRequest) => {
                self.pass_on(length / 2, rate)?;
                return Ok(false);
            }
            Some(Fault::Hold) => self.shared.hold(),
            Some(Fault::LoseAnswer | Fault::CutAnswer | Fault::Slow(_) | Fault::HoldAnswer)
            | None => {}
        }
        self.pass_on(length, rate)?;
        let Some(answer) = http::read_head(self.upstream.0)? else {
            return Ok(false);
        };
        if fault == Some(Fault::LoseAnswer) {
            return Ok(false);
        }
        if fault == Some(Fault::HoldAnswer) {
            self.shared.hold();
        }
        self.client.1.write_all(answer.bytes())?;
        let body = answer.body_of(self.head.method());
        let cut = fault == Some(Fault::CutAnswer);
        let most = cut.then(|| body.length().unwrap_or(0) / 2);
        http::relay(self.upstream.0, self.client.1, body, most, rate.map(pause))?;
        Ok(most.is_none() && !answer.closes() && !self.head.closes())
    }

    fn swallow(&mut self, length: u64) -> io::Result<()> {
        let mut left = length;
        let mut piece = vec![0; http::PIECE];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            let read = self.client.0.read(&mut piece[..most])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.shared.note_sent(self.index, read);
            left -= read as u64;
        }
        Ok(())
    }

    fn pass_on(&mut self, length: u64, rate: Option<u32>) -> io::Result<()> {
        let mut upstream = self.upstream.1;
        upstream.write_all(self.head.bytes())?;
        let mut left = length;
        let mut piece = vec![0; http::PIECE];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            let read = self.client.0.read(&mut piece[..most])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.shared.note_sent(self.index, read);
            upstream.write_all(&piece[..read])?;
            left -= read as u64;
            if let Some(kib) = rate {
                thread::sleep(pause(kib));
            }
        }
        Ok(())
    }
}

/// After one piece.
fn pause(kib_per_s: u32) -> Duration {
    let piece_kib = u32::try_from(http::PIECE / 1_024).unwrap_or(1);
    Duration::from_secs(1) * piece_kib / kib_per_s.max(1)
}

/// As the service says it.
fn refusal(status: u16, method: &str) -> String {
    let (reason, code, after) = match status {
        429 => ("Too Many Requests", "TooManyRequests", "Retry-After: 1\r\n"),
        503 => ("Service Unavailable", "ServerBusy", "Retry-After: 1\r\n"),
        403 => ("Forbidden", "AuthorizationPermissionMismatch", ""),
        _ => ("Internal Server Error", "InternalError", ""),
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{reason}</Message></Error>"
    );
    let body = if method == "HEAD" { "" } else { body.as_str() };
    format!(
        "HTTP/1.1 {status} {reason}\r\nx-ms-error-code: {code}\r\n{after}Content-Type: application/xml\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
