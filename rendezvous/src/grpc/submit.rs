//! A submission, from the wire.

use super::bounds::{MAX_DETAIL_BYTES, MAX_KEYS_BYTES, MAX_SPEC_BYTES};
use super::decode::{line, numbers, reasons, verdict};
use super::status::{bad, refused};
use petctl_codes::Code;
use petctl_core::{
    FoundOutputs, JobId, LeaseId, Lineage, Made, Rerun, Seen, StageContents, StageOutputs,
    Submission,
};
use petctl_proto::v1;
use petctl_proto::v1::submit_job_request::Part;
use petctl_spec::manifest::check_detail;
use petctl_spec::{ContentDigest, MAX_SHARDS, ShardContent, ShardDetail, StageContent};
use tonic::{Status, Streaming};

const CODE: Code = Code::BadSubmission;

/// Reads and checks all parts.
pub(super) async fn read(mut parts: Streaming<v1::SubmitJobRequest>) -> Result<Submission, Status> {
    let header = match parts.message().await?.and_then(|request| request.part) {
        Some(Part::Header(header)) => header,
        Some(Part::Keys(_) | Part::Outputs(_)) | None => {
            return Err(bad(CODE, "the first part of a submission is its header"));
        }
    };
    let mut submission = from_header(header)?;
    let mut bounds = Bounds::default();
    while let Some(request) = parts.message().await? {
        let keys = match request.part {
            Some(Part::Keys(keys)) => keys,
            Some(Part::Outputs(outputs)) => {
                bounds.add_outputs(&outputs)?;
                found(outputs, &mut submission)?;
                continue;
            }
            Some(Part::Header(_)) | None => {
                return Err(bad(CODE, "behind the header come shard keys and outputs"));
            }
        };
        bounds.add(&keys)?;
        let index = usize::try_from(keys.stage).unwrap_or(usize::MAX);
        let (Some(listed), Some(details), Some(contents)) = (
            submission.keys.get_mut(index),
            submission.details.get_mut(index),
            submission.contents.get_mut(index),
        ) else {
            return Err(bad(CODE, format_args!("there is no stage {}", keys.stage)));
        };
        describe(&keys, details, &mut contents.shards)?;
        listed.extend(keys.keys);
    }
    // A million keys take long enough to hold up other calls.
    let checked = tokio::task::spawn_blocking(move || check(submission)).await;
    checked.map_err(|_| {
        refused(
            Code::CoordinatorBug,
            tonic::Code::Internal,
            "the check of a submission panicked; please report it",
        )
    })?
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
    let stages = spec.stages.len();
    let contents = contents(header.contents, stages)?;
    let rerun = match header.rerun.as_str() {
        _ if header.rerun_all => Rerun::All,
        "" => Rerun::Changed,
        "failed" => Rerun::Failed,
        glob => {
            petctl_spec::ShardGlob::new(glob).map_err(|error| bad(error.code(), error))?;
            Rerun::Keys(glob.to_owned())
        }
    };
    Ok(Submission {
        spec,
        fingerprint,
        keys: vec![Vec::new(); stages],
        details: vec![Vec::new(); stages],
        contents,
        outputs: looked(&header.looked, stages)?,
        seen: Seen {
            job: JobId(header.seen_job_id),
            done: header.seen_done,
        },
        new_output: header.new_output,
        rerun,
        plan_only: header.plan_only,
    })
}

/// A submission without outputs is one whose client has not looked for any.
fn looked(looked: &[u32], stages: usize) -> Result<Vec<StageOutputs>, Status> {
    if looked.is_empty() {
        return Ok(Vec::new());
    }
    let unknown = StageOutputs {
        unknown: true,
        found: Vec::new(),
    };
    let mut outputs = vec![unknown; stages];
    for stage in looked {
        let there = usize::try_from(*stage)
            .ok()
            .and_then(|stage| outputs.get_mut(stage));
        let Some(there) = there else {
            return Err(bad(CODE, format_args!("there is no stage {stage}")));
        };
        there.unknown = false;
    }
    Ok(outputs)
}

