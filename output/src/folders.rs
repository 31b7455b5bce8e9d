//! Folders that come and go: several processes make one for what they write, and whoever finds it empty takes it away.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How often others may take the folder away before it counts as a failure: each time needs another remover at the
/// worst moment.
const TRIES: u32 = 200;

/// So many tries follow one another at once; then each waits, longer and longer, so that two who work in step with each
/// other fall out of it.
const AT_ONCE: u32 = 20;
/// How much longer each pause is than the one before it; 80 ms in all.
const STEP: Duration = Duration::from_micros(5);

/// Makes a folder and its parents, where they are missing: as [`fs::create_dir_all`], which fails with `AlreadyExists`
/// or `NotFound` where somebody takes away one of them, empty, between two of its steps.
///
/// # Errors
/// Those of the system, for a reason that stays.
pub fn make_folders(folder: &Path) -> io::Result<()> {
    in_folder(folder, || Ok(()))
}

/// Makes a folder and its parents, where they are missing, and does something in it; both again where the folder is taken
/// away, empty, before that is done.
///
/// # Errors
/// Those of the system and of what is done, for a reason that stays.
pub fn in_folder<T>(folder: &Path, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut tries = 0;
    loop {
        if tries > AT_ONCE {
            std::thread::sleep(STEP * (tries - AT_ONCE));
        }
        tries += 1;
        let passes = |error: &io::Error| tries < TRIES && error.kind() == io::ErrorKind::NotFound;
        match fs::create_dir_all(folder) {
            Ok(()) => {}
            Err(error) if passes(&error) || tries < TRIES && was_taken(folder, &error) => continue,
            Err(error) => return Err(error),
        }
        match act() {
            // Not asked whether the folder is there: one that goes just now is seen a moment longer.
            Err(error) if passes(&error) => {}
            done => return done,
        }
    }
}

/// Whether what was in the way of a folder was a folder itself, gone a moment later.
fn was_taken(folder: &Path, error: &io::Error) -> bool {
    let in_the_way = folder.ancestors().find_map(|path| fs::metadata(path).ok());
    error.kind() == io::ErrorKind::AlreadyExists && in_the_way.is_some_and(|found| found.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    /// Takes the folders away, wherever they are empty, until the work is done or has failed.
    fn beside(remove: impl Fn() + Sync, work: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let work = scope.spawn(work);
            while !work.is_finished() {
                remove();
                // One that never rests would win each time.
                std::thread::sleep(Duration::from_micros(200));
            }
        });
    }

    #[test]
    fn a_file_is_made_in_folders_that_somebody_takes_away_all_the_time() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let remove = || {
            let _in_use = fs::remove_dir(&folder);
            let _in_use = fs::remove_dir(root.path().join("a"));
        };
        beside(remove, || {
            for number in 0..2000 {
                let path = folder.join(number.to_string());
                in_folder(&folder, || File::create_new(&path)).unwrap();
                fs::remove_file(path).unwrap();
                make_folders(&folder).unwrap();
            }
        });
    }

    #[test]
    fn what_stays_in_the_way_is_an_error_soon() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        File::create(&file).unwrap();
        let link = root.path().join("nowhere");
        std::os::unix::fs::symlink("gone", &link).unwrap();
        for at in [&file, &link] {
            let refused = make_folders(at).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists, "{at:?}");
        }
        let below = make_folders(&file.join("below")).unwrap_err();
        assert_eq!(below.kind(), io::ErrorKind::NotADirectory);
        let missing = in_folder(root.path(), || File::open(root.path().join("none")));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
