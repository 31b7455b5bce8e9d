//! Hands a job to a coordinator.

use super::{Client, refusal};
use petctl_core::{JobId, Made, Rerun, Seen, StageContents, StageOutputs, Verdict};
use petctl_job::PreparedJob;
use petctl_proto::v1;
use petctl_proto::v1::submit_job_request::Part;
use petctl_proto::v1::{
    FoundOutputs, JobStatus, ShardKeys, SubmitHeader, SubmitJobRequest, SubmitJobResponse,
};
use petctl_spec::{ContentDigest, ShardDetail};
use petctl_ui::error::{Code, Error, Result};
use std::ops::Range;

/// Bytes of keys, and of what is known of them, in one message.
const CHUNK_BYTES: usize = 1024 * 1024;
/// What a key takes beside its letters: lengths, and its digests.
const PER_KEY_BYTES: usize = 48;

/// Outputs of shards in one message.
const FOUND_IN_ONE: usize = 50_000;

/// How a job is handed over.
#[derive(Clone, Debug, Default)]
pub struct Submit {
    /// What runs again although it is done.
    pub rerun: Rerun,
    /// What a look at the output has found.
    pub look: Look,
    /// Decide and answer, but change nothing.
    pub plan_only: bool,
}

/// A look at the output of a job.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// What was found; empty: nobody looked.
    pub outputs: Vec<StageOutputs>,
    /// How the job stood at its coordinator before that.
    pub seen: Seen,
    /// Nobody had used the output when it was taken for this run.
    pub new_output: bool,
}

/// What counts of how a job stood before a look at its output.
#[must_use]
pub fn seen(status: &JobStatus) -> Seen {
    let summary = status.summary.as_ref();
    summary.map_or_else(Seen::default, |summary| Seen {
        job: JobId(summary.job_id),
        done: summary.done,
    })
}

/// Submits a job with its listed shards. "Accepted" means durable.
pub async fn submit(
    client: &mut Client,
    job: &PreparedJob,
    how: &Submit,
) -> Result<SubmitJobResponse> {
    let parts = parts(job, how)?;
    let answer = client.service.submit_job(tokio_stream::iter(parts)).await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| refusal(&client.address, &status))
}

fn parts(job: &PreparedJob, how: &Submit) -> Result<Vec<SubmitJobRequest>> {
    let spec_json = serde_json::to_string(&job.spec)
        .map_err(|error| Error::new(Code::Bug, "can't write the job as JSON").because(&error))?;
    let header = SubmitHeader {
        spec_json,
        fingerprint: job.fingerprint.to_vec(),
        rerun_all: how.rerun == Rerun::All,
        rerun: match &how.rerun {
            Rerun::Changed | Rerun::All => String::new(),
            Rerun::Failed => "failed".to_owned(),
            Rerun::Keys(glob) => glob.clone(),
        },
        plan_only: how.plan_only,
        contents: job.contents.iter().map(stage_content).collect(),
        looked: (0_u32..)
            .zip(&how.look.outputs)
            .filter_map(|(stage, outputs)| (!outputs.unknown).then_some(stage))
            .collect(),
        seen_job_id: how.look.seen.job.0,
        seen_done: how.look.seen.done,
        new_output: how.look.new_output,
    };
    let mut parts = vec![Part::Header(header)];
    for (stage, (listed, contents)) in (0_u32..).zip(job.listed.iter().zip(&job.contents)) {
        for chunk in chunks(&listed.keys, &listed.details) {
            let details = listed.details.get(chunk.clone()).unwrap_or_default();
            let shards = contents.shards.get(chunk.clone()).unwrap_or_default();
            parts.push(Part::Keys(ShardKeys {
                stage,
                keys: listed.keys.get(chunk).unwrap_or_default().to_vec(),
                details_json: details.iter().map(detail_json).collect::<Result<_>>()?,
                contents: shards
                    .iter()
                    .flat_map(|shard| [shard.input, shard.params].concat())
                    .collect(),
            }));
        }
    }
    for (stage, outputs) in (0_u32..).zip(&how.look.outputs) {
        let mut found = outputs.found.as_slice();
        while !found.is_empty() {
            let (chunk, rest) = found.split_at(first_found(found));
            found = rest;
            parts.push(Part::Outputs(FoundOutputs {
                stage,
                shards: chunk.iter().map(|found| found.shard).collect(),
                files: chunk.iter().map(|found| found.files).collect(),
                bytes: chunk.iter().map(|found| found.bytes).collect(),
                made: chunk
                    .iter()
                    .map(|found| made(found.made.as_deref()))
                    .collect(),
            }));
        }
    }
    let part = |part| SubmitJobRequest { part: Some(part) };
    Ok(parts.into_iter().map(part).collect())
}

