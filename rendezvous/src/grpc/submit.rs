//! A submission, from the wire.

use super::bounds::{MAX_KEYS_BYTES, MAX_SPEC_BYTES};
use super::status::bad;
use petctl_core::{Submission, Submitted, SubmittedAs};
use petctl_proto::v1;
use petctl_proto::v1::submit_job_request::Part;
use petctl_spec::MAX_SHARDS;
use tonic::{Status, Streaming};

const CODE: &str = "BAD_SUBMISSION";

/// Reads and checks all parts.
pub(super) async fn read(mut parts: Streaming<v1::SubmitJobRequest>) -> Result<Submission, Status> {
    let header = match parts.message().await?.and_then(|request| request.part) {
        Some(Part::Header(header)) => header,
        Some(Part::Keys(_)) | None => {
            return Err(bad(CODE, "the first part of a submission is its header"));
        }
    };
    let mut submission = from_header(header)?;
    let mut bounds = Bounds::default();
    while let Some(request) = parts.message().await? {
        let Some(Part::Keys(keys)) = request.part else {
            return Err(bad(CODE, "behind the header come shard keys"));
        };
        bounds.add(&keys)?;
        let stage = usize::try_from(keys.stage)
            .ok()
            .and_then(|index| submission.keys.get_mut(index));
        stage
            .ok_or_else(|| bad(CODE, format_args!("there is no stage {}", keys.stage)))?
            .extend(keys.keys);
    }
    // A million keys take long enough to hold up other calls.
    let checked = tokio::task::spawn_blocking(move || check(submission)).await;
    checked.map_err(|_| {
        Status::internal("COORDINATOR_BUG: the check of a submission panicked; please report it")
    })?
}

pub(super) fn answer(submitted: Submitted) -> v1::SubmitJobResponse {
    let how = match submitted.how {
        SubmittedAs::New => v1::Submission::New,
        SubmittedAs::Resumed => v1::Submission::Resumed,
        SubmittedAs::Retried => v1::Submission::Retried,
        SubmittedAs::Finished => v1::Submission::Finished,
    };
    v1::SubmitJobResponse {
        job_id: submitted.job.0,
        submission: how.into(),
        reused: submitted.reused,
    }
}

fn from_header(header: v1::SubmitHeader) -> Result<Submission, Status> {
    if header.spec_json.len() > MAX_SPEC_BYTES {
        return Err(bad(
            CODE,
            format_args!("the job file is longer than {MAX_SPEC_BYTES} bytes"),
        ));
    }
    let fingerprint = <[u8; 32]>::try_from(header.fingerprint.as_slice())
        .map_err(|_| bad(CODE, "a fingerprint is a SHA-256 of 32 bytes"))?;
    let spec = petctl_spec::parse_spec_json(&header.spec_json)
        .map_err(|error| bad(error.code(), error))?;
    let keys = vec![Vec::new(); spec.stages.len()];
    Ok(Submission {
        spec,
        fingerprint,
        keys,
        rerun_all: header.rerun_all,
    })
}

fn check(submission: Submission) -> Result<Submission, Status> {
    for keys in submission.keys.iter().filter(|keys| !keys.is_empty()) {
        petctl_spec::check_keys(keys).map_err(|error| bad(error.code(), error))?;
    }
    Ok(submission)
}

/// What the keys read so far add up to.
#[derive(Default)]
struct Bounds {
    keys: usize,
    bytes: usize,
}

impl Bounds {
    fn add(&mut self, chunk: &v1::ShardKeys) -> Result<(), Status> {
        self.keys += chunk.keys.len();
        self.bytes += chunk.keys.iter().map(String::len).sum::<usize>();
        if self.keys as u64 > MAX_SHARDS {
            return Err(bad(
                "TOO_MANY_SHARDS",
                format_args!("a job has at most {MAX_SHARDS} shards; split it"),
            ));
        }
        if self.bytes > MAX_KEYS_BYTES {
            return Err(bad(
                CODE,
                format_args!("the shard keys have more than {MAX_KEYS_BYTES} bytes; shorten them"),
            ));
        }
        Ok(())
    }
}
