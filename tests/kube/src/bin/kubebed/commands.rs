//! A bed's life: it comes up, does what it is told by lines of text, and goes when nobody wants it any more.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{self, Sender};
use std::thread;

use petctl_test_kube::places;
use serde_json::json;

use crate::bed::Bed;
use crate::{Options, say};

/// What the bed's thread is told.
enum Message {
    /// A command, and where its answer goes.
    Command(String, Sender<String>),
    /// Nobody holds the other end of the standard input any more.
    End,
}

/// Runs a bed to its end.
pub(crate) fn serve(options: &Options) -> Result<(), String> {
    let installed = match &options.installed {
        Some(installed) => installed.clone(),
        None => places::installed()?,
    };
    let (sender, receiver) = mpsc::channel();
    if !options.detached {
        // Read from the start: who asked for a bed may be gone before it is ready.
        let sender = sender.clone();
        thread::spawn(move || {
            answer_lines(io::stdin().lock(), io::stdout(), &sender);
            drop(sender.send(Message::End));
        });
    }
    // All processes are started by this thread, and the kernel ends them with it.
    let mut bed = Bed::start(&installed, options.nodes)?;
    let control = bed.control();
    let listener =
        UnixListener::bind(&control).map_err(|error| format!("{}: {error}", control.display()))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            thread::spawn(move || answer_socket(&stream, &sender));
        }
    });
    let said = say(&bed.describe().to_string());
    if said.is_err() && options.detached {
        // Nobody has waited for it, and nobody would know of it.
        bed.end();
        return said;
    }
    for message in receiver {
        match message {
            Message::Command(line, answer) => {
                let done = match bed.obey(&line) {
                    Ok(result) => json!({"ok": true, "result": result}),
                    Err(error) => json!({"ok": false, "error": error, "ended": bed.ended()}),
                };
                drop(answer.send(done.to_string()));
            }
            Message::End => break,
        }
    }
    bed.end();
    Ok(())
}

fn answer_socket(stream: &UnixStream, bed: &Sender<Message>) {
    answer_lines(BufReader::new(stream), stream, bed);
}

/// Hands each line to the bed's thread, and writes down what it answers.
fn answer_lines(lines: impl BufRead, mut answers: impl Write, bed: &Sender<Message>) {
    for line in lines.lines() {
        let Ok(line) = line else { return };
        let (sender, receiver) = mpsc::channel();
        if bed.send(Message::Command(line, sender)).is_err() {
            return;
        }
        let Ok(answer) = receiver.recv() else { return };
        let written = writeln!(answers, "{answer}").and_then(|()| answers.flush());
        if written.is_err() {
            return;
        }
    }
}
