use super::*;

fn rendered(argument: &str) -> Result<String, TemplateError> {
    let params = BTreeMap::from([("v0".to_owned(), "30.0".to_owned())]);
    let values = Placeholders {
        input: None,
        inputs: &[],
        shard: None,
        input_root: Some("/in"),
        output: "/out/.petctl/a1",
        output_root: "/out",
        key: "a/b.xml",
        index: 7,
        attempt: 2,
        job: "us101",
        stage: "resim",
        params: &params,
        shard_params: None,
        checkpoints: None,
    };
    let command = ["run".to_owned(), argument.to_owned()];
    render(&command, &values).map(|mut all| all.remove(1))
}

#[test]
fn placeholders_are_filled_in() {
    for (argument, text) in [
        ("{input}", "/in/a/b.xml"),
        (
            "--out={output}/{index}-{attempt}",
            "--out=/out/.petctl/a1/7-2",
        ),
        ("{job}/{stage}/{key}", "us101/resim/a/b.xml"),
        ("{output_root}:{input_root}", "/out:/in"),
        ("v={param.v0}", "v=30.0"),
        ("{{key}} {{{key}}}", "{key} {a/b.xml}"),
        ("", ""),
        ("é{index}é", "é7é"),
    ] {
        assert_eq!(rendered(argument), Ok(text.to_owned()), "{argument}");
    }
}

#[test]
fn a_shard_has_inputs_a_file_and_parameters_of_its_own() {
    let params = BTreeMap::from([("a".to_owned(), "1".into()), ("b".to_owned(), "2".into())]);
    let own = BTreeMap::from([("b".to_owned(), "own".into())]);
    let inputs = ["/in/x".to_owned(), "/in/y z".to_owned()];
    let values = Placeholders {
        input: None,
        inputs: &inputs,
        shard: Some("/tmp/shard.json"),
        input_root: Some("/in"),
        output: "",
        output_root: "",
        key: "k",
        index: 0,
        attempt: 1,
        job: "",
        stage: "",
        params: &params,
        shard_params: Some(&own),
        checkpoints: None,
    };
    let command = [
        "run",
        "{input}",
        "{inputs}",
        "{shard}",
        "{param.a}{param.b}",
    ]
    .map(str::to_owned);
    let filled = [
        "run",
        "/in/x",
        "/in/x",
        "/in/y z",
        "/tmp/shard.json",
        "1own",
    ];
    assert_eq!(
        render(&command, &values),
        Ok(filled.map(str::to_owned).to_vec())
    );
    let none = Placeholders {
        inputs: &[],
        ..values
    };
    assert_eq!(
        render(&command, &none).map(|all| all[2].clone()),
        Ok("/in/k".into())
    );
    assert_eq!(
        Template::parse(&["run".to_owned(), "--in={inputs}".to_owned()]),
        Err(TemplateError::NotAlone)
    );
}

#[test]
fn what_is_filled_in_is_not_read_again() {
    let params = BTreeMap::from([("x".to_owned(), "{key}".to_owned())]);
    let values = Placeholders {
        input: Some("/cache/1"),
        inputs: &[],
        shard: None,
        input_root: None,
        output: "",
        output_root: "",
        key: "{output}",
        index: 0,
        attempt: 1,
        job: "",
        stage: "",
        params: &params,
        shard_params: None,
        checkpoints: None,
    };
    let command = ["{key}{param.x}".to_owned(), "{input}".to_owned()];
    assert_eq!(
        render(&command, &values),
        Ok(vec!["{output}{key}".to_owned(), "/cache/1".to_owned()])
    );
}

#[test]
fn broken_templates_are_refused_with_a_fix() {
    let message = |argument: &str| {
        rendered(argument)
            .map_err(|error| format!("{error}; {}", error.fix()))
            .unwrap_err()
    };
    assert_eq!(
        message("{inptu}"),
        "unknown placeholder `{inptu}`; did you mean `{input}`?"
    );
    assert!(
        message("{}")
            .starts_with("unknown placeholder `{}`; known are {input}, {inputs}, {output}")
    );
    assert!(message("{print $1}").ends_with("a literal brace is written twice: `{{`"));
    assert_eq!(
        message("{key"),
        "`{` without its `}`; close the placeholder; a literal brace is written twice: `{{`"
    );
    assert_eq!(
        message("key}"),
        "`}` without its `{`; open the placeholder; a literal brace is written twice: `}}`"
    );
    assert_eq!(
        message("{param.x}"),
        "there is no value for `{param.x}` in this stage; take it out, or give it a value"
    );
    assert_eq!(Template::parse(&[]), Err(TemplateError::Empty));
    assert_eq!(Template::parse(&[String::new()]), Err(TemplateError::Empty));
}

#[test]
fn a_filled_in_command_is_bounded() {
    let params = BTreeMap::from([("x".to_owned(), "y".repeat(4_096))]);
    let values = Placeholders {
        input: None,
        inputs: &[],
        shard: None,
        input_root: None,
        output: "",
        output_root: "",
        key: "",
        index: 0,
        attempt: 1,
        job: "",
        stage: "",
        params: &params,
        shard_params: None,
        checkpoints: None,
    };
    assert_eq!(
        render(&["a".to_owned(), "{param.x}".repeat(10_000)], &values),
        Err(TemplateError::TooLong)
    );
    let all = Template::parse(&["{key}{index}{key}".to_owned()]).unwrap();
    assert_eq!(all.placeholders(), [&Placeholder::Key, &Placeholder::Index]);
}
