//! A worker's GPUs, in thousandths of each.

use crate::GpuShare;

const WHOLE: u32 = 1_000;

/// What attempts have of a worker's GPUs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gpus {
    /// By device.
    used: Vec<u32>,
}

impl Gpus {
    pub(crate) fn new(count: u32) -> Self {
        let count = count.min(MOST_GPUS) as usize;
        Self {
            used: vec![0; count],
        }
    }

    /// The shares that one more attempt would get: whole devices as many as it asks for, and for the rest the device
    /// on which it leaves least. `None`: it does not fit.
    pub(crate) fn find(&self, milli: u64) -> Option<Vec<GpuShare>> {
        let wanted = usize::try_from(milli / u64::from(WHOLE)).ok()?;
        let rest = u32::try_from(milli % u64::from(WHOLE)).ok()?;
        let free = |used: &u32| WHOLE.saturating_sub(*used);
        let devices = || (0_u32..).zip(&self.used);
        let mut shares: Vec<GpuShare> = devices()
            .filter(|(_, used)| **used == 0)
            .take(wanted)
            .map(|(device, _)| GpuShare {
                device,
                milli: WHOLE,
            })
            .collect();
        if shares.len() < wanted {
            return None;
        }
        if rest > 0 {
            let is_taken = |device: u32| shares.iter().any(|s| s.device == device);
            let fits = devices().filter(|(device, used)| free(used) >= rest && !is_taken(*device));
            let (device, _) = fits.min_by_key(|(device, used)| (free(used), *device))?;
            shares.push(GpuShare {
                device,
                milli: rest,
            });
        }
        Some(shares)
    }

    /// Whether an attempt would fit if nothing else ran.
    pub(crate) fn could_hold(&self, milli: u64) -> bool {
        milli.div_ceil(u64::from(WHOLE)) <= self.used.len() as u64
    }

    pub(crate) fn take(&mut self, shares: &[GpuShare]) {
        for share in shares {
            if let Some(used) = self.used.get_mut(share.device as usize) {
                *used = used.saturating_add(share.milli);
            }
        }
    }

    pub(crate) fn give_back(&mut self, shares: &[GpuShare]) {
        for share in shares {
            if let Some(used) = self.used.get_mut(share.device as usize) {
                *used = used.saturating_sub(share.milli);
            }
        }
    }
}

/// No machine has more.
const MOST_GPUS: u32 = 1_024;
