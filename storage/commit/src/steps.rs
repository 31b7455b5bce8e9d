//! The steps of a commit, and what protects it.
//!
//! Between any two steps another attempt may take its own. So the tests hold attempts before each of them and walk
//! through all orders, and they take protections out one by one, to show that the walk would find it. In the program
//! both are nothing.

use std::path::Path;

/// One system call, before it happens.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "only tests look at steps"))]
pub(crate) struct Step<'a> {
    pub(crate) name: &'static str,
    pub(crate) touch: Touch,
    pub(crate) paths: &'a [&'a Path],
}

/// What a step does with its paths. Two steps of which neither does anything to what the other one does may change places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// The names in a folder.
    Lists,
    /// A path, or what is below it.
    Reads,
    /// The same.
    Writes,
    /// Makes, removes or moves the path itself.
    Moves,
}

/// What keeps attempts from each other's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Only who holds the lock moves committed folders away.
    Lock,
    /// Under the lock it is asked first whether anything is there.
    LookFirst,
    /// What was hashed without the lock counts only if the manifest is still the same.
    StillTheSame,
    /// Publishing never replaces.
    NoReplace,
    /// A fence makes its own folder before it looks for others.
    FolderFirst,
    /// Of claims only an earlier one of the lineage is replaced.
    ReplaceEarlier,
    /// Data is not discarded while it is kept aside.
    DiscardLooks,
    /// A sweep keeps data that is aside.
    SweepKeepsAside,
    /// A sweep shuts an attempt out before it removes its data.
    SweepClaims,
    /// A fence gives up where a later attempt is.
    GiveUp,
    /// Outputs of another lineage that have come since the beginning are a later owner's.
    CameSince,
    /// Whoever was fenced moves nothing any more.
    NotFenced,
    /// Nobody puts aside what a later attempt has adopted.
    Sign,
    /// Fences take folders under the lock.
    FenceLocked,
    /// What is aside goes only when what stands is durable.
    SyncBefore,
    /// Outputs of before are put aside, not thrown away.
    PutAside,
    /// What is adopted is hashed before.
    Hashes,
    /// Outputs of before go only when others are durable. Whoever calls a committer sees to that.
    #[cfg(test)]
    DurableFirst,
    /// Only those outputs of before go which the attempt itself found.
    SettleOwn,
}

/// Takes a step. `seen` says what the attempt learns by it.
#[cfg(not(test))]
#[inline]
pub(crate) fn step<T>(
    _step: Step<'_>,
    call: impl FnOnce() -> T,
    _seen: impl FnOnce(&T) -> String,
) -> T {
    call()
}

/// Whether a protection is there: it is.
#[cfg(not(test))]
#[inline]
pub(crate) const fn stands(_: Protection) -> bool {
    true
}

/// Says that the lock is free again.
#[cfg(not(test))]
#[inline]
pub(crate) const fn unlocked() {}

/// Whether somebody holds this thread's attempt at its steps.
#[cfg(not(test))]
#[inline]
pub(crate) const fn is_held() -> bool {
    false
}

#[cfg(test)]
pub(crate) use self::held::{Holder, held_by, hold, is_held, stands, step, unheld, unlocked};

#[cfg(test)]
mod held {
    use super::{Protection, Step};
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Holds the steps of one thread.
    pub(crate) trait Holder {
        /// Returns when the step may be taken; unwinds where the attempt ends here.
        fn before(&self, step: Step<'_>);
        /// What the step has shown.
        fn seen(&self, what: String);
        fn unlocked(&self);
        fn stands(&self, protection: Protection) -> bool;
    }

    thread_local! {
        static HOLDER: RefCell<Option<Rc<dyn Holder>>> = const { RefCell::new(None) };
    }

    /// From now on, on this thread.
    pub(crate) fn hold(holder: Rc<dyn Holder>) {
        HOLDER.set(Some(holder));
    }

    /// Only for this call.
    pub(crate) fn held_by<T>(holder: Rc<dyn Holder>, call: impl FnOnce() -> T) -> T {
        let before = HOLDER.replace(Some(holder));
        let result = call();
        HOLDER.set(before);
        result
    }

    /// Without the holder.
    pub(crate) fn unheld<T>(call: impl FnOnce() -> T) -> T {
        let holder = HOLDER.take();
        let result = call();
        HOLDER.set(holder);
        result
    }

    fn holder() -> Option<Rc<dyn Holder>> {
        HOLDER.with_borrow(Clone::clone)
    }

    pub(crate) fn step<T>(
        step: Step<'_>,
        call: impl FnOnce() -> T,
        seen: impl FnOnce(&T) -> String,
    ) -> T {
        let Some(holder) = holder() else {
            return call();
        };
        holder.before(step);
        let result = call();
        holder.seen(seen(&result));
        result
    }

    pub(crate) fn stands(protection: Protection) -> bool {
        holder().is_none_or(|holder| holder.stands(protection))
    }

    pub(crate) fn unlocked() {
        if let Some(holder) = holder() {
            holder.unlocked();
        }
    }

    pub(crate) fn is_held() -> bool {
        holder().is_some()
    }
}
