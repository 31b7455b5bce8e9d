//! The proxy: what it was told, what it saw, and whom it holds.

use crate::exchange;
use crate::fault::Fault;
use crate::http::Head;
use crate::rules::{Matching, Rules};
use crate::weather::Weather;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// How long anything may take before a test gives up waiting for it.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// A running proxy on 127.0.0.1, with threads of its own. Dropping it stops it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    upstream: SocketAddr,
    stopped: AtomicBool,
    state: Mutex<State>,
    /// Somebody is held, or all are let go.
    holding: Condvar,
}

#[derive(Debug)]
struct State {
    rules: Rules,
    weather: Weather,
    random: fastrand::Rng,
    /// What requests met, be it by a rule or by the weather.
    struck: Vec<Fault>,
    seen: Vec<Seen>,
    held: u32,
    holds: bool,
    connections: u64,
}

impl Proxy {
    /// One before the service at that address; its weather is drawn from the seed.
    ///
    /// # Panics
    /// Where there is no port.
    #[must_use]
    pub fn start(upstream: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            upstream,
            stopped: AtomicBool::new(false),
            state: Mutex::new(State {
                rules: Rules::default(),
                weather: Weather::default(),
                random: fastrand::Rng::with_seed(seed),
                struck: Vec::new(),
                seen: Vec::new(),
                held: 0,
                holds: true,
                connections: 0,
            }),
            holding: Condvar::new(),
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
                    let _closed = exchange::serve(&shared, &stream);
                });
            }
        });
        Self { address, shared }
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

    /// This happens to the next so many requests that match. Where fewer come, the test fails at its end.
    pub fn strike(&self, matching: Matching, fault: Fault, times: u32) {
        self.state().rules.add(matching, fault, Some(times));
    }

    /// This happens to all requests that match. Where none comes, the test fails at its end.
    pub fn strike_all(&self, matching: Matching, fault: Fault) {
        self.state().rules.add(matching, fault, None);
    }

    /// Forgets all rules, and the weather.
    pub fn calm(&self) {
        let mut state = self.state();
        state.rules.take_away(|_| true);
        state.weather = Weather::default();
    }

    /// From now on.
    pub fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Waits until so many requests are held.
    ///
    /// # Panics
    /// Where that takes more than a minute.
    pub fn wait_held(&self, requests: u32) {
        let (state, waited) = self
            .shared
            .holding
            .wait_timeout_while(self.state(), PATIENCE, |state| state.held < requests)
            .expect("no thread panicked with it");
        let held = state.held;
        drop(state);
        assert!(
            !waited.timed_out(),
            "{held} of {requests} requests are held after {} s",
            PATIENCE.as_secs()
        );
    }

    /// Lets all go that are held. Those that come later are not held.
    pub fn let_go(&self) {
        let mut state = self.state();
        state.holds = false;
        state.rules.take_away(Fault::holds);
        self.shared.holding.notify_all();
    }

    /// All that came so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// Requests of that method whose target has that text.
    #[must_use]
    pub fn count(&self, method: &str, has: &str) -> usize {
        let state = self.state();
        let matching = state
            .seen
            .iter()
            .filter(|seen| seen.method == method && seen.target.contains(has));
        matching.count()
    }

    /// Requests that met a fault that is one of these.
    #[must_use]
    pub fn struck(&self, these: impl Fn(Fault) -> bool) -> usize {
        let state = self.state();
        state.struck.iter().filter(|fault| these(**fault)).count()
    }

    /// Bytes of bodies that came so far.
    #[must_use]
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
        let _woken = TcpStream::connect(self.address);
        if !thread::panicking() {
            let unspent = self.state().rules.unspent().join("\n");
            assert!(unspent.is_empty(), "faults that did not happen:\n{unspent}");
        }
    }
}

impl Shared {
    pub(crate) fn upstream(&self) -> SocketAddr {
        self.upstream
    }

    /// The number of a new connection.
    pub(crate) fn connect(&self) -> u64 {
        let mut state = self.state();
        state.connections += 1;
        state.connections
    }

    /// Notes the request, and says what happens to it.
    pub(crate) fn decide(&self, head: &Head, connection: u64) -> (usize, Fault) {
        let mut state = self.state();
        let seen = Seen {
            method: head.method().to_owned(),
            // The parts of a blob's name, as people write them.
            target: head.target().replace("%2F", "/"),
            sent: 0,
            connection,
        };
        let ruled = state.rules.fire(&seen);
        state.seen.push(seen);
        let weather = state.weather;
        let fault = ruled.unwrap_or_else(|| weather.draw(&mut state.random));
        if fault != Fault::Pass {
            state.struck.push(fault);
        }
        (state.seen.len() - 1, fault)
    }

    pub(crate) fn note_sent(&self, index: usize, bytes: usize) {
        if let Some(seen) = self.state().seen.get_mut(index) {
            seen.sent += bytes as u64;
        }
    }

    /// Until all are let go.
    pub(crate) fn hold(&self) {
        let mut state = self.state();
        state.held += 1;
        self.holding.notify_all();
        let _let_go = self.holding.wait_while(state, |state| state.holds);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panicked with it")
    }
}
