//! The certificates and kubeconfigs of one bed: made anew for each, so that what belongs to one bed opens no other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use petctl_test_kube::kubeconfig::{Access, Kubeconfig};

/// Where the API server listens inside the bed.
pub(crate) const INSIDE: &str = "https://10.77.0.1:6443";

/// A folder of keys and certificates.
pub(crate) struct Pki {
    folder: PathBuf,
}

/// What a certificate is for: its name, its subject, and the names of a server, if it is one.
struct Leaf {
    name: String,
    subject: String,
    server: Option<String>,
}

impl Pki {
    /// Makes all of them, for this many nodes. `outside` is the API server's address on the machine.
    pub(crate) fn make(bed: &Path, nodes: &[String], outside: &str) -> Result<Self, String> {
        let folder = bed.join("pki");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let pki = Self { folder };
        // The machine's own settings of openssl would add extensions to every certificate.
        pki.write("openssl.cnf", "[req]\ndistinguished_name = name\n[name]\n")?;
        pki.openssl(&[
            "req",
            "-x509",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=petctl-test-bed",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
            "-addext",
            "subjectKeyIdentifier=hash",
        ])?;
        thread::scope(|scope| {
            let pki = &pki;
            let accounts = scope.spawn(move || {
                pki.openssl(&[
                    "ecparam",
                    "-name",
                    "prime256v1",
                    "-genkey",
                    "-noout",
                    "-out",
                    "accounts.key",
                ])?;
                pki.openssl(&[
                    "ec",
                    "-in",
                    "accounts.key",
                    "-pubout",
                    "-out",
                    "accounts.pub",
                ])
            });
            let leaves: Vec<_> = leaves(nodes)
                .into_iter()
                .map(|leaf| scope.spawn(move || pki.issue(&leaf)))
                .collect();
            let joined = leaves.into_iter().chain([accounts]).map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err("a thread ended".to_owned()))
            });
            joined.collect::<Result<(), String>>()
        })?;
        pki.kubeconfig("admin", outside)?;
        pki.kubeconfig("manager", INSIDE)?;
        pki.kubeconfig("scheduler", INSIDE)?;
        pki.kubeconfig("proxy", INSIDE)?;
        for node in nodes {
            pki.kubeconfig(node, INSIDE)?;
        }
        Ok(pki)
    }

    /// The path of one of its files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn issue(&self, leaf: &Leaf) -> Result<(), String> {
        let (key, certificate) = (format!("{}.key", leaf.name), format!("{}.crt", leaf.name));
        let usage = match leaf.server {
            Some(_) => "extendedKeyUsage=serverAuth,clientAuth",
            None => "extendedKeyUsage=clientAuth",
        };
        let names = leaf
            .server
            .as_ref()
            .map(|names| format!("subjectAltName={names}"));
        let mut arguments = vec![
            "req",
            "-x509",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-subj",
            &leaf.subject,
            "-keyout",
            &key,
            "-out",
            &certificate,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "keyUsage=critical,digitalSignature",
            "-addext",
            usage,
        ];
        if let Some(names) = &names {
            arguments.extend(["-addext", names]);
        }
        self.openssl(&arguments)
    }

    fn kubeconfig(&self, name: &str, server: &str) -> Result<(), String> {
        let read =
            |file: String| fs::read(self.path(&file)).map_err(|error| format!("{file}: {error}"));
        let config = Kubeconfig {
            server: server.to_owned(),
            authority: read("ca.crt".to_owned())?,
            context: "bed".to_owned(),
            namespace: "default".to_owned(),
            access: Access::Certificate {
                certificate: read(format!("{name}.crt"))?,
                key: read(format!("{name}.key"))?,
            },
        };
        self.write(&format!("{name}.kubeconfig"), &config.text())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        fs::write(self.path(name), text).map_err(|error| format!("{name}: {error}"))
    }

    fn openssl(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new("openssl");
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("OPENSSL_CONF", self.path("openssl.cnf"));
        let output = command
            .output()
            .map_err(|error| format!("openssl can't be started: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("openssl {}: {said}", arguments.join(" ")))
    }
}

fn leaves(nodes: &[String]) -> Vec<Leaf> {
    let client = |name: &str, subject: &str| Leaf {
        name: name.to_owned(),
        subject: subject.to_owned(),
        server: None,
    };
    let mut leaves = vec![
        client("admin", "/O=system:masters/CN=admin"),
        // What the API server asks kubelets for logs with: it may do all, so that no binding has to be made first.
        client("kubelets", "/O=system:masters/CN=kube-apiserver"),
        client("manager", "/CN=system:kube-controller-manager"),
        client("scheduler", "/CN=system:kube-scheduler"),
        client("proxy", "/CN=system:kube-proxy"),
        Leaf {
            name: "apiserver".to_owned(),
            subject: "/CN=kube-apiserver".to_owned(),
            server: Some(
                "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
                 DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:10.77.0.1,IP:10.96.0.1"
                    .to_owned(),
            ),
        },
    ];
    leaves.extend(nodes.iter().enumerate().map(|(index, node)| Leaf {
        name: node.clone(),
        subject: format!("/O=system:nodes/CN=system:node:{node}"),
        server: Some(format!("DNS:{node},IP:10.77.0.{}", 11 + index)),
    }));
    leaves
}
