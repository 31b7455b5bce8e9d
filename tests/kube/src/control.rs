//! Telling a bed to do something.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Sends one command to the bed of this socket, and returns its result.
///
/// # Errors
/// What the bed says against it; or that there is none.
pub fn tell(socket: &Path, command: &str) -> Result<Value, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    // Longer than the longest command may take.
    stream
        .set_read_timeout(Some(Duration::from_secs(360)))
        .map_err(failed)?;
    writeln!(stream, "{command}").map_err(failed)?;
    let mut line = String::new();
    BufReader::new(&stream)
        .read_line(&mut line)
        .map_err(failed)?;
    let mut answer: Value = serde_json::from_str(&line)
        .map_err(|_| format!("the bed ended before it answered {command:?}"))?;
    if answer["ok"] == true {
        return Ok(answer["result"].take());
    }
    Err(format!(
        "{command}: {}",
        answer["error"].as_str().unwrap_or(&line)
    ))
}
