//! The steps of a commit on a folder: each is one system call, or a few that nobody can come between.

use super::maker::{Maker, Standing};
use super::{Event, Files, Name, Output, Place, Why};
use crate::plan::Broken;
use petctl_core::Verdict;
use std::collections::BTreeSet;

impl Output {
    /// An attempt's folder is made, empty. One of the same name goes.
    pub fn make_folder(&mut self, maker: &Maker) {
        let key = (maker.place.clone(), maker.spelled);
        let files = Files {
            name: maker.name,
            place: maker.place.clone(),
            content: maker.content,
            verdict: Verdict::None,
            writers: BTreeSet::new(),
            whole: true,
            readable: true,
            published_at: None,
            durable: false,
            told: false,
        };
        let id = self.add(files);
        if let Some(before) = self.attempts.insert(key, id) {
            self.destroy(before, Why::Discarded);
        }
    }

    /// The folders of attempts at a place.
    #[must_use]
    pub fn list_attempts(&self, place: &Place) -> Vec<Name> {
        let first = (place.clone(), Name::default());
        let of_it = self.attempts.range(first..);
        of_it
            .take_while(|((of, _), _)| of == place)
            .map(|((_, name), _)| *name)
            .collect()
    }

    /// A fence takes the folder of another attempt away, where it is still there.
    pub fn take_attempt(&mut self, place: &Place, name: Name, by: Name) {
        if let Some(id) = self.attempts.remove(&(place.clone(), name)) {
            self.destroy(id, Why::Fenced);
            let place = place.clone();
            self.events.push(Event::Fenced { place, name, by });
        }
    }

    /// The command writes into its attempt's folder, wherever that is from; whether it is there.
    pub fn write(&mut self, maker: &Maker, verdict: Verdict) -> bool {
        let id = self.attempts.get(&(maker.place.clone(), maker.spelled));
        let Some(files) = id.and_then(|id| self.files.get_mut(id)) else {
            return false;
        };
        files.writers.insert(maker.writer);
        files.content = maker.content;
        files.verdict = verdict;
        true
    }

    /// Takes the lock for moving committed outputs away; whether it was free.
    pub fn try_lock(&mut self, holder: u64) -> bool {
        let free = self.lock.is_none_or(|by| by == holder);
        if free {
            self.lock = Some(holder);
        } else {
            self.lock_waits += 1;
        }
        free
    }

    /// What is at the place, to those who look: `None` where there is nothing.
    #[must_use]
    pub fn look(&self, maker: &Maker, publishing: bool) -> Option<(Standing, Name, bool)> {
        let files = self.files.get(self.committed.get(&maker.place)?)?;
        let whole = files.whole || self.is_broken(Broken::DamageCheck);
        if !files.readable && !self.is_broken(Broken::DamageCheck) {
            return Some((Standing::Damaged, files.name, false));
        }
        let standing = match maker.judge(files, self.broken) {
            // What was there at the beginning has made room: whoever came since has taken the output over.
            Standing::Earlier if publishing && files.name.lineage != maker.name.lineage => {
                Standing::Later
            }
            Standing::Adopted if !whole => Standing::Damaged,
            // What waits aside already goes only for what is whole.
            Standing::Earlier if !whole && self.earlier.contains_key(&maker.place) => {
                Standing::Damaged
            }
            standing @ (Standing::Adopted
            | Standing::Earlier
            | Standing::Later
            | Standing::Damaged) => standing,
        };
        Some((standing, files.name, whole))
    }

    /// What was put aside before is removed: what stands has replaced it.
    pub fn drop_aside(&mut self, place: &Place) {
        if let Some(id) = self.earlier.remove(place) {
            self.destroy(id, Why::Replaced);
        }
    }

    /// What stands is put aside. `strays`: by somebody who has no right to any more.
    pub fn put_aside(&mut self, place: &Place, strays: bool) {
        if let Some(id) = self.committed.remove(place) {
            if let Some(other) = self.earlier.insert(place.clone(), id) {
                self.destroy(other, Why::Replaced);
            }
            if strays {
                self.events.push(Event::Strayed(place.clone()));
            }
        }
    }

    /// What stands is damaged, and moved away.
    pub fn move_damaged(&mut self, place: &Place) {
        if let Some(id) = self.committed.remove(place) {
            self.damaged += 1;
            self.destroy(id, Why::Damaged);
        }
    }

    /// Whether outputs that were put aside are what the shard is again.
    #[must_use]
    pub fn may_restore(&self, maker: &Maker) -> bool {
        let files = self.earlier.get(&maker.place);
        let files = files.and_then(|id| self.files.get(id));
        files.is_some_and(|files| {
            files.whole && files.readable && maker.content.is_some() && maker.may_restore(files)
        })
    }

    /// Brings back what was put aside, where the place is free; whose it is.
    pub fn restore(&mut self, maker: &Maker) -> Option<Name> {
        if self.committed.contains_key(&maker.place) {
            return None;
        }
        let id = self.earlier.remove(&maker.place)?;
        let name = self.files.get(&id)?.name;
        self.committed.insert(maker.place.clone(), id);
        self.restored.insert((maker.place.clone(), name));
        Some(name)
    }

    /// Whose outputs wait aside at a place.
    #[must_use]
    pub fn waits_aside(&self, place: &Place) -> Option<Name> {
        let id = self.earlier.get(place)?;
        self.files.get(id).map(|files| files.name)
    }

    /// The attempt's folder becomes the shard's, if it is there and nothing stands. `None`: its folder is gone; false:
    /// something stands.
    pub fn publish(&mut self, maker: &Maker, now: u64) -> Option<bool> {
        let key = (maker.place.clone(), maker.spelled);
        if !self.attempts.contains_key(&key) {
            return None;
        }
        let stands = self.committed.get(&maker.place).copied();
        if stands.is_some() && !self.is_broken(Broken::Fence) {
            return Some(false);
        }
        let id = self.attempts.remove(&key)?;
        self.committed.insert(maker.place.clone(), id);
        if let Some(before) = stands {
            self.destroy(before, Why::Overwritten);
        }
        self.show(id, maker, now);
        Some(true)
    }

    pub(super) fn show(&mut self, id: u64, maker: &Maker, now: u64) {
        let Some(files) = self.files.get_mut(&id) else {
            return;
        };
        files.published_at = Some(now);
        self.events.push(Event::Published {
            files: Box::new(files.clone()),
            by: maker.writer,
            replaces_below: maker.replaces_below,
            fresh: maker.fresh,
        });
    }

    /// Outputs of before go for good, once those that replaced them are durable; others wait for their own.
    pub fn settle(&mut self, place: &Place, aside: Name) {
        if self.waits_aside(place) != Some(aside) {
            return;
        }
        if let Some(id) = self.earlier.remove(place) {
            self.destroy(id, Why::Settled);
        }
    }

    /// A failed attempt's folder goes.
    pub fn discard(&mut self, maker: &Maker) {
        if let Some(id) = self.attempts.remove(&(maker.place.clone(), maker.spelled)) {
            self.destroy(id, Why::Discarded);
        }
    }
}
