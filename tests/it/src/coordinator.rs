//! A coordinator and workers that are started by hand, as on several machines.

use crate::ask::Ask;
use crate::command::{Background, Petctl};
use crate::network::Host;
use crate::wait::wait_for;
use crate::world::World;
use rustix::process::Signal;
use std::net::TcpListener;
use std::path::PathBuf;

/// `petctl rendezvous` on a port of its own.
#[derive(Debug)]
pub struct Coordinator<'w> {
    world: &'w World,
    port: u16,
    http: Option<u16>,
    host: Option<Host>,
    heartbeat_timeout: Option<&'static str>,
    process: Option<Background>,
}

/// A `petctl worker`.
#[derive(Debug)]
pub struct WorkerProcess {
    /// The process.
    pub process: Background,
}

impl<'w> Coordinator<'w> {
    /// Starts one, and waits until it listens.
    pub fn start(world: &'w World, heartbeat_timeout: Option<&'static str>) -> Self {
        let mut coordinator = Self {
            world,
            port: free_port(),
            http: None,
            host: None,
            heartbeat_timeout,
            process: None,
        };
        coordinator.start_again();
        coordinator
    }

    /// Starts one that answers probes and shows metrics.
    pub fn start_observed(world: &'w World) -> Self {
        let mut coordinator = Self {
            world,
            port: free_port(),
            http: Some(free_port()),
            host: None,
            heartbeat_timeout: None,
            process: None,
        };
        coordinator.start_again();
        coordinator
    }

    /// Starts one that listens on all addresses of a host of a [`crate::Network`].
    pub fn start_on(world: &'w World, host: &Host, heartbeat_timeout: &'static str) -> Self {
        let mut coordinator = Self {
            world,
            port: 7_370,
            http: None,
            host: Some(host.clone()),
            heartbeat_timeout: Some(heartbeat_timeout),
            process: None,
        };
        coordinator.start_again();
        coordinator
    }

    /// The command that starts it.
    pub fn command(&self) -> Petctl<'w> {
        let address = match &self.host {
            None => "127.0.0.1",
            Some(host) if host.address.contains(':') => "[::]",
            Some(_) => "0.0.0.0",
        };
        let command = self.world.petctl().on(self.host.as_ref()).args([
            "rendezvous",
            "--listen",
            &format!("{address}:{}", self.port),
        ]);
        let command = command.arg("--state").arg(self.state());
        let command = match self.http {
            Some(port) => command.args(["--http", &format!("127.0.0.1:{port}")]),
            None => command,
        };
        match self.heartbeat_timeout {
            Some(timeout) => command.args(["--heartbeat-timeout", timeout]),
            None => command,
        }
    }

    /// Its state folder.
    pub fn state(&self) -> PathBuf {
        self.world.path("home/rendezvous")
    }

    /// `http://127.0.0.1:PORT`; `https://HOST:PORT` on a host of its own.
    pub fn address(&self) -> String {
        match &self.host {
            None => format!("http://127.0.0.1:{}", self.port),
            Some(host) => format!("https://{}:{}", host.bracketed(), self.port),
        }
    }

    /// Its CA, where it speaks TLS.
    pub fn ca_file(&self) -> Option<PathBuf> {
        let file = self.state().join("tls/ca.pem");
        self.host.as_ref().map(|_host| file)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it answers probes, if it does.
    pub fn http_port(&self) -> Option<u16> {
        self.http
    }

    /// Its token.
    ///
    /// # Panics
    /// Where it has made none.
    pub fn token(&self) -> String {
        let text = std::fs::read_to_string(self.state().join("token"))
            .expect("a coordinator makes a token");
        text.trim().to_owned()
    }

    /// Starts it after [`Self::kill`], on the same state folder and port.
    pub fn start_again(&mut self) {
        let mut process = self.command().spawn();
        wait_for("a coordinator that listens", || {
            assert!(
                process.runs(),
                "the coordinator ended: {}",
                process.stderr()
            );
            process.stdout().contains("://").then_some(())
        });
        self.process = Some(process);
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(Background::runs)
    }

    /// Its process.
    ///
    /// # Panics
    /// Where it was never started.
    pub fn process(&mut self) -> &mut Background {
        self.process.as_mut().expect("it was started")
    }

    /// Tells it to end, and waits until it has.
    pub fn terminate(mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::TERM);
            process.wait().exits(143);
        }
    }

    /// What finds it.
    pub fn connect(&self) -> Vec<String> {
        let token = self.state().join("token").display().to_string();
        let mut connect = vec![
            "--coordinator".to_owned(),
            self.address(),
            "--token-file".to_owned(),
            token,
        ];
        if let Some(ca_file) = self.ca_file() {
            connect.extend(["--ca-file".to_owned(), ca_file.display().to_string()]);
        }
        connect
    }

    /// Asks it about its jobs.
    pub fn ask(&self) -> Ask<'w> {
        Ask::new(self.world, self.connect(), self.host.clone())
    }

    /// `petctl run` of a job file in the job folder, on this coordinator.
    pub fn run(&self, job_file: &str) -> Petctl<'w> {
        let run = self.world.run(job_file).on(self.host.as_ref());
        run.args(self.connect())
    }

    /// Starts a worker for it.
    pub fn worker(&self, name: &str, slots: u32) -> WorkerProcess {
        let command = self.world.petctl().arg("worker").args(self.connect());
        WorkerProcess {
            process: command
                .args(["--name", name, "--slots", &slots.to_string()])
                .spawn(),
        }
    }
}

impl WorkerProcess {
    /// Tells it to leave, and waits until it has.
    pub fn terminate(mut self) {
        if self.process.runs() {
            self.process.signal(Signal::TERM);
            self.process.wait().exits(0);
        }
    }
}

/// A port that nobody listens on now. Somebody else may take it, but not often.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a port has a number").port()
}
