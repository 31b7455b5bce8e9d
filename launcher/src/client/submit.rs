//! Hands a job to a coordinator.

use super::{Client, refusal};
use crate::error::{Code, Error, Result};
use crate::job::PreparedJob;
use petctl_proto::v1::submit_job_request::Part;
use petctl_proto::v1::{ShardKeys, SubmitHeader, SubmitJobRequest, SubmitJobResponse};

/// Bytes of keys in one message.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Submits a job with its listed shards. "Accepted" means durable.
pub(crate) async fn submit(
    client: &mut Client,
    job: &PreparedJob,
    rerun_all: bool,
) -> Result<SubmitJobResponse> {
    let spec_json = serde_json::to_string(&job.spec)
        .map_err(|error| Error::new(Code::Bug, "can't write the job as JSON").because(&error))?;
    let header = SubmitHeader {
        spec_json,
        fingerprint: job.fingerprint.to_vec(),
        rerun_all,
        ..SubmitHeader::default()
    };
    let mut parts = vec![SubmitJobRequest {
        part: Some(Part::Header(header)),
    }];
    for (stage, keys) in (0_u32..).zip(&job.keys) {
        parts.extend(chunks(keys).map(|keys| SubmitJobRequest {
            part: Some(Part::Keys(ShardKeys {
                stage,
                keys,
                ..ShardKeys::default()
            })),
        }));
    }
    let answer = client.service.submit_job(tokio_stream::iter(parts)).await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| refusal(&client.address, &status))
}

fn chunks(keys: &[String]) -> impl Iterator<Item = Vec<String>> {
    let mut rest = keys;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |key: &&String| {
            bytes += key.len() + 8;
            bytes <= CHUNK_BYTES
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (chunk, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(chunk.to_vec())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_hold_every_key_once_and_are_small() {
        let keys: Vec<String> = (0..100_000).map(|n| format!("drives/{n:050}")).collect();
        let parts: Vec<Vec<String>> = chunks(&keys).collect();
        assert!(parts.len() > 5);
        assert_eq!(parts.concat(), keys);
        assert_eq!(chunks(&[]).count(), 0);
    }
}
