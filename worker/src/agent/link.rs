//! The gRPC stream to the coordinator.

use std::time::Duration;

use petctl_proto::v1::attach_request::Message;
use petctl_proto::v1::place_service_client::PlaceServiceClient;
use petctl_proto::v1::worker_service_client::WorkerServiceClient;
use petctl_proto::v1::{AttachRequest, AttachResponse};
use petctl_proto::{MAX_MESSAGE_BYTES, Refusal, TOKEN_METADATA_KEY};
use petctl_text::{Secret, with_causes};
use petctl_tls::{NotConnected, TlsError, Trust};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use crate::agent::route::Route;
use crate::options::WorkerError;

/// Longest time for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A batch of leases arrives without waiting for window updates.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Messages on their way into the transport. Few: what does not fit gathers into larger batches.
const QUEUE: usize = 2;

/// Where and how to connect.
#[derive(Clone, Debug)]
pub(super) struct Target {
    endpoint: Endpoint,
    trust: Option<Trust>,
    authorization: Option<MetadataValue<Ascii>>,
}

/// An open stream.
#[derive(Debug)]
pub(super) struct Connection {
    /// `None` once the sending side has ended.
    pub(super) sender: Option<mpsc::Sender<AttachRequest>>,
    pub(super) inbound: Streaming<AttachResponse>,
    /// Where the coordinator is.
    pub(super) route: Option<Route>,
}

/// Why there is no stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Trying again would not help.
    Refused { code: String, message: String },
    /// Whoever answers is not trusted, which may pass where it was trusted before.
    Untrusted(TlsError),
    /// It may help.
    Broken { cause: String },
}

impl Target {
    pub(super) fn new(
        address: &str,
        token: Option<&Secret>,
        trust: Option<Trust>,
    ) -> Result<Self, WorkerError> {
        let bad = |what: String, fix| WorkerError::BadOption { what, fix };
        let scheme = if trust.is_some() { "https" } else { "http" };
        let uri = if address.contains("://") {
            address.to_owned()
        } else {
            format!("{scheme}://{address}")
        };
        let fix = "write it as host:port";
        let endpoint = Endpoint::from_shared(uri).map_err(|error| {
            bad(
                format!("the coordinator's address {address:?} can't be used: {error}"),
                fix,
            )
        })?;
        if endpoint.uri().port().is_none() {
            return Err(bad(
                format!("the coordinator's address {address:?} can't be used"),
                fix,
            ));
        }
        if endpoint.uri().scheme_str() != Some(scheme) {
            return Err(bad(
                format!("the coordinator's address {address:?} can't be used"),
                "https:// goes with the coordinator's CA (--ca-file), http:// without it",
            ));
        }
        let authorization = token
            .map(|token| {
                let mut value = MetadataValue::try_from(format!("Bearer {}", token.expose()))
                    .map_err(|_| {
                        bad(
                            "the token has characters that can't be sent".to_owned(),
                            "use letters and digits",
                        )
                    })?;
                value.set_sensitive(true);
                Ok::<_, WorkerError>(value)
            })
            .transpose()?;
        let endpoint = endpoint
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        Ok(Self {
            endpoint,
            trust,
            authorization,
        })
    }

    /// Opens a stream whose first message is `hello`.
    pub(super) async fn connect(self, mut hello: AttachRequest) -> Result<Connection, Failure> {
        let channel = self.channel().await?;
        let route = self.route().await;
        if let (Some(Message::Hello(hello)), Some(route)) = (&mut hello.message, route)
            && hello.address.is_empty()
        {
            hello.address = route.own.to_string();
        }
        let mut client = WorkerServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (sender, receiver) = mpsc::channel(QUEUE);
        // A coordinator may answer only after it has heard the Hello, so that goes first.
        if sender.try_send(hello).is_err() {
            return Err(Failure::Broken {
                cause: "the stream closed at once".to_owned(),
            });
        }
        let request = self.request(ReceiverStream::new(receiver));
        let response = client
            .attach(request)
            .await
            .map_err(|status| Failure::of(&status))?;
        Ok(Connection {
            sender: Some(sender),
            inbound: response.into_inner(),
            route,
        })
    }

    /// The coordinator's other service: where code comes from.
    pub(super) async fn places(&self) -> Result<PlaceServiceClient<Channel>, String> {
        let channel = self.channel().await.map_err(|failure| failure.cause())?;
        Ok(PlaceServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }

    async fn channel(&self) -> Result<Channel, Failure> {
        let connected = petctl_tls::channel(&self.endpoint, self.trust.as_ref()).await;
        connected.map_err(|error| match error {
            NotConnected::Tls(error) => Failure::Untrusted(error),
            NotConnected::Away(error) => Failure::Broken {
                cause: with_causes(&error),
            },
        })
    }

    /// A call with the token on it.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request
                .metadata_mut()
                .insert(TOKEN_METADATA_KEY, authorization.clone());
        }
        request
    }

    async fn route(&self) -> Option<Route> {
        let uri = self.endpoint.uri();
        Route::find(uri.host()?, uri.port_u16()?).await
    }
}

impl Failure {
    /// What happened, in words.
    fn cause(&self) -> String {
        match self {
            Self::Refused { message, .. } => message.clone(),
            Self::Untrusted(error) => error.to_string(),
            Self::Broken { cause } => cause.clone(),
        }
    }

    pub(super) fn of(status: &Status) -> Self {
        let message = status.message();
        let code =
            Refusal::of(status).map_or_else(|| format!("{:?}", status.code()), |said| said.code);
        match status.code() {
            Code::Unauthenticated
            | Code::PermissionDenied
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::AlreadyExists
            | Code::NotFound
            | Code::OutOfRange
            | Code::Unimplemented => Self::Refused {
                code,
                message: message.to_owned(),
            },
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Broken {
                cause: format!("{code}: {message}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_say_whether_trying_again_helps() {
        let refused = |code: &str, message: &str| Failure::Refused {
            code: code.into(),
            message: message.into(),
        };
        let status = petctl_proto::refusal(
            petctl_codes::Code::TokenWrong,
            Code::Unauthenticated,
            "the token is wrong",
        );
        assert_eq!(
            Failure::of(&status),
            refused("TOKEN_WRONG", "the token is wrong")
        );
        let status = Status::unimplemented("grpc: no such thing");
        assert_eq!(
            Failure::of(&status),
            refused("Unimplemented", "grpc: no such thing")
        );
        assert!(matches!(
            Failure::of(&Status::unavailable("x")),
            Failure::Broken { .. }
        ));
    }

    #[test]
    fn addresses_are_checked_before_anything_starts() {
        for address in ["127.0.0.1:7000", "http://host:1", "[::1]:7000"] {
            assert!(Target::new(address, None, None).is_ok(), "{address}");
        }
        for address in [
            "",
            "host",
            "https://host:1",
            "ftp://host:1",
            "host:port",
            "a b:1",
        ] {
            assert!(Target::new(address, None, None).is_err(), "{address}");
        }
        let error = Target::new("h:1", Some(&Secret::new("se\ncret")), None)
            .unwrap_err()
            .to_string();
        assert!(!error.contains("cret"), "{error}");
    }
}
