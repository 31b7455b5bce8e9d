//! Connections, and one request after the other on each.

use crate::answer::with_service_headers;
use crate::pieces::{Answer, Received, receive};
use crate::refusal::Refusal;
use crate::request::Asked;
use crate::route::{Operation, operation};
use crate::store::Service;
use crate::{blobs, blocks, containers, listing};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// After a connection could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Takes connections until it is dropped.
pub(crate) async fn accept(listener: TcpListener, service: Arc<Service>) {
    let mut http = http1::Builder::new();
    // There is no timer: an idle connection stays.
    http.header_read_timeout(None);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: those that are served will free some.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let _delayed = stream.set_nodelay(true);
        let service = Arc::clone(&service);
        let answering = service_fn(move |request| {
            let service = Arc::clone(&service);
            async move { Ok::<_, Infallible>(answer(&service, request).await) }
        });
        let connection = http.serve_connection(TokioIo::new(stream), answering);
        tokio::spawn(async move {
            // The other side went away: that is what connections do.
            let _closed = connection.await;
        });
    }
}

async fn answer(service: &Service, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    // Whatever the answer is: a client that still sends would not hear it.
    let answer = match receive(body).await {
        Ok(received) => Asked::read(parts).and_then(|asked| decide(service, &asked, received)),
        Err(_) => Err(Refusal::broken_body()),
    };
    with_service_headers(answer.unwrap_or_else(Refusal::answer), service)
}

fn decide(service: &Service, asked: &Asked, received: Received) -> Result<Answer, Refusal> {
    let operation = operation(asked)?;
    asked.check_signed()?;
    match operation {
        Operation::CreateContainer => containers::create(service, asked),
        Operation::ContainerProperties => containers::properties(service, asked),
        Operation::DeleteContainer => containers::delete(service, asked),
        Operation::ListBlobs => listing::list(service, asked),
        Operation::PutBlob => blobs::put(service, asked, received),
        Operation::GetBlob => blobs::get(service, asked),
        Operation::BlobProperties => blobs::properties(service, asked),
        Operation::DeleteBlob => blobs::delete(service, asked),
        Operation::PutBlock => blocks::put(service, asked, received),
        Operation::PutBlockList => blocks::commit(service, asked, &received),
        Operation::GetBlockList => blocks::list(service, asked),
    }
}
