//! What a coordinator is told of the place of a job, and the code that it takes there.

use crate::{Client, refusal};
use petctl_proto::v1::{HasCodeRequest, SendCodeRequest, UsePlaceRequest};
use petctl_ui::error::Result;

/// Bytes of an archive in one message.
const PIECE: usize = 256 * 1024;

impl Client {
    /// From now on the workers of this job are to run so.
    ///
    /// # Errors
    /// Where the coordinator starts no workers, or can't start them so.
    pub async fn use_place(&mut self, job: &str, place_json: String) -> Result<()> {
        let request = UsePlaceRequest {
            job: job.to_owned(),
            place_json,
        };
        let answer = self.places.use_place(request).await;
        answer
            .map(|_used| ())
            .map_err(|status| refusal(&self.address, &status))
    }

    /// Sends an archive of code, unless the coordinator has it; whether it was sent. `say` hears how much is under way.
    ///
    /// # Errors
    /// Where it can't be sent or kept.
    pub async fn send_code(
        &mut self,
        digest: &str,
        archive: Vec<u8>,
        say: impl Fn(u64),
    ) -> Result<bool> {
        let request = HasCodeRequest {
            digest: digest.to_owned(),
        };
        let answer = self.places.has_code(request).await;
        let answer = answer.map_err(|status| refusal(&self.address, &status))?;
        if answer.into_inner().there {
            return Ok(false);
        }
        say(archive.len() as u64);
        let digest = digest.to_owned();
        let pieces = archive.len().div_ceil(PIECE);
        // One after the other, as they are sent: it need not be in memory twice.
        let parts = (0..pieces).map(move |number| SendCodeRequest {
            digest: if number == 0 {
                digest.clone()
            } else {
                String::new()
            },
            data: archive
                .chunks(PIECE)
                .nth(number)
                .unwrap_or_default()
                .to_vec(),
        });
        let answer = self.places.send_code(tokio_stream::iter(parts)).await;
        answer
            .map(|_kept| true)
            .map_err(|status| refusal(&self.address, &status))
    }
}