/// How many of the first found outputs make one message.
fn first_found(found: &[petctl_core::FoundOutputs]) -> usize {
    let mut bytes = 0;
    let many = found.iter().take(FOUND_IN_ONE).take_while(|found| {
        bytes += found.made.as_ref().map_or(0, |made| {
            let reasons: usize = made.reasons.iter().map(String::len).sum();
            let numbers: usize = made.numbers.iter().map(|(name, _)| name.len() + 16).sum();
            PER_KEY_BYTES + made.worker.len() + reasons + numbers
        });
        bytes <= CHUNK_BYTES
    });
    many.count().max(1)
}

fn made(made: Option<&Made>) -> v1::MadeOutputs {
    let Some(made) = made else {
        return v1::MadeOutputs::default();
    };
    let verdict = match made.verdict {
        Verdict::None => v1::Verdict::Unspecified,
        Verdict::Pass => v1::Verdict::Pass,
        Verdict::Fail => v1::Verdict::Fail,
        Verdict::Skipped => v1::Verdict::Skipped,
    };
    let number = |(name, value): &(String, f64)| v1::Number {
        name: name.clone(),
        value: *value,
    };
    v1::MadeOutputs {
        lineage: made.lineage.0,
        lease_id: made.lease.0,
        content: made.content.map_or_else(Vec::new, Vec::from),
        worker: made.worker.clone(),
        duration_ms: made.duration_ms,
        verdict: verdict.into(),
        reasons: made.reasons.clone(),
        numbers: made.numbers.iter().map(number).collect(),
    }
}

fn stage_content(contents: &StageContents) -> v1::StageContent {
    let bytes = |digest: ContentDigest| match digest {
        none if none == ContentDigest::default() => Vec::new(),
        digest => digest.to_vec(),
    };
    v1::StageContent {
        command: bytes(contents.stage.command),
        code: bytes(contents.stage.code),
        image: bytes(contents.stage.image),
    }
}

fn detail_json(detail: &ShardDetail) -> Result<String> {
    serde_json::to_string(detail)
        .map_err(|error| Error::new(Code::Bug, "can't write a shard as JSON").because(&error))
}

/// Ranges of keys whose messages are small, with what is known of them.
fn chunks(keys: &[String], details: &[ShardDetail]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let mut end = start;
        while let Some(key) = keys.get(end) {
            bytes += key.len() + PER_KEY_BYTES + details.get(end).map_or(0, size);
            if bytes > CHUNK_BYTES && end > start {
                break;
            }
            end += 1;
        }
        let chunk = start..end;
        start = end;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// About as many bytes as its JSON has.
fn size(detail: &ShardDetail) -> usize {
    let inputs = detail.inputs.iter().map(|input| input.len() + 4);
    let params = detail
        .params
        .iter()
        .map(|(name, value)| name.len() + value.len() + 8);
    inputs.chain(params).sum::<usize>() + 80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_hold_every_key_once_and_are_small() {
        let keys: Vec<String> = (0..100_000).map(|n| format!("drives/{n:050}")).collect();
        let parts: Vec<Range<usize>> = chunks(&keys, &[]).collect();
        assert!(parts.len() > 5);
        let all: Vec<usize> = parts.into_iter().flatten().collect();
        assert_eq!(all, (0..keys.len()).collect::<Vec<_>>());
        assert_eq!(chunks(&[], &[]).count(), 0);
        let long = ShardDetail {
            inputs: vec!["x".repeat(CHUNK_BYTES); 2],
            ..ShardDetail::default()
        };
        assert_eq!(chunks(&keys[..2], &[long.clone(), long]).count(), 2);
    }
}
