//! Certificates and tokens of one cluster, made anew each time.
//!
//! One authority signs the API server's certificate and the one by which it makes itself known to the kubelets. Everybody
//! else has a token, named in a file that the API server reads (`--token-auth-file`): enough for a cluster that lives
//! for an hour on one machine, and far quicker than signing requests.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::site::{self, Site};
use crate::process::locate;

/// Where the secrets of a cluster lie.
#[derive(Debug, Clone)]
pub struct Secrets {
    dir: PathBuf,
    api_server: String,
}

impl Secrets {
    /// Makes all of them in `dir`.
    ///
    /// # Errors
    /// openssl is missing or refuses.
    pub fn make(dir: &Path, site: &Site) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let secrets = Self {
            dir: dir.to_owned(),
            api_server: site.api_server(),
        };
        secrets.authority()?;
        let [a, b] = site::API_SERVICE;
        let (_, ipv4, ipv6) = site.control();
        let names = format!(
            "subjectAltName=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:::1,IP:{ipv4},IP:{ipv6},IP:{a},IP:{b}"
        );
        secrets.sign(
            "apiserver",
            "/CN=kube-apiserver",
            &format!("extendedKeyUsage=serverAuth\n{names}\n"),
        )?;
        secrets.sign(
            "kubelet-client",
            "/O=system:masters/CN=kube-apiserver-kubelet-client",
            "extendedKeyUsage=clientAuth\n",
        )?;
        secrets.openssl(&[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
            "accounts.key",
        ])?;
        let mut table = String::new();
        let mut users = vec![
            ("admin".to_owned(), "admin".to_owned(), "system:masters"),
            named("kube-controller-manager"),
            named("kube-scheduler"),
            named("kube-proxy"),
        ];
        for node in site.topology.nodes() {
            users.push((
                node.name.clone(),
                format!("system:node:{}", node.name),
                "system:nodes",
            ));
        }
        for (who, user, group) in users {
            let token = token()?;
            let _ = writeln!(table, "{token},{user},{user},\"{group}\"");
            secrets.kubeconfig(&who, &token)?;
        }
        fs::write(secrets.file("tokens.csv"), table).context("write the tokens")?;
        Ok(secrets)
    }

    /// The path of one of them.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The kubeconfig of a component, of a node, or of `admin`.
    #[must_use]
    pub fn kubeconfig_of(&self, who: &str) -> PathBuf {
        self.file(&format!("{who}.kubeconfig"))
    }

    fn kubeconfig(&self, who: &str, token: &str) -> Result<()> {
        let authority = fs::read(self.file("ca.crt")).context("read the authority")?;
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: cluster
clusters: [{{name: cluster, cluster: {{server: \"{}\", certificate-authority-data: {}}}}}]
users: [{{name: {who}, user: {{token: {token}}}}}]
contexts: [{{name: cluster, context: {{cluster: cluster, user: {who}}}}}]
",
            self.api_server,
            base64(&authority)
        );
        fs::write(self.kubeconfig_of(who), text).with_context(|| format!("write the kubeconfig of {who}"))
    }

    fn authority(&self) -> Result<()> {
        self.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=flatroute-cluster",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ])
    }

    fn sign(&self, name: &str, subject: &str, extensions: &str) -> Result<()> {
        let (key, request, certificate, file) = (
            format!("{name}.key"),
            format!("{name}.csr"),
            format!("{name}.crt"),
            format!("{name}.ext"),
        );
        fs::write(self.file(&file), extensions).context("write the extensions")?;
        self.openssl(&[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            subject,
            "-keyout",
            &key,
            "-out",
            &request,
        ])?;
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            &file,
            "-out",
            &certificate,
        ])
    }

    fn openssl(&self, arguments: &[&str]) -> Result<()> {
        let openssl = locate("openssl").context("openssl is not installed: sudo make test-deps")?;
        let output = Command::new(openssl)
            .args(arguments)
            .current_dir(&self.dir)
            .output()
            .context("run openssl")?;
        if !output.status.success() {
            bail!(
                "openssl {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }
}

fn named(component: &str) -> (String, String, &'static str) {
    let group = if component == "kube-proxy" {
        "system:node-proxier"
    } else {
        ""
    };
    (component.to_owned(), format!("system:{component}"), group)
}

/// 128 random bits in hexadecimal digits.
fn token() -> Result<String> {
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("read /dev/urandom")?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let octet = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for at in 0..4_usize {
            let digit = (bits >> (18 - 6 * at)) & 63;
            let shown = DIGITS
                .get(usize::try_from(digit).unwrap_or(0))
                .copied()
                .unwrap_or(b'A');
            text.push(if at <= chunk.len() { char::from(shown) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
