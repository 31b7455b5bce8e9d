//! A connection's requests and their answers, each with its fault.

use crate::fault::{Fault, page, refusal, refusal_with};
use crate::http::{self, Head, Middle};
use crate::proxy::Shared;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::sleep;
use std::time::Duration;

/// One connection, request after request.
pub(crate) fn serve(shared: &Shared, client: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let connection = shared.connect();
    let mut reader = BufReader::new(client.try_clone()?);
    let mut writer = client.try_clone()?;
    let upstream = TcpStream::connect(shared.upstream())?;
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
            fault,
            client: (&mut reader, &mut writer),
            upstream: (&mut answers, &upstream),
        };
        match one.run() {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let _closed = client.shutdown(Shutdown::Both);
    ended
}

/// One request and its answer.
struct Exchange<'a> {
    shared: &'a Shared,
    index: usize,
    head: &'a Head,
    fault: Fault,
    client: (&'a mut BufReader<TcpStream>, &'a mut TcpStream),
    upstream: (&'a mut BufReader<TcpStream>, &'a TcpStream),
}

impl Exchange<'_> {
    /// Whether the connection may go on.
    fn run(&mut self) -> io::Result<bool> {
        let length = self.head.length().unwrap_or(0);
        match self.fault {
            Fault::Refuse {
                status,
                retry_after_s,
            } => {
                self.take(length, |_| Ok(()))?;
                let answer = refusal(status, retry_after_s, self.head.method());
                self.client.1.write_all(answer.as_bytes())?;
                return Ok(!self.head.closes());
            }
            Fault::RefuseName { status, code } => {
                self.take(length, |_| Ok(()))?;
                let answer = refusal_with(status, ("Refused", code), None, self.head.method());
                self.client.1.write_all(answer.as_bytes())?;
                return Ok(!self.head.closes());
            }
            Fault::Page { disguised } => {
                self.take(length, |_| Ok(()))?;
                let answer = page(disguised, self.head.method());
                self.client.1.write_all(answer.as_bytes())?;
                return Ok(!self.head.closes());
            }
            Fault::Cut => return Ok(false),
            Fault::CutRequest => {
                self.pass_on(length / 2)?;
                return Ok(false);
            }
            Fault::Delay(pause) => sleep(pause),
            Fault::Hold => self.shared.hold(),
            Fault::Pass
            | Fault::Spoil
            | Fault::LoseAnswer
            | Fault::CutAnswer
            | Fault::StallAnswer(_)
            | Fault::Slow(_)
            | Fault::HoldAnswer => {}
        }
        self.pass_on(length)?;
        let Some(answer) = http::read_head(self.upstream.0)? else {
            return Ok(false);
        };
        if self.fault == Fault::LoseAnswer {
            return Ok(false);
        }
        if self.fault == Fault::HoldAnswer {
            self.shared.hold();
        }
        self.answer(&answer)
    }

    fn answer(&mut self, answer: &Head) -> io::Result<bool> {
        self.client.1.write_all(answer.bytes())?;
        let body = answer.body_of(self.head.method());
        let middle = match self.fault {
            Fault::CutAnswer => Some(Middle::Break),
            Fault::StallAnswer(pause) => Some(Middle::Stall(pause)),
            Fault::Pass
            | Fault::Refuse { .. }
            | Fault::RefuseName { .. }
            | Fault::Page { .. }
            | Fault::Delay(_)
            | Fault::Cut
            | Fault::CutRequest
            | Fault::Spoil
            | Fault::LoseAnswer
            | Fault::Slow(_)
            | Fault::Hold
            | Fault::HoldAnswer => None,
        };
        http::relay(self.upstream.0, self.client.1, body, middle, self.rest())?;
        let broken = middle == Some(Middle::Break);
        Ok(!broken && !answer.closes() && !self.head.closes())
    }

    /// After one piece.
    fn rest(&self) -> Option<Duration> {
        let Fault::Slow(kib_per_s) = self.fault else {
            return None;
        };
        let piece_kib = u32::try_from(http::PIECE / 1_024).unwrap_or(1);
        Some(Duration::from_secs(1) * piece_kib / kib_per_s.max(1))
    }

    /// Sends the request, with so many bytes of its body, to the service.
    fn pass_on(&mut self, bytes: u64) -> io::Result<()> {
        let mut upstream = self.upstream.1;
        upstream.write_all(self.head.bytes())?;
        let rest = self.rest();
        let mut spoils = self.fault == Fault::Spoil;
        self.take(bytes, |piece| {
            if std::mem::take(&mut spoils) {
                piece[0] ^= 1;
            }
            upstream.write_all(piece)?;
            rest.into_iter().for_each(sleep);
            Ok(())
        })
    }

    /// Reads so many bytes of the request's body, piece by piece.
    fn take(
        &mut self,
        bytes: u64,
        mut each: impl FnMut(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut left = bytes;
        let mut piece = vec![0; http::PIECE];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            let read = self.client.0.read(&mut piece[..most])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.shared.note_sent(self.index, read);
            each(&mut piece[..read])?;
            left -= read as u64;
        }
        Ok(())
    }
}
