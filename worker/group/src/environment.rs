//! torchrun's contract: the environment of one rank.

use std::ffi::{OsStr, OsString};

use petctl_proto::v1::GroupStart;

/// What does not follow from a [`GroupStart`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    pub(super) local_rank: u32,
    /// `ROLE_NAME`.
    pub(super) role: &'a str,
    /// `TORCHELASTIC_RUN_ID`.
    pub(super) run_id: &'a str,
    /// `TORCHELASTIC_ERROR_FILE`; empty: no such file.
    pub(super) error_file: &'a OsStr,
}

/// What torchrun sets. `is_set` says whether the process has a variable already: two of them yield to the user's.
pub(super) fn contract(
    start: &GroupStart,
    setting: Setting<'_>,
    is_set: impl Fn(&str) -> bool,
) -> Vec<(&'static str, OsString)> {
    let rank = start.first_rank.saturating_add(setting.local_rank);
    let number = |value: u32| OsString::from(value.to_string());
    let mut variables = vec![
        ("RANK", number(rank)),
        ("LOCAL_RANK", number(setting.local_rank)),
        ("WORLD_SIZE", number(start.world_size)),
        ("LOCAL_WORLD_SIZE", number(start.processes)),
        ("GROUP_RANK", number(start.group_rank)),
        ("GROUP_WORLD_SIZE", number(start.group_world_size)),
        // There is one role, so its ranks are the ranks.
        ("ROLE_RANK", number(rank)),
        ("ROLE_WORLD_SIZE", number(start.world_size)),
        ("ROLE_NAME", setting.role.into()),
        ("MASTER_ADDR", (&start.master_addr).into()),
        ("MASTER_PORT", number(start.master_port)),
        ("TORCHELASTIC_RESTART_COUNT", number(start.restart_count)),
        ("TORCHELASTIC_MAX_RESTARTS", number(start.max_restarts)),
        ("TORCHELASTIC_RUN_ID", setting.run_id.into()),
        ("TORCHELASTIC_USE_AGENT_STORE", "False".into()),
        ("TORCHELASTIC_ERROR_FILE", setting.error_file.into()),
    ];
    if !is_set("TORCH_NCCL_ASYNC_ERROR_HANDLING") {
        variables.push(("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1".into()));
    }
    if start.processes > 1 && !is_set("OMP_NUM_THREADS") {
        variables.push(("OMP_NUM_THREADS", "1".into()));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn start() -> GroupStart {
        GroupStart {
            group_rank: 1,
            group_world_size: 3,
            first_rank: 4,
            processes: 2,
            world_size: 9,
            master_addr: "fd00::1".into(),
            master_port: 23_456,
            restart_count: 2,
            max_restarts: 5,
            ..GroupStart::default()
        }
    }

    fn of(start: &GroupStart, set: &[&str]) -> BTreeMap<&'static str, String> {
        let setting = Setting {
            local_rank: 1,
            role: "default",
            run_id: "run-7",
            error_file: OsStr::new("/logs/error.json"),
        };
        contract(start, setting, |name| set.contains(&name))
            .into_iter()
            .map(|(name, value)| (name, value.into_string().unwrap()))
            .collect()
    }

    #[test]
    fn a_rank_gets_the_whole_contract() {
        let expected = [
            ("GROUP_RANK", "1"),
            ("GROUP_WORLD_SIZE", "3"),
            ("LOCAL_RANK", "1"),
            ("LOCAL_WORLD_SIZE", "2"),
            ("MASTER_ADDR", "fd00::1"),
            ("MASTER_PORT", "23456"),
            ("OMP_NUM_THREADS", "1"),
            ("RANK", "5"),
            ("ROLE_NAME", "default"),
            ("ROLE_RANK", "5"),
            ("ROLE_WORLD_SIZE", "9"),
            ("TORCHELASTIC_ERROR_FILE", "/logs/error.json"),
            ("TORCHELASTIC_MAX_RESTARTS", "5"),
            ("TORCHELASTIC_RESTART_COUNT", "2"),
            ("TORCHELASTIC_RUN_ID", "run-7"),
            ("TORCHELASTIC_USE_AGENT_STORE", "False"),
            ("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"),
            ("WORLD_SIZE", "9"),
        ];
        let expected: BTreeMap<_, _> = expected
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect();
        assert_eq!(of(&start(), &[]), expected);
    }

    #[test]
    fn threads_and_nccl_are_left_as_the_user_has_set_them() {
        let given = of(
            &start(),
            &["OMP_NUM_THREADS", "TORCH_NCCL_ASYNC_ERROR_HANDLING"],
        );
        assert!(!given.contains_key("OMP_NUM_THREADS"));
        assert!(!given.contains_key("TORCH_NCCL_ASYNC_ERROR_HANDLING"));
        let single = GroupStart {
            processes: 1,
            ..start()
        };
        assert!(!of(&single, &[]).contains_key("OMP_NUM_THREADS"));
    }
}
