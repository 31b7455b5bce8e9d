//! What the worker says to the coordinator, one message whenever the stream has room.

use std::time::Instant;

use petctl_proto::v1::attach_request::Message as Request;
use petctl_proto::v1::{AttachRequest, GroupProgress, Heartbeat, Hello, Leaving};

use crate::agent::machine::{Link, MAX_UNANSWERED, Machine, Mode, Stream};

impl Machine {
    /// Whether [`Self::next_message`] has one.
    pub(in crate::agent) fn has_message(&self, now: Instant) -> bool {
        let Link::Up(stream) = &self.link else {
            return false;
        };
        now >= stream.next_heartbeat
            || self.wants_goodbye(stream)
            || self.group.has_message()
            || self.group.wants_progress()
            || self.ledger.has_unsent()
            || !self.log_chunks.is_empty()
    }

    /// Whether the next message may be about how the group gets on, which is found out for it.
    pub(in crate::agent) fn wants_progress(&self) -> bool {
        self.group.wants_progress()
    }

    /// The next thing to send, if any.
    pub(in crate::agent) fn next_message(
        &mut self,
        now: Instant,
        running: u32,
        queued: u32,
        progress: Option<GroupProgress>,
    ) -> Option<AttachRequest> {
        let epoch = self.epoch;
        let goodbye = match &self.link {
            Link::Up(stream) if self.wants_goodbye(stream) => self.mode.reason().map(str::to_owned),
            Link::Up(_) => None,
            Link::Down { .. } | Link::Greeting { .. } | Link::Closing { .. } | Link::Finished => {
                return None;
            }
        };
        let Link::Up(stream) = &mut self.link else {
            return None;
        };
        let message = if now >= stream.next_heartbeat {
            let idle = self.ledger.is_empty() && !self.group.is_alive();
            let interval = if idle {
                self.idle_interval
            } else {
                self.heartbeat_interval
            };
            stream.next_heartbeat = now + interval;
            stream.last_heartbeat = now;
            stream.sequence += 1;
            stream.unanswered.push_back((stream.sequence, now));
            if stream.unanswered.len() > MAX_UNANSWERED {
                stream.unanswered.pop_front();
            }
            self.group.heartbeat_sent();
            Request::Heartbeat(Heartbeat {
                sequence: stream.sequence,
                running,
                queued,
            })
        } else if let Some(reason) = goodbye {
            stream.goodbye_sent = true;
            Request::Leaving(Leaving { reason })
        } else if let Some(message) = self.group.next_message(now) {
            message
        } else if self.group.wants_progress() {
            self.group.progress_sent();
            Request::GroupProgress(progress?)
        } else if self.ledger.has_unsent() {
            let batch = self.ledger.next_batch();
            if batch.results.is_empty() {
                return None;
            }
            Request::Results(batch)
        } else {
            Request::LogChunk(self.log_chunks.pop_front()?)
        };
        Some(AttachRequest {
            epoch,
            message: Some(message),
        })
    }

    /// A worker that is told to leave says so at once; one that is drained when it has finished.
    fn wants_goodbye(&self, stream: &Stream) -> bool {
        let due = match self.mode {
            Mode::Serving => false,
            Mode::Draining { .. } => self.is_done(),
            Mode::Leaving { .. } => true,
        };
        due && !stream.goodbye_sent
    }

    pub(super) fn hello(&self, now: Instant) -> AttachRequest {
        let identity = self.identity.clone();
        let hello = Hello {
            protocol_version: petctl_proto::PROTOCOL_VERSION,
            oldest_protocol_version: petctl_proto::OLDEST_PROTOCOL_VERSION,
            program_version: identity.program_version,
            worker_id: identity.worker_id,
            name: identity.name,
            host: identity.host,
            pid: identity.pid,
            job: identity.job,
            slots: identity.slots,
            gpus: identity.gpus,
            cpu_milli: identity.cpu_milli,
            memory_mib: identity.memory_mib,
            member_of: self.member_of,
            held: self.ledger.held(),
            leaving: self.mode != Mode::Serving,
            address: identity.advertise,
            processes: identity.processes,
            node_rank: identity.node_rank,
            index: identity.index,
            group: self.group.report(now),
            local_stages: identity.local_stages,
        };
        AttachRequest {
            epoch: self.epoch,
            message: Some(Request::Hello(hello)),
        }
    }
}
