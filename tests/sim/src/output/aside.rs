//! A launcher puts aside what is no part of its job any more.

use super::blob::{Register, Says};
use super::{Name, Output, Place, Why};
use fastrand::Rng;

impl Output {
    /// Puts the outputs of a shard aside, as an attempt does that begins. False: it is to be tried again.
    pub fn put_dropped_aside(
        &mut self,
        place: &Place,
        by: Name,
        holder: u64,
        rng: &mut Rng,
    ) -> bool {
        if self.is_blob {
            let Some(Register {
                etag,
                says: Says::Commit { id, name },
            }) = self.register(place)
            else {
                return true;
            };
            let says = Says::Claim {
                by,
                swept: false,
                earlier: Some((id, name)),
            };
            return self.put(place, says, Some(etag), rng);
        }
        if !self.try_lock(holder) {
            return false;
        }
        let stands = self.committed.get(place).copied();
        let whole = stands.and_then(|id| self.files.get(&id));
        let whole = whole.is_some_and(|files| files.whole);
        match stands {
            // What waits aside already goes only for what is whole.
            Some(id) if !whole && self.earlier.contains_key(place) => {
                self.committed.remove(place);
                self.destroy(id, Why::Damaged);
            }
            Some(_) => {
                self.drop_aside(place);
                self.put_aside(place, false);
            }
            None => {}
        }
        self.unlock(holder);
        true
    }

    /// Somebody removes the whole output, with all that petctl keeps in it.
    pub fn remove_all_by_hand(&mut self) {
        let all: Vec<u64> = self.files.keys().copied().collect();
        self.committed.clear();
        self.earlier.clear();
        self.attempts.clear();
        self.registers.clear();
        self.data.clear();
        for id in all {
            self.destroy(id, Why::ByHand);
        }
        self.run = None;
        self.marked = false;
    }
}
