//! The catalogue itself: a table.

use crate::Exit;

macro_rules! catalogue {
    ($($variant:ident = $text:literal, $sentence:literal $(=> $exit:ident)?,)*) => {
        /// A stable code. It keeps its name and its meaning from version to version.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $sentence] $variant,)* }

        impl Code {
            /// Every code there is, in the order of the index in `docs/errors`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as it is printed, sent and documented.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What it says, in one sentence: the title of its page.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }

            /// How a command ends that ends by it; `None` for reasons, by which no command ends.
            #[must_use]
            pub const fn exit(self) -> Option<Exit> {
                match self { $(Self::$variant => exit!($($exit)?),)* }
            }
        }
    };
}

macro_rules! exit {
    () => {
        None
    };
    ($exit:ident) => {
        Some(Exit::$exit)
    };
}

catalogue! {
    // The command line.
    Usage = "USAGE", "The command line contradicts itself." => Usage,
    TokenOnCommandLine = "TOKEN_ON_COMMAND_LINE",
        "A token was typed where every user of the machine can read it." => Usage,
    SecretOnCommandLine = "SECRET_ON_COMMAND_LINE",
        "A SAS or an account key was typed where every user of the machine can read it." => Usage,
    BadAddress = "BAD_ADDRESS", "The coordinator's address can't be used." => Usage,
    NotConfirmed = "NOT_CONFIRMED", "Something that destroys was asked for, and nobody said yes." => Usage,
    Timeout = "TIMEOUT", "What was waited for had not happened when `--timeout` passed." => TimedOut,
    NotInTraining = "NOT_IN_TRAINING",
        "`petctl checkpoint` was called outside of a training process." => BadConfiguration,
    AgentUnreachable = "AGENT_UNREACHABLE", "The worker of a training process does not answer." => Unreachable,
    Bug = "BUG", "petctl itself is wrong, or the system refused it something basic." => Bug,
    StdoutUnwritable = "STDOUT_UNWRITABLE", "What a command prints could not be written." => TryAgain,
    StateFolder = "STATE_FOLDER", "petctl's own folder can't be found, made, read or written." => BadConfiguration,
    StateTooNew = "STATE_TOO_NEW", "The job's record was written by a newer petctl." => BadConfiguration,

    // Places.
    BadPlace = "BAD_PLACE", "A place, or a file that says where jobs run, is wrong." => BadConfiguration,
    NoSuchPlace = "NO_SUCH_PLACE", "There is no place of that name." => BadConfiguration,

    // The job file.
    JobFileUnreadable = "JOB_FILE_UNREADABLE", "The job file can't be read as text." => BadJobFile,
    JobFileSyntax = "JOB_FILE_SYNTAX", "The job file is not TOML." => BadJobFile,
    JobFileUnknownKey = "JOB_FILE_UNKNOWN_KEY",
        "The job file, or a `--set`, has a key that does not exist." => BadJobFile,
    JobFileType = "JOB_FILE_TYPE", "A key of the job file has a value of the wrong type." => BadJobFile,
    JobFileValue = "JOB_FILE_VALUE", "A key of the job file has a value that it can't take." => BadJobFile,
    JobFileMissing = "JOB_FILE_MISSING", "The job file lacks a key or a table that it must have." => BadJobFile,
    JobFileCycle = "JOB_FILE_CYCLE", "Stages need one another in a circle." => BadJobFile,
    JobFilePlaceholder = "JOB_FILE_PLACEHOLDER",
        "A command has a placeholder that does not exist, or not in this stage." => BadJobFile,
    ShardManifestInvalid = "SHARD_MANIFEST_INVALID", "A manifest of shards has lines that can't be used." => BadJobFile,
    NoShards = "NO_SHARDS", "A stage has no shards." => BadJobFile,
    TooManyShards = "TOO_MANY_SHARDS", "The job has more shards than a job may have." => BadJobFile,
    InvalidShardKey = "INVALID_SHARD_KEY", "A shard's key can't be the name of an output folder." => BadJobFile,
    InvalidShardSource = "INVALID_SHARD_SOURCE",
        "The pattern or the dates of a stage's shards can't be read." => BadJobFile,
    InvalidJobSpec = "INVALID_JOB_SPEC",
        "A job that came over the network breaks the rules of a job file." => BadJobFile,
    BadSubmission = "BAD_SUBMISSION", "A submission to a coordinator contradicts itself." => BadJobFile,

    // The input and the output.
    InputNotFound = "INPUT_NOT_FOUND",
        "The input folder, a manifest, or an input that it names is not there." => BadJobFile,
    InputUnreadable = "INPUT_UNREADABLE", "Something below the input folder can't be read." => BadJobFile,
    BadCode = "BAD_CODE", "The job's `code` names no file, or can't be used." => BadJobFile,
    GlobEmpty = "GLOB_EMPTY", "No file fits the glob of a stage." => BadJobFile,
    OutputBusy = "OUTPUT_BUSY", "Another run works on the output." => TryAgain,
    OutputInUse = "OUTPUT_IN_USE", "The output holds something that this job must not touch." => BadConfiguration,
    OutputUnwritable = "OUTPUT_UNWRITABLE", "The output folder can't be made, read or written." => BadConfiguration,
    OutputMissing = "OUTPUT_MISSING", "The job has done shards, but their outputs are gone." => BadConfiguration,

    // Storage.
    StorageNoCredential = "STORAGE_NO_CREDENTIAL", "Nothing was found that opens the storage account.",
    StorageDenied = "STORAGE_DENIED", "The credential may not do this.",
    StorageBlocked = "STORAGE_BLOCKED", "A blob is in a state that does not allow it: archived, leased, kept by a policy.",
    StorageExpired = "STORAGE_EXPIRED", "The SAS is over, or not valid yet.",
    StorageNotFound = "STORAGE_NOT_FOUND", "The container, folder or blob is not there.",
    StorageBadName = "STORAGE_BAD_NAME", "An address or a name is one that storage does not take.",
    StorageChanged = "STORAGE_CHANGED", "What is there changed while it was worked with.",
    StorageCorrupt = "STORAGE_CORRUPT", "Bytes arrived that are not those that were sent.",
    StorageUnavailable = "STORAGE_UNAVAILABLE", "The storage service can't be reached, or went on failing.",
    StorageLocal = "STORAGE_LOCAL", "A local file or folder can't be read or written.",
    StorageUnexpected = "STORAGE_UNEXPECTED", "The storage holds or says something that it should not.",

    // Jobs, shards and logs.
    NoSuchJob = "NO_SUCH_JOB", "There is no job of that name." => NoSuchJob,
    NoSuchShard = "NO_SUCH_SHARD", "The job has no such shard or stage." => NoSuchJob,
    NoLog = "NO_LOG", "The log that was asked for is not there." => NoSuchJob,
    LogUnavailable = "LOG_UNAVAILABLE", "The coordinator can't get at a log now." => Unreachable,
    JobExists = "JOB_EXISTS", "A different job of that name is there already." => BadConfiguration,
    JobRunning = "JOB_RUNNING", "The job runs already, or still." => TryAgain,
    JobNotRunning = "JOB_NOT_RUNNING", "The job does not run, so there is nothing to change." => Unreachable,
    JobEnded = "JOB_ENDED", "The job has ended." => Unreachable,
    JobCancelled = "JOB_CANCELLED", "The job was cancelled." => Cancelled,
    NoSuchWorker = "NO_SUCH_WORKER", "The job's pool has no worker of that name." => NoSuchJob,
    BadScale = "BAD_SCALE", "The sizes of the pool contradict each other." => Usage,
    TooManyJobs = "TOO_MANY_JOBS", "The coordinator keeps as many jobs as it may." => TryAgain,

    // Reaching a coordinator.
    CoordinatorUnreachable = "COORDINATOR_UNREACHABLE", "No coordinator answers." => Unreachable,
    Unauthenticated = "UNAUTHENTICATED", "The coordinator wants a token." => NotAllowed,
    TokenMissing = "TOKEN_MISSING", "A call came without a token." => NotAllowed,
    TokenWrong = "TOKEN_WRONG", "The token is not this coordinator's." => NotAllowed,
    TokenOfWorker = "TOKEN_OF_WORKER", "A worker's token was shown for what takes the coordinator's own." => NotAllowed,
    TokenOfOtherJob = "TOKEN_OF_OTHER_JOB", "A worker's token was shown for another job than its own." => NotAllowed,
    TlsRequired = "TLS_REQUIRED", "A coordinator that speaks TLS was called in plain text." => BadConfiguration,
    NoTls = "NO_TLS", "A coordinator that speaks plain text was called with TLS." => BadConfiguration,
    CaFile = "CA_FILE", "The coordinator's CA can't be read from where it should be." => BadConfiguration,
    CaMismatch = "CA_MISMATCH", "The coordinator's certificate is not of the CA that was given." => NotAllowed,
    CertificateTime = "CERTIFICATE_TIME",
        "By this machine's clock, the coordinator's certificate does not hold now." => NotAllowed,
    TokenUnreadable = "TOKEN_UNREADABLE", "The token can't be read from where it should be." => NotAllowed,
    NotACoordinator = "NOT_A_COORDINATOR",
        "What answers at that address is no coordinator of this version." => Unreachable,
    CoordinatorStopped = "COORDINATOR_STOPPED", "The coordinator stopped while it was needed." => TryAgain,

    // Clusters.
    NoKubeconfig = "NO_KUBECONFIG", "No kubeconfig was found, or what it says can't be used." => BadConfiguration,
    ClusterUnreachable = "CLUSTER_UNREACHABLE", "The cluster's API server does not answer." => Unreachable,
    ClusterDenied = "CLUSTER_DENIED", "The cluster does not let you do this." => NotAllowed,
    ClusterRefused = "CLUSTER_REFUSED", "The cluster refuses an object, or its answer makes no sense." => BadConfiguration,
    ClusterNewer = "CLUSTER_NEWER", "A newer petctl is installed in the cluster." => BadConfiguration,
    ClusterConflict = "CLUSTER_CONFLICT", "Somebody else has changed what petctl installed." => BadConfiguration,
    NamespaceEnding = "NAMESPACE_ENDING", "The namespace is being deleted." => TryAgain,
    NotInstalled = "NOT_INSTALLED", "petctl is not installed in the cluster's namespace." => BadConfiguration,
    CoordinatorStarting = "COORDINATOR_STARTING", "The cluster's coordinator is not ready yet." => TryAgain,
    NoPlace = "NO_PLACE", "The coordinator starts no workers, so it can't be told where." => BadConfiguration,
    NoImage = "NO_IMAGE", "Nothing says in which image the job's workers run." => BadConfiguration,
    BadVolume = "BAD_VOLUME", "A volume can't be mounted as a place says, or not be used that way." => BadConfiguration,
    BadGpuSetup = "BAD_GPU_SETUP", "The GPUs of a cluster's nodes can't be offered as a place says." => BadConfiguration,
    PathNotShared = "PATH_NOT_SHARED", "The job reads or writes a folder that its workers can't see." => BadConfiguration,
    CodeTooLarge = "CODE_TOO_LARGE", "The job's code is larger than what travels to the workers." => BadJobFile,
    CodeNotKept = "CODE_NOT_KEPT", "The coordinator could not keep the job's code." => TryAgain,
    NoCode = "NO_CODE", "The coordinator does not have the job's code." => TryAgain,

    // Azure.
    AzureSignIn = "AZURE_SIGN_IN",
        "Nobody is signed in to Azure, or not for that tenant or subscription." => NotAllowed,
    AzureRightMissing = "AZURE_RIGHT_MISSING", "Whoever is signed in to Azure may not do this." => NotAllowed,
    AzureUnreachable = "AZURE_UNREACHABLE", "Azure's control plane does not answer." => Unreachable,
    AzureQuota = "AZURE_QUOTA", "A quota of the Azure subscription is too small." => TryAgain,
    AzureNoCapacity = "AZURE_NO_CAPACITY", "Azure has no machines of that size there just now." => TryAgain,
    AzureBusy = "AZURE_BUSY",
        "Azure works on a resource for somebody else, or asks to be left alone for a while." => TryAgain,
    AzureRefused = "AZURE_REFUSED", "Azure refuses a resource as the place says it." => BadConfiguration,
    AzureNameTaken = "AZURE_NAME_TAKEN",
        "Somebody else in Azure has a name that can be there only once." => BadConfiguration,
    AzureLocked = "AZURE_LOCKED", "A lock of Azure keeps a resource." => NotAllowed,
    AzureNotOurs = "AZURE_NOT_OURS",
        "A resource of that name is there, and petctl did not make it." => BadConfiguration,
    AzureReplace = "AZURE_REPLACE", "A resource can't become what the place says." => BadConfiguration,

    // Uploads and downloads.
    LayoutMismatch = "LAYOUT_MISMATCH", "The folder is not as its layout says." => BadConfiguration,
    BadLayout = "BAD_LAYOUT", "The layout can't be used." => BadConfiguration,
    TargetExists = "TARGET_EXISTS", "The file that is to be written is there already." => BadConfiguration,
    TransferRunning = "TRANSFER_RUNNING", "Another petctl does the same transfer." => TryAgain,

    // Starting and running a coordinator.
    PortInUse = "PORT_IN_USE", "Another program listens on the coordinator's port." => BadConfiguration,
    ListenFailed = "LISTEN_FAILED",
        "The system does not let the coordinator listen at that address." => BadConfiguration,
    TokenFileOpen = "TOKEN_FILE_OPEN", "Others may read the coordinator's token." => BadConfiguration,
    CaBroken = "CA_BROKEN", "The CA in the coordinator's state folder can't be used." => BadConfiguration,
    TokenFileBad = "TOKEN_FILE_BAD", "The coordinator's token file holds no token." => BadConfiguration,
    NoRandomNumbers = "NO_RANDOM_NUMBERS", "The system gives no random numbers." => BadConfiguration,
    NoThread = "NO_THREAD", "The coordinator can't start its thread." => BadConfiguration,
    StateFileFailed = "STATE_FILE_FAILED",
        "A small file in the coordinator's state folder can't be read or written." => BadConfiguration,
    StateInUse = "STATE_IN_USE", "Another process works on that state folder." => TryAgain,
    StateReadOnly = "STATE_READ_ONLY", "The state folder can't be written." => BadConfiguration,
    StateVersionNewer = "STATE_VERSION_NEWER", "The state was written by a newer petctl." => BadConfiguration,
    StateVersionOlder = "STATE_VERSION_OLDER", "The state was written by an older petctl." => BadConfiguration,
    StateCorrupt = "STATE_CORRUPT", "The state file is damaged." => BadConfiguration,
    StateDiskFull = "STATE_DISK_FULL", "There is no space left for the state file." => BadConfiguration,
    StateIo = "STATE_IO", "The system failed to read or write the state file." => BadConfiguration,
    CoordinatorBug = "COORDINATOR_BUG", "The coordinator has a bug." => TryAgain,

    // Starting and running workers.
    WorkerBadOption = "WORKER_BAD_OPTION", "A setting of a worker can't be." => Usage,
    WorkerSystem = "WORKER_SYSTEM", "The system has no means to run a worker." => TryAgain,
    WorkerStart = "WORKER_START", "A worker of this machine can't be started." => TryAgain,
    TorchrunDisagree = "TORCHRUN_DISAGREE", "The nodes of a torchrun run were started with different flags." => Usage,
    TorchrunTimeout = "TORCHRUN_TIMEOUT", "A torchrun group did not come together in time." => TryAgain,
    TorchrunHost = "TORCHRUN_HOST", "The coordinator of a torchrun run can't be started." => TryAgain,
    TorchrunFolder = "TORCHRUN_FOLDER", "A folder of a torchrun run can't be made or used." => BadConfiguration,
    WorkerCrashes = "WORKER_CRASHES", "The workers of this machine die faster than they work." => TryAgain,
    CoordinatorLost = "COORDINATOR_LOST", "A worker looked for its coordinator for too long." => Unreachable,
    WorkerNameTaken = "WORKER_NAME_TAKEN", "Another living worker has that name." => BadConfiguration,
    TooManyWorkers = "TOO_MANY_WORKERS", "The coordinator has as many workers as it takes.",
    ProtocolMismatch = "PROTOCOL_MISMATCH",
        "The worker and the coordinator speak different versions of the protocol." => BadConfiguration,
    HelloMissing = "HELLO_MISSING", "Something connected as a worker and did not say who it is." => TryAgain,
    BadMessage = "BAD_MESSAGE", "A message to the coordinator makes no sense." => Usage,
    StreamSuperseded = "STREAM_SUPERSEDED", "A worker opened a second stream, which took the place of its first.",
    StreamStalled = "STREAM_STALLED", "A worker did not read what the coordinator sent.",

    // Why an attempt failed.
    ExitNonzero = "EXIT_NONZERO", "The command exited with another code than 0.",
    KilledBySignal = "KILLED_BY_SIGNAL", "The command was ended by a signal that petctl did not send.",
    TimedOut = "TIMED_OUT", "The attempt ran longer than the stage's `timeout`.",
    LeftRunning = "LEFT_RUNNING", "The command exited with 0, and something that it had started went on.",
    MemoryExceeded = "MEMORY_EXCEEDED", "The attempt used more memory than its stage's `memory` allows.",
    ServeDied = "SERVE_DIED", "A warm process ended while it had a shard.",
    ServeFailed = "SERVE_FAILED", "A warm process says that the shard has failed.",
    ServeRefused = "SERVE_REFUSED", "A warm process says that the shard has failed, and would fail again.",
    ServeProtocol = "SERVE_PROTOCOL", "A warm process said something that makes no sense.",
    ServeNotReady = "SERVE_NOT_READY", "A warm process did not get as far as saying that it is ready.",
    CommandNotFound = "COMMAND_NOT_FOUND", "The program of the command is not there on the worker.",
    CommandNotExecutable = "COMMAND_NOT_EXECUTABLE", "The program is there, but can't be run.",
    CommandTooLong = "COMMAND_TOO_LONG", "The command is longer than the system or petctl allows.",
    JobFolderMissing = "JOB_FOLDER_MISSING", "The job's folder is not there on the worker.",
    SpawnFailed = "SPAWN_FAILED", "The system could not start or watch the command's process.",
    Unkillable = "UNKILLABLE", "A process does not die of SIGKILL.",
    DiskFull = "DISK_FULL", "There was no space for the attempt's outputs.",
    InputMissing = "INPUT_MISSING", "An input of the shard is not in the storage.",
    InputTooLarge = "INPUT_TOO_LARGE", "What the shard works on is larger than a worker may keep staged.",
    ScratchFolder = "SCRATCH_FOLDER", "The folder for what a worker stages does not do what it must.",
    OutputFolder = "OUTPUT_FOLDER", "The output folder does not do what it must.",
    OutputOccupied = "OUTPUT_OCCUPIED", "Where the shard's outputs should go there is something else.",
    OutputGone = "OUTPUT_GONE", "The attempt's output folder was gone when its command ended.",
    OutputEscapes = "OUTPUT_ESCAPES", "The command left something in its output folder that can't be committed.",
    OutputReservedName = "OUTPUT_RESERVED_NAME", "The command wrote a file whose name petctl needs.",
    OutputTooManyFiles = "OUTPUT_TOO_MANY_FILES", "The command wrote more files than one shard may have.",
    OutputBadName = "OUTPUT_BAD_NAME", "An output has a name that its storage can't hold.",
    OutputNameNotUtf8 = "OUTPUT_NAME_NOT_UTF8", "An output's name is not valid UTF-8.",
    ResultTooLarge = "RESULT_TOO_LARGE", "The command's `result.json` is too large.",
    ResultNotJson = "RESULT_NOT_JSON", "The command's `result.json` is not JSON.",
    ResultInvalid = "RESULT_INVALID", "The command's `result.json` is JSON, but not a result.",
    WorkerGone = "WORKER_GONE", "The worker was lost: its process died, or its connection stayed broken.",
    WorkerSilent = "WORKER_SILENT", "The worker was not heard of for too long.",
    WorkerLeaving = "WORKER_LEAVING", "The attempt was stopped because its worker leaves.",
    StageDeadline = "STAGE_DEADLINE", "The stage had not ended when its `deadline` was over.",
    RankFailed = "RANK_FAILED", "A process of a training group exited with another code than 0.",
    RankSignalled = "RANK_SIGNALLED", "A process of a training group was ended by a signal that petctl did not send.",
    RankNotStarted = "RANK_NOT_STARTED", "A process of a training group could not be started.",
    RankHung = "RANK_HUNG", "Nothing happened in a training group for longer than `progress_timeout`.",
    CheckpointMissing = "CHECKPOINT_MISSING", "A checkpoint was said to be complete, and it is not there.",
    CheckpointRefused = "CHECKPOINT_REFUSED",
        "A worker takes no more checkpoints until the coordinator has confirmed some.",
    UnknownStage = "UNKNOWN_STAGE", "A worker was given a shard of a stage that it does not know.",
    NotAssigned = "NOT_ASSIGNED", "A worker was given a shard before it was given the job.",

    // Why a job or a shard stands where it does.
    BelowMin = "BELOW_MIN", "Fewer workers are there than the job needs to go on.",
    Recovering = "RECOVERING", "The coordinator has just been started again and waits for its workers.",
    CoordinatorDraining = "COORDINATOR_DRAINING", "The coordinator hands out nothing more." => TryAgain,
    Interrupted = "INTERRUPTED", "No coordinator runs the job now." => TryAgain,
    NoWorkerFits = "NO_WORKER_FITS", "Shards ask for more CPU, memory or GPUs than any worker has.",
    LauncherAway = "LAUNCHER_AWAY", "Shards of local stages wait for `petctl run`.",
    BackingOff = "BACKING_OFF", "The shard failed and is tried again after a wait.",
    NeedsPending = "NEEDS_PENDING", "The shard waits for others that it needs.",
    SlotsBusy = "SLOTS_BUSY", "The shard can run, and every slot is taken.",
    Ready = "READY", "The shard can run as soon as somebody runs it.",
    Running = "RUNNING", "It runs.",
    Committed = "COMMITTED", "The shard is done, and its outputs are committed; or the job succeeded.",
    VerdictFail = "VERDICT_FAIL", "The shard ran well, and its own checks did not pass." => JobFailed,
    Quarantined = "QUARANTINED", "The shard has failed as often as it may, and is left aside." => JobFailed,
    NeedsFailed = "NEEDS_FAILED", "The shard never ran, because what it needs failed." => JobFailed,
    InputSkipped = "INPUT_SKIPPED", "The shard did not run, because the shard that it needs was skipped.",
    AllSkipped = "ALL_SKIPPED", "Every shard of a stage was skipped: the job ran, and nothing was done in that stage.",
    TooFewDone = "TOO_FEW_DONE", "Fewer shards of a stage were really done than its `min_done` asks for." => JobFailed,
    Suspended = "SUSPENDED", "Somebody suspended the job.",
    Training = "TRAINING", "A training stage has the job's workers.",
    Gathering = "GATHERING", "A training group waits for workers.",
    Preparing = "PREPARING", "A training group has its members and is about to start.",
    Stopping = "STOPPING", "A training group's processes are being stopped.",
    WaitsForCheckpoint = "WAITS_FOR_CHECKPOINT",
        "Workers wait for the next checkpoint of a training group, to join it then.",
    WorkerLeftOut = "WORKER_LEFT_OUT",
        "A worker is left out of training, because it was the first cause of too many failures.",
    PreflightFailed = "PREFLIGHT_FAILED", "A worker did not pass the job's checks, so it does not join.",
    SetupFailed = "SETUP_FAILED", "The job's setup failed on a worker, so it does not join.",
    StillStopping = "STILL_STOPPING", "A worker still has training processes of before, so it can't join yet.",
    Straggler = "STRAGGLER", "A rank takes at least twice as long for a step as the median rank.",

    // Why workers of a cluster are missing, or ended.
    PodStarting = "POD_STARTING", "Workers' pods are being started.",
    PodUnschedulable = "POD_UNSCHEDULABLE", "No node of the cluster takes a worker's pod.",
    PodGated = "POD_GATED", "A worker's pod is held back by a queue of the cluster.",
    PodsShared = "PODS_SHARED", "A job has fewer workers than it wants, because jobs share a number of pods.",
    PodImage = "POD_IMAGE", "The image of a worker's pod can't be pulled.",
    PodConfig = "POD_CONFIG", "A worker's pod names something that is not there, or can't be started as it is.",
    PodVolume = "POD_VOLUME", "A volume of a worker's pod can't be attached or mounted.",
    PodRefused = "POD_REFUSED", "The cluster refuses workers' pods: a quota, or a policy.",
    PodSilent = "POD_SILENT", "A worker's pod runs, and its worker has not reached the coordinator.",
    PodCrashed = "POD_CRASHED", "A worker's pod ended before it had joined.",
    PodOutOfMemory = "POD_OUT_OF_MEMORY", "A worker's pod used more memory than it may.",
    PodEvicted = "POD_EVICTED", "A worker's pod was evicted.",
    PodPreempted = "POD_PREEMPTED", "A worker's pod made room for one of a higher priority.",
    PodDeleted = "POD_DELETED", "A worker's pod was deleted.",
    GpuUnhealthy = "GPU_UNHEALTHY", "A worker is drained because a GPU of its node is unhealthy.",
    NodeLost = "NODE_LOST", "The node of a worker's pod does not answer any more.",
    GaveUp = "GAVE_UP", "No worker could be started for too long, so the job was suspended." => TryAgain,

    // Between coordinator and workers.
    LeaseLost = "LEASE_LOST", "A worker no longer has the right to run or commit a shard.",
    StaleEpoch = "STALE_EPOCH", "A message came from a membership that is over.",
    GroupFailed = "GROUP_FAILED", "A process of a training group failed, so the whole group is stopped.",
    MembershipChanged = "MEMBERSHIP_CHANGED", "A training group is stopped because its members change.",
    Rebalanced = "REBALANCED", "A shard that waited with a busy worker moves to an idle one.",
    Overtaken = "OVERTAKEN", "Another attempt at the shard was faster.",
    StaleOutput = "STALE_OUTPUT", "An attempt took outputs of an earlier version of the job for its own.",
    Drained = "DRAINED", "A worker hands back what it has not begun, because it is drained.",
    WorkerDraining = "WORKER_DRAINING", "A shard came to a worker that starts nothing new.",
    NotAMember = "NOT_A_MEMBER", "A shard came to a worker that is a member of no job.",
    TooManyLeases = "TOO_MANY_LEASES", "A worker was given more shards than it can hold.",
}

impl Code {
    /// The code of that name; `None` where this version of petctl has none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// Its page, as a path from the project's folder.
    #[must_use]
    pub fn page(self) -> String {
        format!("docs/errors/{}.md", self.as_str())
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_words_of_capitals() {
        let texts: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for text in texts {
            let words: Vec<&str> = text.split('_').collect();
            assert!(words.iter().all(|word| !word.is_empty()), "{text}");
            let is_letter = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
            assert!(words.concat().chars().all(is_letter), "{text}");
        }
    }

    #[test]
    fn a_code_is_found_by_its_name() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
        }
        assert_eq!(Code::parse("OF_A_LATER_VERSION"), None);
    }
}
