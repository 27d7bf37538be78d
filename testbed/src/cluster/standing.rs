//! What outlives the program: a cluster that stays up, how to use it from a shell, and how to remove it without a trace.
//!
//! All processes, mounts, interfaces and namespaces of a cluster end with the first process of its sandbox. Two things do
//! not: its directory, and its control groups. Both are removed here, after an orderly end as well as after a killed
//! one; the directory notes who the first process is, and a lock tells whether somebody is building a cluster in it.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use super::cgroup;
use crate::demo::keep::started;
use crate::wait;

/// Processes that were killed are gone within this.
const END_BOUND: Duration = Duration::from_secs(30);

/// The place of one cluster on this machine's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    dir: PathBuf,
}

/// Held as long as somebody builds or removes a cluster in the place.
#[derive(Debug)]
pub struct Claim {
    _file: fs::File,
}

impl State {
    /// That directory, which need not be there yet.
    ///
    /// # Errors
    /// The current directory is gone.
    pub fn at(dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir).context("absolute path of the cluster's directory")?;
        Ok(Self { dir })
    }

    /// The directory of that name in the target directory that this program was built into: `target/cluster`.
    ///
    /// # Errors
    /// The path of this program is unknown.
    pub fn in_target(name: &str) -> Result<Self> {
        let exe = std::env::current_exe().context("path of this program")?;
        let deps = |dir: &&Path| !dir.ends_with("deps");
        let profile = exe.ancestors().skip(1).find(deps);
        let target = profile
            .and_then(Path::parent)
            .context("a program without a folder")?;
        Self::at(&target.join(name))
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The control group of the whole cluster; two places have two.
    #[must_use]
    pub fn cgroup(&self) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        self.dir.hash(&mut hasher);
        PathBuf::from(format!("flatroute-cluster-{:08x}", hasher.finish() & 0xffff_ffff))
    }

    /// Where image archives are kept from one cluster to the next.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.dir.with_extension("images")
    }

    fn logs(&self) -> PathBuf {
        self.dir.with_extension("logs")
    }

    /// Sets the logs of a cluster that failed aside; where they are.
    ///
    /// # Errors
    /// A file cannot be copied.
    pub fn keep_logs(&self) -> Result<PathBuf> {
        self.forget_logs()?;
        let logs = self.logs();
        fs::create_dir_all(&logs).with_context(|| format!("create {}", logs.display()))?;
        let nodes = fs::read_dir(self.dir.join("nodes"))
            .into_iter()
            .flatten()
            .flatten();
        let dirs = nodes.map(|entry| entry.path()).chain([self.dir.join("control")]);
        for dir in dirs {
            for file in fs::read_dir(&dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
            {
                if let (true, Some(name), Some(of)) = (
                    file.extension().is_some_and(|e| e == "log"),
                    file.file_name(),
                    dir.file_name(),
                ) {
                    let copy = format!("{}-{}", of.display(), Path::new(name).display());
                    fs::copy(&file, logs.join(copy)).with_context(|| format!("copy {}", file.display()))?;
                }
            }
        }
        Ok(logs)
    }

    /// Removes them.
    ///
    /// # Errors
    /// They do not go away.
    pub fn forget_logs(&self) -> Result<()> {
        match fs::remove_dir_all(self.logs()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.logs().display()))
            }
            _ => Ok(()),
        }
    }

    fn note(&self) -> PathBuf {
        self.dir.join("first-process")
    }

    /// Takes the place for as long as the answer is kept.
    ///
    /// # Errors
    /// Somebody else is at it.
    pub fn claim(&self) -> Result<Claim> {
        let parent = self.dir.parent().context("a directory above the cluster's")?;
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        let path = self.dir.with_extension("lock");
        let file = fs::File::create(&path).with_context(|| format!("open {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!(
                "another program is building or removing the cluster in {}: wait for it, or end it",
                self.dir.display()
            );
        }
        Ok(Claim { _file: file })
    }

    /// The first process of the cluster that is up here, if any.
    #[must_use]
    pub fn standing(&self) -> Option<u32> {
        let text = fs::read_to_string(self.note()).ok()?;
        let (pid, start) = text.trim().split_once(' ')?;
        let pid: u32 = pid.parse().ok()?;
        (started(pid).as_deref() == Some(start)).then_some(pid)
    }

    /// Notes down the cluster that stays up: its first process, and kubectl's place with the namespace that it runs in. Returns
    /// what to tell the user, with `hints` that are not for every cluster.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn remember(
        &self,
        pid: u32,
        (kubectl, control): (&Path, &str),
        hints: &[(&str, &str)],
    ) -> Result<String> {
        let start = started(pid).context("the first process of the cluster is not there")?;
        fs::write(self.note(), format!("{pid} {start}\n")).context("note the first process")?;
        let bin = self.dir.join("bin");
        fs::create_dir_all(&bin).context("create the folder of commands")?;
        let control = format!("/proc/{pid}/root/run/netns/{control}");
        let config = self.dir.join("secrets/admin.kubeconfig");
        script(
            &bin.join("kubectl"),
            &format!(
                "exec nsenter --net={control} -- {} --kubeconfig {} \"$@\"\n",
                kubectl.display(),
                config.display()
            ),
        )?;
        // A node: its own namespaces, from the outside by the id that the sandbox knows.
        script(
            &bin.join("node"),
            &format!(
                "name=${{1:?usage: node NAME COMMAND…}}\nshift\nexec nsenter -t {pid} -m -p -- nsenter -t \"$(cat {}/nodes/\"$name\"/pid)\" -n -m -u -p -i -- \"${{@:-bash}}\"\n",
                self.dir.display()
            ),
        )?;
        script(
            &bin.join("switch"),
            &format!(
                "name=${{1:?usage: switch NAME COMMAND…}}\nshift\nexec nsenter -t {pid} -m -p -- nsenter --net=/run/netns/\"$name\" -- \"${{@:-bash}}\"\n"
            ),
        )?;
        Ok(signpost(&bin, hints))
    }

    /// Ends the cluster that is here, or what a killed one left; says what it did.
    ///
    /// # Errors
    /// Something does not go away.
    pub fn remove(&self) -> Result<String> {
        let standing = self.standing();
        if let Some(pid) = standing {
            let process = i32::try_from(pid)
                .ok()
                .and_then(Pid::from_raw)
                .context("a process id")?;
            kill_process(process, Signal::KILL).with_context(|| format!("end process {pid}"))?;
            wait::until("the cluster's processes to end", END_BOUND, || {
                Ok(if started(pid).is_none() {
                    Ok(())
                } else {
                    Err(format!("process {pid} is still there"))
                })
            })?;
        }
        cgroup::remove(&self.cgroup())?;
        let there = self.dir.exists();
        if there {
            fs::remove_dir_all(&self.dir).with_context(|| format!("remove {}", self.dir.display()))?;
        }
        Ok(match (standing, there) {
            (Some(pid), _) => format!("the cluster (process {pid} and all below it) is gone"),
            (None, true) => "no cluster was up; what an earlier one had left is gone".to_owned(),
            (None, false) => "no cluster is up: nothing to do".to_owned(),
        })
    }
}

fn script(path: &Path, body: &str) -> Result<()> {
    fs::write(path, format!("#!/bin/bash\n{body}")).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("make it executable")
}

fn signpost(bin: &Path, hints: &[(&str, &str)]) -> String {
    let hints: String = hints
        .iter()
        .map(|(command, what)| format!("  {}\n", format!("{command:46} {what}").trim_end()))
        .collect();
    format!(
        "
To use it from this shell:

  export PATH={bin}:$PATH

  kubectl get nodes -o wide
  kubectl get pods -A -o wide
  kubectl get bgpnodestatuses                    what each node's agent says
  kubectl -n flatroute-system logs ds/flatroute
  kubectl exec ds/hello -- curl -s http://hello.default.svc.cluster.local/hostname
  node node1 ip route                            a command on a node
{hints}
To remove it:  make cluster-down
",
        bin = bin.display()
    )
}
