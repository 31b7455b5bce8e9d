//! Who is signed in, and what is said where nobody is.

use crate::harness::{User, ran};
use petctl_test_azure::CLIENT;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const LOOK: &str = "setup --only azure --what-if";

#[test]
fn a_wrong_secret_tenant_or_program_is_told_apart() {
    for (variable, value, words) in [
        ("AZURE_CLIENT_SECRET", "wrong", "AADSTS7000215"),
        (
            "AZURE_TENANT_ID",
            "00000000-0000-4000-8000-000000000000",
            "AADSTS90002",
        ),
        (
            "AZURE_CLIENT_ID",
            "00000000-0000-4000-8000-000000000000",
            "AADSTS700016",
        ),
    ] {
        let user = User::new();
        let output = user
            .command(LOOK)
            .env(variable, value)
            .output()
            .expect("it starts");
        let refused = ran(output).refused(77, "AZURE_SIGN_IN", &[words]);
        assert!(!refused.stderr.contains("a secret of tests"), "{refused}");
    }
}

#[test]
fn the_old_spelling_signs_in_and_warns() {
    let user = User::new();
    let output = user
        .command(&format!("{LOOK} --client_id {CLIENT}"))
        .args(["--client_secret", "a secret of tests"])
        .env_remove("AZURE_CLIENT_ID")
        .env_remove("AZURE_CLIENT_SECRET")
        .output()
        .expect("it starts");
    let ran = ran(output).good();
    assert!(
        ran.stderr.contains("set AZURE_CLIENT_SECRET instead"),
        "{ran}"
    );
    assert!(!ran.stderr.contains("a secret of tests"), "{ran}");
}

#[test]
fn a_certificate_and_the_token_of_a_pod_sign_in() {
    let user = User::new();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256);
    let (pem, made) = match key {
        Ok(key) => {
            let certificate = rcgen::CertificateParams::new(vec!["petctl".to_owned()])
                .and_then(|params| params.self_signed(&key))
                .expect("a certificate");
            (
                format!("{}{}", certificate.pem(), key.serialize_pem()),
                true,
            )
        }
        // This library signs with RSA keys, and makes none: openssl does.
        Err(_) => (String::new(), false),
    };
    let path = user.path("certificate.pem");
    if made {
        fs::write(&path, pem).expect("a file");
    } else {
        let made = std::process::Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                "/CN=petctl",
                "-keyout",
            ])
            .arg(&path)
            .arg("-out")
            .arg(user.path("half.pem"))
            .output()
            .expect("openssl is there");
        assert!(made.status.success(), "{made:?}");
        let whole = fs::read_to_string(&path).expect("a key")
            + &fs::read_to_string(user.path("half.pem")).expect("a certificate");
        fs::write(&path, whole).expect("a file");
    }
    let output = user
        .command(LOOK)
        .env_remove("AZURE_CLIENT_SECRET")
        .env("AZURE_CLIENT_CERTIFICATE_PATH", &path)
        .output()
        .expect("it starts");
    let seen = ran(output).good();
    assert!(
        seen.stderr
            .contains("by the certificate of service principal"),
        "{seen}"
    );
}

#[test]
fn a_code_is_shown_and_waited_for() {
    let user = User::new();
    user.write_place(|text| text.replace("tags = {", "sign_in = \"device-code\"\ntags = {"));
    let output = user
        .command(LOOK)
        .env_remove("AZURE_CLIENT_SECRET")
        .output()
        .expect("it starts");
    let seen = ran(output).good();
    assert!(
        seen.stderr.contains("in a browser and type the code"),
        "{seen}"
    );
}

#[test]
fn azures_command_line_is_asked_and_named_where_it_is_missing() {
    let user = User::new();
    let bare = |user: &User, path: &str| {
        let mut command = user.command(LOOK);
        command
            .env_remove("AZURE_CLIENT_SECRET")
            .env_remove("AZURE_CLIENT_ID")
            .env_remove("AZURE_TENANT_ID")
            .env("PATH", path);
        ran(command.output().expect("it starts"))
    };
    bare(&user, "/nowhere").refused(77, "AZURE_SIGN_IN", &["az login"]);
    // One that says what it says to those who are not logged in.
    let folder = user.path("bin");
    fs::create_dir(&folder).expect("a folder");
    let program = folder.join("az");
    let text =
        "#!/bin/sh\necho 'ERROR: Please run '\"'az login'\"' to setup account.' >&2\nexit 1\n";
    fs::write(&program, text).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    bare(&user, &path).refused(77, "AZURE_SIGN_IN", &["az login"]);
}

#[test]
fn a_sign_in_or_a_control_plane_that_nobody_answers_is_told_soon() {
    let user = User::new();
    for key in ["authority", "resource_manager"] {
        let endpoint = user.azure.endpoint();
        user.write_place(|text| {
            let own = format!("{key} = \"{endpoint}\"");
            text.replace(&own, &format!("{key} = \"https://localhost:9\""))
        });
        let began = std::time::Instant::now();
        user.run(LOOK)
            .refused(69, "AZURE_UNREACHABLE", &["HTTPS_PROXY"]);
        assert!(began.elapsed().as_secs() < 45, "{key}");
    }
}

#[test]
fn whoever_is_not_trusted_is_sent_nothing() {
    let user = User::new();
    let mut command = user.command(LOOK);
    command.env_remove("SSL_CERT_FILE");
    let output = command.output().expect("it starts");
    ran(output).refused(69, "AZURE_UNREACHABLE", &[]);
    assert!(user.azure.requests().is_empty());
}
