//! A job's statuses as they change, to its end.

use crate::{is_lost, refusal, stopped};
use petctl_proto::v1::{JobStatus, WatchJobResponse};
use petctl_ui::error::{Error, Result};
use tonic::Streaming;

/// The status now, and again whenever it changed.
#[derive(Debug)]
pub struct Statuses {
    stream: Streaming<WatchJobResponse>,
    address: String,
}

/// What comes of waiting for a status.
#[derive(Debug)]
pub enum Heard {
    /// The job's.
    Status(Box<JobStatus>),
    /// The coordinator is away: the same may work in a moment.
    Lost(Error),
}

impl Statuses {
    pub(crate) fn new(stream: Streaming<WatchJobResponse>, address: &str) -> Self {
        Self {
            stream,
            address: address.to_owned(),
        }
    }

    /// The next status. May be dropped while it waits; nothing is lost.
    ///
    /// # Errors
    /// What the coordinator refused.
    pub async fn next(&mut self) -> Result<Heard> {
        loop {
            match self.stream.message().await {
                Ok(Some(message)) => {
                    if let Some(status) = message.status {
                        return Ok(Heard::Status(Box::new(status)));
                    }
                }
                Ok(None) => return Ok(Heard::Lost(stopped())),
                Err(status) => {
                    let error = refusal(&self.address, &status);
                    return if is_lost(&status) {
                        Ok(Heard::Lost(error))
                    } else {
                        Err(error)
                    };
                }
            }
        }
    }

    /// The status with which the job ends; each one on the way is shown to `seen`.
    ///
    /// # Errors
    /// As [`Statuses::next`].
    pub async fn end(&mut self, mut seen: impl FnMut(&JobStatus)) -> Result<Heard> {
        loop {
            let heard = self.next().await?;
            if let Heard::Status(status) = &heard {
                seen(status);
                if !status.has_ended() {
                    continue;
                }
            }
            return Ok(heard);
        }
    }
}
