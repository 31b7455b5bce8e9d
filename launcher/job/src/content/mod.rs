//! What decides whether a shard has to run again: digests of inputs, parameters, code, command and image.

pub mod archive;
mod cache;
mod code;
mod walk;

pub use cache::HashCache;

use crate::listing::{Input, Listed};
use petctl_core::StageContents;
use petctl_spec::{ContentDigest, JobSpec, ShardContent, StageContent};
use petctl_ui::error::{Code, Error, Result};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Digests of all stages and of their listed shards.
pub fn contents(
    spec: &JobSpec,
    listed: &[Listed],
    cache: &mut HashCache,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Vec<StageContents>> {
    let code = code::files(spec)?;
    let folder = Path::new(&spec.folder);
    let mut files: Vec<PathBuf> = code
        .iter()
        .flatten()
        .map(|file| folder.join(file))
        .collect();
    files.extend(listed.iter().flat_map(Listed::files));
    // By their bytes: comparing paths part by part takes many times as long.
    files.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    files.dedup();
    let hashes = walk::hash_all(&files, cache, say)?;
    let sha = |path: &Path| {
        let at = files
            .binary_search_by(|file| file.as_os_str().cmp(path.as_os_str()))
            .ok()?;
        hashes.get(at).copied()
    };
    let mut contents = Vec::with_capacity(spec.stages.len());
    for (index, ((stage, listed), code)) in spec.stages.iter().zip(listed).zip(&code).enumerate() {
        let mut hash = Sha256::new();
        for file in code {
            part(&mut hash, file.to_string_lossy().as_bytes());
            part(&mut hash, &sha(&folder.join(file)).unwrap_or_default());
        }
        for input in &listed.whole {
            input_part(&mut hash, input, &sha);
        }
        let is_code = !(code.is_empty() && listed.whole.is_empty());
        let trains = stage.kind.training().is_some();
        let shards = listed
            .inputs
            .iter()
            .enumerate()
            .map(|(at, inputs)| ShardContent {
                input: digest(!inputs.is_empty(), |hash| {
                    inputs
                        .iter()
                        .for_each(|input| input_part(hash, input, &sha));
                }),
                params: listed.details.get(at).map_or([0; 16], |detail| {
                    digest(!detail.params.is_empty(), |hash| {
                        for (name, value) in &detail.params {
                            part(hash, name.as_bytes());
                            part(hash, value.as_bytes());
                        }
                    })
                }),
            });
        contents.push(StageContents {
            stage: StageContent {
                command: command(spec, index)?,
                // A training whose script was mended goes on from its checkpoints.
                code: if is_code && !trains {
                    half(&hash.finalize().into())
                } else {
                    [0; 16]
                },
                image: digest(spec.image.is_some(), |hash| {
                    part(hash, spec.image.as_deref().unwrap_or_default().as_bytes());
                }),
            },
            shards: shards.collect(),
        });
    }
    Ok(contents)
}

/// What of the job file can change what a stage makes.
fn command(spec: &JobSpec, stage: usize) -> Result<ContentDigest> {
    let text = petctl_spec::canonical_stage_json(spec, stage)
        .ok_or_else(|| Error::new(Code::Bug, "can't write a stage as JSON"))?;
    let setup = spec.setup.as_ref().map(|setup| setup.command.as_slice());
    Ok(digest(true, |hash| {
        part(hash, text.as_bytes());
        // Checkpoints elsewhere are none of this training. Of shards, the outputs that are there say what is done.
        if spec
            .stages
            .get(stage)
            .is_some_and(|stage| stage.kind.training().is_some())
        {
            part(hash, spec.storage.output.as_bytes());
        }
        for word in setup.unwrap_or_default() {
            part(hash, word.as_bytes());
        }
    }))
}

fn input_part(hash: &mut Sha256, input: &Input, sha: &dyn Fn(&Path) -> Option<[u8; 32]>) {
    match input {
        Input::File { name, path } => {
            part(hash, b"file");
            part(hash, name.as_bytes());
            part(hash, &sha(path).unwrap_or_default());
        }
        Input::Blob { name, etag } => {
            part(hash, b"blob");
            part(hash, name.as_bytes());
            part(hash, etag.as_bytes());
        }
    }
}

/// Parts are told apart by their lengths.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// Zeros where there is nothing to digest.
fn digest(there: bool, fill: impl FnOnce(&mut Sha256)) -> ContentDigest {
    if !there {
        return [0; 16];
    }
    let mut hash = Sha256::new();
    fill(&mut hash);
    half(&hash.finalize().into())
}

fn half(sha: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&sha[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_spec::ShardDetail;
    use std::fs;

    #[test]
    fn each_change_shows_in_one_digest() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("run.py"), "1").unwrap();
        fs::write(root.join("a.xml"), "1").unwrap();
        let text = "[job]\nname = \"j\"\n[storage]\ninput = \"in\"\noutput = \"out\"\n[[stage]]\nname = \"s\"\n\
                    kind = \"shards\"\nshards = { glob = \"*.xml\" }\ncommand = [\"python3\", \"run.py\", \"{input}\"]\n";
        let spec = petctl_spec::parse(text, "job.toml", root.to_str().unwrap(), &[]).unwrap();
        let listed = Listed {
            keys: vec!["a.xml".to_owned()],
            inputs: vec![vec![Input::File {
                name: "a.xml".to_owned(),
                path: root.join("a.xml"),
            }]],
            ..Listed::default()
        };
        let digests = |spec: &JobSpec, listed: &Listed| {
            let listed = std::slice::from_ref(listed);
            let all = contents(spec, listed, &mut HashCache::none(), &|_| ()).unwrap();
            let (stage, shard) = (all[0].stage, all[0].shards[0]);
            [
                stage.command,
                stage.code,
                stage.image,
                shard.input,
                shard.params,
            ]
        };
        let before = digests(&spec, &listed);
        let changed = |now: [ContentDigest; 5]| {
            let differs = before.iter().zip(now).map(|(before, now)| *before != now);
            differs.collect::<Vec<bool>>()
        };
        assert_eq!(changed(digests(&spec, &listed)), [false; 5]);
        let mut other = spec.clone();
        other.storage.output.push('2');
        assert_eq!(
            changed(digests(&other, &listed)),
            [false; 5],
            "outputs may move"
        );
        other = spec.clone();
        other.image = Some("sim@sha256:12".to_owned());
        assert_eq!(
            changed(digests(&other, &listed)),
            [false, false, true, false, false]
        );
        let detail = ShardDetail {
            params: [("seed".to_owned(), "1".to_owned())].into(),
            ..ShardDetail::default()
        };
        let with_params = Listed {
            details: vec![detail],
            ..listed.clone()
        };
        assert_eq!(
            changed(digests(&spec, &with_params)),
            [false, false, false, false, true]
        );
        fs::write(root.join("run.py"), "2").unwrap();
        assert_eq!(
            changed(digests(&spec, &listed)),
            [false, true, false, false, false]
        );
        fs::write(root.join("run.py"), "1").unwrap();
        fs::write(root.join("a.xml"), "2").unwrap();
        assert_eq!(
            changed(digests(&spec, &listed)),
            [false, false, false, true, false]
        );
    }
}
