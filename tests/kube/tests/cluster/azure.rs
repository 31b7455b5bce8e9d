//! The whole way on Azure: a control plane that keeps the service's rules makes the cluster, whose kubeconfig leads to a
//! real one; a job runs there, is scaled, and everything goes again.

use crate::harness::{Installed, Job, MINUTE, Ran, Storage, beside_others};
use petctl_test_azure::{Azure, CLIENT, SECRET, SUBSCRIPTION, TENANT, World};
use std::fs;

struct Subscription {
    azure: Azure,
}

impl Subscription {
    /// Runs petctl as somebody who is signed in there, and has no kubeconfig.
    #[track_caller]
    fn petctl(&self, installed: &Installed, arguments: &[&str]) -> Ran {
        let mut command = installed.command(arguments);
        command
            .env_remove("KUBECONFIG")
            .env("SSL_CERT_FILE", self.azure.ca_file())
            .env("AZURE_TENANT_ID", TENANT)
            .env("AZURE_CLIENT_ID", CLIENT)
            .env("AZURE_CLIENT_SECRET", SECRET);
        let ran = installed
            .start_command(&mut command)
            .ends_within(MINUTE + MINUTE);
        assert_eq!(ran.code, Some(0), "{ran}\n{}", installed.state());
        ran
    }
}

#[test]
fn a_place_is_made_in_azure_runs_a_job_and_goes_again() {
    let cluster = beside_others();
    let folder = tempfile::tempdir().expect("a folder");
    let world = World {
        kubeconfig: Some(fs::read_to_string(cluster.bed.kubeconfig()).expect("the bed has one")),
        ..World::default()
    };
    let subscription = Subscription {
        azure: Azure::with(folder.path(), world),
    };
    let endpoint = subscription.azure.endpoint();
    let place = format!(
        "kubeconfig = \"fetched/config\"\ncontext = \"made\"\n[place.kube.azure]\nsubscription = \"{SUBSCRIPTION}\"\n\
         resource_group = \"avs\"\nlocation = \"westeurope\"\ncluster = \"avs\"\nstorage_account = \"avsdata1\"\n\
         identity = \"avs-worker\"\nresource_manager = \"{endpoint}\"\nauthority = \"{endpoint}\"\n\
         pools = [{{ name = \"t4\", size = \"Standard_NC4as_T4_v3\", max = 2, spot = true }}]\n"
    );
    let installed = Installed::prepared(cluster.bed, "azure", Storage::HostPath, &place);
    let shown = subscription.petctl(&installed, &["setup", "--what-if"]);
    assert!(
        shown.stdout.contains("+ cluster avs\n")
            && shown.stderr.contains("is known once it is there"),
        "{shown}"
    );
    let made = subscription.petctl(&installed, &["setup", "--yes"]);
    assert!(made.stdout.contains("the coordinator answers"), "{made}");
    let job = Job::gated(&installed, "on-azure", 6, "min = 1\nmax = 2\nwanted = 1");
    let mut command = installed.command(&["run", &job.path()]);
    command.env_remove("KUBECONFIG");
    let run = installed.start_command(&mut command);
    job.until_started(1);
    // Nodes and workers at once, as the old petctl had it.
    let scaled = subscription.petctl(
        &installed,
        &["scale", "--name", "on_azure", "--new_node_count", "3"],
    );
    assert!(
        scaled.stdout.contains("node pool t4: at most 3 nodes")
            && scaled.stdout.contains("3 workers wanted"),
        "{scaled}"
    );
    job.open();
    run.ends_within(MINUTE + MINUTE).exits(0);
    installed.all_done_at_once("on-azure", 6);
    installed.until_no_pods("on-azure");
    subscription.petctl(&installed, &["uninstall", "--yes"]);
    let gone = subscription.petctl(&installed, &["delete_resources", "--yes"]);
    assert!(gone.stdout.contains("none answers any more"), "{gone}");
    assert!(subscription.azure.resources().is_empty());
}
