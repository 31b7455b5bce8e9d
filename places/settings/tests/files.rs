//! Good and bad files of settings, with the whole message that a user sees, and where each value comes from.

use petctl_settings::{
    Backend, Entry, KubePlace, Places, Result, Sets, SettingsError, Sharing, Source, StateStorage,
};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn testdata() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests"))
        .join("testdata")
}

/// A home with a user's file, and a project with its file; either may be left out.
struct Town {
    folder: tempfile::TempDir,
}

impl Town {
    fn new(project: Option<&str>, user: Option<&str>) -> Self {
        let town = Self {
            folder: tempfile::tempdir().expect("a folder can be made"),
        };
        town.put("project/petctl.toml", project);
        town.put("home/.config/petctl/petctl.toml", user);
        fs::create_dir_all(town.path("project/jobs/deep")).expect("a folder can be made");
        town
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn put(&self, path: &str, text: Option<&str>) {
        if let Some(text) = text {
            let path = self.path(path);
            let folder = path.parent().expect("files are in folders");
            fs::create_dir_all(folder).expect("a folder can be made");
            fs::write(path, text).expect("a file can be written");
        }
    }

    fn places(&self, sets: &[&str], on: Option<&str>) -> Result<Places> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let sets = Sets::split(&sets);
        assert_eq!(sets.job, Vec::<String>::new());
        let home = self.path("home").display().to_string();
        let env = |name: &str| match name {
            "HOME" => Some(home.clone()),
            "PETCTL_ON" => on.map(str::to_owned),
            _ => None,
        };
        Places::find(&self.path("project/jobs/deep"), &sets.places, &env)
    }

    /// A message without what differs from run to run.
    fn told(&self, error: &SettingsError) -> String {
        let project = self.path("project").display().to_string();
        format!("{}\n{error}", error.code()).replace(&format!("{project}/"), "")
    }
}

fn kube(entry: &Entry) -> &KubePlace {
    match &entry.backend {
        Backend::Kube(kube) => kube,
        Backend::Local => panic!("{} is local", entry.name),
    }
}

