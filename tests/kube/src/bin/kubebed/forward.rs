//! Connections from one network into another: the API server into the machine's own network, and what a test offers on
//! the machine into the bed's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Listens in one network and connects in another, until it is dropped. Then the port is free, and who connects is
/// refused, as where nothing ever listened.
pub(crate) struct Forward {
    listener: Option<Arc<TcpListener>>,
    stopped: Arc<AtomicBool>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Forward {
    /// Listens at `from` in the network of this thread, and connects to `to` in the network `plane` (a file of
    /// `/proc/…/ns/net`).
    pub(crate) fn inward(from: SocketAddr, plane: &Path, to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(from)?;
        let plane = File::open(plane)?;
        Self::start(listener, to, move || enter(&plane))
    }

    /// Listens at `from` in the network `plane`, and connects to `to` in the network of this thread.
    pub(crate) fn outward(plane: &Path, from: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        let plane = File::open(plane)?;
        // A socket stays in the network it was made in, so a thread that enters the other one and ends is enough.
        let bound = thread::spawn(move || {
            enter(&plane)?;
            TcpListener::bind(from)
        });
        let listener = bound
            .join()
            .map_err(|_| io::Error::other("the listening thread ended"))??;
        Self::start(listener, to, || Ok(()))
    }

    fn start(
        listener: TcpListener,
        to: SocketAddr,
        enter: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let listener = Arc::new(listener);
        let stopped = Arc::new(AtomicBool::new(false));
        let (accepting, stop) = (Arc::clone(&listener), Arc::clone(&stopped));
        thread::spawn(move || {
            if enter().is_err() {
                return;
            }
            loop {
                let accepted = accepting.accept();
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                match accepted {
                    // Threads made here are in the network that this one has entered.
                    Ok((client, _)) => drop(thread::spawn(move || serve(client, to))),
                    // Out of files, for one, which passes.
                    Err(_) => thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        Ok(Self {
            listener: Some(listener),
            stopped,
            address,
        })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(listener) = self.listener.take() {
            // Ends the thread's accept, which holds the port as long as it waits.
            let _ = rustix::net::shutdown(&*listener, rustix::net::Shutdown::Both);
        }
    }
}

fn enter(network: &File) -> io::Result<()> {
    use std::os::fd::AsFd;
    Ok(move_into_link_name_space(
        network.as_fd(),
        Some(LinkNameSpaceType::Network),
    )?)
}

fn serve(client: TcpStream, to: SocketAddr) {
    let Ok(server) = TcpStream::connect_timeout(&to, Duration::from_secs(10)) else {
        reset(&client);
        return;
    };
    // Nothing is held back: what one side has sent in small pieces goes on in small pieces.
    drop(client.set_nodelay(true));
    drop(server.set_nodelay(true));
    let (client, server) = (Arc::new(client), Arc::new(server));
    let (answers_from, answers_to) = (Arc::clone(&server), Arc::clone(&client));
    thread::spawn(move || copy(&answers_from, &answers_to));
    copy(&client, &server);
}

/// Copies one direction. An end is handed on as an end, and a broken connection as a broken one: clients treat the two
/// differently.
fn copy(from: &TcpStream, to: &TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let copied = match (&mut &*from).read(&mut buffer) {
            Ok(0) => {
                drop(to.shutdown(Shutdown::Write));
                return;
            }
            Ok(read) => (&mut &*to).write_all(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        if copied.is_err() {
            for side in [from, to] {
                reset(side);
                // Wakes the thread of the other direction; the reset itself goes out when both have let go.
                drop(side.shutdown(Shutdown::Read));
            }
            return;
        }
    }
}

/// Has the connection end with a reset when it is closed.
fn reset(stream: &TcpStream) {
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}
