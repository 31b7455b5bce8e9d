//! WorkerService: one stream per worker.

use super::auth::Caller;
use super::incoming::Peer;
use super::relay::Relay;
use super::server::Server;
use super::status::{bad, refused};
use super::{bounds, decode, encode};
use crate::driver::{Client, Ending, Inbox, Message, Outbox, Outgoing, stream};
use petctl_codes::Code;
use petctl_core::{Config, ConnId, Epoch};
use petctl_proto::v1::attach_request::Message as Said;
use petctl_proto::v1::worker_service_server::WorkerService;
use petctl_proto::v1::{AttachRequest, AttachResponse};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

pub(super) struct Workers {
    server: Server,
}

impl Workers {
    pub(super) fn new(server: Server) -> Self {
        Self { server }
    }
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type AttachStream = Outbound;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let server = &self.server;
        let conn = server.client.next_conn();
        let cut = request
            .extensions()
            .get::<Peer>()
            .map(|peer| peer.cut.clone());
        let caller = Caller::of(&request)?;
        let (outbox, Inbox { queue, ending }) = stream();
        let inbound = Inbound {
            conn,
            caller,
            client: server.client.clone(),
            relay: server.relay.clone(),
            messages: request.into_inner(),
            protocol: Arc::default(),
        };
        let protocol = Arc::clone(&inbound.protocol);
        let (config, stopping) = (server.config, server.stopping.clone());
        let theirs = ending.clone();
        let span = tracing::info_span!(
            "worker_stream",
            conn = conn.0,
            worker = tracing::field::Empty
        );
        let reading = async move {
            let mut inbound = inbound;
            // Kept here until the end is said: a queue that closes before that looks like a proper end.
            let mut outbox = Some(outbox);
            let ended = tokio::select! {
                ended = inbound.converse(&mut outbox) => ended,
                () = theirs.ended() => Ok(()),
                () = stopping.cancelled() => Ok(()),
            };
            if let Err(status) = ended {
                tracing::debug!(message = status.message(), "a worker's stream is refused");
                theirs.end(status);
            }
            drop(outbox);
            inbound.relay.forget(conn);
            // The coordinator may have stopped, and then nobody needs to know.
            let _stopped = inbound.client.send(Message::Disconnected(conn)).await;
            drop(inbound);
            let taken = tokio::time::timeout(bounds::END_TIMEOUT, theirs.is_gone()).await;
            if let (Err(_), Some(cut)) = (taken, cut) {
                tracing::warn!(
                    "a worker does not take the end of its stream; its connection is cut"
                );
                cut.now();
            }
        };
        server.tasks.spawn(reading.instrument(span));
        Ok(Response::new(Outbound {
            queue,
            ending,
            config,
            protocol,
            ended: false,
        }))
    }
}

/// What a worker says.
struct Inbound {
    conn: ConnId,
    caller: Caller,
    client: Client,
    relay: Relay,
    messages: Streaming<AttachRequest>,
    protocol: Arc<OnceLock<u32>>,
}

impl Inbound {
    /// Until the worker ends its stream, or says what makes no sense. Takes the outbox once it knows whose it is.
    async fn converse(&mut self, outbox: &mut Option<Outbox>) -> Result<(), Status> {
        let first = tokio::time::timeout(bounds::HELLO_TIMEOUT, self.next())
            .await
            .map_err(|_| {
                refused(
                    Code::HelloMissing,
                    tonic::Code::DeadlineExceeded,
                    "the worker did not say Hello within 10 s",
                )
            })?;
        let hello = match first? {
            None => return Ok(()),
            Some(AttachRequest {
                message: Some(Said::Hello(hello)),
                ..
            }) => {
                // Known before the core hears of the worker, and answers it.
                let spoken = decode::protocol(&hello)?;
                self.protocol.get_or_init(|| spoken);
                decode::hello(hello)?
            }
            Some(_) => {
                return Err(bad(
                    Code::HelloMissing,
                    "the first message on a stream is Hello",
                ));
            }
        };
        self.caller.check(&hello)?;
        tracing::Span::current().record("worker", hello.name.as_str());
        let Some(outbox) = outbox.take() else {
            return Ok(());
        };
        self.client
            .send(Message::Hello {
                conn: self.conn,
                hello: Box::new(hello),
                outbox,
            })
            .await?;
        while let Some(AttachRequest { epoch, message }) = self.next().await? {
            let message =
                message.ok_or_else(|| bad(Code::BadMessage, "a message without contents"))?;
            match decode::said(message)? {
                decode::Said::ToCore(said) => {
                    self.client
                        .send(Message::Worker(self.conn, Epoch(epoch), said))
                        .await?;
                }
                decode::Said::Log(chunk) => self.relay.deliver(self.conn, chunk),
            }
        }
        Ok(())
    }

    /// A broken connection ends a stream as well as a proper end does.
    async fn next(&mut self) -> Result<Option<AttachRequest>, Status> {
        match self.messages.message().await {
            Ok(message) => Ok(message),
            Err(status) if is_transport(&status) => Ok(None),
            Err(status) => Err(bad(Code::BadMessage, status.message())),
        }
    }
}

fn is_transport(status: &Status) -> bool {
    matches!(
        status.code(),
        tonic::Code::Unknown | tonic::Code::Cancelled | tonic::Code::Unavailable
    )
}

/// What a worker is told, encoded as it goes out.
pub(super) struct Outbound {
    queue: mpsc::Receiver<Outgoing>,
    ending: Ending,
    config: Config,
    /// The version of the protocol that is spoken, from the worker's Hello on.
    protocol: Arc<OnceLock<u32>>,
    ended: bool,
}

impl Stream for Outbound {
    type Item = Result<AttachResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.ending.is_abandoned() {
            self.ended = true;
            return Poll::Ready(self.ending.status().map(Err));
        }
        self.queue.poll_recv(cx).map(|outgoing| match outgoing {
            Some(outgoing) => Some(Ok(encode::outgoing(
                outgoing,
                &self.config,
                self.protocol.get().copied().unwrap_or_default(),
            ))),
            None => {
                self.ended = true;
                self.ending.status().map(Err)
            }
        })
    }
}

impl Drop for Outbound {
    /// The server is done with the stream: the worker has gone, or was told its end.
    fn drop(&mut self) {
        self.ending.gone();
    }
}
