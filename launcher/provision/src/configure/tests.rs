use super::*;
use clap::Parser;
use petctl_settings::Places;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ConfigureArgs,
}

fn args(line: &str) -> ConfigureArgs {
    Line::parse_from(std::iter::once("configure").chain(line.split_whitespace())).args
}

fn proposed(line: &str) -> Proposal {
    propose(&args(line), Some("11111111-2222-3333-4444-555555555555")).unwrap()
}

/// As a run would read it.
fn place(proposal: &Proposal) -> petctl_settings::Entry {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(PLACE_FILE), &proposal.place).unwrap();
    let places = Places::find(folder.path(), &[], &|_| None).unwrap();
    places.choose(None).unwrap().0.clone()
}

#[test]
fn what_the_old_petctl_was_told_gives_two_valid_files() {
    let proposal = proposed("--name test_job --min_size 1 --max_size 5");
    assert_eq!(proposal.job_name, "test-job");
    let entry = place(&proposal);
    let azure = entry.azure.unwrap();
    assert_eq!((azure.pools[0].min, azure.pools[0].max), (0, 5));
    assert_eq!(azure.pools[0].size, WORKER_SIZE);
    let job = petctl_spec::parse(&proposal.job, "test-job.toml", "/jobs", &[]);
    let job = job.unwrap();
    assert_eq!((job.workers.min, job.workers.max), (1, 5));
}

#[test]
fn workers_that_share_a_gpu_take_fewer_nodes() {
    let line = "--name resim --max_size 20 --size 4 --worker_vm standard_nc24ads_a100_v4 --spot --gpu-sharing 4";
    let proposal = proposed(line);
    let entry = place(&proposal);
    let azure = entry.azure.clone().unwrap();
    assert_eq!((azure.pools[0].max, azure.pools[0].spot), (5, true));
    assert_eq!(azure.pools[0].size, "Standard_NC24ads_A100_v4");
    let petctl_settings::Backend::Kube(kube) = &entry.backend else {
        panic!("a place on Kubernetes");
    };
    assert_eq!(kube.gpu.sharing, 4);
    let blueprint = petctl_arm::blueprint(&entry.name, &azure, kube);
    blueprint.resources().unwrap();
}

#[test]
fn every_size_that_is_known_gives_a_place() {
    for size in petctl_azure::SIZES {
        let proposal = proposed(&format!("--name a --max_size 2 --worker_vm {}", size.name));
        let entry = place(&proposal);
        let job = petctl_spec::parse(&proposal.job, "a.toml", "/jobs", &[]).unwrap();
        assert_eq!(
            u64::from(job.workers.gpus),
            u64::from(size.gpus),
            "{}",
            size.name
        );
        assert_eq!(entry.azure.unwrap().pools[0].size, size.name);
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (line, says) in [
        ("--name a --min_size 3 --max_size 2", "3 to 2 workers"),
        ("--name a --min_size 0", "0 to 1 workers"),
        ("--name a --max_size 4 --size 5", "--size 5"),
        ("--name 1a", "`1a`"),
        ("--name a --gpu-sharing 0", "--gpu-sharing 0"),
        ("--name a --location a\"b", "can't be written"),
    ] {
        let error = propose(&args(line), None).unwrap_err();
        assert!(error.is(Code::Usage));
        assert!(error.sentence().contains(says), "{}", error.sentence());
    }
}

#[test]
fn names_that_are_there_once_in_azure_are_good_ones_and_differ() {
    let one = account_of("a-very-long-name-of-a-job-of-ours", &unique(&["a", "b"]));
    let other = account_of("a-very-long-name-of-a-job-of-ours", &unique(&["a", "c"]));
    assert_eq!((one.len(), other.len()), (24, 24));
    assert_ne!(one, other);
}
