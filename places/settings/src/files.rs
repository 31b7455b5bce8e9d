//! The files of settings: where they are, and what they say.

use crate::error::{Result, SettingsError};
use crate::keys::MAX_FILE_BYTES;
use petctl_codes::Code;
use petctl_text::obstacle::Obstacle;
use petctl_text::words::{shown, thousands};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a file of settings is called.
pub const FILE_NAME: &str = "petctl.toml";

/// A file of settings.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    /// What messages call it.
    pub(crate) shown: String,
    /// Absolute; against which its relative paths are resolved.
    pub(crate) folder: String,
    pub(crate) text: String,
}

/// `petctl.toml` of a folder or of the nearest one above it, and the user's file; neither need be there.
pub(crate) fn find(start: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Vec<File>> {
    let start = if start.as_os_str().is_empty() {
        Path::new(".")
    } else {
        start
    };
    let whole = std::path::absolute(start)
        .map_err(|error| unreadable(&start.display().to_string(), error))?;
    let mut files = Vec::new();
    for folder in whole.ancestors() {
        let path = folder.join(FILE_NAME);
        let name = near(&path);
        if let Some(file) = read(path, name)? {
            files.push(file);
            break;
        }
    }
    if let Some((path, name)) = users(env)
        && files.iter().all(|file| file.path != path)
    {
        files.extend(read(path, name)?);
    }
    Ok(files)
}

/// The user's file, and what messages call it.
fn users(env: &dyn Fn(&str) -> Option<String>) -> Option<(PathBuf, String)> {
    // What is not absolute is to be ignored: so the specification of these variables says.
    let folder = |name: &str| {
        env(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let home = folder("HOME");
    let config = folder("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")))?;
    let path = config.join("petctl").join(FILE_NAME);
    let below = home.and_then(|home| path.strip_prefix(home).map(Path::to_owned).ok());
    let name = match below {
        Some(below) => format!("~/{}", below.display()),
        None => path.display().to_string(),
    };
    Some((path, name))
}

/// A path as somebody in the current folder would write it, if it is below that.
fn near(path: &Path) -> String {
    let current = std::env::current_dir().ok();
    let below = current.and_then(|current| path.strip_prefix(current).ok());
    below.unwrap_or(path).display().to_string()
}

/// The file; `None` where there is none.
fn read(path: PathBuf, name: String) -> Result<Option<File>> {
    let name = shown(&name);
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(&name, error)),
    };
    if !metadata.is_file() {
        let message = format!("{name} is no file");
        let fix =
            format!("write settings into a file of that name, or call it other than {FILE_NAME}");
        return Err(SettingsError::new(Code::BadPlace, message, fix));
    }
    if metadata.len() > MAX_FILE_BYTES as u64 {
        let message = format!(
            "{name} has {} bytes; it may have {}",
            thousands(u128::from(metadata.len())),
            thousands(MAX_FILE_BYTES as u128)
        );
        let fix = "keep in it what says where jobs run, and nothing else";
        return Err(SettingsError::new(Code::BadPlace, message, fix));
    }
    let bytes = fs::read(&path).map_err(|error| unreadable(&name, error))?;
    let folder = path.parent().and_then(Path::to_str).map(str::to_owned);
    let (Ok(text), Some(folder)) = (String::from_utf8(bytes), folder) else {
        let message = format!("{name}, or the name of its folder, is not UTF-8 text");
        return Err(SettingsError::new(
            Code::BadPlace,
            message,
            "save it as UTF-8",
        ));
    };
    Ok(Some(File {
        path,
        shown: name,
        folder,
        text,
    }))
}

fn unreadable(name: &str, error: io::Error) -> SettingsError {
    let fix = Obstacle::of(&error).fix_reading("look at what stands there");
    SettingsError::new(Code::BadPlace, format!("can't read {name}"), fix).because(error)
}
