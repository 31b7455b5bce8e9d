//! Long work that is shown while it goes on, and ends with Ctrl-C.

use crate::context::Context;
use petctl_ui::Result;
use petctl_ui::exit::Exit;
use petctl_ui::signals::{Signal, Signals};
use petctl_ui::terminal::Meter;
use std::time::Duration;

/// How often the progress is drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// How a piece of work ended.
#[derive(Debug)]
pub enum Ended<T> {
    /// By itself.
    Done(T),
    /// By Ctrl-C or SIGTERM.
    Stopped(Exit),
}

/// Works while the progress is shown, until a signal stops it. What is dropped by that can be gone on with.
///
/// # Errors
/// Where the system lets nobody listen to signals.
pub async fn watch<T>(
    context: &Context,
    meter: &Meter,
    work: impl Future<Output = T>,
) -> Result<Ended<T>> {
    let mut signals = Signals::listen()?;
    let mut face = context.out.transfer_progress();
    let mut tick = tokio::time::interval(TICK);
    let mut work = std::pin::pin!(work);
    let ended = loop {
        tokio::select! {
            // What is done when a signal comes is done.
            biased;
            done = &mut work => break Ended::Done(done),
            signal = signals.next() => break Ended::Stopped(exit_of(signal)),
            _ = tick.tick() => face.update(meter),
        }
    };
    face.finish();
    Ok(ended)
}

/// How petctl ends after a signal.
#[must_use]
pub fn exit_of(signal: Signal) -> Exit {
    match signal {
        Signal::Interrupt => Exit::Interrupted,
        Signal::Terminate | Signal::HangUp => Exit::Terminated,
    }
}