#[test]
fn every_bad_file_has_its_message() {
    let mut wrong = String::new();
    let mut files: Vec<PathBuf> = fs::read_dir(testdata().join("bad"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|name| name == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the cases are there");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // `# --set …` in the first lines is given on the command line.
        let sets: Vec<&str> = text
            .lines()
            .map_while(|line| line.strip_prefix("# --set "))
            .collect();
        let town = Town::new(Some(&text), None);
        let found = match town
            .places(&sets, None)
            .and_then(|places| places.choose(None).map(drop))
        {
            Ok(()) => panic!("{} is taken for good", file.display()),
            Err(error) => town.told(&error) + "\n",
        };
        let beside = file.with_extension("txt");
        if std::env::var_os("PETCTL_BLESS").is_some() {
            fs::write(&beside, &found).unwrap();
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if expected != found {
            let _ = writeln!(
                wrong,
                "\n{}\nexpected:\n{expected}\nfound:\n{found}",
                file.display()
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong}\nwrite them anew with: PETCTL_BLESS=1 cargo test -p petctl-settings"
    );
}

#[test]
fn a_full_place_has_every_key_and_travels_as_json() {
    let text = fs::read_to_string(testdata().join("good/full.toml")).unwrap();
    let town = Town::new(Some(&text), None);
    let places = town.places(&[], None).unwrap();
    let entry = places.get("full").unwrap();
    let place = kube(entry);
    let json = serde_json::to_string_pretty(place).unwrap() + "\n";
    let path = testdata().join("good/full.json");
    if std::env::var_os("PETCTL_BLESS").is_some() {
        fs::write(&path, &json).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let json = json.replace(&town.folder.path().display().to_string(), "");
    assert_eq!(
        json,
        expected.replace(&town.folder.path().display().to_string(), "")
    );
    let back: KubePlace = serde_json::from_str(&json).unwrap();
    assert_eq!(back.check(), Ok(()));
    let given = entry
        .settings
        .iter()
        .filter(|setting| setting.source == Source::Default);
    let missing: Vec<&str> = given.map(|setting| setting.key.as_str()).collect();
    // The other ways of storage, and the other side of `namespaces`.
    let others = [
        "coordinator.namespace",
        "coordinator.claim",
        "coordinator.ephemeral",
    ];
    assert_eq!(missing, others);
}

#[test]
fn an_empty_place_is_the_default_one() {
    let town = Town::new(Some("[place.a]\nbackend = \"kube\"\n"), None);
    let places = town.places(&[], None).unwrap();
    assert_eq!(kube(places.get("a").unwrap()), &KubePlace::default());
    assert_eq!(
        serde_json::from_str::<KubePlace>("{}").unwrap(),
        KubePlace::default()
    );
    let settings = &places.get("a").unwrap().settings;
    let value = |key: &str| {
        settings
            .iter()
            .find(|setting| setting.key == key)
            .unwrap()
            .value
            .clone()
    };
    assert_eq!(value("petctl_image"), KubePlace::default_petctl_image());
    assert_eq!(value("namespace"), "petctl");
    assert_eq!(value("start_timeout"), "10m");
    assert_eq!(value("coordinator.storage"), "1GiB");
    assert_eq!(value("context"), serde_json::Value::Null);
}

#[test]
fn the_nearer_file_wins_with_the_whole_entry() {
    let project = "[place.gpu]\nbackend = \"kube\"\nnamespace = \"ml\"\n";
    let user = "default = \"mine\"\n[place.gpu]\nbackend = \"kube\"\ncontext = \"old\"\n[place.mine]\nbackend = \"kube\"\n";
    let town = Town::new(Some(project), Some(user));
    let places = town
        .places(&["place.gpu.resources.cpu=0.5", "place.mine.env.A=1"], None)
        .unwrap();
    let names: Vec<&str> = places
        .all()
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    assert_eq!(names, ["local", "gpu", "mine"]);
    let gpu = places.get("gpu").unwrap();
    assert_eq!(
        (kube(gpu).namespace.as_str(), kube(gpu).context.as_deref()),
        ("ml", None)
    );
    assert_eq!(kube(gpu).resources.cpu_milli, Some(500));
    assert_eq!(kube(gpu).requested().cpu_milli, Some(500));
    assert_eq!(gpu.source("resources.cpu"), Some(&Source::Flag("--set")));
    assert_eq!(gpu.source("spot"), Some(&Source::Default));
    let line = gpu.source("namespace").unwrap().to_string();
    assert!(line.ends_with("petctl.toml:3"), "{line}");
    let mine = places.get("mine").unwrap();
    assert_eq!(kube(mine).env["A"], "1");
    assert_eq!(mine.source("env.A"), Some(&Source::Flag("--set")));
    assert_eq!(mine.defined.to_string(), "~/.config/petctl/petctl.toml:5");
}

#[test]
fn the_default_is_that_of_flag_environment_project_user_and_nobody() {
    let with = |name: &str| format!("default = \"{name}\"\n[place.{name}]\nbackend = \"kube\"\n");
    let (project, user) = (with("a"), with("b"));
    let chosen = |town: &Town, flag: Option<&str>, on: Option<&str>| {
        let places = town.places(&[], on).unwrap();
        let (entry, why) = places.choose(flag).unwrap();
        let why = why.to_string();
        format!("{} {}", entry.name, why.rsplit('/').next().unwrap())
    };
    let both = Town::new(Some(&project), Some(&user));
    assert_eq!(chosen(&both, Some("local"), Some("b")), "local --on");
    assert_eq!(chosen(&both, None, Some("b")), "b PETCTL_ON");
    assert_eq!(chosen(&both, None, Some("")), "a petctl.toml:1");
    assert_eq!(
        chosen(&Town::new(None, Some(&user)), None, None),
        "b petctl.toml:1"
    );
    assert_eq!(chosen(&Town::new(None, None), None, None), "local default");
    let error = both
        .places(&[], Some("bb"))
        .unwrap()
        .choose(None)
        .unwrap_err();
    let told = "there is no place `bb`, which PETCTL_ON names\n  fix: did you mean `b`? places here: \
                `local`, `a`, `b`; a new one is a table [place.NAME] in petctl.toml";
    assert_eq!(error.to_string(), told);
    assert_eq!(error.code().as_str(), "NO_SUCH_PLACE");
}

#[test]
fn files_that_can_not_be_read_are_told_of() {
    let town = Town::new(None, None);
    fs::create_dir(town.path("project/petctl.toml")).unwrap();
    let error = town.places(&[], None).unwrap_err();
    assert!(
        town.told(&error).contains("petctl.toml is no file"),
        "{error}"
    );
    fs::remove_dir(town.path("project/petctl.toml")).unwrap();
    fs::write(town.path("project/petctl.toml"), [0xff, 0xfe]).unwrap();
    let error = town.places(&[], None).unwrap_err();
    assert!(town.told(&error).contains("is not UTF-8"), "{error}");
    fs::write(town.path("project/petctl.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    let error = town.places(&[], None).unwrap_err();
    assert!(town.told(&error).contains("has 1,048,577 bytes"), "{error}");
}

#[test]
fn what_came_over_the_network_is_held_to_the_same_rules() {
    let checked = |change: fn(&mut KubePlace)| {
        let mut place = KubePlace::default();
        change(&mut place);
        place.check().unwrap_err()
    };
    assert_eq!(
        checked(|place| place.image = Some("train".into())),
        "`image` is `train`, which has neither a tag nor a digest, so what it stands for changes unseen: write \
         `train:TAG`, or better `train@sha256:…`"
    );
    let long = checked(|place| {
        place
            .env
            .extend((0..65).map(|n| (format!("A{n}"), String::new())))
    });
    assert_eq!(long, "`env` has 65 entries: use at most 64");
    checked(|place| place.namespace = "a.b".into());
    checked(|place| place.start_timeout_ms = 0);
    checked(|place| place.user = 0);
    checked(|place| place.kubeconfig = Some("config".into()));
    checked(|place| place.coordinator.state = StateStorage::Claim("A".into()));
    checked(|place| place.resources.cpu_milli = Some(0));
    for namespaces in [vec!["a.b"], vec!["petctl"], vec!["a", "b", "a"]] {
        let mut place = KubePlace::default();
        place.coordinator.namespaces = namespaces.into_iter().map(str::to_owned).collect();
        let said = place.check().unwrap_err();
        assert!(said.starts_with("`coordinator.namespaces["), "{said}");
    }
    checked(|place| place.coordinator.max_pods = Some(0));
    let unbound = checked(|place| place.coordinator.sharing = Sharing::InOrder);
    assert_eq!(
        unbound,
        "`coordinator.sharing` shares pods without a bound: say how many there are: `coordinator.max_pods`"
    );
    let theirs = checked(|place| {
        place.coordinator.namespace = Some("shared".into());
        place.coordinator.max_pods = Some(4);
    });
    assert_eq!(
        theirs,
        "`coordinator.max_pods` is not for this place to say: say it in the place whose namespace the coordinator \
         is in"
    );
    let both = checked(|place| {
        place.coordinator.namespace = Some("shared".into());
        place.coordinator.namespaces = vec!["team-a".into()];
    });
    assert_eq!(
        both,
        "`coordinator.namespaces` is not for this place to say: name them in the place whose namespace the \
         coordinator is in"
    );
    assert!(serde_json::from_str::<KubePlace>("{\"spot\":true,\"extra\":1}").is_err());
}

#[test]
fn overrides_are_split_by_whom_they_are_for() {
    let sets = ["workers.max=4", "place.gpu.image=a:1", "places=1"].map(str::to_owned);
    let split = Sets::split(&sets);
    assert_eq!(split.job, ["workers.max=4", "places=1"]);
    assert_eq!(split.places[0].path, "place.gpu.image");
    assert_eq!(split.places[0].value.as_deref(), Some("a:1"));
    let town = Town::new(Some("[place.gpu]\nbackend = \"kube\"\n"), None);
    for (set, code) in [
        ("place.gpu.image", "USAGE"),
        ("place.gpu=1", "USAGE"),
        ("place..image=1", "USAGE"),
        ("place.gpx.image=a:1", "NO_SUCH_PLACE"),
        ("place.local.image=a:1", "BAD_PLACE"),
        ("place.gpu.imag=a:1", "BAD_PLACE"),
        ("place.gpu.image=a", "BAD_PLACE"),
        ("place.gpu.image.tag=a", "BAD_PLACE"),
    ] {
        let error = town.places(&[set], None).unwrap_err();
        assert_eq!(error.code().as_str(), code, "{set}: {error}");
    }
}
