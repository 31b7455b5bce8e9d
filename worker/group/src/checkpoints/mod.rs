//! The folder of a stage's checkpoints: what goes from it when newer ones have come.

pub(crate) mod durable;
pub(crate) mod markers;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use petctl_spec::JobSpec;

use crate::checkpoints::markers::marker_of;
use petctl_output::layout::Layout;

/// Where a training stage's checkpoints are, `is_external` for a worker with an external command.
pub fn checkpoint_folder(spec: &JobSpec, stage: u32, is_external: bool) -> Option<PathBuf> {
    let stage = spec.stages.get(usize::try_from(stage).ok()?)?;
    match &stage.kind.training()?.checkpoints {
        Some(folder) => Some(PathBuf::from(folder)),
        // The output folder of such a job is of no meaning here.
        None if is_external => None,
        None => Some(Layout::new(&spec.storage.output).checkpoints(&stage.name)),
    }
}

/// Removes checkpoints that are not kept any more, with their markers: only what lies inside `folder`. Blocks.
pub fn remove_dropped(folder: &Path, paths: &[String]) {
    for path in paths {
        let path = Path::new(path);
        match inside(folder, path) {
            Some(path) => {
                // The marker first: what is half removed must not look complete.
                let _ = fs::remove_file(marker_of(&path));
                if let Err(error) = remove(&path) {
                    tracing::warn!(path = %path.display(), %error, "can't remove an old checkpoint");
                }
            }
            None => tracing::debug!(
                path = %path.display(),
                "an old checkpoint is left where it is: it is not in the checkpoint folder"
            ),
        }
    }
}

/// The path with its parent resolved, where it lies below `folder`. Its last part is not followed if it is a link.
fn inside(folder: &Path, path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    let parent = path.parent()?.canonicalize().ok()?;
    let folder = folder.canonicalize().ok()?;
    parent.starts_with(folder).then(|| parent.join(name))
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_what_lies_in_the_folder_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("checkpoints");
        fs::create_dir_all(folder.join("step-1/deep")).unwrap();
        fs::write(folder.join("step-1.complete"), "").unwrap();
        fs::write(folder.join("step-2"), "").unwrap();
        fs::create_dir(root.path().join("elsewhere")).unwrap();
        fs::write(root.path().join("elsewhere/precious"), "").unwrap();
        symlink(root.path().join("elsewhere"), folder.join("link")).unwrap();
        let paths = [
            "checkpoints/step-1",
            "checkpoints/step-2",
            "checkpoints/none",
            "checkpoints",
            "checkpoints/../elsewhere",
            "elsewhere/precious",
            "checkpoints/link/precious",
            "checkpoints/link",
        ];
        let paths = paths.map(|path| root.path().join(path).to_str().unwrap().to_owned());
        remove_dropped(&folder, &paths);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        assert!(root.path().join("elsewhere/precious").exists());
    }
}
