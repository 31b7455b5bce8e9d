//! How a lease's attempt is called, and what its outputs say of themselves.

use petctl_commit::Maker;
use petctl_output::layout::{AttemptName, NamedLease};
use petctl_proto::v1::Lease;

/// The attempt of a lease at a shard of this stage.
pub fn name<'a>(lease: &'a Lease, stage: &'a str) -> AttemptName<'a> {
    AttemptName {
        stage,
        key: &lease.key,
        attempt: lease.attempt,
        lineage: lease.lineage,
        lease_id: lease.lease_id,
    }
}

/// The lease itself, as names of attempts spell it.
pub fn lease(lease: &Lease) -> NamedLease {
    NamedLease {
        lineage: lease.lineage,
        lease_id: lease.lease_id,
    }
}

/// Who makes the outputs of a lease.
pub fn maker<'a>(lease: &Lease, job: &'a str, worker: &'a str) -> Maker<'a> {
    Maker {
        job,
        worker,
        content: lease.content.as_slice().try_into().ok(),
        replaces_below: lease.replaces_below,
        fresh: lease.fresh,
    }
}

/// Whether nobody can have been at the lease's shard before: no attempt of this run or of another one.
pub fn is_first(lease: &Lease) -> bool {
    // What may have a living predecessor fences; a second attempt beside the first is told by its number.
    !lease.fence && lease.attempt == 1
}