/// Takes in what was found of one stage.
fn found(part: v1::FoundOutputs, submission: &mut Submission) -> Result<(), Status> {
    let stage = usize::try_from(part.stage).unwrap_or(usize::MAX);
    let outputs = submission.outputs.get_mut(stage);
    let Some(outputs) = outputs.filter(|outputs| !outputs.unknown) else {
        return Err(bad(
            CODE,
            format_args!("nobody looked for outputs of stage {}", part.stage),
        ));
    };
    let count = part.shards.len();
    let fits = |given: usize| given == 0 || given == count;
    if part.files.len() != count || part.bytes.len() != count || !fits(part.made.len()) {
        return Err(bad(
            CODE,
            "found outputs have shards, files and bytes alike",
        ));
    }
    let counts = part.files.into_iter().zip(part.bytes);
    let mut all_made = part.made.into_iter();
    for (shard, (files, bytes)) in part.shards.into_iter().zip(counts) {
        if outputs.found.last().is_some_and(|last| last.shard > shard) {
            return Err(bad(CODE, "found outputs come in the order of their shards"));
        }
        outputs.found.push(FoundOutputs {
            shard,
            files,
            bytes,
            made: all_made.next().map(made).transpose()?.flatten(),
        });
    }
    Ok(())
}

/// What a manifest said; `None` where none was read.
fn made(made: v1::MadeOutputs) -> Result<Option<Box<Made>>, Status> {
    if made.lineage == 0 {
        return Ok(None);
    }
    line("worker", &made.worker)?;
    Ok(Some(Box::new(Made {
        lineage: Lineage(made.lineage),
        lease: LeaseId(made.lease_id),
        content: match made.content.is_empty() {
            true => None,
            false => Some(digest(&made.content)?),
        },
        worker: made.worker,
        duration_ms: made.duration_ms,
        verdict: verdict(made.verdict)?,
        reasons: reasons(made.reasons)?,
        numbers: numbers(made.numbers)?,
    })))
}

/// A submission without contents is one whose shards have none.
fn contents(given: Vec<v1::StageContent>, stages: usize) -> Result<Vec<StageContents>, Status> {
    if given.is_empty() {
        return Ok(vec![StageContents::default(); stages]);
    }
    if given.len() != stages {
        return Err(bad(
            CODE,
            format_args!(
                "{} stages have contents, and {stages} are there",
                given.len()
            ),
        ));
    }
    let stage = |content: v1::StageContent| {
        Ok(StageContents {
            stage: StageContent {
                command: digest(&content.command)?,
                code: digest(&content.code)?,
                image: digest(&content.image)?,
            },
            shards: Vec::new(),
        })
    };
    given.into_iter().map(stage).collect()
}

fn digest(bytes: &[u8]) -> Result<ContentDigest, Status> {
    if bytes.is_empty() {
        return Ok(ContentDigest::default());
    }
    ContentDigest::try_from(bytes).map_err(|_| bad(CODE, "a content digest has 16 bytes"))
}

/// What a chunk of keys says of them beside their names.
fn describe(
    keys: &v1::ShardKeys,
    details: &mut Vec<ShardDetail>,
    contents: &mut Vec<ShardContent>,
) -> Result<(), Status> {
    let count = keys.keys.len();
    let fits = |given: usize| given == 0 || given == count;
    if !fits(keys.details_json.len())
        || !fits(keys.contents.len() / 32)
        || !keys.contents.len().is_multiple_of(32)
    {
        return Err(bad(
            CODE,
            "details and contents are there for every key, or for none",
        ));
    }
    for json in &keys.details_json {
        if json.len() > MAX_DETAIL_BYTES {
            return Err(bad(
                CODE,
                format_args!(
                    "the details of a shard have more than {MAX_DETAIL_BYTES} bytes; put them into a file"
                ),
            ));
        }
        let detail = serde_json::from_str(json).map_err(|error| bad(CODE, error))?;
        check_detail(&detail).map_err(|problem| bad(CODE, problem))?;
        details.push(detail);
    }
    for pair in keys.contents.chunks_exact(32) {
        let (input, params) = pair.split_at(16);
        contents.push(ShardContent {
            input: digest(input)?,
            params: digest(params)?,
        });
    }
    Ok(())
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
    outputs: usize,
}

impl Bounds {
    /// A shard has outputs of few attempts.
    fn add_outputs(&mut self, chunk: &v1::FoundOutputs) -> Result<(), Status> {
        self.outputs += chunk.shards.len();
        if self.outputs as u64 > 4 * MAX_SHARDS {
            return Err(bad(
                CODE,
                "more outputs were found than a job can have; sweep them",
            ));
        }
        Ok(())
    }

    fn add(&mut self, chunk: &v1::ShardKeys) -> Result<(), Status> {
        self.keys += chunk.keys.len();
        let texts = chunk.keys.iter().chain(&chunk.details_json);
        self.bytes += texts.map(String::len).sum::<usize>();
        if self.keys as u64 > MAX_SHARDS {
            return Err(bad(
                Code::TooManyShards,
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
