//! Faults that are drawn.

use crate::fault::Fault;

/// How often the way is bad, in thousandths of all requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// 429, 500 or 503.
    pub refused: u32,
    /// Answers lost after they took effect.
    pub lost: u32,
    /// Bodies cut, in either direction.
    pub cut: u32,
    /// 400 KiB per second.
    pub slow: u32,
}

impl Weather {
    pub(crate) fn draw(self, random: &mut fastrand::Rng) -> Fault {
        let Self {
            refused,
            lost,
            cut,
            slow,
        } = self;
        let drawn = random.u32(0..1_000);
        if drawn < refused {
            Fault::refuse([429, 500, 503][random.usize(0..3)])
        } else if drawn < refused + lost {
            Fault::LoseAnswer
        } else if drawn < refused + lost + cut {
            if random.bool() {
                Fault::CutRequest
            } else {
                Fault::CutAnswer
            }
        } else if drawn < refused + lost + cut + slow {
            Fault::Slow(400)
        } else {
            Fault::Pass
        }
    }
}
